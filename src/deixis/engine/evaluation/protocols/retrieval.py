"""Retrieval among images and captions, both ways.

An image may have several captions: any of them is a hit for it, each of them is a query of its own, and a caption that
several images share finds any of them. Ties count against the model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from deixis.engine.evaluation.data import EvalData, EvalSet, on_test
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.errors import DeixisError
from deixis.ops.metrics import pair_ranks, recall_at, reciprocal_rank
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "Pairs", "measure", "pairs_of", "prepare", "values"]

PROTOCOL = EvalProtocol(
    title="Retrieval of captions by image and of images by caption",
    capabilities=(("encode_image", "encode_text"), ("compare",), ("adapters",)),
    fields=("images", "captions"),
    metrics=(
        EvalMetric("mean_r1", "R@1, mean of both directions"),
        EvalMetric("image_to_text_r1", "image to text R@1"),
        EvalMetric("image_to_text_r5", "image to text R@5"),
        EvalMetric("image_to_text_r10", "image to text R@10"),
        EvalMetric("image_to_text_mrr", "image to text MRR"),
        EvalMetric("text_to_image_r1", "text to image R@1"),
        EvalMetric("text_to_image_r5", "text to image R@5"),
        EvalMetric("text_to_image_r10", "text to image R@10"),
        EvalMetric("text_to_image_mrr", "text to image MRR"),
    ),
    plots=("image_to_text_r1", "image_to_text_r10", "text_to_image_r1", "text_to_image_r10"),
    test="the split `test` if the data has one, else all images",
    source="Karpathy, Fei-Fei 2015; recall at k as for Flickr30k and COCO",
)


class Pairs(NamedTuple):
    """Images, distinct captions, and which belong together.

    Attributes:
        data: the images.
        texts: the distinct captions.
        pairs: an image and one of its captions, by their places.
    """

    data: EvalSet
    texts: tuple[str, ...]
    pairs: Int64[Tensor, "P 2"]


def pairs_of(data: EvalSet) -> Pairs:
    """The captions of samples.

    Raises:
        DeixisError: all of them say the same.
    """
    place: dict[str, int] = {}
    pairs = [
        (i, place.setdefault(caption, len(place)))
        for i, sample in enumerate(data.samples)
        for caption in dict.fromkeys(sample.captions)
        if caption.strip()
    ]
    if len(place) < 2:
        raise DeixisError(f"All captions say {next(iter(place))!r}: there is nothing to retrieve.", "Give others.")
    return Pairs(data, tuple(place), torch.tensor(pairs))


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> Pairs:
    """The images with captions."""
    return pairs_of(on_test(data.captioned(options.limit, talk.say)))


def measure(plan: Pairs, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Ranks of each image's best caption, and of each caption's best image."""
    found = values(plan, model, talk)
    counts = f"{len(plan.data.samples)} images, {len(plan.texts)} different captions, {len(plan.pairs)} pairs."
    return EvalOutput({"": found}, (counts,), {"images": len(plan.data.samples), "captions": len(plan.texts)})


def values(plan: Pairs, model: EvalModel, talk: EvalReporter) -> dict[Column, QueryValues]:
    """Recall at 1, 5 and 10 and the reciprocal rank, each way.

    Args:
        plan: what is retrieved.
        model: that is measured.
        talk: receives the progress.
    """
    scores = model.pair_scores(plan.data, plan.texts, talk)
    image_of, text_of = plan.pairs.unbind(1)
    to_text = pair_ranks(scores.by_image(), plan.pairs)
    to_image = pair_ranks(scores.by_text(), plan.pairs.flip(1))[text_of]
    clusters, ids = plan.data.clusters, plan.data.ids
    queries = tuple(f"{ids[i]}: {plan.texts[t]}" for i, t in plan.pairs.tolist())
    found: dict[Column, QueryValues] = {}
    for name, of in {**{f"r{k}": k for k in (1, 5, 10)}, "mrr": 0}.items():
        there, back = (recall_at(r, of) if of else reciprocal_rank(r) for r in (to_text, to_image))
        own = torch.zeros(len(ids), dtype=torch.float64).index_add(0, image_of, back) / torch.bincount(image_of)
        found[Column(f"image_to_text_{name}")] = QueryValues(there.numpy(), ids, clusters)
        found[Column(f"text_to_image_{name}")] = QueryValues(back.numpy(), queries, clusters[np.asarray(image_of)])
        found[Column(f"mean_{name}")] = QueryValues(((there + own) / 2).numpy(), ids, clusters)
    return found
