"""`deixis eval`: measures models by published protocols on one's own data, and writes tables and plots."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import check_and_read, read
from deixis.apps.common.loading import tell_weights
from deixis.apps.common.options import Reading
from deixis.apps.common.runs import Clock, free_name, run_folder, versions
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.eval.comparison import SECONDS, ModelComparison
from deixis.apps.eval.details import write_detail
from deixis.apps.eval.encoders import at_places, base_name, load_image_side
from deixis.apps.eval.models import load_model, was_trained_on
from deixis.apps.eval.place_sentence import place_sentence
from deixis.apps.eval.settings import EvalSettings
from deixis.apps.predict.capable import open_method
from deixis.data.class_folders import with_folder_labels
from deixis.data.column_questions import with_column_questions
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput
from deixis.engine.evaluation.protocols import load_protocol, read_protocol
from deixis.engine.evaluation.protocols.pair_retrieval import RerankedModel
from deixis.engine.evaluation.selection import require_capabilities, require_fields, select
from deixis.engine.fewshot.recipe import fingerprint
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.nn.compute import current
from deixis.types import EvalMetric, EvalProtocol, Source
from deixis.zoo.training_images import seen_sentence

__all__ = ["PAIRS", "evaluate"]


_SEEN = (
    "{} was trained on this data, so these results are too high. Give data that it was not trained on; its "
    "results on held-out concepts are in its own result.json."
)


PAIRS = "pair-retrieval"
"""The protocol that needs a second model."""


@dataclasses.dataclass(frozen=True)
class _Job:
    """A protocol, what it prepared, and the models that it measures."""

    name: str
    plan: Any
    models: tuple[EvalModel, ...]


@takes_settings(settings=EvalSettings, reading=Reading)
def evaluate(
    data: str | Source,
    out: str | Path = "deixis-eval",
    settings: EvalSettings | None = None,
    reading: Reading | None = None,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> Mapping[str, Any]:
    """Runs protocols and writes a folder: `result.json`, and tables, plots and rows; where there are several protocols,
    a folder for each inside.

    Args:
        data: a folder, a csv / tsv / jsonl, shards, `set:NAME`, or a source that was read already.
        out: the folder to write.
        settings: which protocols, of which models; where no protocol is named, all that fit and take seconds, and
            with encoders those that take minutes, too.
        reading: columns and the like, where they are not to be guessed.
        overwrite: replace what is there.
        quiet: print nothing but the result.

    Returns:
        What stands in `result.json`.

    Raises:
        DeixisError: there is no such protocol, data or models lack what it needs, or `out` is taken.
    """
    settings = settings or EvalSettings()
    asked = settings.encoders
    if settings.at and not asked:
        raise DeixisError(
            "A place is named, and no encoder.", f"Name one or several: --encoders starter --at {settings.at}"
        )
    settings = dataclasses.replace(settings, encoders=at_places(asked, settings.at))
    for name in settings.protocol:
        read_protocol(name)
    if PAIRS in settings.protocol and not settings.rerank:
        raise DeixisError(f"{PAIRS} scores results again, and no run is named that does.", "Name one: --rerank RUN")
    _reservation = free_name(Path(out), overwrite)
    talk, clock = Reporter(quiet), Clock()
    source = _source(data, settings, reading)

    def check(some: Source) -> EvalSet:
        checked = check_and_read(some, talk)
        report = checked.report
        return EvalSet.of(checked.source, report.hashes, report.same, report.fingerprint)

    known = EvalData(source, check)
    jobs, reasons = _jobs(known, settings, talk)
    bases = dict.fromkeys(map(base_name, settings.encoders) if settings.encoders else settings.model)
    warnings = [_SEEN.format(name) for name in bases if was_trained_on(name, known)]
    warnings += filter(None, (seen_sentence(name, known.hashes) for name in bases))
    for warning in warnings:
        talk.say(warning)
    with run_folder(Path(out), overwrite) as folder:
        seconds = _seconds(jobs, known) if settings.encoders else {}
        found = _run(jobs, source.name, settings, seconds, folder, talk)
        names, models = [job.name for job in jobs], list(settings.names)
        result: dict[str, Any] = {"verb": "eval", "protocol": names[0] if len(names) == 1 else names}
        result |= {
            "model": models[0] if len(models) == 1 else models,
            **found,
            "left_out": reasons,
            "warnings": warnings,
        }
        if settings.at == "all" and (sentence := _best_place(result, asked)):
            result["sentence"] = sentence
            talk.result(sentence)
        result |= {
            "compute": current().facts,
            "seconds": clock.read(),
            "peak_mb": clock.peak_mb(),
            "versions": versions(),
        }
        write_json(folder / "result.json", result)
    talk.say(f"Written to {out}.")
    return result


def _best_place(result: Mapping[str, Any], encoders: Sequence[str]) -> str:
    """The sentence on places, from what the linear classifier came to; empty where it was not run."""
    found = result.get("results", {"": result})
    linear = next((each for each in found.values() if _has_losses(each)), None)
    if linear is None:
        return ""
    values = {row["model"]: row["value"] for row in linear["rows"] if row["metric"] == "top1"}
    return place_sentence(linear["models"], values, encoders)


def _has_losses(found: Mapping[str, Any]) -> bool:
    return any("validation_loss" in facts for facts in found.get("models", {}).values())


def _models(settings: EvalSettings) -> list[EvalModel]:
    if not settings.encoders:
        if not settings.model:
            raise DeixisError("No model is named.", "Name one or several: --model starter")
        models = [load_model(name) for name in dict.fromkeys(settings.model)]
        if not settings.rerank:
            return models
        again = open_method(settings.rerank, "match")
        return [RerankedModel(each.name, each.model, settings.rerank, again) for each in models]
    twice = next((name for name in settings.encoders if settings.encoders.count(name) > 1), None)
    if twice is not None:
        raise DeixisError(f"The encoder {twice!r} is named twice.", "Name each once.")
    return [load_image_side(name) for name in settings.encoders]


def _source(data: str | Source, settings: EvalSettings, reading: Reading | None) -> Source:
    """What is measured on: with questions made of columns, and labels where a protocol is named that reads them."""
    source = with_column_questions(data if isinstance(data, Source) else read(data, reading), settings.ask)
    labels = any("labels" in read_protocol(name).fields for name in settings.protocol)
    return with_folder_labels(source) if labels else source


def _jobs(data: EvalData, settings: EvalSettings, talk: Reporter) -> tuple[list[_Job], Mapping[str, str]]:
    """What runs, and why the rest does not; all that can be refused is refused here."""
    names, plans = tuple(dict.fromkeys(settings.protocol)), {}
    for name in names:
        require_fields(name, data)
        plans[name] = load_protocol(name).prepare(data, settings, talk)
    tell_weights(settings.names, talk.say)
    models = _models(settings)
    if names:
        fit = {name: require_capabilities(name, models, bool(settings.encoders)) for name in names}
        unable = {name: [each.name for each in models if each not in fit[name]] for name in names}
        left_out = {name: f"{', '.join(without)}: left out" for name, without in unable.items() if without}
        for name, reason in left_out.items():
            talk.say(f"{name}: {reason}")
        return [_Job(name, plans[name], fit[name]) for name in names], left_out
    selection, jobs = select(data, models, slow=bool(settings.encoders)), []
    reasons = dict(selection.reasons)
    for name, able in selection.models.items():
        try:
            jobs.append(_Job(name, load_protocol(name).prepare(data, settings, talk), able))
        except DeixisError as error:
            reasons[name] = error.found
    refused = "".join(f"\n  {name}: {reason}" for name, reason in reasons.items())
    if not jobs:
        raise DeixisError(f"No protocol fits {data.source.name} and {', '.join(settings.names)}:{refused}", "Name one.")
    talk.say(f"Protocols that fit: {', '.join(job.name for job in jobs)}. Left out:{refused or ' none'}")
    return jobs, reasons


def _seconds(jobs: Sequence[_Job], data: EvalData) -> dict[str, float]:
    """Encoder -> how long an image takes."""
    models = {model.name: model for job in jobs for model in job.models}
    return {name: model.seconds_per_image(data.requested[0]) for name, model in models.items()}


def _run(
    jobs: Sequence[_Job],
    data: str,
    settings: EvalSettings,
    seconds: Mapping[str, float],
    folder: Path,
    talk: Reporter,
) -> Mapping[str, Any]:
    """What `result.json` says: of one protocol its own keys, of several those of each under its name."""
    if len(jobs) == 1:
        return _report(jobs[0], _measured(jobs[0], settings, seconds, talk), data, settings, folder, talk)
    results, outputs = {}, {}
    for job in jobs:
        place = folder / job.name
        place.mkdir()
        outputs[job.name] = _measured(job, settings, seconds, talk)
        results[job.name] = _report(job, outputs[job.name], data, settings, place, talk)
    rows = "".join((folder / job.name / "rows.jsonl").read_text(encoding="utf-8") for job in jobs)
    _overview(outputs, data, settings).write(folder, talk)
    (folder / "rows.jsonl").write_text(rows, encoding="utf-8")
    return {"data": data, "results": results}


def _measured(job: _Job, settings: EvalSettings, seconds: Mapping[str, float], talk: Reporter) -> dict[str, EvalOutput]:
    protocol, outputs = load_protocol(job.name), {}
    for model in job.models:
        talk.say(f"{job.name}: {model.name}")
        output: EvalOutput = protocol.measure(job.plan, model, settings, talk)
        timed = {SECONDS: seconds[model.name]} if model.name in seconds else {}
        outputs[model.name] = dataclasses.replace(output, facts={**output.facts, **timed})
    return outputs


def _report(
    job: _Job,
    outputs: Mapping[str, EvalOutput],
    data: str,
    settings: EvalSettings,
    folder: Path,
    talk: Reporter,
) -> Mapping[str, Any]:
    """A protocol with a report of its own writes that for one model; several models are compared in one table."""
    if len(outputs) == 1:
        own = write_detail(next(iter(outputs.values())).detail, folder, talk)
        if own is not None:
            return own
        outputs = {name: dataclasses.replace(output, detail=None) for name, output in outputs.items()}
    details = _details(outputs, folder)
    weights = {model.name: model.fingerprint for model in job.models}
    recipe = _recipe({"protocol": job.name, "data": data, "models": weights}, settings)
    found = ModelComparison(job.name, read_protocol(job.name), data, recipe, outputs).write(folder, talk)
    found["models"] |= details
    return found


def _details(outputs: Mapping[str, EvalOutput], folder: Path) -> dict[str, Any]:
    """Writes a folder for each of several models that has a report of its own; returns what `result.json` says."""
    said = {}
    for number, (model, output) in enumerate(outputs.items(), 1):
        if output.detail is not None:
            place = folder / f"model-{number}"
            place.mkdir()
            own = write_detail(output.detail, place, Reporter(quiet=True))
            if own is not None:
                said[model] = own
    return said


def _recipe(what: Mapping[str, Any], settings: EvalSettings) -> dict[str, Any]:
    """What the numbers hang on, with a hash in front."""
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(EvalOptions)}
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    return {"hash": fingerprint([what, options]), **what, **options}


def _overview(outputs: Mapping[str, Mapping[str, EvalOutput]], data: str, settings: EvalSettings) -> ModelComparison:
    """The main metric of each protocol, for all models in one table; what compares methods stands in its own."""
    metrics, models, facts = [], dict[str, dict[Column, Any]](), dict[str, dict[str, Any]]()
    for name, of in outputs.items():
        main = read_protocol(name).metrics[0]
        for model, output in of.items():
            columns = [(column, values) for arm, column, values in output if not arm and column.metric == main.name]
            if columns:
                models.setdefault(model, {})[Column(name)] = columns[0][1]
                facts[model] = {SECONDS: output.facts[SECONDS]} if SECONDS in output.facts else {}
        metrics.append(EvalMetric(name, f"{name}, {main.title}", main.better))
    titles = tuple(metrics)
    protocol = EvalProtocol("Main metrics", ((),), (), titles, tuple(metric.name for metric in titles))
    measured = {model: EvalOutput({"": columns}, (), facts[model]) for model, columns in models.items()}
    names = ", ".join(outputs)
    return ModelComparison(
        "all protocols", protocol, data, _recipe({"protocols": names, "data": data}, settings), measured
    )
