"""Open Clip Art, on a package of a few drawings; what becomes of its titles; and the real one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deixis.data import catalogue
from deixis.data.datasets import clipart
from deixis.data.datasets.sources import cache
from deixis.data.datasets.sources.clipart_words import DrawingFacts, describe, name
from deixis.data.splits import concept_groups
from deixis.errors import DeixisError
from deixis.files import cache_dir
from tests.registries import needs_dpkg, quiet

Apt = Callable[[str, Callable[[Path], None]], None]
RED = '<rect x="{at}" y="10" width="20" height="10" fill="red"/>'


def drawing(title: str, body: str = "", *, tags: tuple[str, ...] = (), mark: str = "PublicDomain", at: int = 10) -> str:
    """A drawing in the form of the package's: a small thing on a large page, with its facts inside."""
    listed = "".join(f"<rdf:li>{tag}</rdf:li>" for tag in tags)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
        xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/" width="30mm" height="40mm">
        <metadata><rdf:RDF><cc:Work><dc:title>{title}</dc:title><dc:subject><rdf:Bag>{listed}</rdf:Bag></dc:subject>
        <dc:publisher><cc:Agent><dc:title>Open Clip Art Library</dc:title></cc:Agent></dc:publisher>
        <dc:creator><cc:Agent><dc:title>Ann Example</dc:title></cc:Agent></dc:creator>
        <cc:license rdf:resource="http://web.resource.org/cc/{mark}"/></cc:Work></rdf:RDF></metadata>
        {body or RED.format(at=at)}</svg>"""


def fill(root: Path) -> None:
    """Two kinds of crow, a flag, and one of each that is left out."""
    drawings = {
        "animals/birds/crow_01": drawing("crow", tags=("bird", "animal", "")),
        "animals/birds/crow_02": drawing("Crow 2", RED.format(at=10).replace("red", "black")),
        "signs_and_symbols/flags/africa/niger": drawing("niger", RED.format(at=10).replace('"20"', '"40"')),
        "animals/crow_01": drawing("crow"),
        "animals/lettered": drawing("crow", "<text>Crow</text>" + RED.format(at=1)),
        "animals/free_for_some": drawing("crow", mark="NonCommercial", at=50),
        "animals/empty": drawing("crow", "<g/>"),
        "animals/white": drawing("crow", '<rect width="9" height="9" fill="white"/>'),
        "animals/broken": "<svg",
        "animals/nobody_ann_ex_01": drawing("Ann Example", RED.format(at=10).replace('"20"', '"60"')),
        "computer/icons/mail": drawing("mail"),
    }
    for place, text in drawings.items():
        path = root / f"usr/share/openclipart/svg/{place}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / "usr/share/openclipart/svg/animals/link.svg").symlink_to("birds/crow_01.svg")
    notice = root / "usr/share/doc/openclipart-svg/copyright"
    notice.parent.mkdir(parents=True)
    notice.write_text("public domain")


@pytest.mark.slow
@needs_dpkg
def test_drawings_come_with_captions_and_what_is_left_out_is_counted(apt: Apt) -> None:
    pytest.importorskip("resvg_py")
    apt("openclipart-svg", fill)
    clipart.fetch(quiet)
    source = catalogue.read("clipart")
    assert [(sample.id, sample.captions) for sample in source.samples] == [
        ("animals/birds/crow_01.png", ("crow, a bird",)),
        ("animals/birds/crow_02.png", ("crow, a bird",)),
        ("signs_and_symbols/flags/africa/niger.png", ("flag of Niger",)),
    ]
    assert dict(source.samples[0].extra) == {
        "title": "crow",
        "tags": ("bird", "animal"),
        "author": "Ann Example",
        "licence": "public domain",
        "folder": "animals/birds",
    }
    assert concept_groups(source.samples) == [0, 0, 1]
    assert source.skipped == ()
    assert sorted(source.notes) == [
        "left out: could not be drawn (1)",
        "left out: could not be read (1)",
        "left out: duplicates of another file (2)",
        "left out: hold text (1)",
        "left out: icons, buttons, logos, patterns, shapes, game pieces (1)",
        "left out: no English words (1)",
        "left out: not marked as public domain (1)",
        "left out: nothing visible on white (1)",
    ]
    assert (cache_dir("sets", "clipart") / "copyright").read_text() == "public domain"
    with Image.open(source.samples[0].picture) as image:  # of the drawing alone, without its page
        assert clipart.SIDE - 40 <= image.width <= clipart.SIDE
        assert image.width / image.height == pytest.approx(2, abs=0.15)
        assert np.asarray(image)[image.height // 2, image.width // 2].tolist() == [255, 0, 0, 255]


@needs_dpkg
def test_a_package_without_drawings_is_refused_and_leaves_no_set(apt: Apt) -> None:
    pytest.importorskip("resvg_py")
    apt("openclipart-svg", lambda root: (root / "usr").mkdir(parents=True))
    with pytest.raises(DeixisError, match="holds no drawing"):
        clipart.fetch(quiet)
    assert not cache.finished("clipart")


def test_a_damaged_set_names_the_cure() -> None:
    folder = cache_dir("sets", "clipart")
    folder.mkdir(parents=True)
    (folder / "set.json").write_text(json.dumps({"left_out": {}}))
    (folder / "facts.jsonl").write_text('{"path": "a/b"}\n')
    with pytest.raises(DeixisError, match=r"damaged.*fetch again"):
        catalogue.read("clipart")


def facts(path: str, title: str, *tags: str, author: str = "Ann Example") -> DrawingFacts:
    return DrawingFacts(path, title, tags, author)


@pytest.mark.parametrize(
    ("path", "title", "caption"),
    [
        ("transportation/redcar_marcelo_caiafa_", "RedCar", "red car"),
        ("tools/mag3", "magnifying glass 3", "magnifying glass"),
        ("animals/bugs/bee1_mimooh_01", "bee1", "bee, a bug"),
        ("animals/birds/seagull_01", "seagull contour", "seagull contour, a bird"),
        ("animals/birds/duck_yellow_kurt_cagle_", "Duck (Yellow)", "duck, a bird, yellow"),
        ("food/beverages/bottled_drink_bw", "Bottled Drink (B and W)", "bottled drink, black and white"),
        ("recreation/party/cone2_ganson", "Ice Cream Cone (2 Scoop)", "ice cream cone, 2 scoop"),
        ("office/pin_-_yellow", "pin -yellow", "pin, yellow"),
        ("buildings/us_capitol", "US Capitol Building Clipart Style", "us capitol building style"),
        ("transportation/skoda", "C&amp;#39;est &quot;Skoda&quot;", 'c\'est "skoda"'),
    ],
)
def test_titles_lose_numbers_suffixes_and_marks(path: str, title: str, caption: str) -> None:
    assert describe(facts(path, title)) == caption


@pytest.mark.parametrize(
    ("path", "title", "caption"),
    [
        ("signs_and_symbols/map_symbols/aiga_coffee_shop_", "AIGA_Symbol_Signs", "coffee shop, a map symbol"),
        ("transportation/roadsigns/no_buses", "SVG Road Signs", "no buses, a road sign"),
        ("transportation/horse", "SVG Road Signs", "horse, a road sign"),
        ("unsorted/igloo", "Various Cliparts", "igloo"),
        ("recreation/holiday/baloon1_04", "Clipart by Nicu Buculei - gift", "balloon"),
        ("signs_and_symbols/barn_0_symbol_1m_bwh", "Map Symbols", "barn, a map symbol, black and white"),
        ("animals/fish/bluewhale-md", "", "bluewhale"),
    ],
)
def test_a_title_of_a_collection_gives_way_to_the_file_name(path: str, title: str, caption: str) -> None:
    assert describe(facts(path, title)) == caption


@pytest.mark.parametrize(
    ("path", "title", "tags", "caption"),
    [
        ("signs_and_symbols/flags/africa/niger", "niger", ("flag",), "flag of Niger"),
        ("signs_and_symbols/flags/europe/uk", "United Kingdom- Scotland", (), "flag of Scotland, United Kingdom"),
        ("signs_and_symbols/flags/america/usa_alabama", "Clipart by Steve Hall - Alabama", (), "flag of Alabama"),
        ("signs_and_symbols/flags/peace", "Peace Flag", (), "Peace Flag"),
        ("signs_and_symbols/flags/signalflag_7", "signal flag 7", (), "Signal Flag 7"),
        ("geography/brazil_01", "Brazil", ("map",), "map of Brazil"),
        ("geography/queensland-outline", "Australian Maps", ("map",), "map of Queensland, outline"),
        ("geography/world", "World Map", ("map",), "World Map"),
        ("geography/gps", "Garmin GPS", ("gps",), "garmin gps"),
    ],
)
def test_flags_and_maps_are_of_their_place(path: str, title: str, tags: tuple[str, ...], caption: str) -> None:
    assert describe(facts(path, title, *tags)) == caption


@pytest.mark.parametrize(
    ("each", "caption"),
    [
        (facts("animals/birds/gabbiano_01", "Gabbiano", "bird", author="Architetto Francesco Rollandin"), "a bird"),
        (facts("tools/chiave_01", "Chiave", "tool", author="Rollandin Francesco"), ""),
        (facts("animals/birds/mirjam_m_01", "Mirjam Meijer", "flower", author="Mirjam Meijer"), "flower, a bird"),
        (facts("animals/ralf", "ralf@ark.example.org", "penguin", "animal", author="Ralf"), "penguin"),
        (facts("unsorted/ms_01", "MS", "hash(0x8a0)", "unsorted"), ""),
        (facts("people/cm1", "Clipart by Nicu Buculei - head1", "people"), ""),
        (facts("animals/l_01", "L&Atilde;&copy;zard", "reptile"), "reptile"),
        (facts("tools/weapons/ak47_01", "AK47", "weapon", "gun"), "weapon, gun"),
        (facts("x", "", ""), ""),
    ],
)
def test_what_is_no_english_gets_the_words_of_its_folder_or_tags_or_none(each: DrawingFacts, caption: str) -> None:
    assert describe(each) == caption


def test_flags_are_of_one_concept_with_a_map_of_the_place_and_no_other_flag() -> None:
    flag = facts("signs_and_symbols/flags/america/brazil", "Brazil")
    there = clipart._sample(flag, describe(flag), Path("x.png"))
    chart = facts("geography/brazil_01", "Brazil", "map")
    assert set(clipart._sample(chart, describe(chart), Path("y.png")).groups) & set(there.groups) == {"name:brazil"}
    assert name(flag) == "Brazil"


@pytest.mark.slow
def test_the_real_drawings_have_their_number_and_captions_that_are_words(fetched: Callable[[str], Path]) -> None:
    if not cache.finished("clipart"):
        pytest.skip("2,651 drawings take two minutes, and are looked at where they are: deixis data get clipart")
    fetched("clipart")
    source = catalogue.read("clipart")
    assert len(source.samples) == 2651
    captions = [sample.captions[0] for sample in source.samples]
    assert all(caption == " ".join(caption.split()) and "_" not in caption for caption in captions)
    assert len(set(captions)) > 1950
    assert max(Counter(concept_groups(source.samples)).values()) < 0.03 * len(captions)
    for sample in source.samples[::50]:
        with Image.open(sample.picture) as image:
            assert max(image.size) <= clipart.SIDE
