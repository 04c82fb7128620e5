"""One look at an image; tests/data/test_check.py has what a check makes of all of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from deixis.data.quality.image_probe import THUMBNAIL, ImageProbe, misnamed, probe_image, probe_images
from deixis.types import Member, Picture, Sample


def put(path: Path, colour: str = "red") -> Sample:
    Image.new("RGB", (40, 30), colour).save(path)
    return Sample(path.name, path)


def test_a_look_gives_hash_header_and_thumbnail(tmp_path: Path) -> None:
    sample = put(tmp_path / "a.png")
    seen = probe_image(sample)
    assert seen.hash == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert (seen.format, seen.size, seen.skipped) == ("PNG", (40, 30), None)
    assert seen.thumbnail is not None
    assert seen.thumbnail.tolist() == [255, 0, 0] * THUMBNAIL**2


def test_what_cannot_be_read_is_called_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "a.tar").write_bytes(bytes(9))
    monkeypatch.chdir(tmp_path)
    for picture in (tmp_path / "a.png", Path("a.png"), Member(Path("a.tar"), "x.png", 0, 0)):
        skipped = probe_image(Sample("the id", picture)).skipped
        assert skipped is not None
        assert (skipped.path, skipped.reason) == ("the id", "empty file")
        assert skipped.detail.startswith("the id is empty")


def test_words_alone_are_looked_at_in_no_time() -> None:
    assert probe_image(Sample("a", None, ("words",))) == ImageProbe()


def test_looks_come_in_the_order_of_the_samples(tmp_path: Path) -> None:
    samples = [put(tmp_path / f"{number}.png", f"rgb({number}, 0, 0)") for number in range(20)]
    told: list[tuple[int, int]] = []
    looks = probe_images(samples, 4, lambda done, total: told.append((done, total)))
    assert [each.thumbnail[0] for each in looks if each.thumbnail is not None] == list(range(20))
    assert told == [(number, 20) for number in range(1, 21)]


@pytest.mark.parametrize(
    ("name", "found", "promised"),
    [
        ("a.png", "PNG", ""),
        ("a.jpg", "PNG", "JPEG"),
        ("a.JPEG", "MPO", ""),
        ("a.bin", "PNG", ""),
        ("a", "PNG", ""),
    ],
)
def test_a_name_that_promises_another_format_is_told(name: str, found: str, promised: str) -> None:
    pictures: tuple[Picture, ...] = (Path(name), Member(Path("s.tar"), name, 0, 1))
    for picture in pictures:
        assert misnamed(Sample("a", picture), found) == promised
