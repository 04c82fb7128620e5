"""Neighbours, aggregation and losses of patches are those of the authors' code."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis import engine
from deixis.errors import DeixisError
from deixis.methods import selfpatch
from deixis.methods.baselines.dino import centred_cross_entropy, moved_centre
from deixis.nn.layers.class_attention import ClassAttentionPool
from deixis.ops.similarity.grid_neighbours import grid_neighbours, most_similar
from deixis.types import Batch, Crop, Progress
from tests.support import load_golden

CLOSE = {"rtol": 1e-9, "atol": 1e-12}
NAMES = {"norm1": "attention_norm", "attn.q": "attention.query", "attn.k": "attention.key", "attn.v": "attention.value"}
NAMES |= {"attn.proj": "attention.out", "norm2": "norm", "mlp.fc1": "perceptron.0", "mlp.fc2": "perceptron.2"}


def our_name(name: str) -> str:
    """A stored name as the attribute of `ClassAttentionPool`."""
    if name == "query_token":
        return "query"
    if name.startswith("norm."):
        return name
    block, _, rest = name.partition(".")
    inner, _, kind = rest.rpartition(".")
    return f"blocks.{block.removeprefix('block')}.{NAMES[inner]}.{kind}"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_golden("selfpatch_head")


def stored_head(golden: dict[str, Tensor]) -> selfpatch.AggregationHead:
    width = golden["in.tokens"].shape[2]
    head = selfpatch.AggregationHead(
        width, int(golden["cfg.heads"]), 2, selected=int(golden["cfg.topk"]), wrap=True
    ).double()
    state = {our_name(key.removeprefix("param.")): value for key, value in golden.items() if key.startswith("param.")}
    head.attention.load_state_dict(
        {name: value.flatten() if name == "query" else value for name, value in state.items()}
    )
    return head


@pytest.mark.golden
def test_neighbours_and_those_that_are_most_alike_are_the_authors(golden: dict[str, Tensor]) -> None:
    grid, tokens = int(golden["cfg.grid"]), golden["in.tokens"]
    numbers, exists = grid_neighbours(grid, grid, wrap=True)
    assert torch.equal(numbers, golden["out.neighbours"])
    assert bool(exists.all())
    cosines = F.cosine_similarity(tokens[:, :, None], tokens[:, numbers], dim=3)
    torch.testing.assert_close(cosines, golden["out.similarity"], **CLOSE)
    chosen, _ = most_similar(tokens, numbers, exists, int(golden["cfg.topk"]))
    assert torch.equal(chosen, golden["out.selected"])


@pytest.mark.golden
def test_both_sides_of_the_head_and_their_gradients_are_the_authors(golden: dict[str, Tensor]) -> None:
    grid = (int(golden["cfg.grid"]),) * 2
    sides: dict[str, tuple[Tensor, Tensor, Tensor, Any]] = {}
    for side in ("student", "teacher"):
        head, tokens = stored_head(golden), golden["in.tokens"].clone().requires_grad_()
        patches = head.patches(tokens) if side == "student" else head.targets(tokens, grid)
        sides[side] = head.image(tokens)[:, None], patches, tokens, head
    for side, (image, patches, tokens, _) in sides.items():
        torch.testing.assert_close(image, golden[f"out.{side}_image"], **CLOSE)
        torch.testing.assert_close(patches, golden[f"out.{side}_patches"], **CLOSE)
        (torch.cat([image, patches], dim=1) * golden["in.cotangent"]).sum().backward()
        torch.testing.assert_close(tokens.grad, golden[f"grad.{side}.tokens"], **CLOSE)
    attention = sides["student"][3].attention
    for key, expected in golden.items():
        name = key.removeprefix("grad.student.")
        if key.startswith("grad.student.") and name != "tokens":
            found = attention.get_parameter(our_name(name)).grad.reshape(expected.shape)
            torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.golden
def test_losses_centres_and_gradients_are_the_authors() -> None:
    golden = load_golden("selfpatch_loss")
    views, batch = int(golden["cfg.n_views"]), int(golden["cfg.batch"])
    temperatures = float(golden["cfg.student_temp"]), float(golden["cfg.teacher_temp"])
    student = {
        (kind, size): golden[f"in.student_{kind}_{size}"].clone().requires_grad_()
        for kind, size in itertools.product(("image", "patch"), ("global", "local"))
    }
    crops = {
        side: torch.cat(
            [
                (student["image", size] if side == "student" else golden[f"in.teacher_image_{size}"])
                for size in ("global", "local")
            ]
        ).unflatten(0, (views, batch))
        for side in ("student", "teacher")
    }
    image = centred_cross_entropy(crops["student"], crops["teacher"][:2], golden["in.center_image"], *temperatures)
    torch.testing.assert_close(image, golden["out.loss_image"], **CLOSE)
    losses, wanted = [], []
    for size in ("global", "local"):
        mine = student["patch", size].unflatten(0, (-1, batch))
        theirs = golden[f"in.teacher_patch_{size}"].unflatten(0, (-1, batch))
        for own, target in zip(mine, theirs, strict=True):
            losses.append(selfpatch.patch_cross_entropy(own, target, golden["in.center_patch"], *temperatures))
            wanted.append(target)
    patch = torch.stack(losses).mean()
    torch.testing.assert_close(patch, golden["out.loss_patch"], **CLOSE)
    whole = image + float(golden["cfg.patch_weight"]) * patch
    torch.testing.assert_close(whole, golden["out.loss"], **CLOSE)
    whole.backward()
    for (kind, size), rows in student.items():
        torch.testing.assert_close(rows.grad, golden[f"grad.student_{kind}_{size}"], **CLOSE)
    momentum = float(golden["cfg.center_momentum"])
    moved = moved_centre(golden["in.center_image"], crops["teacher"].mean(0), momentum)
    torch.testing.assert_close(moved, golden["out.center_image_after"], **CLOSE)
    moved = moved_centre(golden["in.center_patch"], torch.cat(wanted, dim=1).mean(1), momentum)
    torch.testing.assert_close(moved, golden["out.center_patch_after"], **CLOSE)


def test_a_corner_has_three_neighbours_on_a_sheet_and_eight_on_a_torus() -> None:
    numbers, exists = grid_neighbours(4, 5)
    assert numbers[0][exists[0]].tolist() == [1, 5, 6]
    numbers, exists = grid_neighbours(4, 5, wrap=True)
    assert numbers[0][exists[0]].tolist() == [1, 4, 5, 6, 9, 15, 16, 19]


def test_a_cell_is_never_its_own_neighbour_and_all_are_in_order() -> None:
    for wrap in (False, True):
        numbers, exists = grid_neighbours(3, 4, 2, wrap=wrap)
        for cell, (row, real) in enumerate(zip(numbers, exists, strict=True)):
            found = row[real].tolist()
            assert cell not in found
            assert found == sorted(set(found))


def test_only_neighbours_that_exist_are_selected() -> None:
    cells = torch.randn(2, 6, 4)
    numbers, exists = grid_neighbours(2, 3)
    chosen, mask = most_similar(cells, numbers, exists, 5)
    for image, cell in itertools.product(range(2), range(6)):
        assert set(chosen[image, cell][mask[image, cell]].tolist()) <= set(numbers[cell][exists[cell]].tolist())


def test_a_grid_without_enough_neighbours_is_refused_before_training() -> None:
    few: Any = engine.build("selfpatch", "tiny", {"selected": 4})  # crops of 16 pixels are 2 x 2 patches
    with pytest.raises(DeixisError, match=r"2 x 2 patches: a patch has 3 neighbours.*4 are.*at most 3"):
        few.stages()
    one: Any = engine.build("selfpatch", "tiny", {"view.crops": (Crop(2, 24), Crop(1, 8))})
    with pytest.raises(DeixisError, match=r"1 x 1 patches: a patch has 0 neighbours.*larger crops"):
        one.stages()


@pytest.mark.parametrize("preset", [selfpatch.Config(), selfpatch.Config.desk()], ids=["default", "desk"])
def test_crops_of_the_presets_have_enough_neighbours_in_the_starter(preset: selfpatch.Config) -> None:
    head = selfpatch.AggregationHead(8, 2, selected=preset.selected)
    for crop in preset.view.crops:
        side = math.ceil(crop.size / 32)  # the starter's cells are 32 pixels wide
        assert head.neighbours((side, side))[0].shape[1] == 8


def test_the_head_never_reads_the_patch_itself_for_want_of_neighbours() -> None:
    cells, head = torch.randn(2, 1, 8), selfpatch.AggregationHead(8, 2)
    with pytest.raises(DeixisError, match="1 x 1"):
        head.targets(cells, (1, 1))
    itself = selfpatch.AggregationHead(8, 2, neighbours="self")  # the control, asked for by name
    assert itself.targets(cells, (1, 1)).shape == cells.shape


def test_without_a_weight_for_patches_the_loss_is_that_of_whole_crops() -> None:
    method: Any = engine.build("selfpatch", "tiny", {"patch_weight": 0.0})
    batch = Batch.synthetic(selfpatch.CARD.needs, selfpatch.Config.tiny().view, None, 3, 0)
    losses = method(batch, Progress())
    torch.testing.assert_close(losses.total, losses.parts["image"])


def test_presets_are_those_of_the_released_code() -> None:
    published = selfpatch.Config.paper()
    assert (published.prototypes, published.patch_prototypes, published.bottleneck, published.hidden) == (
        65536,
        4096,
        256,
        2048,
    )
    assert (published.selected, published.depth, published.patch_weight, published.wrap) == (4, 2, 0.1, True)
    assert (published.student_temperature, published.teacher_temperature, published.centre_momentum) == (
        0.1,
        (0.04, 0.04),
        0.9,
    )
    assert (published.momentum, published.optim.weight_decay, published.optim.clip) == (0.996, 0.04, 3.0)
    assert [(crop.count, crop.size) for crop in published.view.crops] == [(2, 224), (8, 96)]


def test_sets_that_share_members_are_read_as_each_by_itself_and_what_is_no_member_counts_nowhere() -> None:
    draw = torch.Generator().manual_seed(0)
    pool, states = ClassAttentionPool(8, 2), torch.randn(9, 8, generator=draw)
    with torch.no_grad():
        pool.query.normal_(generator=draw)
    chosen, mask = torch.randint(0, 9, (5, 4), generator=draw), torch.rand(5, 4, generator=draw) < 0.6
    found = pool.of_sets(states, chosen, mask)
    torch.testing.assert_close(found, pool(states[chosen], mask))
    for row, members, real in zip(found, chosen, mask, strict=True):
        torch.testing.assert_close(row, pool(states[members[real]][None])[0])
