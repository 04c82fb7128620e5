"""COCO's average precision, by the faster-coco-eval package (the extra `eval`): one value a category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from deixis.errors import require

__all__ = ["BoxRow", "average_precision", "require_coco_eval"]

_AREAS = ("all", "small", "medium", "large")
_MOST = 100


class BoxRow(NamedTuple):
    """A box in a picture.

    Attributes:
        picture: by its place.
        category: by its place.
        box: x0 y0 x1 y1 in pixels.
        score: of one that was predicted.
    """

    picture: int
    category: int
    box: tuple[float, float, float, float]
    score: float = 1.0


def require_coco_eval() -> ModuleType:
    """The package.

    Raises:
        DeixisError: it is not installed.
    """
    return require("faster_coco_eval", "eval", "measure COCO's average precision")


def average_precision(
    sizes: Sequence[tuple[int, int]], categories: int, truth: Sequence[BoxRow], predicted: Sequence[BoxRow]
) -> Mapping[str, Float[np.ndarray, " C"]]:
    """`ap` (the mean over IoU 0.5, 0.55, ... 0.95), `ap50`, `ap75`, `ap` of small, medium and large boxes (up to 32 and
    96 pixels square), and `ar`, the recall with 100 boxes a picture; NaN for a category that has no such box.

    Args:
        sizes: width and height of each picture in pixels.
        categories: how many there are.
        truth: boxes of what is there.
        predicted: boxes with scores.

    Raises:
        DeixisError: faster-coco-eval is not installed.
    """
    package = require_coco_eval()
    wanted = package.COCO(_annotations(sizes, categories, truth), print_function=_silent)
    if predicted:
        given = wanted.loadRes([{**_row(each), "score": each.score} for each in predicted])
    else:
        given = package.COCO(_annotations(sizes, categories, ()), print_function=_silent)
    found = package.COCOeval_faster(wanted, given, iouType="bbox", print_function=_silent)
    found.evaluate()
    found.accumulate()
    precision, recall = (np.asarray(found.eval[name], dtype=np.float64) for name in ("precision", "recall"))
    of_area = {name: precision[..., place, -1] for place, name in enumerate(_AREAS)}  # thresholds, recalls, categories
    all_boxes = of_area["all"]
    thresholds = [round(100 * float(each)) for each in found.params.iouThrs]
    return {
        "ap": _mean(all_boxes),
        "ap50": _mean(all_boxes[[thresholds.index(50)]]),
        "ap75": _mean(all_boxes[[thresholds.index(75)]]),
        **{f"ap_{name}": _mean(of_area[name]) for name in _AREAS[1:]},
        "ar": _mean(recall[:, None, :, 0, -1]),
    }


def _annotations(sizes: Sequence[tuple[int, int]], categories: int, truth: Sequence[BoxRow]) -> dict[str, Any]:
    """As COCO's file has them; its numbers begin at 1."""
    return {
        "images": [{"id": place, "width": w, "height": h} for place, (w, h) in enumerate(sizes, 1)],
        "annotations": [{**_row(each), "id": place, "iscrowd": 0} for place, each in enumerate(truth, 1)],
        "categories": [{"id": place, "name": str(place)} for place in range(1, categories + 1)],
    }


def _row(each: BoxRow) -> dict[str, Any]:
    x0, y0, x1, y1 = each.box
    size = (x1 - x0, y1 - y0)
    ids = {"image_id": each.picture + 1, "category_id": each.category + 1}
    return {**ids, "bbox": [x0, y0, *size], "area": size[0] * size[1]}


def _mean(values: Float[np.ndarray, "T R C"]) -> Float[np.ndarray, " C"]:
    """Over thresholds and recalls; -1 stands for a category without boxes."""
    known = (values > -1).all((0, 1))
    return np.where(known, values.mean((0, 1)), np.nan)


def _silent(*_: Any) -> None:
    """The package prints its progress."""
