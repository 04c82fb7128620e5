"""What of a trained method other programs and verbs can use: its encoder, as a model of its own."""

from __future__ import annotations

import copy
import dataclasses

import torch

from deixis import zoo
from deixis.engine.training.batching import encoder_of
from deixis.engine.training.stages import Method, card_of
from deixis.nn.dual import DualEncoder, Similarity
from deixis.nn.lora import low_rank_changes
from deixis.zoo import scratch

__all__ = ["trained_encoder"]


@torch.no_grad()
def trained_encoder(method: Method) -> DualEncoder | None:
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
    scale = float(getattr(method, "scale", model.scale))
    model.traits = dataclasses.replace(model.traits, scale=scale, similarity=_similarity(method, model))
    if "adapters" not in card_of(method).capabilities:
        return model
    pair = (None if each is None else copy.deepcopy(each).eval().requires_grad_(False) for each in method.adapters())
    return model.with_adapters(*pair)


def _similarity(method: Method, encoder: DualEncoder) -> Similarity:
    """What the method's loss has trained the encoder to be compared by; as it was, where the encoder is frozen."""
    card = card_of(method)
    trained = any(part.kind == "dual_encoder" and not part.frozen for part in card.parts)
    if not trained or {"encode_image", "adapters"} & set(card.capabilities):
        return encoder.traits.similarity
    return "tokens" if {"image_tokens", "text_tokens"} <= set(card.capabilities) else "none"
