"""Where drafts of captions come from: captions of other pictures, terms, names of classes, a method that describes."""

from __future__ import annotations

import contextlib
import csv
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import in_a_sentence
from deixis.apps.eval.models import load_model
from deixis.apps.predict.capable import refusal
from deixis.apps.train.method_runs import load_method
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.data.readers.captions import decode
from deixis.engine.evaluation.captions.sources import generated
from deixis.engine.features.embedding import encode_texts
from deixis.engine.features.store import FeatureStore
from deixis.engine.training.batching import preprocess_of
from deixis.engine.training.stages import card_of
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.modes import evaluating
from deixis.types import Sample, Source

__all__ = [
    "RUN",
    "CaptionDraft",
    "Described",
    "DraftSource",
    "Named",
    "Nearest",
    "Terms",
    "learned",
    "of_model",
    "read_bank",
]

RUN = "run"
"""Name of what a run says of pictures, whatever its folder is called: another source may be called so, too."""

_ROWS, _BATCH = 1024, 32
_SEEN = 8000
"""Captions that a language model sees when drafts are learned: half a minute."""


class CaptionDraft(NamedTuple):
    """A draft, and how much speaks for it: more is surer, in no unit; None where the source does not say."""

    text: str
    score: float | None = None


@runtime_checkable
class DraftSource(Protocol):
    """Something that drafts captions."""

    name: str
    words: str

    def drafts(self, places: Sequence[int]) -> list[CaptionDraft]:
        """A draft for each picture, by its place."""


class Nearest:
    """The caption of the nearest captioned picture.

    Args:
        vectors: of all pictures, of length 1.
        captions: of those that have one, by place.
    """

    name, words = "nearest", "copying the nearest caption"

    def __init__(self, vectors: Float[Tensor, "N D"], captions: Mapping[int, str]) -> None:
        self._vectors, self._known = vectors, list(captions)
        self._texts = [captions[place] for place in self._known]

    def drafts(self, places: Sequence[int]) -> list[CaptionDraft]:
        """See `DraftSource`."""
        return _best(self._vectors[list(places)], self._vectors[self._known], self._texts)


class Terms:
    """The term of a bank that fits a picture best.

    Args:
        vectors: of all pictures.
        encoder: that made them, and reads the terms.
        terms: at least one.
    """

    name, words = "bank", "the term that fits best"

    def __init__(self, vectors: Float[Tensor, "N D"], encoder: DualEncoder, terms: Sequence[str]) -> None:
        self._vectors, self._terms = vectors, list(terms)
        with contextlib.closing(FeatureStore()) as store:
            self._rows = encode_texts(encoder, [in_a_sentence(term) for term in terms], store)

    def drafts(self, places: Sequence[int]) -> list[CaptionDraft]:
        """See `DraftSource`."""
        return _best(self._vectors[list(places)], self._rows, self._terms)


class Named:
    """The class that a model names.

    Args:
        method: that offers `classify` and has names.
        samples: all pictures.
    """

    name, words = "names", "the model's classes"

    def __init__(self, method: Any, samples: Sequence[Sample]) -> None:
        self._method, self._samples = method, samples

    def drafts(self, places: Sequence[int]) -> list[CaptionDraft]:
        """See `DraftSource`."""
        preprocess, found = preprocess_of(self._method), []
        with evaluating(self._method), torch.no_grad():
            for start in range(0, len(places), _BATCH):
                pictures = [self._samples[place].picture for place in places[start : start + _BATCH]]
                best = self._method.classify(preprocess.read(pictures)).softmax(dim=1).max(dim=1)
                names = [str(self._method.names[each]).replace("_", " ") for each in best.indices.tolist()]
                found += [CaptionDraft(name, score) for name, score in zip(names, best.values.tolist(), strict=True)]
        return found


class Described:
    """What a method says of a picture.

    Args:
        method: that offers `caption`.
        samples: all pictures.
        name: of the source.
        words: what it does, for a sentence.
    """

    def __init__(self, method: Any, samples: Sequence[Sample], name: str, words: str) -> None:
        self._method, self._samples, self.name, self.words = method, samples, name, words

    def drafts(self, places: Sequence[int]) -> list[CaptionDraft]:
        """See `DraftSource`."""
        return [
            CaptionDraft(text) for text in generated(self._method, [self._samples[place].picture for place in places])
        ]


def _best(queries: Float[Tensor, "Q D"], rows: Float[Tensor, "N D"], texts: Sequence[str]) -> list[CaptionDraft]:
    found: list[CaptionDraft] = []
    for start in range(0, len(queries), _ROWS):
        best = (queries[start : start + _ROWS].float() @ rows.float().T).max(dim=1)
        places, scores = best.indices.tolist(), best.values.tolist()
        found += [CaptionDraft(texts[place], score) for place, score in zip(places, scores, strict=True)]
    return found


def of_model(model: str, samples: Sequence[Sample]) -> DraftSource:
    """What a model can draft: descriptions, or names of its classes.

    Args:
        model: a run.
        samples: all pictures.

    Raises:
        DeixisError: it can do neither; the message says which methods describe pictures.
    """
    method = load_model(model).model
    capabilities = getattr(card_of(method), "capabilities", ()) if not isinstance(method, DualEncoder) else ()
    if "caption" in capabilities:
        return Described(method, samples, RUN, f"the run {Path(model).name}")
    if "classify" in capabilities:
        return Named(method, samples)
    raise refusal(f"{model} neither describes pictures nor names classes.", "caption")


def learned(method: str, source: Source, samples: Sequence[Sample], talk: Reporter) -> DraftSource:
    """Drafts by a method that learns from captions alone.

    Args:
        method: by name.
        source: the captioned pictures that it may learn from.
        samples: all pictures.
        talk: says that it takes a while.
    """
    talk.say(f"{method} learns from {len(source.samples)} captions; this takes a minute or two.")
    texts = tuple(Sample(each.id, None, each.captions[:1]) for each in source.samples)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainSettings(images=_SEEN, held_out=0.0, precision="fp32", tensorboard="no")
        train(method, Source(source.name, source.root, "text", "", texts), Path(folder, "run"), settings, quiet=True)
        made = load_method(Path(folder, "run"))
    return Described(made, samples, method, f"{method}, trained on {len(texts)} captions")


def read_bank(path: str) -> list[str]:
    """The terms of a bank: the column `term`, `name`, `label` or `caption` of a csv, else its first.

    Args:
        path: of the csv.

    Raises:
        DeixisError: there is no such file, or it holds no term.
    """
    if not Path(path).is_file():
        raise DeixisError(f"There is no file {path}.", "Give --bank a csv with a term in each row.")
    rows = [row for row in csv.reader(decode(Path(path).read_bytes()).splitlines()) if any(map(str.strip, row))]
    heads = [cell.strip().casefold() for cell in rows[0]] if rows else []
    column = next((heads.index(name) for name in ("term", "name", "label", "caption") if name in heads), -1)
    cells = rows[1:] if column >= 0 else rows
    terms = list(dict.fromkeys(row[max(column, 0)].strip() for row in cells if len(row) > max(column, 0)))
    terms = [term for term in terms if term]
    if not terms:
        raise DeixisError(f"{path} holds no terms.", "Give a csv with a column `term`, one term in each row.")
    return terms
