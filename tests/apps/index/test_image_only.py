"""A run that was trained on images alone: indexed, searched by images, served; words are refused with the cure."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deixis
from deixis import zoo
from deixis.apps.common.dataset import check
from deixis.apps.common.loading import load_encoder
from deixis.apps.index.index import index, update
from deixis.apps.label.label import label
from deixis.apps.search.search import near, search
from deixis.apps.search.searcher import Searcher
from deixis.apps.serve.server_state import ServerState
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.errors import DeixisError
from deixis.indexing.index import Index
from deixis.methods import seer
from tests.apps.serve.serving import problem, running, sent
from tests.commands import own_cache
from tests.pictures import labelled, picture

SETTINGS = TrainSettings(config="tiny", precision="float32", steps=2, batch_size=4, workers=0, tensorboard="no")
REFUSED = "no model that compares words with images. Use it with images: .*For words, take a model that reads text"


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`pictures` with labels, `eyes`, a run of SEER on them, and `index`, made with it."""
    folder = tmp_path_factory.mktemp("eyes")
    with own_cache(folder / "cache"):
        labelled(folder / "pictures", 8)
        train("seer", str(folder / "pictures"), folder / "eyes", SETTINGS, quiet=True)
        index(str(folder / "pictures"), folder / "index", str(folder / "eyes"), quiet=True)
        yield folder


def test_the_index_of_a_run_without_text_holds_what_its_method_says_and_is_searched_by_images(eyes: Path) -> None:
    encoder, opened = load_encoder(eyes / "eyes"), Index.open(eyes / "index" / "index")
    paths = [opened.item(row)["path"] for row in range(len(opened))]
    method = deixis.load_method(eyes / "eyes")
    expected = method.encode_image(encoder.read_images(paths)).detach().numpy()
    np.testing.assert_allclose(opened.vectors, expected, atol=2e-6)
    with Image.open(paths[3]) as shown:
        found = search(eyes / "index", images=[shown], minus=[paths[0]], mix=1.0, minus_weight=0.0)
    assert found[0].item["path"] == paths[3]
    assert len(near(eyes / "index", -1.0)) == len(paths) * (len(paths) - 1) // 2


def test_the_index_stands_by_itself_once_the_run_is_gone(eyes: Path, tmp_path: Path) -> None:
    shutil.copytree(eyes / "index", tmp_path / "index")
    shutil.copytree(eyes / "pictures", tmp_path / "more")
    new = picture(tmp_path / "more" / "new.png", (200, 30, 30), random.Random(5))
    changed = update(tmp_path / "index", str(tmp_path / "more"))
    assert str(new) in {item["path"] for _, item in Index.open(tmp_path / "index" / "index").items()}
    assert len(changed.added) == 9
    shutil.rmtree(tmp_path / "index" / "model")
    with pytest.raises(DeixisError, match="'seer' that made the index is not in"):
        update(tmp_path / "index", str(tmp_path / "more"))
    update(tmp_path / "index", str(tmp_path / "more"), model=str(eyes / "eyes"))
    assert search(tmp_path / "index", new)[0].score < 1.0
    assert type(deixis.load(tmp_path / "index")) is type(deixis.load_method(eyes / "eyes"))


def test_words_are_refused_with_one_cure_wherever_they_would_be_read(eyes: Path) -> None:
    searcher, photo = Searcher(eyes / "index"), next((eyes / "pictures").rglob("*.png"))
    for words in ({"query": "a red square"}, {"query": photo, "minus": ["a red square"]}):
        with pytest.raises(DeixisError, match=REFUSED):
            search(eyes / "index", **words)
    with pytest.raises(DeixisError, match=REFUSED):
        searcher.search("a red square")
    for name in ("eyes", "index"):
        encoder = load_encoder(eyes / name)
        for call in (encoder.encode_text, encoder.tokenize, encoder.tokenizer.overflow):
            with pytest.raises(DeixisError, match=REFUSED):
                call(["a red square"], *([77] if call == encoder.tokenizer.overflow else []))
        with pytest.raises(DeixisError, match=REFUSED):
            zoo.load(eyes / name)  # as every verb loads that compares words with images


def test_images_are_labelled_and_checked_with_a_run_without_text(eyes: Path, tmp_path: Path) -> None:
    table = label(str(eyes / "pictures"), tmp_path / "labels.csv", str(eyes / "eyes"), quiet=True)
    assert len(table.read_text("utf-8").splitlines()) == 9
    report = check(str(eyes / "pictures"), model=str(eyes / "eyes"), quiet=True)
    assert "seer reads no text" in str(report.to_dict())


def test_a_run_that_embeds_nothing_is_refused_by_what_it_lacks(eyes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seer, "CARD", dataclasses.replace(seer.CARD, capabilities=("image_tokens",)))
    with pytest.raises(DeixisError, match="'seer', which embeds no images"):
        load_encoder(eyes / "eyes")


def test_an_index_without_text_is_served_and_the_page_learns_that_words_are_no_use(
    eyes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServerState, "grounder", None)  # a detector would read words by itself
    photo = next((eyes / "pictures").rglob("*.png"))
    with running(eyes / "index") as server:
        told = server.get("/run").json()
        assert (told["reads_text"], told["can_explain"], told["languages"]) == (False, False, "")
        with Image.open(photo) as shown:
            found = server.found(images=[sent(shown)])
            assert len(server.post("/embed", {"images": [sent(shown)]}).json()["embeddings"][0]) == told["width"]
        assert len(found) == 8 - 1
        assert len(server.get("/items/0/neighbours").json()) == 8 - 1
        for path, body in (("/search", {"texts": ["red"]}), ("/embed", {"texts": ["red"]})):
            assert "reads text, such as starter" in problem(server.post(path, body), 422)
        explained = server.post("/explain", {"row": 0, "texts": ["red"]})
        assert "reads text, such as starter" in problem(explained, 422)


def test_an_index_without_text_is_replaced_like_any_other(eyes: Path, tmp_path: Path) -> None:
    for overwrite in (False, True):
        index(str(eyes / "pictures"), tmp_path / "index", str(eyes / "eyes"), overwrite=overwrite, quiet=True)
