"""Learns from columns of a table in which respects pictures are alike; each is kept that beats the plain vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from deixis import zoo
from deixis.apps.adapt.settings import AdaptSettings, check_splits
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import CheckedDataset, check_and_read, embed_plain
from deixis.apps.common.formatting import counted
from deixis.apps.common.runs import Clock, free_name, run_folder, versions
from deixis.apps.index.index import write_index
from deixis.apps.respects.stored import Respect, write_respects
from deixis.data.aspects import Aspect, column_aspects, column_value
from deixis.data.splits import concept_groups
from deixis.engine.adaptation.adapt import AdaptationArm
from deixis.engine.adaptation.divisions import divide
from deixis.engine.adaptation.region_choosers import best_learner
from deixis.engine.adaptation.respects import ALIKE, FIRST, RESPECT_WAYS, RespectTable, fit, respect_arms
from deixis.engine.adaptation.verdict import judge
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.nn.dual import DualEncoder
from deixis.nn.frozen import freeze
from deixis.types import ImageStates, Sample, Source

__all__ = ["adapt_to_respects", "with_label_column"]

_DIVISIONS, _MOST = 10, 200
_LABELS = frozenset("label class category".split())
"""Columns that are read as labels, and may be meant as a respect."""

_NOTES = ("No caption or label column", "Neither captions nor labels")
"""How remarks of readers begin that mean nothing here."""

_CALLED = {"span": "the span of its values' words", "weights": "weighed vectors", "classifier": "a linear classifier"}


def with_label_column(source: Source, about: tuple[str, ...]) -> Source:
    """The data, where a respect that is named is the column that was read as labels: that is a column again.

    Args:
        source: as it was read.
        about: columns.
    """
    there = {name for sample in source.samples for name in sample.extra}
    lost = [name for name in about if name not in there and name.casefold() in _LABELS]
    if source.kind != "labels" or not lost:
        return source
    samples = [dataclasses.replace(each, extra={**each.extra, lost[0]: each.label}) for each in source.samples]
    return dataclasses.replace(source, samples=tuple(samples))


def adapt_to_respects(
    source: Source, out: str | Path, settings: AdaptSettings, *, overwrite: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Learns respects from columns and writes a run folder: model, index, respects, `result.json`.

    The model stays as it is. Each column is compared in three ways (`engine.adaptation.respects`), chosen between on
    held-out concepts; it is offered where the chosen one beats the plain vectors beyond chance.

    Args:
        source: pictures with columns.
        out: the run folder.
        settings: the columns, the model, divisions and seed.
        overwrite: replace a run that is there.
        quiet: print nothing.

    Returns:
        What stands in `result.json`.

    Raises:
        DeixisError: no such column, or no respect; too few pictures; `out` is taken.
    """
    talk, clock, out = Reporter(quiet), Clock(), Path(out)
    about = tuple(name.strip() for each in settings.about for name in each.split(",") if name.strip())
    settings = dataclasses.replace(settings, about=about, splits=settings.splits or _DIVISIONS)
    check_splits(settings)
    _reservation = free_name(out, overwrite)
    source = with_label_column(source, about)
    source = dataclasses.replace(source, notes=tuple(each for each in source.notes if not each.startswith(_NOTES)))
    column_aspects(source, settings.about)  # refused before images are read
    checked = check_and_read(source, talk)
    aspects = column_aspects(checked.source, settings.about)
    encoder = zoo.load(settings.model).eval()
    encoder.require_embeddings("compare pictures")
    freeze(encoder)
    states = embed_plain(encoder, checked.source.samples, checked.report.hashes, talk)
    groups = concept_groups(checked.source.samples, checked.report.same, captions=checked.source.kind == "captions")
    respects, refused = list[Respect](), dict[str, str]()
    with talk.step("respects", "compare pictures in each respect"):
        for aspect in aspects:
            found = _learned(aspect, checked, groups, encoder, states, settings)
            if isinstance(found, Respect):
                respects.append(found)
            else:
                refused[aspect.name] = found
    with run_folder(out, overwrite) as folder:
        zoo.save(encoder, folder / "model")
        write_index(folder / "index", encoder, states.embedding, checked.source, checked.report.hashes, talk=talk)
        write_respects(folder, respects, refused, encoder.fingerprint())
        result = _result(checked, settings, respects, refused)
        write_json(folder / "result.json", result | {"compute": clock.read(), "versions": versions()})
    talk.result(result["sentence"])
    for sentence in (*refused.values(), *[each.sentence for each in respects]):
        talk.result(sentence)
    if respects:
        talk.result(f"Search: deixis search {out} --image a.jpg --about {respects[0].name}")
    return result


def _learned(
    aspect: Aspect,
    checked: CheckedDataset,
    groups: Sequence[int],
    encoder: DualEncoder,
    states: ImageStates,
    settings: AdaptSettings,
) -> Respect | str:
    """The respect, or why it is not offered."""
    samples = checked.source.samples
    if len(aspect.values) > _MOST:
        raise DeixisError(
            f"The column {aspect.name!r} has {len(aspect.values)} values that repeat, and {_MOST} at most tell "
            "pictures apart.",
            "Leave it out of --about.",
        )
    table = _table(aspect, samples, encoder, states)
    labels = [aspect.values[value] if value >= 0 else "" for value in table.ids.tolist()]
    splits = divide(groups, settings.seed, settings.splits, settings.train, labels)
    arms = respect_arms(table, groups, splits)
    arm, _, best = best_learner(arms)
    way = next(each for each in RESPECT_WAYS if each == best)
    sentence = _sentence(aspect.name, arm, best)
    if judge(arm, ALIKE).outcome != "adapted":
        return f"{sentence}: no proven gain, so it is not offered."
    fitted = fit(way, table)
    is_read = way == "classifier"
    rows = fitted(states) if is_read else torch.empty(0, 0)
    hashes = tuple(checked.report.hashes) if is_read else ()
    return Respect(aspect.name, aspect.wordings, aspect.values, f"{sentence}.", fitted, table.texts, rows, hashes)


def _table(aspect: Aspect, samples: tuple[Sample, ...], encoder: DualEncoder, states: ImageStates) -> RespectTable:
    """What is known of the pictures in a respect; a value that only one picture has is none."""
    places = {value: number for number, value in enumerate(aspect.values)}
    ids = torch.tensor([places.get(column_value(sample, aspect.name), -1) for sample in samples])
    texts = F.normalize(encoder.encode_text(list(aspect.values)).float().cpu(), dim=1)
    return RespectTable(
        ImageStates(states.embedding.float(), states.features.float(), states.doubt.float()), ids, texts
    )


def _sentence(name: str, arm: AdaptationArm, best: str) -> str:
    before, after = (arm.intervals(which)[ALIKE] for which in ("before", "after"))
    ends = f"[{max(0.0, after.low):.1f}, {min(float(FIRST), after.high):.1f}]"
    told = f"Alike in {name}: of the first {FIRST} pictures {after.value:.1f} share it {ends}"
    return f"{told}, before {before.value:.1f}, by {_CALLED[best]}"


def _result(
    checked: CheckedDataset, settings: AdaptSettings, respects: list[Respect], refused: dict[str, str]
) -> dict[str, Any]:
    offered = ", ".join(each.name for each in respects) or "none"
    return {
        "format": 1,
        "kind": "respects",
        "data": {"name": checked.source.name, "images": len(checked.source.samples)},
        "model": settings.model,
        "seed": settings.seed,
        "split": {"count": settings.splits, "train": settings.train},
        "respects": {each.name: {"way": each.map.way, "sentence": each.sentence} for each in respects},
        "refused": refused,
        "kept": "original",
        "sentence": f"{counted(len(checked.source.samples), 'picture')}; respects that searches may name: {offered}. "
        "The model itself stays as it was.",
    }
