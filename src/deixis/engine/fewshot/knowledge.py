"""What is known of classes in words, as settings of the methods that read it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from deixis.data.knowledge import Knowledge, key_phrases, load_knowledge
from deixis.data.knowledge.senses import Embed
from deixis.data.knowledge.texts import remarks
from deixis.engine.features.embedding import encode_texts
from deixis.engine.features.store import FeatureStore
from deixis.engine.fewshot.learners import offered, require, takes
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.types import Source

__all__ = [
    "GivenKnowledge",
    "embedder",
    "knowledge_of",
    "knowledge_settings",
    "readers",
    "remarks_on",
    "require_reader",
    "settings_by_texts",
    "without_texts",
]

GivenKnowledge: TypeAlias = str | Path | Mapping[str, str | Sequence[str]]
"""The name of a source, a csv, or class -> its text or texts."""

_KNOWLEDGE, _PHRASES = "knowledge", "phrases"


def embedder(encoder: DualEncoder) -> Embed:
    """The frozen text tower as `data.knowledge` asks it: texts -> rows of length 1, from the user's store where it has
    them."""

    def embed(texts: Sequence[str]) -> np.ndarray:
        with contextlib.closing(FeatureStore()) as store:
            rows: np.ndarray = encode_texts(encoder, list(texts), store).numpy()
        return rows

    return embed


def readers(methods: Sequence[str]) -> list[str]:
    """Those of some methods that read texts of classes."""
    return [name for name in methods if takes(name, _KNOWLEDGE)]


def without_texts(methods: Sequence[str]) -> list[str]:
    """What there is to say of methods to which no texts of classes are given: nothing where none reads any.

    Args:
        methods: by name.
    """
    reading = readers(methods)
    if not reading:
        return []
    verb = "reads" if len(reading) == 1 else "read"
    return [
        f"{', '.join(reading)} {verb} texts of classes, and none are given: all is by the class names alone. Give some "
        "as knowledge: wordnet, or a csv with the columns class and text."
    ]


def require_reader(method: str) -> None:
    """Makes sure that a method reads texts of classes.

    Raises:
        DeixisError: it does not; those that do are named.
    """
    require(method)
    if not takes(method, _KNOWLEDGE):
        able = ", ".join(name for name in offered() if takes(name, _KNOWLEDGE))
        raise DeixisError(f"{method} reads no texts of classes.", f"These do: {able}. Or leave the texts out.")


def knowledge_of(
    what: GivenKnowledge,
    encoder: DualEncoder,
    names: Sequence[str],
    source: Source | None = None,
    labels: Sequence[str] = (),
) -> tuple[Knowledge, list[str]]:
    """The texts of classes, and what there is to say of them.

    Args:
        what: see `GivenKnowledge`.
        encoder: whose text tower chooses among senses, and will read the texts.
        names: of the classes.
        source: of the pictures, where their folders may say what a class is.
        labels: of the same classes, by which a table may call them instead.

    Raises:
        DeixisError: there are none, or none of these classes.
    """
    also = dict(zip(labels, names, strict=True)) if labels else {}
    found = load_knowledge(what, names, embedder(encoder), source, also)
    return found, remarks_on(found, encoder, names)


def remarks_on(found: Knowledge, encoder: DualEncoder, names: Sequence[str]) -> list[str]:
    """What there is to say of the texts of classes: see `remarks`; and how many a model cuts.

    Args:
        found: the texts.
        encoder: whose text tower will read them.
        names: of the classes.
    """
    notes = remarks(found, names)
    texts = [text for _, text in found.pairs(names)]
    long = sum(map(bool, encoder.tokenizer.overflow(texts, encoder.context_length))) if texts else 0
    if long:
        notes.append(
            f"{long} of {len(texts)} texts are longer than the {encoder.context_length} tokens that {encoder.name} "
            "reads, and are cut."
        )
    return notes


def knowledge_settings(method: str, knowledge: Knowledge, names: Sequence[str]) -> dict[str, Any]:
    """The settings of a method that texts are handed in by.

    Args:
        method: that reads texts.
        knowledge: of the classes.
        names: of the classes.
    """
    texts = {name: knowledge.texts[name] for name in names if knowledge.texts.get(name)}
    found: dict[str, Any] = {_KNOWLEDGE: knowledge.pairs(names)}
    if takes(method, _PHRASES):
        words = key_phrases(texts, names=names)
        found[_PHRASES] = tuple((name, phrase) for name, own in words.items() for phrase in own)
    return {name: value for name, value in found.items() if takes(method, name)}


def settings_by_texts(
    method: str,
    what: GivenKnowledge | None,
    encoder: DualEncoder,
    names: Sequence[str],
    source: Source | None = None,
    labels: Sequence[str] = (),
) -> tuple[dict[str, Any], list[str]]:
    """`knowledge_settings` of what `knowledge_of` gives, and what there is to say; where nothing is given, of that.

    Args:
        method: that learns the classes.
        what: as for `knowledge_of`; None or empty: there are no texts.
        encoder: as there, and so is what follows.
        names: of the classes.
        source: of the pictures.
        labels: of the same classes.

    Raises:
        DeixisError: there are none, or none of these classes.
    """
    if not what:
        return {}, without_texts([method])
    known, notes = knowledge_of(what, encoder, names, source, labels)
    return knowledge_settings(method, known, names), notes
