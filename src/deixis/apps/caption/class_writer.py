"""What a language model that follows instructions says of classes: asked once for each name, and kept in the cache."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from deixis import zoo
from deixis.apps.common.console import Reporter
from deixis.apps.explain.settings import WRITER
from deixis.data.knowledge import Knowledge
from deixis.engine.chat_writer import ChatWriter
from deixis.engine.fewshot.recipe import fingerprint
from deixis.errors import DeixisError
from deixis.files import cache_dir, write_json

__all__ = ["LM", "written_by_model"]

LM = "lm"
"""What `--by` calls it."""

Answers: TypeAlias = Callable[[Sequence[tuple[str, str]]], str]
"""A conversation, as role and text of each message -> the next one."""

_REQUESTS = (
    "In one short sentence: what is a {}?",
    "In one short sentence: what does a {} look like?",
)
_LENGTH = 40
_SENTENCE = re.compile(r"^(.+?[.!?])(?:\s|$)", re.DOTALL)


def written_by_model(names: Sequence[str], talk: Reporter, load: Callable[[], Answers] | None = None) -> Knowledge:
    """Two sentences about each class, each the likeliest (temperature 0): what it is, and how it looks.

    Args:
        names: of the classes.
        talk: receives progress.
        load: gives what answers; it is called for the first name of which nothing is in the cache. None: SmolLM2.

    Raises:
        DeixisError: the model is not there, or it says nothing of any class.
    """
    path = cache_dir("class-texts", f"{fingerprint([WRITER, _REQUESTS, _LENGTH])}.json")
    known, answer = _kept(path), None
    with talk.bar("write") as bar:
        for done, name in enumerate(names):
            bar(done, len(names))
            if name not in known:
                answer = answer or (load or _model)()
                known[name] = [_first_sentence(answer([("user", each.format(name))])) for each in _REQUESTS]
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, known)  # so that what is interrupted goes on
        bar(len(names), len(names))
    texts = {name: tuple(dict.fromkeys(filter(None, known[name]))) for name in names}
    if not any(texts.values()):
        raise DeixisError(
            f"{WRITER} says nothing of any of {len(names)} classes.", "Take another source: --by wordnet, or glosses."
        )
    return Knowledge({name: own for name, own in texts.items() if own}, WRITER)


def _model() -> Answers:
    return ChatWriter(zoo.load_part("lm", WRITER), _LENGTH)


def _kept(path: Path) -> dict[str, list[str]]:
    """What was written before; nothing where the file is not there, or is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): [str(each) for each in own] for name, own in found.items()} if isinstance(found, dict) else {}


def _first_sentence(text: str) -> str:
    """The first sentence of an answer; empty where it ended before the sentence did, or has no words."""
    found = _SENTENCE.match(" ".join(text.split()))
    return found[1] if found and any(map(str.isalpha, found[1])) else ""
