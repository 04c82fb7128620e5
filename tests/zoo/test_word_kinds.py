"""Words for the detector's kinds: what is such a thing, and what is not."""

from __future__ import annotations

import pytest

from deixis.zoo.detector import CLASSES
from deixis.zoo.word_kinds import kinds_of


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        *(("puppy", "dog"), ("woman", "person"), ("taxi", "car"), ("boy", "person"), ("sailboat", "boat")),
        *(
            ("police car", "car"),
            ("soccer player", "person"),
            ("cup of tea", "cup"),
            ("sofa", "couch"),
            ("eagle", "bird"),
        ),
        *(("computer mouse", "mouse"), ("traffic light", "traffic light")),
    ],
)
def test_a_word_for_such_a_thing_names_its_kind(word: str, kind: str) -> None:
    assert kinds_of(word) == (kind,)


@pytest.mark.parametrize(
    "word", ["piano", "squirrel", "mouse", "printer", "flower", "lighter", "tree", "fish", "кот", ""]
)
def test_a_word_for_something_else_names_none(word: str) -> None:
    assert kinds_of(word) == ()


def test_a_word_above_several_kinds_names_all_of_them() -> None:
    assert kinds_of("fruit") == ("banana", "apple", "orange")
    assert {"dog", "zebra", "bird"} < set(kinds_of("animal"))
    assert "person" not in kinds_of("animal")


def test_each_kind_is_named_by_itself_but_for_the_mouse() -> None:
    assert [kind for kind in CLASSES if kinds_of(kind) != (kind,)] == ["mouse"]
