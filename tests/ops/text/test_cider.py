"""CIDEr-D against a slow loop from its equation, and what it must do in simple cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deixis.ops.text.cider import cider_d

WORDS = "a b c d e f".split()


def slow(candidates: list[list[str]], references: list[list[list[str]]]) -> list[float]:
    """From the equations, n-gram by n-gram, over the whole vocabulary of n-grams."""

    def count(ngram: tuple[str, ...], words: list[str]) -> int:
        return sum(tuple(words[i : i + len(ngram)]) == ngram for i in range(len(words) - len(ngram) + 1))

    scores = []
    for candidate, own in zip(candidates, references, strict=True):
        total = 0.0
        for n in range(1, 5):
            texts = [candidate, *(r for each in references for r in each)]
            space = sorted({tuple(t[i : i + n]) for t in texts for i in range(len(t) - n + 1)})
            weight = []
            for ngram in space:
                images = sum(any(count(ngram, r) for r in each) for each in references)
                weight.append(math.log(len(references) / max(1, images)))

            def vector(words: list[str], space: list = space, weight: list = weight) -> np.ndarray:
                return np.array([count(g, words) * w for g, w in zip(space, weight, strict=True)])

            g = vector(candidate)
            for reference in own:
                h = vector(reference)
                lengths = np.linalg.norm(g) * np.linalg.norm(h)
                cosine = float((np.minimum(g, h) * h).sum() / lengths) if lengths else 0.0
                total += cosine * math.exp(-((len(candidate) - len(reference)) ** 2) / 72) / len(own)
        scores.append(10 * total / 4)
    return scores


def test_scores_are_those_of_a_slow_loop_from_the_equation() -> None:
    rng = np.random.Generator(np.random.PCG64(0))

    def text() -> list[str]:
        return [WORDS[i] for i in rng.integers(0, len(WORDS), int(rng.integers(0, 9)))]

    references = [[text() for _ in range(int(rng.integers(1, 4)))] for _ in range(9)]
    candidates = [text() for _ in range(9)]
    found = cider_d(candidates, references)
    assert found.tolist() == pytest.approx(slow(candidates, references), abs=1e-12)
    assert 0 < float(found.max()) <= 10


def test_a_caption_that_is_its_only_reference_has_the_highest_score() -> None:
    references = [["a red bird on grass".split()], ["two cats sleep on sofas".split()]]
    assert cider_d([each[0] for each in references], references).tolist() == pytest.approx([10, 10])


def test_repeating_a_word_of_the_reference_does_not_raise_the_score() -> None:
    references = [["red bird".split()], ["blue cat".split()]]
    once, often = (float(cider_d([words.split(), []], references)[0]) for words in ("red bird", "red red red bird"))
    assert often < once


def test_images_without_reference_are_refused() -> None:
    with pytest.raises(ValueError, match="reference"):
        cider_d([["a"]], [[]])
