"""Columns and scenes become triplets; columns in which nothing can be alike are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deixis.data import aspects
from deixis.data.readers.sources import read
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.errors import DeixisError
from deixis.types import Sample, Source


def table(**columns: list[Any]) -> Source:
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    samples = tuple(Sample(f"{i}.png", Path(f"{i}.png"), extra=row) for i, row in enumerate(rows))
    return Source("products.csv", Path("products.csv"), "images", "csv", samples)


def test_a_table_gives_a_triplet_for_each_value_and_counts_its_gaps() -> None:
    source = table(kind=["ring", "ring", "cup", "cup"], metal_colour=["red", "", None, "red  gold"], id=[1, 2, 3, 4])
    with pytest.raises(DeixisError, match="'metal_colour' has 2 different values in 2 rows"):
        aspects.column_aspects(source, ["kind", "metal_colour"])
    source = table(kind=["ring", "ring", "cup", "cup"], metal_colour=["red", "red", None, float("nan")])
    with pytest.raises(DeixisError, match="the one value 'red'"):
        aspects.column_aspects(source, ["metal_colour"])
    (kind,) = aspects.column_aspects(source, ["kind"])
    assert kind.values == ("cup", "ring")
    assert kind.wordings[0] == "the kind"
    colour = aspects.Aspect("metal_colour", ("the metal colour", "its metal colour"), ("red",))
    made = aspects.triplets(source, (kind, colour), aspects.column_value, held_wording=True)
    assert [each.captions[0] for each in made.samples] == ["ring", "red", "ring", "red", "cup", "cup"]
    assert made.samples[1].extra == {"instruction": ("the metal colour",), "aspect": "metal_colour", "respect": 1}
    assert made.samples[0].groups == made.samples[1].groups == ("picture 0.png",), "one picture stays on one side"
    assert made.notes == ("2 values are missing and are not learned from.",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", "a", "a"], "the one value 'a'"),
        (["", None, ""], "no value at all"),
        (["a", "b", "c"], "hardly any two pictures"),
        ([1.5, 1.5, 2.25], "measured numbers"),
        (["1.5", "2.5", "1.5", "2.5"], "measured numbers"),
        (["1,5", "2", "1,5", "2"], "measured numbers"),
        (["1.5e3", "-.5", "1.5e3", "-.5", "unknown"], "measured numbers"),
    ],
)
def test_columns_in_which_nothing_is_alike_are_refused(values: list[Any], message: str) -> None:
    with pytest.raises(DeixisError, match=message):
        aspects.column_aspects(table(column=values), ["column"])


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["2019", "2020", "2019", "2020", ""], ("2019", "2020")),
        ([2019.0, 2020.0, 2019.0, 2020.0, float("nan")], ("2019.0", "2020.0")),
        (["38", "40", "38", "40"], ("38", "40")),
        (["v1.5", "v2.5", "v1.5", "v2.5"], ("v1.5", "v2.5")),
        (["red", "blue", "red", "blue", float("nan")], ("blue", "red")),
    ],
)
def test_whole_numbers_that_repeat_name_a_kind_as_words_do(values: list[Any], names: tuple[str, ...]) -> None:
    (aspect,) = aspects.column_aspects(table(column=values), ["column"])
    assert aspect.values == names


def test_measured_numbers_of_a_csv_are_refused_though_its_cells_are_texts(tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    rows = [f"{i}.png,{('ring', 'cup')[i % 2]},{(1.5, 2.5)[i % 2]},{2019 + i % 2}" for i in range(8)]
    for i in range(8):
        Image.new("RGB", (9, 9), (i, 0, 0)).save(tmp_path / f"{i}.png")
    file.write_text("\n".join(["path,kind,weight,year", *rows]), encoding="utf-8")
    source = read(file)
    with pytest.raises(DeixisError, match="'weight' holds measured numbers"):
        aspects.column_aspects(source, ["kind", "weight"])
    made = aspects.column_triplets(source)
    assert "Respects: kind, year." in made.notes
    assert "Pictures are not alike in: weight." in made.notes


def test_columns_that_are_not_there_are_refused_with_those_that_are() -> None:
    with pytest.raises(DeixisError, match="has no column 'colur'") as error:
        aspects.column_aspects(table(colour=["a", "b"], kind=["a", "a"]), ["colur"])
    assert "colour, kind" in error.value.cure
    with pytest.raises(DeixisError, match="No column is named"):
        aspects.column_aspects(table(colour=["a", "b"]), [])


def test_scenes_of_one_thing_are_known_in_five_respects_each_with_a_wording_held_out() -> None:
    config = SceneConfig(cast="shapes", objects=(1, 1), repeats=1, tinted=1.0, masks=False, phrases=0, questions=0)
    source = scenes(0, 12, side=48, config=config)
    known = aspects.scene_aspects(source)
    made = aspects.triplets(source, known, aspects.scene_value, held_wording=True)
    assert len(made.samples) == 60
    assert {len(aspect.wordings) for aspect in known} == {4}
    for aspect in known:
        mine = [each for each in made.samples if each.extra["aspect"] == aspect.name]
        assert {each.captions[0] for each in mine} == set(aspect.values)
        assert all(aspect.wordings[-1] not in each.extra["instruction"] for each in mine)
    pair = scenes(0, 1, side=48, config=SceneConfig(cast="shapes", objects=(2, 2), repeats=1, phrases=0, questions=0))
    with pytest.raises(DeixisError, match="shows 2 things"):
        aspects.scene_aspects(pair)


def test_of_a_whole_table_the_columns_are_taken_in_which_pictures_are_alike() -> None:
    source = table(kind=["ring", "ring", "cup", "cup"], weight=[1.5, 2.5, 1.5, 2.5], id=["a", "b", "c", "d"])
    made = aspects.column_triplets(source)
    assert {each.extra["aspect"] for each in made.samples} == {"kind"}
    assert made.notes == ("Respects: kind.", "Pictures are not alike in: weight, id.")
    with pytest.raises(DeixisError, match="hardly any two"):
        aspects.column_triplets(table(id=["a", "b", "c"]))
    with pytest.raises(DeixisError, match="has no column of values"):
        aspects.column_triplets(Source("photos", Path(), "images", "folder", (Sample("a", Path("a")),)))
