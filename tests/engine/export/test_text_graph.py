"""The text side as a graph gives the embeddings of the model; what is damaged, or of another model, is passed over."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from deixis import zoo
from deixis.apps.index.index import index
from deixis.engine.export import text_graph
from deixis.engine.export.text_graph import FILE, LIMIT, RESIDUAL, TextGraph, read_text_graph, write_text_graph
from deixis.files import cache_dir
from deixis.nn.adaptation.adapters import TextResidual
from deixis.nn.dual import DualEncoder
from deixis.zoo import scratch
from tests.pictures import COLOURS, picture

TEXTS = ("a red bird", "", "r\u00f8d [SEP] \ud83d", "a bird " * 200)


class Words:
    """Stands for the rules of a tokenizer, and for its result: a token a letter."""

    def encode(self, text: str) -> Words:
        self.ids = [ord(letter) for letter in text]
        return self


class Means:
    """Stands for a session: the mean token, and how many there are, at length 1."""

    def run(self, names: None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        row = np.array([[given["tokens"].mean(), given["mask"].sum()]], np.float32)
        return [row / np.linalg.norm(row)]


def test_the_correction_of_texts_is_that_of_the_adapter() -> None:
    adapter = TextResidual(2)
    torch.nn.init.normal_(adapter.linear.weight)
    torch.nn.init.normal_(adapter.linear.bias)
    adapter.strength.fill_(0.5)
    texts = ["ab", "xyz"]
    plain = TextGraph(Means(), Words(), None).encode_text(texts)
    linear = np.concatenate(
        [adapter.linear.weight.numpy(force=True), adapter.linear.bias.numpy(force=True)[:, None]], 1
    )
    moved = TextGraph(Means(), Words(), (linear, 0.5)).encode_text(texts)
    wanted = adapter(torch.from_numpy(plain)).numpy(force=True)
    np.testing.assert_allclose(moved, wanted, atol=1e-6)
    assert np.abs(moved - plain).max() > 0.01


def test_toys_and_towers_without_a_name_get_no_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not write_text_graph(zoo.load("tiny"), tmp_path)
    monkeypatch.setattr(text_graph, "_TOY", 0)
    assert not write_text_graph(scratch.build(["a red bird"], "tiny", 32), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}', '{"format": 1, "fingerprint": "of another"}'])
def test_what_is_no_record_of_this_model_is_passed_over(content: str, tmp_path: Path) -> None:
    assert read_text_graph(tmp_path, "this") is None
    (tmp_path / FILE).write_text(content)
    assert read_text_graph(tmp_path, "this") is None


class TooOld:
    """An onnxruntime that lacks what is asked of it."""

    class SessionOptions:
        pass


@pytest.mark.parametrize("installed", [None, TooOld], ids=["missing", "too old"])
def test_without_an_onnxruntime_that_can_the_model_itself_reads_the_words(
    installed: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cache_dir("text-graphs") / "graph"
    folder.mkdir(parents=True)
    for name in text_graph._FILES:
        (folder / name).write_bytes(b"x")
    facts = {"format": 1, "fingerprint": "this", "graph": "graph", "length": 8, "correction": None}
    (tmp_path / FILE).write_text(json.dumps({**facts, "hashes": text_graph._hashes(folder)}))
    with monkeypatch.context() as patch:
        graph = TextGraph(Means(), Words(), None)
        patch.setattr(text_graph, "_open", lambda *_: graph)
        assert read_text_graph(tmp_path, "this") is graph, "all else is as it must be"
    monkeypatch.setitem(sys.modules, "onnxruntime", installed)
    assert read_text_graph(tmp_path, "this") is None


def corrected(encoder: DualEncoder) -> DualEncoder:
    adapter = TextResidual(encoder.width)
    torch.nn.init.normal_(adapter.linear.weight, std=0.1)
    return encoder.with_adapters(None, adapter.requires_grad_(False)).eval()


@pytest.mark.slow
def test_embeddings_are_those_of_the_model_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_graph, "_TOY", 0)
    encoder = corrected(zoo.load("tiny"))
    assert write_text_graph(encoder, tmp_path)
    assert json.loads((tmp_path / FILE).read_text())["largest_difference"] <= LIMIT
    graph = read_text_graph(tmp_path, encoder.fingerprint())
    assert graph is not None
    wanted = encoder.encode_text(list(TEXTS)).numpy(force=True)
    np.testing.assert_allclose(graph.encode_text(TEXTS), wanted, atol=LIMIT)
    assert read_text_graph(tmp_path, "of another model") is None
    (folder,) = cache_dir("text-graphs").iterdir()
    for path in (tmp_path / RESIDUAL, *sorted(folder.iterdir())):
        whole = path.read_bytes()
        for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
            path.write_bytes(damaged)
            assert read_text_graph(tmp_path, encoder.fingerprint()) is None, path.name
        path.unlink()
        assert read_text_graph(tmp_path, encoder.fingerprint()) is None, path.name
        path.write_bytes(whole)
    assert read_text_graph(tmp_path, encoder.fingerprint()) is not None
    monkeypatch.setattr(text_graph, "LIMIT", -1.0)
    other = tmp_path / "other"
    other.mkdir()
    assert not write_text_graph(encoder, other)
    assert not list(other.iterdir()), "what differs from the model is not written"


SEARCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        assert name != "torch", "torch was imported"

if sys.argv[1] == "without torch":
    sys.meta_path.insert(0, NoTorch())
from deixis.cli import main
sys.argv = ["deixis", "search", *sys.argv[2:]]
main()
"""


@pytest.mark.slow
def test_a_search_by_words_from_the_shell_needs_no_torch(fetched: Callable[[str], Path], tmp_path: Path) -> None:
    fetched("starter")
    (tmp_path / "pictures").mkdir()
    for name, colour in COLOURS.items():
        picture(tmp_path / "pictures" / f"{name}.png", colour, random.Random(name))
    index(tmp_path / "pictures", out=tmp_path / "run", quiet=True)
    answers = []
    for way in ("without torch", "with torch"):
        if way == "with torch":
            (tmp_path / "run" / "index" / FILE).unlink()
        done = subprocess.run(
            [sys.executable, "-c", SEARCH, way, str(tmp_path / "run"), "a red sheet", "--json"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout)["found"])
    assert [each["item"]["id"] for each in answers[0]] == [each["item"]["id"] for each in answers[1]]
    assert [each["score"] for each in answers[0]] == pytest.approx([each["score"] for each in answers[1]], abs=2e-5)
