"""The class of each pixel that a method names, beside the right one, as the method sees the pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from deixis.data.loading.crops import seen_mask
from deixis.engine.evaluation.cells.linear_cells import class_map
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import preprocess_of
from deixis.engine.training.stages import name_of, offers
from deixis.errors import DeixisError
from deixis.types import Region, Sample
from deixis.types.protocols import AnyMethod, HasNames, OffersSegment

__all__ = ["best_classes", "pixel_classes"]

_BATCH = 50


def best_classes(scores: Float[Tensor, "B C H W"], count: int) -> Int64[Tensor, "B H W"]:
    """The class with the highest score of each pixel; 0 is the background, class n has the number n + 1.

    Args:
        scores: of the background and the classes, or of the classes alone.
        count: of the classes.
    """
    return scores.argmax(1) + (count + 1 - scores.shape[1])


def pixel_classes(
    method: AnyMethod, samples: Sequence[Sample], names: Sequence[str]
) -> Iterator[tuple[Int64[Tensor, "S S"], Int64[Tensor, "S S"]]]:
    """What a method says of each sample, and what is right, at the size of the method's images: 0 is the background,
    n + 1 class n, -1 (of what is right) a thing of another class.

    Args:
        method: that offers `segment`.
        samples: whose regions have masks.
        names: of the classes, in the order of the method's.

    Raises:
        DeixisError: the method names no pixels, or other classes.
    """
    whole: Any = method
    if not offers(method, OffersSegment):
        raise DeixisError(f"{name_of(method)} does not name the classes of pixels.", "Measure something else of it.")
    own = tuple(map(str, method.names)) if isinstance(method, HasNames) else ()
    if own != tuple(names):
        raise DeixisError(
            f"{name_of(method)} names {', '.join(own) or 'nothing'}, and the classes are {', '.join(names)}.",
            "Give the method these names, in this order.",
        )
    preprocess = preprocess_of(whole)

    def pixels(region: Region) -> Tensor:
        return seen_mask(region, preprocess)

    with eval_without_grad(whole):
        for start in range(0, len(samples), _BATCH):
            some = samples[start : start + _BATCH]
            scores = method.segment(preprocess.read([sample.picture for sample in some]))
            for sample, classes in zip(some, best_classes(scores, len(names)), strict=True):
                yield classes, class_map(sample.regions, names, pixels, preprocess.size)
