"""Indices that leave for other programs, and vectors of other programs that become a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from deixis import zoo
from deixis.apps.export.exchange import export_index, import_index
from deixis.apps.export.settings import Database
from deixis.apps.index.approximate import approximate
from deixis.apps.search.searcher import Query, Searcher
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
def test_an_index_that_went_out_is_searched_when_it_is_back(
    tmp_path: Path, run: Path, encoder: DualEncoder, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    export_index(run, to, tmp_path / "out")
    assert f"4 vectors, made by tiny ({encoder.fingerprint()[:12]}), are in" in capsys.readouterr().out
    import_index(tmp_path / "out", tmp_path / "back", encoder, quiet=True)
    answer = Searcher(tmp_path / "back").search(Query(texts=("two cats",)), 4)
    assert answer[0].item["id"] == "two cats"
    assert answer[0].score == pytest.approx(1, abs=1e-5)
    with pytest.raises(DeixisError, match="is there already"):
        export_index(run, to, tmp_path / "out")
    export_index(run, to, tmp_path / "out", overwrite=True, quiet=True)
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(DeixisError, match="is no export"):
        export_index(run, to, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_what_can_not_be_exported_or_taken_in_says_why(tmp_path: Path, run: Path, encoder: DualEncoder) -> None:
    with pytest.raises(DeixisError, match=r"'csv'.*npy, faiss, postgres"):
        export_index(run, "csv", tmp_path / "out")
    with pytest.raises(DeixisError, match="There is no folder"):
        export_index(tmp_path / "none", "npy", tmp_path / "out")
    with pytest.raises(DeixisError, match="holds no vectors"):
        import_index(run, tmp_path / "back", encoder)
    export_index(run, "npy", tmp_path / "out", quiet=True)
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    (tmp_path / "out" / "about.json").write_text(json.dumps(about | {"fingerprint": "b" * 64}))
    with pytest.raises(DeixisError, match=r"made by the model 'tiny' \(bbbbbbbbbbbb\)"):
        import_index(tmp_path / "out", tmp_path / "back", encoder)
    (tmp_path / "out" / "about.json").unlink()
    np.save(tmp_path / "out" / "vectors.npy", np.ones((4, 3), np.float32))
    with pytest.raises(DeixisError, match="have 3 numbers, those of the model tiny"):
        import_index(tmp_path / "out", tmp_path / "back", encoder)
    assert not (tmp_path / "back").exists()


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
    assert "100.0% with 64 nodes in hand" in said
