"""The data of an evaluation: which fields it has, and the samples that a protocol reads, checked and in groups."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

from deixis.data.splits import concept_groups
from deixis.engine.evaluation.groups import COLUMNS, group_columns
from deixis.engine.fewshot.benchmark import labelled
from deixis.engine.fewshot.draws import Labelled, limited, style_of
from deixis.errors import DeixisError
from deixis.types import Picture, Sample, Source

__all__ = ["CURES", "EvalData", "EvalSet", "missing_fields", "on_test", "redrawn"]

CURES = {
    "captions": "Give data with captions: a text file beside each image, or a table with a column `caption`.",
    "labels": "Give a folder with a sub-folder for each class, or a table with a column `label` (--label-column).",
    "boxes": "Give data with boxes: set:photos-boxes, set:scenes, or boxes in COCO's form.",
    "questions": "Give data with questions: set:scenes, or conversations as LLaVA writes them.",
    "phrases": "Give data whose boxes have phrases: set:photos-boxes, set:scenes, or RefCOCO's form.",
    "masks": "Give data with masks: set:scenes (made of stamps), or instances in COCO's form.",
    "demographics": f"Give a table with a column of groups: {', '.join(COLUMNS)}; or set:emoji-tones.",
    "individuals": "Give a table with a column that has the same value for pictures of one thing (--group).",
    "style": "Give a table with a column `style`, or folders within the classes: cat/photo/1.jpg, cat/sketch/1.jpg.",
}
"""Field -> a description of data that has it."""

_PRESENT: dict[str, Callable[[Sample], bool]] = {
    "images": lambda sample: sample.image is not None,
    "captions": lambda sample: bool(sample.captions),
    "masks": lambda sample: any(region.mask is not None for region in sample.regions),
    **dict.fromkeys(("boxes", "regions"), lambda sample: bool(sample.regions)),
    "phrases": lambda sample: any(region.phrases for region in sample.regions),
    "questions": lambda sample: bool(sample.questions),
}
"""Field -> whether a sample has it."""


@dataclasses.dataclass(frozen=True)
class EvalSet:
    """Samples whose images can be read.

    Attributes:
        source: with these samples.
        hashes: of the contents of their images.
        groups: [N], equal for samples of one concept: copies, near-copies, one caption, one group column.
        fingerprint: of images and labels.
    """

    source: Source
    hashes: tuple[str, ...]
    groups: tuple[int, ...]
    fingerprint: str

    @classmethod
    def of(
        cls,
        source: Source,
        hashes: Sequence[str],
        same: Sequence[Sequence[int]] = (),
        fingerprint: str = "",
        *,
        captions: bool = True,
    ) -> EvalSet:
        """Samples put into groups of one concept.

        Args:
            source: samples whose images can be read.
            hashes: of the contents of their images.
            same: groups of samples that show the same thing, as `CheckReport.same`.
            fingerprint: of images and labels.
            captions: whether samples with one caption are of one concept.
        """
        groups = concept_groups(source.samples, same, captions=captions)
        return cls(source, tuple(hashes), tuple(groups), fingerprint)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """In order."""
        return self.source.samples

    @property
    def pictures(self) -> list[Picture]:
        """Their images."""
        return [sample.picture for sample in self.samples]

    @property
    def ids(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(sample.id for sample in self.samples)

    @property
    def clusters(self) -> Int[np.ndarray, " N"]:
        """`groups`, as intervals take them."""
        return np.array(self.groups, dtype=np.int64)

    def take(self, index: Sequence[int]) -> EvalSet:
        """The samples at `index`."""
        return dataclasses.replace(
            self,
            source=dataclasses.replace(self.source, samples=tuple(self.samples[i] for i in index)),
            hashes=tuple(self.hashes[i] for i in index),
            groups=tuple(self.groups[i] for i in index),
        )

    def labelled(self) -> Labelled:
        """What the few-shot protocols know of them."""
        return Labelled.of(self.samples, self.groups)


class EvalData:
    """Data as it was read; images are checked when a protocol needs them, and only once.

    Args:
        source: the samples.
        check: gives those of some samples that can be read.
    """

    def __init__(self, source: Source, check: Callable[[Source], EvalSet]) -> None:
        self.source, self._check = source, check
        self._checked: dict[tuple[str, ...], EvalSet] = {}
        self._fields: dict[str, bool] = {}

    def has(self, field: str) -> bool:
        """Whether some samples have a field of protocols: of `labels` and `style` there must be two different ones."""
        if field not in self._fields:
            self._fields[field] = self._has(field)
        return self._fields[field]

    def _has(self, field: str) -> bool:
        samples = self.source.samples
        if field in _PRESENT:
            return any(map(_PRESENT[field], samples))
        if field == "labels":
            try:
                return bool(labelled(self.source).samples)
            except DeixisError:
                return False
        if field == "style":
            return len({style_of(sample) for sample in samples} - {""}) > 1
        if field == "individuals":
            return any(sample.groups or sample.label for sample in samples)
        if field == "demographics":
            return bool(group_columns(samples))
        return any(sample.extra.get(field) for sample in samples)

    @property
    def fingerprints(self) -> frozenset[str]:
        """Of the sets of samples that protocols have requested."""
        return frozenset(each.fingerprint for each in self._checked.values() if each.fingerprint)

    @property
    def requested(self) -> tuple[EvalSet, ...]:
        """The sets of samples that protocols have requested."""
        return tuple(self._checked.values())

    @property
    def hashes(self) -> frozenset[str]:
        """Of the contents of all images that protocols have requested."""
        return frozenset(digest for each in self._checked.values() for digest in each.hashes)

    def labelled(self, limit: int = 0, say: Callable[[str], None] | None = None) -> EvalSet:
        """The samples that have a class.

        Args:
            limit: the most samples, of each class nearly equally many; 0: all.
            say: receives how many a limit leaves.

        Raises:
            DeixisError: there are fewer than two classes.
        """
        return self._set(labelled(self.source), limit, say)

    def pictured(self, limit: int = 0, say: Callable[[str], None] | None = None) -> EvalSet:
        """The samples that have an image, without labels, captions and groups: concepts are near-duplicates alone.

        Args:
            limit: the most samples; 0: all.
            say: receives how many a limit leaves.
        """
        bare = (
            dataclasses.replace(sample, label=None, captions=(), groups=())
            for sample in self.source.samples
            if sample.image is not None
        )
        return self._set(dataclasses.replace(self.source, kind="images", samples=tuple(bare)), limit, say)

    def captioned(self, limit: int = 0, say: Callable[[str], None] | None = None) -> EvalSet:
        """The samples that have a caption and an image.

        Args:
            limit: the most samples; 0: all.
            say: receives how many a limit leaves.

        Raises:
            DeixisError: there are none.
        """
        samples = tuple(s for s in self.source.samples if s.image is not None and any(map(str.strip, s.captions)))
        if not samples:
            raise DeixisError(f"{self.source.name} has no captions.", CURES["captions"])
        return self._set(dataclasses.replace(self.source, samples=samples), limit, say)

    def individuals(self, limit: int = 0, say: Callable[[str], None] | None = None) -> EvalSet:
        """The samples that have an image, and a group or a label.

        Args:
            limit: the most samples; 0: all.
            say: receives how many a limit leaves.

        Raises:
            DeixisError: there are none.
        """
        samples = tuple(s for s in self.source.samples if s.image is not None and (s.groups or s.label))
        if not samples:
            raise DeixisError(
                f"Nothing tells which pictures of {self.source.name} show one thing.", CURES["individuals"]
            )
        return self._set(dataclasses.replace(self.source, samples=samples), limit, say)

    def questioned(self, limit: int = 0, say: Callable[[str], None] | None = None) -> EvalSet:
        """The samples that have an image, and questions with answers.

        Args:
            limit: the most samples; 0: all.
            say: receives how many a limit leaves.
        """
        samples = tuple(s for s in self.source.samples if s.image is not None and any(q.answer for q in s.questions))
        return self._set(dataclasses.replace(self.source, samples=samples), limit, say)

    def placed(self, limit: int = 0, say: Callable[[str], None] | None = None, masks: bool = False) -> EvalSet:
        """The samples that have an image, and boxes of things in it with a category, without labels and captions:
        concepts are near-duplicates and groups alone.

        Args:
            limit: the most samples; 0: all.
            say: receives how many a limit leaves.
            masks: those whose things all have masks.

        Raises:
            DeixisError: there are none.
        """

        def fits(sample: Sample) -> bool:
            masked = not masks or all(region.mask is not None for region in sample.regions)
            return sample.image is not None and any(region.category for region in sample.regions) and masked

        bare = [dataclasses.replace(each, label=None, captions=()) for each in self.source.samples if fits(each)]
        if not bare:
            what = "masks" if masks else "boxes"
            raise DeixisError(f"{self.source.name} has no {what} that name anything.", CURES[what])
        return self._set(dataclasses.replace(self.source, kind="images", samples=tuple(bare)), limit, say)

    def boxed(self, limit: int = 0, say: Callable[[str], None] | None = None, phrases: bool = False) -> EvalSet:
        """The samples that have an image, and boxes of things in it with a category.

        Args:
            limit: the most samples; 0: all.
            say: receives how many a limit leaves.
            phrases: those with phrases in place of categories.

        Raises:
            DeixisError: there are none.
        """

        def named(sample: Sample) -> bool:
            return any(region.phrases if phrases else region.category for region in sample.regions)

        samples = tuple(each for each in self.source.samples if each.image is not None and named(each))
        if not samples:
            what = "phrases" if phrases else "boxes"
            raise DeixisError(f"{self.source.name} has no {what} that name anything.", CURES[what])
        return self._set(dataclasses.replace(self.source, samples=samples), limit, say)

    def _set(self, source: Source, limit: int, say: Callable[[str], None] | None) -> EvalSet:
        retained = limited([str(s.label or "") for s in source.samples], limit, [s.split for s in source.samples])
        if len(retained) < len(source.samples):
            if say is not None:
                say(f"{len(retained)} of {len(source.samples)} images are used, with nearly equal numbers per class.")
            source = dataclasses.replace(source, samples=tuple(source.samples[i] for i in retained))
        key = (source.kind, *(f"{sample.id}\x1f{sample.label}" for sample in source.samples))
        if key not in self._checked:
            self._checked[key] = self._check(source)
        return self._checked[key]


def redrawn(data: EvalSet, name: str, picture: Callable[[Picture, str], Picture]) -> EvalSet:
    """The images of a set as something else draws them, when they are read.

    Args:
        data: the originals.
        name: of what is done to them, which their hashes hang on.
        picture: of an original and its hash.
    """
    samples = tuple(
        dataclasses.replace(sample, image=picture(sample.picture, digest))
        for sample, digest in zip(data.samples, data.hashes, strict=True)
    )
    hashes = tuple(hashlib.sha256(f"{name} of {digest}".encode()).hexdigest() for digest in data.hashes)
    return dataclasses.replace(data, source=dataclasses.replace(data.source, samples=samples), hashes=hashes)


def missing_fields(data: EvalData, fields: Sequence[str]) -> list[str]:
    """Those of some fields that the data lacks."""
    return [field for field in fields if not data.has(field)]


def on_test(data: EvalSet) -> EvalSet:
    """The samples of the side `test` where the data names sides, else all: nothing is learned from them."""
    test = [i for i, sample in enumerate(data.samples) if sample.split == "test"]
    return data.take(test) if test else data
