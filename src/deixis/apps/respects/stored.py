"""The respects of a run, which were learned from columns of a table and beat the plain vectors.

RUN/respects.json           name -> how it is called and compared, its values, what it is worth on held-out concepts
RUN/respects.safetensors    `NAME.weight`, `NAME.texts`; of classifiers also `NAME.rows`, one row a picture
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as dump
from torch import Tensor
from torch.nn import functional as F

from deixis.engine.adaptation.respects import RESPECT_WAYS, RespectMap
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.indexing.index import Index
from deixis.types.outputs import ImageStates

__all__ = ["FACTS", "Respect", "nearest_respect", "read_respects", "write_respects"]

FACTS, _TENSORS, _FORMAT = "respects.json", "respects.safetensors", 1
_NEAR = 0.45
"""The least cosine of the words of a query with what a respect is called."""


@dataclasses.dataclass(frozen=True)
class Respect:
    """A respect in which pictures are compared.

    Attributes:
        name: of the column.
        wordings: what it may be called.
        values: that it may have, in words.
        sentence: what it is worth.
        map: how pictures are compared.
        texts: vectors of the values.
        rows: of a classifier, what it says of each picture; empty where the index's vectors are enough.
        hashes: of the contents of these pictures.
    """

    name: str
    wordings: tuple[str, ...]
    values: tuple[str, ...]
    sentence: str
    map: RespectMap
    texts: Float[Tensor, "C D"]
    rows: Float[Tensor, "N K"]
    hashes: tuple[str, ...]

    def of_index(self, index: Index) -> Float[Tensor, "N K"]:
        """The pictures of an index that were not removed, in this respect."""
        vectors = torch.from_numpy(np.array(index.vectors[index.row_numbers], np.float32))
        return self.of_vectors(vectors, [str(item.get("hash", "")) for _, item in index.items()])

    def of_vectors(self, vectors: Float[Tensor, "N D"], hashes: Sequence[str]) -> Float[Tensor, "N K"]:
        """Pictures of an index in this respect; one that a classifier has not seen is 0, and like no other.

        Args:
            vectors: of the index, of length 1.
            hashes: of the contents of the same pictures.
        """
        if self.map.way != "classifier":
            return self.map(_bare(vectors))
        place = {digest: row for row, digest in enumerate(self.hashes)}
        found = torch.zeros(len(hashes), self.rows.shape[1])
        there = [number for number, digest in enumerate(hashes) if digest in place]
        found[there] = self.rows[[place[hashes[number]] for number in there]].float()
        return found

    def of_words(self, vector: Float[Tensor, " D"]) -> tuple[Float[Tensor, " K"], str]:
        """A text in this respect, and the value that it is taken for; a classifier reads no texts, and takes the value
        whose text is nearest.

        Args:
            vector: of the text, of length 1.
        """
        if self.map.way != "classifier":
            return self.map(_bare(vector[None]))[0], ""
        best = int((self.texts @ vector).argmax())
        return F.one_hot(torch.tensor(best), len(self.values)).float(), self.values[best]


def _bare(vectors: Float[Tensor, "N D"]) -> ImageStates:
    """Vectors without the features that they come from."""
    return ImageStates(vectors, vectors, torch.ones(len(vectors)))


def write_respects(folder: Path, respects: Sequence[Respect], refused: Mapping[str, str], model: str) -> None:
    """Writes the respects of a run.

    Args:
        folder: of the run.
        respects: that are offered.
        refused: column -> why it is not.
        model: fingerprint of the model.
    """
    hashes = next((each.hashes for each in respects if each.hashes), ())
    facts = {
        each.name: {
            "wordings": list(each.wordings),
            "values": list(each.values),
            "way": each.map.way,
            "sentence": each.sentence,
        }
        for each in respects
    }
    tensors = {f"{each.name}.{key}": value for each in respects for key, value in _tensors(each).items()}
    (folder / _TENSORS).write_bytes(dump(tensors))
    everything = {"respects": facts, "refused": dict(refused), "hashes": list(hashes)}
    write_json(folder / FACTS, {"format": _FORMAT, "model": model, **everything})


def _tensors(respect: Respect) -> dict[str, Float32[Tensor, "..."]]:
    found = {"weight": respect.map.weight, "texts": respect.texts}
    return {
        key: value.float().contiguous() for key, value in {**found, "rows": respect.rows}.items() if value.numel() > 0
    }


def read_respects(run: Path, model: str) -> dict[str, Respect]:
    """The respects of a run, by name; none where none were learned.

    Args:
        run: its folder.
        model: fingerprint of the model that made its index.

    Raises:
        DeixisError: a file is damaged, of another version, or of another model.
    """
    path = run / FACTS
    if not path.is_file():
        return {}
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if facts["format"] != _FORMAT or facts["model"] != model:
            raise ValueError("it is of another version, or of another model than the index")
        tensors = load_file(run / _TENSORS)
        return {name: _respect(name, each, tensors, facts["hashes"]) for name, each in facts["respects"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise DeixisError(
            f"{path} can't be read: {error}.", "Remove it, or learn again: deixis adapt DATA --about COLUMNS"
        ) from error


def _respect(name: str, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], hashes: Sequence[str]) -> Respect:
    if facts["way"] not in RESPECT_WAYS:
        raise ValueError(f"it has the way {facts['way']!r}")
    rows = tensors.get(f"{name}.rows", torch.empty(0, 0))
    return Respect(
        name,
        tuple(facts["wordings"]),
        tuple(facts["values"]),
        str(facts["sentence"]),
        RespectMap(facts["way"], tensors[f"{name}.weight"]),
        tensors[f"{name}.texts"],
        rows,
        tuple(hashes) if rows.numel() else (),
    )


def nearest_respect(
    words: str, respects: Mapping[str, Respect], encode_text: Callable[[list[str]], Float[Tensor, "N D"]]
) -> Respect:
    """The respect that words mean: that of the name, else the one whose wordings are nearest.

    Args:
        words: such as `its make`.
        respects: those that there are.
        encode_text: gives the vectors of texts, of length 1.

    Raises:
        DeixisError: none is near.
    """
    plain = words.strip().casefold()
    for name, each in respects.items():
        if plain in {name.casefold(), *map(str.casefold, each.wordings)}:
            return each
    names = [*respects]
    vectors = encode_text([words, *names]).float().cpu()
    cosines = vectors[1:] @ vectors[0]
    best = int(cosines.argmax())
    if float(cosines[best]) < _NEAR:
        raise DeixisError(
            f"The run knows no respect {words!r}, and none that is near to it.",
            f"It knows: {', '.join(names)}. Or give the values: --values red,green,blue",
        )
    return respects[names[best]]
