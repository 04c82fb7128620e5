"""Per-query values of a model on cached features, before and after an adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from deixis.engine.features.store import FeatureTable
from deixis.nn.dual import DualEncoder
from deixis.ops.metrics import accuracy, ranks, reciprocal_rank, retrieval
from deixis.ops.stats import Interval, cluster_bootstrap

__all__ = [
    "TEST_STATISTIC",
    "Adapters",
    "Measure",
    "Towers",
    "Values",
    "apply",
    "class_rows",
    "intervals",
    "measure_labels",
    "measure_retrieval",
    "set_strength",
]

TEST_STATISTIC = "negative_log_rank"
"""The value on which a gain is tested: a rank twice as good counts the same wherever it is, so that few queries near
the top don't decide, as they do for the reciprocal rank."""


@runtime_checkable
class Towers(Protocol):
    """A model with weights of its own, as `deixis.engine.adaptation.towers.InterpolatedModel`."""

    strength: float

    def embed(self, table: FeatureTable) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Image and text embeddings of the samples of `table`."""
        ...

    def encoder(self) -> DualEncoder:
        """A model of its own, with the weights at the present strength."""
        ...


Adapters = tuple[nn.Module | None, nn.Module | None] | Towers
Values = dict[str, np.ndarray]
"""Metric -> one value a query."""

Measure = Callable[[FeatureTable, Adapters], Values]


def set_strength(adapters: Adapters, strength: float) -> Adapters:
    """Sets the strength of adapters or towers, in place; 0 gives the original model (of adapters, bit for bit)."""
    if not isinstance(adapters, tuple):
        adapters.strength = strength
        return adapters
    for adapter in adapters:
        if adapter is not None:
            torch.as_tensor(adapter.strength).fill_(strength)
    return adapters


@torch.inference_mode()
def apply(table: FeatureTable, adapters: Adapters) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
    """Image and text embeddings of all samples through the adapters (None: as they are)."""
    if not isinstance(adapters, tuple):
        return adapters.embed(table)
    image, text = adapters
    return (
        table.embedding[0] if image is None else image(table.states()),
        table.text if text is None else text(table.text),
    )


def measure_retrieval(table: FeatureTable, adapters: Adapters) -> Values:
    """Retrieval both ways among the samples of `table`: metric -> a value a sample [B], `TEST_STATISTIC` among them."""
    image, text = apply(table, adapters)
    values = {name: value.numpy() for name, value in retrieval(image, text, table.keys).items()}
    inverse = [values[f"{side}_mrr"] for side in ("image_to_text", "text_to_image")]
    return values | {TEST_STATISTIC: np.log(inverse).mean(axis=0)}


def class_rows(table: FeatureTable) -> FeatureTable:
    """The first sample of each class of a labelled table, in the order of `keys`."""
    first = {int(key): i for i, key in reversed(list(enumerate(table.keys)))}
    return table.take([first[key] for key in sorted(first)])


def measure_labels(classes: FeatureTable, table: FeatureTable, adapters: Adapters) -> Values:
    """Zero-shot classification of the samples of `table`: `accuracy` and `mrr`, one value a sample [B].

    Args:
        classes: one sample for each class, in the order of `keys`; only its text is used.
        table: what is classified; `keys` are its classes.
        adapters: as in `apply`.
    """
    image, _ = apply(table, adapters)
    _, text = apply(classes, adapters)
    logits = image.double() @ text.double().T
    found = ranks(image, text, table.keys, torch.arange(len(text)))
    values = {"accuracy": accuracy(logits, table.keys).numpy(), "mrr": reciprocal_rank(found).numpy()}
    return values | {TEST_STATISTIC: np.log(values["mrr"])}


def intervals(values: Mapping[str, np.ndarray], clusters: Int[np.ndarray, " B"]) -> dict[str, Interval]:
    """Mean and 95 % interval of each metric, resampling clusters (concepts), not queries."""
    return {name: cluster_bootstrap(value, clusters) for name, value in values.items()}


def pooled(parts: Sequence[Mapping[str, np.ndarray]]) -> Values:
    """Values of several splits one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
