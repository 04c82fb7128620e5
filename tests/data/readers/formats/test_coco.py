"""COCO's json becomes captions, boxes and masks of the right images; what is wrong in it is counted, never clipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image

from deixis.data.readers.sources import read
from deixis.errors import DeixisError
from deixis.inputs.masks import decode_mask
from deixis.types.samples import Mask, Source

IMAGES = [
    {"id": 1, "file_name": "a.jpg", "width": 200, "height": 100, "license": 4},
    {"id": 2, "file_name": "b.jpg", "width": 10, "height": 20},
]
CATEGORIES = [{"id": 7, "name": "bird", "supercategory": "animal"}, {"id": 9, "name": "mug"}]


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def write(path: Path, annotations: Any, images: Any = IMAGES, **further: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"images": images, "annotations": annotations, "categories": CATEGORIES, **further}
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def box(image: int, numbers: Any, **further: Any) -> dict[str, Any]:
    return {"id": 5, "image_id": image, "bbox": numbers, "category_id": 7, **further}


def of(source: Source, name: str) -> Any:
    return next(sample for sample in source.samples if sample.id == name)


def reasons(source: Source) -> list[str]:
    return [item.reason for item in source.skipped]


def said(source: Source, words: str) -> bool:
    return any(words in note for note in source.notes)


def test_boxes_become_corners_from_0_to_1_with_their_category(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    path = write(tmp_path / "boxes.json", [box(1, [20, 10, 100, 50], iscrowd=1, area=5000), box(2, [0, 5, 10, 15])])
    source = read(path)
    assert (source.kind, source.layout, source.name, source.root) == ("images", "COCO json", "boxes", path)
    [bird] = of(source, "a.jpg").regions
    assert bird.box == pytest.approx((0.1, 0.1, 0.6, 0.6))
    assert (bird.category, bird.mask) == ("bird", None)
    assert bird.attributes == {"iscrowd": 1, "area": 5000, "category_id": 7}
    assert of(source, "b.jpg").regions[0].box == (0.0, 0.25, 1.0, 1.0)
    assert of(source, "a.jpg").extra == {"image_id": 1, "width": 200, "height": 100, "license": 4}
    assert said(source, "2 boxes in 2 images of 1 categories: bird")
    assert said(source, "There are boxes, and neither captions nor labels")


def test_instances_and_captions_of_a_folder_meet_in_one_sample(tmp_path: Path) -> None:
    put(tmp_path, "train2017/a.jpg", "val2017/b.jpg")
    first, second = [IMAGES[0]], [IMAGES[1]]
    write(tmp_path / "annotations/instances_train2017.json", [box(1, [0, 0, 20, 10])], first)
    write(tmp_path / "annotations/captions_train2017.json", [{"image_id": 1, "caption": "A  bird."}] * 2, first)
    write(tmp_path / "annotations/captions_val2017.json", [{"image_id": 2, "caption": "A mug."}], second)
    write(tmp_path / "annotations/person_keypoints_val2017.json", [box(2, [0, 0, 1, 1])], second)
    source = read(tmp_path)
    bird, mug = of(source, "train2017/a.jpg"), of(source, "val2017/b.jpg")
    assert (source.kind, len(source.samples), source.skipped) == ("captions", 2, ())
    assert (bird.captions, bird.split, len(bird.regions)) == (("A bird.",), "train", 1)
    assert (mug.captions, mug.split, mug.regions) == (("A mug.",), "val", ())
    assert bird.image == tmp_path / "train2017/a.jpg"
    assert said(source, "person_keypoints_val2017.json was not read")
    assert said(source, f"Images were found in these folders of {tmp_path}: train2017 (1)")


def test_a_json_whose_images_were_not_fetched_is_left_out_of_a_folder(tmp_path: Path) -> None:
    put(tmp_path, "val2017/b.jpg")
    write(tmp_path / "annotations/instances_train2017.json", [], [IMAGES[0]])
    write(tmp_path / "annotations/instances_val2017.json", [box(2, [0, 0, 1, 1])], [IMAGES[1]])
    source = read(tmp_path)
    assert [sample.id for sample in source.samples] == ["val2017/b.jpg"]
    assert said(source, "instances_train2017.json was left out: none of its 1 images is there")


def test_a_json_beside_the_images_of_each_split_is_read_too(tmp_path: Path) -> None:
    put(tmp_path, "train/a.jpg", "valid/a.jpg")
    for side in ("train", "valid"):
        write(tmp_path / side / "_annotations.coco.json", [box(1, [0, 0, 20, 10])], [IMAGES[0]])
    assert [(s.id, s.split) for s in read(tmp_path).samples] == [("train/a.jpg", "train"), ("valid/a.jpg", "val")]


def test_a_box_outside_the_image_is_kept_as_it_is(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    source = read(write(tmp_path / "x.json", [box(1, [-20, 90, 300, 50])]))
    assert of(source, "a.jpg").regions[0].box == pytest.approx((-0.1, 0.9, 1.4, 1.4))


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ([10, 10, 0, 5], "box has no area"),
        ([10, 10, 5, -1], "box has no area"),
        ([10, 10, 5], "box is not four numbers"),
        ([10, 10, 5, "5"], "box is not four numbers"),
        ([10, 10, 5, True], "box is not four numbers"),
        ([10, 10, 5, None], "box is not four numbers"),
        ([10, 10, 5, 1e300], "box is not four numbers"),
        ("10 10 5 5", "box is not four numbers"),
        (None, "box is not four numbers"),
    ],
)
def test_a_box_that_is_none_is_skipped_and_counted(tmp_path: Path, numbers: Any, reason: str) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    source = read(write(tmp_path / "x.json", [box(1, [0, 0, 5, 5]), *[box(i, numbers) for i in (1, 2, 2)]]))
    assert (len(source.samples), len(of(source, "a.jpg").regions)) == (2, 1)
    assert reasons(source) == [reason] * 3
    assert said(source, f"3 skipped, {reason} (such as a.jpg). ")


@pytest.mark.parametrize(
    ("size", "turned", "boxes"),
    [
        ((200, 100), False, 1),
        ((67, 33), False, 1),
        ((100, 200), False, 0),
        ((200, 100), True, 0),
        ((200, 120), False, 0),
    ],
)
def test_boxes_of_an_image_of_another_shape_than_the_json_says_are_skipped_and_counted(
    tmp_path: Path, size: tuple[int, int], turned: bool, boxes: int
) -> None:
    """One that was made smaller is as good as before; one that is turned, or is another, is not."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6 if turned else 1
    Image.new("RGB", size).save(tmp_path / "a.jpg", exif=exif)
    put(tmp_path, "b.jpg")
    source = read(write(tmp_path / "x.json", [box(1, [0, 0, 100, 50])]))
    assert len(of(source, "a.jpg").regions) == boxes
    assert reasons(source) == ["image is of another shape than given"] * (1 - boxes)
    if boxes:
        assert of(source, "a.jpg").regions[0].box == (0, 0, 0.5, 0.5)


def test_masks_come_as_polygons_run_lengths_and_packed_ones(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    small = [{"id": 1, "file_name": "a.jpg", "width": 3, "height": 4}]
    forms = [
        [[0.5, 0, 2, 0, 2, 3]],
        [0, 0, 2, 0, 2, 3],
        {"size": [4, 3], "counts": [1, 2, 9]},
        {"size": [4, 3], "counts": "129"},
        [],
        None,
    ]
    source = read(write(tmp_path / "x.json", [box(1, [0, 0, 1, 1], segmentation=form) for form in forms], small))
    outline, flat, runs, packed, *without = [region.mask for region in source.samples[0].regions]
    assert outline == Mask(3, 4, polygons=((0.5, 0.0, 2.0, 0.0, 2.0, 3.0),))
    assert flat == Mask(3, 4, polygons=((0.0, 0.0, 2.0, 0.0, 2.0, 3.0),))
    assert runs == packed == Mask(3, 4, counts=(1, 2, 9))
    assert decode_mask(runs)[:, 0].tolist() == [False, True, True, False]
    assert without == [None, None]


@pytest.mark.parametrize(
    "form",
    [
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, 3, 4, 5, "6"]],
        ["abc"],
        "abc",
        5,
        {"size": [4, 3], "counts": [1, 2]},
        {"size": [40, 30], "counts": [1200]},
        {"size": [4, 3], "counts": "~~"},
        {"size": [4, 3], "counts": [1, -2, 13]},
        {"counts": 5},
    ],
)
def test_a_mask_that_cannot_be_read_costs_the_mask_alone(tmp_path: Path, form: Any) -> None:
    put(tmp_path, "a.jpg")
    small = [{"id": 1, "file_name": "a.jpg", "width": 3, "height": 4}]
    source = read(write(tmp_path / "x.json", [box(1, [0, 0, 1, 1], segmentation=form)], small))
    assert reasons(source) == ["mask can't be read"]
    assert source.samples[0].regions[0].mask is None


def test_a_mask_larger_than_any_image_is_never_made(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    huge = [{"id": 1, "file_name": "a.jpg", "width": 10**6, "height": 10**6}]
    for form in ([[0, 0, 9, 0, 9, 9]], {"size": [10**6, 10**6], "counts": [10**12]}):
        source = read(write(tmp_path / "x.json", [box(1, [0, 0, 1, 1], segmentation=form)], huge))
        assert reasons(source) == ["mask can't be read"]


def test_words_and_boxes_meet_as_mdetr_writes_them(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    images = [
        {"id": 1, "file_name": "a.jpg", "width": 10, "height": 10, "caption": " a red\tbird on a mug"},
        {"id": 2, "file_name": "a.jpg", "width": 10, "height": 10, "caption": "a mug"},
    ]
    found = [
        box(1, [0, 0, 5, 5], tokens_positive=[[1, 11]]),
        box(1, [0, 5, 5, 5], tokens_positive=[[15, 20], [19, 99], [4, 4], ["a", 1], 3]),
        box(2, [0, 5, 5, 5], tokens_positive=[[0, 5]]),
    ]
    source = read(write(tmp_path / "finetune_train.json", found, images))
    first, second = source.samples
    assert (first.id, second.id, first.split) == ("a.jpg", "a.jpg#2", "train")
    assert first.groups == second.groups == ("file:a.jpg",)
    assert first.captions == ("a red bird on a mug",)
    words = [[first.captions[0][start:end] for start, end in region.spans] for region in first.regions]
    assert words == [["a red bird"], ["a mug"]]
    assert second.regions[0].spans == ((0, 5),)
    assert reasons(source) == ["span outside the caption"] * 4


def test_wrong_entries_are_skipped_and_named(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    images = [*IMAGES, {"id": 3}, "x", {"id": 4, "file_name": 7}, {"id": [5], "file_name": "c.jpg"}]
    wrong = [
        "x",
        box(99, [0, 0, 1, 1]),
        {"image_id": 1, "caption": 5},
        {"image_id": 2, "caption": "\ud800"},
        {"image_id": 2, "caption": "a\0 b " + "x" * 1_000_000},
        box(1, [0, 0, 1, 1], category_id=[1]),
    ]
    source = read(write(tmp_path / "x.json", wrong, images), max_skipped=0.9)
    assert sorted(reasons(source)) == [
        "caption is not UTF-8",
        "caption is not text",
        *["image without a file_name"] * 3,
        "region is not an object",
    ]
    assert said(source, "1 annotations of x.json name an image that it does not list")
    assert of(source, "a.jpg").regions[0].category == ""
    assert len(of(source, "b.jpg").captions[0]) == 10_000
    assert of(source, "c.jpg").regions == ()


def test_boxes_in_pixels_need_the_size_of_the_image(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    images = [{"id": 1, "file_name": "a.jpg", "width": 0, "height": "100"}]
    assert reasons(read(write(tmp_path / "x.json", [box(1, [0, 0, 1, 1])], images))) == [
        "image has no width and height"
    ]


def test_images_that_are_not_there_are_refused_with_where_they_were_looked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "annotations/instances_val2017.json", [])
    with pytest.raises(DeixisError, match=r"2 of 2 entries .* 2 file not found .*a\.jpg.* read relative to the table"):
        read(path)
    (tmp_path / "annotations/instances_val2017.json").write_text("{}")
    with pytest.raises(DeixisError, match="None of the 1 json files"):
        read(tmp_path)


def test_columns_are_refused_where_there_are_none(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    path = write(tmp_path / "annotations/x.json", [])
    for place in (tmp_path, path):
        with pytest.raises(DeixisError, match="no columns"):
            read(place, caption_column="text")
