"""A csv that `deixis caption` writes: whether it can be, before any work."""

from __future__ import annotations

from pathlib import Path

from deixis.apps.common.runs import writable
from deixis.errors import DeixisError

__all__ = ["require_free_csv"]


def require_free_csv(out: Path, overwrite: bool, what: str) -> None:
    """Makes sure that a csv can be written.

    Args:
        out: the csv.
        overwrite: whether one that is there is replaced.
        what: goes into it, for the message.

    Raises:
        DeixisError: it is no csv, is there, or can't be written.
    """
    if out.suffix.lower() != ".csv" or out.is_dir():
        raise DeixisError(f"{out} is no csv, and {what} go into one.", "Give --out as NAME.csv.")
    if out.exists() and not overwrite:
        raise DeixisError(f"There is {out} already.", "Choose another --out, or replace it with --overwrite.")
    writable(out)
