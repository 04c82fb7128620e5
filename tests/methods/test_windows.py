"""Maps of what windows score, read as images of their own."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deixis import zoo
from deixis.errors import DeixisError
from deixis.methods import windows
from deixis.methods.windows import Config, places
from deixis.ops.maps import highest, to_unit


class Colours(nn.Module):
    """A classifier of red and of green, by the mean of a channel after a convolution that changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 3, 1, bias=False)
        self.same.weight.data = torch.eye(3)[:, :, None, None]

    def forward(self, images: Tensor) -> Tensor:
        return self.same(images).mean(dim=(2, 3))[:, :2]


@pytest.fixture
def scene() -> Tensor:
    """Red at the upper left, green at the lower right."""
    image = torch.zeros(1, 3, 24, 24)
    image[0, 0, 2:8, 2:8] = image[0, 1, 16:22, 16:22] = 1
    return image


@pytest.mark.parametrize(
    ("size", "side", "stride"), [(24, 1 / 2, 0.5), (224, 1 / 3, 0.5), (7, 0.3, 1.0), (5, 1.0, 0.5), (9, 0.01, 0.4)]
)
def test_windows_cover_an_axis_from_edge_to_edge_and_follow_one_another_closely(
    size: int, side: float, stride: float
) -> None:
    found = places(size, side, stride)
    length = found[0][1] - found[0][0]
    assert (found[0][0], found[-1][1]) == (0, size)
    assert {stop - start for start, stop in found} == {length}
    steps = [after[0] - before[0] for before, after in itertools.pairwise(found)]
    assert max(steps, default=0) - min(steps, default=0) <= 1
    assert max(steps, default=0) <= max(1, round(stride * length))


def test_the_map_is_the_mean_score_of_the_windows_over_each_pixel(scene: Tensor) -> None:
    model = Colours().requires_grad_(False)
    config = Config(sides=(0.5, 0.25), stride=0.5, sharpen=False)
    found = windows.Method(config, encoder=model).attribute(scene, lambda output: output[:, 0])
    maps = []
    for side in config.sides:
        total, count = torch.zeros(24, 24), torch.zeros(24, 24)
        for top, left in itertools.product(range(0, 24 - int(24 * side) + 1, int(12 * side)), repeat=2):
            part = (..., slice(top, top + int(24 * side)), slice(left, left + int(24 * side)))
            large = F.interpolate(scene[part], (24, 24), mode="bilinear")
            total[part] += model(large)[0, 0].item()
            count[part] += 1
        maps.append(to_unit(total / count))
    torch.testing.assert_close(found[0], to_unit(maps[0] + maps[1]))


@pytest.mark.parametrize("sharpen", [True, False])
def test_the_map_is_highest_on_the_thing_that_is_asked_for(scene: Tensor, sharpen: bool) -> None:
    method = windows.Method(Config(sharpen=sharpen), encoder=Colours())
    red, green = method.attribute(scene, lambda output: output - output.flip(1))[0]
    assert (red.amin(), red.amax()) == (0, 1)
    assert red[2:8, 2:8].mean() > 2 * red[16:22, 16:22].mean()
    assert green[16:22, 16:22].mean() > 2 * green[2:8, 2:8].mean()
    assert bool((highest(torch.stack([red, green])) < 12).all(-1).tolist() == [True, False])


def test_several_scores_in_one_pass_are_those_of_each_alone(scene: Tensor) -> None:
    encoder = zoo.load("tiny")
    method = windows.Method(Config.tiny(), encoder=encoder)
    images, texts = torch.rand(2, 3, 32, 32), encoder.encode_text(["a red bird", "two boats"]).clone()
    several = method.maps(images, lambda output: output @ texts.T)
    for number in range(2):
        alone = method.attribute(images, lambda output, text=texts[number]: output @ text)
        torch.testing.assert_close(alone, several.image[:, number], rtol=1e-4, atol=1e-5)
    assert several.raw["windows 0.5"].shape == (2, 2, 32, 32)


@pytest.mark.parametrize("change", [{"sides": ()}, {"sides": (0.0,)}, {"sides": (2.0,)}, {"stride": 0.0}])
def test_shares_that_are_none_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(DeixisError, match=r"Give shares above 0 and up to 1"):
        windows.Method(Config(**change), encoder=Colours())  # type: ignore[arg-type]
