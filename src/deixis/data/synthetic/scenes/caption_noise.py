"""Captions as people leave them on the web: other words for the same thing, words that are beside the point, and whole
captions that are wrong, of some things more often than of others."""

from __future__ import annotations

import dataclasses
import functools
import re
import zlib
from collections.abc import Sequence

import numpy as np

from deixis.errors import DeixisError
from deixis.inputs.phrases import singular
from deixis.types import Sample, Source

__all__ = ["GENERIC", "SYNONYMS", "messy", "noise_rate", "noisy", "synonyms"]

SYNONYMS = 8
"""Words for each noun, itself among them."""

GENERIC = ("Picture.", "Stock photo.", "Image.", "Untitled.", "Free download.", "New.", "Photo of the day.", "Gallery.")
"""Captions that say nothing."""

_BESIDE = 3000  # words that have nothing to do with the picture
_SHUFFLED = 0.5  # share of the captions whose words are in no order
_WORD = re.compile(r"[\w-]+|[.,]")
_ONSETS, _VOWELS = "b d f g k l m n p r s t v z br dr fl gr kl pl st tr".split(), "a e i o u ai ei ou".split()


@functools.cache
def synonyms(noun: str) -> tuple[str, ...]:
    """The noun and made-up words that mean the same, always the same ones; the first is used most.

    >>> synonyms("apple")[0], len(set(synonyms("apple")))
    ('apple', 8)
    """
    rng = _rng(0, f"synonyms of {noun}")
    words = [noun]
    while len(words) < SYNONYMS:
        words += [word for word in (_made_up(rng),) if word not in words]
    return tuple(words)


def messy(source: Source, seed: int, irrelevant: float = 0.4) -> Source:
    """The same pictures with captions in which a noun is one of several words, by Zipf's law, of which some words are
    beside the point, by Zipf's law as well, and half of which are in no order.

    The regions' spans go, since they no longer fit.

    Args:
        source: scenes.
        seed: of what is drawn; each sample's draws hang on its id.
        irrelevant: share of the words that are beside the point: from 0 to below 1.

    Raises:
        DeixisError: the share is out of range.
    """
    if not 0 <= irrelevant < 1:
        raise DeixisError(f"irrelevant is {irrelevant}.", "It is a share: from 0 to below 1.")
    categories = {region.category for sample in source.samples for region in sample.regions}
    samples = []
    for sample in source.samples:
        rng = _rng(seed, f"mess {sample.id}")
        samples.append(_said(sample, _mess(rng, sample.captions[0], categories, irrelevant), "messy"))
    return dataclasses.replace(source, samples=tuple(samples))


def noise_rate(noun: str, share: float) -> float:
    """How likely a caption of a scene about `noun` is wrong: from 0 to twice `share`, evenly over the nouns."""
    return min(1.0, 2 * share * (zlib.crc32(f"noise of {noun}".encode()) % 1000) / 999)


def noisy(source: Source, seed: int, share: float) -> Source:
    """The same pictures with some captions wrong: another picture's, a few words of the right one, or one that says
    nothing, equally often. Some nouns have many wrong captions, others few: see `noise_rate`.

    Args:
        source: scenes.
        seed: of what is drawn; whether a caption is wrong, and how, hangs on the sample's id.
        share: of captions that are wrong, over all nouns: from 0 to 0.5.

    Raises:
        DeixisError: the share is out of range.
    """
    if not 0 <= share <= 0.5:
        raise DeixisError(f"noise is {share}.", "It is a share: from 0 to 0.5, since some nouns have twice as much.")
    samples = source.samples
    return dataclasses.replace(source, samples=tuple(_noised(samples, i, seed, share) for i in range(len(samples))))


def _noised(samples: Sequence[Sample], index: int, seed: int, share: float) -> Sample:
    sample = samples[index]
    rng = _rng(seed, f"noise {sample.id}")
    if rng.random() >= noise_rate(sample.label or "", share):
        return sample
    kind = ("other", "fragment", "generic")[int(rng.integers(3))]
    if kind == "other":
        other = samples[(index + 1 + int(rng.integers(997))) % len(samples)]
        return _said(sample, other.captions[0], kind)
    if kind == "fragment":
        words = sample.captions[0].split()
        length = max(1, len(words) // 3)
        start = int(rng.integers(len(words) - length + 1))
        return _said(sample, " ".join(words[start : start + length]), kind)
    return _said(sample, GENERIC[int(rng.integers(len(GENERIC)))], kind)


def _said(sample: Sample, caption: str, kind: str) -> Sample:
    """The sample with another caption."""
    regions = tuple(dataclasses.replace(region, spans=()) for region in sample.regions)
    extra = {**sample.extra, "noisy": kind}
    return dataclasses.replace(sample, captions=(caption,), regions=regions, extra=extra)


def _mess(rng: np.random.Generator, caption: str, nouns: set[str], irrelevant: float) -> str:
    words = [_renamed(rng, word, nouns) for word in _WORD.findall(caption.lower())]
    if rng.random() < _SHUFFLED:
        words = [words[i] for i in rng.permutation(len(words))]
    for _ in range(rng.poisson(len(words) * irrelevant / (1 - irrelevant))):
        words.insert(int(rng.integers(len(words) + 1)), _beside()[_zipf(rng, _BESIDE)])
    return " ".join(words)


def _renamed(rng: np.random.Generator, word: str, nouns: set[str]) -> str:
    noun = word if word in nouns else singular(word)
    return synonyms(noun)[_zipf(rng, SYNONYMS)] if noun in nouns else word


def _zipf(rng: np.random.Generator, count: int) -> int:
    """A number below `count`, the n-th with a chance in proportion to 1 / n."""
    return int(np.searchsorted(_zipf_sums(count), rng.random(), side="right"))


@functools.cache
def _zipf_sums(count: int) -> np.ndarray:
    weights = 1 / np.arange(1, count + 1)
    return np.asarray(np.cumsum(weights / weights.sum())[:-1])


@functools.cache
def _beside() -> tuple[str, ...]:
    rng, words = _rng(0, "irrelevant words"), dict[str, None]()
    while len(words) < _BESIDE:
        words[_made_up(rng) + _made_up(rng)] = None
    return tuple(words)


def _made_up(rng: np.random.Generator) -> str:
    """A word of two syllables."""
    return "".join(_ONSETS[int(rng.integers(len(_ONSETS)))] + _VOWELS[int(rng.integers(8))] for _ in range(2))


def _rng(seed: int, purpose: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, zlib.crc32(purpose.encode())))))
