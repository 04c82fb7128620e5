"""The SR map follows its equations step by step, has its values between 0 and 1, and explains any pair."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.errors import DeixisError
from deixis.methods import srmap
from deixis.methods.srmap import Config, blurred, context_saliency, foci_distance, grey, saliency_at, salient
from tests.support import explained, load_golden


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.golden
def test_each_step_of_the_second_half_gives_the_values_of_the_equations() -> None:
    golden = load_golden("sr_map")
    config = Config(
        scales=tuple(golden["cfg.scales"].tolist()),
        half_sizes=tuple(golden["cfg.half_sizes"].tolist()),
        relative_scales=tuple(golden["cfg.relative_scales"].tolist()),
        min_scale=float(golden["cfg.min_scale"]),
        nearest=int(golden["cfg.k"]),
        position_weight=float(golden["cfg.position_weight"]),
        foci=float(golden["cfg.foci_threshold"]),
        longest=0,
    )
    maps = grey(golden["in.relevance"])
    close(maps, golden["out.grey"])
    found = context_saliency(maps, config)
    for number, each in enumerate(found.scales):
        close(each, golden[f"out.saliency_scale{number}"])
    close(found.mean, golden["out.saliency_mean"])
    assert torch.equal(found.foci, golden["out.foci"])
    close(found.distance, golden["out.foci_distance"])
    close(found.map, golden["out.sr_map"])


TINY = Config.tiny()


def built(**overrides: Any) -> srmap.Method:
    method: srmap.Method = engine.build("srmap", "tiny", overrides, seed=3)
    return method


def images(count: int = 2, side: int = 32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_saliency_at_a_scale_equals_a_loop_over_pixels_and_patches() -> None:
    """One scale, one relative scale, so that no resizing hides what is compared with what."""
    config = dataclasses.replace(TINY, relative_scales=(1.0,), nearest=3)
    height, width, half = 9, 7, 1
    maps = torch.rand(1, height, width, generator=torch.Generator().manual_seed(1)).double()

    def patch(row: int, column: int) -> Tensor:
        return maps[0, row - half : row + half + 1, column - half : column + half + 1].flatten()

    grid = [(k, m) for k in range(half, height - half, half) for m in range(half, width - half, half)]
    wanted = torch.zeros(1, height, width).double()
    for row in range(half, height - half):
        for column in range(half, width - half):
            unlike = []
            for k, m in grid:
                apart = math.hypot(row - k, column - m) / height
                unlike.append(float((patch(row, column) - patch(k, m)).norm()) / (1 + 3 * apart))
            wanted[0, row, column] = 1 - math.exp(-49 / 9 * sum(sorted(unlike)[:3]) / 3)
    close(saliency_at(maps, 1.0, half, config), wanted)
    close(saliency_at(maps, 1.0, half, config, chunk=4), wanted)


def test_nearness_to_the_foci_is_measured_in_pixels_and_ends_at_1() -> None:
    foci = torch.zeros(2, 3, 5, dtype=torch.bool)
    foci[0, 0, 0] = True
    found = foci_distance(foci)
    assert float(found[0, 0, 0]) == 0
    assert float(found[0, 2, 4]) == 1
    torch.testing.assert_close(found[0, 0, 3], torch.tensor(3 / math.hypot(2, 4)).double(), check_dtype=True)
    assert not found[1].any(), "without foci there is no distance"


def test_one_odd_spot_stands_out_and_a_constant_map_has_nothing_that_does() -> None:
    relevance = torch.full((2, 3, 24, 32), 0.1)
    relevance[0, :, 10:13, 20:23] = 1.0
    found = salient(relevance, TINY)
    place = int(found[0].argmax())
    assert 8 <= place // 32 <= 14
    assert 18 <= place % 32 <= 24
    assert not found[1].any()
    assert found.isfinite().all()


def test_a_map_too_small_for_a_patch_is_0_and_finite() -> None:
    assert not salient(torch.rand(1, 3, 2, 2), TINY).any()


def test_the_baseline_is_the_same_relevance_under_a_gaussian() -> None:
    relevance = torch.zeros(1, 3, 15, 15)
    relevance[0, 0, 7, 7] = -2.0
    assert torch.equal(blurred(relevance, 0.0), grey(relevance))
    found = blurred(relevance, 1.0)[0]
    assert float(found[7, 7]) == 1
    ratio = torch.tensor(math.exp(-0.5))
    torch.testing.assert_close(found[7, 8], ratio, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("step", ["salient", "blur", "none"])
def test_maps_lie_between_0_and_1_at_image_size_for_one_score_or_several(step: str) -> None:
    method, pixels = built(step=step), images()
    one = method.attribute(pixels, lambda embedding: embedding[:, 0])
    several = method.attribute(pixels, lambda embedding: embedding[:, :3])
    assert one.shape == (2, 32, 32)
    assert several.shape == (2, 3, 32, 32)
    torch.testing.assert_close(several[:, 0], one)
    for each in (one, several):
        assert float(each.min()) == 0
        assert float(each.max()) == 1


def test_each_text_gets_its_own_map_and_the_relevance_beside() -> None:
    method, pixels = built(step="none"), images()
    found = explained(method, pixels, ["a red bird", "a tractor"])
    assert found.image.shape == found.raw["input"].shape == (2, 2, 32, 32)
    assert not torch.allclose(found.image[:, 0], found.image[:, 1])
    contrast = explained(method, pixels, ["a red bird"], others=["a red bird"])
    assert not contrast.raw["input"].any(), "nothing speaks for a text rather than for itself"


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(DeixisError, match="no set of rules 'lrp'"):
        built(rules="lrp")
