"""PLIP gives the losses and gradients of its authors' code; gate, masks and matching are those of a loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from deixis import engine
from deixis.methods import plip
from deixis.types import Batch, Progress
from tests.support import load_golden


def built(**overrides: Any) -> plip.Method:
    return engine.build("plip", "tiny", overrides, seed=3)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.golden
@pytest.mark.parametrize(("rows", "key"), [("l1", "l1rows"), ("l2", "l2rows"), ("cosine", "cosine")])
def test_projection_matching_and_its_gradients_are_those_of_the_authors(rows: str, key: str) -> None:
    golden = load_golden("plip_cmpm")
    image, text = (golden[f"in.{side}"].double().requires_grad_() for side in ("image", "text"))
    loss = plip.cmpm(image, text, golden["in.ids"], rows=rows, epsilon=float(golden["cfg.eps"]))
    torch.testing.assert_close(loss, golden[f"out.loss_{key}"], rtol=1e-8, atol=0)
    for side, gradient in zip(("image", "text"), torch.autograd.grad(loss, (image, text)), strict=True):
        torch.testing.assert_close(gradient, golden[f"grad.{side}_{key}"], rtol=1e-8, atol=1e-12)


@pytest.mark.golden
def test_projection_classification_is_that_of_the_authors() -> None:
    golden = load_golden("plip_cmpc")
    leaves = {name: golden[f"in.{name}"].double().requires_grad_() for name in ("image", "text")}
    leaves["W"] = golden["param.W"].double().requires_grad_()
    ids = golden["in.ids"]
    loss = plip.cmpc(leaves["image"], leaves["text"], ids, leaves["W"])
    torch.testing.assert_close(loss, golden["out.loss"], rtol=1e-8, atol=0)
    for name, gradient in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
        torch.testing.assert_close(gradient, golden[f"grad.{name}"], rtol=1e-8, atol=1e-12)
    with torch.no_grad():
        columns = leaves["W"] / leaves["W"].norm(dim=0)
        for one, other, name in (("image", "text", "image"), ("text", "image", "text")):
            along = leaves[other] / leaves[other].norm(dim=1, keepdim=True)
            found = (((leaves[one] * along).sum(1, keepdim=True) * along) @ columns).argmax(1)
            assert torch.equal(found, golden[f"out.{name}_pred"])
            torch.testing.assert_close((found == ids).float().mean(), golden[f"out.{name}_acc"])


def decoder_of(golden: dict[str, Tensor]) -> plip.ColourDecoder:
    width = len(golden["param.lateral1.bias"])
    channels = [golden[f"in.x{number}"].shape[1] for number in range(1, 5)]
    decoder = plip.ColourDecoder(channels, width, golden["in.text"].shape[1]).double()
    state = {
        key.removeprefix("param.").replace("lateral", "laterals.")
        if "lateral" in key
        else key.removeprefix("param."): value
        for key, value in golden.items()
        if key.startswith("param.")
    }
    for number in range(1, 5):
        for kind in ("weight", "bias"):
            state[f"laterals.{number - 1}.{kind}"] = golden[f"param.lateral{number}.{kind}"]
    decoder.load_state_dict({key: value for key, value in state.items() if not key.startswith("laterals.4")})
    return decoder


@pytest.mark.golden
def test_the_colour_decoder_and_its_gradients_are_those_of_the_authors() -> None:
    golden = load_golden("plip_colour")
    decoder = decoder_of(golden)
    maps = [golden[f"in.x{number}"].double().requires_grad_() for number in range(1, 5)]
    text, colour = golden["in.text"].double().requires_grad_(), golden["in.colour"].double()
    found = decoder(maps, text, (colour.shape[2], colour.shape[3]))
    torch.testing.assert_close(found, golden["out.image"], rtol=1e-8, atol=1e-10)
    loss = mse_loss(found, colour)
    torch.testing.assert_close(loss, golden["out.mse"], rtol=1e-8, atol=0)
    torch.testing.assert_close((found - colour).flatten(1).norm(dim=1), golden["out.l2_per_image"], rtol=1e-8, atol=0)
    torch.testing.assert_close(plip.grey(colour), golden["out.grey"], rtol=1e-10, atol=1e-12)
    parameters = dict(decoder.named_parameters())
    leaves = {f"x{number}": each for number, each in enumerate(maps, 1)} | {"text": text}
    for key in golden:
        name = key.removeprefix("grad.")
        if key.startswith("grad.") and name not in leaves:
            leaves[name] = parameters[name.replace("lateral4", "laterals.3")]
    for name, gradient in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
        torch.testing.assert_close(gradient, golden[f"grad.{name}"], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("rows", ["l1", "l2"])
def test_projection_matching_by_a_loop(rows: str) -> None:
    image, text, ids = drawn(5, 4), drawn(5, 4, seed=1), torch.tensor([0, 0, 1, 2, 2])
    total = 0.0
    for one, other in ((image, text), (text, image)):
        for i in range(5):
            logits = [float(one[i] @ other[j] / other[j].norm()) for j in range(5)]
            norm = sum(math.exp(each) for each in logits)
            same = [float(ids[i] == ids[j]) for j in range(5)]
            length = sum(same) if rows == "l1" else math.sqrt(sum(same))
            for j in range(5):
                p = math.exp(logits[j]) / norm
                total += p * (math.log(p) - math.log(same[j] / length + 1e-8)) / 5
    assert float(plip.cmpm(image, text, ids, rows=rows)) == pytest.approx(total, rel=1e-9)


def test_with_one_picture_an_individual_released_and_exact_rows_are_the_same() -> None:
    image, text, ids = drawn(5, 4), drawn(5, 4, seed=1), torch.arange(5)
    torch.testing.assert_close(plip.cmpm(image, text, ids, rows="l1"), plip.cmpm(image, text, ids, rows="l2"))
    shared = torch.tensor([0, 0, 1, 2, 2])
    assert not torch.isclose(plip.cmpm(image, text, shared, rows="l1"), plip.cmpm(image, text, shared, rows="l2"))


def batch(spans: list[list[int]], groups: tuple[int, ...] = (0, 0, 1, 1)) -> Batch:
    tokens = torch.tensor([[[1, 5, 6, 7, 8, 2]], [[1, 9, 6, 7, 8, 2]], [[1, 5, 4, 7, 8, 2]], [[1, 5, 6, 3, 8, 2]]])
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    places = torch.tensor(spans)[None, :, None].expand(4, -1, 1, 2)
    valid = {"L": tokens > 0, "T": torch.ones(places.shape[:2], dtype=torch.bool)}
    return Batch(tuple("abcd"), images=images, tokens=tokens, groups=torch.tensor(groups), spans=places, valid=valid)


def test_on_pairs_without_tasks_it_is_clip_and_equal_shares_are_its_keys() -> None:
    held, parent = batch([[1, 2]]), engine.build("clip", "tiny", {"scale": 4.0, "share_repeats": False}, seed=3)
    plain = {"colour": 0.0, "attributes": 0.0}
    torch.testing.assert_close(built(contrast="pairs", **plain)(held, Progress()).total, parent(held, Progress()).total)
    pairs, shares = (built(contrast=each, **plain)(held, Progress()).total for each in ("pairs", "shares"))
    assert not torch.isclose(pairs, shares)
    alone = batch([[1, 2]], groups=(0, 1, 2, 3))
    torch.testing.assert_close(built(contrast="shares", **plain)(alone, Progress()).total, pairs)


def test_a_gate_weights_channels_by_the_mean_of_the_map_and_the_caption() -> None:
    gate, cells, text = plip.TextGate(3, 2).double(), drawn(2, 3, 4, 5), drawn(2, 2, seed=1)
    with torch.no_grad():
        for sample in range(2):
            squeezed = torch.tensor([*(float(cells[sample, c].mean()) for c in range(3)), *text[sample]]).double()
            inner = [max(0.0, float(row @ squeezed + b)) for row, b in zip(gate.fc1.weight, gate.fc1.bias, strict=True)]
            hidden = torch.tensor(inner).double()
            for c in range(3):
                weight = 1 / (1 + math.exp(-float(gate.fc2.weight[c] @ hidden + gate.fc2.bias[c])))
                torch.testing.assert_close(gate(cells, text)[sample, c], cells[sample, c] * weight)


def test_phrases_are_masked_whole_by_a_loop() -> None:
    spans = torch.tensor([[[[1, 3], [5, 6]], [[2, 4], [0, 0]]], [[[0, 1], [0, 0]], [[3, 6], [0, 0]]]])
    real, draws = torch.tensor([[True, True], [True, False]]), torch.tensor([[0.3, 0.9], [0.1, 0.2]])
    found = plip.mask_spans(spans, real, draws, 0.5, 7)
    for sample in range(2):
        expected = {
            place
            for phrase in range(2)
            if real[sample, phrase] and draws[sample, phrase] < 0.5
            for start, end in spans[sample, phrase].tolist()
            for place in range(start, end)
        }
        assert set(found[sample].nonzero()[:, 0].tolist()) == expected
    assert not plip.mask_spans(spans, real, draws, 0.05, 7).any()


def test_more_phrases_are_masked_as_training_goes_on_from_a_fifth_to_four_fifths() -> None:
    assert [plip.masked_share(progress) for progress in (0.0, 0.25, 1.0)] == pytest.approx([0.2, 0.5, 0.8])
    held = batch([[1, 2], [2, 3], [3, 4], [4, 5]])
    start, end = (built().encode(held, Progress(step, 100)).rows["masked"].sum() for step in (0, 100))
    assert 0 < start < end <= 16
    words = built(masking="words").encode(held, Progress(100, 100)).rows["masked"]
    assert (words > 0).all(), "single words, wherever they stand"


def test_grey_pictures_and_captions_without_phrases_lose_nothing_in_the_tasks() -> None:
    held = batch([[0, 0]])
    assert held.images is not None
    mean, std = (torch.tensor(each)[:, None, None] for each in ([0.5] * 3, [0.5] * 3))
    light = plip.grey(held.images * std + mean).expand_as(held.images)
    plain = Batch(
        held.ids,
        images=(light - mean) / std,
        tokens=held.tokens,
        groups=held.groups,
        spans=held.spans,
        valid=held.valid,
    )
    losses = built()(plain, Progress())
    assert float(losses.parts["colour"].detach()) == 0
    assert float(losses.parts["words"].detach()) == 0
    assert losses.total.isfinite()


def test_words_are_told_from_their_image_in_either_way_of_joining() -> None:
    states, image, mask = torch.randn(2, 5, 8), torch.randn(2, 3), torch.ones(2, 5, dtype=torch.bool)
    for fusion in ("sum", "concatenation"):
        head: nn.Module = plip.AttributeHead(8, 3, 11, fusion)
        found = head(states, image, mask)
        assert found.shape == (2, 5, 11)
        assert not torch.allclose(found, head(states, image.flip(0), mask)), fusion
