"""Keeps what a protocol found: `python -m bench.protocol_rows FOLDER` appends the rows of a folder that `deixis eval`
wrote to `results/protocols.jsonl`, each with what it was measured on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.rows import RESULTS, environment

__all__ = ["add_rows", "main", "rows_by_seed", "rows_in"]

_SHARED = ("protocol", "model")
_RESULTS = RESULTS.with_name("protocols.jsonl")


def rows_in(folder: Path, **shared: Any) -> list[dict[str, Any]]:
    """The rows of a folder that `deixis eval` wrote.

    Args:
        folder: with `rows.jsonl`.
        **shared: what each of them says besides, or in place of what it said.
    """
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    return [{**json.loads(line), **shared} for line in lines]


def add_rows(rows: Iterable[Mapping[str, Any]], results: Path = _RESULTS) -> None:
    """Appends rows, each with the machine and the commit.

    Args:
        rows: see `rows_in`.
        results: the file.
    """
    with open(results, "a", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({**row, **environment(1)}, ensure_ascii=False) + "\n")


def rows_by_seed(
    name: str, says: str, rows_of: Callable[[int], list[dict[str, Any]]], arguments: Sequence[str] | None = None
) -> None:
    """A command that measures by some seeds and appends the rows of each when they are there.

    Args:
        name: of the module.
        says: what the command does.
        rows_of: measures with a seed.
        arguments: of the command.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=says)
    parser.add_argument("seeds", type=int, nargs="+", help="of scenes and training")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="for the rows")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for seed in given.seeds:
        add_rows(rows_of(seed), given.results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Appends the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.protocol_rows", description="Keeps what a protocol found.")
    parser.add_argument("folder", type=Path, help="what `deixis eval` wrote")
    parser.add_argument("--data", required=True, help="what was measured on, as it was given to `deixis eval`")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="for the rows")
    given = parser.parse_args(arguments)
    result = json.loads((given.folder / "result.json").read_text(encoding="utf-8"))
    shared = {key: result[key] for key in _SHARED}
    add_rows(({**shared, **row} for row in rows_in(given.folder, data=given.data)), given.results)


if __name__ == "__main__":
    main()
