"""Counts, vectors, triplets and turns are those of the definitions; a margin that can't be met is named."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis import zoo
from deixis.methods import imaginator as im
from deixis.types import Batch, Progress
from tests.support import load_golden


def made(**settings: Any) -> im.Method:
    config = dataclasses.replace(im.Config.tiny(), **settings)
    return im.Method(config, encoder=zoo.load_part("image_tower", "tiny"))


def observed(method: Any, tags: Tensor) -> Batch:
    features = torch.randn(len(tags), method.encoder.width, generator=torch.Generator().manual_seed(1))
    valid = {"T": torch.ones_like(tags, dtype=torch.bool)}
    specs = {need.name: need for need in im.CARD.needs}
    return Batch(
        ids=tuple(map(str, range(len(tags)))),
        extra={"image_features": features, "tags": tags},
        valid=valid,
        specs=specs,
    )


LOSS = {"rtol": 0.0, "atol": 1e-8}
SVD = {"rtol": 0.0, "atol": 1e-6}
REDUCED = {"released": torch.sum, "proper": torch.mean, "scaled": torch.mean}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_golden("imaginator_losses")


@pytest.mark.golden
def test_triplets_of_all_forms_and_their_gradients_are_those_of_the_loop(golden: dict[str, Tensor]) -> None:
    text, words = golden["in.text"], golden["in.word_id"]
    unit = F.normalize(golden["in.image"], dim=1)
    hardest = im.hardest_other(unit, text, words)
    assert torch.equal(hardest, golden["out.hardest_negative"])
    assert torch.equal(
        im.hardest_other(unit, text, torch.arange(len(words))), golden["out.hardest_negative_by_position"]
    )
    for form in ("released", "proper", "scaled"):
        image = golden["in.image"].clone().requires_grad_()
        anchors = F.normalize(image, dim=1)
        margin = float(golden["cfg.margin_released" if form == "released" else "cfg.margin_proper"])
        losses = im.triplet(anchors, text, text[hardest], form, margin)
        loss = REDUCED[form](losses)
        torch.testing.assert_close(loss, golden[f"out.loss_{form}"], **LOSS)
        loss.backward()
        torch.testing.assert_close(image.grad, golden[f"grad.in.image_{form}"], **LOSS)
        if form == "scaled":
            continue
        torch.testing.assert_close(losses > 0, golden[f"out.hinge_active_{form}"])
        for name, other in (("positive", text), ("negative", text[hardest])):
            distance = (unit - other).square().sum(1) / (unit.shape[1] if form == "released" else 1)
            torch.testing.assert_close(distance, golden[f"out.distance_{name}_{form}"], **LOSS)


@pytest.mark.golden
def test_texts_as_anchors_are_added_with_their_weight(golden: dict[str, Tensor]) -> None:
    text, words, unit = golden["in.text"], golden["in.word_id"], F.normalize(golden["in.image"], dim=1)
    hardest = im.hardest_other(text, unit, words)
    assert torch.equal(hardest, golden["out.hardest_negative_image"])
    turned = im.triplet(text, unit, unit[hardest], "released", float(golden["cfg.margin_text_to_image"])).mean()
    torch.testing.assert_close(turned, golden["out.loss_text_to_image_released"], **LOSS)
    both = golden["out.loss_released"] + golden["cfg.lambda_text_to_image"] * turned
    torch.testing.assert_close(both, golden["out.loss_bidirectional_released"], **LOSS)


@pytest.mark.golden
def test_company_is_counted_weighed_and_cut_as_defined(golden: dict[str, Tensor]) -> None:
    counts = im.cooccurrence(golden["in.objects"], int(golden["cfg.vocab_size"]))
    torch.testing.assert_close(counts, golden["out.counts"].double(), rtol=0, atol=0)
    weighed = im.ppmi(counts, float(golden["cfg.context_exponent"]))
    torch.testing.assert_close(weighed, golden["out.ppmi"], **LOSS)
    vectors, values = im.context_vectors(weighed, int(golden["cfg.svd_dim"]), float(golden["cfg.svd_power"]))
    torch.testing.assert_close(values, golden["out.svd_singular_values"], **SVD)
    torch.testing.assert_close(vectors @ vectors.T, golden["out.context_gram"], **SVD)
    unit = F.normalize(vectors, dim=1)
    torch.testing.assert_close(unit @ unit.T, golden["out.context_cosine"], **SVD)


@pytest.mark.golden
def test_turns_and_the_joint_vectors_are_those_of_the_notebook(golden: dict[str, Tensor]) -> None:
    looks, company = golden["in.align_image"], golden["in.align_text"]
    torch.testing.assert_close(looks.T @ company, golden["out.cross_covariance"], **SVD)
    left, right, values = im.turns(looks, company, len(golden["out.cross_singular_values"]))
    torch.testing.assert_close(values, golden["out.cross_singular_values"], **SVD)
    seen, spoken = looks @ left, company @ right
    torch.testing.assert_close(seen @ seen.T, golden["out.aligned_image_gram"], **SVD)
    torch.testing.assert_close(spoken @ spoken.T, golden["out.aligned_text_gram"], **SVD)
    torch.testing.assert_close(seen @ spoken.T, golden["out.aligned_cross_gram"], **SVD)
    whole = im.joint(spoken, seen, (float(golden["cfg.text_weight"]), float(golden["cfg.image_weight"])))
    torch.testing.assert_close(whole @ whole.T, golden["out.joint_gram"], **SVD)


def test_words_are_counted_as_a_slow_loop_counts_them() -> None:
    tags = torch.tensor([[0, 1, 1], [2, 0, -1], [-1, -1, -1], [1, 0, 2]])
    expected = torch.zeros(3, 3, dtype=torch.float64)
    for row in tags.tolist():
        for a, b in itertools.permutations({word for word in row if word >= 0}, 2):
            expected[a, b] += 1
    assert torch.equal(im.cooccurrence(tags, 3), expected)


def test_words_that_meet_by_chance_are_not_associated() -> None:
    words = torch.rand(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(im.ppmi(words[:, None] * words, 1.0), torch.zeros(6, 6, dtype=torch.float64))


def test_directions_of_turns_are_orthonormal_and_their_values_covariances() -> None:
    draw = torch.Generator().manual_seed(0)
    looks, company = (torch.randn(20, 8, generator=draw, dtype=torch.float64) for _ in range(2))
    left, right, values = im.turns(looks, company, 5)
    for side in (left, right):
        torch.testing.assert_close(side.T @ side, torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(torch.diagonal((looks @ left).T @ (company @ right)), values)


def test_a_scaled_triplet_is_a_proper_one_divided_by_the_width() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = [F.normalize(torch.randn(5, 50, generator=draw), dim=1) for _ in range(3)]
    torch.testing.assert_close(im.triplet(*rows, "scaled"), im.triplet(*rows, "proper") / 50)
    assert bool((im.triplet(*rows, "released") > 0).all()), "at this width no triplet is ever done"


@pytest.mark.parametrize(
    ("margin", "width", "warned"), [("released", 41, True), ("released", 40, False), ("proper", 64, False)]
)
def test_a_margin_that_cannot_be_met_is_named(margin: str, width: int, warned: bool) -> None:
    method = made(margin=margin, width=width, rank=4, steps=1)
    method.observe(observed(method, torch.tensor([[0, 2], [1, 3], [4, 2]])), Progress())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        method.finish(Progress())
    assert any("can't be met" in str(each.message) for each in seen) == warned


def test_words_that_keep_the_same_company_have_one_vector_though_they_never_meet() -> None:
    """Words 0 and 1 each stand with 2, words 3 and 4 with 5."""
    method = made(words=6, width=4, rank=3, steps=60)
    method.observe(observed(method, torch.tensor([[0, 2], [1, 2], [3, 5], [4, 5]] * 20)), Progress())
    method.finish(Progress())
    company = method.company @ method.company.T
    assert company[0, 1] > 0.99
    assert company[0, 3].abs() < 0.01
    assert method.word_vectors().shape == (6, 3)


def test_presets_are_those_of_the_notebook() -> None:
    published = im.Config.paper()
    assert (published.width, published.rank, published.hidden, published.dropout) == (512, 511, 4096, 0.5)
    assert (published.margin, published.rate, published.batch, published.steps) == ("released", 2e-4, 64, 3000)
    assert published.weights == (6.0, 2.0)
