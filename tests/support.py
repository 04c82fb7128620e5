"""What several tests need."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

__all__ = ["few", "golden_folder", "leave_ranks", "load_golden"]


def few(cases: Iterable[Any], *fast: Any) -> list[Any]:
    """All cases of a test, of which those that are not named are slow."""
    return [each if each in fast else pytest.param(each, marks=pytest.mark.slow) for each in cases]


def golden_folder() -> Path:
    """The folder of golden vectors: `$DEIXIS_GOLDEN`, else `tests/golden`."""
    return Path(os.environ.get("DEIXIS_GOLDEN") or Path(__file__).parent / "golden")


def load_golden(name: str) -> dict[str, torch.Tensor]:
    """The arrays of `NAME.npz` as tensors, in the stored dtype; strings (a few `cfg.` keys) are left out."""
    with np.load(golden_folder() / f"{name}.npz", allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored}
    return {key: torch.from_numpy(np.array(value)) for key, value in arrays.items() if value.dtype.kind in "fiub"}


def leave_ranks() -> NoReturn:
    """Ends a process of several ranks, once all have come so far.

    Threads of gloo that are torn down at the end of the interpreter now and then abort it, after all is done.
    """
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)
