"""The reason of a score in a sentence: the words that hold most of it, and the place of the map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.apps.explain.overlays import Share
from deixis.apps.explain.settings import SAYS
from deixis.engine.training.build import build
from deixis.types.protocols import OffersVerbalise

__all__ = ["reason", "strongest_place"]

_PLACES = (("upper left", "top", "upper right"), ("left", "middle", "right"), ("lower left", "bottom", "lower right"))


def reason(words: Sequence[Share], values: Float[Tensor, "H W"] | None) -> str:
    """What holds most of a score.

    Args:
        words: of the text, with their shares; of a single one nothing is said.
        values: the map; None: nothing is said of the picture.

    Returns:
        Such as `The word » bicycle « is most important for the score (39 %). In the picture: lower left, 41 %.`
    """
    said = []
    if len(words) > 1:
        shares = torch.tensor([float(each.share) for each in words])
        method = build(SAYS, "desk")
        assert isinstance(method, OffersVerbalise)
        said.append(method.verbalise([each.word for each in words], shares))
    place, held = strongest_place(values) if values is not None else ("", 0.0)
    said.append(f"In the picture: {place}, {100 * held:.0f} %." if place else "")
    return " ".join(filter(None, said))


def strongest_place(values: Float[Tensor, "H W"]) -> tuple[str, float]:
    """The ninth of an image in which a map is highest, by name, and the part of the map's positive sum that lies in it.

    Ours, an extension of Saliency Map Verbalization to images.

    Args:
        values: the map; 0 or less counts for nothing.

    Returns:
        Such as `lower left` and 0.41; a map without positive values has no place: an empty name and 0.
    """
    positive = values.clamp(min=0)
    if not positive.sum() > 0:
        return "", 0.0
    shares = torch.stack(
        [torch.stack([part.sum() for part in row.tensor_split(3, 1)]) for row in positive.tensor_split(3, 0)]
    )
    row, column = divmod(int(shares.argmax()), 3)
    return _PLACES[row][column], float(shares.max() / shares.sum())
