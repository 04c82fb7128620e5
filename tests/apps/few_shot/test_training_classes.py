"""What classes are called: by the labels of images, or, for methods that learn regions, by what these are."""

from __future__ import annotations

from pathlib import Path

import pytest

from deixis.apps.few_shot.training_classes import training_classes
from deixis.errors import DeixisError
from deixis.types import Phrase, Region, Sample, Source

BOX = (0.0, 0.0, 1.0, 1.0)


def source(*regions: Region, label: str | None = "kitchen") -> Source:
    return Source("mine", Path(), "images", "by hand", (Sample("a", None, label=label, regions=regions),))


def test_regions_are_called_by_their_category_or_else_by_their_phrase_once_whatever_the_case() -> None:
    phrase = Region(BOX, phrases=(Phrase("the sink"), Phrase("what shines")))
    named = Region(BOX, category="Cup", phrases=(Phrase("the cup on the left"),))
    assert training_classes("denseclip", source(phrase, named, Region(BOX, category="cup"))) == ("Cup", "the sink")


def test_data_without_named_regions_are_refused_by_what_learns_regions_and_labels_are_no_names_of_them() -> None:
    with pytest.raises(DeixisError, match="has no regions with names"):
        training_classes("denseclip", source(Region(BOX)))
    many = [Region(BOX, category=f"thing {number}") for number in range(1001)]
    with pytest.raises(DeixisError, match="1001 different names"):
        training_classes("denseclip", source(*many))
    with pytest.raises(DeixisError, match="has no labels"):
        training_classes("coop", source(Region(BOX, category="cup"), label=None))
