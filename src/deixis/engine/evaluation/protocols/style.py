"""A linear classifier that learns from images of one style, tested on each: what `cross-style` asks, of image features
alone, so that towers without text answer it, too.

The penalty is chosen on validation images of the style that is learned from. Test images are of other concepts than
those that are learned from, in every style.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from deixis.engine.evaluation.classify import labels_of
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter
from deixis.engine.evaluation.probes import ProbeSplit, linear_probe, probe_split
from deixis.engine.evaluation.protocols.robustness import of_rows, of_styles
from deixis.engine.fewshot.draws import style_of
from deixis.errors import DeixisError
from deixis.ops.metrics import accuracy
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="A linear classifier that learns from one style (--style), tested on each",
    capabilities=(("encode_image",), ("adapters",)),
    fields=("images", "labels", "style"),
    metrics=(
        EvalMetric("other_styles", "other styles"),
        EvalMetric("own_style", "own style"),
        EvalMetric("accuracy", "accuracy"),
    ),
    plots=("accuracy",),
    axis="tested on",
    test="the split `test`, else two fifths of the images, by concept; of the rest one style is for training, "
    "a part of them validation, which chooses the penalty",
)

_FEWEST = 2


class _Plan(NamedTuple):
    data: EvalSet
    split: ProbeSplit
    style: str
    of: tuple[str, ...]  # style of each image


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> _Plan:
    """The images whose style is known, in three parts, of which two are of one style."""
    every = data.labelled(options.limit, talk.say)
    known, styles = of_styles(every, len(every.samples), talk)
    of = tuple(map(style_of, known.samples))
    style = options.style or max(styles, key=of.count)
    if style not in styles:
        raise DeixisError(f"No image is of the style {style!r}.", f"Styles here: {', '.join(styles)}.")
    return _Plan(known, _of_style(known, probe_split(known, validation=True), style, of), style, of)


def _of_style(data: EvalSet, split: ProbeSplit, style: str, of: tuple[str, ...]) -> ProbeSplit:
    """The split whose train and validation parts are of one style, with the classes that are learned."""
    label = [str(sample.label) for sample in data.samples]
    train = tuple(i for i in split.train if of[i] == style)
    classes = tuple(name for name in split.classes if name in {label[i] for i in train})
    validation = tuple(i for i in split.validation if of[i] == style and label[i] in classes)
    test = tuple(i for i in split.test if label[i] in classes)
    if len(classes) < _FEWEST or not validation or not {of[i] for i in test} - {style}:
        raise DeixisError(
            f"Too few images of the style {style!r} are left to learn from: {len(train)} of {len(classes)} classes, "
            f"{len(validation)} for validation.",
            "Choose a style with more images (--style), or give more.",
        )
    return ProbeSplit(train, validation, test, classes)


def measure(plan: _Plan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Right or wrong, one value a test image: by style, and of all styles that were not learned from."""
    data, split, style, of = plan
    features = model.image_features(data, talk)
    with talk.step("learn"):
        probe = linear_probe(features, data, split)
    test = data.take(split.test)
    right = accuracy(probe.logits, labels_of(test, split.classes)).numpy()
    styles = np.array([of[i] for i in split.test])
    rows = {name: np.flatnonzero(styles == name) for name in sorted(set(styles.tolist()))}
    columns = {Column("other_styles"): of_rows(test, right, np.flatnonzero(styles != style))}
    if style in rows:
        columns[Column("own_style")] = of_rows(test, right, rows[style])
    columns |= {Column("accuracy", name): of_rows(test, right, each) for name, each in rows.items()}
    note = f"{len(split.train) + len(split.validation)} images of the style {style!r} to learn from."
    return EvalOutput(
        {"": columns},
        (probe.note(split), note),
        {"images": len(split.test), "style": style, "styles": list(rows), "penalty": probe.penalty},
    )
