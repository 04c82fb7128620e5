"""DreamLIP gives the losses and gradients of its equations, is CLIP with one sentence, and encodes equal ones once."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from deixis import engine
from deixis.errors import DeixisError
from deixis.methods import dreamlip
from deixis.types import Batch, Progress
from tests.support import load_golden


def built(**overrides: Any) -> dreamlip.Method:
    return engine.build("dreamlip", "tiny", overrides, seed=3)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sentences(*rows: list[list[int]]) -> Batch:
    """A batch of images whose sentences are these token numbers, 0 being padding."""
    tokens = torch.tensor(rows)
    images = torch.randn(len(rows), 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return Batch(tuple(map(str, range(len(rows)))), images=images, tokens=tokens, valid={"L": tokens > 0})


def leaves(golden: dict[str, Tensor], *names: str) -> list[Tensor]:
    return [golden[name].double().requires_grad_() for name in names]


def compare(loss: Tensor, inputs: dict[str, Tensor], golden: dict[str, Tensor], piece: str) -> None:
    """The gradients of a loss with those that are stored of it."""
    found = torch.autograd.grad(loss, list(inputs.values()))
    for name, gradient in zip(inputs, found, strict=True):
        torch.testing.assert_close(gradient, golden[f"grad.{piece}.{name}"], rtol=1e-8, atol=1e-13)


@pytest.mark.golden
def test_the_contrast_of_several_sentences_is_that_of_the_equations() -> None:
    golden = load_golden("dreamlip_loss")
    image, text, log_scale = leaves(golden, "in.image_features", "in.text_features", "param.log_scale")
    assert text.shape[1] == int(golden["cfg.n_captions"])
    v, t, scale = normalize(image, dim=-1), normalize(text, dim=-1), log_scale.exp()
    loss = dreamlip.multi_positive(v, t, scale=scale)
    torch.testing.assert_close(loss, golden["out.multi_positive_loss"], rtol=1e-10, atol=0)
    compare(loss, {"image_features": image, "text_features": text, "log_scale": log_scale}, golden, "multi_positive")
    logits, own = scale * torch.einsum("bd,nkd->kbn", v, t), torch.arange(len(v))
    to_text, to_image = (
        torch.stack([torch.nn.functional.cross_entropy(each, own) for each in way])
        for way in (logits, logits.transpose(1, 2))
    )
    torch.testing.assert_close(to_text, golden["out.loss_image_to_text_per_slot"], rtol=1e-10, atol=0)
    torch.testing.assert_close(to_image, golden["out.loss_text_to_image_per_slot"], rtol=1e-10, atol=0)
    for way, name in ((to_text, "image_to_text"), (to_image, "text_to_image")):
        total = golden[f"out.multi_positive_sum_{name}"]
        torch.testing.assert_close(len(v) * way.sum(), total, rtol=1e-10, atol=0)
    torch.testing.assert_close(loss, (to_text.mean() + to_image.mean()) / 2, rtol=1e-10, atol=0)


@pytest.mark.golden
@pytest.mark.parametrize("negatives", ["image", "batch"])
def test_the_groups_of_patches_and_their_loss_are_those_of_the_equations(negatives: str) -> None:
    golden, piece = load_golden("dreamlip_loss"), {"image": "within_image", "batch": "batch"}[negatives]
    text, patches, log_scale = leaves(golden, "in.text_features", "in.patch_features", "param.log_scale_local")
    weights = dreamlip.group_weights(patches, text, threshold=float(golden["cfg.sigma"]))
    torch.testing.assert_close(weights, golden["out.group_weights"], rtol=1e-9, atol=1e-14)
    groups, t, scale = dreamlip.grouped(patches, weights), normalize(text, dim=-1), log_scale.exp()
    torch.testing.assert_close(groups, golden["out.grouped_features"], rtol=1e-9, atol=1e-14)
    loss = dreamlip.grouping_loss(groups, t, scale=scale, negatives=negatives)
    torch.testing.assert_close(loss, golden[f"out.grouping_{piece}.loss"], rtol=1e-9, atol=0)
    inputs = {"text_features": text, "patch_features": patches, "log_scale_local": log_scale}
    compare(loss, inputs, golden, f"grouping_{piece}")
    rows = (
        [(a, b) for a, b in zip(t, groups, strict=True)]
        if negatives == "image"
        else [(t.flatten(0, 1), groups.flatten(0, 1))]
    )
    for name, turned in (("text_to_group", False), ("group_to_text", True)):
        each = [
            torch.nn.functional.cross_entropy(scale * (b @ a.T if turned else a @ b.T), torch.arange(len(a)))
            for a, b in rows
        ]
        torch.testing.assert_close(
            torch.stack(each).mean(), golden[f"out.grouping_{piece}.loss_{name}"], rtol=1e-9, atol=0
        )


@pytest.mark.golden
def test_with_one_sentence_the_released_code_takes_the_same_grouping_loss() -> None:
    golden = load_golden("dreamlip_loss")
    text, patches = golden["in.text_features"][:, :1].double(), golden["in.patch_features"].double()
    weights = dreamlip.group_weights(patches, text, threshold=float(golden["cfg.sigma"]))
    scale = golden["param.log_scale_local"].exp()
    loss = dreamlip.grouping_loss(
        dreamlip.grouped(patches, weights), normalize(text, dim=-1), scale=scale, negatives="batch"
    )
    torch.testing.assert_close(loss, golden["out.released_code_one_caption_grouping_loss"], rtol=1e-9, atol=0)


PRESENT = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 1, 1]]) > 0
KEYS = torch.tensor([[1, 2, 3], [4, 0, 0], [2, 5, 0], [0, 4, 6]])


@pytest.mark.parametrize("negatives", ["slot", "all"])
def test_empty_slots_count_nowhere_and_equal_sentences_share_their_images_by_a_loop(negatives: str) -> None:
    image, text = normalize(drawn(4, 5), dim=-1), normalize(drawn(4, 3, 5, seed=1), dim=-1)
    there = [(i, k) for i in range(4) for k in range(3) if PRESENT[i, k]]
    key = {slot: int(KEYS[slot]) for slot in there}
    true = {
        (i, slot): any(key[i, k] == key[slot] for k in range(3) if PRESENT[i, k]) for i in range(4) for slot in there
    }
    total = 0.0
    for slot in there:
        logits = [7.0 * float(image[i] @ text[slot]) for i in range(4)]
        right = [i for i in range(4) if true[i, slot]]
        total += log_sum(logits) - sum(logits[i] for i in right) / len(right)
    for i, k in there:  # an image looks once for each of its sentences
        others = [slot for slot in there if negatives == "all" or slot[1] == k]
        logits = [7.0 * float(image[i] @ text[slot]) for slot in others]
        right = [n for n, slot in enumerate(others) if true[i, slot]]
        weight = len(there) / 4 / int(PRESENT[i].sum()) if negatives == "all" else 1.0  # there each image counts alike
        total += float(weight) * (log_sum(logits) - sum(logits[n] for n in right) / len(right))
    found = dreamlip.multi_positive(image, text, scale=7.0, present=PRESENT, keys=KEYS, negatives=negatives)
    assert float(found) == pytest.approx(total / 2 / len(there), rel=1e-10)


def log_sum(values: list[float]) -> float:
    return math.log(sum(math.exp(value) for value in values))


def test_weights_of_patches_by_a_loop_with_padded_patches_and_flat_similarities() -> None:
    patches, text = drawn(2, 6, 5), drawn(2, 3, 5, seed=1)
    patches[1, :] = patches[1, 0]  # nothing distinguishes them
    real = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]) > 0
    found = dreamlip.group_weights(patches, text, threshold=0.4, real=real)
    for k in range(3):
        similarity = [float(cosine_similarity(text[0, k], patches[0, n], dim=0)) for n in range(4)]
        scaled = [(s - min(similarity)) / (max(similarity) - min(similarity)) for s in similarity]
        retained = [s if s >= 0.4 else 0.0 for s in scaled]
        torch.testing.assert_close(found[0, k, :4], torch.tensor(retained, dtype=torch.float64) / sum(retained))
    assert not found[0, :, 4:].any(), "what is padding has no weight"
    torch.testing.assert_close(found[1], torch.full((3, 6), 1 / 6, dtype=torch.float64))
    soft = dreamlip.group_weights(patches, text, weighting="softmax", real=real)
    torch.testing.assert_close(soft.sum(2), torch.ones(2, 3, dtype=torch.float64))
    assert not soft[0, :, 4:].any()


def test_gradients_flow_through_the_weights_and_are_finite_where_similarities_are_flat() -> None:
    patches = drawn(1, 1, 5).expand(1, 4, 5).clone().requires_grad_()
    text = drawn(1, 2, 5, seed=1).requires_grad_()
    groups = dreamlip.grouped(patches, dreamlip.group_weights(patches, text))
    groups.sum().backward()
    assert patches.grad is not None
    assert patches.grad.isfinite().all()
    other = drawn(1, 4, 5, seed=2)
    weights = dreamlip.group_weights(other, text)
    assert torch.autograd.grad(weights[0, 0].square().sum(), text)[0][0, 0].all()


def test_with_one_sentence_and_no_grouping_it_is_clip() -> None:
    batch = sentences([[1, 5, 6, 2]], [[1, 7, 2, 0]], [[1, 5, 6, 2]])
    parent = engine.build("clip", "tiny", seed=3)
    ours = built(grouping=0.0)(batch, Progress())
    torch.testing.assert_close(ours.total, parent(batch, Progress()).total)
    assert set(ours.parts) == {"contrastive"}


def test_an_equal_sentence_is_encoded_once_and_an_empty_slot_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    method, counts = built(), list[int]()
    whole = method.encoder.encode_text
    monkeypatch.setattr(method.encoder, "encode_text", lambda tokens: counts.append(len(tokens.ids)) or whole(tokens))
    batch = sentences([[1, 5, 2], [1, 6, 2]], [[1, 6, 2], [0, 0, 0]], [[1, 6, 2], [1, 5, 2]])
    rows = method.encode(batch, Progress()).rows
    assert counts == [2]
    assert rows["present"].tolist() == [[True, True], [True, False], [True, True]]
    torch.testing.assert_close(rows["text"][0, 1], rows["text"][2, 0])
    assert not rows["text"][1, 1].any()
    alone = whole(batch.caption(0))
    torch.testing.assert_close(rows["text"][:, 0], alone, rtol=1e-5, atol=1e-6)


def test_where_all_sentences_are_equal_nothing_is_to_be_told_apart() -> None:
    batch = sentences(*[[[1, 5, 2], [0, 0, 0]]] * 3)
    losses = built()(batch, Progress())
    assert losses.total.isfinite()
    assert float(losses.parts["grouping"].detach()) == pytest.approx(0, abs=1e-6), "one sentence has no other"


def test_sides_of_different_width_are_refused() -> None:
    """The released code cuts such patches into pieces as wide as a text, and goes on."""
    with pytest.raises((AssertionError, TypeCheckError), match=r"one space|dimension D"):
        dreamlip.group_weights(torch.ones(1, 4, 6), torch.ones(1, 2, 3))
    with pytest.raises((AssertionError, TypeCheckError), match=r"one space|dimension D"):
        dreamlip.multi_positive(torch.ones(2, 6), torch.ones(2, 1, 3), scale=1.0)


def test_the_class_of_a_pixel_is_the_one_its_patch_is_most_similar_to() -> None:
    method = built().eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    scores = method.segment(images)
    assert scores.shape == (2, 2, 32, 32)
    patch = normalize(method.image_tokens(images).states, dim=-1)[1, 0]
    classes = method.encoder.encode_text(["a picture of dog", "a picture of cat"])
    torch.testing.assert_close(scores[1, :, 0, 0], classes @ patch, rtol=1e-4, atol=1e-5)
    with pytest.raises(DeixisError, match="--names"):
        built(names="").segment(images)
