"""States of tokens without their context: what a text encoder's first layer is given, word by word."""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool, Int64
from torch import Tensor, nn

from deixis.types.outputs import TokenStates
from deixis.types.protocols import TextEncoder

__all__ = ["WordsAlone"]


class WordsAlone(nn.Module):
    """The embeddings of a text encoder in place of its states; each token has the same wherever it stands.

    Args:
        text: whose embeddings are read; shared, not copied.
    """

    def __init__(self, text: TextEncoder) -> None:
        super().__init__()
        self.text = text
        self.tokenizer, self.context_length = text.tokenizer, text.context_length

    @property
    def config(self) -> dict[str, Any]:
        """What weights and tokenizer do not tell, as plain values."""
        return {"kind": "WordsAlone", "text": getattr(self.text, "config", {})}

    def tokens(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> TokenStates:
        """One embedding a token; `mask` is true where one is real."""
        return TokenStates(self.text.embeddings(tokens), mask)
