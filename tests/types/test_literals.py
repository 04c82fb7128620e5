"""Declarations are read from the source: what would have to run is refused, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from deixis.types.literals import read_literal
from deixis.types.specs import PartKind, PartSource

CLASSES = {"PartKind": PartKind, "PartSource": PartSource}


def test_a_declaration_is_read_from_a_file_that_could_not_be_imported(tmp_path: Path) -> None:
    path = tmp_path / "kind.py"
    path.write_text('import nowhere\nPART = PartKind("x", "Y", (PartSource("a:" "B", "a:b", "c"),))\n')
    assert read_literal(path, "PART", CLASSES) == PartKind("x", "Y", (PartSource("a:B", "a:b", "c"),))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("PART = print('ran')", r"kind\.py, line 2: a call of print is no literal"),
        ("PART = [each for each in ()]", "ListComp is no literal"),
        ("PART = PartKind.__init__()", r"a call of PartKind\.__init__ is no literal"),
        ("OTHER = 1", r"kind\.py declares no PART"),
    ],
)
def test_what_would_run_code_or_is_missing_is_refused_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "kind.py"
    path.write_text(f"\n{line}\n")
    with pytest.raises(TypeError, match=said):
        read_literal(path, "PART", CLASSES)
