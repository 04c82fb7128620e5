"""What the documents show works: Python blocks run, commands exist, files and modules that are named are there."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bench.rows import LIMIT, races
from deixis.types import OptimSpec
from docs import race_remarks
from docs.build import paper_pages, quick_pages, races_page
from tests.commands import deixis
from tests.documents import PROJECT, Block, blocks, commands, documents, make_targets, summary

DOCUMENTS = [str(path.relative_to(PROJECT)) for path in documents()]
RUNNING = {name: [block for block in blocks(PROJECT / name) if block.runs] for name in DOCUMENTS}
PACKAGE = PROJECT / "src" / "deixis"
COMMANDS = sorted({command for name in DOCUMENTS for _, command in commands(PROJECT / name)})


def run(chosen: list[Block]) -> None:
    """Runs blocks in order in one module; a failure is reported at the document's own line."""
    module = ModuleType("document")
    sys.modules["document"] = module
    try:
        for block in chosen:
            padded = "\n" * (block.line - 1) + block.code
            exec(compile(padded, str(block.document), "exec"), module.__dict__)
    finally:
        del sys.modules["document"]


def test_the_documents_hold_blocks_that_run() -> None:
    assert sum(map(len, RUNNING.values())) > 0, summary()


@pytest.mark.parametrize("name", [name for name, chosen in RUNNING.items() if any(not block.slow for block in chosen)])
def test_fast_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run([block for block in RUNNING[name] if not block.slow])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, chosen in RUNNING.items() if any(block.slow for block in chosen)])
def test_all_blocks_run_where_the_starter_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: Callable[[str], Path]
) -> None:
    fetched("starter")
    monkeypatch.chdir(tmp_path)
    run(RUNNING[name])


@functools.cache
def help_of(*verbs: str) -> str:
    code, out, err = deixis(*verbs, "--help")
    assert code == 0, f"deixis {' '.join(verbs)} --help: {out}{err}"
    return re.sub(r"\x1b\[[0-9;]*m", "", out)


def missing_from_help(words: list[str], help_text: Callable[..., str]) -> list[str]:
    """The verb or the flags of a `deixis` command that the command line's own help does not know."""
    verb = words[0]
    if verb.startswith("-"):
        return [] if verb in help_text() else [verb]
    if not re.search(rf"\b{re.escape(verb)}\b", help_text()):
        return [verb]
    flags = [word.split("=")[0] for word in words if word.startswith("--")]
    return [flag for flag in flags if not re.search(rf"{re.escape(flag)}(?![\w-])", help_text(verb))]


def unknown(command: str) -> list[str]:
    """What in a console command does not exist; commands of other programs are let be."""
    words = shlex.split(command, comments=True)
    if words[:1] == ["deixis"] and len(words) > 1:
        return missing_from_help(words[1:], help_of)
    if words[:1] == ["make"]:
        named = {word for word in words[1:] if "=" not in word and not word.startswith("-")}
        return sorted(named - make_targets(PROJECT / "Makefile"))
    return []


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str) -> None:
    assert unknown(command) == []


# ---- the reader of documents itself

SAMPLE = """# One
```python
x = 1
```
   ```python no-run
   y = x
   ```
## Two
<!-- slow -->
```python
assert x == 1
```
## Three
```console
$ deixis adapt photos \\
    --out run
adapted
$ make demo  # takes a while
```
"""


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(SAMPLE, encoding="utf-8")
    return path


def test_blocks_are_read_in_order_with_line_speed_and_exceptions(sample: Path) -> None:
    found = [(block.line, block.runs, block.slow) for block in blocks(sample)]
    assert found == [(3, True, False), (6, False, False), (11, True, True), (15, False, False)]
    assert blocks(sample)[1].code == "y = x\n"
    assert summary(sample.parent) == "documents: 2 Python blocks run, 1 of them slow; not run: README.md:6"


def test_blocks_of_a_document_share_one_namespace(sample: Path) -> None:
    run([block for block in blocks(sample) if block.runs])


def test_a_failing_block_fails_at_its_own_line(sample: Path) -> None:
    sample.write_text("text\n\n```python\nx = 1\nassert x == 2\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError) as caught:
        run(blocks(sample))
    assert caught.traceback[-1].lineno + 1 == 5


def test_a_block_that_is_never_closed_is_an_error(sample: Path) -> None:
    sample.write_text("```python\nx = 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"README.md:1"):
        blocks(sample)


def test_commands_are_joined_over_lines(sample: Path) -> None:
    assert [command for _, command in commands(sample)] == [
        "deixis adapt photos --out run",
        "make demo  # takes a while",
    ]


def test_unknown_verbs_flags_and_targets_are_found() -> None:
    def help_text(*verbs: str) -> str:
        return "--seed INT  --out PATH" if verbs else "usage: deixis {adapt,data} --version"

    assert missing_from_help(["adapt", "photos", "--out=x", "--seed", "1"], help_text) == []
    assert missing_from_help(["adapt", "photos", "--ou", "x"], help_text) == ["--ou"]
    assert missing_from_help(["adopt", "photos"], help_text) == ["adopt"]
    assert unknown("make demmo DATA=photos") == ["demmo"]
    assert unknown("pip install deixis") == []


# ---- the method that CONTRIBUTING.md shows


def test_the_method_shown_to_contributors_reads_builds_and_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from deixis.methods import _registry
    from deixis.types import Batch, Progress

    [block] = [block for block in blocks(PROJECT / "CONTRIBUTING.md") if block.runs]
    (tmp_path / "skeleton_of_a_method.py").write_text(block.code, encoding="utf-8")
    monkeypatch.setattr(_registry, "_HERE", tmp_path)
    literals = _registry.read("skeleton_of_a_method")

    module = ModuleType("skeleton_of_a_method")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(block.code, str(block.document), "exec"), module.__dict__)
    assert literals.card == module.CARD

    encoder = torch.nn.Module()
    encoder.image_tower = SimpleNamespace(width=16)
    method = module.Method(module.Config.tiny(), encoder=encoder)
    batch = Batch.synthetic(literals.card.needs, size=6, D=16)
    optimiser = torch.optim.SGD(method.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        losses.append(method(batch, Progress()).total)
        losses[-1].backward()
        optimiser.step()
    assert float(losses[-1].detach()) < float(losses[0].detach())


@pytest.mark.parametrize("made", [quick_pages, pytest.param(paper_pages, marks=pytest.mark.slow)])
def test_pages_that_are_made_say_what_files_and_rows_say(made: Callable[[], dict[str, str]]) -> None:
    """`make docs` was run after the last change of a method or a row."""
    stale = [name for name, text in made().items() if (PROJECT / "docs" / name).read_text(encoding="utf-8") != text]
    assert not stale, f"run `make docs`: {', '.join(stale)}"


def test_the_table_of_the_optimiser_names_each_setting_and_its_default() -> None:
    def written(value: Any) -> str:
        if isinstance(value, tuple):
            return ", ".join(map(str, value)) or "none"
        return str(value).lower() if isinstance(value, bool | str | None) else f"{value:g}"

    text = (PROJECT / "docs" / "training.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `optim\.(\w+)` \| `?(.*?)`? \|", text, re.MULTILINE)
    assert rows == [(field.name, written(field.default)) for field in dataclasses.fields(OptimSpec)]


def test_races_come_worst_first_in_groups_with_wins_and_losses_marked() -> None:
    def row(race: str, case: str, ratio: float, peer: str = "them") -> dict[str, Any]:
        ends = {"ratio": ratio, "spread": [ratio - 0.1, ratio + 0.1], "ours": 1, "theirs": 1, "unit": "s"}
        more = {"repeats": 3, "threads": 1, "cpu": "", "date": "2026", "peer_version": ""}
        return {"race": race, "case": case, "peer": peer, **ends, **more}

    rows = [row("startup", "help", 3), row("ranks", "fair", 2), row("ranks", "even", 1.05), row("ranks", "slow", 0.9)]
    limit = row("startup", "help", 0.1, "limit")
    page = races_page([row("ranks", "slow", 0.2), limit, *rows, row("ranks", "slow", 0.5)])
    assert re.findall(r"^## (\w+)", page, re.MULTILINE) == ["ranks", "startup"]
    marked = re.findall(r"^\| (\S+) \| (\w+) \| them", page, re.MULTILINE)
    assert marked == [("**lost**", "slow"), ("*even*", "even"), ("**won**", "fair"), ("**won**", "help")]
    assert "| limit | help | limit" in page, "what is no rival makes no race a lost one"
    assert re.search(r"\[startup\].* \| 1 \| 0 \| 0 \|", page)


def test_a_race_that_is_lost_somewhere_has_a_remark_on_why_and_is_one() -> None:
    """Also where all there is to say is that nobody has measured it."""
    latest: dict[tuple[str, str, str], dict[str, Any]] = {}
    for line in (PROJECT / "results" / "bench.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        latest[row["race"], row["case"], row["peer"]] = row
    lost = {race for (race, _, peer), row in latest.items() if peer != LIMIT and row["spread"][1] < 1}
    assert race_remarks.RACES.keys() >= lost, "say in docs/race_remarks.py what was measured of the cause"
    assert race_remarks.RACES.keys() <= races().keys()
    assert race_remarks.RACES["ground"] in races_page(list(latest.values()))


# ---- names of files and modules


def _is_there(place: str) -> bool:
    """Whether a path that a text names is one of the project, words in capitals standing for any."""
    pattern = re.sub("[A-Z]{4,}", "*", place)
    return any(next(folder.glob(pattern), None) is not None for folder in (PROJECT, PACKAGE))


def _leads_somewhere(name: str) -> bool:
    """Whether a dotted name is a module, or a name that one defines or takes in."""
    *modules, last = name.split(".")[1:]
    for depth, rest in ((len(modules) + 1, []), (len(modules), [last]), (len(modules) - 1, [*modules[-1:], last])):
        path = PACKAGE.joinpath(*name.split(".")[1 : 1 + max(depth, 0)])
        file = next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)
        if file is not None:
            return all(re.search(rf"\b{re.escape(each)}\b", file.read_text(encoding="utf-8")) for each in rest)
    return False


@pytest.mark.parametrize("name", [*DOCUMENTS, "src"])
def test_files_and_modules_that_are_named_are_there(name: str) -> None:
    """In the documents, and in the docstrings and comments of the package."""
    files = sorted(PACKAGE.rglob("*.py")) if name == "src" else [PROJECT / name]
    for file in files:
        text = file.read_text(encoding="utf-8")
        places = set(re.findall(r"`([a-zA-Z_]+(?:/[a-zA-Z_.]+)+\.(?:py|md|jsonl))`", text))
        assert [each for each in places if not _is_there(each)] == [], file
        names = set(re.findall(r"`(deixis(?:\.[a-zA-Z_]+)+)(?:`|\()", text)) - {"deixis.NAME"}
        assert [each for each in names if not _leads_somewhere(each)] == [], file


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("deixis.ops.metrics", True),
        ("deixis.ops.metrics.retrieval", True),
        ("deixis.engine.claims", True),
        ("deixis.ops.metrics.retrival", False),
        ("deixis.engine.heldout", False),
    ],
)
def test_a_name_that_leads_nowhere_is_found(name: str, there: bool) -> None:
    assert _leads_somewhere(name) == there
