"""A language model that says what is in images: a tower, a projector, and a language model that reads what it gives.

    image -> tower -> states -> projector -> vectors | question | target, end

The loss is that of the target and its end alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.adaptation.low_rank_linear import add_low_rank_linears
from deixis.nn.frozen import freeze
from deixis.nn.language.generation import GeneratedText, Strategy, choose, generate
from deixis.nn.language.sequences import continuation_loss, prompt, words_of
from deixis.nn.vision_language.projector import Projector
from deixis.types.outputs import Tokens, TokenStates
from deixis.types.protocols import ImageEncoder, LanguageModel

__all__ = ["Speaker", "Trains", "pooled_grid", "prepare_lm"]

Trains: TypeAlias = Literal["projector", "lora", "all"]
"""The projector alone; also low-rank changes of the language model's linear maps; or all of the language model."""


class Speaker(nn.Module):
    """Says what is in images, and answers questions about them.

    Args:
        tower: that looks at images; None where `say` and `token_loss` are given vectors made elsewhere.
        projector: from its states to the language model.
        lm: that speaks.
        grid: rows and columns that the tower's patches are averaged to; 0: as they are.
        embedding: whether the image is read as one vector, the tower's pooled features, and not patch by patch.
    """

    def __init__(
        self,
        tower: ImageEncoder | None,
        projector: Projector,
        lm: LanguageModel,
        *,
        grid: int = 0,
        embedding: bool = False,
    ) -> None:
        super().__init__()
        self.tower, self.projector, self.lm = tower, projector, lm
        self._grid, self._embedding = grid, embedding

    def image_states(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N D"]:
        """What the tower says of images, as the projector takes it."""
        tower = cast(ImageEncoder, self.tower)
        if self._embedding:
            return tower(images)[:, None]
        tokens = tower.tokens(images)
        return pooled_grid(tokens, self._grid) if self._grid else tokens.states

    def prefix(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K F"]:
        """Images as vectors that the language model reads like words."""
        return self.projector(self.image_states(images))

    def token_loss(
        self, prefix: Float[Tensor, "B K F"], target: Tokens, question: Tokens | None = None
    ) -> Float[Tensor, "B L"]:
        """-log p of each token of a target; 0 at padding.

        Args:
            prefix: vectors that stand before.
            target: words and the end of a text, see `deixis.nn.language.sequences.ended`.
            question: words between, see `words_of` there.
        """
        return continuation_loss(self.lm, prefix, target, question)

    def say(
        self,
        prefix: Float[Tensor, "B K F"],
        length: int,
        question: Tokens | None = None,
        strategy: Strategy | None = None,
    ) -> list[GeneratedText]:
        """A text for each row.

        Args:
            prefix: vectors that stand before.
            length: tokens at the most.
            question: words between.
            strategy: greedy by default.
        """
        return generate(self.lm, *prompt(self.lm, prefix, question), length, strategy)

    def score(
        self, prefix: Float[Tensor, "B K F"], answers: Sequence[Sequence[int]], question: Tokens | None = None
    ) -> Float[Tensor, "B A"]:
        """Logarithm of the probability of each of a closed list of answers.

        Args:
            prefix: vectors that stand before.
            answers: token numbers of each, without the one that ends a text.
            question: words between.
        """
        return choose(self.lm, *prompt(self.lm, prefix, question), answers)

    def score_texts(
        self, prefix: Float[Tensor, "B K F"], answers: Sequence[str], question: Tokens | None = None
    ) -> Float[Tensor, "B A"]:
        """As `score`, of answers in words.

        Args:
            prefix: vectors that stand before.
            answers: texts, cut to the length that the language model reads.
            question: words between.
        """
        ids, real = words_of(self.lm, *self.lm.tokenizer(list(answers), self.lm.context_length))
        return self.score(prefix, [row[kept].tolist() for row, kept in zip(ids, real, strict=True)], question)


def pooled_grid(tokens: TokenStates, side: int) -> Float[Tensor, "B N D"]:
    """Patches averaged to a square of cells, row by row; a grid that is smaller is left as it is.

    Args:
        tokens: on a grid.
        side: rows and columns of the cells.

    Raises:
        ValueError: they are on no grid.
    """
    if tokens.grid is None:
        raise ValueError("the tokens are on no grid")
    if max(tokens.grid) <= side:
        return tokens.states
    cells = tokens.states.transpose(1, 2).unflatten(2, tokens.grid)
    return F.adaptive_avg_pool2d(cells, side).flatten(2).transpose(1, 2)


def prepare_lm(lm: LanguageModel, trains: Trains, rank: int = 8) -> None:
    """Freezes of a language model what does not train, in place: a run then stores the rest alone.

    Args:
        lm: a module.
        trains: what does.
        rank: of low-rank changes.
    """
    module = cast(nn.Module, lm)
    if trains == "projector":
        freeze(module)
    elif trains == "lora":
        blocks = module.get_submodule("blocks")
        add_low_rank_linears(blocks, rank)
        for child in module.children():
            if child is not blocks:
                freeze(child)
