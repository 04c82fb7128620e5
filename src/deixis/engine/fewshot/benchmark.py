"""A method learns a few images and is tested on others: the one step of which all few-shot protocols are made."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from deixis.engine.fewshot import few_shot, learners
from deixis.engine.fewshot.cost import learn_resumed
from deixis.engine.fewshot.draws import Labelled
from deixis.engine.fewshot.few_shot import FewShotMethod, Pick
from deixis.engine.fewshot.names import class_names
from deixis.engine.fewshot.shots import Shots, fields_of
from deixis.engine.training.batching import require_encoder
from deixis.engine.training.stages import card_of, name_of
from deixis.errors import DeixisError
from deixis.methods import get, read
from deixis.nn.dual import DualEncoder
from deixis.nn.modes import evaluating
from deixis.ops.metrics import accuracy
from deixis.types import Sample, Source
from deixis.types.protocols import HasScoresOf

__all__ = ["FewShotBenchmark", "Question", "TrialScores", "classifies_new", "labelled", "named"]

Question = tuple[Sequence[int], Sequence[str]]
"""Indices of images, and the classes to choose among."""


@dataclasses.dataclass(frozen=True)
class TrialScores:
    """What came of one learning.

    Attributes:
        right: for each question, 1 or 0 an image.
        seconds: of learning; on a processor those that it worked.
        method: that learned.
        choice: why, where `auto` chose it.
    """

    right: tuple[NDArray[np.float64], ...]
    seconds: float
    method: str
    choice: Pick | None


@dataclasses.dataclass(frozen=True)
class FewShotBenchmark:
    """Images encoded by a frozen encoder, with their classes.

    Attributes:
        encoder: the frozen model.
        data: what is known of N images.
        embedding: in the space shared with texts, of length 1.
        features: before the projection into it.
        cells: in the space shared with texts, for methods that read them.
    """

    encoder: DualEncoder
    data: Labelled
    embedding: Float[Tensor, "N D"]
    features: Float[Tensor, "N F"]
    cells: Float[Tensor, "N P D"] | None = None

    def evaluate(
        self,
        method: str,
        settings: Mapping[str, Any],
        drawn: Sequence[int],
        names: Sequence[str],
        questions: Sequence[Question],
        seed: int,
        *,
        forecast: float = 0.0,
    ) -> TrialScores:
        """Learns once, and predicts.

        Args:
            method: as `few_shot.learn` knows it.
            settings: that differ from its `desk` preset.
            drawn: indices of the images that are learned from.
            names: the classes that are learned.
            questions: test images and classes; the classes may be others than those learned, if the method can do that.
            seed: of initial weights and order.
            forecast: seconds that it will take about; where that is long, it is resumed after an interruption.

        Raises:
            DeixisError: the method can't predict new classes, or not learn these.
        """
        now = time.perf_counter if torch.cuda.is_available() else time.process_time
        start = now()
        shots = self.shots(drawn, names)
        learned, choice = learn_resumed(method, self.encoder, class_names(names), shots, settings, seed, forecast)
        seconds = now() - start
        right = [self._answer(learned, indices, among) for indices, among in questions]
        return TrialScores(tuple(right), seconds, name_of(learned), choice)

    def shots(self, indices: Sequence[int], names: Sequence[str]) -> Shots:
        """Images as methods learn from them.

        Args:
            indices: of images.
            names: the classes, in the order of the labels that they are to have.
        """
        i = torch.tensor(list(indices), dtype=torch.long)
        ids, groups = tuple(self.data.ids[j] for j in indices), tuple(self.data.groups[j] for j in indices)
        cells = None if self.cells is None else self.cells[i]
        return Shots(ids, self._labels(indices, names), self.embedding[i], self.features[i], groups, cells)

    def _labels(self, indices: Sequence[int], names: Sequence[str]) -> Int64[Tensor, " B"]:
        place = {name: number for number, name in enumerate(names)}
        return torch.tensor([place[self.data.labels[i]] for i in indices], dtype=torch.long)

    def _answer(self, method: FewShotMethod, indices: Sequence[int], names: Sequence[str]) -> NDArray[np.float64]:
        i = torch.tensor(list(indices), dtype=torch.long)
        cells = None if self.cells is None else self.cells[i]
        logits = named(method, class_names(names), self.embedding[i], self.features[i], cells)
        found: NDArray[np.float64] = accuracy(logits, self._labels(indices, names)).numpy()
        return found


def named(
    method: FewShotMethod,
    names: Sequence[str],
    embedding: Float[Tensor, "B D"],
    features: Float[Tensor, "B F"],
    cells: Float[Tensor, "B P D"] | None = None,
) -> Float[Tensor, "B C"]:
    """Logits of any classes: those that a method has learned, or new ones, of which it knows the names alone.

    Args:
        method: that `few_shot.learn` gave.
        names: of the classes to choose from.
        embedding: of images.
        features: of the same.
        cells: of the same, for methods that read them.

    Raises:
        DeixisError: the classes are new, and the method is built on images of each class.
    """
    if tuple(names) == tuple(method.names):
        return few_shot.logits(method, embedding, features, cells)
    if isinstance(method, HasScoresOf):
        with torch.no_grad(), evaluating(method):
            return method.scores_of(*fields_of(method, embedding, features, cells), names=names)
    if any(need.name == "labels" for need in card_of(method).needs):
        raise DeixisError(
            f"{name_of(method)} knows only the classes it was trained on, and no new ones.",
            "Compare methods that go by class names on new classes: zero_shot, coop, cocoop, pre.",
        )
    # What learns nothing is as good for new classes as for old ones.
    again = few_shot.build(name_of(method), require_encoder(method), names, vars(method.config))
    return few_shot.logits(again, embedding, features, cells)


def classifies_new(method: str) -> bool:
    """Whether a method can predict classes of which it has learned no image.

    Args:
        method: its name.
    """
    if method not in learners.offered():
        return False
    if not any(need.name == "labels" for need in read(method).card.needs):
        return True
    return isinstance(get(method).Method, HasScoresOf)


def labelled(source: Source) -> Source:
    """The samples that have a class. Sets without labels are taken by what they sort their pictures by: the sub-group
    of an emoji, the topmost folder of a stamp.

    Raises:
        DeixisError: there are fewer than two classes.
    """
    samples = tuple(sample for each in source.samples if (sample := _labelled(each)).label)
    count = len({sample.label for sample in samples})
    if count < 2:
        raise DeixisError(
            f"{source.name} has {count} {'class' if count == 1 else 'classes'}, and classification needs at least two.",
            "Give a folder with a sub-folder for each class, or a table with a column `label` (--label-column).",
        )
    return dataclasses.replace(source, samples=samples, kind="labels")


def _labelled(sample: Sample) -> Sample:
    sorted_by = str(sample.extra.get("subgroup") or sample.extra.get("folder") or "")
    return dataclasses.replace(sample, label=sample.label or sorted_by.split("/")[0].replace("-", " "))
