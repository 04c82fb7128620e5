"""Boxes of one's own, among which phrases choose, by the picture that they belong to."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.engine.training.stages import card_of
from deixis.errors import DeixisError
from deixis.types import place
from deixis.types.protocols import OffersGround

__all__ = ["OwnBoxes", "read_boxes"]

OwnBoxes = Mapping[str, Float[Tensor, "K 4"]]
"""Name of a picture's file -> its boxes, in shares of the picture."""


def read_boxes(path: str, method: Any) -> OwnBoxes:
    """The boxes of a file in COCO's form, or of any data with boxes.

    Args:
        path: of the file.
        method: that is to choose among them.

    Raises:
        DeixisError: the method takes no boxes, there are none, or two pictures have one name.
    """
    if not isinstance(method, OffersGround) or "boxes" not in inspect.signature(method.ground).parameters:
        raise DeixisError(
            f"The method {card_of(method).title!r} proposes its boxes itself and takes none.",
            "Leave --boxes out, or name a run of a method that chooses among boxes, such as uniter: --model RUN",
        )
    from deixis.apps.common.dataset import read  # all readers of data: whoever gives no boxes needs none of them

    found: dict[str, Tensor] = {}
    for sample in read(path).samples:
        if sample.image is None or not sample.regions:
            continue
        name = Path(place(sample.image)).name
        if name in found:
            raise DeixisError(f"{path} has boxes of {name} twice.", "Leave one of both out.")
        found[name] = torch.tensor([region.box for region in sample.regions])
    if not found:
        raise DeixisError(f"{path} has no box of any picture.", "Give a file in COCO's form, as --out writes it.")
    return found
