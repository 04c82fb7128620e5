"""Two encoders that need not know each other, as a dual encoder whose projections are still to be trained."""

from __future__ import annotations

from typing import Any

import torch

from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.joined import ProjectedImage, ProjectedText
from deixis.zoo.parts import load_part

__all__ = ["joined"]

_SCALE = 20.0


def joined(image_tower: Any, text_encoder: Any, width: int = 256, *, seed: int = 0, name: str = "") -> DualEncoder:
    """A dual encoder out of any two parts, each with a projection into the shared space, in eval mode.

    The embedding of a side is the direction of the mean of its projected states, see `deixis.nn.joined`. The
    projections are random, so train them: `engine.build("clip", parts={"encoder": joined("timm:resnet18", "minilm")})`.

    Args:
        image_tower: a name that `load_part("image_tower", ...)` loads, or such a part (shared, not copied).
        text_encoder: a name that `load_part("text_encoder", ...)` loads, or such a part (shared, not copied).
        width: of the shared space.
        seed: of the projections, and of parts that are new; the global generator of random numbers is left as it was.
        name: of the model; by default those of the parts.

    Raises:
        DeixisError: the width is none, or a part can't be had.
    """
    if width < 1:
        raise DeixisError(f"A shared space of width {width} was requested.", "Give 1 or more.")
    image = load_part("image_tower", image_tower, seed=seed)
    text = load_part("text_encoder", text_encoder, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        towers = ProjectedImage(image, width), ProjectedText(text, width)
    names = [str(getattr(part, "name", type(part).__name__)) for part in (image, text)]
    licences = dict.fromkeys(each for part in (image, text) if (each := getattr(part, "licence", "")))
    traits = Traits(name or " + ".join(names), text.context_length, _SCALE, licence="; ".join(licences))
    encoder = DualEncoder(*towers, tokenizer=text.tokenizer, preprocess=image.preprocess, traits=traits)
    return encoder.eval()
