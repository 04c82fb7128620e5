"""The main job from beginning to end, on small pictures and the tiny model."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import deixis as front
from deixis import zoo
from deixis.apps.adapt.adapt import AdaptResult, ExtraMeasurements, OutOfDomainSet, adapt
from deixis.apps.adapt.examples import gallery
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common.dataset import read
from deixis.data.splits import normalise
from deixis.engine.adaptation.evaluate import apply, set_strength
from deixis.errors import DeixisError
from deixis.indexing.index import Index
from tests.commands import QUICK, Answer, deixis, own_cache
from tests.pictures import captioned, labelled, spoil

MEASURES = {
    f"{side}_{measure}" for side in ("image_to_text", "text_to_image", "mean") for measure in ("r1", "r5", "r10", "mrr")
}
KEYS = (
    "format sentence data split model method seed before after difference t_interval primary told per_split "
    "training_seeds slices controls forgotten relevance verdict kept seconds peak_mb versions "
    "compute"
)
INSIDE = {
    "data": "path name kind images captions groups fingerprint skipped check",
    "split": "scheme count train seeds index",
    "model": "name fingerprint licence parameters",
    "method": "name config chosen final curves",
    "training_seeds": "metric split values sd",
    "seconds": "total cpu stages",
}
FITTED = AdaptSettings(model="tiny", method="ridge", splits=6, controls=False)


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from numbers(each)
    elif isinstance(value, int | float):
        yield value


class Run:
    """A run over the command line, in a folder that holds copies, repeated captions and what can't be read."""

    def __init__(self, place: Path) -> None:
        self.data, self.folder = captioned(place / "pictures"), place / "run"
        self.spoiled = spoil(self.data)
        names = sorted(path.stem for path in self.data.glob("*.png") if path.name not in self.spoiled)
        for old in names[:4]:  # the same picture under other words
            shutil.copy(self.data / f"{old}.png", self.data / f"{old}copy.png")
            (self.data / f"{old}copy.txt").write_text(f"vvvv {old}\n")
        for one, other in zip(names[4:8], names[8:12], strict=True):  # other pictures under the same words
            (self.data / f"{one}.txt").write_text(f"A {other}, 2\n")
            (self.data / f"{other}.txt").write_text(f"the {other}\n")
        self.answer: Answer = deixis(
            "adapt", self.data, "--model", "tiny", "--method", "ridge", "--splits", "2", "--out", self.folder
        )
        self.result: dict[str, Any] = json.loads((self.folder / "result.json").read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("adapt")
    with own_cache(folder / "cache"):
        yield folder


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    return Run(place)


@pytest.fixture(scope="module")
def fitted(place: Path) -> AdaptResult:
    """A run in which the model was adapted for certain: a closed form fits these pictures well."""
    data = captioned(place / "plain")
    half = np.arange(60) < 30
    beside = ExtraMeasurements(
        [OutOfDomainSet("elsewhere", read(str(captioned(place / "else", 24, seed=5))))], {"first half": half}
    )
    return adapt(str(data), place / "fitted", FITTED, beside=beside, quiet=True)


@pytest.fixture(scope="module")
def classes(place: Path) -> AdaptResult:
    return adapt(str(labelled(place / "classes")), place / "of-classes", FITTED, quiet=True)


# what is told


def test_the_first_line_is_the_plain_sentence(run: Run) -> None:
    assert run.answer.code == 0
    first = run.answer.out.splitlines()[0]
    assert first == run.result["sentence"]
    assert "of 100 searches by words, the right picture" in first


def test_progress_goes_to_standard_error_and_results_to_standard_output(run: Run) -> None:
    assert "encode images: 60 of 60" in run.answer.err  # copies are encoded once
    assert "encode" not in run.answer.out
    assert f"Report: {run.folder / 'report.html'}" in run.answer.out


def test_the_tables_fit_eighty_columns(run: Run) -> None:
    lines = run.answer.out.splitlines()
    table = lines[1 : next(i for i, line in enumerate(lines) if line.startswith(("Retained:", "Saved:")))]
    assert max(map(len, table)) <= 80
    assert not any(line.strip() in MEASURES for line in table)


@pytest.mark.slow
def test_quiet_says_nothing(place: Path, capfd: pytest.CaptureFixture[str], fitted: AdaptResult) -> None:
    adapt(str(place / "plain"), place / "quiet", FITTED, quiet=True)
    assert capfd.readouterr() == ("", "")


# result.json


def test_the_result_has_the_keys_that_scripts_rely_on(run: Run) -> None:
    assert set(run.result) == set(KEYS.split())
    for key, names in INSIDE.items():
        assert set(run.result[key]) >= set(names.split()), key
    assert run.result["format"] == 1
    assert run.result["primary"] == "mean_mrr"
    assert run.result["told"] in MEASURES
    for key in ("before", "after", "difference", "t_interval"):
        assert set(run.result[key]) == MEASURES
    assert set(run.result["controls"]) == {"shuffled captions", "mean shift"}


def test_all_numbers_are_finite_and_lie_in_their_intervals(run: Run) -> None:
    assert all(map(math.isfinite, numbers(run.result)))
    for key in ("before", "after", "difference", "t_interval"):
        for name, each in run.result[key].items():
            assert each["low"] - 1e-12 <= each["value"] <= each["high"] + 1e-12, (key, name)
    for name, gain in run.result["difference"].items():
        step = run.result["after"][name]["value"] - run.result["before"][name]["value"]
        assert gain["value"] == pytest.approx(step, abs=1e-12)


def test_every_split_leaves_a_result_of_its_own(run: Run) -> None:
    for index, told in enumerate(run.result["per_split"]):
        each = json.loads((run.folder / f"split-{index}" / "result.json").read_text())
        assert each["split"]["index"] == index
        assert {"data", "model", "method", "split", "before", "after", "difference", "kept", "versions"} <= set(each)
        assert each["difference"]["mean_mrr"]["value"] == pytest.approx(told["difference"]["mean_mrr"])


def test_what_cannot_be_read_is_skipped_and_counted_with_its_reason(run: Run) -> None:
    assert run.result["data"]["images"] == 64
    assert {item["path"]: item["reason"] for item in run.result["data"]["skipped"]} == run.spoiled
    assert run.result["data"]["check"]["unreadable: truncated"][0] == 1


def test_no_concept_stands_on_both_sides_of_a_split(run: Run) -> None:
    items = [json.loads(line) for line in (run.folder / "index" / "items.jsonl").read_text().splitlines()]
    bytes_of = {item["id"]: (run.data / item["id"]).read_bytes() for item in items}
    for split in json.loads((run.folder / "splits.json").read_text()):
        assert sorted(split["train"] + split["test"]) == list(range(64))
        sides = [[items[i] for i in split[side]] for side in ("train", "test")]
        words = [{normalise(item["captions"][0]) for item in side} for side in sides]
        looks = [{bytes_of[item["id"]] for item in side} for side in sides]
        assert words[0].isdisjoint(words[1])
        assert looks[0].isdisjoint(looks[1])
        assert 0.5 < len(sides[0]) / 64 < 0.7


def test_the_report_needs_no_server(run: Run) -> None:
    page = html.unescape((run.folder / "report.html").read_text())
    assert run.result["sentence"].split("(")[0].strip() in page
    assert "letter.jpg" in page


@pytest.mark.slow
def test_equal_seeds_give_equal_results(place: Path, fitted: AdaptResult) -> None:
    again = adapt(str(place / "plain"), place / "again", FITTED, beside=ExtraMeasurements(), quiet=True).result
    for key in ("sentence", "data", "before", "after", "difference", "t_interval", "per_split", "method", "kept"):
        assert again[key] == fitted.result[key], key


# what is kept


@pytest.mark.slow
def test_an_adapted_model_comes_back_with_the_vectors_of_its_index(place: Path, fitted: AdaptResult) -> None:
    assert fitted.result["kept"] == "adapted"
    assert fitted.result["sentence"].startswith("Adapted")
    encoder = front.load(place / "fitted")
    index = Index.open(place / "fitted" / "index")
    paths = [index.item(row)["path"] for row in range(len(index))]
    np.testing.assert_allclose(encoder.encode_image(paths).numpy(), index.vectors, atol=2e-6)
    assert torch.equal(encoder.encode_text("qqqq"), fitted.encoder.encode_text("qqqq"))
    original = front.load("tiny")
    assert not torch.equal(encoder.encode_image(paths), original.encode_image(paths))


def test_strength_zero_is_the_original_bit_for_bit(fitted: AdaptResult) -> None:
    table, split = fitted.experiment.table, fitted.arms["ridge"].results[0]
    strength = float(split.adapters[0].strength)
    assert strength > 0
    moved, _ = apply(table, split.adapters)
    image, text = apply(table, set_strength(split.adapters, 0.0))
    assert torch.equal(image, table.embedding[0])
    assert torch.equal(text, table.text)
    assert not torch.equal(moved, image)
    set_strength(split.adapters, strength)


def test_where_nothing_is_better_the_original_is_kept_bit_for_bit(place: Path) -> None:
    settings = AdaptSettings(model="tiny", method="mean_shift", splits=2)
    done = adapt(str(labelled(place / "plain classes", 24)), place / "kept", settings, quiet=True)
    assert done.result["kept"] == "original"
    assert done.result["sentence"].startswith("The original model was retained")
    kept, original = front.load(place / "kept"), front.load("tiny")
    assert kept.fingerprint() == original.fingerprint()
    assert all(value["high"] == 0 for value in done.result["controls"]["shuffled captions"].values())
    assert done.result["verdict"]["controls"]["shuffled captions"]["outcome"] == "original"


def test_slices_and_what_was_forgotten_are_measured_where_asked(fitted: AdaptResult) -> None:
    assert set(fitted.result["slices"]) == {"first half"}
    assert set(fitted.result["forgotten"]) == {"elsewhere"}
    assert set(fitted.result["forgotten"]["elsewhere"]) >= {"mean_mrr", "mean_r10"}


def test_without_a_set_outside_it_says_not_measured(run: Run) -> None:
    assert run.result["forgotten"] == "not measured"
    assert "not measured" in run.answer.out


# labels


def test_class_folders_are_judged_by_accuracy(place: Path, classes: AdaptResult) -> None:
    result = classes.result
    assert (result["data"]["kind"], result["primary"], result["told"]) == ("labels", "accuracy", "accuracy")
    assert set(result["before"]) == {"accuracy", "mrr"}
    assert result["data"]["captions"] == 6
    assert "of 100 pictures" in result["sentence"]
    assert "concept" not in result["sentence"]
    assert result["kept"] == "adapted"
    assert (place / "of-classes" / "report.html").is_file()


def test_the_report_of_classes_shows_what_was_predicted_and_what_is_taken_for_what(
    place: Path, classes: AdaptResult
) -> None:
    part = classes.result["classes"]
    assert len(part["names"]) == 6
    held_out = sum(len(result.queries) for result in classes.arms["ridge"].results)
    for which in ("before", "after"):
        assert sum(number for _, _, number in part[which]) == held_out
        right = sum(number for true, taken, number in part[which] if true == taken)
        values = np.concatenate([getattr(result, which)["accuracy"] for result in classes.arms["ridge"].results])
        assert right == pytest.approx(values.sum(), abs=2), "ties are right for one and wrong for the other"
    page = (place / "of-classes" / "report.html").read_text()
    assert "Confusion matrix" in page
    assert "Pictures that got better" in page
    assert "· right</b>" in page


def test_the_gallery_takes_searches_of_all_divisions(fitted: AdaptResult) -> None:
    source = read(str(fitted.result["data"]["path"]))
    arm = fitted.arms["ridge"]
    shown = {example.query for example in gallery(arm, fitted.experiment, source)}
    first = {source.samples[i].captions[0] for i in arm.results[0].queries}
    assert len(shown) == len(gallery(arm, fitted.experiment, source)), "each search once"
    assert shown - first


def test_searches_that_got_worse_say_which_words_the_wrong_picture_is_first_by(fitted: AdaptResult) -> None:
    source = read(str(fitted.result["data"]["path"]))
    shown = gallery(fitted.arms["ridge"], fitted.experiment, source)
    assert any(each.rank_after > each.rank_before for each in shown)
    for each in shown:
        if each.rank_after < each.rank_before or len(each.query.split()) == 1:
            assert not each.reason
        else:
            assert each.reason.endswith(" %).")
            quoted = each.reason.split(" » ")[1].split(" « ")[0]
            assert set(quoted.split()) <= set(re.findall(r"\w+|[^\w\s]", each.query)), "words of the query"


def test_every_class_is_on_both_sides_of_a_split(place: Path, classes: AdaptResult) -> None:
    lines = (place / "of-classes" / "index" / "items.jsonl").read_text().splitlines()
    labels = [json.loads(line)["label"] for line in lines]
    for split in json.loads((place / "of-classes" / "splits.json").read_text()):
        assert {labels[i] for i in split["train"]} == {labels[i] for i in split["test"]} == set(labels)
        assert set(split["train"]).isdisjoint(split["test"])


# what is refused, and what is left out


@pytest.mark.slow
def test_images_without_words_are_left_out_and_counted(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 48)
    for path in sorted(data.glob("*.txt"))[::4]:
        path.unlink()
    code, _, err = deixis("adapt", data, *QUICK, "--method", "ridge", "--out", tmp_path / "run")
    assert code == 0
    assert "12 of 48 images have no caption, and are skipped" in err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["data"]["images"] == 36
    assert [item["reason"] for item in result["data"]["skipped"]] == ["no caption"] * 12


@pytest.mark.slow
def test_a_class_named_none_is_not_made_of_missing_labels(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 48)
    rows = [f"{path.name},{'ab'[i % 2] if i % 3 else ''}" for i, path in enumerate(sorted(data.glob("*.png")))]
    (data / "table.csv").write_text("\n".join(["path,label", *rows]))
    assert deixis("adapt", data / "table.csv", *QUICK, "--method", "ridge", "--out", tmp_path / "run").code == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["data"]["images"], result["data"]["captions"]) == (32, 2)


def test_from_images_alone_nothing_is_learned_but_they_can_be_searched(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 24)
    for path in data.glob("*.txt"):
        path.unlink()
    with pytest.raises(DeixisError, match=r"24 images and neither captions nor labels.*`deixis index`.*`deixis label`"):
        adapt(str(data), tmp_path / "run", AdaptSettings(model="tiny"), quiet=True)
    code, _, err = deixis("adapt", data, *QUICK, "--method", "nothing", "--out", tmp_path / "run")
    assert (code, "There is no method called 'nothing'" in err) == (2, True)
    assert not (tmp_path / "run").exists()
    code, out, _ = deixis("adapt", data, *QUICK, "--out", tmp_path / "run")
    assert code == 0
    assert "24 images and neither captions nor labels" in out.splitlines()[0]
    assert f"deixis label {data}" in out
    assert len(Index.open(tmp_path / "run" / "index")) == 24
    assert not (tmp_path / "run" / "result.json").exists()


def test_too_few_captions_are_refused_with_the_arithmetic(tmp_path: Path) -> None:
    code, _, err = deixis("adapt", captioned(tmp_path / "pictures", 12), *QUICK, "--out", tmp_path / "run")
    assert code == 2
    assert "12 distinct captions on 12 readable images, and at least 20 are needed" in err
    assert "Caption 8 or more further images" in err


def test_an_adapted_model_is_not_adapted_again(place: Path, tmp_path: Path, fitted: AdaptResult) -> None:
    with pytest.raises(DeixisError, match=r"adapted already.*--model tiny"):
        adapt(str(place / "plain"), tmp_path / "run", AdaptSettings(model=str(place / "fitted")), quiet=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"splits": 1}, "at least --splits 2"),
        ({"train": 1.0}, "between 0 and 1"),
        ({"train": math.nan}, "between 0 and 1"),
        ({"seed": -1}, "--seed 0 or more"),
        ({"method": "linear"}, "These do: "),
        ({"method": "nothing"}, "no method called 'nothing'"),
        ({"model": "tinny"}, "Did you mean 'tiny'"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_any_work(
    settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    data = captioned(tmp_path / "pictures", 1)
    with pytest.raises(DeixisError) as caught:
        adapt(str(data), tmp_path / "run", AdaptSettings(**{"model": "tiny", **settings}), quiet=True)
    assert said in str(caught.value)


@pytest.mark.slow
def test_towers_are_tuned_saved_and_searched_with_the_same_guard(tmp_path: Path) -> None:
    data, run = captioned(tmp_path / "pictures", 40), tmp_path / "run"
    code, out, err = deixis("adapt", data, *QUICK, "--method", "clip", "--layers", "lora", "--out", run)
    assert code == 0, err
    result = json.loads((run / "result.json").read_text())
    assert result["method"]["config"]["layers"] == "lora"
    assert result["kept"] in out
    encoder = zoo.load(run)
    assert encoder.fingerprint() == json.loads((run / "index" / "manifest.json").read_text())["fingerprint"]
    assert deixis("search", run, "ooo", "--k", "2").code == 0


def test_layers_of_a_method_that_trains_none_are_refused(tmp_path: Path) -> None:
    code, _, err = deixis(
        "adapt", captioned(tmp_path / "pictures", 40), *QUICK, "--layers", "all", "--out", tmp_path / "run"
    )
    assert code == 2
    assert "residual trains no layers" in err


def test_unknown_layers_are_refused_with_those_there_are(tmp_path: Path) -> None:
    flags = ("--method", "clip", "--layers", "first", "--out", tmp_path / "run")
    code, _, err = deixis("adapt", captioned(tmp_path / "pictures", 40), *QUICK, *flags)
    assert code == 2
    assert "all, last or lora" in err
