"""What stands on two sides of a split that a source brings along: an image, a caption, a group."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence

from deixis.data.quality.report import Finding, as_findings
from deixis.data.splits import normalise
from deixis.types.samples import Sample

__all__ = ["leaks"]

_TRAIN = "train"


def leaks(samples: Sequence[Sample], same: Iterable[Sequence[int]]) -> list[Finding]:
    """Samples that are held out, and of which another side holds the same or nearly so.

    A side is a value of `Sample.split`; samples without one are on no side. Where one side is called `train`, its
    samples are not counted, since those of the other sides are what is spoilt.

    Args:
        samples: [N] samples.
        same: groups of indices whose images are equal or look alike.
    """
    sides = {sample.split for sample in samples if sample.split}
    if len(sides) < 2:
        return []
    captions: dict[str, list[int]] = collections.defaultdict(list)
    groups: dict[str, list[int]] = collections.defaultdict(list)
    for index, sample in enumerate(samples):
        for key in {normalise(caption) for caption in sample.captions if caption.strip()}:
            captions[key].append(index)
        for key in sample.groups:
            groups[key].append(index)
    held_out = sum(bool(sample.split) and sample.split != _TRAIN for sample in samples)
    return [
        finding
        for name, what, cure, sets in (
            ("image", "an image", "Remove them from one split, or the test measures memorisation.", same),
            ("caption", "a caption", "Put images with one caption on one side.", captions.values()),
            ("group", "a group", "Put what is of one group on one side.", groups.values()),
        )
        for finding in as_findings(
            f"leak_{name}", f"held out, with {what} of another side", _crossing(samples, sets), held_out,
            f"held-out samples share {what} with another side of the split", cure,
        )
    ]  # fmt: skip


def _crossing(samples: Sequence[Sample], sets: Iterable[Sequence[int]]) -> list[str]:
    """Of each sample that is held out, and its twin on another side: `b.png (test) = a.png (train)`."""
    twins: dict[int, int] = {}
    for members in sets:
        first: dict[str, int] = {}
        for index in members:
            if samples[index].split:
                first.setdefault(samples[index].split, index)
        if len(first) > 1:
            train = first.get(_TRAIN, next(iter(first.values())))
            for index in members:
                if samples[index].split not in ("", samples[train].split):
                    twins.setdefault(index, train)
    return [f"{_described(samples[index])} = {_described(samples[other])}" for index, other in sorted(twins.items())]


def _described(sample: Sample) -> str:
    return f"{sample.id} ({sample.split})"
