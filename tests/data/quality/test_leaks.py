"""What stands on two sides of a split is found, and named with its twin."""

from __future__ import annotations

from deixis.data.quality.leaks import leaks
from deixis.types.samples import Sample


def sample(name: str, side: str, caption: str = "", groups: tuple[str, ...] = ()) -> Sample:
    return Sample(name, None, (caption,) if caption else (), groups=groups, split=side)


def told(samples: list[Sample], same: tuple[tuple[int, ...], ...] = ()) -> dict[str, tuple[str, ...]]:
    return {finding.name: finding.examples for finding in leaks(samples, same)}


def test_without_two_sides_there_is_no_leak() -> None:
    samples = [sample("a", "train", "x"), sample("b", "train", "x"), sample("c", "", "x")]
    assert told(samples, ((0, 1, 2),)) == {}


def test_what_differs_in_case_and_articles_only_is_one_caption() -> None:
    samples = [
        sample("a", "train", "A red mug, 2"),
        sample("b", "test", "the red mug"),
        sample("c", "test", "a blue mug"),
    ]
    assert told(samples) == {"leak_caption": ("b (test) = a (train)",)}


def test_each_held_out_sample_counts_once_however_many_twins_it_has() -> None:
    samples = [sample("a", "train"), sample("b", "train"), sample("c", "test"), sample("d", "val"), sample("e", "")]
    [finding] = leaks(samples, [(0, 1, 2, 3, 4)])
    assert finding.examples == ("c (test) = a (train)", "d (val) = a (train)")
    assert (finding.count, finding.total) == (2, 2)
    assert finding.reason == "2 of 2 held-out samples share an image with another side of the split"


def test_validation_and_test_leak_too() -> None:
    samples = [sample("a", "val", groups=("mug",)), sample("b", "test", groups=("cup", "mug")), sample("c", "train")]
    assert told(samples) == {"leak_group": ("b (test) = a (val)",)}


def test_an_empty_caption_is_no_link() -> None:
    samples = [Sample("a", None, (" ",), split="train"), Sample("b", None, (" ",), split="test")]
    assert told(samples) == {}
