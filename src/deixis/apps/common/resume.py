"""Run folders that are written while a run goes on, so that a killed one is taken up again by the same command."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deixis.apps.common.runs import free_name
from deixis.engine.training.build import restored
from deixis.errors import DeixisError
from deixis.files import clear_partial, explained, write_json

__all__ = ["RESULT", "RUN", "begin", "finished"]

RUN, RESULT = "run.json", "result.json"
_CURE = "Choose another --out, or replace it with --overwrite."


def begin(out: Path, run: Mapping[str, Any], overwrite: bool) -> bool:
    """Takes the folder for a run.

    Args:
        out: the run folder.
        run: all that decides what the run does, as plain values; written to `run.json`.
        overwrite: replace the run that is there.

    Returns:
        Whether the same run was begun there before.

    Raises:
        DeixisError: `out` holds another run (the message lists all that differs), or other things, or can't be written.
    """
    wanted = json.loads(json.dumps(run))
    if (out / RUN).is_file() and not overwrite:
        differ = _differences(wanted, _migrated(_read(out / RUN)))
        if differ:
            raise DeixisError(f"{out} holds another run: {'; '.join(differ)}.", _CURE)
        with explained(out):
            clear_partial(out)
        return True
    free_name(out, overwrite)
    with explained(out):
        if out.is_dir() and any(out.iterdir()):
            shutil.rmtree(out)  # `free_name` allows nothing in it but a run
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / RUN, wanted)
    return False


def finished(out: Path) -> Mapping[str, Any] | None:
    """The result of the run in `out`, if it has one."""
    return _read(out / RESULT) if (out / RESULT).is_file() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DeixisError(f"{path} can't be read: {error}.", _CURE) from error
    if not isinstance(found, dict):
        raise DeixisError(f"{path} is not what a run wrote.", _CURE)
    return found


def _migrated(run: dict[str, Any]) -> dict[str, Any]:
    """What a run of an earlier release wrote, its settings under the names that they have now."""
    try:
        config = dataclasses.asdict(restored(run["method"], run["config"]))
    except (KeyError, TypeError, DeixisError):
        return run  # of a method or with settings that are no more: the message lists all that differs
    return {**run, "config": json.loads(json.dumps(config))}


def _differences(now: Any, then: Any, name: str = "") -> list[str]:
    """`batch_size is 4 and was 8`, of every value that is another."""
    if isinstance(now, dict) and isinstance(then, dict):
        names = dict.fromkeys([*now, *then])
        return [each for key in names for each in _differences(now.get(key), then.get(key), key)]
    return [] if now == then else [f"{name} is {_short(now)} and was {_short(then)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
