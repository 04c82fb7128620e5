"""Tags that pictures lack are suggested by what finds held-back tags best, and it is said how often."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from deixis import zoo
from deixis.apps.common.console import Reporter
from deixis.apps.words.looks import looks_of
from deixis.apps.words.remarks import on_all, tag_remarks, two_spellings
from deixis.apps.words.tags import cut, tag_table, tags_of
from deixis.apps.words.written import Decision, TagCells, WrittenWords
from deixis.engine.tag_suggestions import hold_back, ranks_of
from deixis.errors import DeixisError
from deixis.inputs.images import picture_hash
from deixis.types import Region, Sample
from tests.commands import deixis, own_cache
from tests.pictures import captioned

COMPANY = (("sea", "boat", "sail"), ("wood", "tree", "leaf"), ("town", "street", "car"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pictures; each has the three tags of one of three themes, some with one missing."""
    folder = captioned(tmp_path_factory.mktemp("words") / "pictures", 48)
    pictures = sorted(folder.glob("*.png"))
    with open(folder.parent / "tagged.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "caption", "keywords"))
        for number, picture in enumerate(pictures):
            tags = COMPANY[number % 3]
            said = [tag for place, tag in enumerate(tags) if number % 8 or place != number % 3]
            writer.writerow((picture, picture.stem, "; ".join([*said, "Rare" * (number == 0)])))
    return folder.parent / "tagged.csv"


def test_tags_are_read_from_a_column_in_lower_case_each_once_and_counted() -> None:
    samples = [
        Sample("a", None, extra={"tags": "Red Bird; sea,sea"}),
        Sample("b", None, extra={"tags": ("sea", "Wood")}),
    ]
    assert tags_of(samples, "") == [["red bird", "sea"], ["sea", "wood"]]
    table = tag_table(tags_of([*samples, *samples], ""), 2, 10)
    assert table.words == ("sea", "red bird", "wood")
    assert table.tags.tolist() == [[1, 0], [0, 2], [1, 0], [0, 2]]


def test_one_tag_of_each_picture_that_has_two_is_held_back() -> None:
    tags = torch.tensor([[0, 3, -1], [2, -1, -1], [1, 4, 2]])
    left, taken = hold_back(tags, seed=0)
    assert taken[1] == -1
    assert left[1].tolist() == [2, -1, -1]
    for row in (0, 2):
        assert sorted([*left[row][left[row] >= 0].tolist(), int(taken[row])]) == sorted(
            tags[row][tags[row] >= 0].tolist()
        )


def test_words_of_equal_scores_stand_before_the_one_that_is_looked_for() -> None:
    assert ranks_of(torch.tensor([[0.5, 0.5, 0.1], [0.9, 0.2, -torch.inf]]), torch.tensor([0, 1])).tolist() == [1, 1]


@pytest.mark.slow
def test_missing_tags_are_suggested_and_what_goes_together_is_listed(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "my-words"
    answer = deixis("words", data, "--model", "tiny", "--out", out)
    assert answer.code == 0, answer.err
    assert "Of 100 tags held back 100 were among the first 5 suggestions" in answer.out
    words = json.loads((out / "words.json").read_text(encoding="utf-8"))
    assert set(words) == {word for theme in COMPANY for word in theme}, "a tag on one picture does not count"
    assert set(list(words["sea"]["goes with"])[:2]) == {"boat", "sail"}
    with open(out / "missing.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lacking = [
        row["tag"] for row in rows if Path(row["path"]).name == sorted(data.parent.glob("pictures/*.png"))[24].name
    ]
    assert lacking[0] == "sea", "the theme of the picture has three tags, of which it has two"
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert result["by"] in result["found"]
    again = deixis("words", data, "--model", "tiny", "--out", out)
    assert again.code == 2
    assert deixis("words", data, "--model", "tiny", "--by", "nearest", "--out", out, "--overwrite").code == 0
    replaced = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert replaced["by"] == "nearest"
    assert replaced["found"] == result["found"], "the same seed, the same numbers"


@pytest.mark.slow
def test_decisions_of_the_page_are_learned_from_and_never_written_over(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "my-words"
    assert deixis("words", data, "--model", "tiny", "--out", out, "--suggestions", 1).code == 0
    words = WrittenWords(out)
    (place, (first, *_)), (other, (second, *_)) = list(words.suggestions.items())[:2]
    decided: list[tuple[str, str, Decision]] = [(place, first.tag, "refused"), (other, second.tag, "accepted")]
    for where, tag, decision in decided:
        cells = words.table.entries()[where]
        words.table.save(where, cells.changed(tag, decision), cells)
    assert words.decisions()["refused"] == words.decisions()["accepted"] == 1
    lost = deixis("words", data, "--model", "tiny", "--out", out, "--overwrite")
    assert lost.code == 2
    assert "has 2 suggested tags that were accepted or refused, which would be lost." in lost.err
    again = deixis("words", out / "tags.csv", "--model", "tiny", "--out", out, "--suggestions", 1, "--overwrite")
    assert again.code == 0, again.err
    anew = WrittenWords(out)
    assert first.tag not in [each.tag for each in anew.suggestions.get(place, ())]
    assert anew.table.entries()[place].of(first.tag) == "refused"
    assert anew.table.entries()[other].of(second.tag) == "accepted"


def test_tags_that_look_like_one_word_in_two_spellings_are_named_and_not_merged() -> None:
    pairs = [("color", "colour"), ("dog", "dogs"), ("beach", "beaches"), ("cities", "city"), ("t-shirt", "tshirt")]
    pairs += [("caf\u00e9", "cafe\u0301"), ("organise", "organize"), ("stra\u00dfe", "strasse")]
    for pair in pairs:
        assert two_spellings(pair) == [tuple(sorted(pair))], pair
    others = "cat car boat goat house mouse light night bus gas glass version1 version2 2019 2020 green greek"
    assert two_spellings(others.split()) == []
    tags = [["dog", "colour", "photo"], ["dogs", "color", "photo"], ["dog", "colour", "photo"], []]
    assert on_all(tags) == ["photo"]
    assert tag_table(tags, 1, 10).words == ("photo", "colour", "dog", "color", "dogs"), "nothing is merged"
    assert tag_remarks(tags) == [
        "Perhaps one word in two spellings: color (1 picture) and colour (2), dog (2 pictures) and dogs (1). They "
        "count apart: write one of both wherever the same is meant.",
        "On every picture that has tags, and so telling nothing: photo.",
    ]
    assert tag_remarks([["sea"], ["wood"]]) == []


def test_of_many_such_pairs_the_commonest_are_named_and_the_rest_counted() -> None:
    words = "garden bridge sailor window flower mirror basket".split()
    tags = [[word, f"{word}s"] for number, word in enumerate(words) for _ in range(number + 1)]
    (remark,) = tag_remarks(tags)
    assert remark.startswith("Perhaps one word in two spellings: basket (7 pictures) and baskets (7), mirror (6 ")
    assert "and 2 pairs more. They count" in remark


@pytest.mark.slow
def test_remarks_about_tags_are_told_and_written(data: Path, tmp_path: Path) -> None:
    with open(data, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(tmp_path / "tagged.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "keywords"))
        for number, row in enumerate(rows):
            writer.writerow(
                (row["path"], row["keywords"].replace("boat", "boats" if number % 2 else "boat") + "; photo")
            )
    answer = deixis("words", tmp_path / "tagged.csv", "--model", "tiny", "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    assert "Perhaps one word in two spellings: boat (8 pictures) and boats (8)." in answer.out + answer.err
    remarks = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["remarks"]
    assert remarks[1] == "On every picture that has tags, and so telling nothing: photo."


def test_a_tag_is_in_one_list_at_the_most_and_lists_read_as_they_were_written() -> None:
    cells = TagCells("sea; boat", "").changed("sail", "accepted").changed("wood", "refused")
    assert cells == TagCells("sea; boat; sail", "wood")
    assert cells.changed("sail", "refused") == TagCells("sea; boat", "wood; sail")
    assert cells.changed("wood", "untouched").of("wood") == "untouched"
    assert cut(["Red; bird", "red"]) == ["red", "bird"], "a tag of a list has no sign that would cut it later"


def test_data_without_tags_or_with_too_few_is_refused_before_images_are_read(data: Path, tmp_path: Path) -> None:
    plain = deixis("words", captioned(tmp_path / "plain", 2), "--model", "tiny", "--out", tmp_path / "out")
    assert plain.code == 2
    assert "There is no column 'tags' or 'keywords'." in plain.err
    named = deixis("words", data, "--tags", "subjects", "--model", "tiny", "--out", tmp_path / "out")
    assert "There is no column 'subjects'. Name the column of tags with --tags; there are: keywords." in named.err
    few = deixis("words", data, "--least", 40, "--model", "tiny", "--out", tmp_path / "out")
    assert "10 different tags were found, 0 of them on 40 pictures or more. At least 3 are needed" in few.err
    assert not (tmp_path / "out").exists()


def test_the_looks_of_a_picture_are_those_of_its_boxes_where_these_are_asked_for_and_there(tmp_path: Path) -> None:
    encoder, paths = zoo.load("tiny"), [tmp_path / f"{name}.png" for name in "ab"]
    with Image.new("RGB", (80, 40), "white") as sheet:
        sheet.paste((200, 0, 0), (0, 0, 40, 40))
        sheet.paste((0, 0, 200), (40, 0, 80, 20))
        for path in paths:
            sheet.save(path)
    boxes = (Region((0.0, 0.0, 0.5, 1.0)), Region((0.5, 0.0, 1.0, 0.5)))
    samples = [Sample("a", paths[0], regions=boxes), Sample("b", paths[1])]
    hashes = [picture_hash(path) for path in paths]
    with own_cache(tmp_path / "cache"):
        whole, cut = (looks_of(encoder, samples, hashes, Reporter(True), crops=crops) for crops in (False, True))
        bare = looks_of(encoder, [samples[1], samples[1]], hashes, Reporter(True), crops=True)
    sheets = [Image.new("RGB", size, colour) for size, colour in (((40, 40), (200, 0, 0)), ((40, 20), (0, 0, 200)))]
    with torch.no_grad():
        own = encoder.image_states(encoder.read_images(sheets)).features
    torch.testing.assert_close(cut[0], F.normalize(own, dim=1).mean(0), rtol=1e-3, atol=1e-4)
    assert torch.equal(cut[1], whole[1])
    assert torch.equal(bare, whole), "without boxes all is as it was"
    assert not torch.allclose(F.normalize(cut[0], dim=0), F.normalize(whole[0], dim=0), atol=1e-2)


def test_fewer_than_three_tags_are_no_vocabulary() -> None:
    with pytest.raises(DeixisError, match="2 different tags were found, 2 of them on 1 pictures"):
        tag_table([["a", "b"]], 1, 10)
