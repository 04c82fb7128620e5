"""Photographs of GCompris: out of Qt's resource files, with the words of the games' boards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deixis.data import catalogue
from deixis.data.datasets import gcompris
from deixis.data.datasets.sources import cache
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.inputs.images import load_image
from tests.registries import build_rcc, needs_dpkg, pixels, quiet

Apt = Callable[[str, Callable[[Path], None]], None]

BOARD = r"""
/* GCompris { "title": qsTr("No entry") } */
QtObject {
    property string backgroundImage: "qrc:/map.svg"
    property var tab : [
        { "image": "qrc:/owl.svg", "title": qsTr("Owl"),
          "text": qsTr("The owl goes \"hoo\".  It sees\nwell: 5 km {or} more."),
          "audio": f("qrc:/owl.$CA"), "image2": "qrc:/gcompris/src/activities/explore_x/resource/animals/owl.webp",
          "x": 0.18 },
        { "title": qsTr("Cow"), "image2": "qrc:/gcompris/src/activities/explore_x/resource/animals/cow.webp" },
        { "title": qsTr("Gone"), "image2": "qrc:/gcompris/src/activities/explore_x/resource/animals/gone.webp" },
        { "title": qsTr("Out"), "image2": "qrc:/gcompris/src/activities/../../out.webp" },
        { "title": qsTr("No picture"), "text": qsTr("Left out.") }
    ]
}
"""
INSIDE = "gcompris/src/activities"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Fills a package with two described pictures and three labelled ones, which are enough."""
    monkeypatch.setattr(gcompris, "_ENOUGH", {"explore": 2, "categorization": 3})
    webp = pixels(tmp_path / "a.webp").read_bytes()
    described = {f"{INSIDE}/explore_x/resource/animals/{name}.webp": webp for name in ("owl", "cow")}
    board = {f"{INSIDE}/explore_x/resource/board/board1.qml": BOARD.encode()}
    names = ("tools/measuringTape6", "renewable/solar1", "numbers/numbers")
    labelled = {f"{INSIDE}/categorization/resource/images/{name}.webp": webp for name in names}

    def fill(root: Path) -> None:
        resources = root / "usr/share/gcompris-qt/rcc"
        resources.mkdir(parents=True)
        packed = dict.fromkeys(board, 1)
        (resources / "explore_x.rcc").write_bytes(build_rcc({**described, **board}, packed=packed))
        (resources / "categorization.rcc").write_bytes(build_rcc({**labelled, f"{INSIDE}/sound.ogg": b"no"}))
        notice = root / "usr/share/doc/gcompris-qt-data/copyright"
        notice.parent.mkdir(parents=True)
        notice.write_text("Files: owl", encoding="utf-8")

    return fill


@needs_dpkg
def test_the_set_holds_described_pictures_and_a_part_of_it_labelled_ones(
    apt: Apt, small: Callable[[Path], None]
) -> None:
    apt("gcompris-qt-data", small)
    assert gcompris.fetch(quiet) == gcompris.fetch(quiet) == cache_dir("sets", "gcompris")
    assert (cache_dir("sets", "gcompris") / "copyright").read_text() == "Files: owl"
    assert not cache_dir("downloads").exists()
    source = catalogue.read("gcompris")
    assert source.kind == "captions"
    assert [sample.captions for sample in source.samples] == [
        ("Owl", 'The owl goes "hoo". It sees well: 5 km {or} more.'),
        ("Cow",),
    ]
    assert source.samples[0].extra == {"topic": "x"}
    assert load_image(source.samples[0].picture).shape == (3, 2, 2)
    assert [(each.reason, each.detail) for each in source.skipped] == [("no picture", "Gone"), ("no picture", "Out")]
    labelled = catalogue.read("gcompris/labels")
    assert labelled.kind == "labels"
    assert [(sample.id, sample.label, sample.extra["name"]) for sample in labelled.samples] == [
        ("numbers/numbers.webp", "other things", "numbers"),
        ("renewable/solar1.webp", "renewable energy", "solar"),
        ("tools/measuringTape6.webp", "tools", "measuring tape"),
    ]


@needs_dpkg
def test_a_package_with_too_few_pictures_is_refused_and_leaves_no_set(
    apt: Apt, small: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcompris, "_ENOUGH", {"explore": 3})
    apt("gcompris-qt-data", small)
    with pytest.raises(DeixisError, match=r"holds 2 pictures in explore\*\.rcc, and at least 3 were expected"):
        gcompris.fetch(quiet)
    assert not cache.finished("gcompris")


@pytest.mark.slow
def test_the_real_pictures_are_there_with_their_words(fetched: Callable[[str], Path]) -> None:
    fetched("gcompris")
    source, labelled = catalogue.read("gcompris"), catalogue.read("gcompris/labels")
    assert (len(source.samples), len(labelled.samples), source.skipped) == (82, 142, ())
    assert all(len(sample.captions) == 2 for sample in source.samples)
    hedgehog = next(sample for sample in source.samples if sample.captions[0] == "Hedgehog")
    assert hedgehog.captions[1].startswith("Hedgehogs eat small animals")
    labels = [sample.label for sample in labelled.samples]
    assert {label: labels.count(label) for label in set(labels)} == {
        "tools": 39, "renewable energy": 29, "fish": 28, "monuments": 27, "other things": 19,
    }  # fmt: skip
    for sample in (*source.samples[::20], *labelled.samples[::30]):
        assert min(load_image(sample.picture).shape[1:]) >= 100
