"""The models of `deixis eval`: names, image towers alone, and runs of every kind of method, each by what it can do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deixis.apps.eval.models import load_model
from deixis.errors import DeixisError
from tests.commands import deixis, own_cache
from tests.pictures import captioned, labelled


def test_an_image_tower_alone_can_be_named_as_a_model_and_an_unknown_name_is_refused() -> None:
    tower = load_model("scratch:resnet:tiny:32")
    assert tower.capabilities == {"encode_image", "image_tokens"}
    assert tower.encoder is None
    assert load_model("tiny").capabilities == {"encode_image", "encode_text", "image_tokens"}
    with pytest.raises(DeixisError, match="no model called 'tinny'"):
        load_model("tinny")


def test_a_method_that_needs_no_training_can_be_named_and_says_what_it_lacks() -> None:
    with pytest.raises(DeixisError, match="deixis data get detector"):
        load_model("detect_match")
    with pytest.raises(DeixisError, match="no model called 'mdetr'"):
        load_model("mdetr")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("models")
    with own_cache(folder / "cache"):
        captioned(folder / "captions", 40)
        labelled(folder / "labels", 36)
        yield folder


KINDS = {
    "align": ("captions", "retrieval"),
    "filip": ("captions", "retrieval"),
    "residual": ("captions", "retrieval"),
}
"""Method -> what it is trained on, and the protocol that fits its run and the same data."""


@pytest.mark.slow
@pytest.mark.parametrize("method", KINDS)
def test_a_run_is_measured_by_what_its_method_can_do(method: str, place: Path) -> None:
    data, protocol = KINDS[method]
    run, out = place / method, place / f"eval-{method}"
    small = ["--config", "tiny", "--steps", 2, "--batch-size", 8, "--out", run, "--workers", 0, "--quiet"]
    assert deixis("train", method, "--data", place / data, *small).code == 0
    answer = deixis("eval", place / data, "--model", run, "--out", out)
    assert answer.code == 0, answer.err
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert result["protocol"] == protocol
    assert result["warnings"], "the data is that of the run"


@pytest.mark.slow
def test_a_classifier_that_adapt_wrote_is_measured_by_its_classes(place: Path) -> None:
    run, out = place / "adapted", place / "eval-adapted"
    words = ["--method", "linear", "--model", "tiny", "--splits", 2, "--shots", 4, "--out", run, "--quiet"]
    assert deixis("adapt", place / "labels", *words).code == 0
    answer = deixis("eval", place / "labels", "--model", run, "--protocol", "classification", "--out", out)
    assert answer.code == 0, answer.err
