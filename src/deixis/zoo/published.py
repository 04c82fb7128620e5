"""What is published: the models that open_clip names, offline, and which of them suits a task and a machine.

The table is `published.json`, written by `bench/published_rows.py` from open_clip itself; accuracies and licences stand
there only where a source tells them.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deixis.errors import DeixisError

__all__ = ["TASKS", "PublishedModel", "find", "published_models", "recommend", "same_weights"]

TASKS = {
    "adapt": "for `deixis adapt` and training: small enough to encode a collection on this machine in minutes",
    "search": "for an index of many pictures: a third of that cost a picture",
    "explain": "for maps and relevance: a network whose layers deixis builds itself",
    "accuracy": "the best that fits into memory, whatever it costs",
}
"""What `recommend` chooses for."""

_TABLE = Path(__file__).with_name("published.json")
# Of an image tower, in parameters times tokens of an image over those of a ViT-B/16 at 224 pixels (which has 0.9e8).
_COSTS = {"adapt": 1.5e8, "search": 0.5e8, "explain": 1.5e8, "accuracy": 1e12}
_FASTER = 8  # times that a GPU is taken to allow of the cost
_SAME = {  # repositories for transformers with the weights of a checkpoint of open_clip's
    "openai/clip-vit-base-patch32": "ViT-B-32-quickgelu/openai",
    "openai/clip-vit-base-patch16": "ViT-B-16-quickgelu/openai",
    "openai/clip-vit-large-patch14": "ViT-L-14-quickgelu/openai",
    "openai/clip-vit-large-patch14-336": "ViT-L-14-336-quickgelu/openai",
    "google/siglip-base-patch16-224": "ViT-B-16-SigLIP/webli",
    "google/siglip-so400m-patch14-384": "ViT-SO400M-14-SigLIP-384/webli",
    "google/siglip2-base-patch16-224": "ViT-B-16-SigLIP2/webli",
}


@dataclasses.dataclass(frozen=True)
class PublishedModel:
    """A checkpoint that can be had by its name.

    Attributes:
        name: `ARCHITECTURE/TAG`, as open_clip calls both.
        repository: of the Hugging Face hub, that holds it.
        file: of the weights, where it is none of the usual names.
        parameters: how many.
        image_parameters: how many of them the image tower has.
        image_size: side of its images, in pixels.
        languages: `English` or `multilingual`.
        licence: of the weights; empty where no source tells it.
        imagenet: zero-shot accuracy on ImageNet as open_clip publishes it, 0 to 1; None where it does not.
        seconds: processor time for one image on one core, where it was measured; None elsewhere.
        settings: the entries of an `open_clip_config.json`.
    """

    name: str
    repository: str
    file: str
    parameters: int
    image_parameters: int
    image_size: int
    languages: str
    licence: str
    imagenet: float | None
    seconds: float | None
    settings: Mapping[str, Any]

    @property
    def megabytes(self) -> int:
        """Of the weights in 32 bits, which is how they are held; a file with 16 bits is half as large."""
        return round(self.parameters * 4 / 1e6)

    @property
    def own(self) -> bool:
        """Whether deixis builds both towers itself, and no other package."""
        config = self.settings["model_cfg"]
        return "timm_model_name" not in config["vision_cfg"] and "hf_model_name" not in config["text_cfg"]

    @property
    def cost(self) -> float:
        """Of an image, as `recommend` counts it: parameters of the image tower times tokens, in those of a ViT-B/16."""
        vision = self.settings["model_cfg"]["vision_cfg"]
        patch = vision.get("patch_size") or 16
        return self.image_parameters * (self.image_size / patch / 14) ** 2

    def about(self) -> str:
        """What a download of it would be, in a few words."""
        licence = f"licence {self.licence}" if self.licence else "licence: see its page"
        return f"{self.repository}, up to {self.megabytes} MB, {licence}"


@functools.cache
def published_models() -> tuple[PublishedModel, ...]:
    """All checkpoints that open_clip names, architectures in alphabetical order; reads a file, and no network."""
    table = json.loads(_TABLE.read_text(encoding="utf-8"))
    return tuple(
        _model(name, tag, facts, weights)
        for name, facts in sorted(table["models"].items(), key=lambda each: str(each[0]).lower())
        for tag, weights in facts["weights"].items()
    )


def _model(name: str, tag: str, facts: Mapping[str, Any], weights: Mapping[str, Any]) -> PublishedModel:
    size = facts["config"]["vision_cfg"].get("image_size", 224)
    return PublishedModel(
        f"{name}/{tag}",
        weights["repository"],
        weights.get("file", ""),
        facts["parameters"],
        facts["image_parameters"],
        size if isinstance(size, int) else size[0],
        facts["languages"],
        weights["licence"],
        weights["imagenet"],
        facts.get("seconds"),
        {"model_cfg": facts["config"], "preprocess_cfg": weights["preprocess"]},
    )


def find(name: str) -> PublishedModel | None:
    """The checkpoint that a name means, `ARCHITECTURE/TAG` or `ARCHITECTURE:TAG` as of open_clip; None: it is no such.

    Raises:
        DeixisError: the architecture is one of open_clip's, and the tag is missing or none of its own.
    """
    architecture, _, tag = name.replace(":", "/", 1).partition("/")
    tags = {
        each.name.partition("/")[2]: each for each in published_models() if each.name.startswith(f"{architecture}/")
    }
    if not tags:
        return None
    wanted = tag.lower().replace("-", "_")
    if wanted in tags:
        return tags[wanted]
    if not tag and len(tags) == 1:
        return next(iter(tags.values()))
    close = difflib.get_close_matches(wanted, tags, n=1)
    hint = f"Did you mean {architecture}/{close[0]}? " if close else ""
    what = f"has no weights called {tag!r}" if tag else "has several weights"
    raise DeixisError(
        f"The architecture {architecture!r} {what}.",
        f"{hint}There are: {', '.join(f'{architecture}/{each}' for each in tags)}.",
    )


def same_weights(repository: str) -> PublishedModel | None:
    """The checkpoint whose weights a repository holds, if it is known."""
    known = _SAME.get(repository)
    if known is not None:
        return find(known)
    return next((each for each in published_models() if each.repository == repository), None)


def recommend(
    task: str = "adapt",
    *,
    memory: float | None = None,
    gpu: bool = False,
    multilingual: bool = False,
    licences: Sequence[str] = (),
) -> PublishedModel:
    """The published model with the best accuracy on ImageNet that fits a task and a machine.

    Args:
        task: one of `TASKS`.
        memory: GB that are there, by default a half of the machine's.
        gpu: whether it runs on a GPU, which allows larger ones.
        multilingual: whether texts come in several languages.
        licences: those that will do; by default any.

    Raises:
        DeixisError: there is no such task, or nothing fits.
    """
    if task not in TASKS:
        raise DeixisError(f"There is no task {task!r}.", f"There are: {', '.join(TASKS)}.")
    room = _memory() / 2 if memory is None else memory
    most = _COSTS[task] * (_FASTER if gpu else 1)
    fitting = [
        each
        for each in published_models()
        if each.imagenet is not None
        and each.parameters * 4 / 1e9 * 1.5 <= room
        and each.cost <= most
        and (each.own or task != "explain")
        and (each.languages == "multilingual" or not multilingual)
        and (not licences or each.licence in licences)
    ]
    if not fitting:
        raise DeixisError(
            f"No published model of known accuracy fits: task {task}, {room:.3g} GB.",
            "Ask for another task, allow other licences, or take the starter: deixis data get starter",
        )
    return max(fitting, key=lambda each: (each.imagenet, -each.parameters))


def _memory() -> float:
    """GB of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
