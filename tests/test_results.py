"""Rows of results are added and never taken away, whoever merges what."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_NO_EVIDENCE = re.compile(r'"commit": "[0-9a-f]*\+changes"|"commit": ""')


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"there is no history to compare with: {done.stderr.strip()}")
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*.jsonl")), ids=lambda path: path.stem)
def test_every_row_that_was_ever_committed_is_still_there(path: Path) -> None:
    now = set(path.read_text(encoding="utf-8").splitlines())
    lines = git("log", "--format=", "-p", "-m", "--first-parent", "--", str(path.relative_to(ROOT))).splitlines()
    gone = [line[1:] for line in lines if line.startswith("-{") and line[1:] not in now]
    # What was measured of code that nobody can look up is no evidence, and some such rows were replaced early on.
    assert not [line[:200] for line in gone if not _NO_EVIDENCE.search(line) and '"race": "startup"' not in line]
