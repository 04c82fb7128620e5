"""Records about places in images, and RefCOCO's refs: expressions, spans and boxes end up with one another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deixis.data.readers.captions import Tally
from deixis.data.readers.records import to_record
from deixis.data.readers.sources import read
from deixis.errors import DeixisError
from deixis.types.samples import Mask, Phrase, Question, Region, Sample, Source


def beside(root: Path, records: Any, name: str = "data.json") -> Path:
    """A json, or a jsonl, beside a.jpg and b.jpg."""
    for image in ("a.jpg", "b.jpg"):
        (root / image).write_bytes(b"")
    text = "".join(json.dumps(each) + "\n" for each in records) if name.endswith("l") else json.dumps(records)
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def reasons(source: Source) -> list[str]:
    return [item.reason for item in source.skipped]


# A record for each image


@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_a_record_holds_a_caption_and_the_regions_it_speaks_of(tmp_path: Path, name: str) -> None:
    dog = {"box": [0, 0.5, 0.5, 1], "category": "dog", "spans": [[0, 5]], "phrases": ["the dog"], "colour": "brown"}
    chair = {
        "box": [0.5, 0.25, 1, 1],
        "phrases": [{"text": "the chair beside the dog", "relates": [0]}],
        "mask": {"width": 2, "height": 2, "counts": [2, 2]},
        "attributes": {"size": "big"},
    }
    record = {"image": "a.jpg", "caption": "A dog by a chair.", "regions": [dog, chair], "split": "dev", "source": "x"}
    [sample] = read(beside(tmp_path, [record], name)).samples
    assert sample == Sample(
        "a.jpg",
        tmp_path / "a.jpg",
        ("A dog by a chair.",),
        extra={"source": "x"},
        split="val",
        regions=(
            Region((0.0, 0.5, 0.5, 1.0), "dog", (Phrase("the dog"),), ((0, 5),), attributes={"colour": "brown"}),
            Region(
                (0.5, 0.25, 1.0, 1.0),
                phrases=(Phrase("the chair beside the dog", (0,)),),
                mask=Mask(2, 2, counts=(2, 2)),
                attributes={"size": "big"},
            ),
        ),
    )


def test_a_record_for_each_expression_is_put_together_by_image(tmp_path: Path) -> None:
    size = {"width": 100, "height": 50}
    records = [
        {"file_name": "a.jpg", "sentence": "left one", "bbox": [0, 0, 50, 50], **size},
        {"file_name": "b.jpg", "sentence": "the mug", "bbox": [0, 0, 10, 10], **size},
        {"file_name": "a.jpg", "sentence": "right one", "bbox": [50, 0, 50, 50], "category": "bird", **size},
    ]
    first, second = read(beside(tmp_path, records)).samples
    assert [region.box for region in first.regions] == [(0, 0, 0.5, 1), (0.5, 0, 1, 1)]
    assert [region.phrases for region in first.regions] == [(Phrase("left one"),), (Phrase("right one"),)]
    assert first.regions[1].category == "bird"
    assert (second.id, first.groups, first.extra) == ("b.jpg", (), size)


def test_words_classes_and_groups_are_found_under_their_usual_names_beside_regions(tmp_path: Path) -> None:
    record = {"image": "a.jpg", "text": ["one", "two"], "class": "pets", "concept": 3, "boxes": [[0, 0, 1, 1]], "n": 1}
    [sample] = read(beside(tmp_path, [record])).samples
    assert (sample.captions, sample.label, sample.groups) == (("one", "two"), "pets", ("group:3",))
    assert (len(sample.regions), sample.extra) == (1, {"n": 1})


def test_bare_boxes_will_do(tmp_path: Path) -> None:
    [sample] = read(beside(tmp_path, [{"image": "a.jpg", "boxes": [[0, 0, 1, 1], [0.1, 0, 0.2, 1.05]]}])).samples
    assert [region.box for region in sample.regions] == [(0, 0, 1, 1), (0.1, 0, 0.2, 1.05)]


def test_captions_with_spans_are_not_put_together(tmp_path: Path) -> None:
    records = [
        {"image": "a.jpg", "caption": text, "regions": [{"box": [0, 0, 1, 1], "spans": [[0, 1]]}]}
        for text in ("a", "b")
    ]
    samples = read(beside(tmp_path, records)).samples
    assert [(s.id, s.captions, s.groups) for s in samples] == [
        ("a.jpg", ("a",), ("file:a.jpg",)),
        ("a.jpg#2", ("b",), ("file:a.jpg",)),
    ]


def test_expressions_keep_pointing_at_the_right_region_when_one_is_left_out(tmp_path: Path) -> None:
    told = [
        {"box": [0, 0, 0, 0]},
        {"box": [0, 0, 1, 1], "category": "dog"},
        {"box": [0, 0, 1, 0.5], "phrases": [{"text": "on the dog", "relates": [1, 0, 9, "x"]}]},
        7,
        {"box": [0, 0, 640, 480]},
        {"bbox": [0, 0, 640, 480]},
    ]
    source = read(beside(tmp_path, [{"image": "a.jpg", "regions": told}]))
    [sample] = source.samples
    assert [region.category for region in sample.regions] == ["dog", ""]
    assert sample.regions[1].phrases == (Phrase("on the dog", (0,)),)
    assert reasons(source) == [
        "box has no area",
        "region is not an object",
        "box is not from 0 to 1",
        "image has no width and height",
    ]


def test_expressions_that_are_no_words_are_counted(tmp_path: Path) -> None:
    told = [{"box": [0, 0, 1, 1], "phrases": ["fine\0", 5, {"text": None}, "\ud800", "x" * 1_000_000]}]
    source = read(beside(tmp_path, [{"image": "a.jpg", "regions": told}]), max_skipped=1.0)
    assert [len(phrase.text) for phrase in source.samples[0].regions[0].phrases] == [4, 10_000]
    assert reasons(source) == ["caption is not text", "caption is not text", "caption is not UTF-8"]


def test_records_without_an_image_that_is_there_are_skipped(tmp_path: Path) -> None:
    region = {"regions": [{"box": [0, 0, 1, 1]}]}
    records = [{"image": name, **region} for name in ("a.jpg", "b.jpg", "gone.jpg", None, 5, "https://x.org/a.jpg")]
    source = read(beside(tmp_path, [*records, "x"]), max_skipped=0.9)
    assert [sample.id for sample in source.samples] == ["a.jpg", "b.jpg"]
    assert [(item.path, item.reason) for item in source.skipped] == [
        ("record 7", "not a JSON object"),
        ("gone.jpg", "file not found"),
        ("record 4", "path is empty"),
        ("5", "path is not text"),
        ("https://x.org/a.jpg", "is a URL"),
    ]


def test_questions_rest_on_regions(tmp_path: Path) -> None:
    asked = [
        {"question": "Is it red?", "answer": "yes", "kind": "yes/no", "regions": [0, 5]},
        {"question": " ", "answer": "yes"},
        {"question": "Why?", "answer": 5},
        "x",
    ]
    source = read(beside(tmp_path, [{"image": "a.jpg", "boxes": [[0, 0, 1, 1]], "questions": asked}]))
    assert source.samples[0].questions == (Question("Is it red?", "yes", "yes/no", (0,)),)
    assert reasons(source) == ["question without words"] * 3


def test_what_a_shard_says_of_a_sample_can_be_written_in_a_json_as_well(tmp_path: Path) -> None:
    sample = Sample(
        "a.jpg",
        tmp_path / "a.jpg",
        ("a dog on a mat",),
        "dog",
        ("name:dog",),
        {"licence": "CC0"},
        "train",
        regions=(Region((0.0, 0.0, 1.0, 1.0), "dog", (Phrase("it"),), ((2, 5),), Mask(2, 1, counts=(1, 1)), {"n": 1}),),
        questions=(Question("What?", "a dog", "attribute", (0,)),),
    )
    record = to_record(sample, "a.jpg")
    del record["deixis"], record["id"]
    [again] = read(beside(tmp_path, [record])).samples
    assert again == sample


def test_spans_follow_their_words_when_a_caption_is_cleaned() -> None:
    clean, places = Tally().traced("\t a  red\0 bird ", "a")
    assert clean == "a red bird"
    assert clean[places[5] : places[8]] == "red"
    assert clean[places[10] : places[15]] == "bird"
    assert len(places) == len("\t a  red\0 bird ") + 1


# RefCOCO


def refs(root: Path) -> Path:
    """Two birds of one image, the first of which is spoken of; another image, for testing."""
    instances = {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 100, "height": 100},
            {"id": 2, "file_name": "b.jpg", "width": 100, "height": 100},
            {"id": 3, "file_name": "c.jpg", "width": 100, "height": 100},
        ],
        "annotations": [
            {"id": 10, "image_id": 1, "bbox": [0, 0, 50, 50], "category_id": 1},
            {"id": 11, "image_id": 1, "bbox": [50, 0, 50, 50], "category_id": 1},
            {"id": 20, "image_id": 2, "bbox": [0, 0, 100, 100], "category_id": 1},
            {"id": 30, "image_id": 3, "bbox": [0, 0, 100, 100], "category_id": 1},
        ],
        "categories": [{"id": 1, "name": "bird"}],
    }
    (root / "instances.json").write_text(json.dumps(instances))
    spoken = [
        (1, 10, "train", [{"sent": "left bird", "raw": "Left bird!"}, {"sent": "the one on the left"}]),
        (2, 20, "testA", [{"sent": "bird"}]),
        (2, 99, "testA", [{"sent": "nothing"}]),
        ("x", None, "val", []),
    ]
    return beside(
        root,
        [
            {"ref_id": n, "image_id": i, "ann_id": a, "split": s, "sentences": said, "file_name": f"{n}.jpg"}
            for n, (i, a, s, said) in enumerate(spoken)
        ],
        "refs(unc).json",
    )


def test_refs_are_joined_with_their_boxes_and_with_those_nobody_speaks_of(tmp_path: Path) -> None:
    source = read(refs(tmp_path))
    first, second = source.samples
    assert (source.layout, source.name) == ("RefCOCO json", "refs(unc)")
    assert [region.phrases for region in first.regions] == [
        (Phrase("left bird"), Phrase("the one on the left")),
        (),
    ]
    assert first.regions[0].box == (0, 0, 0.5, 0.5)
    assert (first.id, first.split, second.split, second.extra["split"]) == ("a.jpg", "train", "test", "testA")
    assert second.extra["image_id"] == 2
    assert reasons(source) == ["ref without image_id and ann_id"]
    assert any("1 refs name an annotation that is not among the instances" in note for note in source.notes)


def test_refs_without_their_instances_are_refused(tmp_path: Path) -> None:
    path = refs(tmp_path)
    (tmp_path / "instances.json").unlink()
    with pytest.raises(DeixisError, match=r"are in another file.*Put RefCOCO's instances\.json into the same folder"):
        read(path)


@pytest.mark.parametrize("name", ["refs(unc).p", "data.bin"])
def test_a_pickle_is_never_opened_and_the_way_to_json_is_told(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x80\x04\x95 something")
    with pytest.raises(DeixisError, match=r"is a pickle, which can run any program.*never opened here.*json\.dump"):
        read(path)
