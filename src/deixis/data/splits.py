"""Splits by concept: what shows or says the same thing never stands on both sides."""

from __future__ import annotations

import collections
import dataclasses
import random
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deixis.errors import DeixisError
from deixis.types.samples import Sample

__all__ = ["LARGEST_SHARE", "MIN_GROUPS", "Split", "concept_groups", "folds", "normalise", "split"]

MIN_GROUPS = 10
"""Groups below which a split is refused: with fewer, one group more or less on a side decides every number."""

LARGEST_SHARE = 0.75
"""Share of the samples that one group may hold; above, no split comes near the wished share."""

_ARTICLES = frozenset({"a", "an", "the"})


@dataclasses.dataclass(frozen=True)
class Split:
    """Indices of the samples on either side, ascending."""

    train: tuple[int, ...]
    test: tuple[int, ...]

    def to_dict(self) -> dict[str, list[int]]:
        """The split as JSON can hold it."""
        return {"train": list(self.train), "test": list(self.test)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Split:
        """The split that `to_dict` wrote."""
        return cls(tuple(value["train"]), tuple(value["test"]))


def normalise(caption: str) -> str:
    """A caption without what doesn't change its subject: case, accents' encoding, punctuation, articles, numbers.

    `A mug, 2` and `the mug 1` are one: captions that differ in a number only mostly tell views or copies of one thing
    apart, and where they count things, the things are the same. A caption of nothing else keeps what it has.
    """
    text = unicodedata.normalize("NFKC", caption).casefold()
    words = [word for word in re.split(r"[\W_]+", re.sub(r"['\u2019]", "", text)) if word]
    plain = [word for word in words if word not in _ARTICLES and not word.isnumeric()]
    return " ".join(plain) or " ".join(words) or text.strip()


class _Union:
    """Disjoint sets of 0..n-1."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def find(self, item: int) -> int:
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, items: Iterable[int]) -> None:
        members = iter(items)
        first = next(members, None)
        for item in members:
            self._parent[self.find(item)] = self.find(first if first is not None else item)


def concept_groups(
    samples: Sequence[Sample], same: Iterable[Sequence[int]] = (), *, captions: bool = True
) -> list[int]:
    """Puts samples into groups that must stay on one side of a split.

    Two samples are of one group if they share a key of `Sample.groups`, or a caption up to `normalise`, or an entry of
    `same`, or if others link them so. Labels don't merge anything: a class is what both sides should hold.

    Args:
        samples: [N] samples with distinct ids.
        same: groups of indices that show the same thing, such as `CheckReport.same`.
        captions: whether equal captions make one group; not where labels are learned.

    Returns:
        [N] group numbers 0, 1, ...; numbered by the smallest id in each, so that neither the groups nor what `split`
        makes of them depends on the order of the samples.
    """
    union = _Union(len(samples))
    holders: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
    for index, sample in enumerate(samples):
        keys = {("group", key) for key in sample.groups}
        if captions:
            keys |= {("caption", normalise(caption)) for caption in sample.captions if caption.strip()}
        for key in keys:
            holders[key].append(index)
    for members in (*holders.values(), *same):
        union.join(members)
    numbers: dict[int, int] = {}
    groups = [0] * len(samples)
    for index in sorted(range(len(samples)), key=lambda index: samples[index].id):
        groups[index] = numbers.setdefault(union.find(index), len(numbers))
    return groups


def _members(groups: Sequence[int]) -> dict[int, list[int]]:
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    return dict(sorted(members.items()))


def _require_groups(members: Mapping[int, Sequence[int]], minimum: int, purpose: str) -> None:
    total = sum(map(len, members.values()))
    if len(members) < minimum:
        raise DeixisError(
            f"{total} samples form {len(members)} groups that must stay together (one thing, or one caption), and "
            f"{purpose} needs at least {minimum}.",
            f"Add images of at least {minimum - len(members)} other objects, or check the group column and captions.",
        )
    largest = max(members.values(), key=len, default=[])
    if total and len(largest) > LARGEST_SHARE * total:
        raise DeixisError(
            f"One group that must stay together holds {len(largest)} of {total} samples "
            f"({len(largest) / total:.0%}; at most {LARGEST_SHARE:.0%} can be split).",
            "Give captions that distinguish its images, or a finer group column.",
        )


def split(
    groups: Sequence[int],
    seed: int,
    train: float = 0.6,
    *,
    labels: Sequence[str | None] | None = None,
    minimum: int = MIN_GROUPS,
) -> Split:
    """Splits samples in two by whole groups, in random order.

    Groups are shuffled and cut where the share, in samples, comes nearest to the wish: it is then within one largest
    group, and small groups don't collect on one side, as they do when what still fits is picked. With labels this is
    done within each label, errors carried from one to the next.

    Args:
        groups: [N] group of each sample.
        seed: same seed, same split.
        train: the wished share of samples in the first part.
        labels: [N] classes; a class with two groups or more is then on both sides (if its groups hold no other class),
            and the share is the less exact, the more classes have few groups.
        minimum: fewest groups that are split.

    Raises:
        DeixisError: too few groups, or one that holds nearly all; the message has the arithmetic.
    """
    if not 0 < train < 1:
        raise ValueError(f"train is {train}, and must lie between 0 and 1")
    members = _members(groups)
    _require_groups(members, max(2, minimum), f"a split of {train:.0%} to {1 - train:.0%}")
    order = list(members)
    random.Random(seed).shuffle(order)
    strata = [order] if labels is None else _strata(order, members, labels)
    chosen: list[int] = []
    seen = taken = 0
    for stratum in strata:
        sizes = [len(members[group]) for group in stratum]
        seen += sum(sizes)
        cut = _cut(sizes, train * seen - taken)
        chosen += stratum[:cut]
        taken += sum(sizes[:cut])
    smallest = min(order, key=lambda group: len(members[group]))
    if not chosen:
        chosen = [smallest]
    elif len(chosen) == len(order):
        chosen.remove(smallest)
    first = sorted(index for group in chosen for index in members[group])
    return Split(tuple(first), tuple(sorted(set(range(len(groups))).difference(first))))


def _cut(sizes: Sequence[int], wish: float) -> int:
    """How many groups, from the left, come nearest to `wish` samples; both sides get one where there are two."""
    low, high = (1, len(sizes) - 1) if len(sizes) > 1 else (0, 1)
    totals = [0]
    for size in sizes:
        totals.append(totals[-1] + size)
    return min(range(low, high + 1), key=lambda count: abs(totals[count] - wish))


def _strata(
    order: Sequence[int], members: Mapping[int, Sequence[int]], labels: Sequence[str | None]
) -> list[list[int]]:
    """The groups by label; one of several labels goes to its rarest."""
    held = {group: sorted({labels[index] or "" for index in members[group]}) for group in order}
    counts = collections.Counter(label for found in held.values() for label in found)
    strata: dict[str, list[int]] = {}
    for group in order:
        rarest = min(held[group], key=lambda label: (counts[label], label))
        strata.setdefault(rarest, []).append(group)
    return list(strata.values())


def folds(groups: Sequence[int], k: int, seed: int, *, labels: Sequence[str | None] | None = None) -> list[Split]:
    """Splits for k-fold cross-validation: each group is in the test part of exactly one.

    Groups in random order go to the fold that holds the fewest samples of their labels, then the fewest samples, so
    that folds differ by at most the largest group (without labels).

    Args:
        groups: [N] group of each sample.
        k: how many folds, at least 2.
        seed: same seed, same folds.
        labels: [N] classes to spread over the folds.

    Raises:
        DeixisError: fewer groups than folds, or one group that holds nearly all.
    """
    if k < 2:
        raise ValueError(f"k is {k}, and must be at least 2")
    members = _members(groups)
    _require_groups(members, k, f"cross-validation with {k} folds")
    order = list(members)
    random.Random(seed).shuffle(order)
    parts: list[list[int]] = [[] for _ in range(k)]
    held: list[collections.Counter[str | None]] = [collections.Counter() for _ in range(k)]
    for group in order:
        own = {labels[index] for index in members[group]} if labels is not None else set()
        lightest = min(range(k), key=lambda part: (sum(held[part][label] for label in own), len(parts[part])))
        parts[lightest] += members[group]
        held[lightest].update(labels[index] for index in members[group] if labels is not None)
    everything = set(range(len(groups)))
    return [Split(tuple(sorted(everything.difference(part))), tuple(sorted(part))) for part in parts]
