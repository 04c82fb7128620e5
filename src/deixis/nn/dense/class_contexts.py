"""The texts of classes with learned vectors before each name, embedded by a text tower that is not trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.adaptation.prompts import ClassTexts, EmbeddingTower, start_vectors
from deixis.nn.language.text_transformer import TextTransformer

__all__ = ["ClassContexts", "name_rows"]

_WHOLE = 10**7
"""Tokens, more than any name has: nothing is cut unseen."""


def name_rows(tokenizer: Tokenizer, names: Sequence[str], vectors: int, longest: int) -> tuple[list[list[int]], int]:
    """The tokens of each name with what stands around it, and how many stand before it.

    Args:
        tokenizer: of the tower.
        names: of the classes.
        vectors: that are put before each name.
        longest: tokens that a text may have.

    Raises:
        DeixisError: nothing of a name can be read, or its text is too long.
    """
    rows, start = [], 0
    with torch.device("cpu"):  # whatever the method around it is built on: these numbers are read
        for name in names:
            found = tokenizer.encode_spans(name, [(0, len(name))], _WHOLE)[0]
            if found is None:
                raise DeixisError(f"Nothing of the class name {name!r} can be read by the model.", "Name it in words.")
            ids, mask = tokenizer([name], _WHOLE)
            rows.append(ids[0, mask[0]].tolist())
            start = found[0]
            if len(rows[-1]) + vectors > longest:
                raise DeixisError(
                    f"The class name {name[:40]!r} makes a text of {len(rows[-1])} tokens, {vectors} vectors go with "
                    f"it, and the model reads {longest} in all.",
                    "Shorten the name, or learn fewer vectors.",
                )
    return rows, start


class ClassContexts(nn.Module):
    """`[start] v1 .. vM name [end]` of each class: M vectors that all classes share, and the embeddings of the texts.

    The longest name says how long texts are; positions behind it are cut off.

    Args:
        rows: the tokens of each name with what stands around it, as `name_rows` gives them.
        start: tokens before each name.
        vectors: the start of the learned vectors.

    Attributes:
        vectors: as they are now.
    """

    def __init__(self, rows: Sequence[Sequence[int]], start: int, vectors: Float[Tensor, "M F"]) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors)
        self.texts = ClassTexts.from_rows(rows, start, [1] * len(rows), len(vectors))

    @classmethod
    def of(
        cls,
        tower: EmbeddingTower,
        tokenizer: Tokenizer,
        names: Sequence[str],
        start: int | str,
        *,
        spread: float = 1.0,
        longest: int,
    ) -> ClassContexts:
        """New ones.

        Args:
            tower: of text.
            tokenizer: of the tower.
            names: of the classes.
            start: how many vectors, drawn at random; or words, whose embeddings they start from.
            spread: scale of a random start, a normal distribution cut off at two deviations.
            longest: tokens that a text may have.

        Raises:
            DeixisError: as `name_rows`.
        """
        if isinstance(start, str):
            vectors = start_vectors(tower, tokenizer, start)
        else:
            device = next(tower.parameters()).device  # type: ignore[attr-defined]
            width = tower.embeddings(torch.zeros(1, 1, dtype=torch.long, device=device)).shape[-1]
            vectors = nn.init.trunc_normal_(torch.empty(start, width)) * spread
        rows, before = name_rows(tokenizer, names, len(vectors), longest)
        return cls(rows, before, vectors)

    def forward(self, tower: EmbeddingTower, vectors: Float[Tensor, "G M F"] | None = None) -> Float[Tensor, "G C D"]:
        """Embeddings of all classes: of CLIP's towers as they come, of others scaled to length 1.

        Args:
            tower: of the tokenizer that made the texts.
            vectors: other ones than the learned, for each of G groups.
        """
        groups = self.vectors[None] if vectors is None else vectors
        texts = self.texts
        words = texts.assemble(tower, groups[:, None])
        mask = texts.mask[texts.back].expand(len(groups), -1, -1).flatten(0, 1)
        flat = words.flatten(0, 1)
        if isinstance(tower, TextTransformer) and tower.causal:
            found = tower.embed(flat, mask.sum(dim=1) - 1)
        else:
            found = tower.from_embeddings(flat, mask)
        return found.unflatten(0, (len(groups), -1))
