"""What a finished training run says: steps, figures before and after, which encoder to use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deixis.apps.common.console import Reporter
from deixis.apps.common.formatting import counted, points, signed_span
from deixis.apps.train.encoder_report import encoder_table
from deixis.apps.train.image_files import groups, patches, unusual
from deixis.apps.train.setup import TrainingJob
from deixis.engine.column_answers import column_answers
from deixis.types import Source
from deixis.types.protocols import AnyMethod

__all__ = ["compare_answers", "tell"]


def compare_answers(method: AnyMethod, learned: Source, held: Source, talk: Reporter) -> dict[str, dict[str, Any]]:
    """Column -> what came of the question about it, as plain values; see `column_answers`.

    Args:
        method: at the end.
        learned: the samples it learned from.
        held: others.
        talk: receives the progress.
    """
    with talk.bar("questions about columns") as bar:
        return {column: each.to_dict() for column, each in column_answers(method, learned, held, bar).items()}


def tell(lesson: TrainingJob, result: Mapping[str, Any], out: Path, talk: Reporter) -> None:
    """Says what was done, and what was measured before and after.

    Args:
        lesson: what was trained on what.
        result: what stands in `result.json`.
        out: the run folder.
        talk: says it.
    """
    after, steps = result["after"], sum(lesson.steps)
    done = (
        f"{steps} steps of {lesson.batch_size} samples" if steps else f"built from {result['data']['samples']} samples"
    )
    talk.result(f"{lesson.name}: {done}, in {out}")
    names = {"accuracy": "accuracy", "r1": "recall at 1", "r10": "recall at 10", "mrr": "mean reciprocal rank"}
    rows = [(text, *(f"{result[when][name]:.3f}" for when in ("before", "after"))) for name, text in names.items()
            if name in after and name in result["before"]]  # fmt: skip
    if "same_thing" in after:
        now, then = (100 * result[when]["same_thing"] for when in ("after", "before"))
        talk.result(
            f"For {now:.0f} of 100 pictures another one of the same thing comes first, among {result['held_out']} "
            f"pictures of things that were not trained on; before, for {then:.0f}."
        )
    if "encoders" in result:
        head, cells = encoder_table(result["encoders"])
        what = "copies and labels" if "labels" in result["encoders"] else "copies"
        talk.table(f"of 100 {what}; in brackets the difference; *: to be used", head, cells)
        talk.result(result["sentence"])
    for column, answers in result.get("answers", {}).items():
        talk.result(_answers_sentence(column, answers))
    if "groups" in result:
        talk.result(
            f"{counted(result['groups'], 'group')} of images that look alike, to begin labels with: "
            f"{out / groups.TABLE}; the first of each: {out / groups.SHEET}"
        )
    if "unusual" in result:
        talk.result(
            f"The images that are least like any others, to look at: {out / unusual.TABLE}; the first, above what it "
            f"makes of them: {out / unusual.SHEET}"
        )
    if "patches" in result:
        talk.result(
            f"What matches in {counted(result['patches'], 'pair')} of the most alike photos, to look at: "
            f"{out / patches.SHEET}"
        )
    if rows:
        talk.table(f"on {result['held_out']} samples of concepts held out", ("", "before", "after"), rows)


def _answers_sentence(column: str, answers: Mapping[str, Any]) -> str:
    """How many answers about a column are right, beside what needs no language model."""
    right, common = (points(answers[name]["value"], 0) for name in ("right", "commonest"))
    pictures = counted(answers["pictures"], "picture")
    sentence = (
        f"{column}: of 100 answers {right} are right, on {pictures} of concepts that were not trained on; "
        f"always {answers['value']!r}: {common}"
    )
    if "classifier" not in answers:
        return f"{sentence}. A linear classifier had too few values to learn from."
    change = answers["difference"]
    sentence += (
        f"; a linear classifier of the same pictures: {points(answers['classifier']['value'], 0)} (difference "
        f"{signed_span(change['low'], change['high'])})."
    )
    if change["low"] > 0:
        return sentence
    better = "is better" if change["high"] < 0 else "is as good, as far as can be told"
    return f"{sentence} The classifier {better}: deixis adapt DATA --label-column {column} --method auto"
