"""Checks of a command's paths before anything that takes time is imported: a wrong one is reported at once."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deixis.errors import DeixisError

__all__ = ["check_paths", "require_data", "require_pictures", "require_run"]


def check_paths(arguments: Mapping[str, Any]) -> None:
    """Checks what a command was given under the names that all commands use: `data`, `run` and `photo`.

    Args:
        arguments: name -> value.

    Raises:
        DeixisError: one of them does not exist.
    """
    settings = arguments.get("settings")
    if "run" in arguments:
        require_run(arguments["run"])
    if "photo" in arguments:
        require_pictures(arguments["photo"])
    if "data" in arguments and not getattr(settings, "remove", False):  # what is removed may be gone already
        data = arguments["data"]
        require_data(*([data] if isinstance(data, str) else data))
    require_pictures(*getattr(settings, "image", ()))


def require_data(*data: str) -> None:
    """Makes sure that each DATA is there; of a set, a pattern or an address, reading it finds out.

    Raises:
        DeixisError: there is no such file or folder, with one of nearly that name if there is one.
    """
    for each in data:
        is_path = bool(each) and "\0" not in each and ":" not in each.partition("/")[0] and "{" not in each
        if is_path and not os.path.lexists(each) and not glob.has_magic(each):
            from deixis.data.readers.refusals import missing

            raise missing(Path(each))


def require_run(run: str | os.PathLike[str], cure: str = "") -> None:
    """Makes sure that RUN is a folder.

    Args:
        run: its path.
        cure: what to do where it is not; by default, how one is made.

    Raises:
        DeixisError: it is not.
    """
    if not os.path.isdir(run):
        what = f"{run} is a file, and a run is a folder." if os.path.exists(run) else f"There is no folder {run}."
        raise DeixisError(what, cure or "Make one with `deixis adapt DATA` or `deixis index DATA`.")


def require_pictures(*pictures: str) -> None:
    """Makes sure that each picture can be opened; none is decoded.

    Raises:
        ImageError: it is missing, a folder or no image.
    """
    from deixis.inputs.opening import opened

    for each in pictures:
        with opened(each, max_pixels=None):
            pass
