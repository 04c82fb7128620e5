"""What turns files and strings into tensors: images decoded, brought to a model's size, text cut into tokens.

No data set knows more about decoding than this package. The names below load on first use, so that importing it costs
nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deixis.inputs.images import ImageError, load_image
    from deixis.inputs.preprocess import Preprocess

_LAZY = {
    "ImageError": "deixis.inputs.images",
    "Preprocess": "deixis.inputs.preprocess",
    "load_image": "deixis.inputs.images",
}

__all__ = ["ImageError", "Preprocess", "load_image"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
