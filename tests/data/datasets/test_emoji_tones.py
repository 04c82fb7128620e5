"""Emoji in five skin tones: each with its tone and gender, and one concept in all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deixis.data import catalogue
from deixis.data.datasets import emoji_tones
from deixis.data.splits import concept_groups
from tests.commands import own_cache

ENTRIES = (("1F44B", "waving hand", 1), ("1F9D1", "person", 2), ("1F469-200D-1F680", "woman astronaut", 2))
PICTURES = (
    *("1f44b", "1f44b-1f3fb", "1f44b-1f3ff", "1f469-1f3fd-200d-1f680", "1f9d1-1f3fb-200d-1f91d-200d-1f9d1-1f3ff"),
    *("1f9d1-1f3fe", "0000-1f3fb"),
)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A cache with the set `emoji`, of which the pictures are empty files."""
    root = tmp_path / "sets" / "emoji"
    (root / "pictures").mkdir(parents=True)
    for name in PICTURES:
        (root / "pictures" / f"{name}.webp").touch()
    groups = [{"order": 1, "key": "people-body"}]
    subgroups = [{"order": 1, "key": "hand-fingers-open"}, {"order": 2, "key": "person-role"}]
    rows = [
        {"hexcode": code, "label": label, "group": 1, "subgroup": kind, "order": number}
        for number, (code, label, kind) in enumerate(ENTRIES)
    ]
    (root / "data.json").write_text(json.dumps(rows))
    (root / "messages.json").write_text(json.dumps({"groups": groups, "subgroups": subgroups}))
    (root / "set.json").write_text("{}")
    return tmp_path


def test_pictures_of_one_tone_have_it_with_gender_and_label_and_others_are_left_out(made: Path) -> None:
    with own_cache(made):
        samples = emoji_tones.read().samples
    told = [(each.label, each.extra["tone"], each.extra["gender"]) for each in samples]
    assert told == [
        ("hand-fingers-open", "light", ""),
        ("hand-fingers-open", "dark", ""),
        ("person-role", "medium-dark", ""),
        ("person-role", "medium", "woman"),
    ]
    assert concept_groups(samples, ())[0] == concept_groups(samples, ())[1], "one emoji in two tones is one concept"


@pytest.mark.slow
def test_the_set_holds_1500_drawings_evenly_spread_over_the_tones(fetched: Callable[[str], Path]) -> None:
    fetched("emoji")
    samples = catalogue.read("emoji-tones").samples
    tones = [each.extra["tone"] for each in samples]
    assert {tones.count(tone) for tone in emoji_tones.TONES.values()} == {len(samples) // 5}
    assert len(samples) > 1400
    genders = [each.extra["gender"] for each in samples]
    assert abs(genders.count("woman") - genders.count("man")) < 100
