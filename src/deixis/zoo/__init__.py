"""Pretrained weights, by name: `load("starter")` gives a `DualEncoder`. Loading is strict: a mismatch is an error."""

from __future__ import annotations

import difflib
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deixis.errors import DeixisError

if TYPE_CHECKING:
    from deixis.nn.dual import DualEncoder

__all__ = ["MODELS", "load", "save"]

MODELS: dict[str, str] = {
    "starter": "EfficientNet-Lite0 and MiniLM-L6 joined without training; for trying out, needs no model hub",
    "tiny": "random weights, made in memory; for tests and demonstrations only",
}
"""Name -> what it is; the module of the same name in this folder has `load(**options)`."""


def load(name: str | os.PathLike[str], **options: Any) -> DualEncoder:
    """Loads a model in eval mode.

    Args:
        name: one of `MODELS`, a model folder that `save` wrote, or a run folder that holds one.
        **options: what the model's own `load` takes.

    Raises:
        DeixisError: the name is unknown, or the weights are not there (the message says how to get them).
    """
    key = os.fspath(name)
    if key in MODELS:
        model: DualEncoder = importlib.import_module(f"deixis.zoo.{key}").load(**options)
        return model
    there = f"The models are: {', '.join(MODELS)}."
    path = Path(key)
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            return importlib.import_module("deixis.zoo.folder").load(folder)
    if path.exists():
        kind = "folder" if path.is_dir() else "file"
        raise DeixisError(f"{key!r} is a {kind}, and not a model that can be loaded.", there)
    close = difflib.get_close_matches(key, MODELS, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    raise DeixisError(f"There is no model called {key!r}.", hint + there)


def save(encoder: DualEncoder, folder: str | os.PathLike[str]) -> None:
    """Writes a model folder, atomically: see `deixis.zoo.folder`."""
    importlib.import_module("deixis.zoo.folder").save(encoder, Path(folder))
