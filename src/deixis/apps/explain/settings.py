"""What can be set of `deixis explain`: the fields are its flags. No torch here."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["ExplainSettings"]


@dataclasses.dataclass(frozen=True)
class ExplainSettings:
    """How a score is explained.

    Attributes:
        method: `normgrad` (the selective map), `srmap`, `relevance`, or a map of normgrad's table: `grad_cam`,
            `gradient`, `norm_grad`, `conv3x3+norm`...
        layers: names of the image tower's layers; empty takes the method's own choice: of normgrad and a convolutional
            network the blocks at a quarter and three fifths of its depth, else the last.
        combine: how normgrad's maps of several layers become one: `sum`, `product` (geometric mean) or `plain_product`.
        others: texts that the text is held against: the mean of their similarities is taken off.
        tower: `image` for maps alone, `text` for the words' shares alone, or `both`.
        rules: of relevance, by name; empty takes `epsilon_plus`, for transformers `attention`, for srmap the paper's.
        rate: of normgrad's meta step, one step of gradient descent on the image itself; 0: none.
    """

    method: str = "normgrad"
    layers: tuple[str, ...] = ()
    combine: Literal["sum", "product", "plain_product"] = "product"
    others: tuple[str, ...] = ()
    tower: Literal["both", "image", "text"] = "both"
    rules: str = ""
    rate: float = 0.0
