"""Images that got worse: alike each time, worse with each strength, and as Pillow codes JPEG."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deixis.data.quality.corruptions import KINDS, SIDE, STRENGTHS, CorruptedImage, corrupted


def photo(height: int, width: int) -> torch.Tensor:
    """Smooth shapes and some texture."""
    rng = torch.Generator().manual_seed(0)
    coarse, fine = torch.rand(1, 3, 5, 5, generator=rng), torch.rand(1, 3, height, width, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    return (0.85 * smooth + 0.15 * fine)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_gets_worse_with_each_strength_each_time_alike_and_the_smallest_too(kind: str) -> None:
    image = photo(40, 52)
    errors = []
    for strength in STRENGTHS:
        found = corrupted(image, kind, strength, "a")
        assert torch.equal(found, corrupted(image, kind, strength, "a"))
        assert found.shape == image.shape
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        errors.append(float((found - image).square().mean()))
    assert 0 < errors[0] < errors[1] < errors[2]
    assert corrupted(torch.rand(3, 1, 1), kind, 3, "a").shape == (3, 1, 1)


def test_jpeg_loses_what_pillow_loses_at_the_same_quality() -> None:
    image = photo(44, 60)
    memory = io.BytesIO()
    pixels = (255 * image).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(memory, "JPEG", quality=int(KINDS["jpeg"][1][0]), subsampling=0)
    theirs = torch.from_numpy(np.array(Image.open(memory))).permute(2, 0, 1) / 255
    ours = corrupted(torch.from_numpy(pixels).permute(2, 0, 1) / 255, "jpeg", 1, "a")
    assert float((ours - theirs).abs().mean()) < 0.2 * float((theirs - image).abs().mean())


def test_what_is_drawn_has_a_shorter_side_of_224_at_most(tmp_path: Path) -> None:
    Image.new("RGB", (600, 450), (200, 30, 30)).save(tmp_path / "large.png")
    drawn = CorruptedImage(tmp_path / "large.png", "contrast", 1, "a")
    assert drawn.draw().shape == (SIDE, 299, 3)
    assert "contrast, strength 1" in drawn.name
