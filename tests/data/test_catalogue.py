"""The sets that package registries hold, on packages of a few pixels; and the real ones."""

from __future__ import annotations

import importlib.resources
import io
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from deixis.apps.data.data import run
from deixis.data import catalogue, datasets
from deixis.data.datasets import art4apps, emoji, emoji_names, emoji_styles, stamps
from deixis.data.datasets.sources import cache, packages
from deixis.data.splits import concept_groups
from deixis.data.synthetic.scene_text import SceneTextConfig, words
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.object_bank import SPLITS
from deixis.errors import DeixisError
from deixis.files import cache_dir, write_json
from deixis.types import Source
from tests.registries import build_deb, build_tgz, needs_dpkg, pixels, quiet

FIELDS = {"captions", "labels", "boxes", "masks", "phrases", "questions"}
STAMPS = {
    "animals/mammals/cats/lion": "A lion.",
    "animals/mammals/cats/lion-2": "A happy lion!",
    "animals/birds/heron_greatblue": "A great blue heron.",
    "symbols/chess/b_1_king": "King. Can move one step in any direction.",
    "symbols/alphabets/roman/a": "The letter A.",
    "symbols/money/us/cent": "One cent.",
}


def stamp_files(root: Path) -> None:
    """Stamps as the Debian package lays them out, one of them without a text and one without words in it."""
    for name, caption in STAMPS.items():
        pixels(root / f"{name}.png")
        (root / f"{name}.txt").write_text(f"{caption}\nde.utf8=Etwas.\n", encoding="utf-8")
    pixels(root / "military/vehicles/bradley_mirror.png")
    pixels(root / "food/nothing.png")
    (root / "food/nothing.txt").write_text("\n", encoding="utf-8")


def webp() -> bytes:
    memory = io.BytesIO()
    Image.new("RGB", (2, 2), "blue").save(memory, "webp")
    return memory.getvalue()


@needs_dpkg
def test_stamps_are_fetched_whole_and_once(tmp_path: Path, tools: Callable[[str, str], None], listed: Path) -> None:
    deb = build_deb(tmp_path, "tuxpaint-stamps-default", stamp_files, "usr/share/tuxpaint/stamps")
    tools("apt-get", f'cp "{deb}" . && echo once >> "{tmp_path}/calls"')
    assert stamps.fetch(quiet) == stamps.fetch(quiet) == cache_dir("sets", "stamps")
    assert (tmp_path / "calls").read_text().split() == ["once"]
    marker = json.loads((cache_dir("sets", "stamps") / "set.json").read_text())
    assert marker["version"] == "1.5-1"
    assert marker["licence"] == stamps.DATASET.licence
    assert sorted(path.name for path in cache_dir("sets").iterdir()) == ["stamps"]

    source = catalogue.read("stamps")
    assert [sample.captions for sample in source.samples] == [
        ("A great blue heron.",),
        ("A happy lion!",),
        ("A lion.",),
        ("King. Can move one step in any direction.",),
    ]
    assert [skipped.reason for skipped in source.skipped] == ["empty caption"]
    assert source.notes[0].startswith("2 stamps")
    assert source.notes[1].startswith("1 pictures")
    assert catalogue.describe(source) == "4 pairs, 4 captions, 3 concept groups"
    assert fields_of(source) < set(stamps.DATASET.fields), "the rest is in the part `masks`"


@needs_dpkg
def test_a_fetch_that_fails_leaves_nothing_behind(
    tmp_path: Path, tools: Callable[[str, str], None], listed: Path
) -> None:
    deb = build_deb(tmp_path, "pysiogame", lambda root: pixels(root / "elsewhere.png"), "usr/share")
    tools("apt-get", f'cp "{deb}" .')
    with pytest.raises(DeixisError, match=r"holds no \.jpg"):
        art4apps.fetch(quiet)
    assert list(cache_dir("sets").iterdir()) == []
    assert not cache.finished("art4apps")


@needs_dpkg
def test_art4apps_reads_words_from_file_names_and_labels_from_folders(
    tmp_path: Path, tools: Callable[[str, str], None], listed: Path
) -> None:
    def fill(root: Path) -> None:
        for name in ("food/hot_dog", "clothes_n_accessories/shoe", "clothes_n_accessories/shoes"):
            pixels(root / f"{name}.jpg")

    deb = build_deb(tmp_path, "pysiogame", fill, "usr/share/games/pysiogame/res/images/art4apps")
    tools("apt-get", f'cp "{deb}" .')
    art4apps.fetch(quiet)
    source = catalogue.read("art4apps")
    assert [(sample.captions, sample.label) for sample in source.samples] == [
        (("shoe",), "clothes n accessories"),
        (("shoes",), "clothes n accessories"),
        (("hot dog",), "food"),
    ]
    assert concept_groups(source.samples) == [0, 0, 1]
    assert fields_of(source) == set(art4apps.DATASET.fields)


def test_emoji_join_pictures_and_words_by_code_point(
    tmp_path: Path, tools: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("1f468-200d-1f680", "1f469-200d-1f680", "1f9d1-200d-1f680", "2764-fe0f", "38-fe0f-20e3")
    pictures = build_tgz(
        tmp_path / "pictures.tgz", {f"package/assets/{name}.webp": webp() for name in (*names, "1f44b-1f3ff")}
    )
    rows = [
        {"label": "man astronaut", "hexcode": "1F468-200D-1F680", "tags": ["rocket"], "group": 1, "order": 3},
        {"label": "woman astronaut", "hexcode": "1F469-200D-1F680", "group": 1, "order": 4},
        {"label": "astronaut", "hexcode": "1F9D1-200D-1F680", "group": 1, "order": 2},
        {"label": "red heart", "hexcode": "2764", "group": 0, "order": 1},
        {"label": "keycap: 8", "hexcode": "0038-FE0F-20E3", "group": 0, "order": 5},
        {"label": "fight cloud", "hexcode": "1FAEF", "group": 0, "order": 6},
        {"label": "light skin tone", "hexcode": "1F3FB", "group": 2, "order": 7},
        {"label": "regional indicator A", "hexcode": "1F1E6"},
    ]
    groups = [
        {"key": "smileys-emotion", "order": 0},
        {"key": "people-body", "order": 1},
        {"key": "component", "order": 2},
    ]
    words = build_tgz(
        tmp_path / "words.tgz",
        {
            "package/en/data.json": json.dumps(rows).encode(),
            "package/en/messages.json": json.dumps({"groups": groups, "subgroups": []}).encode(),
            "package/LICENSE": b"MIT",
        },
    )
    monkeypatch.setattr(emoji, "_PICTURES", (*emoji._PICTURES[:2], packages.content_hash(pictures)))
    monkeypatch.setattr(emoji, "_WORDS", (*emoji._WORDS[:2], packages.content_hash(words)))
    tools("npm", f'case "$2" in emojibase*) cp "{words}" . ;; *) cp "{pictures}" . ;; esac')
    emoji.fetch(quiet)
    source = catalogue.read("emoji")
    assert [sample.captions[0] for sample in source.samples] == [
        "red heart",
        "astronaut",
        "man astronaut",
        "woman astronaut",
        "keycap: 8",
    ]
    assert source.samples[2].extra["tags"] == ("rocket",)
    assert source.samples[2].extra["group"] == "people-body"
    assert [(skipped.path, skipped.reason) for skipped in source.skipped] == [("1FAEF", "no picture")]
    assert source.notes[0].startswith("2 letters")
    assert len(set(concept_groups(source.samples))) == 3


def test_names_of_emoji_stand_beside_the_english_ones_and_flags_are_left_out(
    tmp_path: Path, tools: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    english = [
        {"label": "red heart", "hexcode": "2764", "group": 0, "order": 1},
        {"label": "fight cloud", "hexcode": "1FAEF", "group": 0, "order": 2},
        {"label": "flag: Italy", "hexcode": "1F1EE", "group": 9, "order": 3},
    ]
    groups = [{"key": "smileys-emotion", "order": 0}, {"key": "flags", "order": 9}]
    other = [{"label": "rotes  Herz", "hexcode": "2764"}, {"label": "Flagge: Italien", "hexcode": "1F1EE"}]
    files = {f"package/{part}/data.json": json.dumps(other).encode() for part in emoji_names.DATASET.parts}
    files |= {
        "package/en/data.json": json.dumps(english).encode(),
        "package/en/messages.json": json.dumps({"groups": groups, "subgroups": []}).encode(),
        "package/LICENSE": b"MIT",
    }
    words = build_tgz(tmp_path / "words.tgz", files)
    monkeypatch.setattr(emoji, "_WORDS", (*emoji._WORDS[:2], packages.content_hash(words)))
    tools("npm", f'cp "{words}" .')
    assert emoji_names.fetch(quiet) == emoji_names.fetch(quiet) == cache_dir("sets", "emoji-names")
    source = catalogue.read("emoji-names/de")
    (heart,) = source.samples
    assert (heart.captions, heart.extra["english"]) == (("rotes Herz",), ("red heart",))
    assert [(each.path, each.reason) for each in source.skipped] == [("1FAEF", "no name in de")]


@pytest.mark.parametrize(
    ("label", "rest"),
    [
        ("man astronaut", "astronaut"),
        ("woman running: facing right", "running"),
        ("family: man, woman, boy", "family"),
        ("people with bunny ears", "with bunny ears"),
        ("woman", "woman"),
        ("snowman", "snowman"),
    ],
)
def test_a_concept_of_emoji_has_no_gender(label: str, rest: str) -> None:
    assert emoji.concept(label) == rest


@pytest.mark.parametrize("name", catalogue.names())
def test_a_set_that_is_not_there_names_the_command_that_brings_it(name: str) -> None:
    command = "deixis data get " + {"tongues": "language-de"}.get(name, name)  # each language is fetched by itself
    with pytest.raises(DeixisError, match=command):
        catalogue.read(name)


def test_an_unknown_set_is_answered_with_those_there_are() -> None:
    with pytest.raises(DeixisError, match=", ".join(catalogue.names())):
        catalogue.read("stamp")


def test_a_part_that_a_set_does_not_have_is_answered_with_those_it_has() -> None:
    with pytest.raises(DeixisError, match=r"no part called 'words'. There are: labels"):
        catalogue.read("gcompris/words")
    with pytest.raises(DeixisError, match=r"no part called 'x'. Give the whole of it: set:art4apps"):
        catalogue.read("art4apps/x")


def test_a_set_whose_pictures_were_removed_is_damaged_not_empty() -> None:
    write_json(cache_dir("sets", "art4apps") / cache.MARKER, {"name": "art4apps"})
    with pytest.raises(DeixisError, match=r"'art4apps' in .* is damaged: it is empty"):
        catalogue.read("art4apps")


@pytest.mark.parametrize("name", catalogue.names())
def test_every_set_tells_licence_size_and_source(name: str) -> None:
    card = catalogue.card(name)
    assert card == catalogue.module(name).DATASET, "what is read from the source is what is imported"
    assert card.how in ("apt", "npm", "pip")
    assert all((card.title, card.licence, card.size_mb > 0))
    assert set(card.fields) <= FIELDS


@pytest.mark.parametrize("name", catalogue.generated())
def test_every_generated_set_is_a_file_like_the_others(name: str) -> None:
    card = catalogue.card(name)
    assert card == catalogue.module(name).DATASET
    assert (card.how, card.size_mb, set(card.fields) <= FIELDS) == ("generated", 0, True)
    assert name not in catalogue.names()


def test_a_file_in_the_folder_is_a_set_and_nothing_else_is_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """
from pathlib import Path
from deixis.types import Sample, Source
from deixis.types.cards import DatasetCard

DATASET = DatasetCard(title="Toys", licence="none", how="pip", size_mb=3, fields=("labels",), parts=("small",))

def read(part=""):
    return Source("toy-blocks", Path("."), "labels", "toys", (Sample(part or "all", Path("a.png"), label="cube"),))
"""
    (tmp_path / "toy_blocks.py").write_text(text)
    monkeypatch.setattr(catalogue, "_FOLDER", tmp_path)
    monkeypatch.setattr(datasets, "__path__", [str(tmp_path)])
    assert catalogue.names() == ("toy-blocks",)
    assert catalogue.read("toy-blocks/small").samples[0].id == "small"
    with pytest.raises(DeixisError, match=r"no part called 'large'. There are: small"):
        catalogue.read("toy-blocks/large")
    run("list")
    row = next(line for line in capsys.readouterr().out.splitlines() if "toy-blocks" in line)
    assert all(word in row for word in ("3 MB", "pip", "labels", "none", "Toys"))
    del sys.modules["deixis.data.datasets.toy_blocks"]


def test_the_parts_of_a_card_are_those_that_can_be_read() -> None:
    assert catalogue.card("emoji-styles").parts == (*emoji_styles.STYLES, emoji_styles.CONCEPTS)
    assert catalogue.card("emoji-tones").parts == ()
    assert catalogue.card("scenes").parts == (*SPLITS, "clutter", "frames")
    assert catalogue.card("photos-words").parts == ()
    for name in {"fonts", *catalogue.generated()} - {"emoji-tones", "photos-words", "scenes"}:
        assert catalogue.card(name).parts == SPLITS


def fields_of(source: Source) -> set[str]:
    """What samples have beside the image, as cards call it."""
    there = {
        "captions": any(sample.captions for sample in source.samples),
        "labels": any(sample.label is not None for sample in source.samples),
        "boxes": any(sample.regions for sample in source.samples),
        "masks": any(region.mask is not None for sample in source.samples for region in sample.regions),
        "phrases": any(region.phrases for sample in source.samples for region in sample.regions),
        "questions": any(sample.questions for sample in source.samples),
    }
    return {name for name, is_there in there.items() if is_there}


def test_a_card_tells_the_fields_that_the_samples_have() -> None:
    drawn = scenes(0, 8, side=48, config=SceneConfig(cast="shapes"))
    assert fields_of(drawn) == set(catalogue.card("scenes").fields) == FIELDS
    written = words(0, 3, config=SceneTextConfig(fonts="builtin", unseen="nothing"))
    assert fields_of(written) == set(catalogue.card("words").fields)


def test_the_list_of_photographs_is_sorted_and_holds_pictures_only() -> None:
    text = importlib.resources.files("deixis.data.datasets").joinpath("stamps_photos.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines == sorted(set(lines))
    assert all(line.endswith(".png") for line in lines)
    assert stamps.photographs() == frozenset(lines)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("animals/cats/lion-2.png", "animals/cats/lion"),
        ("plants/flowers/flower10.png", "plants/flowers/flower"),
        ("symbols/music/note_012_a.png", "symbols/music/note"),
        ("seasonal/halloween/grave-j.png", "seasonal/halloween/grave"),
        ("clothes/red_handbag.png", "clothes/red_handbag"),
        ("symbols/math/7.png", "symbols/math"),
    ],
)
def test_a_stem_drops_what_numbers_variants(name: str, stem: str) -> None:
    assert stamps.stem(name) == stem


@pytest.mark.parametrize(
    ("message", "cure"),
    [
        ("E: Unable to locate package nosuch", "apt-get update"),
        ("E: Failed to fetch http://x  404  Not Found", "apt-get update"),
        ("Err: Temporary failure resolving 'mirror.example.org'", "network"),
        ("E: something else", "by hand: apt-get download"),
    ],
)
def test_what_apt_says_becomes_a_cure(
    tmp_path: Path, tools: Callable[[str, str], None], listed: Path, message: str, cure: str
) -> None:
    tools("apt-get", f'echo "{message}" >&2; exit 100')
    tools("dpkg-deb", "exit 0")
    with pytest.raises(DeixisError, match=cure):
        packages.debian_package("nosuch", tmp_path, quiet)


def test_empty_package_lists_ask_for_an_update(tmp_path: Path, tools: Callable[[str, str], None], listed: Path) -> None:
    tools("apt-get", 'echo "E: Unable to locate package x" >&2; exit 100')
    tools("dpkg-deb", "exit 0")
    next(listed.iterdir()).unlink()
    with pytest.raises(DeixisError, match=r"lists are empty.*sudo apt-get update"):
        packages.debian_package("x", tmp_path, quiet)


@pytest.mark.parametrize(
    ("message", "cure"),
    [
        ("npm error code E404", "does not hold"),
        ("npm error code ETARGET", "does not hold"),
        ("npm error code EAI_AGAIN", "network"),
        ("npm error oh", "by hand: npm pack"),
    ],
)
def test_what_npm_says_becomes_a_cure(
    tmp_path: Path, tools: Callable[[str, str], None], message: str, cure: str
) -> None:
    tools("npm", f'echo "{message}" >&2; exit 1')
    with pytest.raises(DeixisError, match=cure):
        packages.npm_package("@a/b", "1.0.0", tmp_path, quiet)


def test_a_missing_tool_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeixisError, match=r"apt-get, which is not on this machine.*folder of your own"):
        packages.debian_package("x", tmp_path, quiet)
    with pytest.raises(DeixisError, match=r"npm, which is not on this machine.*install npm"):
        packages.npm_package("x", "1", tmp_path, quiet)


def test_an_archive_with_another_hash_is_refused(tmp_path: Path, tools: Callable[[str, str], None]) -> None:
    archive = build_tgz(tmp_path / "x.tgz", {"package/a": b"1"})
    tools("npm", f'cp "{archive}" .')
    with pytest.raises(DeixisError, match="registry"):
        packages.npm_package("x", "1", tmp_path, quiet, sha256="0" * 64)
    assert packages.npm_package("x", "1", tmp_path, quiet).folder.joinpath("a").read_bytes() == b"1"


@pytest.mark.parametrize("name", ["../out", "/out", "package/../../out", "a\\..\\out", "c:/out"])
def test_names_in_an_archive_never_leave_the_folder(tmp_path: Path, name: str) -> None:
    archive = build_tgz(tmp_path / "bad.tgz", {name: b"x"})
    with pytest.raises(DeixisError, match="outside its folder"):
        packages.unpack_tar(archive, tmp_path / "in/side")
    assert not list(tmp_path.rglob("out"))


def test_links_in_an_archive_are_passed_over(tmp_path: Path) -> None:
    archive = tmp_path / "links.tar"
    with tarfile.open(archive, "w") as tar:
        link = tarfile.TarInfo("package/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
        through = tarfile.TarInfo("package/link/x")
        through.size = 1
        tar.addfile(through, io.BytesIO(b"x"))
    assert packages.unpack_tar(archive, tmp_path / "to") == 1
    assert not (tmp_path / "to/package/link").is_symlink()


def test_an_archive_that_swells_or_is_cut_is_refused(tmp_path: Path) -> None:
    archive = build_tgz(tmp_path / "big.tgz", {"a": b"x" * 1000})
    with pytest.raises(DeixisError, match="more than 999 bytes"):
        packages.unpack_tar(archive, tmp_path / "to", limit=999)
    archive.write_bytes(archive.read_bytes()[:40])
    with pytest.raises(DeixisError, match="could not be unpacked"):
        packages.unpack_tar(archive, tmp_path / "to")


def fetched(name: str) -> None:
    try:
        catalogue.module(name).fetch(quiet)
    except DeixisError as error:
        pytest.skip(f"{name} is not available: {error}")


@pytest.mark.slow
def test_the_real_stamps_are_those_that_the_bars_were_measured_on() -> None:
    fetched("stamps")
    source = catalogue.read("stamps")
    assert catalogue.describe(source) == "760 pairs, 675 captions, 481 concept groups"
    ids = {sample.id for sample in source.samples}
    assert stamps.photographs() <= ids
    photographs = [sample for sample in source.samples if sample.extra["photo"]]
    assert 330 <= len(photographs) <= 345
    families = [sample.extra["family"] for sample in source.samples]
    assert {name: families.count(name) for name in set(families) - {""}} == {
        "chess": 12,
        "notes": 12,
        "digits": 20,
        "dreidels": 5,
    }
    assert source.skipped == ()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("emoji", 1852), ("art4apps", 585)])
def test_the_real_sets_have_their_size_and_readable_pictures(name: str, count: int) -> None:
    fetched(name)
    source = catalogue.read(name)
    assert len(source.samples) == count
    assert len({sample.id for sample in source.samples}) == count
    for sample in source.samples[::100]:
        with Image.open(sample.image) as image:
            image.load()
        assert sample.captions[0].strip()
