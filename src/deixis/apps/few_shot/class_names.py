"""Classes before they are learned: what to call them, whether a model can tell their names apart, how long it will
take."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deixis import zoo
from deixis.apps.few_shot.classifier_inputs import FewShotSubset
from deixis.engine.fewshot import few_shot, learners
from deixis.engine.fewshot.few_shot import FewShotMethod, Shots
from deixis.engine.training.build import configure
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.methods import read
from deixis.nn.dual import DualEncoder

__all__ = ["SLOW", "changes", "estimate_cost", "learned", "model_of", "names_of", "remarks_on", "unreadable_names"]

SLOW = 60.0
"""Seconds of a forecast from which it is told before the work begins, and training is kept to be gone on with."""

_MANY = 500
"""Classes from which a forecast is made for methods that are not trained, too."""

_LOPSIDED = 10


def model_of(model: Any) -> DualEncoder:
    """The model that is meant, in eval mode; one that was loaded lately is not loaded again.

    Args:
        model: a name, a folder, or the model itself.

    Raises:
        DeixisError: there is no such model, or it has not both towers.
    """
    if isinstance(model, DualEncoder):
        return model.eval()
    if isinstance(model, str | os.PathLike):
        folder = Path(model)
        files = (folder, folder / "config.json", folder / "model" / "config.json")
        changed = tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)
        return _loaded(os.fspath(model), changed, str(cache_dir()))
    raise DeixisError(
        f"{type(model).__name__} is no model with an image and a text tower.",
        "Give the name of one, a model folder, or what deixis.load gave.",
    )


@functools.lru_cache(maxsize=2)
def _loaded(name: str, changed: tuple[int, ...], cache: str) -> DualEncoder:
    """By name; times and the cache's place tell a model that changed from what it was."""
    return zoo.load(name).eval()


def changes(method: str, templates: Sequence[str], settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings of a method that are not its preset's; templates where it reads some.

    Args:
        method: one of `learners.offered()`, or `auto`.
        templates: sentences around a name.
        settings: further ones.

    Raises:
        DeixisError: no such method or setting, or a template without `{}`.
    """
    learners.require(method)
    for each in templates:
        if "{}" not in each:
            raise DeixisError(f"The template {each!r} has no place for the name.", "Put {} where it goes.")
    own = {"templates": tuple(templates)} if templates and learners.takes(method, "templates") else {}
    found = {**own, **(settings or {})}
    if method != learners.AUTO:
        configure(method, "desk", found)
    return found


def names_of(labels: Sequence[str], told: Mapping[str, str]) -> list[str]:
    """The words that each class is called by.

    Args:
        labels: of the classes.
        told: label -> words, for those that are called otherwise.

    Raises:
        DeixisError: fewer than two classes, nothing is left of a name, or two classes have one.
    """
    if len(labels) < 2:
        raise DeixisError(f"There is {len(labels)} class, and telling apart takes two.", "Give images of another.")
    names = [" ".join(told.get(label, label).replace("_", " ").split()) for label in labels]
    first: dict[str, str] = {}
    for label, name in zip(labels, names, strict=True):
        if not name:
            raise DeixisError(f"The class {label!r} has no name.", "Give it one: names={...}, or rename its folder.")
        key = unicodedata.normalize("NFKC", name).casefold()
        if key in first:
            raise DeixisError(
                f"The classes {first[key]!r} and {label!r} have one name.",
                "Make them one class, or give one of them another name.",
            )
        first[key] = label
    return names


def unreadable_names(encoder: DualEncoder, names: Sequence[str], overrides: Mapping[str, Any]) -> list[str]:
    """What a model can't read of the names in their sentences: those that are too long, in words.

    Args:
        encoder: whose text tower reads them.
        names: of the classes.
        overrides: with `templates`, if the method reads sentences.

    Raises:
        DeixisError: two classes make one text.
    """
    notes: list[str] = []
    first: dict[Any, str] = {}
    for template in overrides.get("templates", ()):
        texts = [template.format(name) for name in names]
        long = [
            name
            for name, cut in zip(names, encoder.tokenizer.overflow(texts, encoder.context_length), strict=True)
            if cut
        ]
        if long and not notes:
            notes.append(
                f"{len(long)} class names are longer than the {encoder.context_length} tokens that {encoder.name} "
                f"reads, and are cut: {_few(long)}."
            )
        for name, row in zip(names, encoder.tokenizer(texts, encoder.context_length).ids.tolist(), strict=True):
            other = first.setdefault((template, *row), name)
            if other is not name:
                raise DeixisError(
                    f"The classes {_short(other)} and {_short(name)} have one name, as far as {encoder.name} can read.",
                    "Give one of them other words, or learn without the names: linear.",
                )
    if overrides.get("templates") and all(name.isnumeric() for name in names):
        notes.append("The classes are called by numbers, which say nothing to a text tower; tell their names.")
    return notes


def remarks_on(few: FewShotSubset, labels: Sequence[str], shots: int | None) -> list[str]:
    """What there is to say of the images that were drawn.

    Args:
        few: those.
        labels: of all classes.
        shots: images a class that were asked for.
    """
    counts = Counter(sample.label for sample in few.samples)
    notes = []
    fewer = [label for label in labels if shots is not None and counts[label] < shots]
    if fewer:
        least = min(counts[label] for label in fewer)
        notes.append(
            f"{len(fewer)} of {len(labels)} classes have fewer than {shots} images, {least} the least; all are used: "
            f"{_few(fewer)}."
        )
    if counts and max(counts.values()) > _LOPSIDED * min(counts.values()):
        notes.append(
            f"The largest class is learned from {max(counts.values())} images, the smallest from "
            f"{min(counts.values())}: answers will favour large classes."
        )
    if few.unreadable:
        notes.append(f"{len(few.unreadable)} images can't be read, and others are taken: {_few(few.unreadable)}.")
    return notes


def estimate_cost(
    method: str, encoder: DualEncoder, names: Sequence[str], count: int, overrides: Mapping[str, Any]
) -> tuple[float, str]:
    """About how many seconds learning takes, and a sentence where that is long.

    Args:
        method: that learns.
        encoder: the frozen model.
        names: of the classes.
        count: images to learn from.
        overrides: settings of the method.
    """
    trained = method != learners.AUTO and read(method).card.kind == "trained"
    if not trained and len(names) < _MANY:
        return 0.0, ""
    seconds = few_shot.forecast(method, encoder, names, count, overrides)
    if seconds < SLOW:
        return seconds, ""
    time = f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
    cure = "zero_shot and tip take the least" if not trained else "linear, tip and delta take far less"
    return seconds, f"Learning {len(names)} classes by {method} will take about {time}; {cure}."


def learned(
    method: str,
    encoder: DualEncoder,
    names: Sequence[str],
    shots: Shots,
    overrides: Mapping[str, Any],
    seed: int,
    seconds: float = 0.0,
) -> FewShotMethod:
    """What `few_shot.learn` gives; where that takes long, training is kept, and goes on after it was interrupted.

    Args:
        method: that learns.
        encoder: the frozen model.
        names: of the classes.
        shots: what is learned from.
        overrides: settings of the method.
        seed: of its draws.
        seconds: about how long it will take.
    """
    if seconds < SLOW:
        return few_shot.learn(method, encoder, names, shots, overrides=overrides, seed=seed)
    facts = [
        method,
        list(names),
        shots.ids,
        shots.labels.tolist(),
        seed,
        encoder.fingerprint(),
        repr(sorted(overrides.items())),
    ]
    path = cache_dir("few-shot", f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}.safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    found = few_shot.learn(method, encoder, names, shots, overrides=overrides, seed=seed, checkpoint=path)
    path.unlink(missing_ok=True)
    return found


def _few(items: Sequence[str]) -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return f"{', '.join(map(_short, items[:3]))}{more}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
