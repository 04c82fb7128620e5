"""Concepts that a run was taught: directions under names of their own, and texts that hold such a name.

RUN/concepts.json    name -> the direction, the hashes of the pictures that it was taught with, how often a search finds
                     it, and the fingerprint of the model whose space the direction lies in

In a text a concept stands in angle brackets: `<my mug> in the snow`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Float, Float32

from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.indexing.compose import compose, mean

if TYPE_CHECKING:
    from deixis.nn.dual import DualEncoder

__all__ = [
    "FILE",
    "TextReader",
    "concept_names",
    "encode_texts",
    "read_concepts",
    "reader_of",
    "spoken",
    "with_concepts",
    "write_concepts",
]

FILE = "concepts.json"
FORMAT = 1

TextReader: TypeAlias = Callable[[Sequence[str]], Float32[np.ndarray, "N D"]]
"""Texts to vectors of length 1, in the place of a model's text side: such as of another language."""

_NAME = re.compile(r"<([^<>]+)>")


def concept_names(text: str) -> tuple[str, ...]:
    """The names of concepts that a text holds, as they are written in it.

    Args:
        text: such as `<my mug> in the snow`.
    """
    return tuple(" ".join(name.split()) for name in _NAME.findall(text) if name.strip())


def spoken(text: str) -> str:
    """The words of a text beside its concepts; where there are none, its concepts' names without brackets.

    Args:
        text: with or without concepts.
    """
    names = concept_names(text)
    if not names:
        return text
    return " ".join(_NAME.sub(" ", text).split()) or " ".join(names)


def read_concepts(run: str | os.PathLike[str]) -> dict[str, Any]:
    """What a run was taught, by name.

    Args:
        run: a run or index folder.

    Raises:
        DeixisError: the file is damaged, or of another version.
    """
    path = Path(run) / FILE
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        concepts: dict[str, Any] = facts["concepts"]
        sound = facts["format"] == FORMAT and all({"vector", "pictures", "model"} <= set(c) for c in concepts.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeixisError(f"{path} can't be read: {error!r}.", "Remove it, and teach the concepts again.") from error
    if not sound:
        raise DeixisError(f"{path} is not what this version of deixis writes.", "Upgrade deixis, or teach again.")
    return concepts


def write_concepts(run: str | os.PathLike[str], concepts: Mapping[str, Any]) -> None:
    """Writes what a run was taught; without any concept, the file goes.

    Args:
        run: a run or index folder.
        concepts: as `read_concepts` gives them.
    """
    if concepts:
        write_json(Path(run) / FILE, {"format": FORMAT, "concepts": dict(concepts)})
    else:
        (Path(run) / FILE).unlink(missing_ok=True)


def reader_of(encoder: DualEncoder) -> TextReader:
    """The text side of a model.

    Args:
        encoder: that reads text.
    """
    return lambda texts: np.asarray(encoder.encode_text(list(texts)).detach().cpu())


def encode_texts(reader: TextReader, texts: Sequence[str], run: str | os.PathLike[str]) -> Float32[np.ndarray, "N D"]:
    """Embeddings of texts, with the concepts of a run in those that name some.

    Args:
        reader: what reads the words.
        texts: N of them.
        run: a run or index folder.

    Raises:
        DeixisError: see `with_concepts`.
    """
    return with_concepts(texts, reader([spoken(text) for text in texts]), run)


def with_concepts(
    texts: Sequence[str], words: Float[np.ndarray, "N D"], run: str | os.PathLike[str]
) -> Float32[np.ndarray, "N D"]:
    """Directions of texts: of one with concepts these and its words, summed as words and pictures of a query are.

    Args:
        texts: N of them.
        words: embeddings of what is `spoken` of each.
        run: a run or index folder.

    Raises:
        DeixisError: a name that the run was not taught (near ones are named), or that was taught with another model.
    """
    if not any(map(concept_names, texts)):
        return words
    known = read_concepts(run)
    rows = []
    for text, row in zip(texts, words, strict=True):
        names = concept_names(text)
        if not names:
            rows.append(row)
            continue
        concept = mean(np.array([_vector(known, name, run, words.shape[1]) for name in names], np.float32))
        rest = _NAME.sub(" ", text).strip()
        rows.append(compose(row, concept) if rest else concept)
    return np.array(rows, np.float32)


def _vector(known: Mapping[str, Any], name: str, run: str | os.PathLike[str], width: int) -> Float32[np.ndarray, " D"]:
    names = {each.casefold(): each for each in known}
    concept = known.get(names.get(name.casefold(), ""))
    if concept is None:
        near = [names[each] for each in difflib.get_close_matches(name.casefold(), list(names), 3, 0.5)]
        if near:
            found = ", ".join(f"<{each}>" for each in near)
            raise DeixisError(f"{run} was taught no concept <{name}>.", f"Did you mean {found}?")
        taught = ", ".join(f"<{each}>" for each in known) or "none yet"
        cure = f'Teach it with some pictures: deixis teach {run} "{name}" pictures/*.jpg'
        raise DeixisError(f"{run} was taught no concept <{name}>; there are: {taught}.", cure)
    vector = np.array(concept["vector"], np.float32)
    model = Path(run) / "model"
    from deixis.zoo import folder  # imports torch, of which a wrong query needs nothing

    if len(vector) != width or (model.is_dir() and concept["model"] != folder.recorded(model)):
        raise DeixisError(
            f"The concept <{name}> was taught with another model than that of {run} now.", "Teach it again."
        )
    return vector
