"""`deixis eval`: a protocol gets the data and a folder, and the folder is there when all went well, or not at all."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deixis.apps.common.console import Reporter
from deixis.apps.eval import evaluate as app
from deixis.apps.eval.settings import EvalSettings
from deixis.errors import DeixisError
from deixis.types import Sample, Source

SOURCE = Source("two", Path("."), "captions", "made", (Sample("a", None), Sample("b", None)))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a protocol that counts samples, and fails where there is a limit."""
    module = types.ModuleType("deixis.apps.eval.counted")

    def run(source: Source, settings: EvalSettings, folder: Path, talk: Reporter) -> Mapping[str, Any]:
        (folder / "table.html").write_text("two", encoding="utf-8")
        if settings.limit:
            raise DeixisError("There is a limit.", "Take it away.")
        return {"samples": len(source.samples)}

    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(app, "PROTOCOLS", {"counted": "counted"})
    return "counted"


def test_what_the_protocol_found_stands_in_the_result_with_what_it_took(counted: str, tmp_path: Path) -> None:
    out = tmp_path / "found"
    result = app.evaluate(SOURCE, out, EvalSettings(protocol=counted), quiet=True)
    assert (result["samples"], result["protocol"]) == (2, "counted")
    assert result["seconds"]["total"] >= 0
    assert json.loads((out / "result.json").read_text()) == result
    assert (out / "table.html").exists()


def test_a_protocol_that_fails_leaves_nothing_and_an_old_folder_alone(counted: str, tmp_path: Path) -> None:
    out = tmp_path / "found"
    with pytest.raises(DeixisError, match="limit"):
        app.evaluate(SOURCE, out, EvalSettings(protocol=counted, limit=1), quiet=True)
    assert list(tmp_path.iterdir()) == []
    app.evaluate(SOURCE, out, EvalSettings(protocol=counted), quiet=True)
    before = (out / "result.json").read_bytes()
    with pytest.raises(DeixisError, match="limit"):
        app.evaluate(SOURCE, out, EvalSettings(protocol=counted, limit=1), overwrite=True, quiet=True)
    assert (out / "result.json").read_bytes() == before


def test_a_folder_is_replaced_only_when_asked(counted: str, tmp_path: Path) -> None:
    out = tmp_path / "found"
    app.evaluate(SOURCE, out, EvalSettings(protocol=counted), quiet=True)
    with pytest.raises(DeixisError, match="--overwrite"):
        app.evaluate(SOURCE, out, EvalSettings(protocol=counted), quiet=True)
    app.evaluate(SOURCE, out, EvalSettings(protocol=counted), overwrite=True, quiet=True)


def test_an_unknown_protocol_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="saliency"):
        app.evaluate(SOURCE, tmp_path / "found", EvalSettings(protocol="zero"), quiet=True)
