"""Images found by captions, before and after a model that reads pairs has scored the first results again.

The order before is that of vectors (`--model`), the order after that of a run that offers `match` (`--rerank`). Only
the first 50 images of a caption are scored again: an image behind these stays where it is.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deixis.engine.evaluation.data import EvalData, on_test
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.engine.evaluation.protocols.retrieval import Pairs, pairs_of
from deixis.engine.features.region_pairs import RegionPairs
from deixis.errors import DeixisError
from deixis.ops.metrics import pair_ranks, recall_at
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["FIRST", "PROTOCOL", "RerankedModel", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Images found by captions, before and after the first 50 are scored again as pairs",
    capabilities=(("encode_image", "encode_text", "match"), ("adapters", "match")),
    fields=("images", "captions"),
    metrics=(
        EvalMetric("after_r1", "R@1, scored again"),
        EvalMetric("before_r1", "R@1"),
        EvalMetric("after_r5", "R@5, scored again"),
        EvalMetric("before_r5", "R@5"),
        EvalMetric("after_r10", "R@10, scored again"),
        EvalMetric("before_r10", "R@10"),
        EvalMetric("seconds", "seconds a query", "lower"),
    ),
    plots=("before_r1", "after_r1"),
    test="the split `test` if the data has one, else all images",
    slow=True,
)

FIRST = 50
"""Images of a caption that are scored again."""


class RerankedModel(EvalModel):
    """An `EvalModel` with a second one.

    Args:
        name: of the first, in tables.
        model: the first.
        rerank_name: of the second.
        method: the second, which offers `match`.

    Attributes:
        pairs: what scores pairs.
    """

    def __init__(self, name: str, model: Any, rerank_name: str, method: Any) -> None:
        super().__init__(name, model)
        self.capabilities |= {"match"}
        self.rerank_name, self.pairs = rerank_name, RegionPairs(method)


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> Pairs:
    """The images with captions."""
    return pairs_of(on_test(data.captioned(options.limit, talk.say)))


def measure(plan: Pairs, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Ranks of the image of each caption, before and after.

    Raises:
        DeixisError: no run is named that scores pairs.
    """
    if not isinstance(model, RerankedModel):
        raise DeixisError("No run is named that scores the first results again.", "Name one: --rerank RUN")
    before, after, seconds = _ranks(plan, model, talk)
    ids = plan.data.ids
    queries = tuple(f"{ids[i]}: {plan.texts[t]}" for i, t in plan.pairs.tolist())
    clusters = plan.data.clusters[np.asarray(plan.pairs[:, 0])]
    found = {
        Column(f"{when}_r{k}"): QueryValues(recall_at(ranks, k).numpy(), queries, clusters)
        for when, ranks in (("before", before), ("after", after))
        for k in (1, 5, 10)
    }
    found[Column("seconds")] = QueryValues(seconds.numpy(), queries, clusters)
    counts = (
        f"{len(plan.pairs)} captions look for one of {len(ids)} images; the first {min(FIRST, len(ids))} of each are "
        f"scored again by {model.rerank_name}. Found at once: {float(recall_at(before, 1).mean()):.1%} before, "
        f"{float(recall_at(after, 1).mean()):.1%} after, in {float(seconds.mean()):.2f} s a query."
    )
    return EvalOutput({"": found}, (counts,), {"images": len(ids), "captions": len(plan.texts)})


def _ranks(plan: Pairs, model: RerankedModel, talk: EvalReporter) -> tuple[Tensor, Tensor, Tensor]:
    """Of the image of each pair among all: by vectors, and with the first ones in their new order; and the seconds."""
    table = torch.cat(list(model.pair_scores(plan.data, plan.texts, talk).by_text()))  # [texts, images]
    image, text = plan.pairs.unbind(1)
    before = pair_ranks([table], plan.pairs.flip(1))[text]
    pictures, after, seconds = plan.data.pictures, before.clone(), torch.zeros(len(text), dtype=torch.float64)
    with talk.step("score again"), talk.bar("captions") as bar:
        for done, row in enumerate(text.unique().tolist()):
            first = table[row].topk(min(FIRST, table.shape[1])).indices.tolist()
            start = time.perf_counter()
            scores = model.pairs.match([pictures[each] for each in first], [plan.texts[row]] * len(first))
            mine = (text == row).nonzero().flatten()
            seconds[mine] = time.perf_counter() - start
            right = [place for place, each in enumerate(first) if each in set(image[mine].tolist())]
            if right:  # ties count against the model
                best = scores[right].amax()
                after[mine] = 1 + int((scores >= best).sum() - (scores[right] >= best).sum())
            bar(done + 1, len(plan.texts))
    return before, after, seconds
