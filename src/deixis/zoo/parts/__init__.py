"""Parts by kind: `load_part("image_tower", "timm:resnet18")`.

A kind is one file of this folder, found by listing it. The file declares the literal `PART`, which says which names it
loads and is read without importing torch, and has a function `load(name, *, source=None, seed=0)`, where `source` is
the data that new parts take words or labels from. What is given to `load` in place of a name, such as an encoder that
exists already, is made into a part of the kind.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import os
import pkgutil
from pathlib import Path
from typing import Any

from deixis.errors import DeixisError
from deixis.types.literals import read_literal
from deixis.types.samples import Source
from deixis.types.specs import PartKind, PartSource

__all__ = ["kinds", "load_part", "no_such_part", "part_kind", "texts_of"]


def kinds() -> tuple[str, ...]:
    """The names of all kinds, in alphabetical order."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def part_kind(kind: str) -> PartKind:
    """What the file of a kind declares.

    Raises:
        DeixisError: there is no such kind.
    """
    folder = next((folder for folder in __path__ if Path(folder, f"{kind}.py").is_file()), None)
    if folder is None:
        close = difflib.get_close_matches(kind, kinds(), n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise DeixisError(f"There is no kind of part {kind!r}.", f"{hint}The kinds are: {', '.join(kinds())}.")
    return _read(Path(folder, f"{kind}.py"))


@functools.cache
def _read(path: Path) -> PartKind:
    part: PartKind = read_literal(path, "PART", {"PartKind": PartKind, "PartSource": PartSource})
    return part


def load_part(kind: str, name: Any, **options: Any) -> Any:
    """Loads a part, in eval mode.

    Args:
        kind: one of `kinds()`.
        name: one that the kind loads, see `part_kind(kind).sources`; or an object that is made into such a part.
        **options: of the kind's own `load`; each takes `seed`, of random weights, and `source`, the data that a new
            part has its words or labels from.

    Raises:
        DeixisError: no such kind or name, or the part can't be had.
    """
    part_kind(kind)
    return importlib.import_module(f"{__name__}.{kind}").load(
        os.fspath(name) if isinstance(name, os.PathLike) else name, **options
    )


def texts_of(source: Source) -> list[str]:
    """The captions of the samples, or their labels where they have none: the texts that a new part knows the words of.

    Raises:
        DeixisError: there are no words in them.
    """
    texts = [text for sample in source.samples for text in sample.captions or (sample.label or "",)]
    if not any(text.strip() for text in texts):
        raise DeixisError(
            f"{source.name!r} has no captions, and a new model knows the words of its captions alone.",
            "Put captions beside the pictures, or use the file names: --names-as-captions",
        )
    return texts


def no_such_part(kind: str, name: str) -> DeixisError:
    """The error for a name that a kind does not load: what it does load, and what comes with which papers."""
    part = part_kind(kind)
    there = "; ".join(f"{each.form} ({each.gives})" for each in part.sources)
    later = f" {part.later}" if part.later else ""
    return DeixisError(f"There is no {kind} called {name!r}.{later}", f"There are: {there}.")
