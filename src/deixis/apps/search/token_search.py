"""Search by a model that compares token by token: embeddings propose pictures, all tokens of these are compared.

score(image, text) = mean of (mean over patches of max over words) and (mean over words of max over patches)
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.apps.common.find_picture import find_picture
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.modes import evaluating
from deixis.ops.late_interaction import token_similarity
from deixis.types import TokenStates

__all__ = ["TokenSearch"]

_BATCH, _STORED = 32, 4000


class TokenSearch:
    """Token-wise scores of pictures; their tokens are computed when they are first candidates, and the last ones used
    stay in memory in half precision. Threads may share it.

    Args:
        encoder: whose similarity is `tokens`, in eval mode.
    """

    def __init__(self, encoder: DualEncoder) -> None:
        self._encoder, self._lock = encoder, threading.Lock()
        self._states: collections.OrderedDict[str, Float[Tensor, "N D"]] = collections.OrderedDict()

    @torch.no_grad()
    def rank(
        self, text: str, rows: Int64[np.ndarray, " C"], items: Sequence[Mapping[str, Any]]
    ) -> tuple[Float32[np.ndarray, " c"], Int64[np.ndarray, " c"]]:
        """The candidates in the order of their scores with a text; what can't be read again is left out.

        Args:
            text: the query.
            rows: of the candidates in the index.
            items: what these rows stand for.

        Returns:
            Scores and rows, best first.

        Raises:
            DeixisError: none of the pictures can be read.
        """
        with self._lock, evaluating(self._encoder):
            states = self._tokens(items)
            readable = [place for place, each in enumerate(states) if each is not None]
            if len(rows) and not readable:
                raise DeixisError(
                    f"The model compares pictures token by token, and none of {len(rows)} candidates can be read, "
                    f"such as {items[0]['path']}.",
                    "Bring the index up to date: deixis index DATA --out RUN --update",
                )
            words = self._encoder.text_tokens(self._encoder.tokenize([text]))
            scores = [self._score(states[place], words) for place in readable]
        order = np.argsort(-np.array(scores, np.float32), kind="stable")
        return np.array(scores, np.float32)[order], rows[readable][order]

    def _score(self, image: Float[Tensor, "N D"] | None, words: TokenStates) -> float:
        assert image is not None
        text = F.normalize(words.states, dim=-1)
        both = token_similarity(image[None].to(text), text, text_mask=words.mask)
        return float(sum(both)) / 2

    def _tokens(self, items: Sequence[Mapping[str, Any]]) -> list[Float[Tensor, "N D"] | None]:
        """Tokens of length 1 of each picture; None where it can't be read."""
        names = [f"{item['path']}\x1f{item.get('hash')}" for item in items]
        missing = [(name, find_picture(str(item["path"]))) for name, item in zip(names, items, strict=True)]
        todo = [(name, place) for name, place in missing if name not in self._states and place is not None]
        for start in range(0, len(todo), _BATCH):
            self._add(todo[start : start + _BATCH])
        found = [self._states.get(name) for name in names]
        for name in names:
            if name in self._states:
                self._states.move_to_end(name)
        while len(self._states) > _STORED:
            self._states.popitem(last=False)
        return found

    def _add(self, pictures: Sequence[tuple[str, Any]]) -> None:
        """Computes the tokens of some pictures, one by one where one of them can't be decoded."""
        try:
            states = self._encoder.image_tokens(self._encoder.read_images([place for _, place in pictures]))
        except DeixisError:
            if len(pictures) > 1:
                for each in pictures:
                    self._add([each])
            return
        unit = F.normalize(states.states, dim=-1).half().cpu()
        for (name, _), tokens, mask in zip(pictures, unit, states.mask.cpu(), strict=True):
            self._states[name] = tokens[mask]
