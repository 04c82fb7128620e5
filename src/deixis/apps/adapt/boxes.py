"""`deixis adapt` on boxes with phrases: whether they improve what `deixis ground` answers, and the run."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deixis import methods
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import check_and_read
from deixis.apps.common.formatting import counted, points
from deixis.apps.common.runs import Clock, free_name, run_folder, versions
from deixis.apps.common.sentences import METRIC_NAMES, in_points, sentence
from deixis.apps.eval.comparison import write_page
from deixis.apps.predict.capable import open_method
from deixis.apps.train.method_runs import STATE, save_built
from deixis.engine.adaptation.adapt import AdaptationArm
from deixis.engine.adaptation.boxes import (
    BoxDivision,
    BoxTable,
    answer_values,
    choose,
    cross_validate,
    table_of,
    weights_of,
)
from deixis.engine.adaptation.region_choosers import best_learner, chooser_arm, learned, phrase_batch
from deixis.engine.adaptation.verdict import LEVEL, Judgement, judge
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.grounders import answer_by_method
from deixis.engine.evaluation.grounding import PhraseQuery, phrase_queries
from deixis.engine.fewshot import learners as fewshot_learners
from deixis.engine.training.build import build
from deixis.engine.training.checkpoint import load_facts
from deixis.engine.training.stages import name_of
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.nn.compute import current
from deixis.ops.stats import Interval
from deixis.types import Source
from deixis.types.protocols import AnyMethod, HasCandidates
from deixis.zoo.training_images import write_training_images

__all__ = ["adapt_to_boxes", "ranks_boxes"]

METRIC = "box_accuracy"
_METRICS = (METRIC, "box_pointing")
_BOXES = 100
"""Of a phrase, in which another method's first right one is looked for."""

_FEWEST = 5
"""Groups of pictures below which nothing can be held out."""


def rankers() -> list[str]:
    """The methods that boxes with phrases teach without training."""
    cards = {name: methods.read(name).card for name in methods.list_methods()}
    return [name for name, card in cards.items() if card.kind == "fitted" and "ground" in card.capabilities]


def choosers() -> list[str]:
    """The methods that are trained to choose which region an expression means."""
    cards = {name: methods.read(name).card for name in methods.list_methods()}
    wanted = {"refer", "ground"}
    return [name for name, card in cards.items() if wanted <= {*card.capabilities} and "match" not in card.capabilities]


def ranks_boxes(source: Source, method: str) -> bool:
    """Whether boxes with phrases are what is to be learned from: the method says so, or there is nothing else.

    Args:
        source: the data.
        method: that was requested.
    """
    name = method.replace("-", "_")
    if name in (*rankers(), *choosers()):
        return True
    boxes = any(region.phrases for sample in source.samples for region in sample.regions)
    return boxes and (name == fewshot_learners.AUTO or source.kind == "images")


def adapt_to_boxes(
    source: Source,
    out: str | Path,
    settings: AdaptSettings,
    *,
    ranker: AnyMethod | None = None,
    learners: Mapping[str, AnyMethod] | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Learns to order proposals from boxes with phrases and writes a run folder for `deixis ground --model`.

    Where the model is the run of a method that offers `ground`, it is a candidate as it is. What was learned or chosen
    is kept only if it is better, beyond chance, on pictures from which nothing was.

    Args:
        source: pictures with boxes that have phrases.
        out: the run folder.
        settings: the model that compares crops, or a run that offers `ground`; and the seed.
        ranker: what is fitted, in place of the method of the registry with the detector.
        learners: what is trained and compared with it, by name, in place of those of the registry.
        overwrite: replace a run that is there.
        quiet: print nothing.

    Returns:
        What stands in `result.json`.

    Raises:
        DeixisError: no box has a phrase, there are too few pictures, the detector is not there, or `out` is taken.
    """
    talk, clock, out = Reporter(quiet), Clock(), Path(out)
    _reservation = free_name(out, overwrite)
    _require_phrases(source)
    run = settings.model if _grounds(settings.model) else ""
    method, other = _ranker(settings, run, ranker), open_method(run, "ground") if run else None
    assert isinstance(method, HasCandidates)
    checked = check_and_read(source, talk)
    report = checked.report
    data = EvalSet.of(checked.source, report.hashes, report.same, report.fingerprint, captions=False)
    queries = [query for query in phrase_queries(data.samples) if query.regions]
    _require_groups(data, queries)
    with talk.step("encode"), talk.bar("look at proposals") as bar:
        table = table_of(method, data, queries, bar)
        values = None if other is None else answer_values(answer_by_method(other, data, queries, bar, _BOXES), queries)
    with talk.step("compare"), talk.bar("cross-validate") as bar:
        ranked, chosen = cross_validate(table, settings.seed, progress=bar, other=values)
        penalty = choose(table, settings.seed, values)
    others = _learners(settings, ranker) if learners is None else learners
    first = {} if _wanted(settings) in others else {name_of(method): ranked}
    arm, learner = _compared(ranked, first, others, (data, queries), settings.seed, talk)
    verdict = judge(arm, METRIC)
    kept = verdict.outcome == "adapted" and (learner["best"] in others or penalty != float("inf"))
    with talk.step("refit"):
        taken: Any = other if kept and penalty is None else method
        if kept and learner["best"] in others:
            own = others[learner["best"]]
            taken = learned(own, phrase_batch(own, data, queries), range(len(queries)), settings.seed)
        elif kept and penalty is not None:
            method.adopt(weights_of(table, (penalty,))[0], penalty)
    result = {
        **_facts(data, table, settings, name_of(method)),
        **_measured(arm, verdict, kept),
        "method": {"name": name_of(taken), "config": dataclasses.asdict(taken.config), "chosen": _chosen(chosen, run)},
        "learners": learner,
        "proposals": {"best_possible": float(np.mean([_reaches(table, row) for row in range(len(table))]))},
        "families": _families(arm, queries),
    }
    result["sentence"] = sentence(result, METRIC, METRIC)
    with run_folder(out, overwrite) as folder:
        _save(taken, folder, run if taken is other else "")
        if kept:
            write_training_images(folder, report.hashes)
        result |= {"seconds": clock.read(), "peak_mb": clock.peak_mb(), "versions": versions()}
        write_json(folder / "check.json", report.to_dict())
        write_json(folder / "result.json", result)
        _page(folder, result)
    _tell(result, talk, out)
    return result


def _wanted(settings: AdaptSettings) -> str:
    return settings.method.replace("-", "_")


def _learners(settings: AdaptSettings, ranker: AnyMethod | None) -> dict[str, AnyMethod]:
    """What is trained beside the ranker: with `auto` all there are, else the one that is named; none beside a ranker
    that was given."""
    names = [name for name in choosers() if _wanted(settings) in (name, fewshot_learners.AUTO)]
    return {name: build(name).to(current().device) for name in names if ranker is None}


def _compared(
    ranked: AdaptationArm,
    first: Mapping[str, AdaptationArm],
    others: Mapping[str, AnyMethod],
    phrases: tuple[EvalSet, Sequence[PhraseQuery]],
    seed: int,
    talk: Reporter,
) -> tuple[AdaptationArm, dict[str, Any]]:
    """The arm whose divisions each take what is best in the others, and what stands in `result.json` of it.

    Args:
        ranked: of the ranker.
        first: the same by name, where it is compared.
        others: that are trained in the same divisions.
        phrases: the pictures, and the phrases.
        seed: of the training.
        talk: is told of it.
    """
    arms = dict(first)
    for each, method in others.items():
        with talk.step(each), talk.bar(f"train {each}") as bar:
            arms[each] = chooser_arm(method, *phrases, ranked, seed=seed, progress=bar)
    arm, taken, best = best_learner(arms)
    return arm, {"compared": list(arms), "taken": list(taken), "best": best}


def _grounds(model: str) -> bool:
    """Whether a model is the run of a method that offers `ground`."""
    if not (Path(model) / STATE).is_file():
        return False
    name = load_facts(Path(model) / STATE).get("method")
    return name is not None and "ground" in methods.read(name).card.capabilities


def _ranker(settings: AdaptSettings, run: str, given: AnyMethod | None) -> AnyMethod:
    """What is fitted; crops are compared by the model, or, where that is a run that offers `ground`, by the default."""
    encoder = {} if run else {"encoder": settings.model}
    method = build(rankers()[0], "desk", encoder) if given is None else given
    return method.eval().to(current().device)


def _save(method: AnyMethod, folder: Path, run: str) -> None:
    """What a method is opened from: that of a run it came from is copied."""
    if not run:
        save_built(method, folder)
        return
    shutil.copyfile(Path(run, STATE), folder / STATE)
    if Path(run, "model").is_dir():
        shutil.copytree(Path(run, "model"), folder / "model")


def _require_phrases(source: Source) -> None:
    if not any(region.phrases for sample in source.samples for region in sample.regions):
        raise DeixisError(
            f"No box of {source.root} has a phrase.",
            "Give a table with the columns image, phrase and x0, y0, x1, y1 (or x, y, w, h; or bbox).",
        )


def _require_groups(data: EvalSet, queries: Sequence[PhraseQuery]) -> None:
    found = len({data.groups[query.picture] for query in queries})
    if found < _FEWEST:
        raise DeixisError(
            f"The phrases are about {counted(found, 'picture')} that are not nearly the same, and {_FEWEST} are needed "
            "to hold some out.",
            "Draw boxes in more pictures.",
        )


def _facts(data: EvalSet, table: BoxTable, settings: AdaptSettings, name: str) -> dict[str, Any]:
    source = data.source
    return {
        "format": 1,
        "kind": "boxes",
        "data": {
            "path": str(source.root),
            "name": source.name,
            "images": len({id(sample) for sample in source.samples}),
            "phrases": len(table),
            "groups": len(set(table.groups)),
            "fingerprint": data.fingerprint,
            "skipped": [dataclasses.asdict(item) for item in source.skipped],
        },
        "model": {"name": settings.model, "method": name},
        "seed": settings.seed,
        "compute": current().facts,
    }


def _measured(arm: AdaptationArm, verdict: Judgement, kept: bool) -> dict[str, Any]:
    """Before, after and difference with intervals over groups of pictures, and the verdict on them."""

    def plain(values: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
        return {name: dict(values[name]._asdict()) for name in _METRICS}

    probable = verdict.outcome == "probable"
    return {
        **{which: plain(arm.intervals(which)) for which in ("before", "after", "difference")},
        "t_interval": plain(arm.corrected()),
        "primary": METRIC,
        "told": METRIC,
        "kept": "adapted" if kept else "original",
        "verdict": {
            "outcome": verdict.outcome,
            "borderline": verdict.borderline,
            "reasons": ["the interval of the gain includes 0"] if probable else [],
            "evidence": {**verdict.evidence._asdict(), "measure": "log rank", "level": LEVEL},
            "gain": verdict.gain._asdict(),
        },
    }


def _chosen(divisions: Sequence[BoxDivision], run: str) -> list[dict[str, Any]]:
    """The penalty of each division, none where nothing was learned; and the run, where that was chosen."""
    return [
        {
            "split": each.index,
            "penalty": None if each.penalty is None or np.isinf(each.penalty) else each.penalty,
            **({"run": run} if each.penalty is None else {}),
        }
        for each in divisions
    ]


def _reaches(table: BoxTable, row: int) -> bool:
    return bool((table.overlaps[row] >= table.overlap).any())


def _families(arm: AdaptationArm, queries: Sequence[PhraseQuery]) -> dict[str, dict[str, Any]]:
    """Accuracy before and after by what singles out the thing that is meant."""
    found = {}
    for family in dict.fromkeys(query.family for query in queries):
        mask = np.array([query.family == family for query in queries])
        sides = {which: float(arm.by_sample(which, METRIC, mask)[0].mean()) for which in ("before", "after")}
        found[family] = {"phrases": int(mask.sum()), **sides}
    return found


def _rows(result: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    return [
        (
            METRIC_NAMES[name],
            points(result["before"][name]["value"]),
            points(result["after"][name]["value"]),
            in_points(result["difference"][name]),
        )
        for name in _METRICS
    ]


def _page(folder: Path, result: Mapping[str, Any]) -> None:
    data = result["data"]
    families = [
        (name, str(each["phrases"]), points(each["before"]), points(each["after"]))
        for name, each in result["families"].items()
    ]
    tables = [
        ("Before and after, in points", ("measure", "before", "after", "difference [95 %]"), _rows(result)),
        ("Best box right, by what singles out the thing", ("phrases", "number", "before", "after"), families),
    ]
    best = points(result["proposals"]["best_possible"], 0)
    notes = [
        "Every figure is of phrases about pictures that were not learned from; intervals are over groups of pictures.",
        f"For {best} of 100 phrases a box that is ordered is right: ordering can't reach more.",
        "A box is given for every phrase, whether or not the thing is there."
        if result["method"]["name"] in choosers()
        else "Whether a thing is there at all is decided as before.",
        f"Compared, each division by the others: {', '.join(result['learners']['compared'])}.",
    ]
    recipe = {
        "data": data["path"],
        "pictures": data["images"],
        "phrases": data["phrases"],
        "method": result["method"]["name"],
        "penalty": result["method"]["config"].get("penalty"),
        "seed": result["seed"],
    }
    write_page(folder, str(result["sentence"]), "", tables, notes, recipe, name="report.html")


def _tell(result: Mapping[str, Any], talk: Reporter, out: Path) -> None:
    talk.result(result["sentence"])
    data = result["data"]
    title = f"{data['name']}: {counted(data['phrases'], 'phrase')}, held-out pictures"
    talk.table(title, ("measure, in points", "before", "after", "difference [95 %]"), _rows(result))
    kept = f"the {result['kept']} order of boxes"
    if result["method"]["name"] in choosers():
        kept = f"{result['method']['name']}, trained on all phrases"
    elif result["method"]["name"] not in rankers():
        kept = f"{result['method']['name']} of {result['model']['name']}"
    talk.result(f"Saved: {kept}.\nReport: {out / 'report.html'}")
    talk.result(f'Ground: deixis ground photo.jpg "words" --model {out}')
