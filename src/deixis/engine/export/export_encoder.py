"""What of a trained method other programs and verbs can use: its encoder, as a model of its own."""

from __future__ import annotations

import copy
import dataclasses

import torch

from deixis import zoo
from deixis.engine.training.batching import encoder_of
from deixis.engine.training.stages import card_of, offers
from deixis.nn.adaptation.lora import low_rank_changes
from deixis.nn.dual import DualEncoder, Similarity
from deixis.types.protocols import AnyMethod, HasScale, OffersAdapters, OffersEncodeImage, OffersTokens
from deixis.zoo import scratch

__all__ = ["trained_encoder"]


@torch.no_grad()
def trained_encoder(method: AnyMethod) -> DualEncoder | None:
    """A copy of the method's dual encoder with the weights it has now, low-rank changes added to what they change, the
    scale that the method trained and the adapters that it offers. None where there is no such part.

    Raises:
        DeixisError: the model that it was at the start can't be loaded by its name.
    """
    trained = encoder_of(method)
    if trained is None:
        return None
    new = scratch.is_new(trained)
    model = scratch.rebuilt(scratch.described(trained), trained.tokenizer) if new else zoo.load(trained.name)
    model.requires_grad_(False).eval()
    state = model.state_dict()
    for name, value in trained.state_dict().items():
        if name in state:
            state[name].copy_(value)
    for name, change in low_rank_changes(trained).items():
        state[name].add_(change.to(state[name].device))
    scale = float(method.scale) if isinstance(method, HasScale) else model.scale
    model.traits = dataclasses.replace(model.traits, scale=scale, similarity=_similarity(method, model))
    if not offers(method, OffersAdapters):
        return model
    pair = (None if each is None else copy.deepcopy(each).eval().requires_grad_(False) for each in method.adapters())
    return model.with_adapters(*pair)


def _similarity(method: AnyMethod, encoder: DualEncoder) -> Similarity:
    """What the method's loss has trained the encoder to be compared by; as it was, where the encoder is frozen."""
    trains = any(part.kind == "dual_encoder" and not part.frozen for part in card_of(method).parts)
    if not trains or offers(method, OffersEncodeImage) or offers(method, OffersAdapters):
        return encoder.traits.similarity
    return "tokens" if offers(method, OffersTokens) else "none"
