"""CIDEr-D: how alike a caption is to the reference captions of its image (Vedantam, Zitnick and Parikh, 2015).

    g(c)   n-gram -> count in c x log(images / images in whose references it stands)
    s_n    = mean over references r of  exp(-(|c| - |r|)^2 / 2 sigma^2)  min(g(c), g(r)) . g(r) / (|g(c)| |g(r)|)
    score  = 10 x mean of s_n over n = 1 to 4,    sigma = 6

Rare n-grams weigh most, a repeated one no more than the reference has it, and lengths that differ are punished.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["cider_d"]

_LONGEST, _SIGMA = 4, 6.0
Ngram = tuple[str, ...]


def cider_d(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> Float[Tensor, " N"]:
    """One score an image, from 0 to 10. Document frequencies are those of these references, so that all images of a
    data set are scored in one call; of a single image every score is 0.

    Args:
        candidates: the words of the caption of each image.
        references: of each image one or several captions, as words.

    Raises:
        ValueError: the numbers of images differ, or an image has no reference.
    """
    if len(candidates) != len(references) or not all(references):
        raise ValueError("each candidate needs one reference or more")
    counted = [[_counts(words) for words in each] for each in references]
    document = collections.Counter(ngram for each in counted for ngram in set().union(*each))
    images = math.log(max(len(references), 1))

    def vector(counts: collections.Counter[Ngram]) -> list[dict[Ngram, float]]:
        found: list[dict[Ngram, float]] = [{} for _ in range(_LONGEST)]
        for ngram, count in counts.items():
            found[len(ngram) - 1][ngram] = count * (images - math.log(max(document[ngram], 1)))
        return found

    scores = []
    for words, others, counts in zip(candidates, references, counted, strict=True):
        own = vector(_counts(words))
        each = [_alike(own, vector(of), len(words) - len(other)) for other, of in zip(others, counts, strict=True)]
        scores.append(10 * sum(each) / len(each))
    return torch.tensor(scores, dtype=torch.float64)


def _counts(words: Sequence[str]) -> collections.Counter[Ngram]:
    return collections.Counter(
        tuple(words[start : start + n]) for n in range(1, _LONGEST + 1) for start in range(len(words) - n + 1)
    )


def _alike(own: list[dict[Ngram, float]], other: list[dict[Ngram, float]], longer: int) -> float:
    """The mean over lengths of n-grams, for one reference."""
    total = 0.0
    for mine, theirs in zip(own, other, strict=True):
        sizes = math.hypot(*mine.values()) * math.hypot(*theirs.values())
        shared = sum(min(value, theirs[ngram]) * theirs[ngram] for ngram, value in mine.items() if ngram in theirs)
        total += shared / sizes if sizes else 0.0
    return total / _LONGEST * math.exp(-(longer**2) / (2 * _SIGMA**2))
