"""What else a stamp has: captions in other languages, and the exact mask of what it shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from deixis.data import catalogue
from deixis.data.datasets import stamps
from deixis.data.datasets.sources import cache
from deixis.data.splits import concept_groups
from deixis.errors import DeixisError
from deixis.files import cache_dir, write_json
from deixis.inputs.cutouts import is_cut_out, load_cutout
from deixis.inputs.masks import decode_mask

TEXTS = {
    "animals/cats/lion": "A big lion.\nde.utf8=Ein  großer Löwe. \npt_BR.utf8=Um leão.\nsr@latin.utf8=\n"
    "ca@valencia.utf8=Un lleó.\n",
    "food/apple": "An apple.\nde.utf8=Ein Apfel.\nnot a caption=x\n../x.utf8=out\n",
    "food/bread": "Bread.\n",
    "town/sign": "A sign.\nde.utf8=Ein Schild.",
}


@pytest.fixture
def root() -> Path:
    """Four stamps in the cache: 8 x 4 pixels, of which 3 x 2 are seen; the sign fills its frame."""
    home = cache_dir("sets", "stamps")
    for name, text in TEXTS.items():
        path = home / "stamps" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGBA", (8, 4), (0, 0, 255, 255 if name == "town/sign" else 0))
        picture.paste((255, 0, 0, 255), (2, 1, 5, 3))
        picture.putpixel((6, 1), (255, 0, 0, 127))
        picture.save(path)
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
    write_json(home / cache.MARKER, {"name": "stamps"})
    return home


def test_a_part_is_the_set_in_another_language_with_the_same_ids_and_groups(root: Path) -> None:
    english, german = catalogue.read("stamps"), catalogue.read("stamps/de")
    kept = [sample for sample in english.samples if sample.id != "food/bread.png"]
    assert [sample.captions for sample in german.samples] == [("Ein großer Löwe.",), ("Ein Apfel.",), ("Ein Schild.",)]
    assert [(each.id, each.groups, each.extra) for each in german.samples] == [
        (each.id, each.groups, each.extra) for each in kept
    ]
    assert [(skipped.path, skipped.reason) for skipped in german.skipped] == [("food/bread.png", "no caption in de")]
    assert german.name == "stamps/de"
    assert len(set(concept_groups(german.samples))) == 3


def test_the_parts_are_masks_and_the_languages_there_are_captions_in(root: Path) -> None:
    assert stamps.more_parts() == ("ca@valencia", "de", "pt_BR")
    with pytest.raises(DeixisError, match=r"no part called 'sr@latin'. There are: masks, ca@valencia, de, pt_BR"):
        catalogue.read("stamps/sr@latin")


def test_all_translations_of_a_stamp_are_read_from_its_text_file(root: Path) -> None:
    lion = catalogue.read("stamps").samples[0]
    assert stamps.translations(lion) == {"de": "Ein großer Löwe.", "pt_BR": "Um leão.", "ca@valencia": "Un lleó."}


def test_the_masked_part_holds_cut_outs_with_their_exact_region(root: Path) -> None:
    source = catalogue.read("stamps/masks")
    assert [sample.id for sample in source.samples] == ["animals/cats/lion.png", "food/apple.png", "food/bread.png"]
    assert [(skipped.path, skipped.reason) for skipped in source.skipped] == [("town/sign.png", "fills its frame")]
    (region,) = source.samples[0].regions
    assert region.box == (2 / 8, 1 / 4, 5 / 8, 3 / 4)
    assert region.category == "lion"
    assert region.spans == ((0, len("A big lion.")),)
    assert region.mask is not None
    pixels = decode_mask(region.mask)
    assert pixels.tolist() == [[1 <= row < 3 and 2 <= column < 5 for column in range(8)] for row in range(4)]


@pytest.mark.slow
def test_the_real_stamps_speak_77_languages_and_nearly_all_are_cut_out(fetched: Callable[[str], Path]) -> None:
    fetched("stamps")
    source = catalogue.read("stamps")
    assert len(stamps.more_parts()) == 77
    assert len(catalogue.read("stamps/fr").samples) == len(source.samples) == 760
    assert len(catalogue.read("stamps/de").samples) == 746
    cut_out = [is_cut_out(load_cutout(sample.picture, crop=False)) for sample in source.samples]
    assert sum(cut_out) == 756
