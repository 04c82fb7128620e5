"""A table of saliency methods by layer with intervals, and checks that a map hangs on the model and on the question.

* Cascading randomisation (Adebayo et al. 2018): block by block, from the output to the input, weights become normal
  numbers of each tensor's own mean and deviation; a map that stays the same does not show what the model learned.
* Random labels: nothing is trained here, so the labels that are exchanged are the texts: the query is a noun
  that the picture does not show. (For a model that is trained on random labels, see
  `deixis.engine.claims.tasks.explained.classifier`.)
* Agreement: whether two halves of the pictures put the rows of the table in the same order.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from deixis.engine.evaluation.saliency import (
    SaliencyQueries,
    between_things,
    build_explainer,
    explain,
    localisation,
    perturbation,
)
from deixis.errors import DeixisError
from deixis.methods import list_methods, read
from deixis.nn.blocks import blocks, default_layers
from deixis.nn.dual import DualEncoder
from deixis.ops.maps import spearman
from deixis.ops.saliency_metrics import centre, edges
from deixis.ops.stats import Interval, cluster_bootstrap
from deixis.types import Variant

__all__ = [
    "BASELINES",
    "SaliencyEntry",
    "SaliencyResult",
    "SaliencyRow",
    "absent",
    "agreement",
    "cascade",
    "compared",
    "entries",
    "measure",
    "stages",
]

BASELINES = ("centre", "edges", "random")
"""Maps that know nothing of the model."""

_FEW = 6
"""Pictures that insertion, deletion and the checks are measured on: they take most of the time."""


@dataclasses.dataclass(frozen=True)
class SaliencyEntry:
    """A row to be measured.

    Attributes:
        method: its name.
        layer: where the map is made; empty where that means nothing.
        maps: makes the map of each question; nouns may be queried in place of the queries' own.
        learned: whether it hangs on the model.
    """

    method: str
    layer: str
    maps: Callable[[SaliencyQueries, Int64[Tensor, " Q"] | None], Float[Tensor, "Q H W"]]
    learned: bool = True


@dataclasses.dataclass(frozen=True)
class SaliencyRow:
    """What came out of an entry.

    Attributes:
        method: its name.
        layer: where the map was made.
        metrics: name -> mean over questions with its 95 % interval over pictures.
        halves: name -> the mean over the first and over the second half of the pictures.
        cascade: name of the last block that was made random -> rank correlation with the map of the model as it is.
        values: name -> one value a question, NaN where a question has none.
    """

    method: str
    layer: str
    metrics: Mapping[str, Interval]
    halves: Mapping[str, tuple[float, float]]
    cascade: Mapping[str, float]
    values: Mapping[str, Float[np.ndarray, " Q"]]


class SaliencyResult(NamedTuple):
    """All that was measured of the maps of one model.

    Attributes:
        data: name of the pictures.
        encoder: whose scores were explained.
        entries: what made the maps.
        queries: the questions.
        rows: one an entry.
    """

    data: str
    encoder: DualEncoder
    entries: Sequence[SaliencyEntry]
    queries: SaliencyQueries
    rows: Sequence[SaliencyRow]


def compared() -> dict[str, tuple[str, Variant]]:
    """What can be compared: the variants of methods that offer `attribute`, by name, with the method's name. A method
    without variants is one of its own."""
    cards = {name: read(name).card for name in list_methods()}
    able = {name: card for name, card in cards.items() if "attribute" in card.capabilities}
    return {
        form: (name, variant)
        for name, card in able.items()
        for form, variant in (card.variants or {name: Variant({}, standard=True)}).items()
        if "*" not in form
    }


def entries(encoder: DualEncoder, methods: Sequence[str] = ()) -> list[SaliencyEntry]:
    """The rows of the table: the baselines, then the rows of each variant as its card says: at an early, a middle and
    the last block, of all combined, or one of the input.

    Args:
        encoder: that is explained.
        methods: names of variants, with which those come that add something to them (`norm_grad + step`); none: those
            that are standard.

    Raises:
        DeixisError: there is no such variant.
    """
    known = compared()
    found = [SaliencyEntry(name, "", _baseline(name), learned=False) for name in BASELINES]
    chosen = list(methods) or [name for name, (_, variant) in known.items() if variant.standard]
    for name in chosen:
        if name not in known:
            raise DeixisError(f"There is no map called {name!r}.", f"Compare some of {', '.join(known)}.")
        found += _rows(name, *known[name], encoder)
    further = [each for each in known if each.partition(" + ")[0] in chosen and each not in chosen]
    return found + [row for name in further for row in _rows(name, *known[name], encoder)]


def _rows(name: str, method: str, variant: Variant, encoder: DualEncoder) -> list[SaliencyEntry]:
    """The rows of a variant; where the method has layers to choose, as its card says."""
    settings, places = {**variant.settings, **variant.compared}, default_layers(encoder.image_tower)
    chosen: list[tuple[str, dict[str, Any]]] = [] if variant.layers else [("input", {})]
    if "each" in variant.layers:
        chosen += [*((layer, {"layers": (layer,)}) for layer in places), ("last", {"layers": ()})]
    if "all" in variant.layers:
        chosen.append((" x ".join(places), {"layers": places}))
    if "deepest" in variant.layers:
        chosen.append((places[-1], {"layers": places[-1:]}))
    return [SaliencyEntry(name, layer, _made(method, encoder, {**settings, **more})) for layer, more in chosen]


def _made(
    name: str, encoder: DualEncoder, settings: Mapping[str, Any]
) -> Callable[[SaliencyQueries, Tensor | None], Tensor]:
    method = build_explainer(name, settings, encoder)
    return lambda queries, nouns: explain(method, queries, nouns)


def _baseline(name: str) -> Callable[[SaliencyQueries, Tensor | None], Tensor]:
    def maps(queries: SaliencyQueries, nouns: Tensor | None) -> Tensor:
        size = queries.images.shape[-2:]
        if name == "centre":
            return centre((size[0], size[1])).expand(len(queries.picture), *size)
        if name == "edges":
            return edges(queries.images)[queries.picture]
        return torch.rand(len(queries.picture), *size, generator=torch.Generator().manual_seed(0))

    return maps


def measure(entry: SaliencyEntry, encoder: DualEncoder, queries: SaliencyQueries, seed: int = 0) -> SaliencyRow:
    """All that is measured of an entry: truth against masks, insertion and deletion, how far the map cares what it is
    asked for (`class_sensitivity`: the rank correlation between things of one picture; `random_label`: that with the
    map for a noun that is not there), and the cascade. Low is good for these three.

    Args:
        entry: what makes the maps.
        encoder: whose score is explained.
        queries: the questions.
        seed: of absent nouns and random weights.
    """
    maps = entry.maps(queries, None)
    few = queries.part(_FEW)
    there = maps[: len(few.picture)]
    values = {**localisation(maps, queries), "class_sensitivity": between_things(maps, queries)}
    values |= perturbation(encoder, there, few)
    values["random_label"] = spearman(there, entry.maps(few, absent(few, seed)))
    metrics, halves = {}, {}
    for name, found in values.items():
        picture = queries.picture[: len(found)]
        if (interval := _interval(found, picture)) is not None:
            metrics[name] = interval
            first = picture < (int(picture[-1]) + 1) / 2
            halves[name] = (float(found[first].nanmean()), float(found[~first].nanmean()))
    after = {}
    if entry.learned:
        for name in cascade(encoder.image_tower, seed):
            after[name] = float(spearman(there, entry.maps(few, None)).nanmean())
    per_query = {name: found.double().cpu().numpy() for name, found in values.items()}
    return SaliencyRow(entry.method, entry.layer, metrics, halves, after, per_query)


def _interval(values: Float[Tensor, " Q"], pictures: Int64[Tensor, " Q"]) -> Interval | None:
    """None where too few pictures have a value."""
    known = values.isfinite()
    if len(pictures[known].unique()) < 2:
        return None
    return cluster_bootstrap(values[known].double().cpu().numpy(), pictures[known].cpu().numpy())


def absent(queries: SaliencyQueries, seed: int) -> Int64[Tensor, " Q"]:
    """For each question a noun that its picture does not show, at random; the question's own where it shows all."""
    there = torch.zeros(len(queries.images), len(queries.nouns), dtype=torch.bool)
    there[queries.picture, queries.noun] = True
    chances = torch.rand(there[queries.picture].shape, generator=torch.Generator().manual_seed(seed))
    chances[there[queries.picture]] = -1.0
    return torch.where(chances.amax(1) < 0, queries.noun, chances.argmax(1))


def stages(tower: nn.Module) -> list[tuple[str, list[nn.Parameter]]]:
    """The weights of a network in groups, from the output to the input: what lies behind the blocks, each block, what
    lies before them."""
    names, named = blocks(tower), dict(tower.named_parameters())
    inside = {name: next((each for each in names if name.startswith(f"{each}.")), "") for name in named}
    order = list(named)
    first = min((i for i, name in enumerate(order) if inside[name]), default=0)
    groups = {"head": [named[n] for i, n in enumerate(order) if not inside[n] and i > first]}
    groups |= {block: [named[name] for name in order if inside[name] == block] for block in reversed(names)}
    groups["stem"] = [named[n] for i, n in enumerate(order) if not inside[n] and i < first]
    return [(name, weights) for name, weights in groups.items() if weights]


def cascade(tower: nn.Module, seed: int) -> Iterator[str]:
    """Makes ever more of a network's weights random, from the output to the input, and yields the name of the last
    group; at the end, also of an unfinished loop that is closed, all weights are as before, bit for bit.

    Args:
        tower: whose weights.
        seed: of the numbers.
    """
    groups, random = stages(tower), torch.Generator().manual_seed(seed)
    with contextlib.ExitStack() as stack:
        for name, weights in groups:
            for weight in weights:
                stack.callback(setattr, weight, "data", weight.data)
                spread, middle = weight.data.double().std(correction=0), weight.data.double().mean()
                drawn = torch.randn(weight.shape, generator=random, dtype=torch.float64)
                weight.data = (middle + spread * drawn.to(weight.device)).to(weight.dtype)
            yield name


def agreement(rows: Sequence[SaliencyRow], metric: str) -> float:
    """Rank correlation of the rows' means between both halves of the pictures; NaN where fewer than three have one."""
    pairs = [row.halves[metric] for row in rows if metric in row.halves and np.isfinite(row.halves[metric]).all()]
    if len(pairs) < 3:
        return float("nan")
    first, second = (torch.tensor(each).double()[None, None] for each in zip(*pairs, strict=True))
    return float(spearman(first, second))
