"""The files that OpenAI published (`ViT-B-32.pt`, `RN50.pt`): one file, TorchScript or a state dict, and no config.

Sizes are read off the tensors, as the authors' code does; what tensors don't tell is as in all of OpenAI's models:
QuickGELU, attention heads of 64, the preprocessing, and the tokenizer.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from deixis.errors import DeixisError
from deixis.inputs.clip_bpe import ClipTokenizer
from deixis.inputs.preprocess import Preprocess
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.language.text_transformer import TextConfig
from deixis.nn.layers.transformer import Activation
from deixis.nn.vision.modified_resnet import ModifiedResNetConfig
from deixis.nn.vision.vit import VitConfig
from deixis.zoo.layouts.openclip import HINTS, build, parts
from deixis.zoo.layouts.openclip_config import MEAN, STD
from deixis.zoo.layouts.places import fill
from deixis.zoo.layouts.settings import require_vocabulary, scale_of
from deixis.zoo.layouts.weights import Weights, open_weights

__all__ = ["load"]

_HEAD = 64
_TOLD = ("input_resolution", "context_length", "vocab_size")


def load(path: Path, name: str, activation: Activation = "quick_gelu") -> DualEncoder:
    """Reads a file of OpenAI's, in eval mode.

    Args:
        path: the file.
        name: that the model gets.
        activation: OpenAI's is `quick_gelu`; no file of weights alone tells.

    Raises:
        DeixisError: the file is damaged, would run code, or holds another model; the message names it.
    """
    weights = open_weights(path)
    if weights.kind == "training":
        raise DeixisError(
            f"{path} was written by a training run, and doesn't say which activation, preprocessing and tokenizer "
            "belong to it.",
            "Put it into a folder of its own with the open_clip_config.json of its model, and load that folder.",
        )
    try:
        image, text = _image(weights, activation), _text(weights, activation)
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise DeixisError(
            f"{path} does not hold a CLIP as OpenAI stores it: there is no tensor {error}, or none of the right shape.",
            "If it is a checkpoint of open_clip or transformers, load its folder with the config in it.",
        ) from error
    towers = build(image, text, str(path))
    tokenizer = ClipTokenizer.cached()
    require_vocabulary(tokenizer, text.vocabulary, None, str(path))
    told = [key for key in _TOLD if key in weights.shapes]
    numbers = fill(weights, parts(*towers), ["logit_scale", *told], "attn_mask", HINTS)
    for key, value in zip(_TOLD, (image.image_size, text.length, text.vocabulary), strict=True):
        if key in numbers and numbers[key] != value:
            raise DeixisError(
                f"{path} tells {key}={numbers[key]:g}, and its tensors are made for {value}.",
                "It was put together from two models; take the original.",
            )
    return DualEncoder(
        *towers,
        tokenizer=tokenizer,
        preprocess=Preprocess(image.image_size, "crop", "bicubic", MEAN, STD),
        traits=Traits(name, text.length, scale_of(numbers["logit_scale"], str(path))),
    ).eval()


def _count(weights: Weights, pattern: str) -> int:
    """How many different numbers stand in the group of `pattern` among the names."""
    found = (re.match(pattern, name) for name in weights.shapes)
    return len({match.group(1) for match in found if match})


def _text(weights: Weights, activation: Activation) -> TextConfig:
    shapes = weights.shapes
    vocabulary, width = shapes["token_embedding.weight"]
    return TextConfig(
        vocabulary=vocabulary,
        length=shapes["positional_embedding"][0],
        width=width,
        depth=_count(weights, r"transformer\.resblocks\.(\d+)\."),
        heads=width // _HEAD,
        hidden=4 * width,
        out=shapes["text_projection"][1],
        activation=activation,
    )


def _image(weights: Weights, activation: Activation) -> VitConfig | ModifiedResNetConfig:
    shapes, out = weights.shapes, weights.shapes["text_projection"][1]
    if "visual.proj" not in shapes:
        cells, width = shapes["visual.attnpool.positional_embedding"][0] - 1, shapes["visual.layer1.0.conv1.weight"][0]
        first, *rest = (_count(weights, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
        blocks = (first, rest[0], rest[1], rest[2])
        return ModifiedResNetConfig(32 * math.isqrt(cells), blocks, width, width * 32 // _HEAD, out)
    width, _, patch, _ = shapes["visual.conv1.weight"]
    return VitConfig(
        image_size=patch * math.isqrt(shapes["visual.positional_embedding"][0] - 1),
        patch_size=patch,
        width=width,
        depth=_count(weights, r"visual\.transformer\.resblocks\.(\d+)\."),
        heads=width // _HEAD,
        hidden=4 * width,
        out=out,
        activation=activation,
    )
