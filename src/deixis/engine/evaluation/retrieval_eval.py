"""How well a method finds pictures that it was not trained on, and in how many directions their features spread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deixis.engine.training.stages import offers
from deixis.nn.modes import evaluating
from deixis.ops.effective_rank import effective_rank
from deixis.ops.metrics import retrieval, retrieval_of_scores
from deixis.types import Batch, FieldSpec, Tokens, TokenStates
from deixis.types.batch import CORE_FIELDS
from deixis.types.protocols import AnyMethod, OffersClassify, OffersCompare, OffersTokens, OffersVectors, TorchModule

__all__ = ["can_classify", "can_retrieve", "eval_without_grad", "held_out", "measured_on"]


def can_retrieve(method: AnyMethod) -> bool:
    """Whether `held_out` can measure the method."""
    return offers(method, OffersVectors) or offers(method, OffersCompare)


def can_classify(method: AnyMethod) -> bool:
    """Whether `held_out` can measure the share of images that the method classifies correctly."""
    return offers(method, OffersClassify)


def measured_on(method: AnyMethod) -> tuple[FieldSpec, ...]:
    """The fields of the batches that `held_out` reads, whatever the method is trained on."""
    return (CORE_FIELDS["images"], CORE_FIELDS["tokens" if can_retrieve(method) else "labels"])


@contextlib.contextmanager
def eval_without_grad(method: TorchModule) -> Iterator[None]:
    """In eval mode, without gradients; modes and the global random numbers are afterwards what they were."""
    with evaluating(method), torch.no_grad(), torch.random.fork_rng(devices=[]):
        yield


def held_out(method: AnyMethod, batches: Iterable[Batch]) -> dict[str, float]:
    """Retrieval among all samples of `batches`, both ways, and the effective ranks of their features; of a method that
    classifies, the accuracy.

    Of images, no more than a batch is in memory: where the method scores pairs, they are read a second time once all
    captions are known.

    Args:
        method: for which `can_retrieve` or `can_classify` is true.
        batches: with the fields of `measured_on`; the same each time that they are iterated over.

    Returns:
        `r1`, `r10` and `mrr`, the means of both directions (0 to 1), and `image_rank` and `text_rank`, where the method
        gives features; or `accuracy`.

    Raises:
        TypeError: `batches` can be iterated over once, and the method scores pairs.
    """
    device = next(method.parameters()).device
    if offers(method, OffersCompare) and iter(batches) is batches:
        raise TypeError("batches is an iterator, and a method that scores pairs reads the images twice: give a list")
    with eval_without_grad(method):
        if not can_retrieve(method) and offers(method, OffersClassify):
            return {"accuracy": _accuracy(method, (batch.to(device) for batch in batches))}
        encoded = [_Encoded(method, batch.to(device)) for batch in batches]
        keys = torch.unique(_joined([each.tokens for each in encoded]), dim=0, return_inverse=True)[1]
        if offers(method, OffersCompare):
            captions = [each.tokens for each in encoded]
            scores = [_scores(method, batch.to(device), captions) for batch in batches]
            values = retrieval_of_scores(torch.cat(scores), keys)
        else:
            image, text = (torch.cat([getattr(each, side) for each in encoded]).float() for side in ("image", "text"))
            values = retrieval(image, text, keys)
        found = {name: float(values[f"mean_{name}"].mean()) for name in ("r1", "r10", "mrr")}
        for side in ("image", "text"):
            features = [getattr(each, side) for each in encoded if getattr(each, side) is not None]
            if features:
                found[f"{side}_rank"] = effective_rank(torch.cat(features))
    return found


def _accuracy(method: OffersClassify, batches: Iterable[Batch]) -> float:
    hits = []
    for batch in batches:
        assert batch.images is not None
        assert batch.labels is not None
        if len(batch):
            hits.append(torch.eq(method.classify(batch.images).argmax(dim=1), batch.labels).double())
    return float(torch.cat(hits).mean())


class _Encoded:
    """The captions of a batch, and the features of both sides, one vector a sample, where the method gives any."""

    def __init__(self, method: AnyMethod, batch: Batch) -> None:
        assert batch.images is not None
        self.tokens = batch.caption()
        self.image = self.text = None
        if offers(method, OffersVectors):
            self.image, self.text = method.encode_image(batch.images), method.encode_text(*self.tokens)
        elif offers(method, OffersTokens):
            self.image, self.text = (
                _mean(states) for states in (method.image_tokens(batch.images), method.text_tokens(*self.tokens))
            )


def _mean(states: TokenStates) -> Float[Tensor, "B D"]:
    """The mean of the real tokens, of length 1 each."""
    real = states.mask[..., None]
    return (torch.nn.functional.normalize(states.states, dim=-1) * real).sum(1) / real.sum(1).clamp(min=1)


def _joined(tokens: list[Tokens]) -> Int64[Tensor, "N L"]:
    """Padded with -1, which is no token."""
    longest = max(each.ids.shape[1] for each in tokens)
    rows = [each.ids.masked_fill(~each.mask, -1) for each in tokens]
    return torch.cat([torch.nn.functional.pad(each, (0, longest - each.shape[1]), value=-1) for each in rows])


def _scores(method: OffersCompare, batch: Batch, captions: list[Tokens]) -> Float[Tensor, "B N"]:
    """Of the images of a batch with all captions."""
    assert batch.images is not None
    return torch.cat([method.compare(batch.images, *some) for some in captions], dim=1)
