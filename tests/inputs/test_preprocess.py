"""Preprocessing equals torchvision's and timm's on Pillow images, survives any shape, and is described by data."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from PIL import Image

from deixis.errors import DeixisError
from deixis.inputs import preprocess
from deixis.inputs.images import ImageError, load_image
from deixis.inputs.preprocess import Preprocess
from tests.support import Peer, examples

RAW = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
transforms, functional = Peer("torchvision.transforms"), Peer("torchvision.transforms.v2.functional")


def noisy(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Smooth colours with noise, uint8 [3, H, W]."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((width, height))
    values = np.clip(np.asarray(coarse) + rng.integers(-20, 21, (height, width, 3)), 0, 255).astype(np.uint8)
    return torch.from_numpy(values).permute(2, 0, 1)


def picture(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def torchvision_crop(plan: Preprocess) -> Any:
    edge, mode = math.floor(plan.size / plan.crop_share), transforms.InterpolationMode(plan.interpolation)
    return transforms.Compose(
        [
            transforms.Resize(edge, mode),
            transforms.CenterCrop(plan.size),
            transforms.ToTensor(),
            transforms.Normalize(plan.mean, plan.std),
        ]
    )


def levels(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference of unnormalised values, in steps of 1 / 255."""
    return float((one - other).abs().max() * 255)


# --- equal to the peers -----------------------------------------------------------------------------------------------


@examples(60)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.integers(1, 40),
    share=st.sampled_from([1.0, 0.95, 0.9, 0.875, 0.7]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
)
def test_crop_equals_torchvision_bit_for_bit(height: int, width: int, size: int, share: float, interpolation) -> None:
    assume(max(height, width) <= 15 * min(height, width))  # longer ones have a test of their own
    image = noisy(height, width)
    plan = Preprocess(size, "crop", interpolation, crop_share=share)
    assert torch.equal(plan(image), torchvision_crop(plan)(picture(image)))


@pytest.mark.parametrize(("share", "interpolation"), [(0.875, "bicubic"), (0.95, "bilinear"), (1.0, "bicubic")])
def test_crop_equals_timms_evaluation_transform(share: float, interpolation: str) -> None:
    from timm.data import create_transform

    image = noisy(301, 233)
    theirs = create_transform(96, interpolation=interpolation, crop_pct=share)
    assert torch.equal(Preprocess(96, "crop", interpolation, crop_share=share)(image), theirs(picture(image)))


def test_crop_equals_open_clips_transform() -> None:
    from open_clip.transform import image_transform

    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    image = noisy(301, 233)
    theirs = image_transform(64, is_train=False, mean=mean, std=std)
    assert torch.equal(Preprocess(64, "crop", "bicubic", mean, std)(image), theirs(picture(image)))


@pytest.fixture(scope="module")
def photograph() -> bytes:
    """A JPEG of 6 megapixels, in parts smooth and in parts sharp."""
    rng = np.random.default_rng(0)
    values = np.zeros((2000, 3000, 3), np.int16)
    for cells, height in ((5, 90), (40, 30), (300, 15)):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        values += np.asarray(coarse.resize((3000, 2000)), np.int16) * height // 128
    stream = io.BytesIO()
    Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


@pytest.mark.slow
def test_a_large_jpeg_decoded_whole_equals_open_clips_transform(photograph: bytes) -> None:
    from open_clip.transform import image_transform

    plan = Preprocess(reduce=0)
    theirs = image_transform(224, is_train=False, mean=plan.mean, std=plan.std)(Image.open(io.BytesIO(photograph)))
    assert torch.equal(plan.read([photograph])[0], theirs)


@pytest.mark.parametrize("mode", ["crop", "squash", "pad"])
def test_a_large_jpeg_decoded_smaller_stays_within_the_bound_that_is_told(photograph: bytes, mode: str) -> None:
    whole, smaller = (Preprocess(224, mode, **RAW, reduce=reduce).read([photograph]) for reduce in (0, 2))
    assert 0 < (whole - smaller).abs().mean() * 255 < 0.5
    assert levels(whole, smaller) <= 8


def test_the_shorter_side_keeps_what_reduce_asks_for() -> None:
    assert [Preprocess(100, reduce=reduce).smallest for reduce in (0, 1, 2, 3)] == [None, 100, 200, 300]
    assert Preprocess(100).smallest == 200


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_torchvisions_tensor_path_stays_within_the_bound_that_is_told(interpolation: str) -> None:
    image = noisy(300, 400)
    theirs = functional.resize(image, [64, 64], transforms.InterpolationMode(interpolation), antialias=True)
    difference = Preprocess(64, "squash", interpolation, **RAW)(image) * 255 - theirs
    assert difference.abs().max() <= 2.001
    assert difference.abs().mean() < 0.01


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 30), st.integers(0, 255))
def test_pad_centres_the_image_on_a_square(height: int, width: int, size: int, fill: int) -> None:
    image = noisy(height, width)
    side = max(height, width)
    square = torch.full((3, side, side), fill, dtype=torch.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[:, top : top + height, left : left + width] = image
    assert torch.equal(Preprocess(size, "pad", fill=fill)(image), Preprocess(size, "squash")(square))


def test_pad_shows_all_of_the_image_and_squash_all_of_its_area() -> None:
    image = torch.zeros(3, 20, 80, dtype=torch.uint8)
    padded = Preprocess(40, "pad", "bilinear", **RAW)(image)
    assert padded[:, :14].min() == 1
    assert padded[:, 26:].min() == 1
    assert padded[:, 16:24].max() == 0
    assert Preprocess(40, "squash", **RAW)(image).max() == 0
    assert Preprocess(40, "crop", **RAW)(image).max() == 0


def test_mean_and_std_are_in_units_of_0_to_1() -> None:
    image = torch.tensor([255, 0, 51], dtype=torch.uint8)[:, None, None].expand(3, 9, 9)
    values = Preprocess(4, mean=(0.5, 0.5, 0.2), std=(0.25, 0.5, 0.1))(image)
    torch.testing.assert_close(values[:, 0, 0], torch.tensor([2.0, -1.0, 0.0]))


# --- any shape --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["pad", "crop", "squash"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2000, 1), (3, 1), (1, 100_000), (100_000, 1)])
def test_extreme_shapes_work_in_little_memory(shape: tuple[int, int], mode: str) -> None:
    image = noisy(*shape)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    values = Preprocess(224, mode)(image)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    assert values.shape == (3, 224, 224)
    assert values.isfinite().all()


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", [(1, 2000), (7, 400)])
def test_the_middle_of_a_long_image_is_what_torchvision_cuts_out(shape: tuple[int, int], turned: bool) -> None:
    image = noisy(*shape).transpose(1, 2) if turned else noisy(*shape)
    plan = Preprocess(32, "crop", crop_share=0.875, **RAW)
    assert levels(plan(image), torchvision_crop(plan)(picture(image))) <= 1.001


@pytest.mark.parametrize("shape", [(50, 600), (600, 50)])
def test_a_very_large_square_is_approached_by_a_smaller_one(shape, monkeypatch: pytest.MonkeyPatch) -> None:
    image = noisy(*shape)
    exact = Preprocess(64, "pad", **RAW)(image)
    monkeypatch.setattr(preprocess, "_SQUARE_PIXELS", 400 * 400)
    approached = Preprocess(64, "pad", **RAW)(image)
    assert 0 < (exact - approached).abs().mean() * 255 < 1
    assert levels(exact, approached) < 25
    # An image that fills half of its square or more is padded exactly, however large.
    broad = noisy(300, 500)
    near = Preprocess(64, "pad")(broad)
    monkeypatch.undo()
    assert torch.equal(near, Preprocess(64, "pad")(broad))


def test_a_batch_holds_what_its_images_give_alone() -> None:
    plan = Preprocess(24, "pad")
    images = [noisy(40, 30), noisy(24, 24), noisy(10, 90)]
    batch = plan.batch(images)
    assert batch.shape == (3, 3, 24, 24)
    assert batch.is_contiguous()
    assert batch.dtype == torch.float32
    assert torch.equal(batch, torch.stack([plan(image) for image in images]))
    assert plan.batch([]).shape == (0, 3, 24, 24)


@pytest.mark.parametrize("mode", ["pad", "crop", "crop_floor", "squash"])
@pytest.mark.parametrize("threads", [1, 3])
def test_files_are_read_as_loading_and_preprocessing_would(threads: int, mode: str, tmp_path: Path) -> None:
    plan = Preprocess(24, mode)
    sources = [tmp_path / f"{number}.{suffix}" for number in range(3) for suffix in ("jpg", "png")]
    for number, path in enumerate(sources):
        picture(noisy(60 + 40 * number, 170 - 20 * number, number)).save(path)
    alone = torch.stack([plan(load_image(path, smallest=plan.smallest)) for path in sources])
    assert torch.equal(plan.read(sources, threads), alone)
    assert torch.equal(plan.normalise(torch.stack([plan.square(path) for path in sources])), alone)
    assert plan.read([], threads).shape == (0, 3, 24, 24)


def test_reading_names_the_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("Dear Sir or Madam")
    with pytest.raises(ImageError, match=r"a\.jpg is not an image"):
        Preprocess(24).read([picture(noisy(30, 30)), tmp_path / "a.jpg"], threads=2)


def test_the_image_given_is_left_as_it_is() -> None:
    image = noisy(24, 24)
    copy = image.clone()
    Preprocess(24)(image).zero_()
    assert torch.equal(image, copy)


# --- described by data ------------------------------------------------------------------------------------------------


@given(
    size=st.integers(1, 1024),
    mode=st.sampled_from(["pad", "crop", "squash"]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    mean=st.tuples(*[st.floats(-1, 1)] * 3),
    std=st.tuples(*[st.floats(0.01, 2)] * 3),
    crop_share=st.floats(0.01, 1),
    fill=st.integers(0, 255),
    reduce=st.integers(0, 8),
)
def test_it_survives_json(**values) -> None:
    plan = Preprocess(**values)
    copy = Preprocess.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert copy == plan
    assert hash(copy) == hash(plan)


def test_what_was_saved_before_there_was_reduce_means_what_it_meant() -> None:
    saved = {"size": 64, "mode": "pad", "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3}
    saved |= {"crop_share": 1.0, "fill": 255}
    plan = Preprocess.from_dict(saved)
    assert plan.smallest == 128
    assert plan.to_dict() == saved  # a model's fingerprint is taken of this
    assert dataclasses.replace(plan, reduce=0).to_dict() == {**saved, "reduce": 0}


def test_an_unknown_field_is_named_with_the_likely_one() -> None:
    with pytest.raises(DeixisError, match=r"no field 'interpolatoin'.*Did you mean 'interpolation'") as caught:
        Preprocess.from_dict({"size": 10, "interpolatoin": "bicubic"})
    assert "crop_share" in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"size": 0},
        {"size": True},
        {"size": 2.5},
        {"size": 10**9},
        {"mode": "stretch"},
        {"interpolation": "nearest"},
        {"mean": [0.5, 0.5]},
        {"mean": 0.5},
        {"mean": [0.5, 0.5, float("nan")]},
        {"mean": [123.7, 116.3, 103.5]},
        {"mean": ["a", "b", "c"]},
        {"std": [0.5, 0.5, 0.0]},
        {"crop_share": 0},
        {"crop_share": 1.5},
        {"crop_share": "all"},
        {"fill": 256},
        {"fill": [255, 255, 255]},
        {"reduce": -1},
        {"reduce": 1.5},
        {"reduce": True},
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_wanted(values: dict) -> None:
    with pytest.raises(DeixisError, match=next(iter(values))) as caught:
        Preprocess.from_dict(values)
    assert caught.value.cure


@pytest.mark.parametrize("values", [{"size": 0}, {"std": (0.5, 0.5, 0.0)}, {"crop_share": 1.5}, {"fill": 256}])
def test_the_constructor_checks_too(values: dict) -> None:
    with pytest.raises(DeixisError, match=next(iter(values))):
        Preprocess(**values)


@pytest.mark.parametrize(
    "image",
    [torch.zeros(3, 8, 8).long(), torch.zeros(1, 8, 8, dtype=torch.uint8), torch.zeros(8, 8, dtype=torch.uint8)],
)
def test_an_image_of_the_wrong_kind_is_refused(image: torch.Tensor) -> None:
    with pytest.raises((DeixisError, TypeCheckError)):
        Preprocess(8)(image)


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(DeixisError, match="uint8"):
        Preprocess(8)(torch.zeros(3, 0, 5, dtype=torch.uint8))


def test_an_odd_pixel_is_cut_off_where_transformers_cuts_it() -> None:
    image = torch.arange(7, dtype=torch.uint8).repeat(3, 4, 1) * 30
    settings = {"size": 4, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    even, floor = (Preprocess(mode=mode, **settings)(image)[0, 0] * 255 / 30 for mode in ("crop", "crop_floor"))
    assert even.round().tolist() == [2, 3, 4, 5]
    assert floor.round().tolist() == [1, 2, 3, 4]


def test_pictures_of_lines_are_squashed_to_a_shape_that_is_no_square() -> None:
    preprocess = Preprocess(16, mode="squash", width=64)
    picture = Image.new("RGB", (300, 40), "white")
    assert preprocess(picture).shape == (3, 16, 64)
    assert preprocess.read([picture]).shape == (1, 3, 16, 64)
    assert Preprocess.from_dict(preprocess.to_dict()) == preprocess
    assert "width" not in Preprocess(16).to_dict()
    with pytest.raises(DeixisError, match="the mode 'crop'"):
        Preprocess(16, width=64)
