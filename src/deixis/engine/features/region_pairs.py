"""Pictures and texts as pairs, for methods that read both together: regions of each picture once, from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.features.columns import WithColumns
from deixis.engine.training.batching import collate_for, needs_of
from deixis.engine.training.stages import card_of, stages
from deixis.errors import DeixisError
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn import compute
from deixis.types import Batch, Picture, Sample, Source, Stage
from deixis.types.batch import concatenate
from deixis.types.protocols import AnyMethod

__all__ = ["RegionPairs", "RegionScores", "text_tokenizer"]

_BATCH = 64


class RegionScores(NamedTuple):
    """Of a picture and a text.

    Attributes:
        boxes: of the regions, the likeliest first.
        scores: of each, or of each token and each [L, T].
        length: tokens of the batch that the text was read in.
    """

    boxes: Float[Tensor, "T 4"]
    scores: Float[Tensor, "*L T"]
    length: int


class RegionPairs:
    """Makes the batches of a method that scores pairs (`match`, `align`, `refer`).

    Args:
        method: that offers one of these.

    Raises:
        DeixisError: its regions are boxes that data have, and pictures alone have none.
    """

    def __init__(self, method: Any) -> None:
        self.method = method
        fields = {spec.name: spec for stage in stages(method) for spec in reversed(needs_of(method, stage))}
        self._needs = tuple(spec for spec in fields.values() if spec.name == "tokens" or spec.made is not None)
        if any(spec.made is not None and "boxes" in spec.made.of for spec in self._needs):
            raise DeixisError(
                f"The regions of this {card_of(method).title.partition(':')[0]} are boxes that its data have, and "
                "pictures alone have none.",
                "Use a run that was trained on the boxes of a detector: --set proposals=centernet.",
            )

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the part that reads texts."""
        return text_tokenizer(self.method)

    def batches(self, pictures: Sequence[Picture], texts: Sequence[str]) -> list[Batch]:
        """The pairs of a picture and the text at the same place.

        Args:
            pictures: of the pairs; one that comes several times is seen once.
            texts: of the pairs.

        Raises:
            DeixisError: a text is empty, or a picture can't be read.
        """
        if not all(text.strip() for text in texts):
            raise DeixisError("A text is empty.", "Give words.")
        samples = tuple(
            Sample(str(number), picture, (text,))
            for number, (picture, text) in enumerate(zip(pictures, texts, strict=True))
        )
        source = Source("pairs", Path(), "captions", "", samples)
        encode = collate_for(self.method, source, Stage(needs=self._needs))
        if isinstance(encode, WithColumns):
            encode.make(source)
        rows = [encode(sample) for sample in samples]
        return [concatenate(rows[start : start + _BATCH]) for start in range(0, len(rows), _BATCH)]

    def boxes(self, batch: Batch) -> Float[Tensor, "B T 4"]:
        """The regions of a batch, whatever the method calls that field.

        Args:
            batch: of these pairs.

        Raises:
            DeixisError: the method's regions are columns of its data, and pictures alone have none.
        """
        if batch.boxes is not None:
            return batch.boxes
        made = (spec.name for spec in self._needs if spec.made is not None and spec.made.output == "boxes")
        name = next(made, "")
        if not name:
            raise DeixisError(
                f"The regions of this {card_of(self.method).title.partition(':')[0]} are columns of its data, and "
                "pictures alone have none.",
                "Use a run that was trained with a detector: --set proposals=centernet.",
            )
        found: Tensor = batch.extra[name]
        return found

    def by_region(
        self, call: Callable[[Batch], Tensor], pictures: Sequence[Picture], texts: Sequence[str]
    ) -> Iterator[RegionScores]:
        """What the method says of the regions of each pair, one after the other.

        Args:
            call: of the method, `align` or `refer`, whose last axis is that of regions.
            pictures: of the pairs.
            texts: of the pairs.

        Raises:
            DeixisError: as `batches` and `boxes`.
        """
        device = compute.current().device
        with compute.placed(self.method), eval_without_grad(self.method):
            for batch in self.batches(pictures, texts):
                every = self.boxes(batch).float()
                scores = call(batch.to(device)).float().cpu()
                for boxes, valid, row in zip(every, batch.valid["T"], scores, strict=True):
                    yield RegionScores(boxes[valid], row[..., valid], batch.valid["L"].shape[-1])

    def match(self, pictures: Sequence[Picture], texts: Sequence[str]) -> Float[Tensor, " N"]:
        """How well each text fits the picture at the same place.

        Args:
            pictures: of the pairs.
            texts: of the pairs.
        """
        scores = []
        device = compute.current().device
        with compute.placed(self.method), eval_without_grad(self.method), compute.autocast(device):
            for batch in self.batches(pictures, texts):
                scores.append(self.method.match(batch.to(device)).float().cpu())
        return torch.cat(scores) if scores else torch.zeros(0)


def text_tokenizer(method: AnyMethod) -> Tokenizer:
    """That of the first part of a method that has one."""
    parts: list[Any] = [getattr(method, part.name, None) for part in card_of(method).parts]
    found: Tokenizer = next(each.tokenizer for each in parts if hasattr(each, "tokenizer"))
    return found
