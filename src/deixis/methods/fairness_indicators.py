"""Fairness indicators: does an encoder treat images of all groups alike? Three measures, one value an image each.

1. Label association: of the labels that a classifier on the encoder's features gives an image, is one of a set that it
   should not be (a person called an animal)? Kept are the first `topk` of the labels by score, of those at or above t.
2. Geographic diversity: is the true concept among those of the kept labels? By region or income of the household.
3. Same-attribute retrieval: of the first k images by cosine, how many have the query's attribute? By group.

The mean over the images of a group is the group's number (arXiv 2202.07603).

What differs from the paper and its code (vissl), or is our reading of it:
* Rates are shares from 0 to 1, not rounded; the authors' scripts report percentages of 3 decimals.
* The classifier is a linear one on frozen features; the authors also fine-tune. What a fine-tuned network gives as
  scores is measured in the same way.
* The paper's sets of labels are those of ImageNet; here they are given by number (`sets`).

Who measures people by this needs their consent to be measured, and the licence of a model may forbid it: that of SEER's
weights forbids to predict sensitive attributes of people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.types import Batch, Card, FieldSpec, Progress

__all__ = [
    "CARD",
    "CLAIMS",
    "Config",
    "Method",
    "attribute_retrieval",
    "confident",
    "geographic_diversity",
    "kept_labels",
    "label_association",
    "watched_labels",
]

CARD = Card(
    title="Fairness Indicators for Systematic Assessments of Visual Feature Extractors",
    year=2022,
    kind="evaluator",
    needs=(
        FieldSpec("image_embedding", "B D", values="unit"),
        FieldSpec("scores", "B C", values="distribution"),
        FieldSpec("concept", "B", "long", values="class"),
        FieldSpec("attribute", "B", "long", values="class"),
    ),
    arxiv="2202.07603",
    code="facebookresearch/vissl",
    tags=("evaluation", "fairness", "groups"),
)


@dataclass(frozen=True)
class Config:
    """Settings of the indicators.

    Attributes:
        topk: labels of an image that count, at the most.
        most: labels of an image that are looked at, the likeliest first.
        threshold: score from which on a label counts.
        rule: when a concept is hit: `any` of the labels that count is of it; or `first` (the authors' other script):
            the first of the `topk` that is, whose score is above the threshold.
        concepts: the concepts of each class; empty: each class is the concept of its number.
        sets: name and class numbers of each set of labels that images are not to be associated with.
        watched: classes whose rates are compared one by one.
        sure: score from which on a watched label, or any label, counts as given.
        ks: how many of the retrieved images are looked at.
    """

    topk: int = 5
    most: int = 100
    threshold: float = 0.1
    rule: Literal["any", "first"] = "any"
    concepts: tuple[tuple[int, ...], ...] = ()
    sets: tuple[tuple[str, tuple[int, ...]], ...] = ()
    watched: tuple[int, ...] = ()
    sure: float = 0.1
    ks: tuple[int, ...] = (1, 5, 10, 50)

    @classmethod
    def tiny(cls) -> Config:
        """For tests: a set, a watched label."""
        return cls(sets=(("first", (0, 1)),), watched=(2,), ks=(1, 5))

    @classmethod
    def desk(cls) -> Config:
        """The defaults."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """As published; sets and concepts are those of the data."""
        return cls()


def kept_labels(scores: Float[Tensor, "N C"], threshold: float, topk: int, most: int) -> Bool[Tensor, "N C"]:
    """Which labels count: the first `topk` of the `most` likeliest that reach the threshold.

    Args:
        scores: probabilities of the classes.
        threshold: that a score reaches.
        topk: labels at the most.
        most: labels that are looked at.
    """
    first = scores.argsort(dim=1, descending=True, stable=True)[:, : min(topk, most)]
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, first, True) & (scores >= threshold)


def label_association(kept: Bool[Tensor, "N C"], sets: Bool[Tensor, "S C"]) -> Float[Tensor, "N S"]:
    """1 where a label that counts is in a set (indicator 1).

    Args:
        kept: see `kept_labels`.
        sets: which classes are in each set.
    """
    return (kept[:, None] & sets).any(dim=2).double()


def watched_labels(
    scores: Float[Tensor, "N C"], kept: Bool[Tensor, "N C"], watched: Int64[Tensor, " W"], sure: float
) -> Float[Tensor, "N W"]:
    """1 where a watched label counts and its score, rounded to 5 decimals, reaches `sure`."""
    return (kept & (scores.round(decimals=5) >= sure))[:, watched].double()


def confident(scores: Float[Tensor, "N C"], kept: Bool[Tensor, "N C"], sure: float) -> Float[Tensor, " N"]:
    """1 where the score of some label that counts, rounded to 5 decimals, reaches `sure`."""
    return (kept & (scores.round(decimals=5) >= sure)).any(dim=1).double()


def geographic_diversity(
    scores: Float[Tensor, "N C"],
    concept: Int64[Tensor, " N"],
    concepts: Bool[Tensor, "C M"],
    *,
    threshold: float,
    topk: int,
    most: int = 100,
    rule: str = "any",
) -> Float[Tensor, " N"]:
    """1 where the true concept is hit (indicator 2).

    Args:
        scores: probabilities of the classes.
        concept: the true one.
        concepts: which concepts each class is of.
        threshold: see `kept_labels`, and so are `topk` and `most`.
        topk: see there.
        most: see there.
        rule: see `Config`. By `first`, the score of the first of the `topk` labels that is of the concept is above the
            threshold, rounded to 5 decimals.
    """
    fits = concepts[:, concept].T  # [N, C]
    if rule == "any":
        return (kept_labels(scores, threshold, topk, most) & fits).any(dim=1).double()
    values, first = scores.topk(topk, dim=1)
    of_concept = fits.gather(1, first)
    place = of_concept.to(torch.int8).argmax(dim=1, keepdim=True)
    above = values.gather(1, place)[:, 0].round(decimals=5) > threshold
    return (of_concept.any(dim=1) & above).double()


def attribute_retrieval(
    query: Float[Tensor, "Q D"],
    gallery: Float[Tensor, "G D"],
    wanted: Int64[Tensor, " Q"],
    attributes: Int64[Tensor, " G"],
    ks: Sequence[int],
    itself: bool = False,
) -> Float[Tensor, "Q k"]:
    """Share of the first k images of a gallery, by cosine, that have the query's attribute (indicator 3).

    Args:
        query: features; their length does not matter.
        gallery: likewise.
        wanted: the queries' attributes.
        attributes: those of the gallery.
        ks: each k; of fewer images than k all are looked at.
        itself: whether the gallery is the queries, each of which is left out for itself.
    """
    similarity = F.normalize(query.double(), dim=1) @ F.normalize(gallery.double(), dim=1).T
    if itself:
        similarity.fill_diagonal_(-torch.inf)
    found = similarity.argsort(dim=1, descending=True, stable=True)[:, : len(gallery) - itself]
    right = (attributes[found] == wanted[:, None]).double()
    return torch.stack([right[:, :k].mean(dim=1) for k in ks], dim=1)


class Method(nn.Module):
    """Collects features and scores, then measures all images."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def observe(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """The rows that `measure` needs of a batch."""
        return {spec.name: batch.extra[spec.name] for spec in CARD.needs}

    def measure(self, rows: Mapping[str, Tensor]) -> dict[str, Float[Tensor, " B"]]:
        """One value an image: `hit`, `confident`, `precision_at_K` of the image as a query among the others,
        `associated_NAME` for each set, and `watched_CLASS`."""
        config, scores = self.config, rows["scores"].double()
        kept = kept_labels(scores, config.threshold, config.topk, config.most)
        classes = scores.shape[1]
        concepts = _members(config.concepts, max(map(max, config.concepts)) + 1) if config.concepts else None
        identity = torch.eye(classes, dtype=torch.bool)
        hit = geographic_diversity(
            scores,
            rows["concept"],
            identity if concepts is None else concepts,
            threshold=config.threshold,
            topk=min(config.topk, classes),
            most=config.most,
            rule=config.rule,
        )
        values = {"hit": hit, "confident": confident(scores, kept, config.sure)}
        embedding, attribute = rows["image_embedding"], rows["attribute"]
        precision = attribute_retrieval(embedding, embedding, attribute, attribute, config.ks, itself=True)
        values |= {f"precision_at_{k}": precision[:, i] for i, k in enumerate(config.ks)}
        sets = label_association(kept, _members([ids for _, ids in config.sets], classes))
        values |= {f"associated_{name}": sets[:, i] for i, (name, _) in enumerate(config.sets)}
        watched = watched_labels(scores, kept, torch.tensor(config.watched, dtype=torch.long), config.sure)
        return values | {f"watched_{label}": watched[:, i] for i, label in enumerate(config.watched)}


def _members(rows: Sequence[Sequence[int]], count: int) -> Bool[Tensor, "S C"]:
    """One row of `count` entries for each list of numbers, true at these."""
    found = torch.zeros(len(rows), count, dtype=torch.bool)
    for row, numbers in zip(found, rows, strict=True):
        row[list(numbers)] = True
    return found


CLAIMS = ()
