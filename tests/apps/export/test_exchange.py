"""Indices that leave for other programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from deixis import zoo
from deixis.apps.export.exchange import export_index
from deixis.apps.export.settings import Database
from deixis.apps.index.approximate import approximate
from deixis.errors import DeixisError
from deixis.indexing.changes import build
from deixis.nn.dual import DualEncoder

WORDS = ["a red bird", "a boat", "two cats", "a blue kite"]


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    return zoo.load("tiny").eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, encoder: DualEncoder) -> Path:
    """An index of words, which the tiny model encodes at once."""
    folder = tmp_path_factory.mktemp("run")
    vectors = np.asarray(encoder.encode_text(WORDS).detach())
    items = [{"id": word, "path": f"{word}.png", "captions": [word], "label": None} for word in WORDS]
    build(folder / "index", vectors, items, model=encoder.name, fingerprint=encoder.fingerprint())
    return folder


@pytest.mark.parametrize("to", ["npy", pytest.param("faiss", marks=pytest.mark.slow)])
def test_an_index_goes_out_once_unless_it_may_be_replaced(
    tmp_path: Path, run: Path, encoder: DualEncoder, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    export_index(run, to, tmp_path / "out")
    assert f"4 vectors, made by tiny ({encoder.fingerprint()[:12]}), are in" in capsys.readouterr().out
    ids = [json.loads(line)["id"] for line in (tmp_path / "out" / "items.jsonl").read_bytes().splitlines()]
    assert ids == WORDS
    with pytest.raises(DeixisError, match="is there already"):
        export_index(run, to, tmp_path / "out")
    export_index(run, to, tmp_path / "out", overwrite=True, quiet=True)
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(DeixisError, match="is no export"):
        export_index(run, to, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_what_can_not_be_exported_says_why(tmp_path: Path, run: Path) -> None:
    with pytest.raises(DeixisError, match="npy, faiss, postgres"):
        export_index(run, "csv", tmp_path / "out")
    with pytest.raises(DeixisError, match="There is no folder"):
        export_index(tmp_path / "none", "npy", tmp_path / "out")


@pytest.mark.slow
def test_a_server_or_package_that_is_missing_is_told(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeixisError, match="can't be reached"):
        export_index(run, "postgres", database=Database(f"host={tmp_path} user=x connect_timeout=2"), quiet=True)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DeixisError, match=r"deixis\[postgres\]"):
        export_index(run, "postgres", quiet=True)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(DeixisError, match="pip install faiss-cpu"):
        export_index(run, "faiss", tmp_path / "out", quiet=True)


@pytest.mark.slow
def test_the_recall_of_a_graph_is_printed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("usearch")
    made = approximate(run)
    said = capsys.readouterr().out
    assert made.sentence == " ".join(said.split())
    assert "100.0% with 64 candidates" in said
