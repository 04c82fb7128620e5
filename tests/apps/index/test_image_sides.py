"""Image towers, and places of encoders, as the model of an index: images find images, and words are refused."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from deixis import zoo
from deixis.apps.common.loading import load_encoder, reads_text, save_encoder
from deixis.apps.common.options import Reading
from deixis.apps.image_sides.image_side import image_side
from deixis.apps.image_sides.places import LayerFeatures, block_places, tower_of
from deixis.apps.index.index import index, index_folder, update
from deixis.apps.index.settings import IndexSettings
from deixis.apps.search.search import search
from deixis.apps.search.searcher import Searcher
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.errors import DeixisError
from deixis.indexing.index import Index
from tests.commands import own_cache
from tests.pictures import labelled, picture

TOWER = "scratch:resnet:tiny:32"
REFUSED = "no model that compares words with images"


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[Path]:
    """Eight pictures with labels, and a cache of one's own."""
    with own_cache(tmp_path / "cache"):
        labelled(tmp_path / "pictures", 8)
        yield tmp_path / "pictures"


@pytest.mark.parametrize("name", [TOWER, "tiny@{last}"])
def test_an_index_of_a_tower_or_a_place_holds_unit_features_and_is_searched_by_images(
    name: str, pictures: Path, tmp_path: Path
) -> None:
    name = name.format(last=block_places(tower_of("tiny"))[-1])
    made = index(str(pictures), tmp_path / "index", name, quiet=True)
    paths = [made.item(row)["path"] for row in range(len(made))]
    images = load_encoder(name).read_images(paths)
    tower, _, place = name.partition("@")
    with torch.no_grad():
        inside = tower_of(tower)
        rows = LayerFeatures(inside, place).encode_image(images) if place else inside(images)
    np.testing.assert_allclose(made.vectors, F.normalize(rows, dim=1).numpy(), atol=1e-5)
    assert search(tmp_path / "index", paths[3])[0].item["path"] != paths[3], "a query is not its own result"
    assert not Searcher(tmp_path / "index").reads_text
    for call in (lambda: search(tmp_path / "index", "a red square"), lambda: zoo.load(tmp_path / "index")):
        with pytest.raises(DeixisError, match=REFUSED):
            call()


def test_the_cells_of_a_place_have_its_features_as_their_mean() -> None:
    encoder, images = image_side(f"{TOWER}@stages.1"), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        cells = encoder.image_tower.tokens(images).states
        torch.testing.assert_close(F.normalize(cells.mean(dim=1), dim=1), encoder.encode_image(images))


def test_a_place_of_an_adapted_model_is_kept_with_the_index(pictures: Path, tmp_path: Path) -> None:
    zoo.save(zoo.load("tiny"), tmp_path / "mine")
    name = f"{tmp_path / 'mine'}@{block_places(tower_of('tiny'))[0]}"
    index(str(pictures), tmp_path / "index", name, quiet=True)
    shutil.rmtree(tmp_path / "mine")
    again = index(str(pictures), tmp_path / "again", str(tmp_path / "index"), quiet=True)
    assert again.manifest["fingerprint"] == Index.open(tmp_path / "index" / "index").manifest["fingerprint"]
    new = picture(pictures / "new.png", (200, 30, 30), random.Random(5))
    assert len(update(tmp_path / "index", str(pictures)).added) == 1
    assert str(new) in {item["path"] for _, item in Index.open(tmp_path / "index" / "index").items()}
    config = tmp_path / "index" / "model" / "config.json"
    facts = json.loads(config.read_text("utf-8"))
    config.write_text(json.dumps({**facts, "fingerprint": "another"}), "utf-8")
    with pytest.raises(DeixisError, match="with fingerprint another, and the one here has"):
        update(tmp_path / "index", str(pictures))


@pytest.mark.slow
def test_a_place_that_the_method_of_a_run_names_is_kept_with_the_index(pictures: Path, tmp_path: Path) -> None:
    settings = TrainSettings(config="tiny", precision="float32", steps=2, batch_size=4, workers=0, tensorboard="no")
    train("projection_head", str(pictures), tmp_path / "eyes", settings, quiet=True)
    made = index(str(pictures), tmp_path / "index", f"{tmp_path / 'eyes'}@post", quiet=True)
    whole = index(str(pictures), tmp_path / "whole", str(tmp_path / "eyes"), quiet=True)
    assert made.vectors.shape != whole.vectors.shape
    shutil.rmtree(tmp_path / "eyes")
    index(str(pictures), tmp_path / "again", str(tmp_path / "index"), quiet=True)
    encoder = load_encoder(tmp_path / "again")
    rows = encoder.encode_image([made.item(row)["path"] for row in range(len(made))])
    np.testing.assert_allclose(rows.numpy(), made.vectors, atol=2e-6)


def test_wrong_places_are_refused_before_any_work(pictures: Path, tmp_path: Path) -> None:
    refused = {
        IndexSettings(model=TOWER, at="stage.0"): "no layer 'stage.0'. Near names: stages.0",
        IndexSettings(model=f"{TOWER}@stages.0", at="stages.1"): "names a place already",
        IndexSettings(at="stages.0", update=True): "--at is of a new index",
    }
    for settings, message in refused.items():
        with pytest.raises(DeixisError, match=message):
            index_folder([str(pictures)], str(tmp_path / "out"), settings, Reading(), overwrite=False, quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_revision_of_a_hub_is_no_place(tmp_path: Path) -> None:
    with pytest.raises(DeixisError) as told:
        load_encoder("hf-hub:somebody/something@abc")
    assert "layer" not in str(told.value)
    save_encoder(image_side(TOWER), tmp_path / "model", TOWER)
    assert not reads_text(tmp_path / "model")
    assert load_encoder(tmp_path / "model").fingerprint() == image_side(TOWER).fingerprint()
