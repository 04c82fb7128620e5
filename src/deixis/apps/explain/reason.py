"""The reason of a score in a sentence: the words that hold most of it, and the place of the map."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.apps.explain.overlays import Share
from deixis.apps.explain.settings import SAYS, ReasonForm
from deixis.engine.training.build import build
from deixis.types.protocols import OffersVerbalise

__all__ = ["ReasonWriter", "reason", "strongest_place"]

_PLACES = (("upper left", "top", "upper right"), ("left", "middle", "right"), ("lower left", "bottom", "lower right"))


class ReasonWriter:
    """A language model that says reasons, and how many of them held.

    Args:
        writer: that answers a conversation, such as a `ChatWriter`.
    """

    def __init__(self, writer: Callable[[Sequence[tuple[str, str]]], str]) -> None:
        self._writer, self._last = writer, ""
        self.asked = self.held = 0

    def __call__(self, messages: Sequence[tuple[str, str]]) -> str:
        """Its answer to a conversation."""
        self.asked += 1
        self._last = self._writer(messages)
        return self._last

    def count(self, said: str) -> None:
        """Notes what was said in the end: its last answer, or another sentence."""
        self.held += bool(said) and said.split() == self._last.split()
        self._last = ""

    @property
    def sentence(self) -> str:
        """How many of its answers held; empty where it was not asked."""
        if not self.asked:
            return ""
        rest = self.asked - self.held
        other = "" if not rest else "; the other is the template's" if rest == 1 else "; the others are the template's"
        return f"{self.held} of {self.asked} sentences of the language model quote words and numbers rightly{other}."


def reason(
    words: Sequence[Share],
    values: Float[Tensor, "H W"] | None,
    writer: ReasonWriter | None = None,
    form: ReasonForm = "sentence",
) -> str:
    """What holds most of a score.

    Args:
        words: of the text, with their shares; of a single one nothing is said.
        values: the map; None: nothing is said of the picture.
        writer: a language model whose words are taken where they hold.
        form: of the sentence without one: with the score and shares, or as published.

    Returns:
        Such as `The word » bicycle « is most important for the score (39 %). In the picture: lower left, 41 %.`
    """
    said = []
    if len(words) > 1:
        shares = torch.tensor([float(each.share) for each in words])
        method = build(SAYS, "desk", {"form": form})
        assert isinstance(method, OffersVerbalise)
        said.append(method.verbalise([each.word for each in words], shares, writer))
        if writer is not None:
            writer.count(said[-1])
    place, held = strongest_place(values) if values is not None else ("", 0.0)
    said.append(f"In the picture: {place}, {100 * held:.0f} %." if place else "")
    return " ".join(filter(None, said))


def strongest_place(values: Float[Tensor, "H W"]) -> tuple[str, float]:
    """The ninth of an image in which a map is highest, by name, and the part of the map's positive sum that lies in it.

    Ours, an extension of Saliency Map Verbalization to images.

    Args:
        values: the map; 0 or less counts for nothing.

    Returns:
        Such as `lower left` and 0.41; a map without positive values has no place: an empty name and 0.
    """
    positive = values.clamp(min=0)
    if not positive.sum() > 0:
        return "", 0.0
    shares = torch.stack(
        [torch.stack([part.sum() for part in row.tensor_split(3, 1)]) for row in positive.tensor_split(3, 0)]
    )
    row, column = divmod(int(shares.argmax()), 3)
    return _PLACES[row][column], float(shares.max() / shares.sum())
