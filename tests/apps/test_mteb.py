"""mteb evaluates our models and our index as it does its own: on a task of a few pictures, without a network."""

from __future__ import annotations

import importlib.util
import random
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deixis import zoo
from deixis.errors import DeixisError
from tests.pictures import COLOURS, picture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("mteb") is None, reason="mteb is not installed"),
    pytest.mark.filterwarnings("ignore:::mteb"),
    pytest.mark.filterwarnings("ignore:::datasets"),
]


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Words that look for pictures: each colour names the pictures of that colour."""
    from datasets import Dataset
    from mteb.mocks import MockAny2AnyRetrievalT2ITask

    folder, rng = tmp_path_factory.mktemp("mteb"), random.Random(0)
    names = {f"{colour}-{i}": colour for colour in COLOURS for i in range(3)}
    for name, colour in names.items():
        picture(folder / f"{name}.png", COLOURS[colour], rng)

    class Colours(MockAny2AnyRetrievalT2ITask):
        def load_data(self, num_proc: int | None = None, **options: Any) -> None:
            images = [opened(folder / f"{name}.png") for name in names]
            queries = [f"a {colour} sheet" for colour in COLOURS]
            relevant = {f"q-{c}": {name: int(colour == c) for name, colour in names.items()} for c in COLOURS}
            data = {
                "queries": Dataset.from_dict({"id": [f"q-{c}" for c in COLOURS], "text": queries}),
                "corpus": Dataset.from_dict({"id": list(names), "image": images}),
                "relevant_docs": relevant,
                "top_ranked": None,
            }
            self.dataset, self.data_loaded = {"default": {"test": data}}, True

    made = Colours()
    made.load_data()
    return made


def scored(model: Any, task: Any) -> Mapping[str, float]:
    import mteb

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = mteb.evaluate(model, task, cache=None, overwrite_strategy="always", show_progress_bar=False)
    return found.task_results[0].scores["test"][0]


def test_mteb_finds_what_we_find(task: Any) -> None:
    from deixis.apps.mteb import MtebEncoder

    data = task.dataset["default"]["test"]
    encoder = zoo.load("tiny")
    images = encoder.encode_image(list(data["corpus"]["image"]))
    texts = encoder.encode_text(list(data["queries"]["text"]))
    first = (texts @ images.T).argmax(1).tolist()
    names, queries = list(data["corpus"]["id"]), list(data["queries"]["id"])
    hits = [data["relevant_docs"][query][names[row]] for query, row in zip(queries, first, strict=True)]
    assert scored(MtebEncoder("tiny"), task)["precision_at_1"] == pytest.approx(np.mean(hits), abs=1e-4)


def test_our_index_finds_what_mteb_does(task: Any) -> None:
    from deixis.apps.mteb import MtebEncoder, MtebSearch

    by_mteb, by_us = scored(MtebEncoder("tiny"), task), scored(MtebSearch("tiny"), task)
    for name in ("ndcg_at_10", "map_at_5", "recall_at_3", "mrr_at_10"):
        assert by_us[name] == pytest.approx(by_mteb[name], abs=1e-6), name


def test_a_choice_of_documents_is_kept_to(task: Any, tmp_path: Path) -> None:
    from deixis.apps.mteb import MtebSearch

    data = task.dataset["default"]["test"]
    search = MtebSearch("tiny", tmp_path)
    with pytest.raises(DeixisError, match="Nothing was indexed"):
        search.search(data["queries"], top_k=3)
    search.index(data["corpus"])
    wanted = [str(name) for name in data["corpus"]["id"][4:6]]
    chosen = {str(query): wanted for query in data["queries"]["id"]}
    found = search.search(data["queries"], top_k=3, top_ranked=chosen)
    assert {frozenset(each) for each in found.values()} == {frozenset(wanted)}


def test_words_and_a_picture_together_lie_halfway() -> None:
    from deixis.apps.mteb import MtebEncoder

    model, image = MtebEncoder("tiny"), Image.new("RGB", (40, 40), (200, 0, 0))
    words, seen = model.encode([{"text": ["a red sheet"]}]), model.encode([{"image": [image]}])
    both = model.encode([{"text": ["a red sheet"], "image": [image]}])
    torch.testing.assert_close(model.similarity(both, words), model.similarity(both, seen), atol=1e-5, rtol=0)
    torch.testing.assert_close(model.similarity_pairwise(both, both), torch.ones(1))


def test_sounds_are_refused() -> None:
    from deixis.apps.mteb import MtebEncoder

    with pytest.raises(DeixisError, match="audio"):
        MtebEncoder("tiny").encode([{"audio": [object()]}])
