"""Pictures that are in memory as numbers: arrays [H, W, 3] and tensors [3, H, W], of bytes or of floats from 0 to 1.

Torch is not imported: what is a tensor is seen from its type's name.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from deixis.errors import DeixisError

__all__ = ["EXPECTED", "PixelArray", "describe", "picture_of"]

EXPECTED = "a NumPy array [H, W, 3] or a torch tensor [3, H, W], of uint8 (0 to 255) or floats from 0 to 1"


@runtime_checkable
class PixelArray(Protocol):
    """A NumPy array or a torch tensor."""

    @property
    def shape(self) -> Any:
        """Its axes."""

    @property
    def dtype(self) -> Any:
        """Of its values."""

    @property
    def ndim(self) -> int:
        """How many axes it has."""


def picture_of(pixels: PixelArray) -> Image.Image:
    """The Pillow image of an array [H, W, 3] or a tensor [3, H, W]; floats are rounded to 8 bits.

    Args:
        pixels: uint8, or floats from 0 to 1.

    Raises:
        DeixisError: what was given, and what is expected.
    """
    tensor = not isinstance(pixels, np.ndarray)
    given = f"The picture given is {describe(pixels)}"
    if 0 in pixels.shape:
        raise DeixisError(f"{given}, which holds no pixel.", f"Give {EXPECTED}.")
    if pixels.ndim != 3 or pixels.shape[0 if tensor else -1] != 3:
        raise DeixisError(f"{given}.", f"{_remedy(pixels, tensor)}Expected is {EXPECTED}.")
    values = _values(pixels, given)
    return Image.fromarray(np.ascontiguousarray(values.transpose(1, 2, 0) if tensor else values))


def describe(value: Any) -> str:
    """What a value is, for messages."""
    if not isinstance(value, PixelArray):
        return f"{value!r:.40} ({type(value).__name__})"
    kind = "an array" if isinstance(value, np.ndarray) else "a tensor"
    return f"{kind} of {str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


def _remedy(pixels: PixelArray, tensor: bool) -> str:
    """What would make it right, where that can be seen from the axes."""
    if pixels.ndim == 3 and pixels.shape[-1 if tensor else 0] == 3:
        return f"Bring its axes into order with .{'permute(2, 0, 1)' if tensor else 'transpose(1, 2, 0)'}. "
    if pixels.ndim == 3 and pixels.shape[0 if tensor else -1] == 4:
        return f"Leave the alpha channel out with {'[:3]' if tensor else '[..., :3]'}. "
    if pixels.ndim == 2:
        return "Repeat the grey values as three channels. "
    return ""


def _values(pixels: Any, given: str) -> Any:
    """The same numbers as uint8."""
    name = str(pixels.dtype)
    floating = "float" in name
    if not floating and name.removeprefix("torch.") != "uint8":
        raise DeixisError(f"{given}.", f"Make it uint8, if its values are 0 to 255. Expected is {EXPECTED}.")
    if not isinstance(pixels, np.ndarray):
        pixels = (pixels.detach().float() if floating else pixels).numpy(force=True)
    if not floating:
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DeixisError(f"{given} and holds NaN or infinite values.", "Replace them, or leave the picture out.")
    if low < 0 or high > 1:
        cure = "Divide it by 255, or make it uint8" if low >= 0 and high <= 255 else "Bring its values to 0 to 1"
        many = " Give what is normalised already as a float batch [B, 3, H, W]." if low < 0 else ""
        raise DeixisError(f"{given} with values from {low:.3g} to {high:.3g}, not 0 to 1.", f"{cure}.{many}")
    return np.round(pixels * 255).astype(np.uint8)
