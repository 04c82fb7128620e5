"""The same training without what a method adds (`Card.control`), measured on what was held out; the better is kept."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deixis.apps.common.console import Reporter
from deixis.apps.common.overrides import parse_overrides
from deixis.apps.common.resume import RESULT
from deixis.apps.train import method_runs
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.setup import TrainingJob
from deixis.data.splits import concept_groups, split
from deixis.engine.evaluation.model import preprocess_of
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.fewshot.names import class_names
from deixis.engine.training.stages import offers
from deixis.files import atomic_path, write_json
from deixis.methods import read as read_method
from deixis.ops.collective import rank
from deixis.ops.stats import cluster_t_interval
from deixis.types import Sample, Source
from deixis.types.protocols import OffersClassify

__all__ = ["CONTROL", "compare_with_control", "control_settings"]

CONTROL = "control"
"""Folder of the run without what the method adds, within the run's own."""

_BATCH, _LEAST = 64, 4


def control_settings(name: str, settings: TrainSettings) -> TrainSettings | None:
    """Settings of the same training without what the method adds; None where it has no such control, or is it already.

    Args:
        name: of the method.
        settings: of the run.
    """
    control = read_method(name).card.control
    changed = parse_overrides(name, settings.set, settings.config)
    if not control or all(changed.get(key) == value for key, value in control.items()):
        return None
    return dataclasses.replace(settings, set=(*settings.set, *(f"{key}={value}" for key, value in control.items())))


def compare_with_control(
    job: TrainingJob, out: Path, result: Mapping[str, Any], run_control: Callable[[], Any], talk: Reporter
) -> dict[str, Any]:
    """Trains the control in a folder within `out`, keeps the method that is better on one half of the concepts held
    out, and says what the other half says.

    Args:
        job: of the run.
        out: its folder, finished.
        result: what stands in its `result.json`.
        run_control: trains the control; all ranks call it alike.
        talk: receives the progress.

    Returns:
        `result` with `comparison` and `sentence`, as they stand in `result.json` from then on.
    """
    if "comparison" in result or job.held is None or not offers(job.method, OffersClassify):
        return dict(result)
    talk.say("The same training once more, without captions, to compare with.")
    run_control()
    if rank() > 0:
        return dict(result)
    parts = _halves(job.held, job.order.seed)
    methods = {name: method_runs.load_method(folder) for name, folder in (("with", out), ("without", out / CONTROL))}
    right = {name: [_right(method, part) for part in parts] for name, method in methods.items()}
    kept = "with" if right["with"][0].mean() > right["without"][0].mean() else "without"
    gain = right["with"][1] - right["without"][1]
    interval = cluster_t_interval(gain, _clusters(parts[1]))
    comparison = {
        "validation": {name: float(each[0].mean()) for name, each in right.items()},
        "test": {name: float(each[1].mean()) for name, each in right.items()},
        "difference": {"value": float(gain.mean()), "low": interval.low, "high": interval.high},
        "images": [len(part) for part in parts],
        "kept": kept,
    }
    sentence = _sentence(comparison)
    if kept == "without":
        with atomic_path(out / method_runs.STATE) as temporary:
            shutil.copyfile(out / CONTROL / method_runs.STATE, temporary)
    found = {**result, "comparison": comparison, "sentence": sentence}
    write_json(out / RESULT, found)
    talk.result(sentence)
    return found


def _halves(held: Source, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Two parts of different concepts; each is the whole where there are too few."""
    samples = list(held.samples)
    groups = concept_groups([dataclasses.replace(each, captions=()) for each in samples])
    if len(set(groups)) < _LEAST:
        return samples, samples
    parts = split(groups, seed, 0.5, minimum=_LEAST)
    return [samples[i] for i in parts.train], [samples[i] for i in parts.test]


def _clusters(samples: list[Sample]) -> np.ndarray:
    return np.asarray(concept_groups([dataclasses.replace(each, captions=()) for each in samples]), np.int64)


def _right(method: Any, samples: list[Sample]) -> np.ndarray:
    """1 for each picture whose class is named, by the picture alone."""
    labels = [str(sample.label) for sample in samples]
    wanted = torch.tensor([method.names.index(class_names([label])[0]) for label in labels])
    preprocess = preprocess_of("The method", method)
    with eval_without_grad(method):
        blocks = (samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH))
        named = [method.classify(preprocess.read([each.picture for each in some])).argmax(dim=1) for some in blocks]
    return (torch.cat(named).cpu() == wanted).double().numpy()


def _sentence(found: Mapping[str, Any]) -> str:
    test, change = found["test"], found["difference"]
    low, high = change["low"], change["high"]
    between = "" if low is None else f" (between {100 * low:+.0f} and {100 * high:+.0f})"
    kept = {"with": "the training with captions", "without": "the training without captions"}[found["kept"]]
    both = f"{100 * test['with']:.0f} are named right after training with captions, {100 * test['without']:.0f} without"
    return (
        f"Of 100 pictures of concepts held out {both}{between}. Kept: {kept}, by validation pictures; it needs "
        "pictures alone."
    )
