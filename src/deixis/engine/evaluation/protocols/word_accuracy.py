"""Words that are read, against what is written: the same word, and the share of letters that are wrong."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch

from deixis.engine.evaluation.data import EvalData, EvalSet, on_test
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import preprocess_of
from deixis.inputs.images import open_image
from deixis.nn import compute
from deixis.ops.text.spelling import edit_distance, plain_word
from deixis.types import EvalMetric, EvalProtocol, Sample
from deixis.types.protocols import HasReadLines

__all__ = ["PROTOCOL", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Words in pictures that show one word each",
    capabilities=(("read",),),
    fields=("images", "captions"),
    metrics=(
        EvalMetric("accuracy", "words read right"),
        EvalMetric("exact", "with capitals and all signs"),
        EvalMetric("edits", "wrong letters", better="lower"),
    ),
    plots=("accuracy", "exact"),
    axis="length and kind",
    test="the split `test` if the data has one, else all images; case, and signs that are no letters or digits, count "
    "in `exact` alone, and blanks in nothing",
)

_BATCH = 64
_LENGTHS = ((1, 3), (4, 6), (7, 9), (10, 1000))


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> EvalSet:
    """The pictures with words."""
    return on_test(data.captioned(options.limit, talk.say))


def measure(plan: EvalSet, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Of each picture whether its word is read; of all, by the number of letters and by the column `kind`."""
    with talk.step("read"):
        read = _read(plan.samples, model, talk)
    written = [sample.captions[0] for sample in plan.samples]
    plain = [(plain_word(one), plain_word(other)) for one, other in zip(read, written, strict=True)]
    values = {
        "accuracy": np.array([float(one == other) for one, other in plain]),
        "exact": np.array([float(_joined(one) == _joined(other)) for one, other in zip(read, written, strict=True)]),
        "edits": np.array([edit_distance(one, other) / max(1, len(one), len(other)) for one, other in plain]),
    }
    groups = {"": np.ones(len(written), dtype=bool), **_groups(plan.samples, [other for _, other in plain])}
    names = np.array(plan.ids, dtype=object)
    columns = {
        Column(metric, group): QueryValues(each[some], tuple(names[some]), plan.clusters[some])
        for metric, each in values.items()
        for group, some in groups.items()
    }
    return EvalOutput({"": columns}, (), {"images": len(plan.samples)})


def _joined(text: str) -> str:
    """Without blanks: readers that know none are not wrong for it, nor are those that know them."""
    return "".join(text.split())


def _groups(samples: Sequence[Sample], words: Sequence[str]) -> dict[str, np.ndarray]:
    """By length, and by kind where there are several."""
    sizes = np.array([len(word) for word in words])
    found = {}
    for low, high in _LENGTHS:
        name = f"{low} to {high} letters" if high < _LENGTHS[-1][1] else f"{low} letters or more"
        found[name] = (sizes >= low) & (sizes <= high)
    kinds = np.array([str(sample.extra.get("kind", "")) for sample in samples])
    if len(set(kinds.tolist())) > 1:
        found |= {kind: kinds == kind for kind in sorted(set(kinds.tolist()) - {""})}
    return {name: some for name, some in found.items() if some.any()}


def _read(samples: Sequence[Sample], model: EvalModel, talk: EvalReporter) -> list[str]:
    """What a model reads: pictures in their own shape where it takes these."""
    method, found = model.model, list[str]()
    with talk.bar("read words") as bar, compute.placed(method), eval_without_grad(method):
        for start in range(0, len(samples), _BATCH):
            pictures = [sample.picture for sample in samples[start : start + _BATCH]]
            if isinstance(method, HasReadLines):
                found += method.read_lines([open_image(each) for each in pictures])[0]
            else:
                pixels = preprocess_of(method).read(pictures, threads=min(os.cpu_count() or 1, 8))
                device = compute.current().device
                with compute.autocast(device), torch.no_grad():
                    found += method.read(pixels.to(device))
            bar(min(start + _BATCH, len(samples)), len(samples))
    return found
