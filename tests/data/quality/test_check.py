"""A check finds what is broken, doubled, missing or lopsided, names it, and says whether anything can be learned."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import os
import struct
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deixis.data.quality.check import MIN_PAIRS, CheckReport, Reader, check
from deixis.data.quality.duplicates import alike
from deixis.data.readers.sources import read
from deixis.inputs.images import picture_hash
from deixis.types.samples import Member, Phrase, Question, Region, Sample, Skipped, Source


def picture(seed: int, side: int = 48) -> Image.Image:
    """A coarse random pattern: no two seeds look alike."""
    values = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((side, side), Image.Resampling.BICUBIC)


def folder(root: Path, count: int = MIN_PAIRS + 5) -> Path:
    """Different images with different captions: nothing to complain of."""
    for index in range(count):
        picture(index).save(root / f"{index:02d}.png")
        (root / f"{index:02d}.txt").write_text(f"thing {chr(97 + index)}")
    return root


def huge_png(side: int = 25_000) -> bytes:
    """The header of a PNG of 625 megapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.resize((200, 200)).save(buffer, "JPEG")
    return buffer.getvalue()


def rows_of(report: CheckReport) -> dict[str, tuple[int, str]]:
    return {what: (count, example) for what, count, example in report.rows()}


def labelled(counts: dict[str, int], root: Path) -> Source:
    samples = []
    for number, (label, count) in enumerate(counts.items()):
        for index in range(count):
            path = root / f"{label}{index}.png"
            picture(1000 * number + index, 24).save(path)
            samples.append(Sample(path.name, path, label=label))
    return Source("set", root, "labels", "folder", tuple(samples))


def test_a_clean_folder_is_clean(tmp_path: Path) -> None:
    report = check(read(folder(tmp_path)))
    assert (report.status, report.reason, report.cure) == (0, "", "")
    assert rows_of(report) == {
        "images": (25, "25 PNG"),
        "readable": (25, "48 x 48 to 48 x 48, median 48 x 48"),
        "distinct captions": (25, "context: not measured, no model was given"),
    }
    assert report.same == ()
    assert len(set(report.hashes)) == 25


def defects(root: Path) -> Source:
    """A folder with one of each defect that files can have, and samples that say one of each wrong thing."""
    folder(root)
    good = (root / "00.png").read_bytes()
    (root / "copy.png").write_bytes(good)
    picture(1).resize((96, 96)).save(root / "like.jpg", quality=60)
    (root / "zero.jpg").write_bytes(b"")
    (root / "half.png").write_bytes(good[: len(good) // 2])
    (root / "half.jpg").write_bytes(jpeg(picture(77))[:-400])
    (root / "noise.png").write_bytes(good[:8] + bytes(range(256)))
    (root / "text.jpg").write_text("this is no picture")
    (root / "huge.png").write_bytes(huge_png())
    (root / "named.jpg").write_bytes(good[:-1] + b"!")  # a PNG; what stands behind its end is not read
    (root / "02.txt").write_text("12 34")
    (root / "03.txt").write_text("very " * 100)
    (root / "04.txt").write_bytes(b"\xe4")
    (root / "05.txt").write_text("thing h")
    (root / "06.txt").write_text("Eine Kuh auf der Wiese")
    (root / "08.txt").write_text("word " * 200_000)
    for name in ("like", "named", "half"):
        (root / f"{name}.txt").write_text(f"some thing called {name}")
    source = read(root)
    said = {
        "00.png": {"split": "train", "extra": {"Licence": "CC0"}},
        "copy.png": {"split": "test", "captions": ("a copy",)},
        "10.png": {"split": "train"},
        "11.png": {"split": "val", "captions": ("The thing k!",)},
        "12.png": {"split": "train", "groups": ("mug",)},
        "13.png": {"split": "test", "groups": ("mug",)},
        "14.png": {"captions": ("nu\0ll",)},
        "15.png": {"regions": (Region((0.5, 0.5, 1.25, 0.75), "cat"),)},
        "16.png": {"regions": (Region((0.5, 0.5, 0.5, 0.75), spans=((6, 70),)),)},
        "17.png": {"questions": (Question("What is it?", " "), Question("Which?", "that", regions=(3,)))},
    }
    samples = tuple(dataclasses.replace(each, **said.get(each.id, {})) for each in source.samples)
    return dataclasses.replace(source, samples=samples)


WARNED = {
    "unreadable": "half.jpg is cut short",
    "leak_image": "copy.png (test) = 00.png (train)",
    "leak_caption": "11.png (val) = 10.png (train)",
    "leak_group": "13.png (test) = 12.png (train)",
    "skipped": "04.txt",
    "box_outside": "15.png: region 0 (cat) at 0.5, 0.5, 1.25, 0.75",
    "box_empty": "16.png: region 0 at 0.5, 0.5, 0.5, 0.75",
    "span_outside": "16.png: region 0 refers to characters 6 to 70 of 7",
    "region_unknown": "17.png: question 'Which?' points to region 3 of 0",
    "caption_missing": "04.png",
    "answer_missing": "17.png: What is it?",
    "exact": "00.png = copy.png",
    "near": "00.png = named.jpg",
    "caption_wordless": "02.png: 12 34",
    "caption_foreign": "German: 06.png: Eine Kuh auf der Wiese",
    "caption_cut": "03.png: very very",
    "caption_control": "14.png: nu\\x00ll",
    "caption_long": "08.png: word word",
    "licence_missing": "01.png",
    "suffix": "named.jpg: a JPEG by its name, a PNG by its bytes",
}


def test_one_of_each_defect_is_found_and_named(tmp_path: Path) -> None:
    reader = Reader("20 tokens of mine", lambda texts: [len(text.split()) > 20 for text in texts])
    report = check(defects(tmp_path), reader=reader)
    found = {finding.name: finding for finding in report.findings}
    assert {name for name, finding in found.items() if finding.reason} == set(WARNED)
    for name, example in WARNED.items():
        assert found[name].examples[0].startswith(example), (name, found[name].examples)
        assert found[name].cure
    assert found["caption_repeated"].examples == ("2 times: 05.png: thing h",)
    assert not found["caption_repeated"].reason  # twice is told, but no fault
    assert {item.path: item.reason for item in report.unreadable} == {
        "half.jpg": "truncated",
        "half.png": "truncated",
        "huge.png": "too many pixels",
        "noise.png": "corrupt",
        "text.jpg": "not an image",
        "zero.jpg": "empty file",
    }
    assert report.near == (("00.png", "copy.png", "named.jpg"), ("01.png", "like.jpg"))
    assert found["near"].count == 2
    assert report.splits == {"train": 3, "val": 1, "test": 2}
    assert report.licences == {"Licence": {"": report.images - 7, "CC0": 1}}


def test_every_defect_stands_in_the_table(tmp_path: Path) -> None:
    reader = Reader("20 tokens of mine", lambda texts: [len(text.split()) > 20 for text in texts])
    rows = rows_of(check(defects(tmp_path), reader=reader))
    assert rows["images"][0] == 34
    assert rows["readable"][0] == 28
    assert rows["unreadable: empty file"][0] == rows["unreadable: corrupt"][0] == 1
    assert rows["unreadable: truncated"] == (2, rows["unreadable: truncated"][1])
    assert rows["unreadable: truncated"][1].endswith("Also half.png")
    assert rows["unreadable: not an image"][1].startswith("text.jpg is not an image")
    assert rows["unreadable: too many pixels"][1].startswith("huge.png has 25,000 x 25,000 = 625,000,000 pixels")
    assert rows["exact duplicates"] == (1, "00.png = copy.png")
    assert rows["skipped: caption is not UTF-8"] == (1, "04.txt")
    assert rows["images without a caption"] == (1, "04.png")
    assert rows["held out, with an image of another side"] == (1, "copy.png (test) = 00.png (train)")
    assert rows["licences (Licence)"] == (2, "27 (none), 1 CC0")
    assert rows["captions cut at the context length"][1].startswith("8%; 03.png")


def test_the_sentence_tells_the_worst_first_and_its_cure(tmp_path: Path) -> None:
    report = check(defects(tmp_path))
    assert report.status == 1
    assert report.reason.startswith(
        "6 of 34 images can't be read; 1 of 3 held-out samples share an image with another side of the split; "
    )
    assert report.reason.endswith("16 more warnings are in the table.")
    assert report.cure.startswith("Fix or remove them. Remove them from one split")


def test_the_usable_source_goes_with_hashes_and_duplicates(tmp_path: Path) -> None:
    folder(tmp_path, 4)
    (tmp_path / "00.png").write_bytes(b"broken")
    (tmp_path / "03.png").write_bytes((tmp_path / "02.png").read_bytes())
    source = read(tmp_path)
    report = check(source)
    usable = report.usable(source)
    assert [sample.id for sample in usable.samples] == ["01.png", "02.png", "03.png"]
    assert report.same == ((1, 2),)
    assert report.hashes[1] == report.hashes[2] != report.hashes[0]
    assert [item.path for item in usable.skipped] == ["00.png"]
    assert check(usable).fingerprint == report.fingerprint


def test_a_report_is_json(tmp_path: Path) -> None:
    folder(tmp_path, 3)
    (tmp_path / "x.png").write_bytes(b"")
    value = check(read(tmp_path)).to_dict()
    again = json.loads(json.dumps(value, allow_nan=False))
    assert again == value
    assert " ".join(again) == (
        "name kind layout notes samples images formats sizes unreadable skipped exact near captions reader languages "
        "labels splits regions questions licences findings fingerprint status reason cure"
    )
    assert " ".join(again["findings"][0]) == "name what count total examples reason cure"
    assert again["unreadable"][0] | {"detail": ""} == {"path": "x.png", "reason": "empty file", "detail": ""}


def test_the_fingerprint_is_of_what_is_there_and_not_of_names(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir(), other.mkdir()
    folder(one, 3), folder(other, 3)
    before = check(read(one)).fingerprint
    for suffix in (".png", ".txt"):
        (other / f"00{suffix}").rename(other / f"zz{suffix}")
    assert check(read(other)).fingerprint == before
    (other / "zz.txt").write_text("another thing")
    assert check(read(other)).fingerprint != before


@pytest.mark.parametrize("quality", [40, 90])
def test_a_rescaled_recompressed_copy_is_a_near_duplicate(tmp_path: Path, quality: int) -> None:
    for index in range(12):
        picture(index, 200).save(tmp_path / f"{index}.png")
    picture(5, 100).save(tmp_path / "copy.jpg", quality=quality)
    assert check(read(tmp_path)).near == (("5.png", "copy.jpg"),)


def test_of_tiny_pictures_only_equal_bytes_are_copies(tmp_path: Path) -> None:
    """They hold too little to be told apart: the same two shades count as near copies when they are larger."""
    for side, near in ((28, 0), (56, 1)):
        root = tmp_path / str(side)
        root.mkdir()
        for name, value in (("a", 100), ("b", 104), ("c", 100)):
            Image.new("RGB", (side, side), (value,) * 3).save(root / f"{name}.png")
        report = check(read(root))
        assert [set(group) for group in report.exact] == [{"a.png", "c.png"}]
        assert len(report.near) == near


def test_blank_pages_are_alike_only_in_the_same_colour(tmp_path: Path) -> None:
    for name, colour in {"white": "white", "ivory": "#fffffa", "black": "black", "red": "red", "grey": "grey"}.items():
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{name}.png")
    picture(0).save(tmp_path / "picture.png")
    assert check(read(tmp_path)).near == (("ivory.png", "white.png"),)


def test_pictures_whose_hashes_agree_by_chance_are_told_apart() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 255, (40, 192), dtype=np.uint8)
    thumbnails[7] = thumbnails[3]
    sets = alike(np.zeros(40, dtype=np.uint64), thumbnails)
    assert sets[7] == sets[3]
    assert len(set(sets)) == 39


@pytest.mark.parametrize("block", [1, 7, 256])
def test_blocks_find_what_a_plain_loop_finds(block: int) -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 2**63, 60, dtype=np.uint64)
    codes[1::2] = [  # neighbours at 1 to 12 bits
        int(code) ^ sum(1 << int(bit) for bit in rng.choice(64, rng.integers(1, 13), replace=False))
        for code in codes[::2]
    ]
    sets = alike(codes, np.zeros((60, 192), dtype=np.uint8), block)
    parent = list(range(60))
    for one in range(60):
        for other in range(one):
            if (int(codes[one]) ^ int(codes[other])).bit_count() <= 6:
                parent = [parent[one] if number == parent[other] else number for number in parent]
    together = np.equal.outer(parent, parent)
    assert 60 < together.sum() < 180
    assert (np.equal.outer(sets, sets) == together).all()


def test_no_images_are_no_duplicates() -> None:
    assert alike(np.zeros(0, dtype=np.uint64), np.zeros((0, 192), dtype=np.uint8)).shape == (0,)


def test_captions_are_asked_about_once_each_and_in_parts(tmp_path: Path) -> None:
    path = folder(tmp_path, 1) / "00.png"
    texts = tuple(f"caption {index}" for index in range(2500))
    samples = (Sample("a", path, texts), Sample("b", path, texts[:3]))
    asked: list[int] = []

    def overflow(part: Sequence[str]) -> list[bool]:
        asked.append(len(part))
        return [text.endswith("99") for text in part]

    report = check(Source("s", tmp_path, "captions", "csv", samples), reader=Reader("9 tokens of mine", overflow))
    assert asked == [1000, 1000, 500]
    figures = {"total": 2503, "distinct": 2500, "missing": 0, "repeated": 3, "wordless": 0, "cut": 25}
    assert report.captions == figures
    assert rows_of(report)["repeated captions"] == (3, "2 times: a: caption 0")
    assert rows_of(report)["captions cut at the context length"] == (25, "1%; a: caption 99")
    assert "25 of 2500 captions are longer than 9 tokens of mine" in report.reason
    assert check(Source("s", tmp_path, "captions", "csv", samples)).captions["cut"] is None


def test_progress_counts_to_the_end_on_the_calling_thread(tmp_path: Path) -> None:
    told: list[tuple[int, int, bool]] = []
    main = threading.get_ident()
    source = read(folder(tmp_path, 6))
    check(source, progress=lambda done, total: told.append((done, total, threading.get_ident() == main)))
    assert told == [(count, 6, True) for count in range(1, 7)]


def test_an_interrupt_ends_the_check_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []

    def counted(source: object, smallest: int | None = None) -> Image.Image:
        looked.append(source)
        return picture(0)

    monkeypatch.setattr("deixis.data.quality.image_probe.open_image", counted)
    source = read(folder(tmp_path))
    source = Source("s", tmp_path, "captions", "csv", source.samples * 20)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(source, progress=interrupt)
    assert len(looked) < 250


def test_the_number_of_threads_changes_nothing(tmp_path: Path) -> None:
    source = read(folder(tmp_path, 8))
    assert check(source, threads=1) == check(source, threads=4)


def test_a_file_that_went_away_is_unreadable(tmp_path: Path) -> None:
    source = read(folder(tmp_path, 3))
    (tmp_path / "01.png").unlink()
    assert [(item.path, item.reason) for item in check(source).unreadable] == [("01.png", "missing")]


def test_memory_that_runs_out_is_one_image_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, smallest: int | None = None) -> None:
        raise MemoryError

    monkeypatch.setattr("deixis.data.quality.image_probe.open_image", fail)
    assert {item.reason for item in check(read(folder(tmp_path, 2))).unreadable} == {"not enough memory"}


# Whether anything can be learned


def test_too_few_captions_are_unusable_with_the_arithmetic(tmp_path: Path) -> None:
    report = check(read(folder(tmp_path, 12)))
    assert report.status == 2
    assert report.reason == (
        "Training is impossible: 12 distinct captions on 12 readable images, and at least 20 are needed."
    )
    assert report.cure == "Caption 8 or more further images, each in its own words."


def test_nothing_readable_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    report = check(read(tmp_path))
    assert report.status == 2
    assert "none of the 1 image can be read" in report.reason
    assert "a.png is empty" in report.cure
    assert report.sizes == ()


def test_images_alone_can_be_searched(tmp_path: Path) -> None:
    for index in range(3):
        picture(index).save(tmp_path / f"{index}.png")
    report = check(read(tmp_path))
    assert report.status == 1
    assert "neither captions nor labels" in report.reason
    assert "deixis label" in report.cure


@pytest.mark.parametrize(
    ("counts", "status", "words"),
    [
        ({"cat": 12, "dog": 12}, 0, ""),
        ({"cat": 24}, 2, "have one label, and at least 2"),
        ({"cat": 5, "dog": 6}, 2, "11 labelled images, and at least 20"),
        ({"cat": 30, "dog": 2}, 1, "the largest class has 30 images, the smallest 2"),
        ({"cat": 12, "dog": 12, "cow": 1}, 1, "1 of 3 classes have one image"),
    ],
)
def test_labels_must_be_two_and_balanced(tmp_path: Path, counts: dict[str, int], status: int, words: str) -> None:
    report = check(labelled(counts, tmp_path))
    assert report.status == status
    assert words in report.reason
    assert rows_of(report)["classes"][0] == len(counts)


def test_images_without_a_label_are_counted(tmp_path: Path) -> None:
    source = labelled({"cat": 12, "dog": 12}, tmp_path)
    stray = Sample("stray", source.samples[0].image)
    report = check(Source("s", tmp_path, "labels", "csv", (*source.samples, stray)))
    assert "1 of 25 images have no label" in report.reason


def test_what_the_reader_skipped_is_in_the_table(tmp_path: Path) -> None:
    skipped = (Skipped("b.jpg", "file not found", "line 3"), Skipped("c.jpg", "file not found", "line 4"))
    source = Source("s", tmp_path, "captions", "csv", read(folder(tmp_path)).samples, skipped)
    report = check(source)
    assert rows_of(report)["skipped: file not found"] == (2, "b.jpg: line 3 Also c.jpg")
    assert report.status == 1


def test_every_common_kind_of_image_is_looked_at(tmp_path: Path) -> None:
    image = picture(3, 64)
    image.convert("CMYK").save(tmp_path / "cmyk.jpg")
    image.convert("L").save(tmp_path / "grey.png")
    image.convert("P").save(tmp_path / "palette.gif")
    image.save(tmp_path / "tall.png")
    Image.fromarray(np.full((3, 900, 3), 7, dtype=np.uint8)).save(tmp_path / "thin.png")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    (tmp_path / "named.jpg").write_bytes(buffer.getvalue())
    report = check(read(tmp_path))
    assert report.unreadable == ()
    assert report.formats == {"PNG": 4, "JPEG": 1, "GIF": 1}
    assert ("named.jpg", "tall.png") in report.exact


# Every kind of source


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Something drawn on demand, which counts how often."""

    name: str
    seed: int
    times: list[str]

    def draw(self) -> np.ndarray:
        self.times.append(self.name)
        return np.asarray(picture(self.seed))


@dataclasses.dataclass(frozen=True)
class Cell:
    """Bytes in something else, such as a table."""

    name: str
    data: bytes

    def read(self) -> bytes:
        return self.data


def samples_of(pictures: Sequence[Any]) -> tuple[Sample, ...]:
    return tuple(Sample(f"{i}", image, (f"thing number {chr(97 + i)}",)) for i, image in enumerate(pictures))


def test_members_of_an_archive_are_read_in_place(tmp_path: Path) -> None:
    parts = [jpeg(picture(seed)) for seed in range(22)]
    parts[21] = parts[20]
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"".join(parts)[:-50])
    starts = itertools.accumulate(map(len, parts), initial=0)
    members = [Member(archive, f"{i}.jpg", next(starts), len(part)) for i, part in enumerate(parts)]
    report = check(Source("s", archive, "captions", "tar", samples_of(members)))
    assert [(item.path, item.reason) for item in report.unreadable] == [("21", "truncated")]
    assert report.formats == {"JPEG": 21}
    assert report.hashes[3] == hashlib.sha256(parts[3]).hexdigest() == picture_hash(members[3])
    archive.unlink()
    gone = check(Source("s", archive, "captions", "tar", samples_of(members))).unreadable
    assert {item.reason for item in gone} == {"missing"}


def test_drawings_are_drawn_once_and_named(tmp_path: Path) -> None:
    times: list[str] = []
    drawings = [Drawn(f"scene {seed}", seed, times) for seed in (*range(20), 3)]
    report = check(Source("s", tmp_path, "captions", "scenes", samples_of(drawings)))
    assert report.exact == (("3", "20"),)
    assert len(times) == 21
    assert report.hashes[0] == picture_hash(drawings[0])
    assert report.sizes[0] == (48, 48)


def test_what_is_stored_elsewhere_is_looked_at(tmp_path: Path) -> None:
    cells = [Cell("row 1", jpeg(picture(1))), Cell("row 2", b""), Cell("row 3", b"no picture")]
    report = check(Source("s", tmp_path, "captions", "parquet", samples_of(cells)))
    assert [(item.path, item.reason) for item in report.unreadable] == [("1", "empty file"), ("2", "not an image")]


def test_words_alone_need_no_image(tmp_path: Path) -> None:
    samples = tuple(Sample(f"{i}", None, (f"thing {chr(97 + i)}",)) for i in range(25))
    report = check(Source("s", tmp_path, "text", "jsonl", samples))
    assert (report.status, report.samples, report.images) == (0, 25, 0)
    assert report.sizes == report.exact == report.same == ()
    assert len(report.hashes) == 25
    few = check(Source("s", tmp_path, "text", "jsonl", samples[:3]))
    assert few.reason == "Training is impossible: 3 distinct captions, and at least 20 are needed."


def test_questions_and_phrases_are_words_too(tmp_path: Path) -> None:
    path = folder(tmp_path, 1) / "00.png"
    asked = (Question("What?", "That."),)
    seen = (Region((0.0, 0.0, 1.0, 1.0), phrases=(Phrase("the dog"),)),)
    samples = [
        Sample(f"{i}", path, questions=asked) if i % 2 else Sample(f"{i}", path, regions=seen) for i in range(24)
    ]
    report = check(Source("s", tmp_path, "captions", "json", tuple(samples)))
    assert report.captions["missing"] == 0
    assert rows_of(report)["regions"] == (12, "")
    assert report.status == 1  # copies


def test_no_sample_at_all_is_unusable(tmp_path: Path) -> None:
    assert check(Source("s", tmp_path, "captions", "csv", ())).status == 2


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    folder(tmp_path, 2)
    os.mkfifo(tmp_path / "pipe.png")
    samples = (*read(tmp_path).samples, Sample("pipe.png", tmp_path / "pipe.png", ("a pipe",)))
    report = check(Source("s", tmp_path, "captions", "csv", samples))
    assert [(item.path, item.reason) for item in report.unreadable] == [("pipe.png", "unreadable")]


def test_names_that_are_no_unicode_can_be_written(tmp_path: Path) -> None:
    sample = Sample("caf\udce9.png", tmp_path / "caf\udce9.png", ("a cafe",))
    report = check(Source("s", tmp_path, "captions", "csv", (sample,)))
    text = json.dumps(report.to_dict(), ensure_ascii=False)
    assert json.loads(text.encode("utf-8"))["unreadable"][0]["path"] == "caf\\udce9.png"


def test_a_file_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = read(folder(tmp_path, 3))
    opened: list[str] = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path.name) or original(path))
    monkeypatch.setattr("builtins.open", None)
    assert not check(source, threads=1).unreadable
    assert sorted(opened) == ["00.png", "01.png", "02.png"]
