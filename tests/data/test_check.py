"""A check finds what is broken, doubled, missing or lopsided, names it, and says whether anything can be learned."""

from __future__ import annotations

import io
import json
import struct
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deixis.data.check import MIN_PAIRS, CheckReport, check
from deixis.data.duplicates import alike
from deixis.data.sources import read
from deixis.inputs.images import load_image
from deixis.types.samples import Sample, Skipped, Source


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
        "distinct captions": (25, "thing a"),
    }
    assert report.same == ()
    assert len(set(report.hashes)) == 25


def test_one_of_each_defect_is_found_and_named(tmp_path: Path) -> None:
    folder(tmp_path)
    good = (tmp_path / "00.png").read_bytes()
    (tmp_path / "copy.png").write_bytes(good)
    picture(1).resize((96, 96)).save(tmp_path / "like.jpg", quality=60)
    (tmp_path / "like.txt").write_text("thing c")
    (tmp_path / "zero.jpg").write_bytes(b"")
    (tmp_path / "half.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.jpg").write_text("this is no picture")
    (tmp_path / "huge.png").write_bytes(huge_png())
    (tmp_path / "02.txt").write_text("12 34")
    (tmp_path / "03.txt").write_text("very " * 100)
    (tmp_path / "04.txt").write_bytes(b"\xe4")
    source = read(tmp_path)
    report = check(source, context_length_overflow=lambda texts: [len(text) > 100 for text in texts])
    rows = rows_of(report)
    assert rows["images"][0] == 31
    assert rows["readable"][0] == 27
    assert rows["unreadable: empty file"][0] == rows["unreadable: truncated"][0] == 1
    assert rows["unreadable: not an image"][1].startswith("text.jpg is not an image")
    assert rows["unreadable: too many pixels"][1].startswith("huge.png has 25,000 x 25,000 = 625,000,000 pixels")
    assert rows["exact duplicates"] == (1, "00.png = copy.png")
    assert rows["near duplicates"] == (1, "01.png = like.jpg")
    assert rows["skipped: caption is not UTF-8"] == (1, "04.txt")
    assert rows["images without a caption"] == (2, "04.png")
    assert rows["captions without letters"] == (1, "12 34")
    assert rows["captions cut at the context length"][0] == 1
    assert rows["captions cut at the context length"][1].startswith("very very")
    assert report.status == 1
    for words in ("4 of 31 images can't be read", "2 images are or look like copies", "2 images have no caption"):
        assert words in report.reason
    assert len(report.sizes) == 3
    assert report.sizes[-1] == (96, 96)


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


def test_blank_pages_are_alike_only_in_the_same_colour(tmp_path: Path) -> None:
    for name, colour in {"white": "white", "ivory": "#fffffa", "black": "black", "red": "red", "grey": "grey"}.items():
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{name}.png")
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

    report = check(Source("s", tmp_path, "captions", "csv", samples), context_length_overflow=overflow)
    assert asked == [1000, 1000, 500]
    assert report.captions == {"distinct": 2500, "missing": 0, "repeated": 3, "wordless": 0, "cut": 25}
    assert rows_of(report)["repeated captions"] == (3, "2 times: caption 0")
    assert check(Source("s", tmp_path, "captions", "csv", samples)).captions["cut"] is None


def test_progress_counts_to_the_end_on_the_calling_thread(tmp_path: Path) -> None:
    told: list[tuple[int, int, bool]] = []
    main = threading.get_ident()
    source = read(folder(tmp_path, 6))
    check(source, progress=lambda done, total: told.append((done, total, threading.get_ident() == main)))
    assert told == [(count, 6, True) for count in range(1, 7)]


def test_an_interrupt_ends_the_check_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    original = load_image

    def slowly(path: Path, smallest: int | None = None) -> object:
        looked.append(str(path))
        return original(path, smallest=smallest)

    monkeypatch.setattr("deixis.data.check.load_image", slowly)
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

    monkeypatch.setattr("deixis.data.check.load_image", fail)
    assert {item.reason for item in check(read(folder(tmp_path, 2))).unreadable} == {"not enough memory"}


# Whether anything can be learned


def test_too_few_captions_are_unusable_with_the_arithmetic(tmp_path: Path) -> None:
    report = check(read(folder(tmp_path, 12)))
    assert report.status == 2
    assert report.reason == (
        "Nothing can be learned: 12 distinct captions on 12 readable images, and at least 20 are needed."
    )
    assert report.cure == "Caption 8 or more further images, each in its own words."


def test_nothing_readable_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    report = check(read(tmp_path))
    assert report.status == 2
    assert "none of the 1 images can be read" in report.reason
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
        ({"cat": 12, "dog": 12, "cow": 1}, 1, "1 classes have one image"),
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
    assert "1 images have no label" in report.reason


def test_what_the_reader_skipped_is_in_the_table(tmp_path: Path) -> None:
    skipped = (Skipped("b.jpg", "file not found", "line 3"), Skipped("c.jpg", "file not found", "line 4"))
    source = Source("s", tmp_path, "captions", "csv", read(folder(tmp_path)).samples, skipped)
    report = check(source)
    assert rows_of(report)["skipped: file not found"] == (2, "b.jpg: line 3")
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
