"""Where captions come from: a model that describes pictures, the nearest captioned picture, one caption for all."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deixis import zoo
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.output import EvalReporter
from deixis.engine.training.batching import preprocess_of
from deixis.inputs.phrases.nouns import WORD
from deixis.nn.compute import autocast, batch_size
from deixis.nn.modes import evaluating
from deixis.types import Picture

__all__ = ["generated", "image_rows", "nearest_other", "typical", "words_in"]

_BATCH, _ROWS, _MOST = 32, 1024, 300


def generated(
    method: Any, pictures: Sequence[Picture], progress: Callable[[int, int], None] = lambda done, total: None
) -> list[str]:
    """The captions that a method gives.

    Args:
        method: that offers `caption`.
        pictures: any number.
        progress: receives how many are done.
    """
    preprocess = preprocess_of(method)
    device = next((each.device for each in method.parameters()), torch.device("cpu"))
    found: list[str] = []
    with evaluating(method), torch.no_grad(), autocast(device):
        for start in range(0, len(pictures), size := batch_size(_BATCH)):
            images = preprocess.read(pictures[start : start + size], threads=min(os.cpu_count() or 1, 8))
            found += method.caption(images.to(device))
            progress(len(found), len(pictures))
    return found


def nearest_other(
    queries: Float[Tensor, "N D"],
    bank: Float[Tensor, "M D"],
    query_groups: Sequence[int] | None = None,
    bank_groups: Sequence[int] | None = None,
) -> Int64[Tensor, " N"]:
    """The row of the bank that is nearest to each query by its cosine, and of no group of the query; -1 where there is
    none.

    Args:
        queries: of length 1.
        bank: of length 1.
        query_groups: of each query the concept it shows; None: any row will do.
        bank_groups: of each row of the bank the concept it shows.
    """
    found = []
    own = None if query_groups is None else torch.tensor(query_groups)
    others = None if bank_groups is None else torch.tensor(bank_groups)
    for start in range(0, len(queries), _ROWS):
        scores = queries[start : start + _ROWS].float() @ bank.float().T
        if own is not None and others is not None:
            scores = scores.masked_fill(own[start : start + _ROWS, None] == others, -torch.inf)
        best = scores.max(dim=1)
        found.append(best.indices.masked_fill(best.values == -torch.inf, -1))
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.long)


def image_rows(sets: Sequence[EvalSet], model: EvalModel, talk: EvalReporter) -> list[Float[Tensor, "N D"]]:
    """Embeddings of the pictures of several sets, by which the nearest are found.

    Args:
        sets: the pictures.
        model: whose dual encoder compares them; the starter, where it has none.
        talk: receives the progress.

    Raises:
        DeixisError: the model has none, and the starter is not in the cache.
    """
    encoder = EvalModel(model.name, model.encoder if model.encoder is not None else zoo.load("starter"))
    return [encoder.image_embeddings(each, talk) for each in sets]


def words_in(text: str) -> list[str]:
    """The words of a text, lower-case, without signs."""
    return WORD.findall(text.lower())


def typical(captions: Sequence[str]) -> str:
    """The caption that shares most words with the others, as far as one caption can serve all pictures.

    Args:
        captions: at least one; of many, the first are compared.
    """
    counts = {text: collections.Counter(words_in(text)) for text in captions[:_MOST]}

    def shared(text: str) -> float:
        own = counts[text]
        sizes = [own.total() + counts[other].total() for other in captions[:_MOST]]
        both = [(own & counts[other]).total() for other in captions[:_MOST]]
        return sum(2 * part / size for part, size in zip(both, sizes, strict=True) if size)

    return max(counts, key=shared)
