"""Classification of classes that are known by what is said of them: names withheld, by names, and by both.

A class is the mean of the embeddings of its sentences (`--knowledge`), in which its own name is replaced by `it`.
Beside it stand the first sentence alone, the name in prompts, the mean of both, and the sentences of another class:
what is right by these is right whatever the sentences say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.data.knowledge import Knowledge, load_knowledge
from deixis.data.knowledge.sources import ABOUT, find_beside
from deixis.data.knowledge.texts import exchanged, read_texts
from deixis.engine.evaluation.classify import accuracies, labels_of
from deixis.engine.evaluation.data import EvalData, EvalSet, on_test
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter
from deixis.engine.fewshot.knowledge import embedder, remarks_on
from deixis.engine.fewshot.names import class_names, require_places
from deixis.errors import DeixisError
from deixis.nn.adaptation.class_knowledge import text_vectors
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "measure", "prepare", "withheld"]

PROTOCOL = EvalProtocol(
    title="Classification by sentences about the classes (--knowledge), their names withheld",
    capabilities=(("encode_image", "encode_text"), ("adapters",)),
    fields=("images", "labels"),
    metrics=(EvalMetric("top1", "top-1"), EvalMetric("mean_per_class", "mean per class")),
    plots=("top1",),
    axis="known by",
    test="the split `test` if the data has one, else all images, of the classes of which something is said",
    source="Menon and Vondrick 2022, names withheld",
)

_ALL, _ONE, _NAME, _BOTH, _EXCHANGED = "all sentences", "one sentence", "name", "name and sentences", "exchanged"
_FEWEST = 2


class _Plan(NamedTuple):
    data: EvalSet
    classes: tuple[str, ...]
    names: tuple[str, ...]
    knowledge: str


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> _Plan:
    """The labelled images, all classes of the data, and where the sentences are from."""
    if options.knowledge.lower().endswith(".csv"):
        read_texts(Path(options.knowledge))  # before anything is embedded
    require_places(options.templates)
    every = data.labelled(options.limit, talk.say)
    classes = tuple(sorted({str(sample.label) for sample in every.samples}))
    names = class_names(classes, least=_FEWEST)
    what = options.knowledge or find_beside(data.source, names, dict(zip(classes, names, strict=True)))
    if not what:
        raise DeixisError(
            "No sentences about the classes are given.",
            f"Name a source, as --knowledge wordnet or --knowledge texts.csv, or put a file {ABOUT} in class folders, "
            "or a csv with the columns class and text beside the data.",
        )
    if what != options.knowledge:
        talk.say(f"Sentences about the classes: {what}.")
    return _Plan(on_test(every), classes, names, what)


def measure(plan: _Plan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Accuracy by each way to know the classes, one value an image; that of exchanged sentences over `seeds` draws."""
    encoder = model.require_encoder()
    also = dict(zip(plan.classes, plan.names, strict=True))
    found = load_knowledge(plan.knowledge, plan.names, embedder(encoder), plan.data.source, also)
    known = [place for place, name in enumerate(plan.names) if found.texts.get(name)]
    if len(known) < _FEWEST:
        raise DeixisError(
            f"Of {len(plan.names)} classes, {plan.knowledge} says something of {len(known)}, and two are needed.",
            "Give another source: --knowledge.",
        )
    names = tuple(plan.names[place] for place in known)
    notes = remarks_on(found, encoder, names)
    hidden = [tuple(withheld(text, name) for text in found.texts[name]) for name in names]
    data, labels = _of_classes(plan, known)
    named = text_vectors(encoder, [[each.format(name) for each in options.templates] for name in names])
    told = text_vectors(encoder, [found.texts[name] for name in names])
    every = text_vectors(encoder, hidden)
    ways = {
        _ALL: [every],
        _ONE: [text_vectors(encoder, [texts[:1] for texts in hidden])],
        _NAME: [named],
        _BOTH: [F.normalize(named + told, dim=-1)],
        _EXCHANGED: [every[_others(names, seed)] for seed in range(max(1, options.seeds))],
    }
    images = model.image_embeddings(data, talk)
    columns: dict[Column, Float[np.ndarray, " N"]] = {}
    for way, vectors in ways.items():
        columns |= _mean([accuracies(images @ each.float().cpu().T, labels, way) for each in vectors])
    columns = {column: values for column, values in columns.items() if column.metric != "top5"}
    said = f"{len(data.samples)} images of {len(names)} classes; sentences: {plan.knowledge}, {_count(found, names)}"
    left = len(plan.names) - len(names)
    more = [f"{left} classes of which nothing is said are left out"] * bool(left)
    return EvalOutput.of(columns, data, [said, *more, *notes], classes=len(names), knowledge=plan.knowledge)


def withheld(text: str, name: str) -> str:
    """A sentence in which the name of its class, also in the plural, is replaced by `it`.

    Args:
        text: the sentence.
        name: of the class.
    """
    return re.sub(rf"\b(?:an?\s+|the\s+)?{re.escape(name)}(?:e?s)?\b", "it", text, flags=re.IGNORECASE)


def _others(names: Sequence[str], seed: int) -> list[int]:
    """For each class the one whose sentences it is given."""
    own = Knowledge({name: (name,) for name in names}, "")
    given = exchanged(own, names, seed).texts
    return [names.index(given[name][0]) for name in names]


def _of_classes(plan: _Plan, known: Sequence[int]) -> tuple[EvalSet, Tensor]:
    """The images of some classes, and their places among these."""
    classes = dict.fromkeys(plan.classes[place] for place in known)
    data = plan.data.take([i for i, sample in enumerate(plan.data.samples) if str(sample.label) in classes])
    return data, labels_of(data, list(classes))


def _mean(draws: Sequence[dict[Column, Float[np.ndarray, " N"]]]) -> dict[Column, Float[np.ndarray, " N"]]:
    return {column: np.mean([draw[column] for draw in draws], axis=0) for column in draws[0]}


def _count(knowledge: Knowledge, names: Sequence[str]) -> str:
    count = sum(len(knowledge.texts[name]) for name in names)
    return f"{count / len(names):.1f} a class"
