"""Detections: what is kept of boxes when some are chosen, and that they come back from what they are written in."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from deixis.errors import DeixisError
from deixis.types import Detections
from deixis.types.detections import MissingPhrase, coco_json
from deixis.types.region_drawing import _free_place

NEAREST = MissingPhrase("a giraffe", (22, 31), 0.04, "horse", (0.0, 0.0, 0.1, 0.1), 0.3)


def cats_and_a_dog(masks: bool = False) -> Detections:
    """Two overlapping cats and a third, one dog, in a picture of 200 x 100 that is green where the dog is."""
    picture = Image.new("RGB", (200, 100), (250, 250, 250))
    picture.paste((0, 160, 0), (100, 50, 200, 100))
    inside = torch.zeros(4, 100, 200, dtype=torch.bool)
    inside[3, 50:, 100:] = True
    return Detections(
        torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.45], [0.6, 0.0, 0.7, 0.1], [0.5, 0.5, 1.0, 1.0]]),
        torch.tensor([0.9, 0.8, 0.4, 0.7]),
        ("cats", "cats", "cats", "a dog"),
        ((0, 4), (0, 4), (0, 4), (9, 14)),
        ("cat", "cat", "bear", "dog"),
        ("kind", "kind", "crop", "kind"),
        "cats and a dog",
        "photo.jpg",
        (200, 100),
        inside if masks else None,
        (NEAREST,),
        picture,
    )


def test_boxes_are_shares_of_the_picture_and_its_pixels() -> None:
    torch.testing.assert_close(cats_and_a_dog().pixels[3], torch.tensor([100.0, 50.0, 200.0, 100.0]))


@pytest.mark.parametrize(
    "index", [3, slice(3, None), [3], torch.tensor([False, False, False, True]), torch.tensor([3])]
)
def test_what_is_known_of_a_box_follows_it(index: object) -> None:
    dog = cats_and_a_dog(masks=True)[index]  # type: ignore[index]
    assert (len(dog), dog.phrases, dog.spans, dog.labels, dog.sources) == (
        1,
        ("a dog",),
        ((9, 14),),
        ("dog",),
        ("kind",),
    )
    assert dog.text[slice(*dog.spans[0])] == "a dog"
    assert dog.masks is not None
    assert dog.masks[0].sum() == 50 * 100
    assert [len(each) for each in cats_and_a_dog()] == [1, 1, 1, 1]


def test_boxes_are_chosen_by_score_phrase_area_and_source() -> None:
    found = cats_and_a_dog()
    assert found.filter(score=0.5).scores.tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert found.filter(phrase="a dog").labels == ("dog",)
    assert found.filter(area=(0.0, 0.1)).labels == ("bear",)
    assert found.filter(source="crop", score=0.5).phrases == ()
    assert found.filter(source="crop").labels == ("bear",)


def test_suppression_and_the_best_are_by_phrase_and_keep_the_order() -> None:
    found = cats_and_a_dog()
    assert found.nms().scores.tolist() == pytest.approx([0.9, 0.4, 0.7])
    assert found.nms(0.95).scores.tolist() == pytest.approx([0.9, 0.8, 0.4, 0.7])
    assert found.top().scores.tolist() == pytest.approx([0.9, 0.7])
    assert found.top(2).scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_merged_there_is_one_box_a_phrase_around_all_of_its_boxes() -> None:
    merged = cats_and_a_dog(masks=True).merge()
    assert merged.phrases == ("cats", "a dog")
    torch.testing.assert_close(merged.boxes[0], torch.tensor([0.0, 0.0, 0.7, 0.5]))
    assert merged.scores.tolist() == pytest.approx([0.9, 0.7])
    assert merged.masks is not None
    assert merged.masks[1].sum() == 50 * 100


def test_nothing_is_left_of_nothing() -> None:
    empty = cats_and_a_dog().filter(score=2.0)
    assert [len(each) for each in (empty, empty.nms(), empty.top(), empty.merge())] == [0, 0, 0, 0]
    assert empty.crops() == []
    assert empty.lines() == ["nothing here is a giraffe (nearest: 0.04, horse)"]


def test_crops_and_drawings_show_what_lies_in_the_boxes() -> None:
    found = cats_and_a_dog()
    crop = found[3].crops()[0]
    assert crop.size == (100, 50)
    assert crop.getpixel((50, 25)) == (0, 160, 0)
    assert found.crops()[2].size == (20, 10)
    tiny = Detections(torch.tensor([[0.999, 0.999, 1.0, 1.0]]), torch.ones(1), ("a dot",), picture=found.picture)
    assert tiny.crops()[0].size == (1, 1), "a box of less than a pixel shows one"
    drawn = np.asarray(found.draw())
    assert drawn.shape == (100, 200, 3)
    assert (drawn[50, 140] != (0, 160, 0)).any(), "a line along the dog's upper edge"
    with pytest.raises(DeixisError, match="not at hand"):
        Detections(torch.zeros(0, 4), torch.zeros(0), ()).draw()


def test_labels_of_one_box_stand_below_one_another_and_inside_of_the_picture() -> None:
    box = [170.0, 30.0, 199.0, 90.0]
    first = _free_place(box, 80.0, (200, 100), [])
    second = _free_place(box, 60.0, (200, 100), [first])
    assert first == (120.0, 10.0, 80.0)
    assert second == (140.0, 30.0, 60.0)


def test_boxes_come_back_from_cocos_json_with_what_was_corrected_in_it() -> None:
    content = json.loads(json.dumps(coco_json([cats_and_a_dog(), cats_and_a_dog()[:0]])))
    assert [each["name"] for each in content["categories"]] == ["cats", "a dog"]
    assert content["annotations"][3]["bbox"] == [100, 50, 100, 50]
    content["annotations"][3]["bbox"] = [10, 20, 30, 40]
    back, empty = Detections.from_coco(content)
    found = cats_and_a_dog()
    torch.testing.assert_close(back.boxes[:3], found.boxes[:3], atol=1e-4, rtol=0)
    torch.testing.assert_close(back.pixels[3], torch.tensor([10.0, 20.0, 40.0, 60.0]))
    for name in ("phrases", "spans", "labels", "sources", "text", "path", "size"):
        assert getattr(back, name) == getattr(found, name)
    assert len(empty) == 0
    assert found.to_coco()["annotations"] == coco_json([found])["annotations"]


@pytest.mark.parametrize(
    ("bbox", "size"),
    [
        ([10, 10, 0, 5], (200, 100)),
        ([150, 10, 100, 5], (200, 100)),
        ([10, 10, -5, 5], (200, 100)),
        ([float("nan"), 10, 5, 5], (200, 100)),
        ([100, 50, 100, 50], (100, 50)),
    ],
)
def test_a_box_that_is_none_is_named_with_its_picture(bbox: list[float], size: tuple[int, int]) -> None:
    content = cats_and_a_dog().to_coco()
    content["annotations"][1]["bbox"] = bbox
    content["images"][0].update(width=size[0], height=size[1])
    with pytest.raises(DeixisError, match=r"The box .* of photo.jpg \(\d+ x \d+ pixels\) is none"):
        Detections.from_coco(content)


@pytest.mark.parametrize("content", [{}, {"images": [], "annotations": [{"image_id": 1}], "categories": []}])
def test_a_json_that_is_none_of_coco_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(DeixisError, match="no json of COCO with boxes"):
        Detections.from_coco(content)


def test_a_table_has_a_row_a_box(tmp_path: Path) -> None:
    cats_and_a_dog().to_csv(tmp_path / "boxes.csv")
    with open(tmp_path / "boxes.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "phrase", "x0", "y0", "x1", "y1", "score", "source", "label"]
    assert [row["phrase"] for row in rows] == ["cats", "cats", "cats", "a dog"]
    assert (rows[3]["image"], rows[3]["x0"], rows[3]["label"]) == ("photo.jpg", "0.5", "dog")


def test_supervision_gets_pixels_scores_and_class_names(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("supervision")
    package.Detections = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", package)
    made = cats_and_a_dog(masks=True).to_supervision()
    assert made.xyxy[3].tolist() == [100, 50, 200, 100]
    assert made.class_id.tolist() == [0, 0, 0, 1]
    assert made.data["class_name"][3] == "a dog"
    assert made.mask.shape == (4, 100, 200)
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(DeixisError, match="'supervision' is needed"):
        cats_and_a_dog().to_supervision()


def test_a_notebook_shows_the_picture_the_boxes_and_what_is_missing() -> None:
    shown = cats_and_a_dog()._repr_html_()
    assert "data:image/png;base64," in shown
    assert "nothing here is a giraffe" in shown
    assert shown.count("<tr>") == 5


def test_every_box_has_a_phrase_and_a_score() -> None:
    with pytest.raises(DeixisError, match="1 boxes have 2 phrases"):
        Detections(torch.zeros(1, 4), torch.zeros(1), ("a", "b"))


def test_masks_of_another_size_than_the_picture_are_refused() -> None:
    with pytest.raises(DeixisError, match=r"shape \(1, 10, 20\), and \(1, 100, 200\) is expected"):
        dataclasses.replace(cats_and_a_dog()[3], masks=torch.zeros(1, 10, 20, dtype=torch.bool))
