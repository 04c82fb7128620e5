"""The Protocols of methods: complete, as the documents list them, and kept by every method of the registry."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deixis.methods import get, list_methods, read
from deixis.types import CAPABILITIES, protocols
from tests.contract import KINDS, arguments, members, offering

ROOT = Path(__file__).parents[2]
HOOKS = {name: getattr(protocols, name) for name in protocols.__all__ if name.startswith("Has")}


def rows(page: str, after: str, before: str) -> str:
    """The lines of tables in a part of a page."""
    part = (ROOT / page).read_text(encoding="utf-8").split(after, 1)[1].split(before, 1)[0]
    return "\n".join(line for line in part.splitlines() if line.startswith("| "))


def listed(text: str) -> set[tuple[str, str]]:
    """The members in backticks, with their arguments; what a method keeps without being called has none."""
    called = re.findall(r"`(\w+)\(([^)]*)\)", text)
    kept = re.findall(r"`([a-z_]+)`", text)
    return {*called, *((name, "") for name in kept if name in ("config", "scale", "names"))}


def wanted(*kinds: type) -> set[tuple[str, str]]:
    """The members of Protocols, as the documents write them."""
    some = {(name, proto) for proto in kinds for name in members(proto)}
    return {
        (name, "..." if name in ("scores", "scores_of") else ", ".join(arguments(proto, name))) for name, proto in some
    }


def test_each_capability_of_the_closed_table_is_a_protocol_with_the_same_arguments() -> None:
    offers = {name for name in protocols.__all__ if name.startswith("Offers")} - {"OffersVectors", "OffersTokens"}
    assert {offering(capability).__name__ for capability in CAPABILITIES} == offers
    for name, capability in CAPABILITIES.items():
        assert members(offering(name)) == [name]
        assert arguments(offering(name), name) == [each.split(":")[0] for each in capability.arguments]


def test_every_protocol_of_a_method_is_a_kind_a_hook_or_a_capability() -> None:
    some = {
        "AnyMethod",
        "TorchModule",
        "MethodConfig",
        "MethodFile",
        *HOOKS,
        *(kind.__name__ for kind in KINDS.values()),
    }
    assert {*protocols.methods.__all__, *protocols.passage_hooks.__all__, *protocols.word_hooks.__all__} == some


def test_the_design_lists_each_hook_with_its_protocol_and_its_arguments() -> None:
    found = {}
    for row in rows("docs/design.md", "| hook | Protocol |", "\n\n").splitlines():
        what, protocol, _ = (cell.strip() for cell in row.strip("|").split(" | "))
        found[protocol.strip("`")] = listed(what)
    del found["---"]
    assert found == {name: wanted(hook) for name, hook in HOOKS.items()}


def test_the_design_lists_what_each_kind_of_method_has() -> None:
    table = rows("docs/design.md", "| kind | Protocol |", "\n\n")
    for kind, protocol in KINDS.items():
        row = next(line for line in table.splitlines() if line.startswith(f"| {kind} |"))
        assert f"`{protocol.__name__}`" in row
        assert listed(row) == wanted(protocol), kind


def test_the_guide_for_contributors_lists_all_that_the_engine_calls_and_nothing_else() -> None:
    kinds = rows("CONTRIBUTING.md", "| of kind |", "| where it is there |")
    assert listed(kinds) == wanted(*KINDS.values())
    assert listed(rows("CONTRIBUTING.md", "| where it is there |", "\n\n")) == wanted(*HOOKS.values())


@pytest.mark.slow
def test_a_type_checker_finds_that_every_method_satisfies_its_protocols(tmp_path: Path) -> None:
    """Results and annotations too, at which the tests above do not look."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    lines = ["from deixis.types import protocols"]
    for number, name in enumerate(list_methods()):
        method, card = get(name).Method, read(name).card
        hooks = [hook for hook in HOOKS.values() if all(hasattr(method, each) for each in members(hook))]
        lines.append(f"from {method.__module__} import Method as Method{number}")
        for each in (KINDS[card.kind], *hooks, *map(offering, card.capabilities)):
            lines.append(f"def check_{len(lines)}(method: Method{number}) -> protocols.{each.__name__}: return method")
    assert len(lines) > 4 * len(list_methods())
    assert typed(tmp_path, lines) == ""
    wrong = "def wrong(method: Method0) -> protocols.OffersVerbalise: return method"
    assert "verbalise" in typed(tmp_path, [*lines, wrong]), "a method without it would be found"


def typed(folder: Path, lines: list[str]) -> str:
    """What mypy complains of."""
    file = folder / "check.py"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command: list[Any] = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--no-error-summary"]
    cache = ["--cache-dir", ROOT / ".mypy_cache"]  # where `make check` has left most of the work done
    return subprocess.run([*command, *cache, file], cwd=ROOT, capture_output=True, text=True, check=False).stdout
