"""deixis: adapt, ground, explain and search image-text models on your own images, on one modest machine.

The verbs below load what they need on first use; importing deixis loads no torch.

    import deixis

    encoder = deixis.load("starter")
    run = deixis.adapt("my-photos", out="my-run")
    hits = deixis.search("my-run", "a red bird")
    why = deixis.explain("my-run", "photo.jpg", "a red bird")
"""

from __future__ import annotations

import importlib
from typing import Any

from deixis.errors import DeixisError

__version__ = "0.1.0"

__all__ = [
    "DeixisError",
    "Explainer",
    "FewShotClassifier",
    "__version__",
    "adapt",
    "check",
    "explain",
    "index",
    "label",
    "list_methods",
    "load",
    "load_classifier",
    "search",
]

_VERBS = {
    "Explainer": "deixis.apps.explain.explain",
    "FewShotClassifier": "deixis.apps.few_shot.classifier",
    "adapt": "deixis.apps.adapt.adapt",
    "check": "deixis.apps.common.dataset",
    "explain": "deixis.apps.explain.explain",
    "index": "deixis.apps.index.index",
    "label": "deixis.apps.label.label",
    "list_methods": "deixis.methods",
    "load": "deixis.zoo",
    "load_classifier": "deixis.apps.few_shot.classifier",
    "search": "deixis.apps.search.search",
}


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(importlib.import_module(_VERBS[name]), name)
    raise AttributeError(f"module 'deixis' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
