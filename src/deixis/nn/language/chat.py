"""What a language model that follows instructions is given: a request, in the form of the conversations it knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tokenizers
import torch

from deixis.errors import DeixisError
from deixis.nn.language.causal_lm import CausalLm
from deixis.types.outputs import Tokens

__all__ = ["chat_tokens"]

_HERE = "\x02{}\x03"
"""Stands for the text of a message while the template is filled in."""


def chat_tokens(lm: CausalLm, messages: Sequence[tuple[str, str]]) -> Tokens:
    """A conversation up to where the model is to speak, as one row.

    The text of a message stays text: `<|im_end|>` in it does not end it.

    Args:
        lm: with a chat template.
        messages: role (`system`, `user` or `assistant`) and text of each.

    Raises:
        DeixisError: the model has none, or it can't be filled in with these.
    """
    numbers: list[int] = []
    marked: tokenizers.Tokenizer = tokenizers.Tokenizer.from_str(lm.tokenizer.backend.to_str())
    marked.encode_special_tokens = False
    left = _filled(lm.chat_template, [(role, _HERE.format(number)) for number, (role, _) in enumerate(messages)])
    for number, (_, text) in enumerate(messages):
        before, _, left = left.partition(_HERE.format(number))
        numbers += marked.encode(before, add_special_tokens=False).ids
        clean = text.encode("utf-8", "replace").decode("utf-8")
        numbers += lm.tokenizer.backend.encode(clean, add_special_tokens=False).ids
    numbers += marked.encode(left, add_special_tokens=False).ids
    ids = torch.tensor([numbers], dtype=torch.long)
    return Tokens(ids, torch.ones_like(ids, dtype=torch.bool))


def _filled(template: str, messages: Sequence[tuple[str, str]]) -> str:
    if not template:
        raise DeixisError(
            "This language model has learned from no conversations: it has no chat template.",
            "Take one that follows instructions, such as smollm2.",
        )
    from jinja2 import TemplateError  # torch brings it; few need it
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refused(message: str) -> Any:
        raise TemplateError(message)

    rules = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    rules.globals["raise_exception"] = refused
    said = [{"role": role, "content": text} for role, text in messages]
    try:
        return rules.from_string(template).render(messages=said, add_generation_prompt=True)
    except TemplateError as error:
        raise DeixisError(
            f"The model's form of conversations can't be filled in: {error}.", "Give other messages, or none."
        ) from error
