"""What several tests need."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

__all__ = ["golden_folder", "load_golden"]


def golden_folder() -> Path:
    """The folder of golden vectors: `$DEIXIS_GOLDEN`, else `tests/golden`."""
    return Path(os.environ.get("DEIXIS_GOLDEN") or Path(__file__).parent / "golden")


def load_golden(name: str) -> dict[str, torch.Tensor]:
    """The arrays of `NAME.npz` as tensors, in the stored dtype; strings (a few `cfg.` keys) are left out."""
    with np.load(golden_folder() / f"{name}.npz", allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored}
    return {key: torch.from_numpy(np.array(value)) for key, value in arrays.items() if value.dtype.kind in "fiub"}
