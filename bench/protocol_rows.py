"""Keeps what a protocol found: `python -m bench.protocol_rows FOLDER` appends the rows of a folder that `deixis eval`
wrote to `results/protocols.jsonl`, each with what it was measured on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from bench.rows import RESULTS, environment

__all__ = ["main"]

_SHARED = ("protocol", "model")


def main(arguments: Sequence[str] | None = None) -> None:
    """Appends the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.protocol_rows", description="Keeps what a protocol found.")
    parser.add_argument("folder", type=Path, help="what `deixis eval` wrote")
    parser.add_argument("--data", required=True, help="what was measured on, as it was given to `deixis eval`")
    parser.add_argument("--results", type=Path, default=RESULTS.with_name("protocols.jsonl"), help="for the rows")
    given = parser.parse_args(arguments)
    result = json.loads((given.folder / "result.json").read_text(encoding="utf-8"))
    shared = {**{key: result[key] for key in _SHARED}, "data": given.data}
    lines = (given.folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    with open(given.results, "a", encoding="utf-8") as file:
        for line in lines:
            row = {**shared, **json.loads(line), "data": given.data, **environment(1)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
