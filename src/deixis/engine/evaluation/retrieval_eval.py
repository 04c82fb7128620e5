"""How well a method finds pictures that it was not trained on, and in how many directions their features spread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from deixis.engine.training.stages import Method, card_of
from deixis.nn.modes import evaluating
from deixis.ops.effective_rank import effective_rank
from deixis.ops.metrics import ranks, recall_at, reciprocal_rank, retrieval
from deixis.types import Batch, Tokens, TokenStates
from deixis.types.batch import CORE_FIELDS

__all__ = ["RETRIEVED", "at_rest", "can_retrieve", "held_out"]

RETRIEVED = (CORE_FIELDS["images"], CORE_FIELDS["tokens"])
"""What `held_out` reads of a batch, whatever a method is trained on."""


def can_retrieve(method: Method) -> bool:
    """Whether `held_out` can measure the method."""
    offered = set(card_of(method).capabilities)
    return {"encode_image", "encode_text"} <= offered or "compare" in offered


@contextlib.contextmanager
def at_rest(method: nn.Module) -> Iterator[None]:
    """In eval mode, without gradients; modes and the global random numbers are afterwards what they were."""
    with evaluating(method), torch.no_grad(), torch.random.fork_rng(devices=[]):
        yield


def held_out(method: Method, batches: Iterable[Batch]) -> dict[str, float]:
    """Retrieval among all samples of `batches`, both ways, and the effective ranks of their features.

    Args:
        method: for which `can_retrieve` is true.
        batches: with images, and the first caption in tokens.

    Returns:
        `r1`, `r10` and `mrr`, the means of both directions (0 to 1), and `image_rank` and `text_rank`, where the method
        gives features.
    """
    device = next(method.parameters()).device
    with at_rest(method):
        seen = [_Seen(method, batch.to(device)) for batch in batches]
        keys = _keys([each.tokens for each in seen])
        found = _compared(method, seen, keys) if "compare" in card_of(method).capabilities else _embedded(seen, keys)
        for side in ("image", "text"):
            features = [getattr(each, side) for each in seen if getattr(each, side) is not None]
            if features:
                found[f"{side}_rank"] = effective_rank(torch.cat(features))
    return found


class _Seen:
    """A batch and the features of both sides, one vector a sample, where the method gives any."""

    def __init__(self, method: Method, batch: Batch) -> None:
        assert batch.images is not None
        self.images, self.tokens = batch.images, batch.caption()
        offered = card_of(method).capabilities
        self.image = self.text = None
        if "encode_image" in offered:
            self.image, self.text = method.encode_image(self.images), method.encode_text(*self.tokens)
        elif "image_tokens" in offered:
            self.image, self.text = (
                _mean(states) for states in (method.image_tokens(self.images), method.text_tokens(*self.tokens))
            )


def _mean(states: TokenStates) -> Float[Tensor, "B D"]:
    """The mean of the real tokens, of length 1 each."""
    real = states.mask[..., None]
    return (torch.nn.functional.normalize(states.states, dim=-1) * real).sum(1) / real.sum(1).clamp(min=1)


def _keys(tokens: list[Tokens]) -> Int64[Tensor, " N"]:
    """Equal for equal captions."""
    return torch.unique(_joined(tokens), dim=0, return_inverse=True)[1]


def _joined(tokens: list[Tokens]) -> Int64[Tensor, "N L"]:
    """Padded with -1, which is no token."""
    longest = max(each.ids.shape[1] for each in tokens)
    rows = [each.ids.masked_fill(~each.mask, -1) for each in tokens]
    return torch.cat([torch.nn.functional.pad(each, (0, longest - each.shape[1]), value=-1) for each in rows])


def _embedded(seen: list[_Seen], keys: Int64[Tensor, " N"]) -> dict[str, float]:
    image, text = (torch.cat([getattr(each, side) for each in seen]).float() for side in ("image", "text"))
    values = retrieval(image, text, keys)
    return {name: float(values[f"mean_{name}"].mean()) for name in ("r1", "r10", "mrr")}


def _compared(method: Method, seen: list[_Seen], keys: Int64[Tensor, " N"]) -> dict[str, float]:
    """As `_embedded`, of a method that scores pairs."""
    captions = [each.tokens for each in seen]
    scores = torch.cat([torch.cat([method.compare(each.images, *some) for some in captions], 1) for each in seen])
    # Scores are dot products with the unit vectors, and so the same ranks serve.
    unit = torch.eye(len(keys), device=scores.device, dtype=torch.float64)
    both = torch.cat([ranks(table.double(), unit, keys, keys) for table in (scores, scores.T)])
    values = {"r1": recall_at(both, 1), "r10": recall_at(both, 10), "mrr": reciprocal_rank(both)}
    return {name: float(value.mean()) for name, value in values.items()}
