"""`deixis adapt DATA --task segment` learns the classes of pixels from masks or boxes, and keeps what is better."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import deixis
from deixis import engine
from deixis.apps.adapt import pixels
from deixis.apps.adapt.pixels import _with_truth, adapt_to_pixels, class_of, taught
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.adapt.tasks import adapt_or_index
from deixis.apps.common.dataset import read
from deixis.apps.common.options import Reading
from deixis.engine.evaluation.data import EvalSet
from deixis.errors import DeixisError
from deixis.inputs.masks import decode_mask
from deixis.ops.stats import Interval
from deixis.types import Region, Source
from deixis.types.samples import Phrase

COLOURS = {"lid": (200, 30, 30), "knob": (30, 60, 200)}
SIDE = 32


def pictures(folder: Path, count: int, masks: bool) -> Source:
    """A red lid or a blue knob on grey noise, as COCO's json with outlines, or as a table of boxes with phrases."""
    rng, noise = random.Random(0), np.random.default_rng(0)
    images: list[Any] = []
    things: list[Any] = []
    lines = ["image,phrase,x0,y0,x1,y1"]
    for number in range(count):
        name = tuple(COLOURS)[number % 2]
        picture = Image.fromarray(noise.integers(90, 160, (SIDE, SIDE, 3), dtype=np.uint8))
        x, y, side = rng.randrange(2, 12), rng.randrange(2, 12), rng.randrange(12, 18)
        ImageDraw.Draw(picture).rectangle((x, y, x + side, y + side), fill=COLOURS[name])
        picture.save(folder / f"{number:02}.png")
        corners = [x, y, x + side, y, x + side, y + side, x, y + side]
        images.append({"id": number, "file_name": f"{number:02}.png", "width": SIDE, "height": SIDE})
        things.append(
            {"id": number, "image_id": number, "category_id": list(COLOURS).index(name), "bbox": [x, y, side, side]}
        )
        things[-1]["segmentation"] = [corners]
        shares = (x / SIDE, y / SIDE, (x + side) / SIDE, (y + side) / SIDE)
        lines.append(f"{number:02}.png,the {name}," + ",".join(map(str, shares)))
    categories = [{"id": place, "name": name} for place, name in enumerate(COLOURS)]
    (folder / "masks.json").write_text(json.dumps({"images": images, "annotations": things, "categories": categories}))
    (folder / "boxes.csv").write_text("\n".join(lines), encoding="utf-8")
    return read(str(folder / ("masks.json" if masks else "boxes.csv")))


def test_a_region_is_called_by_its_category_or_else_its_phrase() -> None:
    box = (0.0, 0.0, 1.0, 1.0)
    assert class_of(Region(box, "The Lid")) == "lid"
    assert class_of(Region(box, phrases=(Phrase("a red  knob"),))) == "red knob"
    assert class_of(Region(box, "a")) == "a"
    assert class_of(Region(box)) == ""


@pytest.mark.parametrize("masks", [True, False])
def test_masks_teach_where_there_are_any_and_boxes_are_measured_by_what_they_hold(masks: bool, tmp_path: Path) -> None:
    teaching = taught(pictures(tmp_path, 3, masks))
    assert teaching.names == ("knob", "lid")
    assert teaching.supervision == ("masks" if masks else "boxes")
    samples = teaching.source.samples
    assert all((region.mask is not None) == masks for sample in samples for region in sample.regions)
    truth = _with_truth(EvalSet(teaching.source, tuple("abc"), (0, 1, 2), "")).samples
    for before, after in zip(samples, truth, strict=True):
        x0, y0, x1, y1 = before.regions[0].box
        assert after.regions[0].mask is not None
        share = float(decode_mask(after.regions[0].mask).float().mean())
        assert share == pytest.approx((x1 - x0) * (y1 - y0), abs=0.12)


def test_data_that_teach_no_classes_of_pixels_are_refused(tmp_path: Path) -> None:
    source = pictures(tmp_path, 6, masks=True)
    settings = AdaptSettings(model="tiny", task="segment")
    with pytest.raises(DeixisError, match="There is no task 'paint'"):
        adapt_or_index("x", "y", AdaptSettings(task="paint"), Reading(), overwrite=False, quiet=True)
    with pytest.raises(DeixisError, match="no masks or boxes that name anything"):
        taught(Source("x", tmp_path, "images", "x", ()))
    for image in tmp_path.glob("*.png"):
        Image.new("RGB", (60, 32)).save(image)
    with pytest.raises(DeixisError, match=r"A mask of .* is 32 x 32 pixels, and the picture 60 x 32"):
        adapt_to_pixels(source, tmp_path / "run", settings, quiet=True)
    few = pictures(tmp_path, 3, masks=True)
    with pytest.raises(DeixisError, match="There are 3 different pictures with masks, and 5 are needed"):
        adapt_to_pixels(few, tmp_path / "run", settings, quiet=True)
    assert not (tmp_path / "run").exists()


def test_pictures_with_boxes_alone_are_left_out_beside_masks_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = pictures(tmp_path, 4, masks=True)
    boxed = [
        dataclasses.replace(each, regions=tuple(dataclasses.replace(region, mask=None) for region in each.regions))
        for each in source.samples[1:]
    ]
    mixed = dataclasses.replace(source, samples=(source.samples[0], *boxed))
    teaching = taught(mixed)
    assert (teaching.supervision, len(teaching.source.samples), teaching.unmasked) == ("masks", 1, 3)
    said = r"There is 1 different picture with masks, and 5 .* 3 pictures are left out: a thing there has a box alone"
    with pytest.raises(DeixisError, match=said):
        adapt_to_pixels(mixed, tmp_path / "run", AdaptSettings(model="tiny", task="segment"))
    assert "3 pictures are left out" in " ".join(capsys.readouterr().err.split())
    assert taught(dataclasses.replace(mixed, samples=tuple(boxed))).unmasked == 0  # boxes are what teaches then


@pytest.mark.slow
@pytest.mark.parametrize("masks", [True, False])
def test_what_was_learned_is_kept_if_it_is_better_and_segment_takes_the_run(
    masks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pictures(tmp_path, 40, masks)
    settings = AdaptSettings(model="tiny", task="segment")
    rival = engine.build("score_map", "tiny", parts={"names": ["knob", "lid"]}).eval()
    result = adapt_to_pixels(source, tmp_path / "run", settings, rival=rival, how=("tiny", 150), quiet=True)
    assert result["supervision"] == ("masks" if masks else "boxes")
    assert result["kept"] == "adapted"
    assert result["after"]["miou"] > result["before"]["miou"]
    assert result["sentence"].endswith(f"what was learned from 40 {result['supervision']} is kept.")
    assert ("against filled boxes" in result["sentence"]) != masks
    out = deixis.segment(str(tmp_path / "00.png"), model=str(tmp_path / "run"))
    assert set(out.names) == {"background", "knob", "lid"}
    no_gain = Interval(-0.1, -0.2, 0.0)
    monkeypatch.setattr(pixels, "cluster_t_interval", lambda values, clusters: no_gain)
    again = adapt_to_pixels(source, tmp_path / "again", settings, rival=rival, how=("tiny", 1), quiet=True)
    assert again["kept"] == "original"
    assert again["sentence"].endswith("the original is kept.")
    assert set(deixis.segment(str(tmp_path / "00.png"), model=str(tmp_path / "again")).names) == set(out.names)
