"""The score that is explained: recorded with what it was computed from; of classes; and its side of words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deixis.apps.explain.overlays import Share
from deixis.apps.explain.settings import WordScores
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.relevance import text_relevance
from deixis.nn.relevance.word_scores import gradient_times_input, integrated_gradients
from deixis.types.protocols import HasWords

__all__ = ["ClassScore", "RecordedScore", "Target", "Words", "logit", "of_each", "require_words", "words_of"]

Target = int | Sequence[Any] | Tensor | Callable[[Any], Tensor]
"""A class of all images, one of each [B], T of each [B, T]; or a function of the model's output."""

Words = tuple[tuple[tuple[Share, ...], ...], ...]
"""Of each image, of each text."""

_SCORES = {
    "auto": text_relevance,
    "relevance": text_relevance,
    "gradient_x_input": gradient_times_input,
    "integrated_gradients": integrated_gradients,
}


class RecordedScore:
    """A score that keeps, of its first call, what it was given and what it gave.

    Args:
        score: the model's output -> [B], or [B, T].
    """

    def __init__(self, score: Callable[[Any], Tensor]) -> None:
        self._score = score
        self.output: Any = None
        self.values = torch.empty(0)

    def __call__(self, output: Any) -> Float[Tensor, "*B"]:
        """The score."""
        found = self._score(output)
        if not isinstance(found, Tensor):
            raise DeixisError(f"The score is a {type(found).__name__}.", "It must be a tensor, [B] or [B, T].")
        if self.output is None:
            self.output, self.values = output, found.detach()
        return found

    def __getattr__(self, name: str) -> Any:
        """The score's `loss`, where it has one."""
        if name == "loss":
            return getattr(self._score, name)
        raise AttributeError(name)

    @property
    def targets(self) -> tuple[tuple[str, ...], ...]:
        """The targets of each image, in words."""
        rows = (self.values[:, None] if self.values.ndim == 1 else self.values).shape
        if not isinstance(self._score, ClassScore) or self._score.chosen is None:
            return (tuple(f"score {each}" if rows[1] > 1 else "score" for each in range(rows[1])),) * rows[0]
        return tuple(tuple(f"class {each}" for each in row) for row in self._score.chosen.reshape(rows).tolist())


def logit(targets: int | Int64[Tensor, " B"] | Int64[Tensor, "B T"]) -> Callable[[Tensor], Tensor]:
    """The score of a class, before the softmax.

    Args:
        targets: the class of all images, of each, or T classes of each.
    """

    def score(output: Tensor) -> Tensor:
        if isinstance(targets, int):
            return output[:, targets]
        wanted = targets.to(output.device)
        return output.gather(1, wanted[:, None])[:, 0] if wanted.dim() == 1 else output.gather(1, wanted)

    return score


class ClassScore:
    """Classes' scores before the softmax.

    Args:
        wanted: of each image one class or T; None: the likeliest of each, as the first call finds it.
    """

    def __init__(self, wanted: Int64[Tensor, " B"] | Int64[Tensor, "B T"] | None) -> None:
        self.chosen = wanted

    def __call__(self, output: Any) -> Float[Tensor, "*B"]:
        """The scores of the classes."""
        logits = getattr(output, "logits", output)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            what = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise DeixisError(
                f"The model gives {what}, and no scores of classes [B, C].",
                "Give as target= a function of the model's output that returns one number per image.",
            )
        if self.chosen is None:
            self.chosen = logits.detach().argmax(1)
        self._require(self.chosen, logits)
        return logit(self.chosen)(logits)

    def loss(self, output: Any) -> Float[Tensor, "*B"]:
        """The cross-entropies of the classes among all."""
        wanted = self(output)
        return getattr(output, "logits", output).logsumexp(1).reshape(-1, *[1] * (wanted.ndim - 1)) - wanted

    @staticmethod
    def _require(chosen: Int64[Tensor, "*B"], logits: Float[Tensor, "B C"]) -> None:
        if chosen.numel() and not 0 <= int(chosen.min()) <= int(chosen.max()) < logits.shape[1]:
            wrong = chosen.min() if chosen.min() < 0 else chosen.max()
            raise DeixisError(f"There is no class {int(wrong)}.", f"The model has {logits.shape[1]}, from 0 on.")


def of_each(target: Target | None, count: int) -> Int64[Tensor, " B"] | Int64[Tensor, "B T"] | None:
    """The target classes of each of `count` images.

    Raises:
        DeixisError: they are not one or T an image.
    """
    if target is None or callable(target):
        return None
    try:
        wanted = torch.as_tensor(target)
    except (TypeError, ValueError, RuntimeError):
        wanted = torch.empty(0)
    wanted = wanted.expand(count) if wanted.ndim == 0 else wanted
    if wanted.is_floating_point() or wanted.ndim > 2 or len(wanted) != count or not wanted.numel():
        raise DeixisError(
            f"The target {str(target)[:60]} does not name classes of {count} image{'s' * (count != 1)}.",
            "Give one number, one per image, or a tensor [B, T] for T per image.",
        )
    return wanted.long()


def require_words(encoder: DualEncoder, texts: Sequence[str]) -> None:
    """Makes sure that there are texts, and that each holds something that the encoder reads.

    Raises:
        DeixisError: there is no text, or an empty one.
    """
    if not texts:
        raise DeixisError("No texts were given to explain.", "Give a list with at least one text.")
    *rows, nothing = encoder.tokenize([*texts, ""]).ids
    for text, row in zip(texts, rows, strict=True):
        if not text.strip() or torch.equal(row, nothing):
            raise DeixisError(f"The text {text[:40]!r} holds nothing that the model reads.", "Write it in words.")


def words_of(
    encoder: DualEncoder, texts: Sequence[str], images: Float[Tensor, "B D"], method: object, by: WordScores = "auto"
) -> Words:
    """What part each word of each text has in its similarity to each image, through the text tower.

    Args:
        encoder: both towers.
        texts: T of them.
        images: their embeddings.
        method: that explains.
        by: what scores words; `auto`: the method, or where it says nothing of words, relevance.
    """
    repeated, partners = list(texts) * len(images), images.detach().repeat_interleave(len(texts), 0)
    found = []
    if by != "auto" or not isinstance(method, HasWords):
        found = _SCORES[by](encoder, repeated, partners)
    else:
        carried = method.words(repeated, partners)
        for text, row in zip(repeated, carried.tolist(), strict=True):
            places = encoder.tokenizer.words(text, encoder.context_length)
            found.append([(start, stop, sum(row[first:last])) for start, stop, first, last in places])
    shares = [_shares(text, words) for text, words in zip(repeated, found, strict=True)]
    return tuple(tuple(shares[i : i + len(texts)]) for i in range(0, len(shares), len(texts)))


def _shares(text: str, words: Sequence[tuple[int, int, float]]) -> tuple[Share, ...]:
    total = sum(abs(value) for *_, value in words) or 1.0
    return tuple(Share(text[start:stop], value / total) for start, stop, value in words)
