"""Vectors of texts from a text tower that does not train, each text read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.nn.modes import evaluating

__all__ = ["FrozenTexts"]

_BLOCK = 256


class FrozenTexts:
    """Remembers the vectors of texts as long as the tower that gave them is as it was.

    No module, hence in no state: what it holds can be made again.
    """

    def __init__(self) -> None:
        self._known: dict[str, Tensor] = {}
        self._tower: tuple[tuple[int, int], ...] = ()

    def __call__(
        self, tower: nn.Module, read: Callable[[Sequence[str]], Tensor], texts: Sequence[str]
    ) -> Float[Tensor, "N D"]:
        """One vector a text, without gradient.

        Args:
            tower: that the vectors hang on; it reads in eval mode.
            read: texts -> their vectors [N, D].
            texts: equal ones are read once.
        """
        state = tuple((each.data_ptr(), each._version) for each in tower.parameters())
        if state != self._tower:
            self._known, self._tower = {}, state
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        with torch.no_grad(), evaluating(tower):
            for start in range(0, len(new), _BLOCK):
                block = new[start : start + _BLOCK]
                self._known.update(zip(block, read(block), strict=True))
        return torch.stack([self._known[text] for text in texts])
