"""The model card says what `result.json` and the model say, on a page that hubs can read, and nothing about the
machine."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deixis import zoo
from deixis.apps.common.sentences import METRIC_NAMES
from deixis.apps.report import model_card
from deixis.apps.report.model_card import Subject, card
from deixis.inputs.clip_bpe import ClipTokenizer
from deixis.inputs.preprocess import Preprocess
from deixis.nn.adaptation.adapters import TextResidual
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.zoo import scratch
from tests.commands import deixis, own_cache
from tests.pictures import captioned, labelled

QUICK = ("--model", "tiny", "--splits", "2", "--no-controls")


@pytest.fixture(scope="module")
def tiny() -> DualEncoder:
    return zoo.load("tiny")


def head(page: str) -> dict[str, Any]:
    """What a hub reads of a card."""
    assert page.startswith("---\n")
    return dict(yaml.safe_load(page.split("---\n")[1]))


def section(page: str, title: str) -> str:
    return page.split(f"## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> dict[str, list[str]]:
    """The rows of a table by their first cell."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines[2:]}


def numbers(cell: str) -> list[float]:
    return [float(each.replace("\u2212", "-")) for each in re.findall(r"[-+\u2212]?\d+\.\d", cell)]


def programs(page: str) -> list[str]:
    """The code that a reader is told to run."""
    return re.findall(r"```python\n(.*?)\n```", page, re.DOTALL)


def agree(page: str, result: dict[str, Any]) -> None:
    """The table of a card has the measures of `result.json`, all of them, with their intervals."""
    found = rows(section(page, "Before and after"))
    wanted = result["difference"]
    assert set(found) == {METRIC_NAMES[name] for name in wanted}
    for name in wanted:
        for cell, which in zip(found[METRIC_NAMES[name]], ("before", "after", "difference"), strict=True):
            told = [100 * result[which][name][end] for end in ("value", "low", "high")]
            assert numbers(cell) == pytest.approx(told, abs=0.051), (name, which)


# what it claims


def test_the_table_and_the_sentence_are_those_of_the_result(result: dict[str, Any], tiny: DualEncoder) -> None:
    page = card(Subject(tiny, "my-run", result))
    agree(page, result)
    assert f"**{result['sentence']}**" in page
    assert "over 5 divisions" in section(page, "Before and after")
    assert "then fitted on all pairs" in section(page, "Before and after")  # what is left was itself not measured
    assert result["data"]["fingerprint"] in section(page, "Data")
    assert "760 pictures, 675 captions, 478 concept groups; 29 left out" in page
    assert {"dropout", "learning rate", "seed", "versions", "strength"} <= set(rows(section(page, "Recipe")))


def test_what_was_forgotten_is_told_where_it_was_measured(result: dict[str, Any], tiny: DualEncoder) -> None:
    told = section(card(Subject(tiny, "run", result)), "What was forgotten")
    assert "| emoji | mean, MRR | +0.3 [−0.7, +1.3] |" in told
    untold = section(card(Subject(tiny, "run", result | {"forgotten": "not measured"})), "What was forgotten")
    assert untold.strip().startswith("Not measured")


def test_a_kept_original_is_not_called_adapted(labels_result: dict[str, Any], tiny: DualEncoder) -> None:
    page = card(Subject(tiny, "run", labels_result))
    assert "the original" in page.split("\n# ")[1].splitlines()[0]
    assert "gave no proven gain" in page
    assert "adapted to" not in page
    assert "then fitted" not in page
    agree(page, labels_result)


def test_a_classifier_is_one_and_its_encoder_is_as_it_was(labels_result: dict[str, Any], tiny: DualEncoder) -> None:
    method = {"asked": "linear", "shots": 4, "final": {"method": "linear"}}
    result = labels_result | {"kind": "classes", "method": method, "split": {"scheme": "image groups", "count": 2}}
    result["data"] = {"name": "shapes", "images": 90, "classes": 9}
    page = card(Subject(tiny, "my-classes", result))
    assert head(page)["pipeline_tag"] == "image-classification"
    assert "deixis.load_classifier('my-classes')" in page
    assert "90 pictures, 9 classes" in page
    assert "without the classifier" in page  # what ONNX would hold


def test_a_model_that_no_run_made_claims_nothing(tiny: DualEncoder) -> None:
    page = card(Subject(tiny, "tiny-export"))
    assert not {"Before and after", "Data", "Recipe", "What was forgotten"} & set(re.findall(r"## (.+)", page))


def test_a_trained_model_is_told_without_intervals(tiny: DualEncoder) -> None:
    before, after = {"r1": 0.1, "mrr": 0.25, "rank": 7.0}, {"r1": 0.3, "mrr": 0.5, "rank": 9.0}
    result = {
        "verb": "train",
        "method": "clip",
        "config": {"layers": "all"},
        "data": {"name": "stamps", "samples": 700, "fingerprint": "ab" * 32},
        "held_out": 60,
        "seed": 3,
        "skipped": 2,
        "model": {"name": "starter", "fingerprint": "cd" * 32, "scale": 20.0},
        "before": before,
        "after": after,
        "difference": {"r1": 0.2, "mrr": 0.25, "rank": 2.0},
    }
    page = card(Subject(tiny, "run", result))
    assert page.split("\n# ")[1].startswith("`starter`, trained on stamps\n")
    assert rows(section(page, "Before and after"))["mean, MRR"] == ["25.0", "50.0", "+25.0"]
    assert "60 samples of concepts that were held out; no intervals" in page
    assert "700 samples; 2 left out" in page


# what hubs read


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("Apache-2.0 (EfficientNet-Lite0, all-MiniLM-L6-v2)", {"license": "apache-2.0"}),
        ("MIT", {"license": "mit"}),
        ("", {"license": "unknown"}),
        ("my own: ask 'me'\nfirst", {"license": "other", "license_name": "my own: ask 'me' first"}),
    ],
)
def test_the_head_tells_the_licence_in_the_words_of_hubs(
    licence: str, told: dict[str, str], tiny: DualEncoder, result: dict[str, Any]
) -> None:
    encoder = tiny.with_adapters(None, None)
    encoder.traits = dataclasses.replace(tiny.traits, licence=licence)
    found = head(card(Subject(encoder, "run", result)))
    assert told.items() <= found.items()
    assert found["library_name"] == "deixis"
    assert found["pipeline_tag"] == "zero-shot-image-classification"
    assert "image-text" in found["tags"]


def test_the_base_of_a_hub_is_named_as_there(tiny: DualEncoder, result: dict[str, Any]) -> None:
    result["model"]["name"] = "hf-hub:somebody/some-clip@main"
    assert head(card(Subject(tiny, "run", result)))["base_model"] == "somebody/some-clip"


# what it must not tell


def test_no_path_of_the_machine_is_told(tiny: DualEncoder, result: dict[str, Any]) -> None:
    result["data"] |= {"path": "/srv/grace/photos"}
    result["model"]["name"] = "/srv/grace/models/my-clip"
    tiny = tiny.with_adapters(None, None)
    tiny.traits = dataclasses.replace(tiny.traits, name="../grace/models/my-clip")
    result["method"]["config"]["table"] = "/srv/grace/table.csv"
    page = card(Subject(tiny, "run", result))
    assert "/srv" not in page
    assert "grace" not in page
    assert "`my-clip`" in page


def test_names_of_users_break_neither_table_nor_head(tiny: DualEncoder, result: dict[str, Any]) -> None:
    evil = "a | b\n---\nlicense: mit\n<script>`x`</script> [l](u)"
    result["data"]["name"] = evil
    result["forgotten"] = {evil: result["forgotten"]["emoji"]}
    page = card(Subject(tiny, "run", result, licences={evil: {evil: 3}}))
    assert head(page)["license"] == "other"
    plain = re.sub(r"`[^`]*`", "", page.replace("\\`", ""))  # code stands for itself
    assert not re.search(r"(?<!\\)<script", plain)
    assert len(rows(section(page, "What was forgotten"))) == 1
    agree(page, result)


def test_licences_of_the_pictures_are_told_where_the_data_tells_them(tiny: DualEncoder, result: dict[str, Any]) -> None:
    page = card(Subject(tiny, "run", result, licences={"licence": {"CC-BY-4.0": 700, "": 60}}))
    assert "* Pictures, by their column `licence`: 700 CC-BY-4.0, 60 (none)" in section(page, "Licences")
    assert "not stated by the data" in card(Subject(tiny, "run", result))


# how to load it


@pytest.mark.parametrize("form", ["deixis", "onnx", "openclip", "huggingface"])
@pytest.mark.parametrize("mode", ["pad", "crop", "crop_floor", "squash"])
def test_what_is_to_be_copied_is_python(form: model_card.Form, mode: str, tiny: DualEncoder) -> None:
    encoder = tiny.with_adapters(None, None)
    encoder.preprocess = Preprocess(32, mode=mode, interpolation="bilinear", reduce=0)  # type: ignore[arg-type]
    page = card(Subject(encoder, "it's mine", form=form))
    assert programs(page)
    for program in programs(page):
        ast.parse(program)
    library = {"openclip": "open_clip", "huggingface": "transformers"}.get(form, form)
    assert head(page)["library_name"] == library


def test_other_programs_are_named_only_where_they_can_load_the_model(tiny: DualEncoder) -> None:
    """The tiny model's towers are none of theirs; a new ViT has their layout, and other tokens than open_clip reads."""
    assert "open_clip and transformers have no place for its towers" in card(Subject(tiny, "run"))
    new = scratch.build(["a red bird"], "tiny", 16)
    assert zoo.layouts_for(new) == []
    clip = ClipTokenizer([("r", "e"), ("re", "d</w>")])
    text = TextTransformer(TextConfig(clip.vocabulary, 16, 32, 1, 1, 64, 16))
    traits = Traits("made", 16, scale=100.0)
    known = DualEncoder(new.image_tower, text, tokenizer=clip, preprocess=new.preprocess, traits=traits)
    assert zoo.layouts_for(known) == ["openclip", "huggingface"]
    page = card(Subject(known, "run"))
    assert "`deixis export run --to openclip`" in page
    assert "`deixis export run --to huggingface`" in page
    adapted = known.with_adapters(None, TextResidual(16))
    assert "have no place for its adapters" in card(Subject(adapted, "run"))
    adapted.text_adapter.strength.zero_()  # does nothing, as in a run that kept the original
    assert "`deixis export run --to openclip`" in card(Subject(adapted, "run"))


# real runs


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cards")
    with own_cache(folder / "cache"):
        yield folder


def ran(folder: Path, data: Path, *flags: str) -> tuple[str, dict[str, Any]]:
    answer = deixis("adapt", data, *QUICK, *flags, "--out", folder)
    assert answer.code == 0, answer.err
    return (folder / "README.md").read_text(), json.loads((folder / "result.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("flags", [("--method", "ridge"), (), ("--method", "clip", "--layers", "lora")])
def test_every_run_leaves_a_card_that_agrees_with_it(place: Path, flags: tuple[str, ...]) -> None:
    page, result = ran(place / "-".join(["run", *flags]), captioned(place / "pictures"), *flags)
    agree(page, result)
    assert ("adapted to the collection" in page) == (result["kept"] == "adapted")
    assert str(place) not in page
    assert head(page)["library_name"] == "deixis"


@pytest.mark.slow
def test_runs_on_labels_leave_one_too_and_may_be_replaced(place: Path) -> None:
    data = labelled(place / "classes")
    page, result = ran(place / "labels", data, "--method", "ridge")
    agree(page, result)
    page, result = ran(place / "labels", data, "--method", "linear", "--shots", "3", "--overwrite")
    agree(page, result)
    assert head(page)["pipeline_tag"] == "image-classification"
    assert f"{result['data']['classes']} classes" in page


@pytest.mark.slow
def test_the_lines_for_deixis_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, _ = ran(place / "loaded", captioned(place / "pictures"), "--method", "ridge")
    monkeypatch.chdir(place)
    next((place / "pictures").glob("*.png")).rename(place / "photo.jpg")
    (program,) = programs(page)
    exec(program, {})
