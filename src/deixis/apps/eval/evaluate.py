"""`deixis eval`: measures a model by a published protocol on one's own data, and writes table, plot and rows."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import read
from deixis.apps.common.options import Reading
from deixis.apps.common.runs import Clock, free_name, run_folder, versions
from deixis.apps.eval.settings import EvalSettings
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.types import Source

__all__ = ["PROTOCOLS", "evaluate"]

PROTOCOLS: Mapping[str, str] = {
    "few-shot": "few_shot",
    "base-to-new": "few_shot",
    "cross-style": "few_shot",
    "saliency": "saliency",
}
"""Name -> the module of `deixis.apps.protocols` that runs it."""


def evaluate(
    data: str | Source,
    out: str | Path = "deixis-eval",
    settings: EvalSettings | None = None,
    reading: Reading | None = None,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> Mapping[str, Any]:
    """Runs a protocol and writes a folder: `result.json`, and the protocol's tables and plots.

    Args:
        data: a folder, a csv / tsv / jsonl, shards, `set:NAME`, or a source that was read already.
        out: the folder to write.
        settings: which protocol, of which model.
        reading: columns and the like, where they are not to be guessed.
        overwrite: replace what is there.
        quiet: print nothing but the result.

    Returns:
        What stands in `result.json`.

    Raises:
        DeixisError: there is no such protocol, the data lacks what it needs, or `out` is taken.
    """
    settings = settings or EvalSettings()
    if settings.protocol not in PROTOCOLS:
        raise DeixisError(
            f"There is no protocol {settings.protocol!r}.", f"Give one of {', '.join(PROTOCOLS)} by --protocol."
        )
    free_name(Path(out), overwrite)
    talk, clock = Reporter(quiet), Clock()
    source = data if isinstance(data, Source) else read(data, reading)
    protocol = importlib.import_module(f"deixis.apps.eval.{PROTOCOLS[settings.protocol]}")
    with run_folder(Path(out), overwrite) as folder:
        found = dict(protocol.run(source, settings, folder, talk))
        result = {"verb": "eval", "protocol": settings.protocol, "model": settings.model, **found}
        result |= {"seconds": clock.read(), "peak_mb": clock.peak_mb(), "versions": versions()}
        write_json(folder / "result.json", result)
    talk.say(f"Written to {out}.")
    return result
