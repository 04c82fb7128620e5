"""Words as pictures: what is written is what is told, and distortion stays within its limits."""

from __future__ import annotations

import collections
import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deixis.data import catalogue
from deixis.data.datasets import fonts
from deixis.data.datasets.sources import cache
from deixis.data.synthetic import typefaces
from deixis.data.synthetic.scene_text import Lettering, SceneTextConfig, vocabulary, words
from deixis.errors import DeixisError
from deixis.files import cache_dir, content_hash
from deixis.inputs.images import load_image, picture_hash
from deixis.types import Drawing, Sample
from tests.registries import needs_dpkg, quiet

BUILTIN = SceneTextConfig(fonts="builtin", unseen="nothing")
STILL = dataclasses.replace(BUILTIN, turn=0.0, bend=0.0, askew=0.0, blur=0.0, grain=0)


def made(count: int = 20, split: str = "train", seed: int = 0, **changes: object) -> list[Sample]:
    config = dataclasses.replace(BUILTIN, **changes)  # type: ignore[arg-type]
    return list(words(seed, count, split=split, config=config).samples)


def lettering(sample: Sample) -> Lettering:
    assert isinstance(sample.image, Lettering)
    return sample.image


def test_a_word_hangs_on_seed_and_index_alone() -> None:
    few, many = made(3), made(6)
    assert few == many[:3]
    hashes = [picture_hash(lettering(sample)) for sample in many]
    assert [picture_hash(lettering(sample)) for sample in reversed(many)] == hashes[::-1]
    assert len(set(hashes)) == 6
    assert made(3, seed=1) != few
    assert made(3, split="test") != few


def test_a_word_is_a_drawing_that_travels() -> None:
    sample = made(1)[0]
    again = pickle.loads(pickle.dumps(sample))
    assert again == sample
    assert isinstance(again.image, Drawing)
    assert sample.label in again.image.name
    assert load_image(again.image).shape == (3, 32, 128)


def test_caption_and_label_are_the_word_as_written() -> None:
    kinds: collections.Counter[str] = collections.Counter()
    for sample in made(200):
        assert sample.captions == (sample.label,) == (lettering(sample).text,)
        kind = sample.extra["kind"]
        kinds[kind] += 1
        if kind == "number":
            assert str(sample.label).isdecimal()
        elif kind == "word":
            assert str(sample.label).casefold() in vocabulary()
    assert kinds["number"] == pytest.approx(20, abs=17)  # four standard deviations
    assert kinds["random"] == pytest.approx(40, abs=23)
    assert {sample.extra["kind"] for sample in made(20, numbers=0.0, random=0.0)} == {"word"}


def ink(sample: Sample) -> np.ndarray:
    return np.asarray(lettering(sample).letters()) > 128


def test_the_letters_are_the_fonts_own_and_all_of_them_are_inside() -> None:
    for one, other in zip(made(20, **still()), made(20, words=("x",), numbers=0.0, random=0.0, **still()), strict=True):
        mask = ink(one)
        assert mask.any()
        border = np.concatenate([mask[:1].ravel(), mask[-1:].ravel(), mask[:, 0], mask[:, -1]])
        assert not border.any()
        rows, columns = np.nonzero(mask)
        fills = max((np.ptp(rows) + 1) / 28, (np.ptp(columns) + 1) / 124)
        assert 0.85 < fills <= 1.05, "as large as fits"
        assert one.label == other.label or not np.array_equal(mask, ink(other))


def still() -> dict[str, float]:
    return {name: getattr(STILL, name) for name in ("turn", "bend", "askew", "blur", "grain")}


@pytest.mark.parametrize("what", ["turn", "bend", "askew"])
def test_each_distortion_moves_the_letters_and_keeps_them_inside(what: str) -> None:
    plain, moved = made(20, **still()), made(20, **{**still(), what: getattr(BUILTIN, what)})
    changed = 0
    for one, other in zip(plain, moved, strict=True):
        assert one.label == other.label
        mask = ink(other)
        assert mask.any()
        edge = np.concatenate([mask[:1].ravel(), mask[-1:].ravel(), mask[:, 0], mask[:, -1]])
        assert edge.mean() < 0.02
        changed += not np.array_equal(ink(one), mask)
    assert changed >= (4 if what == "bend" else 18), "a bow is drawn in two of five"


def test_letters_stand_out_from_their_ground_by_the_contrast_asked_for() -> None:
    for sample in made(40, contrast=60, **still()):
        mask = ink(sample)
        grey = np.asarray(Image.fromarray(lettering(sample).draw())).mean(-1)
        ground = 255 - grey if lettering(sample).look.inverse else grey
        letters, rest = ground[mask].mean(), ground[~mask].mean()
        assert rest - letters > 30, f"{sample.label}: {letters} on {rest}"
    assert {lettering(sample).look.inverse for sample in made(40)} == {True, False}


def test_grain_is_noise_within_its_limit() -> None:
    for sample in made(10, **{**still(), "grain": 20}):
        clean = dataclasses.replace(lettering(sample), look=dataclasses.replace(lettering(sample).look, grain=0))
        difference = lettering(sample).draw().astype(int) - clean.draw()
        assert np.abs(difference).max() <= 20


@pytest.mark.parametrize("size", [(32, 16), (256, 64), (64, 128)])
def test_any_size(size: tuple[int, int]) -> None:
    for sample in words(0, 5, size=size, config=BUILTIN).samples:
        assert lettering(sample).draw().shape == (size[1], size[0], 3)


@pytest.mark.parametrize("text", ["i", ".", "W" * 24, "l1I|", "ﬁ", "日本"])
def test_narrow_wide_and_unknown_letters_are_drawn(text: str) -> None:
    for sample in made(5, words=(text,), numbers=0.0, random=0.0):
        assert lettering(sample).draw().shape == (32, 128, 3)


def test_words_can_be_unseen() -> None:
    parts = [
        {str(sample.label).casefold() for sample in made(200, split, unseen="word", numbers=0.0, random=0.0)}
        for split in ("train", "val", "test")
    ]
    assert sum(map(len, parts)) == len(set().union(*parts))


def test_families_of_fonts_can_be_unseen(tmp_path: Path) -> None:
    files = tuple(tmp_path / f"{name}.ttf" for name in "abcdefgh")
    parts = [
        {sample.extra["family"] for sample in made(60, split, fonts=files, unseen="font")}
        for split in ("train", "val", "test")
    ]
    assert [len(part) for part in parts] == [6, 1, 1]
    assert len(set().union(*parts)) == 8


def test_the_words_that_come_along_are_plain_and_in_order() -> None:
    assert len(vocabulary()) > 500
    assert list(vocabulary()) == sorted(set(vocabulary()))
    assert all(word.isascii() and word.isalpha() and word.islower() for word in vocabulary())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: words(0, 1), "deixis data get fonts"),
        (lambda: catalogue.read("words"), "deixis data get fonts"),
        (lambda: words(0, 1, split="dev", config=BUILTIN), "train, val, test"),
        (lambda: words(0, 1, size=(8, 8), config=BUILTIN), "32 x 16"),
        (lambda: words(-1, 1, config=BUILTIN), "not negative"),
        (lambda: words(0, 1, config=SceneTextConfig(fonts=(Path("a.ttf"),))), "unseen='nothing'"),
        (lambda: SceneTextConfig(words=("a\0b",)), "can't be drawn"),
        (lambda: SceneTextConfig(words=("x" * 1_000_000,)), "1 to 24"),
        (lambda: SceneTextConfig(random=0.8, numbers=0.3), "at most 1"),
        (lambda: SceneTextConfig(turn=90.0), "45 degrees"),
        (lambda: SceneTextConfig(contrast=0), "1 to 120"),
    ],
)
def test_what_cannot_be_made_is_told_with_a_cure(make: Callable[[], object], said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        make()


def test_a_file_that_is_no_font_is_named(tmp_path: Path) -> None:
    path = tmp_path / "letter.ttf"
    path.write_text("Dear Sir or Madam")
    [sample] = made(1, fonts=(path,))
    with pytest.raises(DeixisError, match=r"letter\.ttf can't be read as a font"):
        lettering(sample).draw()


@pytest.mark.slow
@needs_dpkg
def test_fonts_are_fetched_without_fine_cuts_and_with_their_notices(
    apt: Callable[[str, Callable[[Path], None]], None],
) -> None:
    def fill(root: Path) -> None:
        share = root / "usr/share"
        for name in ("fonts/opentype/x/X-Regular.otf", "fonts/opentype/x/X-Thin.otf", "fonts/readme.txt"):
            (share / name).parent.mkdir(parents=True, exist_ok=True)
            (share / name).write_text(name)

    for family in typefaces.FAMILIES:
        apt(f"fonts-{family}", fill)
    folder = fonts.fetch(quiet)
    assert fonts.fetch(quiet) == folder == cache_dir("sets", "fonts")
    assert json.loads((folder / cache.MARKER).read_text())["files"] == 2 * len(typefaces.FAMILIES)
    assert {family: [path.name for path in files] for family, files in typefaces.faces().items()} == {
        family: ["X-Regular.otf"] for family in typefaces.FAMILIES
    }


@pytest.mark.slow
def test_the_real_fonts_draw_small_letters_unlike_capitals(fetched: Callable[[str], Path]) -> None:
    fetched("fonts")
    faces = [path for files in typefaces.faces().values() for path in files]
    assert len(faces) > 30
    assert len({content_hash(path) for path in faces}) == len(faces)
    look = lettering(made(1, **still())[0]).look
    for path in faces:
        for letter in "abdeghnqr5":
            small, capital = (
                np.asarray(Lettering(text, path, (32, 32), look).letters()) for text in (letter, letter.upper())
            )
            assert (small > 128).any(), f"{path.name}: {letter}"
            different = np.abs(small.astype(int) - capital).mean() > 8
            assert different == letter.isalpha(), f"{path.name}: {letter}"


@pytest.mark.slow
def test_the_set_of_words_keeps_its_families_apart(fetched: Callable[[str], Path]) -> None:
    fetched("fonts")
    parts = [
        {sample.extra["family"] for sample in catalogue.read(f"words/{split}").samples}
        for split in ("train", "val", "test")
    ]
    assert len(set().union(*parts)) == sum(map(len, parts)) == len(typefaces.FAMILIES)
