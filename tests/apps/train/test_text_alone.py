"""Learning from texts alone: a catalogue without pictures, and questions made of its columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deixis import zoo
from deixis.apps.train.captions import read_learned, with_captions
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.setup import prepare
from deixis.data.column_questions import asked_one_by_one, with_column_questions
from deixis.errors import DeixisError
from deixis.types import Sample, Source
from tests.commands import deixis


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    rows = [f"a {colour} cup,{colour}," for colour in ("red", "blue", "green", "grey")] * 3
    path = tmp_path / "catalogue.csv"
    path.write_text("title,colour,weight\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_a_catalogue_without_pictures_is_read_by_what_learns_from_texts_and_refused_by_what_needs_pictures(
    catalogue: Path,
) -> None:
    assert len(read_learned("close", str(catalogue), None).samples) == 12
    with pytest.raises(DeixisError, match="no column that names the image files"):
        read_learned("clip", str(catalogue), None)


def test_columns_become_questions_with_answers(catalogue: Path) -> None:
    source = asked_one_by_one(read_learned("close", str(catalogue), None), ["colour=What colour is it?"])
    assert len(source.samples) == 12
    first = source.samples[0]
    assert (first.extra["question"], first.extra["answer"]) == ("What colour is it?", "red")
    for wrong in ("weight=How heavy is it?", "colour", "size=How large?"):
        with pytest.raises(DeixisError, match="--ask"):
            asked_one_by_one(source, [wrong])


@pytest.mark.slow
def test_what_learned_answers_from_a_catalogue_answers_about_pictures(catalogue: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    found = deixis(
        *("train", "close", "--data", catalogue, "--ask", "colour=What colour is it?"),
        *("--config", "tiny", "--steps", 2, "--out", run),
    )
    assert found.code == 0, found.err
    from tests.pictures import captioned

    pictures = captioned(tmp_path / "pictures", 3)
    photo = next(pictures.glob("*.png"))
    said = deixis("answer", photo, "What colour is it?", "--answers", "red,blue,green", "--model", run)
    assert said.code == 0, said.err
    assert said.out.count("%") == 3
    assert deixis("answer", pictures, "What colour is it?", "--model", run, "--out", tmp_path / "a.csv").code == 0


@pytest.mark.slow
def test_a_run_that_was_asked_about_columns_says_how_many_answers_are_right_beside_a_classifier(tmp_path: Path) -> None:
    from tests.pictures import labelled

    pictures = sorted(labelled(tmp_path / "pictures", 60).rglob("*.png"))
    words = ["".join("bdfgklmnpr"[int(digit)] for digit in path.stem) for path in pictures]
    lines = [
        f"{path.relative_to(tmp_path)},a thing {word},{path.parent.name}"
        for path, word in zip(pictures, words, strict=True)
    ]
    table = tmp_path / "products.csv"
    table.write_text("\n".join(("path,caption,colour", *lines)) + "\n", encoding="utf-8")
    question, out = "colour=What colour is it?", tmp_path / "run"
    found = deixis(
        *("train", "close", "--data", table, "--ask", question, "--config", "tiny", "--steps", 2),
        *("--held-out", "0.3", "--out", out),
    )
    assert found.code == 0, found.err
    assert (
        "colour: of 100 answers 0 are right, on 18 pictures of concepts that were not trained on; always" in found.out
    )
    assert "The classifier is better: deixis adapt DATA --label-column colour --method auto" in found.out
    learned = deixis(
        *("adapt", table, "--label-column", "colour", "--method", "auto", "--model", "tiny", "--shots", 1),
        *("--splits", 2, "--out", tmp_path / "classifier"),
    )
    assert learned.code == 0, learned.err
    assert "Classifier: deixis.load_classifier(" in learned.out, (
        "what is named learns classes, though there are captions"
    )
    answers = json.loads((out / "result.json").read_text(encoding="utf-8"))["answers"]["colour"]
    assert answers["question"] == "What colour is it?"
    assert answers["classifier"]["low"] <= answers["classifier"]["value"] <= answers["classifier"]["high"]


def test_columns_become_questions_of_pictures_that_are_measured_by_column() -> None:
    samples = tuple(Sample(str(n), None, extra={"colour": colour}) for n, colour in enumerate(("red", "", "blue")))
    found = with_column_questions(Source("made", Path(), "images", "made", samples), ["colour=What colour is it?"])
    assert [[(q.question, q.answer, q.kind) for q in each.questions] for each in found.samples] == [
        [("What colour is it?", "red", "colour")],
        [],
        [("What colour is it?", "blue", "colour")],
    ]


def test_a_new_language_model_knows_the_words_of_questions_and_answers_that_no_caption_says(catalogue: Path) -> None:
    source = asked_one_by_one(read_learned("close", str(catalogue), None), ["colour=What colour is it?"])
    lm = zoo.load_part("lm", "scratch:tiny", source=source)
    tokens, _ = lm.tokenizer(["what colour is it?"], 12)
    assert lm.tokenizer.decode(tokens[0].tolist()).strip().startswith("what colour is it")


@pytest.mark.parametrize("name", ["close", "prefix", "cgvlm"])
def test_what_answers_questions_about_columns_learns_to_say_the_answer_and_not_the_caption(
    name: str, tmp_path: Path
) -> None:
    from tests.pictures import labelled

    pictures = sorted(labelled(tmp_path / "pictures", 24).rglob("*.png"))
    samples = tuple(
        Sample(path.stem, path, (f"thing {'abcdefghij'[n % 10]}{'klm'[n // 10]}",), extra={"colour": path.parent.name})
        for n, path in enumerate(pictures)
    )
    source = Source("products", tmp_path, "captions", "made", samples)
    settings = TrainSettings(config="tiny", steps=2, batch_size=4, held_out=0.5, ask=("colour=What colour is it?",))
    job = prepare(name, with_captions(name, source, settings), settings)
    [stage] = [each for each in job.stages if any("question" in spec.name for spec in each.needs)]
    drawn = job.source_of(stage).samples
    said = [each.extra["answer"] if name == "close" else each.captions[0] for each in drawn]
    assert said == [each.extra["colour"] for each in drawn]
    assert job.asked is not None
    assert not {each.image for each in drawn} & {each.image for each in job.asked.samples}
    assert {each.captions[0] for each in job.asked.samples} <= {each.captions[0] for each in samples}
