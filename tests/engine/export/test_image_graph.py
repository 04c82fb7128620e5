"""The image side as a graph: it stands for the tower where it says the same, and torch embeds where it does not."""

from __future__ import annotations

import importlib.metadata
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from deixis import zoo
from deixis.apps.index import index as app
from deixis.apps.index.index import index, update
from deixis.engine.export import image_graph
from deixis.engine.export.image_graph import ImageGraph, open_image_graph
from deixis.engine.features import image_call as calls
from deixis.engine.features.calls import PartCall
from deixis.engine.features.embedding import encode_once, vectors
from deixis.engine.features.image_call import image_call, same_call
from deixis.engine.features.store import FeatureStore
from deixis.files import cache_dir
from deixis.nn.dual import DualEncoder
from tests.pictures import COLOURS, picture


class Halves:
    """Stands for a session: all rows alike."""

    def __init__(self, encoder: DualEncoder) -> None:
        self._encoder = encoder

    def run(self, names: None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        rows = len(given["pixels"])
        embedding = np.full((rows, self._encoder.width), self._encoder.width**-0.5, np.float32)
        return [embedding, np.zeros((rows, self._encoder.feature_width), np.float32), np.zeros(rows, np.float32)]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = random.Random(0)
    return [picture(tmp_path / "pictures" / f"{i}.png", each, rng) for i, each in enumerate(COLOURS.values())]


def test_rows_of_a_graph_and_of_the_tower_lie_beside_each_other(pictures: list[Path], tmp_path: Path) -> None:
    encoder, store = zoo.load("tiny").eval(), FeatureStore(tmp_path / "features.sqlite")
    graph = PartCall.states(encoder, ImageGraph(Halves(encoder), "digest"))
    by_torch = encode_once(encoder, pictures, store)
    by_graph = encode_once(graph, pictures, store)
    assert by_torch.hashes == by_graph.hashes
    assert by_torch.encoded == by_graph.encoded == len(pictures)
    assert torch.allclose(vectors(graph, by_graph.hashes, store), torch.tensor(encoder.width**-0.5))
    wanted = encoder.encode_image(pictures)
    torch.testing.assert_close(vectors(encoder, by_torch.hashes, store), wanted, atol=1e-5, rtol=0)


def test_pictures_that_torch_embedded_before_stay_with_torch(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, store = zoo.load("tiny").eval(), FeatureStore(tmp_path / "features.sqlite")
    monkeypatch.setattr(calls, "OPENS", 1)
    monkeypatch.setattr(calls, "image_graph", lambda *_: ImageGraph(Halves(encoder), "digest"))
    assert image_call(encoder, pictures, store, print).engine.startswith("onnxruntime ")
    encode_once(encoder, pictures[:1], store)
    assert image_call(encoder, pictures, store, print).engine
    encode_once(encoder, pictures, store)
    assert not image_call(encoder, pictures, store, print).engine


def test_that_an_index_goes_on_with_another_engine_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    encoder = zoo.load("tiny")
    assert not same_call(encoder, "", 5, print).engine
    assert not same_call(encoder, "onnxruntime 1.18.0", 0, print).engine
    assert not capsys.readouterr().out
    assert not same_call(encoder, "onnxruntime 1.18.0", 5, print).engine
    assert "onnxruntime 1.18.0, which can't be used here" in capsys.readouterr().out


@pytest.mark.parametrize("version", ["1.17.3", "0.9"])
def test_an_engine_that_is_too_old_is_not_used(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_graph, "_TOY", 0)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    monkeypatch.setattr(image_graph, "_session", pytest.fail)
    assert open_image_graph(zoo.load("tiny")) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}', '{"format": 1, "fingerprint": "of another"}'])
def test_what_is_no_graph_of_this_model_is_passed_over(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_graph, "_TOY", 0)
    encoder = zoo.load("tiny")
    folder = cache_dir("image-graphs") / encoder.fingerprint()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "graph.json").write_text(content)
    assert open_image_graph(encoder) is None
    shutil.rmtree(folder)


@pytest.mark.slow
def test_an_index_is_made_and_updated_by_a_graph_until_it_is_damaged(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module, name, value in ((image_graph, "_TOY", 0), (image_graph, "OPENS", 1), (image_graph, "PAYS", 1)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(calls, "OPENS", 1)
    encoder = zoo.load("tiny")
    made = index(pictures[0].parent, tmp_path / "run", "tiny")
    assert made.engine.startswith("onnxruntime ")
    assert f"embedded with {made.engine}" in capsys.readouterr().err
    wanted = encoder.encode_image(pictures).numpy(force=True)
    rows = {item["id"]: row for row, item in made.items()}
    found = np.stack([made.vector(rows[path.name]) for path in pictures])
    np.testing.assert_allclose(found, wanted, atol=1e-5)

    picture(pictures[0].parent / "new.png", (1, 2, 3), random.Random(1))
    engines: list[str] = []

    def noted(call: PartCall, hashes: Sequence[str], store: FeatureStore) -> torch.Tensor:
        engines.append(call.engine)
        return vectors(call, hashes, store)

    monkeypatch.setattr(app, "vectors", noted)
    update(tmp_path / "run", pictures[0].parent)
    assert engines == [made.engine]

    folder = cache_dir("image-graphs") / encoder.fingerprint()[:16]
    facts = json.loads((folder / "graph.json").read_text())
    for path in (folder / name for name in facts["hashes"]):
        whole = path.read_bytes()
        for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
            path.write_bytes(damaged)
            assert open_image_graph(encoder) is None, path.name
        path.write_bytes(whole)
    graph = open_image_graph(encoder)
    assert graph is not None
    pixels = torch.rand(5, 3, encoder.preprocess.size, encoder.preprocess.size)
    whole_batch = graph.states(pixels).embedding
    one_by_one = torch.cat([graph.states(each[None]).embedding for each in pixels])
    assert torch.equal(whole_batch, one_by_one), "a row does not hang on what it is computed with"
    monkeypatch.setattr(image_graph, "COSINE", 1.1)
    assert open_image_graph(encoder) is None, "what differs from the tower does not stand for it"
