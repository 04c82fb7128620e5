"""Hard negatives that are mined between the stages of a run, and kept in its folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from deixis.apps.common.console import Reporter
from deixis.engine.mining import mine_samples, require_minable
from deixis.engine.training.stages import stages
from deixis.files import atomic_path
from deixis.ops.collective import rank
from deixis.ops.pairs.passages import as_passages
from deixis.types import Sample, Source, Stage
from deixis.types.mining import MiningRule
from deixis.types.protocols import AnyMethod, HasMining

__all__ = ["FILE", "require_negatives", "with_negatives"]

FILE = "negatives.jsonl"
"""A line a query: `id`, `query`, and its `passages`, the answer first."""


def require_negatives(method: AnyMethod, source: Source) -> None:
    """Makes sure, before anything is trained, that negatives can be mined where a stage needs them.

    Args:
        method: that is trained.
        source: what it learns from.

    Raises:
        DeixisError: there are too few different answers.
    """
    for stage in stages(method):
        if (rule := _rule(method, stage, source)) is not None:
            require_minable(source.samples, rule)


def with_negatives(
    method: AnyMethod, stage: Stage, source: Source, out: Path, seed: int, talk: Reporter, together: Callable[[], None]
) -> Source:
    """The samples of a stage, with negatives where they have too few. What was mined before a kill is read again.

    Args:
        method: as it is when the stage begins.
        stage: of the method.
        source: what the stage learns from.
        out: the run folder.
        seed: of which are drawn.
        talk: says how many were found.
        together: waits for all ranks.
    """
    rule = _rule(method, stage, source)
    if rule is None:
        return source
    path = out / FILE
    there = path.exists()
    together()
    if not there:
        talk.say("Mining negatives.")
        found = mine_samples(method, source.samples, rule, seed)
        if rank() == 0:
            _write(path, found.samples)
        left_out = f", and {found.doubtful} whose answer may not be the best are left out" if found.doubtful else ""
        talk.say(f"{rule.drawn} negatives for each of {len(found.samples)} queries, in {path}{left_out}.")
        together()
    passages = {row["id"]: tuple(row["passages"]) for row in map(json.loads, path.read_text("utf-8").splitlines())}
    return dataclasses.replace(
        source,
        samples=tuple(
            dataclasses.replace(sample, extra={**sample.extra, "passages": passages[sample.id]})
            for sample in source.samples
            if sample.id in passages
        ),
    )


def _rule(method: AnyMethod, stage: Stage, source: Source) -> MiningRule | None:
    """What is to be mined ahead of a stage; None: nothing, also where all samples have negatives enough."""
    rule = method.mining(stage) if isinstance(method, HasMining) else None
    if rule is None or all(len(as_passages(each.extra["passages"])) > rule.drawn for each in source.samples):
        return None
    return rule


def _write(path: Path, samples: tuple[Sample, ...]) -> None:
    with atomic_path(path) as part, part.open("w", encoding="utf-8") as file:
        for sample in samples:
            row = {"id": sample.id, "query": sample.captions[0], "passages": sample.extra["passages"]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
