"""Accuracy on labelled images, one value an image, and logits of classes from their names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.output import Column, EvalReporter
from deixis.engine.fewshot.names import class_names, require_places
from deixis.errors import DeixisError
from deixis.ops.metrics import accuracy

__all__ = ["accuracies", "labels_of", "name_logits", "per_class_weights"]


def labels_of(data: EvalSet, classes: Sequence[str]) -> Int64[Tensor, " N"]:
    """Places of the samples' labels among the classes."""
    place = {name: number for number, name in enumerate(classes)}
    return torch.tensor([place[str(sample.label)] for sample in data.samples], dtype=torch.long)


def accuracies(
    logits: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], condition: str = ""
) -> dict[Column, Float[np.ndarray, " N"]]:
    """`top1`, `top5` (where there are more than five classes) and `mean_per_class`.

    Args:
        logits: of N images.
        labels: their classes.
        condition: of the columns.
    """
    first = accuracy(logits, labels).numpy()
    found = {"top1": first}
    if logits.shape[1] > 5:
        found["top5"] = accuracy(logits, labels, 5).numpy()
    found["mean_per_class"] = first * per_class_weights(labels)
    return {Column(name, condition): values for name, values in found.items()}


def per_class_weights(labels: Int64[Tensor, " N"]) -> Float[np.ndarray, " N"]:
    """Weights under which the mean over images is the mean over the classes that occur of each class's mean."""
    _, place, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    weights: np.ndarray = (len(labels) / (len(counts) * counts[place].double())).numpy()
    return weights


def name_logits(
    model: EvalModel, data: EvalSet, classes: Sequence[str], templates: Sequence[str], talk: EvalReporter
) -> Float[Tensor, "N C"]:
    """Logits of classes by their names: products with the mean of the sentences' embeddings (Radford et al. 2021), or
    the mean of the sentences' scores where a model scores pairs.

    Args:
        model: that is measured.
        data: N images.
        classes: labels; underscores are read as spaces.
        templates: sentences with `{}`.
        talk: receives the progress.

    Raises:
        DeixisError: a template has no place for the name.
    """
    if not templates:
        raise DeixisError("There is no template for the class names.", "Give some: --templates 'a photo of a {}.'")
    require_places(templates)
    texts = [template.format(name) for name in class_names(classes) for template in templates]
    scores = model.pair_scores(data, texts, talk)
    if scores.table is not None:
        return scores.table.unflatten(1, (len(classes), len(templates))).mean(dim=2)
    assert scores.image is not None
    assert scores.text is not None
    names = scores.text.unflatten(0, (len(classes), len(templates))).mean(dim=1)
    return scores.image @ F.normalize(names, dim=-1).T
