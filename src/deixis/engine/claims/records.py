"""The rows of claims: what they are made of, and when they may be added to the committed results."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deixis.errors import DeixisError
from deixis.files import atomic_path
from deixis.types import Claim

__all__ = [
    "CLAIM_KEYS",
    "CODE_KEYS",
    "COST_KEYS",
    "TRIAL_KEYS",
    "UNIT_KEYS",
    "VERDICT_KEYS",
    "Ledger",
    "append_rows",
    "claim_hash",
    "now",
    "repository",
]

CLAIM_KEYS = ("paper claim arm seed metric value budget data config seconds commit date").split()
VERDICT_KEYS = (
    "paper claim metric baseline method difference low high seeds minimum_effect verdict commit date adjusted_p "
    "seeds_wanted equal_seconds samples_low samples_high notes"
).split()
"""Rows from before 2026-12 have those up to `date`, and keep them."""

TRIAL_KEYS = (
    "paper claim arm seed metric setting value seconds failed best edges grid budget inputs commit date"
).split()
UNIT_KEYS = "paper claim arm seed split setting name code result commit date".split()
CODE_KEYS = "paper claim inputs codes before after date".split()
COST_KEYS = "paper claim arm split seconds measuring commit date".split()

_COMMENTS = ("cheap",)
"""Fields of a claim that change nothing of what is run."""

Row = Mapping[str, Any]


def claim_hash(claim: Claim) -> str:
    """A fingerprint of all that a claim says. Fields that are as they are by default do not count, so that a field
    more in `Claim` leaves the fingerprints of old claims alone."""
    text = json.dumps(_plain(claim), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if not dataclasses.is_dataclass(value):
        return {str(key): _plain(each) for key, each in value.items()} if isinstance(value, Mapping) else value
    said = {}
    for field in dataclasses.fields(value):
        if field.name in _COMMENTS:
            continue
        each, factory = getattr(value, field.name), field.default_factory
        if each != (field.default if factory is dataclasses.MISSING else factory()):
            said[field.name] = _plain(each)
    return said


def now() -> str:
    """The time, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def repository(file: Path) -> Path | None:
    """The git repository that tracks `file`; None without one, as for an installed package."""
    try:
        _git(file.parent, "ls-files", "--error-unmatch", file.name)
        return Path(_git(file.parent, "rev-parse", "--show-toplevel"))
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Ledger:
    """The rows of a repository: `results/claims.jsonl` (what was reported), `verdicts.jsonl` (what it says) and
    `trials.jsonl` (each setting that was tried before); `units.jsonl`, finished runs of claims that are tried in
    instalments, of which nothing follows before the last; `claim_code.jsonl`, which says what code was compared bit by
    bit with that of older rows, and computes the same (`bench/claim_code.py`); and `claim_cost.jsonl`, what one run of
    each arm takes (`bench/claim_cost.py`).

    Args:
        root: of the repository.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        folder = root / "results"
        self.claims, self.verdicts, self.trials = (
            folder / f"{name}.jsonl" for name in ("claims", "verdicts", "trials")
        )
        self.units, self.code, self.cost = (folder / f"{name}.jsonl" for name in ("units", "claim_code", "claim_cost"))

    def commit(self) -> str:
        """The present commit, with `+changes` where the code is not as committed."""
        return _git(self.root, "rev-parse", "--short=12", "HEAD") + ("+changes" if self._changed() else "")

    def _changed(self) -> list[str]:
        """Files of the code that are not as committed, new ones among them."""
        found = _git(self.root, "status", "--porcelain", "--untracked-files=all", "--", "src", "pyproject.toml")
        return [line[2:].strip() for line in found.splitlines()]

    def require(self, paper: str, claims: Sequence[Claim]) -> None:
        """Refuses where rows of the paper's claims may not be added: the claim and the code must be committed as they
        stand, and a claim that has rows must stand as it was.

        Raises:
            DeixisError: what is wrong, and how to mend it.
        """
        changed = self._changed()
        if changed:
            raise DeixisError(
                f"The code is not as committed ({', '.join(changed[:3])}{', ...' * (len(changed) > 3)}), and rows must "
                "say which code and which claim gave them.",
                "Commit it, and run the same command again: finished runs are stored. To experiment: --no-record.",
            )
        if len({claim.statement for claim in claims}) < len(claims):
            raise DeixisError(
                f"Two claims of {paper} have the same statement.", "Give each its own, or rows can't be distinguished."
            )
        present = {claim_hash(claim) for claim in claims}
        gone = {row["claim"] for row in self.rows(paper) if row["config"]["claim"] not in present}
        if gone:
            raise DeixisError(
                f"A claim of {paper} was changed or removed after its first rows: {sorted(gone)[0]!r}.",
                "Put it back as it was (git log -p shows it), and add the new one beside it, with a statement of its "
                "own: a claim and its result are never removed.",
            )

    def rows(self, paper: str = "", claim: str = "") -> list[dict[str, Any]]:
        """The rows of claims, in order.

        Args:
            paper: only those of this one.
            claim: only those of the claim with this fingerprint.
        """
        rows = _read(self.claims, CLAIM_KEYS)
        return [
            row
            for row in rows
            if (not paper or row["paper"] == paper) and (not claim or row["config"]["claim"] == claim)
        ]

    def computes_the_same(self, inputs: str, codes: Mapping[str, str]) -> bool:
        """Whether the code that rows were written with was compared with the present one, and found equal.

        Args:
            inputs: that the rows name.
            codes: method, or module that it passes through -> present fingerprint. Comparisons that name other code,
                such as those from before 2026-12, which name methods only, do not count.
        """
        present = sorted(codes.values())
        return any(
            row["inputs"] == inputs and sorted(row["codes"].values()) == present for row in _read(self.code, CODE_KEYS)
        )

    def costs(self, claim: str, arm: str) -> dict[str, dict[str, Any]]:
        """Split -> the latest row of what one run of an arm takes.

        Args:
            claim: fingerprint of the claim.
            arm: its name.
        """
        rows = _read(self.cost, COST_KEYS)
        return {row["split"]: row for row in rows if (row["claim"], row["arm"]) == (claim, arm)}

    def units_of(self) -> list[dict[str, Any]]:
        """The finished units.

        Raises:
            DeixisError: one is there twice.
        """
        rows = list(_read(self.units, UNIT_KEYS))
        names = [row["name"] for row in rows]
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise DeixisError(
                f"The unit {double} is in {self.units} more than once.",
                "Take the file from git again, or delete the later line.",
            )
        return rows

    def add_unit(self, row: Row) -> None:
        """Adds a finished unit."""
        append_rows(self.units, [row], UNIT_KEYS)

    def add(self, rows: Sequence[Row], verdicts: Sequence[Row], trials: Sequence[Row] = ()) -> None:
        """Adds what is not there yet: a row of the same inputs, part, arm and seed (and setting, of a trial) is not
        added twice."""
        tried = [_tried(row) for row in _read(self.trials, TRIAL_KEYS)]
        append_rows(self.trials, [row for row in trials if _tried(row) not in tried], TRIAL_KEYS)
        known = {_key(row) for row in self.rows()}
        fresh = [row for row in rows if _key(row) not in known]
        append_rows(self.claims, fresh, CLAIM_KEYS)
        append_rows(self.verdicts, verdicts, VERDICT_KEYS)


def _key(row: Row) -> tuple[Any, ...]:
    config = row["config"]
    return row["paper"], config["claim"], config["inputs"], config.get("part", ""), row["arm"], row["seed"]


def _tried(row: Row) -> tuple[Any, ...]:
    return row["paper"], row["claim"], row["inputs"], row["arm"], row["seed"], json.dumps(row["setting"])


def _read(path: Path, keys: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """The rows of a file, which nobody changes: asked for again, they are not parsed again while it stands."""
    if not path.exists():
        return ()
    about = path.stat()
    return _parsed(path, tuple(keys), (about.st_mtime_ns, about.st_size, about.st_ino))


@functools.lru_cache(8)
def _parsed(path: Path, keys: tuple[str, ...], stands: tuple[int, ...]) -> tuple[dict[str, Any], ...]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            if tuple(row) != keys:
                raise ValueError(f"its keys are {', '.join(row)}")
        except ValueError as error:
            raise DeixisError(
                f"Line {number} of {path} is no row: {error}.", "Take the file from git again, or fix the line."
            ) from error
        found.append(row)
    return tuple(found)


def append_rows(path: Path, rows: Sequence[Row], keys: Sequence[str]) -> None:
    """Adds rows, all or none.

    Args:
        path: of the file, one row a line.
        rows: what is added.
        keys: that each row has, in this order.
    """
    if not rows:
        return
    for row in rows:
        if list(row) != list(keys):
            raise ValueError(f"a row has the keys {', '.join(keys)}, in this order; got {', '.join(row)}")
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    with atomic_path(path) as temporary:
        temporary.write_text(before + text, encoding="utf-8")
