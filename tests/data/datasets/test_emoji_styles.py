"""Emoji in six styles, on packages of three drawings; and the real ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deixis.data import catalogue
from deixis.data.datasets import emoji, emoji_styles
from deixis.data.datasets.sources import cache, fetch, packages
from deixis.data.splits import concept_groups
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.types import Source
from tests.registries import build_tgz, quiet

Tools = Callable[[str, str], None]
CODES = {"1f642": "smile", "1f44b": "wave", "1f449": "right", "1f4dc": "scroll"}


def half(colour: str) -> dict[str, str]:
    """A drawing whose left half is filled."""
    return {"body": f'<rect width="8" height="16" fill="{colour}"/>'}


def style_package(style: str) -> dict[str, Any]:
    """All styles hold `smile`, `wave` and `right`; one calls `wave` by another name, one mirrors `left`, one draws
    nothing for `wave`; each holds a thing of its own."""
    colour = "red" if style == "noto" else "blue"
    icons = {name: half(colour) for name in ("smile", "wave", "right", "scroll", f"own-{style}")}
    aliases: dict[str, Any] = {}
    if style == "emojione":
        icons["waving"] = icons.pop("wave")
        aliases["wave"] = {"parent": "waving"}
    if style == "fluent-emoji-flat":
        icons["left"] = icons.pop("right")
        aliases["right"] = {"parent": "left", "hFlip": True}
    if style == "openmoji":
        icons["wave"] = {"body": "<g/>"}
    return {"icons": icons, "aliases": aliases, "width": 16, "height": 16}


@pytest.fixture
def shelf(tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm that has the styles and the words; the folder that it takes them from."""
    pytest.importorskip("resvg_py")
    folder = tmp_path / "shelf"
    folder.mkdir()
    for style, facts in emoji_styles.STYLES.items():
        chars = CODES if style in ("noto", "twemoji") else {}
        files = {"package/icons.json": style_package(style), "package/chars.json": chars}
        archive = build_tgz(
            folder / f"{style}.tgz", {name: json.dumps(value).encode() for name, value in files.items()}
        )
        pinned = facts._replace(sha256=packages.content_hash(archive))
        monkeypatch.setitem(emoji_styles.STYLES, style, pinned)  # type: ignore[arg-type]
    rows = [
        {"label": "waving hand", "hexcode": "1F44B", "tags": ["hi"], "group": 1, "order": 2, "emoji": "w"},
        {"label": "slight smile", "hexcode": "1F642", "group": 0, "order": 1},
        {"label": "right", "hexcode": "1F449", "group": 1, "order": 3},
        {"label": "scroll", "hexcode": "1F4DC", "group": 1, "order": 4},
    ]
    messages = {"groups": [{"key": "smileys", "order": 0}, {"key": "people", "order": 1}], "subgroups": []}
    words = {"package/en/data.json": json.dumps(rows), "package/en/messages.json": json.dumps(messages)}
    content = {name: text.encode() for name, text in {**words, "package/LICENSE": "MIT"}.items()}
    archive = build_tgz(folder / "emojibase-data.tgz", content)
    monkeypatch.setattr(emoji, "_WORDS", (*emoji._WORDS[:2], packages.content_hash(archive)))
    tools(
        "npm",
        f'spec="${{2%@*}}"; name="${{spec#@iconify-json/}}"; echo "$name" >> "{folder}/calls"\n'
        f'cp "{folder}/$name.tgz" . || {{ echo "npm error code E404" >&2; exit 1; }}',
    )
    return folder


def calls(shelf: Path) -> list[str]:
    return (shelf / "calls").read_text().split()


@pytest.fixture
def source(shelf: Path) -> Source:
    emoji_styles.fetch(quiet)
    return catalogue.read("emoji-styles")


def test_each_concept_comes_in_every_style_with_words_and_the_licence_of_its_style(source: Source) -> None:
    assert [sample.id for sample in source.samples[:7]] == [
        *(f"{style}/1F642.png" for style in sorted(emoji_styles.STYLES)),
        "emojione/1F44B.png",
    ]
    wave = source.samples[6]
    assert wave.captions == ("waving hand",)
    assert (wave.extra["style"], wave.extra["licence"], wave.extra["tags"]) == ("emojione", "CC-BY-4.0", ("hi",))
    assert {sample.extra["style"]: sample.extra["licence"] for sample in source.samples}["openmoji"] == "CC-BY-SA-4.0"
    groups = concept_groups(source.samples)
    assert len(set(groups)) == 3
    assert len({sample.groups for sample in source.samples}) == 3


def test_names_that_do_not_mean_the_same_everywhere_are_left_out(source: Source) -> None:
    assert "scroll" not in {sample.captions[0] for sample in source.samples}


def test_a_drawing_that_shows_nothing_is_told_and_no_sample(source: Source) -> None:
    assert [(skipped.path, skipped.reason) for skipped in source.skipped] == [
        ("openmoji/1F44B.png", "could not be drawn")
    ]
    assert Counter(sample.captions[0] for sample in source.samples) == {
        "slight smile": 6, "waving hand": 5, "right": 6,
    }  # fmt: skip


def test_pictures_are_drawn_once_in_their_colours_and_mirrored_where_the_package_says(source: Source) -> None:
    by_id = {sample.id: sample for sample in source.samples}
    pixels = {
        name: np.asarray(Image.open(by_id[f"{name}/1F449.png"].picture)) for name in ("noto", "fluent-emoji-flat")
    }
    assert pixels["noto"].shape == (emoji_styles.SIDE, emoji_styles.SIDE, 4)
    assert pixels["noto"][64, 10].tolist() == [255, 0, 0, 255]
    assert pixels["noto"][64, 118, 3] == 0
    assert pixels["fluent-emoji-flat"][64, 118].tolist() == [0, 0, 255, 255]
    assert pixels["fluent-emoji-flat"][64, 10, 3] == 0


def test_one_style_can_be_read_alone(source: Source) -> None:
    part = catalogue.read("emoji-styles/noto")
    assert part.name == "emoji-styles/noto"
    assert {sample.extra["style"] for sample in part.samples} == {"noto"}
    assert part.skipped == ()
    assert len(catalogue.read("emoji-styles/openmoji").skipped) == 1
    with pytest.raises(DeixisError, match=r"no part called 'apple'.*openmoji"):
        catalogue.read("emoji-styles/apple")


def test_it_is_fetched_once_and_nothing_else_stays(source: Source, shelf: Path) -> None:
    emoji_styles.fetch(quiet)
    assert calls(shelf) == [*emoji_styles.STYLES, "emojibase-data"]
    assert [path.name for path in cache_dir().iterdir()] == ["sets"]
    assert [path.name for path in cache_dir("sets").iterdir()] == ["emoji-styles"]
    marker = json.loads((cache_dir("sets", "emoji-styles") / "set.json").read_text())
    assert marker["files"] == 17
    assert marker["licences"]["noto"] == {"licence": "Apache-2.0", "author": "Google Inc"}


def test_getting_it_tells_size_client_and_licence_and_later_that_it_is_there(shelf: Path) -> None:
    said: list[str] = []
    folder = fetch.get("emoji-styles", said.append)
    assert said[0].startswith("emoji-styles: 17 MB with npm, licence by style: twemoji and emojione CC-BY-4.0")
    said.clear()
    assert fetch.get("emoji-styles", said.append) == folder
    assert said == [f"emoji-styles: already in {folder}"]


def test_a_broken_fetch_goes_on_where_it_stopped(shelf: Path) -> None:
    (shelf / "twemoji.tgz").rename(shelf / "away")
    with pytest.raises(DeixisError, match="does not hold @iconify-json/twemoji"):
        emoji_styles.fetch(quiet)
    assert not cache.finished("emoji-styles")
    cache_dir("sets", ".emoji-styles.x1.part").mkdir(parents=True)  # as a killed run leaves it
    (shelf / "away").rename(shelf / "twemoji.tgz")
    said: list[str] = []
    emoji_styles.fetch(said.append)
    assert Counter(calls(shelf)) == {**dict.fromkeys(emoji_styles.STYLES, 1), "twemoji": 2, "emojibase-data": 1}
    assert sum("downloaded before" in line for line in said) == 5
    assert [path.name for path in cache_dir("sets").iterdir()] == ["emoji-styles"]


def test_an_archive_that_was_cut_is_fetched_again(shelf: Path) -> None:
    (shelf / "emojibase-data.tgz").rename(shelf / "away")
    with pytest.raises(DeixisError, match="emojibase"):
        emoji_styles.fetch(quiet)
    (shelf / "away").rename(shelf / "emojibase-data.tgz")
    kept = next(cache_dir("downloads", "emoji-styles").glob("iconify-json-noto-1*.tgz"))
    kept.write_bytes(kept.read_bytes()[:20])
    emoji_styles.fetch(quiet)
    assert calls(shelf).count("noto") == 2
    assert len(catalogue.read("emoji-styles").samples) == 17


def test_a_package_laid_out_in_another_way_is_refused(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = build_tgz(shelf / "noto.tgz", {"package/icons.json": b"[]", "package/chars.json": b"{}"})
    pinned = emoji_styles.STYLES["noto"]._replace(sha256=packages.content_hash(archive))
    monkeypatch.setitem(emoji_styles.STYLES, "noto", pinned)  # type: ignore[arg-type]
    with pytest.raises(DeixisError, match="not laid out as expected"):
        emoji_styles.fetch(quiet)


@pytest.mark.slow
def test_the_real_styles_have_the_same_1051_concepts_and_no_blank_picture(fetched: Callable[[str], Path]) -> None:
    fetched("emoji-styles")
    source = catalogue.read("emoji-styles")
    assert source.skipped == ()
    assert set(Counter(sample.captions[0] for sample in source.samples).values()) == {6}
    assert Counter(sample.extra["style"] for sample in source.samples) == dict.fromkeys(emoji_styles.STYLES, 1051)
    assert len(set(concept_groups(source.samples))) == 1036
    for sample in source.samples[::97]:
        with Image.open(sample.picture) as image:
            assert image.size == (emoji_styles.SIDE, emoji_styles.SIDE)
            assert image.getchannel("A").getextrema()[1] > 200
