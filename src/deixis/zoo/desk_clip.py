"""desk-clip: the starter's towers, trained jointly on drawings; for prompts and whatever else needs texts and images
that met in training.

EfficientNet-Lite0 and MiniLM-L6 with a projection each (`zoo.joined`), trained by the method `clip` as
`bench/desk_clip.py` says. The package holds what training changed, in 16 bits; the rest is the starter, as
`deixis data get desk-clip` brings it. What it was trained on, and what it never saw: docs/desk_clip.md.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from torch import Tensor

from deixis import zoo
from deixis.errors import DeixisError
from deixis.files import content_hash
from deixis.nn.dual import DualEncoder
from deixis.nn.encoders import ImageHalf, TextHalf
from deixis.zoo import starter

__all__ = ["LICENCE", "SHA256", "WEIGHTS", "WIDTH", "add_changes", "load", "read_changes", "trained_on", "untrained"]

WEIGHTS = Path(__file__).with_name("desk_clip.safetensors")
SHA256 = "8beecc63346f66353a956fe87ea955e1eab7a38f143efda08959db37a3b7f760"
"""Of the file of changes, in hexadecimal."""

WIDTH = 256
LICENCE = (
    "Apache-2.0 (EfficientNet-Lite0, all-MiniLM-L6-v2); trained on drawings under CC-BY-4.0 (Twemoji, EmojiOne 2.3), "
    "Apache-2.0 (Noto Emoji), MIT (Fluent Emoji) and in the public domain (Open Clip Art Library)"
)
_SCALE, _IMAGES = "scale", "trained_on"


def load() -> DualEncoder:
    """The model, in eval mode.

    Raises:
        DeixisError: the starter, which it changes, is not in the cache, or the file of changes is not the one shipped.
    """
    encoder = untrained()
    add_changes(encoder, read_changes(WEIGHTS, SHA256))
    return encoder


def untrained() -> DualEncoder:
    """The model before its training: the starter's towers, and projections that are zero.

    Raises:
        DeixisError: the starter is not in the cache.
    """
    try:
        image, text = ImageHalf.of(starter.load()), TextHalf(starter.load_minilm())
    except DeixisError as error:
        cure = error.cure.replace("deixis data get starter", "deixis data get desk-clip")
        raise DeixisError(f"desk-clip is made of the starter. {error.found}", cure) from error
    encoder = zoo.joined(image, text, WIDTH, name="desk-clip")
    encoder.traits = dataclasses.replace(encoder.traits, licence=LICENCE)
    for side in (encoder.image_tower, encoder.text_tower):
        torch.nn.init.zeros_(side.project.weight)  # type: ignore[union-attr, arg-type]
    return encoder


def read_changes(path: Path, sha256: str = "") -> dict[str, Tensor]:
    """The tensors of a file of changes: by the name in the model what is added to each, `scale`, and `trained_on`.

    Args:
        path: of the file.
        sha256: that it must have; empty: any.

    Raises:
        DeixisError: the file is missing, damaged, or another.
    """
    cure = "Install deixis again, or build it: make desk-clip"
    if not path.is_file():
        raise DeixisError(f"{path}, which holds what the training of desk-clip changed, is missing.", cure)
    if sha256 and (found := content_hash(path)) != sha256:
        raise DeixisError(f"{path} has the SHA-256 {found}, and {sha256} was expected: it is refused.", cure)
    try:
        return read_tensors(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise DeixisError(f"{path} can't be read: {error}.", cure) from error


@torch.no_grad()
def add_changes(encoder: DualEncoder, changes: dict[str, Tensor]) -> None:
    """Adds what training changed to a model that is `untrained`.

    Raises:
        DeixisError: a tensor has no place in the model.
    """
    state: dict[str, Any] = encoder.state_dict()
    for name, change in changes.items():
        if name in (_SCALE, _IMAGES):
            continue
        if name not in state or state[name].shape != change.shape:
            raise DeixisError(f"desk-clip has no place for the tensor {name!r}.", "Build it again: make desk-clip")
        state[name].add_(change.to(state[name].dtype))
    encoder.traits = dataclasses.replace(encoder.traits, scale=float(changes[_SCALE]))


def trained_on() -> frozenset[str]:
    """The hashes of the contents of the images that it was trained on.

    Raises:
        DeixisError: as `load`, of the file of changes.
    """
    rows = read_changes(WEIGHTS, SHA256)[_IMAGES]
    return frozenset(bytes(row.tolist()).hex() for row in rows)
