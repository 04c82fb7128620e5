"""Towers of any kind take images of other sizes, and give the map of any of their layers."""

from __future__ import annotations

import pytest
import torch

from deixis import zoo
from deixis.errors import DeixisError
from deixis.nn.encoders import ImageHalf
from deixis.nn.vision.any_size import feature_map, parameters_before, pooled
from deixis.types.protocols import ImageEncoder

REGNET = "timm:regnety_002:untrained:64"
TOWERS = (
    *("tiny", "scratch:resnet:tiny", "scratch:resnet:stride8:tiny:32", "scratch:vit:tiny:32"),
    *("scratch:vit-mean:tiny:32", "timm:vit_tiny_patch16_224:untrained:32", REGNET),
)


def load(name: str) -> ImageEncoder:
    tower: ImageEncoder = zoo.load_part("image_tower", name)
    return tower


@torch.no_grad()
@pytest.mark.parametrize("name", TOWERS)
def test_images_of_other_sizes_have_features_and_a_map_and_those_of_the_own_size_are_the_same(name: str) -> None:
    tower = load(name)
    side, step = tower.preprocess.size, tower.strides[-1]
    own, larger = torch.randn(2, 3, side, side), torch.randn(2, 3, side + step, side + step)
    assert torch.equal(pooled(tower, own), tower(own))
    assert pooled(tower, larger).shape == (2, tower.width)
    cells = feature_map(tower, larger)
    assert cells.shape == (2, tower.token_width, side // step + 1, side // step + 1)
    tokens = tower.tokens(own)
    torch.testing.assert_close(feature_map(tower, own).flatten(2).transpose(1, 2), tokens.states)


@torch.no_grad()
def test_positions_of_another_size_are_interpolated_ones() -> None:
    """A tower whose positions are one and the same everywhere sees equal patches alike at any size."""
    tower = load("scratch:vit-mean:tiny:32")
    assert isinstance(tower, ImageHalf)
    tower.network.positions.data[:] = 0.3
    torch.testing.assert_close(pooled(tower, torch.ones(1, 3, 48, 48)), tower(torch.ones(1, 3, 32, 32)))


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("scratch:resnet:tiny:32", "stages.1", (1, 32, 6, 6)),
        ("scratch:vit:tiny:32", "blocks.0", (1, 32, 6, 6)),
        (REGNET, "s2", (1, 56, 6, 6)),
    ],
)
def test_a_layer_by_its_name_gives_its_map(name: str, layer: str, shape: tuple[int, ...]) -> None:
    tower = load(name)
    assert feature_map(tower, torch.randn(1, 3, 48, 48), layer).shape == shape
    with pytest.raises(DeixisError, match=rf"no layer '{layer}0'. Near names: .*{layer}"):
        feature_map(tower, torch.randn(1, 3, 48, 48), f"{layer}0")


def test_a_network_that_interpolates_no_positions_says_so() -> None:
    tower = load("timm:mixer_s16_224:untrained")
    with pytest.raises(DeixisError, match="The images are 96 by 96 pixels, and this tower sees 224 by 224"):
        pooled(tower, torch.zeros(1, 3, 96, 96))


def test_a_tower_with_positions_takes_squares_and_one_without_any_shape() -> None:
    assert feature_map(load("tiny"), torch.zeros(1, 3, 32, 48)).shape[2:] == (4, 6)
    with pytest.raises(DeixisError, match="images of 32 by 48 pixels: they are no squares"):
        pooled(load("scratch:vit:tiny:32"), torch.zeros(1, 3, 32, 48))


@pytest.mark.parametrize(
    "name", ["scratch:resnet:tiny", "scratch:vit:tiny:32", "timm:vit_tiny_patch16_224:untrained:32"]
)
def test_what_other_sizes_teach_reaches_the_positions_and_leaves_the_tower_as_it_was(name: str) -> None:
    tower = load(name)
    assert isinstance(tower, torch.nn.Module)
    before = list(tower.state_dict())
    side = tower.preprocess.size + 32
    (pooled(tower, torch.randn(1, 3, side, side)) * torch.arange(tower.width)).sum().backward()
    positions = [value for key, value in tower.named_parameters() if key.endswith(("positions", "pos_embed"))]
    assert positions
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in positions)
    assert list(tower.state_dict()) == before
    own = torch.zeros(1, 3, tower.preprocess.size, tower.preprocess.size)
    assert tower(own).shape == (1, tower.width)


@pytest.mark.slow
def test_what_lies_behind_the_pooled_features_is_the_projection() -> None:
    def behind(name: str) -> list[str]:
        tower = load(name)
        assert isinstance(tower, torch.nn.Module)
        return [key for key, _ in tower.named_parameters() if key not in parameters_before(tower, pooled)]

    assert behind("scratch:vit:tiny:32") == ["network.projection.weight"]
    assert behind("tiny") == ["network.classifier.weight", "network.classifier.bias"]
    assert behind(REGNET) == []


def test_the_last_layers_before_a_map_are_those_of_the_last_block() -> None:
    names = parameters_before(load("scratch:resnet:tiny"), feature_map, "last")
    assert names
    assert all(name.startswith("network.stages.3.") for name in names)
