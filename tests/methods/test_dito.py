"""DITO: golden vectors of the shifted trunk and of the scores; a head that learns from random boxes and captions."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis import engine, zoo
from deixis.errors import DeixisError
from deixis.methods.dito import class_logits, ensemble_scores, pooled_info_nce, random_boxes, scaled_boxes
from deixis.nn.dense.attention_pool import grid_positions
from deixis.nn.dense.window_trunk import WindowTrunk, rolled, split_windows, vit_cells, window_blocks
from deixis.nn.regions.centre_proposals import CentreProposals, place_targets
from deixis.nn.regions.region_encoder import RegionEncoder, assign_levels
from deixis.nn.vision.vit import Vit, VitConfig
from deixis.types import Batch, Progress
from deixis.zoo import scratch
from tests.clip_golden import PARTS, THIRDS, assert_gradient, close, statistics, stored
from tests.support import load_golden

_ENDS = {"patches": "patch", "post_norm": "ln_post"}


def _theirs(name: str) -> str:
    """The stored name of a tensor of ours."""
    if name == "positions":
        return "pos"
    stem, kind = name.rsplit(".", 1)
    if stem in _ENDS:
        return f"{_ENDS[stem]}.{kind}"
    _, number, part = stem.split(".", 2)
    return f"block{number}.{PARTS[part]}.{kind}"


def _vit(golden: dict[str, Tensor]) -> Vit:
    patch, native = int(golden["cfg.patch_size"]), int(golden["cfg.native_grid"])
    depth, width = len(golden["cfg.windows_per_side"]), golden["param.pos"].shape[1]
    config = VitConfig(
        patch * native,
        patch,
        width,
        depth,
        int(golden["cfg.heads"]),
        len(golden["param.block0.mlp.fc1.bias"]),
        None,
        activation="gelu_tanh",
        pool="mean",
        class_token=False,
        pre_norm=False,
        patch_bias=True,
        epsilon=float(golden["cfg.ln_eps"]),
    )
    network = Vit(config).double()
    state = {}
    for name in network.state_dict():
        whole = golden[f"param.{_theirs(name)}"]
        thirds = [place for place, part in enumerate(THIRDS) if f"attention.{part}." in name]
        state[name] = whole.chunk(3)[thirds[0]] if thirds else whole
    network.load_state_dict(state)
    return network


@pytest.mark.golden
def test_windows_shifts_their_mean_and_all_gradients_are_those_of_the_loop() -> None:
    golden = load_golden("dito_swl")
    network, windows = _vit(golden), tuple(golden["cfg.windows_per_side"].tolist())
    image, shift = golden["in.image"].double().requires_grad_(), int(golden["cfg.shift"])
    patches = network.patches(image).permute(0, 2, 3, 1)
    grid = (patches.shape[1], patches.shape[2])
    positions = grid_positions(network.positions, grid, before=0).unflatten(0, grid)
    plain = window_blocks(list(network.blocks), patches + positions, windows)
    moved = rolled(window_blocks(list(network.blocks), rolled(patches, shift) + positions, windows), -shift)
    cells = vit_cells(network, image, windows, shift).permute(0, 2, 3, 1)
    scalar = (cells * golden["in.cotangent"]).sum()
    scalar.backward()
    numbers = torch.arange(float(grid[0] * grid[1])).reshape(1, *grid, 1)
    found = {
        "out.position": positions,
        "out.patch_tokens": patches,
        "out.plain": plain,
        "out.shifted_unrolled": moved,
        "out.average": (plain + moved) / 2,
        "out.feature_map": cells,
        "out.scalar": scalar,
    }
    for key, value in found.items():
        close(value, golden[key], key)
    index = split_windows(numbers, max(windows))[..., 0]
    assert torch.equal(index.long(), golden["out.window_token_index"])
    together: dict[str, list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        together.setdefault(_theirs(name), []).append(parameter.grad)
    compared = {assert_gradient(golden, name, torch.cat(pieces)) for name, pieces in together.items()}
    assert image.grad is not None
    close(image.grad[0, 0], golden["grad.image_first_channel"])
    close(statistics(image.grad), golden["out.grad_stat.image"])
    compared |= {"grad.image_first_channel", "out.grad_stat.image", "out.window_token_index"}
    assert compared | set(found) == stored(golden)


@pytest.mark.golden
def test_logits_chances_ensemble_scores_and_gradients_are_those_of_the_loop() -> None:
    golden = load_golden("dito_scores")
    regions, texts = (golden[f"in.{name}"].double().requires_grad_() for name in ("region_features", "text_features"))
    temperature = golden["param.temperature"].double().requires_grad_()
    detector = class_logits(regions, texts, float(golden["cfg.temperature_scale"]) * temperature)
    vlm = class_logits(golden["in.vlm_features"].double(), texts, float(golden["cfg.vlm_temperature"]))
    weights = (float(golden["cfg.base_weight"]), float(golden["cfg.novel_weight"]))
    ensemble = ensemble_scores(detector, vlm, golden["in.base_mask"], *weights)
    scalar = (detector * golden["in.cotangent"]).sum()
    scalar.backward()
    found = {
        "out.detector_logits": detector,
        "out.vlm_logits": vlm,
        "out.detector_probabilities": detector.softmax(dim=-1),
        "out.vlm_probabilities": vlm.softmax(dim=-1),
        "out.ensemble": ensemble,
        "out.ensemble_without_base_mask": ensemble_scores(detector, vlm, None, *weights),
        "out.scores": golden["in.objectness"].double()[..., None] ** float(golden["cfg.objectness_power"]) * ensemble,
        "out.scalar": scalar,
    }
    for key, value in found.items():
        close(value, golden[key], key)
    gradients = {"region_features": regions.grad, "text_features": texts.grad, "temperature": temperature.grad}
    compared = {assert_gradient(golden, name, value) for name, value in gradients.items() if value is not None}
    assert compared | set(found) == stored(golden)


NAMES = ("red heart", "blue moon")


@functools.cache
def _encoder(image: str = "vit-mean") -> Any:
    return scratch.build(["a red heart , a blue moon and a green star"], "tiny", 32, 0, "transformer", image)


def _method(image: str = "vit-mean", **settings: Any) -> Any:
    settings = {"names": NAMES, "shares": (0.0, 0.5, 0.5), **settings}
    return engine.build("dito", "tiny", settings, {"encoder": _encoder(image)}, seed=1)


@pytest.mark.parametrize("image", ["vit", "vit-mean"])
def test_without_windows_and_shift_the_trunk_is_the_tower(image: str) -> None:
    encoder, images = _encoder(image), torch.randn(2, 3, 32, 32)
    trunk = WindowTrunk(encoder)
    torch.testing.assert_close(trunk(images), encoder.image_tower.cells(images))
    tokens = encoder.image_tokens(images).states
    torch.testing.assert_close(trunk.projected(images).flatten(2).transpose(1, 2), tokens)
    assert trunk.plain


def test_the_cells_of_any_tower_are_as_wide_as_the_trunk_says() -> None:
    for encoder in (zoo.load("tiny"), _encoder("resnet")):
        trunk, images = WindowTrunk(encoder), torch.zeros(1, 3, 32, 32)
        assert trunk(images).shape[1] == trunk.width
        assert trunk.projected(images).shape[1] == encoder.width


def test_what_is_shifted_by_a_period_of_the_grid_is_the_plain_trunk_without_positions() -> None:
    network = _encoder().image_tower
    cells = torch.randn(1, 4, 4, 32)
    once = window_blocks(list(network.blocks), cells, (2,))
    moved = rolled(window_blocks(list(network.blocks), rolled(cells, 2), (2,)), -2)
    torch.testing.assert_close(moved, once)
    other = rolled(window_blocks(list(network.blocks), rolled(cells, 1), (2,)), -1)
    assert not torch.allclose(other, once)


def test_windows_that_do_not_fit_are_refused_with_those_that_do() -> None:
    with pytest.raises(DeixisError, match="3 windows a side do not divide a grid of 4 by 4") as refused:
        split_windows(torch.zeros(1, 4, 4, 2), 3)
    assert "Choose 1, 2, 4" in str(refused.value)
    with pytest.raises(DeixisError, match="belongs to no window"):
        vit_cells(_encoder("vit").image_tower, torch.zeros(1, 3, 32, 32), (2,))
    with pytest.raises(DeixisError, match="A ModifiedResNet is no vision transformer"):
        WindowTrunk(_encoder("resnet"), windows=2)(torch.zeros(1, 3, 32, 32))
    with pytest.raises(DeixisError, match="shares of the stages"):
        _method(shares=(0.0, 0.0, 0.0))


def test_random_boxes_lie_inside_and_have_the_areas_and_shapes_asked_for() -> None:
    boxes = random_boxes(torch.rand(50, 20, 4), (0.02, 0.4), (0.5, 2.0))
    assert boxes.min() >= 0
    assert boxes.max() <= 1 + 1e-6
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    assert (width * height).min() >= 0.02 - 1e-4
    assert (width * height).max() <= 0.4 + 1e-4
    assert (width / height).min() >= 0.5 - 1e-4
    assert (width / height).max() <= 2 + 1e-4


def test_pooled_contrast_by_the_maximum_is_that_of_the_largest_coordinates() -> None:
    regions, text = torch.randn(3, 4, 5), F.normalize(torch.randn(3, 5), dim=-1)
    pooled = torch.stack([torch.stack([max(row[:, d]) for d in range(5)]) for row in regions])
    logits = 10 * F.normalize(pooled, dim=-1) @ text.T
    loss = (F.cross_entropy(logits, torch.arange(3)) + F.cross_entropy(logits.T, torch.arange(3))) / 2
    torch.testing.assert_close(pooled_info_nce(regions, text, scale=10.0), loss)
    mean = pooled_info_nce(regions, text, scale=10.0, pool="mean")
    torch.testing.assert_close(mean, pooled_info_nce(regions.mean(1, keepdim=True), text, scale=10.0))


def test_a_box_is_read_from_the_level_of_its_size_as_it_is_from_that_level_alone() -> None:
    torch.manual_seed(0)
    encoder = RegionEncoder(6, 4, 8, 5, scales=(2.0, 1.0, 0.5), size=2)
    levels = encoder.levels(torch.randn(2, 6, 16, 16))
    boxes = torch.tensor([[[0.1, 0.1, 0.5, 0.6], [0.0, 0.0, 1.0, 0.9]], [[0.0, 0.0, 1.0, 1.0], [0.2, 0.3, 0.6, 0.7]]])
    owners = assign_levels(boxes, [(each.shape[2], each.shape[3]) for each in levels])
    assert owners.tolist() == [[0, 1], [1, 0]]
    alone = torch.stack([encoder(levels, boxes, level) for level in range(3)])
    torch.testing.assert_close(encoder(levels, boxes), alone.gather(0, owners[None, ..., None].expand(1, -1, -1, 5))[0])


def test_scaled_boxes_keep_their_middle() -> None:
    assert scaled_boxes(torch.tensor([0.2, 0.2, 0.6, 0.4]), 0.5).tolist() == pytest.approx([0.3, 0.25, 0.5, 0.35])


def test_a_place_belongs_to_the_smallest_box_and_is_central_in_its_middle() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.75, 0.75], [0.0, 0.0, 0.0, 0.0]]])
    targets = place_targets(boxes, torch.tensor([[True, True, False]]), [(4, 4)])
    assert targets.inside.all()
    middle = targets.centerness[0].reshape(4, 4)
    assert middle[1, 1] == pytest.approx(1.0)  # of 3 x 3 cells
    assert targets.boxes[0].reshape(4, 4, 4)[3, 3].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert middle[3, 3] == pytest.approx(1 / 7)
    assert not place_targets(boxes[:, :0], torch.zeros(1, 0, dtype=torch.bool), [(4, 4)]).inside.any()


def test_proposals_that_lie_on_a_surer_one_are_removed() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.45], [0.5, 0.5, 1.2, 1.0], [0.3, 0.3, 0.3, 0.4]]])
    found, scores, valid = CentreProposals.chosen(torch.tensor([[1.0, 2.0, 0.0, 3.0]]), boxes, 3, 0.7)
    assert valid.tolist() == [[True, True, False]]
    assert found[0, 0].tolist() == pytest.approx([0.0, 0.0, 0.5, 0.45])
    assert found[0, 1].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert scores[0, 0] > scores[0, 1]


def _columns(method: Any) -> Batch:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    texts = F.normalize(torch.randn(2, 16, generator=torch.Generator().manual_seed(1)), dim=-1)
    specs = {spec.name: spec for stage in method.stages() for spec in stage.needs if spec.made is not None}
    with torch.no_grad():
        extra = {"cells": method.trunk(images), "text_embedding": texts}
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]] * 2)
    return Batch(
        ids=("a", "b"),
        boxes=boxes,
        phrases=(("red heart", "a green star"), ("the blue moon",)),
        valid={"T": torch.tensor([[True, True], [True, False]])},
        extra=extra,
        specs=specs,
    )


@pytest.mark.parametrize("levels", ["each", "joined"])
def test_a_trunk_at_rest_is_a_column_and_both_stages_train_what_they_say(levels: str) -> None:
    method = _method(levels=levels, windows=2, whole=1, shift=1)
    batch = _columns(method)
    for stage in method.stages():
        chosen = engine.enter(method, stage)
        losses = method(batch, Progress(stage=stage.name))
        losses.total.backward()
        assert [name for name, value in chosen.items() if value.grad is None] == []
        assert not any(name.startswith(("encoder.", "trunk.")) for name in chosen)
    assert set(losses.parts) == {"classes", "centerness", "sides"}


def test_a_region_of_another_class_teaches_the_classifier_nothing() -> None:
    method = _method(moved=0, strays=0)
    batch = _columns(method)
    logits = torch.randn(2, 2, 3, requires_grad=True)
    parts, _ = method._class_loss(logits, batch.boxes, batch)
    parts["classes"].backward()
    assert logits.grad is not None
    reached = logits.grad.abs().sum(dim=-1) > 0
    assert reached.tolist() == [[True, False], [True, True]]  # the last shows nothing: its box is padding


def test_a_phrase_that_is_a_base_class_takes_its_place_and_any_other_joins_them() -> None:
    method = _method().eval()
    tokens = method.encoder.tokenize(["a red heart", "a green star"])
    with torch.no_grad():
        found = method.ground(torch.randn(2, 3, 32, 32), *tokens)
        classes = method._classes()
        text = method.encoder.encode_text(["a red heart"])[0]
        logits = torch.randn(1, 4, 3)
        chance = method._chance(logits, logits, (logits[..., 1], logits[..., 1]), text)
    assert found.scores.shape == (2, 1, 6)
    assert (found.scores >= 0).all()
    assert (found.scores <= 1).all()
    base = torch.tensor([False, True, True])
    torch.testing.assert_close(classes[1], text)
    weights = (method.config.base_weight, method.config.novel_weight)
    torch.testing.assert_close(chance, ensemble_scores(logits, logits, base, *weights)[0, :, 1])


def test_a_phrase_by_its_span_is_read_as_a_text_of_its_own() -> None:
    method = _method().eval()
    tokens = method.encoder.tokenize(["a red heart and a green star"])
    spans = torch.tensor([[[[1, 4]], [[5, 8]]]])
    texts = method._phrases(*tokens, spans)[0]
    torch.testing.assert_close(texts, method.encoder.encode_text(["a red heart", "a green star"]))
    assert method.ground(torch.randn(1, 3, 32, 32), *tokens, spans).scores.shape == (1, 2, 6)
