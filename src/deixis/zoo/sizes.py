"""A CLIP for pictures of another size, or texts of another length: its positions are interpolated, all else stays."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.nn.layers.positions import resize_grid, resize_length
from deixis.nn.vision.modified_resnet import ModifiedResNet, ModifiedResNetConfig
from deixis.nn.vision.vit import Vit, VitConfig

__all__ = ["resize", "resized"]

_KINDS: dict[type[nn.Module], tuple[Any, str]] = {
    Vit: (VitConfig, "image_size"),
    ModifiedResNet: (ModifiedResNetConfig, "image_size"),
    TextTransformer: (TextConfig, "length"),
}


def resize(encoder: DualEncoder, image_size: int | None = None, context_length: int | None = None) -> DualEncoder:
    """The model for squares of `image_size` pixels and texts of `context_length` tokens; None leaves a side as it is.

    Positions are interpolated as open_clip does it: bicubic over the grid, linear over a text. Its name tells what was
    done, since it is another model: expect it to be worse until it is tuned.

    Args:
        encoder: with one of CLIP's towers on each side that is changed; it is not touched.
        image_size: side of the pictures.
        context_length: tokens of a text.

    Raises:
        DeixisError: a tower has no positions that could be interpolated, or the size is none it can have.
    """
    image, text, traits, preprocess = encoder.image_tower, encoder.text_tower, encoder.traits, encoder.preprocess
    done = []
    if image_size is not None and image_size != preprocess.size:
        image = resized(image, image_size)
        done.append(f"{image_size} pixels instead of {preprocess.size}")
        preprocess = dataclasses.replace(preprocess, size=image_size)
    if context_length is not None and context_length != traits.context_length:
        text = resized(text, context_length)
        done.append(f"{context_length} tokens instead of {traits.context_length}")
        traits = dataclasses.replace(traits, context_length=context_length)
    if not done:
        return encoder
    traits = dataclasses.replace(traits, name=f"{traits.name} ({', '.join(done)})")
    new = DualEncoder(image, text, tokenizer=encoder.tokenizer, preprocess=preprocess, traits=traits)
    return new.with_adapters(encoder.image_adapter, encoder.text_adapter).train(encoder.training)


def resized(tower: nn.Module, size: int, *, antialias: bool = True) -> nn.Module:
    """A tower for images of another side, or texts of another length; its mode stays.

    Args:
        tower: one of CLIP's.
        size: side or length.
        antialias: whether the interpolation of a grid is antialiased, as open_clip's.

    Raises:
        DeixisError: as `resize`.
    """
    if type(tower) not in _KINDS:
        raise DeixisError(f"{type(tower).__name__} has no positions to interpolate.", "Load it at its own size.")
    kind, field = _KINDS[type(tower)]
    told: dict[str, Any] = dict(cast(Any, tower).config)
    del told["kind"]
    config = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    try:
        new = type(tower)(kind(**config | {field: size}))
    except ValueError as error:
        raise DeixisError(f"{type(tower).__name__} can't have {field} {size}: {error}.", "Choose another.") from error
    state = {
        key: _positions(value, new, dict(new.named_parameters())[key], antialias)
        if key.endswith("positions")
        else value
        for key, value in tower.state_dict().items()
    }
    new.load_state_dict(state, strict=True)
    return new.train(tower.training)


def _positions(old: Tensor, tower: nn.Module, wanted: Tensor, antialias: bool) -> Tensor:
    if isinstance(tower, TextTransformer):
        return resize_length(old, len(wanted))
    side = int((len(wanted)) ** 0.5)
    before = len(wanted) - side * side
    return resize_grid(old, (side, side), before=before, antialias=antialias)
