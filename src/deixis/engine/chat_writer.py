"""A language model that answers conversations, briefly."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from deixis.nn.language.causal_lm import CausalLm
from deixis.nn.language.chat import chat_tokens
from deixis.nn.language.generation import generate

__all__ = ["ChatWriter"]

_LENGTH = 60


class ChatWriter:
    """Answers conversations, each by itself, with the likeliest tokens.

    Args:
        model: that follows instructions.

    Raises:
        DeixisError: it has learned from no conversations.
    """

    def __init__(self, model: CausalLm) -> None:
        self._model = model
        chat_tokens(model, [("user", "?")])  # refused now, not when the first answer is wanted

    def __call__(self, messages: Sequence[tuple[str, str]]) -> str:
        """The answer, of 60 tokens at the most; empty where the conversation is longer than what the model reads.

        Args:
            messages: role (`system`, `user` or `assistant`) and text of each.

        Raises:
            DeixisError: the model's form of conversations can't be filled in with these.
        """
        tokens = chat_tokens(self._model, messages)
        if tokens.ids.shape[1] + _LENGTH > self._model.context_length:
            return ""
        with torch.no_grad():
            return generate(self._model, self._model.embed(tokens.ids), tokens.mask, _LENGTH)[0].text.strip()
