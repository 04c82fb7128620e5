"""The words of a text as a network's first layer has them, and how its fit to an image changes with each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from deixis.nn.blocks import blocks
from deixis.nn.dual import DualEncoder
from deixis.nn.taps import taps
from deixis.ops.precision import to_float32

__all__ = ["TextGradients", "text_gradients"]


class TextGradients(NamedTuple):
    """The tokens of texts where the state of each is still its own, and the gradient of a score there.

    Attributes:
        states: embeddings of the tokens.
        gradients: of the similarity of each text to its image.
        mask: true where a token is real.
    """

    states: Float[Tensor, "T L D"]
    gradients: Float[Tensor, "T L D"]
    mask: Bool[Tensor, "T L"]


def text_gradients(encoder: DualEncoder, texts: Sequence[str], images: Float[Tensor, "T D"]) -> TextGradients:
    """Gradients at the table of embeddings of the text tower; mode and weights are as before afterwards.

    Args:
        encoder: both towers.
        texts: T of them.
        images: embedding of length 1 of the image that belongs to each.

    Raises:
        DeixisError: the tower can't be tapped.
    """
    tower, tokens = encoder.text_tower, encoder.tokenize(texts)
    tables = [name for name, module in tower.named_modules() if isinstance(module, nn.Embedding)]
    layer = tables[0] if tables else f"{blocks(tower)[0]}:in"
    with taps(tower, (layer,)) as tapped:
        scores = (encoder.encode_text(tokens) * images.clone().to(encoder.device)).sum(1)
        gradients = tapped.gradients(scores)[layer]
        states = to_float32(tapped.activation(layer).detach())
    with torch.no_grad():
        mask = encoder.text_tokens(tokens).mask
    return TextGradients(states, gradients, mask)
