"""How much a model's results hang on the style of the images: by style, and in the worst one.

Labelled images are classified by names, as in `zero-shot`; images with captions alone find their captions, and these
them, among all images of all styles, as in `retrieval`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from deixis.engine.evaluation.classify import labels_of, name_logits
from deixis.engine.evaluation.data import CURES, EvalData, EvalSet, on_test
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.engine.evaluation.protocols import retrieval
from deixis.engine.fewshot.draws import style_of
from deixis.engine.fewshot.names import class_names
from deixis.errors import DeixisError
from deixis.ops.metrics import accuracy
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "measure", "of_rows", "of_styles", "prepare"]

PROTOCOL = EvalProtocol(
    title="Accuracy (labels) or recall at 1 (captions) in each style, and in the worst",
    capabilities=(("encode_image", "encode_text"), ("compare",), ("adapters",)),
    fields=("images", "style"),
    metrics=(
        EvalMetric("worst_style", "worst style"),
        EvalMetric("all_styles", "all styles"),
        EvalMetric("style", "style"),
    ),
    plots=("style",),
    axis="style",
    test="the split `test` if the data has one, else all images",
)


class _Plan(NamedTuple):
    data: EvalSet
    styles: tuple[str, ...]
    classes: tuple[str, ...]


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> _Plan:
    """The images whose style is known."""
    by_label = data.has("labels")
    every = (data.labelled if by_label else data.captioned)(options.limit, talk.say)
    classes = tuple(sorted({str(sample.label) for sample in every.samples})) if by_label else ()
    class_names(classes)
    return _Plan(*of_styles(on_test(every), len(every.samples), talk), classes)


def of_styles(data: EvalSet, count: int, talk: EvalReporter) -> tuple[EvalSet, tuple[str, ...]]:
    """The images whose style is known, and the styles.

    Args:
        data: some images.
        count: how many there are in all.
        talk: is told if some have no style.

    Raises:
        DeixisError: there are fewer than two styles.
    """
    used = data.take([i for i, sample in enumerate(data.samples) if style_of(sample)])
    styles = tuple(sorted({style_of(sample) for sample in used.samples}))
    if len(styles) < 2:
        raise DeixisError(f"The images are of {len(styles)} styles, and comparing takes two.", CURES["style"])
    if len(used.samples) < count:
        talk.say(f"{len(used.samples)} of {count} images have a style and are compared.")
    return used, styles


def measure(plan: _Plan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """One value an image: right or wrong, or the mean recall at 1 of both ways."""
    data = plan.data
    if plan.classes:
        logits = name_logits(model, data, plan.classes, options.templates, talk)
        right, what = accuracy(logits, labels_of(data, plan.classes)).numpy(), "share of right answers by class names"
    else:
        found = retrieval.values(retrieval.pairs_of(data), model, talk)
        right, what = found[Column("mean_r1")].values, "recall at 1, mean of both ways"
    of = np.array([style_of(sample) for sample in data.samples])
    by_style = {style: of_rows(data, right, np.flatnonzero(of == style)) for style in plan.styles}
    worst = min(plan.styles, key=lambda style: (by_style[style].values.mean(), style))
    columns = {Column("worst_style"): by_style[worst]}
    columns[Column("all_styles")] = of_rows(data, right, np.arange(len(of)))
    columns |= {Column("style", style): values for style, values in by_style.items()}
    return EvalOutput(
        {"": columns},
        (f"Of {model.name} the worst style is {worst!r}.", f"Values: {what}, of {len(of)} images."),
        {"worst": worst, "images": len(of), "styles": list(plan.styles)},
    )


def of_rows(data: EvalSet, values: np.ndarray, rows: np.ndarray) -> QueryValues:
    """The values of some samples.

    Args:
        data: all N samples.
        values: one a sample [N].
        rows: which samples [R].
    """
    return QueryValues(values[rows], tuple(data.ids[i] for i in rows), data.clusters[rows])
