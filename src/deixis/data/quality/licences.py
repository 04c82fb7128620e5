"""What the columns of a source say about licences."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence

from deixis.data.quality.report import Finding, as_findings
from deixis.types.samples import Sample

__all__ = ["licences"]

_COLUMN = re.compile(r"licen[cs]e|copyright|^(?:usage[\s_-]*)?rights$", re.IGNORECASE)
_NONE = frozenset({"", "none", "nan", "null", "n/a", "unknown"})


def licences(samples: Sequence[Sample]) -> tuple[dict[str, dict[str, int]], list[Finding]]:
    """The samples by licence, for each column with licences; and those that have none there.

    Returns:
        Column -> value -> samples; the empty value stands for none, unknown included. And what to look at.
    """
    columns = dict.fromkeys(key for sample in samples for key in sample.extra if _COLUMN.search(str(key)))
    by_column = {column: _values(samples, column) for column in columns}
    bare = [sample.id for sample in samples if columns and not any(_value(sample, column) for column in columns)]
    finding = as_findings(
        "licence_missing", "samples without a licence", bare, len(samples),
        "samples have no licence, while others do", "Ask who made them, or leave them out.",
    )  # fmt: skip
    return by_column, finding if len(bare) < len(samples) else []


def _value(sample: Sample, column: str) -> str:
    value = str(sample.extra.get(column, "")).strip()
    return "" if value.casefold() in _NONE else value


def _values(samples: Sequence[Sample], column: str) -> dict[str, int]:
    return dict(collections.Counter(_value(sample, column) for sample in samples).most_common())
