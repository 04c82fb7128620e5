"""What is remarked about tags: one word in two spellings, and tags that stand everywhere. Nothing is merged: whether
`boat` and `boats` are the same only their owner knows."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Collection, Iterator, Sequence

from deixis.apps.common.formatting import counted
from deixis.ops.text.spelling import edit_distance, plain_word

__all__ = ["on_all", "tag_remarks", "two_spellings"]

_SHOWN = 5
_LONG, _LONGER = 5, 7
"""Letters from which one too many is another spelling (color, colour), and one exchanged (organise, organize)."""


def tag_remarks(tags: Sequence[Sequence[str]]) -> list[str]:
    """Sentences about tags that should perhaps be written otherwise; none where there is nothing to say.

    Args:
        tags: of each picture.
    """
    counts = collections.Counter(tag for row in tags for tag in set(row))
    pairs = sorted(two_spellings(counts), key=lambda pair: (-min(counts[pair[0]], counts[pair[1]]), pair))
    said = []
    if pairs:
        shown = [f"{a} ({counted(counts[a], 'picture')}) and {b} ({counts[b]})" for a, b in pairs[:_SHOWN]]
        rest = f", and {counted(len(pairs) - _SHOWN, 'pair')} more" if len(pairs) > _SHOWN else ""
        said.append(
            f"Perhaps one word in two spellings: {', '.join(shown)}{rest}. They count apart: write one of both "
            "wherever the same is meant."
        )
    everywhere = on_all(tags)
    if everywhere:
        said.append(f"On every picture that has tags, and so telling nothing: {', '.join(everywhere)}.")
    return said


def on_all(tags: Sequence[Sequence[str]]) -> list[str]:
    """Tags of all pictures that have any; none where a single picture has some.

    Args:
        tags: of each picture.
    """
    rows = [set(row) for row in tags if row]
    return sorted(set.intersection(*rows)) if len(rows) > 1 else []


def two_spellings(tags: Collection[str]) -> list[tuple[str, str]]:
    """Pairs of tags that look like one word: equal but for signs and accents' encoding; with and without s, es or ies;
    or long words that differ in one letter, not the first, and in no digit.

    Args:
        tags: in lower case, each once.

    Returns:
        Both in the order of the alphabet, the pairs likewise.
    """
    alike = collections.defaultdict(set)
    for tag in tags:
        for key in _keys(plain_word(tag)):
            alike[key].add(tag)
    pairs = {pair for group in alike.values() for pair in itertools.combinations(sorted(group), 2)}
    return sorted(pair for pair in pairs if _is_one_word(*map(plain_word, pair)))


def _keys(word: str) -> Iterator[str]:
    """What two spellings of a word share: itself, the singular, or what is left without one letter."""
    yield word
    yield from _singulars(word)
    if len(word) >= _LONG:
        yield from (word[:place] + word[place + 1 :] for place in range(1, len(word)))


def _singulars(word: str) -> Iterator[str]:
    for end, instead in (("s", ""), ("es", ""), ("ies", "y")):
        if word.endswith(end) and len(word) > len(end) + 1:
            yield word[: -len(end)] + instead


def _is_one_word(one: str, other: str) -> bool:
    if one == other or one in _singulars(other) or other in _singulars(one):
        return True
    if one[:1] != other[:1] or not (one + other).isalpha():
        return False
    least = _LONGER if len(one) == len(other) else _LONG
    return min(len(one), len(other)) >= least and edit_distance(one, other) == 1
