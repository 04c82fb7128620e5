"""What several tests need."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import numpy as np
import pytest
import torch

from deixis.nn.relevance import pair_score
from deixis.types import Sample, Source

__all__ = ["Peer", "Recorded", "examples", "explained", "few", "golden_folder", "leave_ranks", "load_golden", "texts"]


class Peer:
    """A library that tests compare with, imported when something of it is first asked for.

    Those that collect tests, which is every process that runs any, need not wait for it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest looks at whatever a module of tests holds
            raise AttributeError(name)
        return getattr(importlib.import_module(self._name), name)


def few(cases: Iterable[Any], *fast: Any) -> list[Any]:
    """All cases of a test, of which those that are not named are slow."""
    return [each if each in fast else pytest.param(each, marks=pytest.mark.slow) for each in cases]


def examples(count: int) -> hypothesis.settings:
    """For a property that asks for another number of examples than 100; fewer in the fast tests, as of all."""
    return hypothesis.settings(max_examples=max(1, count * hypothesis.settings.default.max_examples // 100))


def golden_folder() -> Path:
    """The folder of golden vectors: `$DEIXIS_GOLDEN`, else `tests/golden`."""
    return Path(os.environ.get("DEIXIS_GOLDEN") or Path(__file__).parent / "golden")


def load_golden(name: str) -> dict[str, torch.Tensor]:
    """The arrays of `NAME.npz` as tensors, in the stored dtype; strings (a few `cfg.` keys) are left out."""
    with np.load(golden_folder() / f"{name}.npz", allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored}
    return {key: torch.from_numpy(np.array(value)) for key, value in arrays.items() if value.dtype.kind in "fiub"}


class Recorded(dict[str, torch.Tensor]):
    """Golden vectors that know which of them were looked at."""

    def __init__(self, stored: dict[str, torch.Tensor]) -> None:
        super().__init__(stored)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> torch.Tensor:
        self.read.add(key)
        return super().__getitem__(key)


def explained(method: Any, images: torch.Tensor, texts: Sequence[str], others: Sequence[str] = ()) -> Any:
    """What an explainer says of the similarity of each image to each text, less that to others."""
    encoder = method.encoder
    partners = encoder.encode_text(texts)[None].expand(len(images), -1, -1)
    return method.maps(images, pair_score(partners, encoder.encode_text(others) if others else None))


def texts(*captions: str) -> Source:
    """Data without images: a sample a caption."""
    samples = tuple(Sample(str(number), None, captions=(caption,)) for number, caption in enumerate(captions))
    return Source("texts", Path(), "text", "by hand", samples)


def leave_ranks() -> NoReturn:
    """Ends a process of several ranks, once all have come so far.

    Threads of gloo that are torn down at the end of the interpreter now and then abort it, after all is done.
    """
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)
