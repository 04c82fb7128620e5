"""deixis: adapt, ground, explain and search image-text models on your own images, on one modest machine.

The verbs below load what they need on first use; importing deixis loads no torch.

    import deixis

    encoder = deixis.load("starter")
    run = deixis.adapt("my-photos", out="my-run", splits=3)
    hits = deixis.search("my-run", "a red bird", k=5)
    why = deixis.explain("my-run", "photo.jpg", "a red bird")
    out = deixis.ground("photo.jpg", "the red car on the left")
"""

from __future__ import annotations

import importlib

from deixis import freed_memory, late_compiler
from deixis.errors import DeixisError

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` would take as long to load as Python itself takes to start
    from typing import Any

__version__ = "0.1.0"

__all__ = [
    "DeixisError",
    "Explainer",
    "FewShotClassifier",
    "__version__",
    "adapt",
    "answer",
    "caption",
    "check",
    "explain",
    "ground",
    "index",
    "label",
    "list_methods",
    "load",
    "load_classifier",
    "load_method",
    "read",
    "read_data",
    "read_words",
    "search",
    "segment",
    "teach",
    "words",
]

_BESIDE_VERBS = {
    "Explainer": "deixis.apps.explain.explain",
    "FewShotClassifier": "deixis.apps.few_shot.classifier",
    "list_methods": "deixis.methods",
    "load": "deixis.apps.common.loading",
    "load_method": "deixis.apps.train.method_runs",
    "load_classifier": "deixis.apps.few_shot.classifier",
    "read_data": "deixis.apps.common.dataset:read",
    "read_words": "deixis.apps.read.read",
}

freed_memory.install()
late_compiler.install()


def __getattr__(name: str) -> Any:
    """Loads a function on first use; which module holds that of a verb is declared in the verb's folder."""
    from deixis.apps.common.verbs import read_verb

    verb = read_verb(name)
    module = _BESIDE_VERBS.get(name) or (verb.python if verb else "")
    if module:
        module, _, function = module.partition(":")
        return getattr(importlib.import_module(module), function or name)
    raise AttributeError(f"module 'deixis' has no attribute {name!r}")


def __dir__() -> list[str]:
    from deixis.apps.common.verbs import verbs

    return sorted({*__all__, *(name for name, verb in verbs().items() if verb.python)})
