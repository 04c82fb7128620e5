"""Class names come from a file, from the command line or from the data, and each is one token of their tokenizer."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from deixis import zoo
from deixis.errors import DeixisError
from deixis.inputs.names import ClassNames
from deixis.types import Sample, Source


def load(name: object, **options: object) -> ClassNames:
    names: ClassNames = zoo.load_part("names", name, **options)
    return names


def test_names_are_read_line_by_line_one_by_one_or_from_labels(tmp_path: Path) -> None:
    path = tmp_path / "birds.txt"
    path.write_text("blue tit\n\nrobin \n", encoding="utf-8-sig")
    samples = tuple(Sample(str(n), None, label=label) for n, label in enumerate(("robin", "blue tit", None)))
    source = Source("birds", tmp_path, "labels", "by hand", samples)
    for names in (load(path), load(str(path)), load("blue tit, robin"), load("labels", source=source)):
        assert names == ("blue tit", "robin")
    assert load(("b", "a", "a")) == ("b", "a", "a"), "a sequence is taken as it is"


def test_names_are_a_tuple_that_can_be_copied() -> None:
    names = load("cat,dog")
    assert names.tokenizer is names.tokenizer
    assert copy.deepcopy(names) == pickle.loads(pickle.dumps(names)) == ("cat", "dog")


def test_a_name_is_one_token_and_the_longer_of_two_wins() -> None:
    tokenizer = load("tit,blue tit,Robin").tokenizer
    assert tokenizer.vocabulary == 4
    texts = ["A robin beside a blue tit.", "titanic", "tit tit tit"]
    assert tokenizer(texts, 2).ids.tolist() == [[3, 2], [0, 0], [1, 1]]


def test_data_without_labels_has_no_class_names(tmp_path: Path) -> None:
    source = Source("birds", tmp_path, "images", "by hand", (Sample("0", None),))
    with pytest.raises(DeixisError, match="'birds' has no labels to name classes by"):
        load("labels", source=source)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cat,dog,cat", "has the class name 'cat' twice"),
        (" , ", "has no class names"),
        ("nowhere.txt", "nowhere.txt can't be read"),
        ("labels", "the labels of the data, and there is no data"),
    ],
)
def test_names_that_are_none_are_refused(name: str, said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        load(name)
