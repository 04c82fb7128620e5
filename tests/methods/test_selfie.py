"""Patches are matched with places by the equations of the paper; what is masked hangs on the image alone."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from deixis import engine, zoo
from deixis.errors import DeixisError
from deixis.methods import selfie
from deixis.types import Batch, Progress
from tests.support import load_golden

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
NAMES = {"q": "attention.query", "k": "attention.key", "v": "attention.value", "o": "attention.out"}
NAMES |= {"fc1": "perceptron.0", "fc2": "perceptron.2", "norm1": "attention_norm", "norm2": "norm"}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_golden("selfie_loss")


def ours(golden: dict[str, Tensor]) -> tuple[selfie.AttentionPooling, selfie.GridPositions]:
    """The transformer and the positions with the stored weights."""
    width, hidden = len(golden["param.u0"]), len(golden["param.layer0.fc1.bias"])
    pooling = selfie.AttentionPooling(width, int(golden["cfg.heads"]), hidden, int(golden["cfg.layers"])).double()
    positions = selfie.GridPositions((int(golden["cfg.grid_h"]), int(golden["cfg.grid_w"])), width).double()
    state = {"query": golden["param.u0"]}
    for key, value in golden.items():
        if key.startswith("param.layer"):
            _, layer, name, kind = key.split(".")
            state[f"layers.{layer.removeprefix('layer')}.{NAMES[name]}.{kind}"] = value
    pooling.load_state_dict(state)
    positions.load_state_dict({"row": golden["param.row_pos"], "column": golden["param.col_pos"]})
    return pooling, positions


@pytest.mark.golden
@pytest.mark.parametrize("variant", ["plain", "ctxpos"])
def test_pooled_vector_logits_loss_and_gradients_are_those_of_the_equations(
    golden: dict[str, Tensor], variant: str
) -> None:
    pooling, positions = ours(golden)
    method: Any = engine.build("selfie", "tiny", {"positions": variant == "ctxpos"})
    method.pooling, method.positions = pooling, positions
    features = golden["in.patch_features"].clone().requires_grad_()
    pooled, queries = method.queries(features, golden["in.context_index"], golden["in.masked_index"])
    torch.testing.assert_close(pooled, golden[f"out.{variant}.pooled"], **CLOSE)
    masked = golden["in.masked_index"]
    targets = features.gather(1, masked[..., None].expand(-1, -1, features.shape[2]))
    logits, losses = selfie.patch_selection(queries, targets)
    torch.testing.assert_close(logits, golden[f"out.{variant}.logits"], **CLOSE)
    torch.testing.assert_close(losses.mean(), golden[f"out.{variant}.loss"], **CLOSE)
    losses.mean().backward()
    found = {
        "patch_features": features.grad,
        "u0": pooling.query.grad,
        "row_pos": positions.row.grad,
        "col_pos": positions.column.grad,
    }
    stored = {key.removeprefix(f"grad.{variant}."): value for key, value in golden.items() if f"grad.{variant}." in key}
    assert {"patch_features", "u0", "row_pos", "col_pos"} < set(stored)
    for key, expected in stored.items():
        if key.startswith("layer"):
            layer, name, kind = key.split(".")
            found[key] = pooling.get_parameter(f"layers.{layer.removeprefix('layer')}.{NAMES[name]}.{kind}").grad
        torch.testing.assert_close(found[key], expected, **CLOSE)


def test_patches_lie_row_by_row() -> None:
    images = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    patches = selfie.patchify(images, 2)
    assert patches.shape == (2, 6, 3, 2, 2)
    torch.testing.assert_close(patches[1, 4], images[1, :, 2:4, 2:4])
    with pytest.raises(DeixisError, match="4 x 6 can't be cut into patches of 4"):
        selfie.patchify(images, 4)


def test_every_patch_is_given_or_masked_and_draws_decide_which() -> None:
    given, masked = selfie.random_patch_split(torch.tensor([[0.9, 0.1, 0.5, 0.3], [0.0, 0.2, 0.1, 0.9]]), 2)
    assert masked.tolist() == [[1, 3], [0, 2]]
    assert given.tolist() == [[0, 2], [1, 3]]


def test_patches_that_all_look_alike_are_told_apart_by_chance_alone() -> None:
    _, losses = selfie.patch_selection(torch.randn(3, 4, 8), torch.ones(3, 4, 8))
    torch.testing.assert_close(losses, torch.full((3,), math.log(4)))


def test_the_order_of_masked_patches_orders_the_scores_and_changes_no_loss() -> None:
    queries, targets, order = torch.randn(2, 4, 8), torch.randn(2, 4, 8), torch.tensor([2, 0, 3, 1])
    logits, losses = selfie.patch_selection(queries, targets)
    turned, same = selfie.patch_selection(queries[:, order], targets[:, order])
    torch.testing.assert_close(turned, logits[:, order][:, :, order])
    torch.testing.assert_close(same, losses)


def test_the_order_in_which_patches_are_given_is_nothing() -> None:
    method: Any = engine.build("selfie", "tiny")
    features = torch.randn(2, 9, method.pooling.query.shape[0])
    given, masked = torch.tensor([[0, 1, 2, 4, 6, 8]] * 2), torch.tensor([[3, 5, 7]] * 2)
    pooled, _ = method.queries(features, given, masked)
    turned, _ = method.queries(features, given.flip(1), masked)
    torch.testing.assert_close(turned, pooled)


def test_a_patch_is_masked_by_the_image_and_the_step_whatever_stands_beside_it() -> None:
    method: Any = engine.build("selfie", "tiny").eval()
    images = torch.rand(4, 3, 24, 24)
    batch = Batch(ids=tuple("abcd"), images=images)
    whole = method(batch, Progress(3)).total
    parts = [method(Batch(ids=(name,), images=images[i : i + 1]), Progress(3)).total for i, name in enumerate("abcd")]
    torch.testing.assert_close(whole, torch.stack(parts).mean())
    assert not torch.equal(whole, method(batch, Progress(4)).total)


def test_pixels_are_given_at_the_places_that_are_masked() -> None:
    method: Any = engine.build("selfie", "tiny", {"target": "pixels"}).eval()
    images = torch.rand(2, 3, 24, 24)
    batch = Batch(ids=("a", "b"), images=images)
    found = method(batch, Progress(3))
    features = method.features(images)
    given, masked = selfie.random_patch_split(Progress(3).uniform("patches", batch.ids, 9), 3)
    _, queries = method.queries(features, given, masked)
    total = 0.0
    for i in range(2):
        for number, place in enumerate(masked[i].tolist()):
            row, column = divmod(place, 3)
            patch = images[i, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].flatten()
            total += float((method.pixels(queries[i, number]) - patch).detach().square().mean()) / 6
    assert float(found.parts["pixels"].detach()) == pytest.approx(total, rel=1e-5)
    assert "patches_found" not in found.metrics
    with pytest.raises(DeixisError, match="patch or pixels"):
        engine.build("selfie", "tiny", {"target": "colour"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": 7}, "Of 24 x 24 pixels in patches of 7"),
        ({"masked": 0.1}, "1 patches would be masked"),
        ({"masked": 1.0}, "9 patches would be masked"),
    ],
)
def test_grids_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DeixisError, match=message):
        engine.build("selfie", "tiny", change)


def test_what_lies_behind_the_groups_is_new_after_a_transplant_and_nothing_before_it() -> None:
    tower: Any = zoo.load_part("image_tower", "scratch:resnet:tiny:32")
    before = {name: value.clone() for name, value in tower.named_parameters()}
    renewed = selfie.transplant(tower, 1)
    moved = {name for name, value in tower.named_parameters() if not torch.equal(value, before[name])}
    assert moved
    images = torch.rand(2, 3, 32, 32)
    assert selfie.group_map(tower, images, 1).shape[1:] == (tower.channels[-2], 2, 2)
    assert selfie.group_map(tower, images, 0).shape[1:] == (tower.channels[-1], 1, 1)
    assert all(name.rpartition(".")[0] in renewed for name in moved)


def test_presets_are_as_the_dossier_has_them() -> None:
    published = selfie.Config.paper()
    assert (published.patch, published.view.size, published.behind) == (32, 224, 1)
    assert (published.depth, published.heads, published.hidden, published.dropout) == (3, 32, 640, 0.1)
    assert dataclasses.replace(published.optim).nesterov
