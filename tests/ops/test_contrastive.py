from __future__ import annotations

import math

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from deixis.ops.contrastive import info_nce, one_way, same_targets, sigmoid_pairs, soft_targets
from tests.support import load_golden


def vectors(count: int, width: int, seed: int) -> Tensor:
    rows = torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return normalize(rows, dim=1).requires_grad_()


def by_loop(image: Tensor, text: Tensor, scale: Tensor, targets: Tensor) -> Tensor:
    """The equations, one pair at a time."""
    count = len(image)
    logits = [[scale * (image[i] * text[j]).sum() for j in range(count)] for i in range(count)]
    total = torch.zeros((), dtype=image.dtype)
    for i in range(count):
        row = torch.stack([logits[i][j].exp() for j in range(count)]).sum()
        column = torch.stack([logits[j][i].exp() for j in range(count)]).sum()
        mass = sum(float(targets[j, i]) for j in range(count))
        for j in range(count):
            total = total - targets[i, j] * (logits[i][j] - row.log())
            total = total - targets[j, i] / mass * (logits[j][i] - column.log())
    return total / (2 * count)


def gradients(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize("kind", ["identity", "same", "soft"])
def test_value_and_gradients_equal_a_slow_loop(kind: str) -> None:
    image, text = vectors(6, 5, 0), vectors(6, 5, 1)
    scale = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    targets = {
        "identity": None,
        "same": same_targets(torch.tensor([4, 1, 4, 2, 4, 2]), torch.float64),
        "soft": soft_targets(text, 3.0),
    }[kind]
    fast = info_nce(image, text, scale=scale, targets=targets)
    slow = by_loop(image, text, scale, torch.eye(6).double() if targets is None else targets)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=0)
    for ours, theirs in zip(gradients(fast, image, text, scale), gradients(slow, image, text, scale), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


def test_without_targets_it_is_the_cross_entropy_of_both_ways_averaged() -> None:
    image, text = vectors(8, 4, 2), vectors(8, 4, 3)
    logits, labels = 20.0 * image @ text.T, torch.arange(8)
    both = (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
    torch.testing.assert_close(info_nce(image, text, scale=20.0), both, rtol=1e-13, atol=0)
    identity = info_nce(image, text, scale=20.0, targets=torch.eye(8, dtype=torch.float64))
    torch.testing.assert_close(identity, both, rtol=1e-13, atol=0)


def test_the_backward_targets_are_the_transpose_with_rows_of_sum_one() -> None:
    image, text = vectors(4, 3, 4), vectors(4, 3, 5)
    targets = torch.rand(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(6)).softmax(1)
    backward = targets.T / targets.sum(0)[:, None]
    expected = (cross_entropy(9 * image @ text.T, targets) + cross_entropy(9 * text @ image.T, backward)) / 2
    torch.testing.assert_close(info_nce(image, text, scale=9.0, targets=targets), expected, rtol=1e-13, atol=0)


def test_a_text_that_no_image_points_at_is_refused() -> None:
    rows = torch.eye(2)
    with pytest.raises(ValueError, match="no image as its target"):
        info_nce(rows, rows, scale=1.0, targets=torch.tensor([[1.0, 0.0], [1.0, 0.0]]))


def test_one_way_chooses_among_more_entries_than_queries_but_not_fewer() -> None:
    queries, gallery = vectors(3, 4, 7), vectors(5, 4, 8)
    expected = cross_entropy(2 * queries @ gallery.T, torch.arange(3))
    torch.testing.assert_close(one_way(queries, gallery, scale=2.0), expected, rtol=1e-13, atol=0)
    with pytest.raises(ValueError, match="5 queries can't each find their own of 3"):
        one_way(gallery, queries, scale=2.0)


def test_same_targets_spread_a_row_over_its_key() -> None:
    found = same_targets(torch.tensor([8, 3, 8, 8]))
    third = 1 / 3
    torch.testing.assert_close(
        found,
        torch.tensor([[third, 0, third, third], [0, 1, 0, 0], [third, 0, third, third], [third, 0, third, third]]),
    )


def test_soft_targets_by_hand_are_constants() -> None:
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    found = soft_targets(text, 2.0)
    high = math.exp(2) / (math.exp(2) + 1)
    torch.testing.assert_close(found, torch.tensor([[high, 1 - high], [1 - high, high]]))
    assert not found.requires_grad


def test_large_scales_stay_finite() -> None:
    image, text = torch.eye(3, requires_grad=True), torch.eye(3).flip(0)
    loss = info_nce(image, text, scale=1e4)
    assert loss.isfinite()
    assert gradients(loss, image)[0].isfinite().all()


TILES = pytest.mark.parametrize("tile", [1, 3, 7, 50])


@TILES
@pytest.mark.parametrize("kind", ["own", "keys", "soft", "smoothed", "ignored"])
def test_value_and_gradients_do_not_depend_on_the_tile(kind: str, tile: int) -> None:
    """In float32: equal to the loss in one piece to 1e-6, whatever is right and whatever is left out."""
    image, text = (vectors(11, 6, seed).float().detach().requires_grad_() for seed in (0, 1))
    scale = torch.tensor(10.0, requires_grad=True)
    options = {
        "own": {},
        "keys": {"keys": torch.arange(11) // 2},
        "soft": {"targets": soft_targets(text, 5.0)},
        "smoothed": {"smoothing": 0.1},
        "ignored": {"ignore": (torch.arange(11)[:, None] - torch.arange(11)).abs() == 2},
    }[kind]
    whole, tiled = (info_nce(image, text, scale=scale, tile=size, **options) for size in (None, tile))
    torch.testing.assert_close(tiled, whole, rtol=1e-6, atol=1e-6)
    pairs = zip(gradients(tiled, image, text, scale), gradients(whole, image, text, scale), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@TILES
def test_pairs_of_the_sigmoid_loss_do_not_depend_on_the_tile(tile: int) -> None:
    image, text = vectors(9, 5, 0), vectors(9, 5, 1)
    keys = torch.tensor([0, 1, 2, 0, 3, 1, 4, 5, 0])
    whole, tiled = (sigmoid_pairs(image, text, scale=4.0, bias=-2.0, keys=keys, tile=size) for size in (None, tile))
    matches = sigmoid_pairs(image, text, scale=4.0, bias=-2.0, matches=keys[:, None] == keys)
    torch.testing.assert_close(tiled, whole, rtol=1e-13, atol=0)
    torch.testing.assert_close(matches, whole, rtol=1e-13, atol=0)
    for ours, theirs in zip(gradients(tiled, image, text), gradients(whole, image, text), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def test_keys_are_the_targets_that_share_a_row_among_equals() -> None:
    image, text, keys = vectors(7, 4, 2), vectors(7, 4, 3), torch.tensor([5, 1, 5, 5, 2, 1, 0])
    by_keys = info_nce(image, text, scale=6.0, keys=keys)
    by_targets = info_nce(image, text, scale=6.0, targets=same_targets(keys, torch.float64))
    torch.testing.assert_close(by_keys, by_targets, rtol=1e-13, atol=0)
    for ours, theirs in zip(gradients(by_keys, image, text), gradients(by_targets, image, text), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-14)


def test_smoothing_is_that_of_cross_entropy_and_a_bias_changes_nothing() -> None:
    image, text, labels = vectors(6, 4, 0), vectors(6, 4, 1), torch.arange(6)
    logits = 8 * image @ text.T
    both = [cross_entropy(each, labels, label_smoothing=0.1) for each in (logits, logits.T)]
    expected = (both[0] + both[1]) / 2
    torch.testing.assert_close(info_nce(image, text, scale=8.0, smoothing=0.1), expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(info_nce(image, text, scale=8.0, smoothing=0.1, bias=-7.0), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("tile", [None, 2])
def test_ignored_pairs_are_no_negatives(tile: int | None) -> None:
    """The loss is what it would be if they were not there, both ways; a whole tile of a column may be ignored."""
    image, text = vectors(5, 4, 0), vectors(5, 4, 1)
    ignore = torch.zeros(5, 5, dtype=torch.bool)
    ignore[0, 3] = ignore[0:2, 4] = ignore[4, 0] = True
    kept = (8 * image @ text.T).masked_fill(ignore, -torch.inf)
    expected = (cross_entropy(kept, torch.arange(5)) + cross_entropy(kept.T, torch.arange(5))) / 2
    found = info_nce(image, text, scale=8.0, ignore=ignore, tile=tile)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert all(gradient.isfinite().all() for gradient in gradients(found, image, text))


def test_what_is_right_can_be_said_in_one_way_only_and_must_be_seen() -> None:
    rows, eye = torch.eye(3), torch.eye(3)
    with pytest.raises(ValueError, match="give one of them"):
        info_nce(rows, rows, scale=1.0, keys=torch.arange(3), targets=eye)
    with pytest.raises(ValueError, match="nothing would be left to find"):
        info_nce(rows, rows, scale=1.0, ignore=eye.bool())
    with pytest.raises(ValueError, match="smoothing spreads mass over all"):
        info_nce(rows, rows, scale=1.0, smoothing=0.1, ignore=torch.zeros(3, 3, dtype=torch.bool))


@pytest.mark.parametrize("tile", [None, 2])
def test_the_loss_can_be_differentiated_twice(tile: int | None) -> None:
    image, text = vectors(4, 3, 0), vectors(4, 3, 1)
    loss = lambda x, y: info_nce(x, y, scale=3.0, keys=torch.tensor([0, 1, 0, 2]), smoothing=0.1, tile=tile)  # noqa: E731
    assert torch.autograd.gradgradcheck(loss, (image, text))


@pytest.mark.parametrize("tile", [None, 3])
def test_under_autocast_similarities_stay_in_float32(tile: int | None) -> None:
    """bfloat16 has 8 bits: at a scale of 100 a logit would be off by 0.2, and by 0.004 of it at any."""
    image, text = (vectors(8, 64, seed).float().detach().requires_grad_() for seed in (0, 1))
    plain = info_nce(image, text, scale=100.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = info_nce(image, text, scale=100.0, tile=tile)
        pairs = sigmoid_pairs(image, text, scale=10.0, bias=-10.0, tile=tile)
    torch.testing.assert_close(mixed, plain, rtol=1e-6, atol=0)
    torch.testing.assert_close(pairs, sigmoid_pairs(image, text, scale=10.0, bias=-10.0), rtol=1e-6, atol=0)
    for ours, theirs in zip(gradients(mixed, image, text), gradients(plain, image, text), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_no_tensor_as_large_as_all_pairs_is_kept() -> None:
    """What autograd keeps is counted: a plain loss keeps N x N numbers."""
    image, text = (vectors(1024, 8, seed).float().detach().requires_grad_() for seed in (0, 1))
    losses = {
        "plain": lambda: cross_entropy(10 * image @ text.T, torch.arange(1024)),
        "ours": lambda: info_nce(image, text, scale=10.0),
        "pairs": lambda: sigmoid_pairs(image, text, scale=10.0, bias=-10.0, tile=128),
    }
    largest = {}
    for name, loss in losses.items():
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, seen=kept: (seen.append(x.numel()), x)[1], lambda x: x):
            loss()
        largest[name] = max(kept)
    assert largest == {"plain": 1024 * 1024, "ours": 1024 * 8, "pairs": 1024 * 8}


def test_a_batch_of_one_and_one_of_equal_captions_teach_nothing() -> None:
    one = torch.eye(2)[:1].requires_grad_()
    alone = info_nce(one, one, scale=5.0)
    assert float(alone.detach()) == 0
    assert not gradients(alone, one)[0].any()
    image, text = vectors(4, 3, 0), vectors(1, 3, 1).expand(4, 3)
    equal = one_way(image, text, scale=5.0, keys=torch.zeros(4, dtype=torch.long))
    assert float(equal.detach()) == pytest.approx(math.log(4))
    assert gradients(equal, image)[0].abs().max() < 1e-15


def test_what_is_no_number_shows_and_widths_must_be_equal() -> None:
    rows = vectors(4, 3, 0)
    assert info_nce(rows * torch.nan, rows, scale=5.0).isnan()
    with pytest.raises(TypeCheckError, match="D"):
        info_nce(rows, rows[:, :2], scale=1.0)


def golden_case(bias: bool) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor, Tensor]:
    """The stored inputs as float64 leaves; a bias on all logits is one more coordinate of both sides."""
    golden = load_golden("openclip_cliploss")
    leaves = {
        "image_features": golden["in.image_features"].double().requires_grad_(),
        "text_features": golden["in.text_features"].double().requires_grad_(),
        "log_scale": golden["param.log_scale"].requires_grad_(),
    }
    image, text = (normalize(leaves[name], dim=1) for name in ("image_features", "text_features"))
    scale = leaves["log_scale"].exp()
    if bias:
        leaves["logit_bias"] = golden["param.logit_bias"].requires_grad_()
        ones = torch.ones(len(image), 1, dtype=torch.float64)
        image, text = torch.cat([image, ones], 1), torch.cat([text, ones * leaves["logit_bias"] / scale], 1)
    return golden, leaves, image, text, scale


@pytest.mark.golden
@pytest.mark.parametrize("variant", ["plain", "with_bias"])
def test_loss_and_gradients_are_those_of_open_clip(variant: str) -> None:
    golden, leaves, image, text, scale = golden_case(bias=variant == "with_bias")
    loss = info_nce(image, text, scale=scale)
    torch.testing.assert_close(loss, golden[f"out.{variant}.loss"], rtol=1e-12, atol=0)
    for name, found in zip(leaves, gradients(loss, *leaves.values()), strict=True):
        torch.testing.assert_close(found, golden[f"grad.{variant}.{name}"], rtol=1e-10, atol=1e-14)


@pytest.mark.golden
@pytest.mark.parametrize("variant", ["smoothed", "unsmoothed", "initial_temperature"])
@pytest.mark.parametrize("tile", [None, 5])
def test_the_smoothed_loss_and_its_gradients_are_those_of_align(variant: str, tile: int | None) -> None:
    """ALIGN adds the two directions, and has a temperature in place of a scale."""
    golden = load_golden("align_loss")
    temperature = golden["param.temperature"] if variant != "initial_temperature" else torch.ones(()).double()
    leaves = {name: golden[f"in.{name}"].double().requires_grad_() for name in ("image_features", "text_features")}
    leaves["temperature"] = temperature.requires_grad_()
    image, text = (normalize(leaves[name], dim=1) for name in ("image_features", "text_features"))
    smoothing = 0.0 if variant == "unsmoothed" else float(golden["cfg.label_smoothing"])
    loss = 2 * info_nce(image, text, scale=1 / leaves["temperature"], smoothing=smoothing, tile=tile)
    torch.testing.assert_close(loss, golden[f"out.{variant}.loss"], rtol=1e-10, atol=0)
    for name, found in zip(leaves, gradients(loss, *leaves.values()), strict=True):
        torch.testing.assert_close(found, golden[f"grad.{variant}.{name}"], rtol=1e-8, atol=1e-12)


@pytest.mark.golden
@pytest.mark.parametrize("variant", ["smoothed", "unsmoothed", "initial_temperature"])
def test_each_direction_of_the_loss_is_that_of_align(variant: str) -> None:
    golden = load_golden("align_loss")
    temperature = 1.0 if variant == "initial_temperature" else float(golden["param.temperature"])
    smoothing = 0.0 if variant == "unsmoothed" else float(golden["cfg.label_smoothing"])
    image, text = (normalize(golden[f"in.{name}_features"].double(), dim=1) for name in ("image", "text"))
    for queries, gallery, name in ((image, text, "image_to_text"), (text, image, "text_to_image")):
        found = one_way(queries, gallery, scale=1 / temperature, smoothing=smoothing)
        torch.testing.assert_close(found, golden[f"out.{variant}.loss_{name}"], rtol=1e-10, atol=0)


@pytest.mark.golden
def test_logits_means_and_shards_are_those_of_align() -> None:
    golden = load_golden("align_loss")
    scale, smoothing = 1 / float(golden["param.temperature"]), float(golden["cfg.label_smoothing"])
    image, text = (normalize(golden[f"in.{name}_features"].double(), dim=1) for name in ("image", "text"))
    torch.testing.assert_close(scale * image @ text.T, golden["out.smoothed.logits_per_image"], rtol=1e-12, atol=1e-13)
    mean = info_nce(image, text, scale=scale, smoothing=smoothing)
    torch.testing.assert_close(mean, golden["out.smoothed.loss_mean_of_directions"], rtol=1e-10, atol=0)
    count = len(image)
    targets = (1 - smoothing) * torch.eye(count, dtype=torch.float64) + smoothing / count
    world = int(golden["cfg.world_size"])
    shards = [
        one_way(x, text, scale=scale, targets=p) + one_way(y, image, scale=scale, targets=p)
        for x, y, p in zip(image.chunk(world), text.chunk(world), targets.chunk(world), strict=True)
    ]
    torch.testing.assert_close(torch.stack(shards), golden["out.smoothed.local_loss_per_shard"], rtol=1e-10, atol=0)


@pytest.mark.golden
def test_logits_rows_and_shards_are_those_of_open_clip() -> None:
    golden, _, image, text, scale = golden_case(bias=False)
    torch.testing.assert_close(scale * image @ text.T, golden["out.logits_per_image"], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(one_way(image, text, scale=scale), golden["out.loss_image_rows"], rtol=1e-12, atol=0)
    torch.testing.assert_close(one_way(text, image, scale=scale), golden["out.loss_text_rows"], rtol=1e-12, atol=0)
    own = torch.eye(len(image), dtype=torch.float64).chunk(int(golden["cfg.world_size"]))
    shards = [
        (one_way(x, text, scale=scale, targets=p) + one_way(y, image, scale=scale, targets=p)) / 2
        for x, y, p in zip(image.chunk(len(own)), text.chunk(len(own)), own, strict=True)
    ]
    torch.testing.assert_close(torch.stack(shards), golden["out.local_loss_per_shard"], rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.stack(shards).mean(), golden["out.plain.loss"], rtol=1e-12, atol=0)


def pairs_by_loop(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, matches: Tensor) -> Tensor:
    """The equation, one pair at a time."""
    total = torch.zeros((), dtype=image.dtype)
    for i in range(len(image)):
        for j in range(len(text)):
            sign = 1.0 if matches[i, j] else -1.0
            total = total + (1 + (-sign * (scale * (image[i] * text[j]).sum() + bias)).exp()).log()
    return total / len(image)


@pytest.mark.parametrize("given", [False, True])
def test_sigmoid_pairs_and_its_gradients_equal_a_slow_loop(given: bool) -> None:
    image, text = vectors(4, 5, 0), vectors(6 if given else 4, 5, 1)
    scale, bias = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (3.0, -1.5))
    matches = torch.rand(4, 6, generator=torch.Generator().manual_seed(2)) < 0.3 if given else None
    fast = sigmoid_pairs(image, text, scale=scale, bias=bias, matches=matches)
    slow = pairs_by_loop(image, text, scale, bias, torch.eye(4).bool() if matches is None else matches)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=0)
    leaves = (image, text, scale, bias)
    for ours, theirs in zip(gradients(fast, *leaves), gradients(slow, *leaves), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


def test_sigmoid_pairs_stay_finite_far_out_and_refuse_what_are_no_pairs() -> None:
    image = torch.eye(3, requires_grad=True)
    loss = sigmoid_pairs(image, torch.eye(3).flip(0), scale=1e4, bias=-10.0)
    assert loss.isfinite()
    assert gradients(loss, image)[0].isfinite().all()
    with pytest.raises(ValueError, match="3 images and 2 texts are no pairs"):
        sigmoid_pairs(image, torch.eye(3)[:2], scale=1.0, bias=0.0)


@pytest.mark.golden
def test_the_sigmoid_loss_and_its_gradients_are_those_of_open_clip() -> None:
    golden = load_golden("openclip_sigliploss")
    leaves = {name: golden[f"in.{name}"].double().requires_grad_() for name in ("image_features", "text_features")}
    leaves |= {name: golden[f"param.{name}"].requires_grad_() for name in ("log_scale", "logit_bias")}
    image, text = (normalize(leaves[name], dim=1) for name in ("image_features", "text_features"))
    scale, bias = leaves["log_scale"].exp(), leaves["logit_bias"]
    loss = sigmoid_pairs(image, text, scale=scale, bias=bias)
    torch.testing.assert_close(scale * image @ text.T + bias, golden["out.logits"], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(loss, golden["out.loss"], rtol=1e-12, atol=0)
    for name, found in zip(leaves, gradients(loss, *leaves.values()), strict=True):
        torch.testing.assert_close(found, golden[f"grad.{name}"], rtol=1e-10, atol=1e-14)


@pytest.mark.golden
def test_the_sigmoid_loss_adds_up_over_chunks_of_texts_and_shards_of_images() -> None:
    golden = load_golden("openclip_sigliploss")
    image, text = (normalize(golden[f"in.{name}_features"].double(), dim=1) for name in ("image", "text"))
    numbers = {"scale": golden["param.log_scale"].exp(), "bias": golden["param.logit_bias"]}
    own = torch.eye(len(image), dtype=torch.bool)
    size = int(golden["cfg.chunk_size"])
    chunks = [
        sigmoid_pairs(image, part, matches=mine, **numbers)
        for part, mine in zip(text.split(size), own.split(size, dim=1), strict=True)
    ]
    torch.testing.assert_close(torch.stack(chunks).sum(), golden["out.loss_chunked"], rtol=1e-12, atol=0)
    world = int(golden["cfg.world_size"])
    shards = [
        sigmoid_pairs(part, text, matches=mine, **numbers)
        for part, mine in zip(image.chunk(world), own.chunk(world), strict=True)
    ]
    torch.testing.assert_close(torch.stack(shards), golden["out.local_loss_per_shard"], rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.stack(shards).mean(), golden["out.loss"], rtol=1e-12, atol=0)
