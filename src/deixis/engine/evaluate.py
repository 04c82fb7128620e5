"""Per-query values of a model on cached features, before and after an adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from deixis.engine.features import Table
from deixis.ops.metrics import accuracy, retrieval
from deixis.ops.stats import Interval, cluster_bootstrap

__all__ = ["Adapters", "Measure", "apply", "intervals", "measure_labels", "measure_retrieval", "strengthen"]

Adapters = tuple[nn.Module | None, nn.Module | None]
Values = dict[str, np.ndarray]
Measure = Callable[[Table, Adapters], Values]


def strengthen(adapters: Adapters, strength: float) -> Adapters:
    """Sets the strength of both adapters, in place; 0 gives the original model bit for bit."""
    for adapter in adapters:
        if adapter is not None:
            torch.as_tensor(adapter.strength).fill_(strength)
    return adapters


@torch.inference_mode()
def apply(table: Table, adapters: Adapters) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
    """Image and text embeddings of all samples through the adapters (None: as they are)."""
    image, text = adapters
    return (
        table.embedding[0] if image is None else image(table.states()),
        table.text if text is None else text(table.text),
    )


def measure_retrieval(table: Table, adapters: Adapters) -> Values:
    """Retrieval both ways among the samples of `table`: metric -> one value a sample [B]."""
    image, text = apply(table, adapters)
    return {name: value.numpy() for name, value in retrieval(image, text, table.keys).items()}


def measure_labels(classes: Table, table: Table, adapters: Adapters) -> Values:
    """Zero-shot classification of the samples of `table`: `accuracy` and `mrr`, one value a sample [B].

    Args:
        classes: one sample for each class, in the order of `keys`; only its text is used.
        table: what is classified; `keys` are its classes.
        adapters: as in `apply`.
    """
    image, _ = apply(table, adapters)
    _, text = apply(classes, adapters)
    logits = image.double() @ text.double().T
    own = logits.gather(1, table.keys[:, None])
    # Ties count against the model, as in accuracy.
    ranks = (logits >= own).sum(dim=1)
    return {"accuracy": accuracy(logits, table.keys).numpy(), "mrr": (1.0 / ranks).numpy()}


def intervals(values: Mapping[str, np.ndarray], clusters: Int[np.ndarray, " B"]) -> dict[str, Interval]:
    """Mean and 95 % interval of each metric, resampling clusters (concepts), not queries."""
    return {name: cluster_bootstrap(value, clusters) for name, value in values.items()}


def pooled(parts: Sequence[Mapping[str, np.ndarray]]) -> Values:
    """Values of several splits one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
