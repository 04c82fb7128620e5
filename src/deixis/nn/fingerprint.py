"""What a part is, as one number: equal parts have equal fingerprints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deixis.nn.frozen import is_frozen

__all__ = ["digest_of", "fingerprint"]


def digest_of(settings: Any, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over plain settings and tensors by name, in hexadecimal.

    Args:
        settings: what JSON can hold.
        tensors: in any order.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint(part: Any) -> str:
    """That of a part of a method: its own `fingerprint()` where it has one, else that of its class, settings
    (`config`, `preprocess`, `tokenizer`) and tensors; of what is no module, of its items.

    Args:
        part: a module, or a sequence of strings such as class names.
    """
    if hasattr(part, "fingerprint"):
        return str(part.fingerprint())
    if not isinstance(part, nn.Module):
        return digest_of(list(part) if isinstance(part, Sequence) else str(part), {})
    described: dict[str, Any] = {name: getattr(part, name, None) for name in ("preprocess", "tokenizer")}
    settings = {
        "class": (type(part).__mro__[2] if is_frozen(part) else type(part)).__name__,
        "config": repr(getattr(part, "config", {})),
        **{name: value.to_dict() for name, value in described.items() if hasattr(value, "to_dict")},
    }
    return digest_of(settings, part.state_dict())
