"""CTP and TFT: each class reads the image for itself and the image reads the classes; at the start they are CoOp."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis import engine
from deixis.errors import DeixisError
from deixis.methods import mutual_prompt
from deixis.methods.mutual_prompt import separation
from deixis.nn.dual import DualEncoder
from deixis.nn.language.text_transformer import TextTransformer
from deixis.types import Batch, FieldSpec, Progress
from tests.prompting import NAMES, clip_like, few_images, golden_batch, golden_method
from tests.support import load_golden

CELLS = FieldSpec("image_cells", "B N D")


def built(encoder: DualEncoder, **settings: Any) -> mutual_prompt.Method:
    settings = {"names": NAMES, "contrast": 0.0, "chunk": 100, **settings}
    return engine.build("mutual_prompt", "tiny", settings, {"encoder": encoder}, seed=1)


def with_cells(batch: Batch, cells: Tensor) -> Batch:
    return dataclasses.replace(
        batch, extra={**batch.extra, "image_cells": cells}, specs={**batch.specs, "image_cells": CELLS}
    )


def few_cells(count: int = 6) -> Batch:
    """Few images of five cells each."""
    cells = torch.randn(count, 5, 16, generator=torch.Generator().manual_seed(9))
    return with_cells(few_images(count), cells)


class _AsItComes(TextTransformer):
    """A tower that does not scale its texts to length 1, as the stored reconstruction reads them."""

    def from_embeddings(self, words: Tensor, mask: Tensor, kv_cache: Any = None) -> Tensor:
        return self.embed(words, mask.sum(dim=1) - 1)

    @property
    def causal(self) -> bool:
        return False  # so that nothing is cached, and texts come through `embed`


@pytest.mark.golden
def test_attention_shifts_texts_images_logits_loss_and_gradients_are_those_of_the_loop() -> None:
    golden = load_golden("ctp_tft")
    hidden, heads = len(golden["param.ctp.fc1.bias"]), int(golden["cfg.attn_heads"])
    width = golden["in.image_features"].shape[1]
    sizes = {"context_length": golden["param.text.pos"].shape[0], "vocab_size": len(golden["param.text.pos"])}
    full = {**golden, **{f"cfg.{name}": torch.tensor(value) for name, value in sizes.items()}}
    method = golden_method("mutual_prompt", full, heads=heads, reduction=width // hidden)
    method.encoder.text_tower.__class__ = _AsItComes
    method.name_vectors = lambda names: golden["in.class_text_features"]
    method.context.data = golden["param.ctx"].double()[None]
    short = {"q": "query", "k": "key", "v": "value", "out": "out"}
    names = {f"ctp.attn.{a}.{kind}": f"reading.attention.{b}.{kind}" for a, b in short.items() for kind in KINDS}
    names |= {f"tft.attn.{a}.{kind}": f"tuning.attention.{b}.{kind}" for a, b in short.items() for kind in KINDS}
    names |= {f"ctp.fc1.{kind}": f"reading.narrow.{kind}" for kind in KINDS}
    names |= {f"ctp.fc2.{kind}": f"reading.widen.{kind}" for kind in KINDS} | {"tft.gamma": "tuning.gamma"}
    parameters = dict(method.named_parameters())
    for theirs, own in names.items():
        parameters[own].data = golden[f"param.{theirs}"].double()
    batch, image = golden_batch(golden)
    cells = golden["in.patch_tokens"]
    batch = with_cells(batch, cells)

    classes = method.image_classes(image, cells)
    loss = method(batch, Progress()).total
    found = {
        "visual_context": method.reading.read(golden["in.class_text_features"], cells),
        "context_shift": method.reading(golden["in.class_text_features"], cells),
        "text_features": classes,
        "tuned_features": method.tuning(image, classes),
        "logits": method.scores(image, cells),
        "logits_without_tft": method.scale * (F.normalize(classes, dim=-1) @ image[..., None])[..., 0],
        "loss": loss,
    }
    for name, value in found.items():
        torch.testing.assert_close(value, golden[f"out.{name}"], rtol=1e-7, atol=1e-10, msg=name)
    leaves = {"ctx": method.context, **{theirs: parameters[own] for theirs, own in names.items()}}
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    for name, gradient in zip(leaves, gradients, strict=True):
        value = gradient[0] if name == "ctx" else gradient
        torch.testing.assert_close(value, golden[f"grad.{name}"], rtol=1e-7, atol=1e-9, msg=name)
    stored = {key for key in golden if key.startswith(("out.", "grad."))}
    assert stored == {f"out.{name}" for name in found} | {f"grad.{name}" for name in leaves}


KINDS = ("weight", "bias")


@pytest.mark.parametrize("where", ["before", "after", "off"])
def test_with_closed_gates_it_is_coop(where: str) -> None:
    method, batch = built(clip_like(), where=where, gate=0.0), few_cells()
    parent = engine.build("coop", "tiny", {"names": NAMES, "vectors": 2}, {"encoder": method.encoder})
    parent.context.data = method.context.data
    torch.testing.assert_close(method(batch, Progress()).total, parent(batch, Progress()).total)
    torch.testing.assert_close(method.scores(*_given(batch)), parent.scores(_given(batch)[0]), rtol=1e-4, atol=1e-4)


def _given(batch: Batch) -> tuple[Tensor, Tensor]:
    return batch.extra["image_embedding"], batch.extra["image_cells"]


@pytest.mark.parametrize("where", ["before", "after"])
def test_neither_the_order_of_the_cells_nor_that_of_the_classes_means_anything(where: str) -> None:
    method, (image, cells) = built(clip_like(), where=where), _given(few_cells())
    logits = method.scores(image, cells)
    torch.testing.assert_close(method.scores(image, cells[:, [3, 1, 4, 0, 2]]), logits, rtol=1e-4, atol=1e-4)
    order = [2, 0, 4, 1, 3]
    torch.testing.assert_close(
        method.scores_of(image, cells, [NAMES[i] for i in order]), logits[:, order], rtol=1e-4, atol=1e-4
    )


def test_another_class_moves_no_text_and_moves_the_tuned_image() -> None:
    """Hence TFT's image feature hangs on the list of classes, and an image alone has none."""
    method, (image, cells) = built(clip_like()), _given(few_cells())
    cells = F.normalize(cells, dim=-1)
    few, more = (method.image_classes(image, cells, names) for names in (NAMES[:4], NAMES))
    torch.testing.assert_close(more[:, :4], few, rtol=1e-5, atol=1e-5)
    tuned, again = method.tuned(image, cells, few), method.tuned(image, cells, more)
    assert float((tuned - again).detach().norm(dim=-1).min()) > 1e-3


def test_the_texts_of_an_image_hang_on_that_image_alone() -> None:
    method, (image, cells) = built(clip_like()), _given(few_cells())
    units = F.normalize(cells, dim=-1)
    together, alone = method.image_classes(image, units), method.image_classes(image[2:3], units[2:3])
    torch.testing.assert_close(together[2:3], alone, rtol=1e-5, atol=1e-5)
    assert float((together[2] - together[3]).detach().norm(dim=-1).min()) > 1e-3


def test_the_control_without_text_shifts_all_classes_alike_and_is_as_large() -> None:
    encoder, batch = clip_like(), few_cells()
    method, control = built(encoder), built(encoder, reads_text=False)
    cells = F.normalize(batch.extra["image_cells"], dim=-1)
    shifts = control.reading(control.name_vectors(NAMES), cells)
    torch.testing.assert_close(shifts, shifts[:, :1].expand_as(shifts))
    assert not torch.allclose(method.reading(method.name_vectors(NAMES), cells)[:, 0], shifts[:, 0])
    sizes = [sum(p.numel() for p in each.parameters() if p.requires_grad) for each in (method, control)]
    assert sizes[1] - sizes[0] == encoder.width, "the query that stands for all texts"


@pytest.mark.parametrize("where", ["before", "after"])
def test_where_each_class_looked_are_weights_over_the_cells(where: str) -> None:
    method, (image, cells) = built(clip_like(), where=where), _given(few_cells())
    looks = method.class_looks(cells, image)
    assert looks.shape == (6, 5, 5)
    torch.testing.assert_close(looks.sum(dim=-1), torch.ones(6, 5))
    with pytest.raises(DeixisError, match="no class looks at the image"):
        built(clip_like(), where="off").class_looks(cells, image)


def test_the_separation_of_classes_is_one_less_the_mean_cosine_of_two() -> None:
    classes = torch.randn(2, 4, 3)
    cosines = [[F.cosine_similarity(row[i], row[j], dim=0) for i in range(4) for j in range(i)] for row in classes]
    torch.testing.assert_close(separation(classes), 1 - torch.tensor(cosines).mean(dim=1))


def test_ten_thousand_classes_are_refused_before_the_tower_with_the_arithmetic() -> None:
    names = tuple(f"c{i}" for i in range(10_000))
    config = mutual_prompt.Config(encoder="tiny", names=names)
    with pytest.raises(DeixisError, match=r"320,000 texts.*where='after', which needs 10,000 texts"):
        mutual_prompt.Method(config, encoder=clip_like(), names=names)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"position": "front"}, "has the class name at the end"),
        ({"where": "off", "tuning": False}, "this is CoOp"),
    ],
)
def test_what_it_has_no_meaning_for_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DeixisError, match=message):
        built(clip_like(), **settings)


def test_class_vectors_need_an_image() -> None:
    with pytest.raises(DeixisError, match="hang on the image"):
        built(clip_like()).class_vectors()
