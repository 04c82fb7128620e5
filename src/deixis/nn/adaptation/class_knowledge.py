"""What is known of classes in words, as a frozen text tower reads it: (class, text) pairs -> a vector a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.nn.dual import DualEncoder

__all__ = ["ClassPairs", "text_vectors", "texts_by_class"]

ClassPairs: TypeAlias = tuple[tuple[str, str], ...]
"""(class, text), in the order in which texts of a class count."""


def texts_by_class(pairs: ClassPairs, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The texts of each class, in the order of the names; none where nothing is known of it.

    Args:
        pairs: of these and perhaps of other classes.
        names: of the classes; a `_` is a space.
    """
    found: dict[str, list[str]] = {}
    for name, text in pairs:
        found.setdefault(_plain(name), []).append(text)
    return [tuple(found.get(_plain(name), ())) for name in names]


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split())


@torch.no_grad()
def text_vectors(encoder: DualEncoder, texts: Sequence[Sequence[str]], normalised: bool = True) -> Float[Tensor, "C D"]:
    """The mean of the embeddings of each class's texts; each distinct text is read once.

    Args:
        encoder: whose text tower reads them.
        texts: one or more a class.
        normalised: whether the mean is made of length 1; otherwise a product with it is the mean of the products.
    """
    distinct = {text: place for place, text in enumerate(dict.fromkeys(each for own in texts for each in own))}
    with torch.device("cpu"):  # whatever the method around it is built on: tokens are read
        rows = encoder.encode_text(list(distinct))
    means = torch.stack([rows[[distinct[text] for text in own]].mean(dim=0) for own in texts])
    return F.normalize(means, dim=-1) if normalised else means
