"""KAPT: the reconstruction's golden vectors, CoOp at the start, and classes that are known by a text alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis import engine
from deixis.errors import DeixisError
from deixis.methods import kapt
from deixis.nn.adaptation.adaptation_head import AdaptationHead
from deixis.nn.adaptation.prompts import ClassTexts
from deixis.types import Batch, FieldSpec, Progress
from tests.prompting import NAMES, clip_like, few_images, golden_batch, golden_method, golden_rows
from tests.support import load_golden

Golden = dict[str, Tensor]
TEXTS = (("heron", "a tall wading bird"), ("bee", "an insect that stings"), ("fire_engine", "a red truck"))


def built(**settings: Any) -> kapt.Method:
    changed = {"names": NAMES, "knowledge": TEXTS, "phrases": (), "start": 0.0, "head": False, **settings}
    return engine.build("kapt", "tiny", changed, {"encoder": clip_like()}, seed=1)


def parent(method: kapt.Method, names: tuple[str, ...] = NAMES) -> Any:
    made = engine.build("coop", "tiny", {"names": names, "vectors": 2}, {"encoder": method.encoder})
    made.context.data = method.context.data
    return made


def with_cells(batch: Batch, cells: Tensor) -> Batch:
    specs = {**batch.specs, "image_cells": FieldSpec("image_cells", "B N D")}
    return dataclasses.replace(batch, extra={**batch.extra, "image_cells": cells}, specs=specs)


def of_golden(golden: Golden, mode: str, part: str) -> kapt.Method:
    """The method on the stored tower, weights and texts."""
    ids, count, extra = golden[f"in.token_ids_{mode}"], int(golden["cfg.n_ctx"]), int(golden["cfg.n_knowledge"])
    more = {"in.token_ids": ids, "cfg.context_length": torch.tensor(ids.shape[1])}
    hidden, heads = len(golden[f"param.{part}.fc1.bias"]), int(golden["cfg.head_heads"])
    method = golden_method("kapt", {**golden, **more}, context=mode, extra=extra, hidden=hidden, head=True, heads=heads)
    total = count if mode == "added" else count + extra
    rows = golden_rows({**golden, **more, "cfg.n_ctx": torch.tensor(total)})
    method.texts = ClassTexts.from_rows(rows, 1, [len(row) - 2 for row in rows], total, chunk=2)
    method.context.data = golden["param.ctx"].double()[None]
    method.described = golden["in.knowledge_features"]
    for name, parameter in weights(method, part).items():
        parameter.data = golden[f"param.{name}"].double()
    return method


def weights(method: kapt.Method, part: str) -> dict[str, Tensor]:
    """What is learned beside the shared vectors, by the stored names."""
    assert method.knowledge is not None
    assert method.head is not None
    parts = {f"{part}.fc1": method.knowledge.narrow, f"{part}.fc2": method.knowledge.widen}
    attention = method.head.attention
    parts |= {"head.q": attention.query, "head.k": attention.key, "head.v": attention.value, "head.out": attention.out}
    found = {f"{name}.{kind}": getattr(layer, kind) for name, layer in parts.items() for kind in ("weight", "bias")}
    return {**found, "head.beta": method.head.beta}


@pytest.mark.golden
@pytest.mark.parametrize(("mode", "part"), [("added", "knowledge"), ("concatenated", "knowledge_extra")])
def test_contexts_prompts_features_logits_loss_and_gradients_are_those_stored(mode: str, part: str) -> None:
    golden = load_golden("kapt_prompt")
    method = of_golden(golden, mode, part)
    image, cells = golden["in.image_features"].double(), golden["in.patch_tokens"].double()
    described = golden["in.knowledge_features"]
    torch.testing.assert_close(method.contexts(described), golden[f"out.{mode}.context"], rtol=1e-9, atol=1e-12)
    prompts = method.texts.assemble(method.encoder.text_tower, method.contexts(described)[None])[0].float()
    stored = golden[f"out.{mode}.prompts"][:, : prompts.shape[1]]
    torch.testing.assert_close(prompts, stored, rtol=1e-5, atol=1e-6)
    features = F.normalize(golden[f"out.{mode}.text_features"], dim=-1)
    torch.testing.assert_close(method.class_vectors(), features, rtol=1e-7, atol=1e-9)
    assert method.head is not None
    torch.testing.assert_close(method.head(image, cells), golden["out.adapted_features"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(method.scores(image, cells), golden[f"out.{mode}.logits"], rtol=1e-7, atol=1e-9)
    batch, _ = golden_batch(golden)
    loss = method(with_cells(batch, cells), Progress()).total
    torch.testing.assert_close(loss, golden[f"out.{mode}.loss"], rtol=1e-7, atol=0)
    learned = {"ctx": method.context, **weights(method, part)}
    assert {f"grad.{mode}.{name}" for name in learned} == {key for key in golden if key.startswith(f"grad.{mode}.")}
    for name, found in zip(learned, torch.autograd.grad(loss, list(learned.values())), strict=True):
        found = found[0] if name == "ctx" else found
        torch.testing.assert_close(found, golden[f"grad.{mode}.{name}"], rtol=1e-6, atol=1e-10, msg=name)


@pytest.mark.golden
def test_with_zeros_in_the_last_layers_it_gives_what_is_stored_for_coop() -> None:
    golden = load_golden("kapt_prompt")
    method = of_golden(golden, "added", "knowledge")
    assert method.knowledge is not None
    assert method.head is not None
    for parameter in (*method.knowledge.widen.parameters(), method.head.beta):
        parameter.data.zero_()
    scores = method.scores(golden["in.image_features"], golden["in.patch_tokens"])
    torch.testing.assert_close(scores, golden["out.neutral.logits"], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("context", ["added", "off"])
def test_at_the_start_it_is_coop_to_rounding_with_all_its_pieces(context: str) -> None:
    method, batch = built(context=context, head=True), few_images()
    cells = torch.randn(12, 9, 16, generator=torch.Generator().manual_seed(1))
    found, expected = method(with_cells(batch, cells), Progress()).total, parent(method)(batch, Progress()).total
    torch.testing.assert_close(found, expected)


def test_phrases_stand_behind_the_name_and_the_last_is_cut_first() -> None:
    phrases = (("heron", "wading bird"), ("heron", "marshes"), ("bee", "wings"))
    method = built(phrases=phrases)
    spoken = ("heron, wading bird, marshes", "ice cream", "a", "fire_engine", "bee, wings")
    torch.testing.assert_close(method.class_vectors(), parent(method, spoken).class_vectors())
    torch.testing.assert_close(
        built(phrases=phrases, most_phrases=1).class_vectors(),
        parent(method, ("heron, wading bird", *spoken[1:])).class_vectors(),
    )
    long = (("heron", "wading bird"), ("heron", "marsh " * 9))
    assert method._fitting("heron", [text for _, text in long], 2) == "heron, wading bird"


def test_the_order_of_classes_is_nothing_and_a_class_more_moves_no_other() -> None:
    method = built(start=0.3)
    vectors = method.class_vectors()
    turned = NAMES[::-1]
    torch.testing.assert_close(method.class_vectors(turned), vectors.flip(0), rtol=1e-4, atol=1e-5)
    more = method.class_vectors((*NAMES, "okapi"))
    torch.testing.assert_close(more[: len(NAMES)], vectors, rtol=1e-4, atol=1e-5)


def test_a_new_class_is_what_its_text_makes_it_and_another_text_makes_another() -> None:
    knowledge = (*TEXTS, ("okapi", "a forest animal with striped legs"))
    method, images = built(start=0.3, knowledge=knowledge), few_images().extra["image_embedding"]
    with torch.no_grad():
        known = method.scores_of(images, names=("okapi", "bee"))
        bare = built(start=0.3)
        bare.load_state_dict(method.state_dict())
        nameless = bare.scores_of(images, names=("okapi", "bee"))
    assert not torch.allclose(known[:, 0], nameless[:, 0], atol=1e-3)
    torch.testing.assert_close(known[:, 1], nameless[:, 1])


def test_the_head_attends_to_the_cells_in_any_order_and_if_asked_to_the_strongest_alone() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole, few = AdaptationHead(8, 2), AdaptationHead(8, 2, 2)
        image, cells = torch.randn(3, 8), torch.randn(3, 5, 8)
    few.load_state_dict(whole.state_dict())
    torch.testing.assert_close(whole(image, cells.flip(1)), whole(image, cells))
    for row in range(3):
        query = whole.attention.query(image[row]).view(2, 4)
        keys = whole.attention.key(cells[row]).view(5, 2, 4)
        weights = torch.stack([(keys[:, head] @ query[head] / 2).softmax(0) for head in range(2)]).mean(0)
        kept = weights.argsort(descending=True)[:2]
        torch.testing.assert_close(few(image, cells)[row], whole(image[row : row + 1], cells[row : row + 1, kept])[0])


def test_a_head_without_cells_and_vectors_for_each_class_are_refused() -> None:
    with pytest.raises(DeixisError, match="attends to the cells"):
        built(head=True).scores(few_images().extra["image_embedding"])
    with pytest.raises(DeixisError, match="share the learned vectors"):
        built(shared=False)
