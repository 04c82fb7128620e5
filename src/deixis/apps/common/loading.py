"""`deixis.load`: a model by name, by folder, or out of a run."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from deixis import zoo

__all__ = ["load"]


def load(name: str | os.PathLike[str], **options: Any) -> Any:
    """Loads a model: what `deixis.zoo.load` knows, or a run folder.

    Args:
        name: a name, a model folder, a checkpoint, or a run folder. Of a run whose method has no dual encoder, the
            method itself is given, as by `deixis.load_method`.
        **options: see `deixis.zoo.load`.

    Raises:
        DeixisError: there is no such model, or it is damaged.
    """
    folder = Path(name)
    if (folder / "method.safetensors").is_file() and not (folder / "model").is_dir():
        return importlib.import_module("deixis.apps.train.method_runs").load_method(
            folder
        )  # imports more than most need
    return zoo.load(name, **options)
