"""Declarations are read from the source: what would have to run is refused, with its line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from deixis.types.literals import evaluate, read_constants, read_literal
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


@pytest.mark.parametrize(
    "text",
    [
        "-2 ** 3 // 4 + 0.5 * 2 / 5 - 1",
        "(1, *ROW, [2, *ROW])",
        "{'a': 1, **MAP, 'b': (ROW,)}",
        "PartKind('x', protocol='Y', sources=(PartSource(*ROW, **{'gives': 'c'}),))",
        "PartKind('x', 'Y', ()).gives",
    ],
)
def test_a_literal_has_the_value_that_python_gives_it(text: str) -> None:
    names = {**CLASSES, "ROW": ("p", "q"), "MAP": {"a": 2}}
    assert evaluate(ast.parse(text, mode="eval").body, names) == eval(text, dict(names))


CARD = 'CARD = Card(\n    title="a" "b",\n    year=Y,\n)\n'


@pytest.mark.parametrize(
    "text",
    [
        CARD + "def (",  # what follows is not even parsed
        "CARD = Card(title='ab', year=Y)  # a remark\nx = 1\n",
        "CARD = Card(\n    year=Y,\n# a remark\n    title='ab',\n)",
        '"""Write:\n\nCARD = Card(title="other")\n"""\n' + CARD,
        'CARD = Card(title="ab", remark="""\nCARD = 1, or\nx = 1""", year=Y)\n',
    ],
)
def test_constants_of_a_declaration_are_read_from_its_lines_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "method.py"
    path.write_text(text)
    assert read_constants(path, "CARD") | {"remark": ""} == {"title": "ab", "remark": ""}


@pytest.mark.parametrize("text", ["x = 1\n", "CARD = Card('a', title='b')\n", "CARD = OTHER\n"])
def test_a_declaration_that_is_no_call_with_keywords_alone_has_no_constants(tmp_path: Path, text: str) -> None:
    path = tmp_path / "method.py"
    path.write_text(text)
    assert read_constants(path, "CARD") == {}
