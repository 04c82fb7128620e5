"""`deixis eval --encoders`: image sides, pixels, a hash, layers and whitened features in one table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from deixis import engine
from deixis.apps.eval.encoders import at_places, load_image_side
from deixis.apps.eval.evaluate import evaluate
from deixis.apps.eval.settings import EvalSettings
from deixis.apps.image_sides import places
from deixis.apps.image_sides.places import PlaceFeatures, method_places
from deixis.errors import DeixisError
from deixis.inputs.duplicates import perceptual_hash
from tests.commands import own_cache
from tests.pictures import labelled

NAMES = "tiny,tiny+whiten:8,pixels,phash,scratch:resnet:tiny:32,scratch:resnet:tiny:32@stages.0"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("encoders")
    with own_cache(folder / "cache"):
        labelled(folder / "labels", 36)
        yield folder / "labels"


@pytest.mark.slow
def test_all_kinds_of_encoders_stand_in_one_table_with_differences_to_the_first(data: Path, tmp_path: Path) -> None:
    settings = EvalSettings(protocol=("knn",), encoders=(NAMES,), neighbours=(3,))
    evaluate(str(data), tmp_path / "out", settings, quiet=True)
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    names = NAMES.split(",")
    assert result["model"] == names
    assert list(dict.fromkeys(row["model"] for row in result["rows"])) == names
    assert list(dict.fromkeys(each["model"] for each in result["differences"])) == names[1:]
    assert next(row["value"] for row in result["rows"] if row["model"] == "pixels") > 0.9, "the classes are colours"
    assert all(result["models"][name]["seconds_per_image"] > 0 for name in names)
    assert "seconds per image" in (tmp_path / "out" / "table.txt").read_text("utf-8")


@pytest.mark.slow
def test_without_a_protocol_an_image_side_is_measured_by_all_that_needs_no_words(data: Path, tmp_path: Path) -> None:
    evaluate(str(data), tmp_path / "out", EvalSettings(encoders=("tiny, phash",)), quiet=True)
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert result["protocol"] == ["knn", "linear", "identity", "copies", "corruption"]
    assert "encode_text" in result["left_out"]["zero-shot"]
    assert result["left_out"]["dense"] == "no masks"


@pytest.mark.slow
def test_at_all_gives_a_row_for_each_place_and_names_the_best_on_validation_images(data: Path, tmp_path: Path) -> None:
    settings = EvalSettings(protocol=("linear",), encoders=("scratch:resnet:tiny:32",), at="all")
    evaluate(str(data), tmp_path / "out", settings, quiet=True)
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    names = result["model"]
    assert names[0] == "scratch:resnet:tiny:32"
    assert all(name.startswith("scratch:resnet:tiny:32@") for name in names[1:])
    assert len(names) > 3
    losses = {name: min(facts["validation_loss"].values()) for name, facts in result["models"].items()}
    best = min(losses, key=lambda name: losses[name]).partition("@")[2]
    assert result["sentence"].startswith(
        f"Of {len(names)} places of scratch:resnet:tiny:32, {best or 'the last place'}"
    )


def test_a_place_that_is_named_stands_behind_each_encoder_that_has_places() -> None:
    names = ("tiny", "tiny+whiten:8", "pixels", "tiny@x")
    assert at_places(names, "") == names
    assert at_places(names, "b.0") == ("tiny@b.0", "tiny@b.0+whiten:8", "pixels", "tiny@x")


def test_of_the_places_that_a_method_names_the_default_is_left_out_where_it_has_a_row_already() -> None:
    method = engine.build("projection_head", "tiny")
    assert method_places(method) == ("pre", "post")
    assert method_places(method, default=False) == ("post",)
    rows = PlaceFeatures(method, "post").encode_image(torch.rand(2, 3, 32, 32))
    assert rows.shape == (2, 8)
    assert method_places(engine.build("seer", "tiny")) == ()


def test_a_methods_default_can_be_named_and_a_misspelt_place_lists_what_the_method_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method: Any = engine.build("cmim", "tiny").eval()
    monkeypatch.setattr(places, "_method", lambda name: method)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(places.features_at("run", "code").encode_image(images), method.encode_image(images))
    with pytest.raises(DeixisError, match=r"no layer 'decodr'.*The method itself names code, encoder, decoder\."):
        places.features_at("run", "decodr")


def test_a_place_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="A place is named, and no encoder"):
        evaluate("nowhere", tmp_path / "out", EvalSettings(at="all"), quiet=True)


def test_the_cosine_of_two_hashes_counts_the_bits_that_differ() -> None:
    model = load_image_side("phash").model
    pictures = torch.rand(2, 3, 256, 256)
    rows = model.encode_image(pictures)
    one, other = (perceptual_hash((255 * each).round().byte()) for each in pictures)
    assert float(torch.cosine_similarity(rows[0], rows[1], dim=0)) == pytest.approx(
        1 - 2 * (one ^ other).bit_count() / 64
    )


def test_a_whitened_name_a_layer_and_a_name_given_twice_are_refused_before_any_work(data: Path, tmp_path: Path) -> None:
    refused = {
        "tiny+whiten:none": "says no width to whiten to. Write tiny\\+whiten:256",
        "scratch:resnet:tiny:32@stage.0": "no layer 'stage.0'. Near names: stages.0",
        "tiny,phash,tiny": "'tiny' is named twice",
    }
    for names, message in refused.items():
        with pytest.raises(DeixisError, match=message):
            evaluate(str(data), tmp_path / "out", EvalSettings(protocol=("knn",), encoders=(names,)), quiet=True)
    assert not (tmp_path / "out").exists()
