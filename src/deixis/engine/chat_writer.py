"""A language model that answers conversations, briefly."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from deixis.nn.language.causal_lm import CausalLm
from deixis.nn.language.chat import chat_tokens
from deixis.nn.language.generation import generate

__all__ = ["ChatWriter"]


class ChatWriter:
    """Answers conversations, each by itself, with the likeliest tokens.

    Args:
        model: that follows instructions.
        length: tokens of an answer at the most.

    Raises:
        DeixisError: it has learned from no conversations.
    """

    def __init__(self, model: CausalLm, length: int = 60) -> None:
        self._model, self._length = model, length
        chat_tokens(model, [("user", "?")])  # refused now, not when the first answer is wanted

    def __call__(self, messages: Sequence[tuple[str, str]]) -> str:
        """The answer; empty where the conversation is longer than what the model reads.

        Args:
            messages: role (`system`, `user` or `assistant`) and text of each.

        Raises:
            DeixisError: the model's form of conversations can't be filled in with these.
        """
        tokens = chat_tokens(self._model, messages)
        if tokens.ids.shape[1] + self._length > self._model.context_length:
            return ""
        with torch.no_grad():
            return generate(self._model, self._model.embed(tokens.ids), tokens.mask, self._length)[0].text.strip()
