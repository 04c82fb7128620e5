"""How likely results are right: measured on what the model has not seen, written, read back, said in plain words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import deixis
from deixis import zoo
from deixis.apps.index.index import write_index
from deixis.apps.report.calibration_tables import relevance
from deixis.apps.report.report import render
from deixis.apps.search import measure_calibration
from deixis.apps.search.calibration import FILE, in_words, nothing_matches, read_calibration
from deixis.apps.search.measure_calibration import (
    as_result,
    make_stale,
    measure_again,
    of_index,
    of_run,
    write_calibration,
    write_for_index,
)
from deixis.data.splits import split
from deixis.engine.adaptation.adapt import AdaptationArm, SplitResult
from deixis.engine.adaptation.evaluate import measure_retrieval
from deixis.engine.adaptation.fitting import Experiment
from deixis.engine.adaptation.recipes import Grid
from deixis.engine.adaptation.select import Choice
from deixis.engine.evaluation.calibration import Calibration
from deixis.engine.evaluation.calibration_fit import CalibrationResult, ask, fit
from deixis.engine.features.store import FeatureTable
from deixis.errors import DeixisError
from deixis.indexing import changes
from deixis.indexing.index import Index
from deixis.nn.dual import DualEncoder
from deixis.types import Sample, Source

COUNT = 60


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    return deixis.load("tiny")


@pytest.fixture(scope="module")
def measured() -> CalibrationResult:
    rng = np.random.default_rng(0)
    found = fit(ask(0.3 * np.eye(30) + 0.1 * rng.normal(size=(30, 30)), np.eye(30), np.arange(30), np.arange(30)))
    assert found is not None
    return found


def experiment(encoder: DualEncoder, metric: str) -> Experiment:
    """Sixty pictures of thirty concepts, and of five classes."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(2, COUNT, 8, generator=generator), dim=-1)
    places, groups = torch.arange(COUNT), [i // 2 for i in range(COUNT)]
    keys = places % 5 if metric == "accuracy" else places
    ids = tuple(map(str, range(COUNT)))
    table = FeatureTable(ids, vectors[:1], torch.zeros(1, COUNT, 4), torch.zeros(1, COUNT), vectors[1], keys)
    splits = [split(groups, seed) for seed in range(4)]
    return Experiment(encoder, table, groups, splits, measure_retrieval, metric)


def arm(of: Experiment, strength: float) -> tuple[AdaptationArm, Choice]:
    choice = Choice(20, strength, 0.0, 0.0, (), Grid())
    results = [SplitResult(i, each.test, {}, {}, (None, None), choice) for i, each in enumerate(of.splits)]
    return AdaptationArm(tuple(results), tuple(of.groups)), choice


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[set[int], np.ndarray]]:
    """What is asked: the concepts of the queries, and the pictures."""
    found: list[tuple[set[int], np.ndarray]] = []

    def spy(queries: Any, gallery: Any, concepts: Any, gallery_concepts: Any) -> Any:
        found.append((set(concepts.tolist()), gallery))
        return ask(queries, gallery, concepts, gallery_concepts)

    monkeypatch.setattr(measure_calibration, "ask", spy)
    return found


def test_no_text_is_asked_of_a_model_that_was_trained_on_its_concept(
    encoder: DualEncoder, questions: list[tuple[set[int], np.ndarray]]
) -> None:
    of = experiment(encoder, "mean_mrr")
    found = of_run(of, *arm(of, 0.5))
    assert found is not None
    for (concepts, gallery), each in zip(questions, of.splits, strict=True):
        assert concepts == {of.groups[i] for i in each.test}
        assert not concepts & {of.groups[i] for i in each.train}
        assert len(gallery) == COUNT  # what was trained on is there to be mistaken for them


def test_no_class_is_asked_of_pictures_that_it_was_trained_with(
    encoder: DualEncoder, questions: list[tuple[set[int], np.ndarray]]
) -> None:
    of = experiment(encoder, "accuracy")
    assert of_run(of, *arm(of, 0.5)) is None  # five classes are too few
    for (_, gallery), each in zip(questions, of.splits, strict=True):
        assert np.array_equal(gallery, of.table.embedding[0, list(each.test)].numpy())


def test_an_original_that_was_kept_is_asked_everything(
    encoder: DualEncoder, questions: list[tuple[set[int], np.ndarray]]
) -> None:
    of = experiment(encoder, "mean_mrr")
    assert of_run(of, *arm(of, 0.0)) is not None
    assert [(len(concepts), len(gallery)) for concepts, gallery in questions] == [(30, COUNT)]


def test_captions_that_came_with_an_index_are_asked_and_bare_pictures_left_out(
    encoder: DualEncoder, questions: list[tuple[set[int], np.ndarray]]
) -> None:
    samples = [
        Sample(str(i), Path(f"{i}.png"), captions=(f"word{'abcdefghijklmnopqrstuvwxyz'[i // 2]}",)) for i in range(48)
    ]
    source = Source("made up", Path(), "captions", "", (*samples, Sample("bare", Path("bare.png"))))
    vectors = np.random.default_rng(0).normal(size=(49, encoder.width)).astype(np.float32)
    hashes = [f"{i}" for i in range(49)]
    hashes[2] = hashes[0]
    found = of_index(encoder, vectors, source, hashes)
    assert found is not None
    assert found.queries == 24
    assert found.concepts == 23  # the same picture under two captions is one
    assert len(questions[0][1]) == 48


def test_a_class_is_asked_for_in_a_sentence(encoder: DualEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        type(encoder), "encode_text", lambda self, texts: asked.extend(texts) or torch.ones(len(texts), self.width)
    )
    samples = tuple(Sample(str(i), Path(f"{i}.png"), label=("sea_gull", "owl")[i % 2]) for i in range(6))
    source = Source("made up", Path(), "labels", "", samples)
    of_index(encoder, np.ones((6, encoder.width), np.float32), source, list("abcdef"))
    assert sorted(asked) == ["a photo of a owl.", "a photo of a sea gull."]


def captioned(count: int, start: int = 0) -> Source:
    """Pictures of as many things, by their numbers in letters."""
    names = [f"thing {chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(start, start + count)]
    samples = tuple(Sample(name, Path(f"{name}.png"), captions=(name,)) for name in names)
    return Source("made up", Path(), "captions", "", samples)


def hashes_of(source: Source) -> list[str]:
    return [f"hash of {sample.id}" for sample in source.samples]


@pytest.fixture
def run(encoder: DualEncoder, measured: CalibrationResult, tmp_path: Path) -> Path:
    """What a run leaves that adapted the tiny model to the first thirty things."""
    folder, source = tmp_path / "run", captioned(30)
    (folder / "model").mkdir(parents=True)
    config = {"fingerprint": encoder.fingerprint(), "base_fingerprint": "another"}
    (folder / "model" / "config.json").write_text(json.dumps(config))
    (folder / "result.json").write_text(json.dumps({"data": {"images": 30}}))
    write_calibration(folder, measured, encoder.fingerprint())
    vectors = torch.nn.functional.normalize(torch.randn(30, encoder.width), dim=-1)
    write_index(folder / "index", encoder, vectors, source, hashes_of(source))
    return folder


def indexed(run: Path, encoder: DualEncoder, source: Source) -> tuple[str, Calibration | None]:
    """What is said when a source is indexed with the run's model, and what is written."""
    out = run.parent / "out"
    out.mkdir()
    vectors = np.random.default_rng(0).normal(size=(len(source.samples), encoder.width)).astype(np.float32)
    remark = write_for_index(out, run, encoder, vectors, source, hashes_of(source))
    return remark, read_calibration(out, encoder.fingerprint())


def test_an_index_of_the_runs_own_collection_grown_takes_over_what_the_run_measured(
    encoder: DualEncoder, measured: CalibrationResult, run: Path
) -> None:
    remark, calibration = indexed(run, encoder, captioned(100))
    assert "the model's run measured" in remark
    assert calibration == measured.calibration


def test_nothing_is_asked_of_another_collection_that_the_model_was_trained_on(
    encoder: DualEncoder, run: Path, questions: list[tuple[set[int], np.ndarray]]
) -> None:
    remark, calibration = indexed(run, encoder, captioned(40, start=20))
    assert remark == ""
    assert calibration is not None
    assert [(len(concepts), len(gallery)) for concepts, gallery in questions] == [(30, 40)]


def test_without_knowing_what_a_model_was_trained_on_nothing_is_measured(encoder: DualEncoder, run: Path) -> None:
    (run / "result.json").unlink()
    remark, calibration = indexed(run, encoder, captioned(40, start=200))
    assert "what the model was trained on is not known" in remark
    assert calibration is None


def test_with_another_collection_in_it_an_index_is_measured_again_on_all_its_captions(
    encoder: DualEncoder, measured: CalibrationResult, tmp_path: Path, questions: list[tuple[set[int], np.ndarray]]
) -> None:
    zoo.save(encoder, tmp_path / "model")
    write_calibration(tmp_path, measured, encoder.fingerprint())
    vectors = torch.nn.functional.normalize(torch.randn(50, encoder.width), dim=-1)
    source = captioned(50)
    opened = write_index(tmp_path / "index", encoder, vectors, source, hashes_of(source))
    opened = changes.remove(opened.folder, [source.samples[0].id])
    make_stale(tmp_path)
    assert read_calibration(tmp_path, encoder.fingerprint()) is None  # and of whoever is killed here, this remains
    assert measure_again(tmp_path, encoder, opened) == ""
    assert [(len(concepts), len(gallery)) for concepts, gallery in questions] == [(49, 49)]
    again = read_calibration(tmp_path, encoder.fingerprint())
    assert again is not None
    assert again != measured.calibration


def test_with_another_collection_a_trained_model_is_no_longer_told_to_be_sure(encoder: DualEncoder, run: Path) -> None:
    opened = Index.open(run / "index")
    make_stale(run)
    assert "no longer reported" in measure_again(run, encoder, opened)
    assert read_calibration(run, encoder.fingerprint()) is None
    assert measure_again(run, encoder, opened) == ""  # there is nothing to take back


def test_what_a_run_measured_is_read_back_for_its_own_model_only(measured: CalibrationResult, tmp_path: Path) -> None:
    assert read_calibration(tmp_path, "mine") is None
    write_calibration(tmp_path, measured, "mine")
    assert read_calibration(tmp_path, "mine") == measured.calibration
    with pytest.raises(DeixisError, match="another model"):
        read_calibration(tmp_path, "yours")


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1, "model": "mine"}', "\x00", '{"format": 2, "model": ""}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(DeixisError, match=FILE):
        read_calibration(tmp_path, "mine")


@pytest.mark.parametrize(
    ("chance", "words"),
    [
        (0.0, "fewer than 1 in 100"),
        (0.009, "fewer than 1 in 100"),
        (0.011, "about 1 in 100"),
        (0.05, "about 1 in 20"),
        (0.11, "about 1 in 10"),
        (0.78, "about 8 in 10"),
        (0.95, "about 19 in 20"),
        (1.0, "more than 99 in 100"),
    ],
)
def test_a_chance_is_told_as_a_share_one_can_picture(chance: float, words: str) -> None:
    assert in_words(chance) == words


def test_where_nothing_matches_it_is_said_of_how_many_and_what_to_do() -> None:
    assert "the 12,000 pictures" in nothing_matches(12_000)
    assert "Try" in nothing_matches(1)


def test_what_is_told_says_what_happens_in_use_and_what_was_tried(measured: CalibrationResult) -> None:
    part = as_result(measured)
    assert isinstance(part, dict)
    assert json.loads(json.dumps(part)) == part
    if not measured.presence.worth:
        assert part["false_answers"]["value"] == 1  # all is answered
        assert part["misses"]["value"] == 0
    assert part["tried"]["misses"]["value"] == measured.presence.misses.value
    assert "not measured" in str(as_result(None))


@pytest.mark.slow  # the pages of test_report have the section, too
def test_the_report_draws_how_far_chances_can_be_believed(result: dict[str, Any], tmp_path: Path) -> None:
    page = render(result, [], tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count('<circle class="dot" cx=') >= 5
    assert 'class="reliability"' in page
    assert "the prediction was that about 8 in 10 are right; of 100 such, 77 (68.0–86.0) were" in page
    assert "Of 100 searches for absent concepts, 9 (6.0–13.0) return results nevertheless" in page
    result["relevance"]["says_nothing_matches"] = False
    section = relevance(result, "concepts")
    assert section is not None
    assert "A search never reports that nothing here matches" in section.nothing
    assert relevance({"relevance": as_result(None)}, "concepts") is None
