"""`result.json`: what a run found, with the keys that anybody's script can read; and what the terminal shows of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deixis.apps.adapt.decision import Decision
from deixis.apps.adapt.examples import confusion
from deixis.apps.adapt.settings import AdaptSettings, overrides
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import CheckedDataset
from deixis.apps.common.runs import Clock, versions
from deixis.apps.common.sentences import METRIC_NAMES, in_points, sentence
from deixis.apps.report import model_card
from deixis.apps.report.model_card import Subject
from deixis.engine.adaptation import adapt as experiments
from deixis.engine.adaptation.adapt import AdaptationArm
from deixis.engine.adaptation.divisions import division_seed
from deixis.engine.adaptation.fitting import Experiment
from deixis.engine.adaptation.recipes import recipe_for, trains_towers
from deixis.engine.adaptation.select import Choice
from deixis.engine.training.build import configure
from deixis.files import write_json
from deixis.nn.compute import current
from deixis.nn.dual import DualEncoder
from deixis.ops.stats import Interval

__all__ = ["build", "facts", "per_split", "tell", "write"]


def _json(values: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    return {name: dict(value._asdict()) for name, value in values.items() if name in METRIC_NAMES}


def _choice(choice: Choice | None, split: int | None) -> dict[str, Any]:
    if choice is None:
        return {"split": split}
    validation = {"before": choice.before, "after": choice.after}
    return {"split": split, "steps": choice.steps, "strength": choice.strength, "validation": validation}


def _curve(choice: Choice, split: int) -> dict[str, Any]:
    curve = [[choice.before, *row] for row in choice.curve]
    return {"split": split, "steps": list(choice.grid.steps), "strength": [0.0, *choice.grid.strengths], "mrr": curve}


def facts(
    collection: CheckedDataset, groups: Sequence[int], settings: AdaptSettings, encoder: DualEncoder
) -> dict[str, Any]:
    """What every run says of its data, splits and model.

    Args:
        collection: what was read and checked.
        groups: of the samples.
        settings: of the run.
        encoder: the model before it was adapted.
    """
    source, report = collection.source, collection.report
    return {
        "format": 1,
        "data": {
            "path": str(source.root),
            "name": source.name,
            "images": len(source.samples),
            "groups": len(set(groups)),
            "fingerprint": report.fingerprint,
            "skipped": [dataclasses.asdict(item) for item in source.skipped],
        },
        "split": {
            "scheme": "concept" if source.kind == "captions" else "image groups, every class on both sides",
            "count": settings.splits,
            "train": settings.train,
            "seeds": [division_seed(settings.seed, index) for index in range(settings.splits)],
        },
        "model": {"name": settings.model, "fingerprint": encoder.fingerprint(), "licence": encoder.licence},
        "seed": settings.seed,
        "compute": current().facts,
        "versions": versions(),
    }


def _method(arm: AdaptationArm, settings: AdaptSettings, final: Choice) -> dict[str, Any]:
    choices = [result.choice for result in arm.results]
    return {
        "name": settings.method,
        "config": dataclasses.asdict(configure(settings.method, "desk", overrides(settings))),
        "chosen": [_choice(choice, index) for index, choice in enumerate(choices)],
        "final": _choice(final, None),
        "curves": [_curve(choice, index) for index, choice in enumerate(choices) if choice is not None],
    }


def build(
    collection: CheckedDataset,
    experiment: Experiment,
    arms: Mapping[str, AdaptationArm],
    settings: AdaptSettings,
    decision: Decision,
    slices: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Everything that is known when all arms have run, without times and relevance.

    Args:
        collection: what was read and checked.
        experiment: data, splits, measure.
        arms: the reporting arm under the method's name, and the controls.
        settings: of the run.
        decision: which model is saved, and why.
        slices: name -> [B] booleans.
    """
    arm, source, encoder = arms[settings.method], collection.source, experiment.encoder
    seeds = 2 if trains_towers(settings.method) else 3
    recipe, _ = recipe_for(settings.method, overrides(settings))
    spread = experiments.seed_spread(experiment, recipe, arm.results[0], seeds)
    result = facts(collection, experiment.groups, settings, encoder)
    result["data"] |= {
        "kind": source.kind,
        "captions": len(set(experiment.table.keys.tolist())),
        "check": {what: [count, example] for what, count, example in collection.report.rows()},
    }
    result["split"]["index"] = None
    result["model"]["parameters"] = sum(parameter.numel() for parameter in encoder.parameters())
    result |= {
        "sentence": "",
        "method": _method(arm, settings, decision.final),
        **{which: _json(arm.intervals(which)) for which in ("before", "after", "difference")},
        "t_interval": _json(arm.corrected()),
        "primary": experiment.metric,
        "told": decision.metric,
        "training_seeds": _spread(experiment.metric, spread),
        "slices": {name: _json(arm.intervals("difference", mask)) for name, mask in slices.items()},
        "controls": {
            name: _json(each.intervals("difference")) for name, each in arms.items() if name != settings.method
        },
        "forgotten": {set_: _json(values) for set_, values in decision.forgotten.items()} or "not measured",
        "verdict": decision.to_dict(),
        "kept": "adapted" if decision.final.strength > 0 else "original",
    }
    result["per_split"] = [_split_values(each) for each in arm.results]
    if source.kind == "labels":
        result["classes"] = confusion(arm, experiment, source)
    result["sentence"] = sentence(result, decision.metric, experiment.metric)
    return result


def _spread(metric: str, values: list[float]) -> dict[str, Any]:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"metric": metric, "split": 0, "values": values, "sd": sd}


def _split_values(result: experiments.SplitResult) -> dict[str, Any]:
    means = {
        which: {name: float(value.mean()) for name, value in getattr(result, which).items() if name in METRIC_NAMES}
        for which in ("before", "after", "difference")
    }
    return {"split": result.index, **means}


def per_split(result: Mapping[str, Any], arm: AdaptationArm, experiment: Experiment) -> Iterator[dict[str, Any]]:
    """One `result.json` a split, with the same keys; intervals over the concepts of that split's test samples."""
    for each in arm.results:
        alone = AdaptationArm((each,), arm.groups)
        own = {which: _json(alone.intervals(which)) for which in ("before", "after", "difference")}
        chosen = result["method"]["chosen"][each.index]
        yield {
            **{key: result[key] for key in ("format", "data", "model", "forgotten", "versions")},
            "split": {**result["split"], "index": each.index, "test": [experiment.table.ids[i] for i in each.queries]},
            "method": {"name": result["method"]["name"], "config": result["method"]["config"], "chosen": [chosen]},
            "seed": result["split"]["seeds"][each.index],
            **own,
            "kept": result["kept"],
        }


def tell(result: Mapping[str, Any], talk: Reporter, out: Path) -> None:
    """Prints the sentence, then the table of all measures, then where things lie."""
    talk.result(result["sentence"])
    rows = [
        (
            METRIC_NAMES[name],
            f"{100 * result['before'][name]['value']:.1f}",
            f"{100 * result['after'][name]['value']:.1f}",
            in_points(gain),
        )
        for name, gain in result["difference"].items()
        if not name.endswith("_r5")
    ]
    columns = ("measure, in points", "before", "after", "difference [95 %]")
    held_out = "pictures" if result["data"]["kind"] == "labels" else "concepts"
    talk.table(f"{result['data']['name']}: {result['data']['images']} images, held-out {held_out}", columns, rows)
    primary = result["primary"]
    beside = [("all, t interval over divisions, corrected", in_points(result["t_interval"][primary]))]
    beside += [(name, in_points(values[primary])) for name, values in result["slices"].items()]
    beside += [(f"control: {name}", in_points(values[primary])) for name, values in result["controls"].items()]
    if isinstance(result["forgotten"], dict):
        beside += [(f"outside: {name}", in_points(v["mean_mrr"])) for name, v in result["forgotten"].items()]
    else:
        beside.append(("forgotten, outside your data", "not measured"))
    talk.table("beside", ("what", f"{METRIC_NAMES[primary]}, difference"), beside)
    kept = result["method"]["final"]
    if result["kept"] == "original":
        talk.result("Retained: the original model.")
    else:
        talk.result(
            f"Saved: the adapted model (strength {kept['strength']}, {kept['steps']} steps; fitted on all pairs)."
        )
    talk.result(f'Report: {out / "report.html"}\nSearch: deixis search {out} "words"   or a picture in place of words')


def write(
    folder: Path,
    result: dict[str, Any],
    encoder: DualEncoder,
    name: str,
    collection: CheckedDataset,
    talk: Reporter,
    clock: Clock,
) -> None:
    """Adds times and memory to a result, and writes it, what was found when the data was checked, and the model card.

    Args:
        folder: of the run.
        result: all else that is known.
        encoder: that the card is of.
        name: of the run.
        collection: checked samples.
        talk: knows the seconds of each step.
        clock: was started with the run.
    """
    stages = {step: round(seconds, 2) for step, seconds in talk.seconds.items()}
    result |= {"seconds": {**clock.read(), "stages": stages}, "peak_mb": clock.peak_mb()}
    write_json(folder / "check.json", collection.report.to_dict())
    write_json(folder / "result.json", result)
    model_card.write(folder / "README.md", Subject(encoder, name, result, licences=collection.report.licences))
