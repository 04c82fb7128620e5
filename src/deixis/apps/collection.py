"""From a path to samples that can be learned from: read, checked, encoded. Every verb begins so."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from deixis.apps.console import Talk
from deixis.apps.options import Reading
from deixis.data import check as checks
from deixis.data import sets, sources
from deixis.engine.features import FeatureStore, encode_images
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.types import Picture, Sample, Skipped, Source

__all__ = ["Collection", "check", "collect", "embed", "read", "taught"]


@dataclasses.dataclass(frozen=True)
class Collection:
    """Samples whose images can be decoded, and what the check said.

    Attributes:
        source: the readable samples.
        report: of the check; its `hashes` and `same` go with these samples.
    """

    source: Source
    report: checks.CheckReport

    @property
    def pictures(self) -> list[Picture]:
        """The images, in order."""
        return [sample.picture for sample in self.source.samples]


def read(data: str, reading: Reading | None = None) -> Source:
    """Reads DATA: a folder, a table, or `set:NAME` for a set that `deixis data get NAME` fetched."""
    if data.startswith("set:"):
        return sets.read(data[4:])
    r = reading or Reading()
    return sources.read(
        Path(data),
        path_column=r.path_column,
        caption_column=r.caption_column,
        label_column=r.label_column,
        group_column=r.group,
        names_as_captions=r.names_as_captions,
    )


def collect(source: Source, talk: Talk, encoder: DualEncoder | None = None) -> Collection:
    """Checks all images of a source; with an encoder also whether captions fit its context."""
    for note in source.notes:
        talk.say(note)
    overflow = None
    if encoder is not None:
        tokenizer, length = encoder.tokenizer, encoder.context_length

        def overflow(texts: Sequence[str]) -> Sequence[bool]:
            return tokenizer.overflow(texts, length)

    with talk.step("check"), talk.bar("check images") as bar:
        report = checks.check(source, context_length_overflow=overflow, progress=bar)
    usable = report.usable(source)
    if not usable.samples:
        first = report.unreadable[0].detail
        raise DeixisError(
            f"None of the {len(source.samples)} images of {source.root} can be read; the first: {first}",
            "Give pictures that an image viewer opens.",
        )
    return Collection(usable, report)


def taught(collection: Collection, talk: Talk) -> Collection:
    """The samples with words to learn from: a label where there are labels, else a caption. The others are skipped."""
    source, report = collection.source, collection.report
    what = "label" if source.kind == "labels" else "caption"
    kept = [i for i, s in enumerate(source.samples) if (s.label if source.kind == "labels" else s.captions)]
    if len(kept) == len(source.samples):
        return collection
    talk.say(
        f"{len(source.samples) - len(kept)} of {len(source.samples)} images have no {what}, and are left out. "
        "`deixis index` with the new model makes all searchable."
    )
    place = {old: new for new, old in enumerate(kept)}
    same = ([place[i] for i in group if i in place] for group in report.same)
    bare = (Skipped(s.id, f"no {what}") for i, s in enumerate(source.samples) if i not in place)
    return Collection(
        dataclasses.replace(source, samples=tuple(source.samples[i] for i in kept), skipped=(*source.skipped, *bare)),
        dataclasses.replace(
            report,
            hashes=tuple(report.hashes[i] for i in kept),
            same=tuple(tuple(group) for group in same if len(group) > 1),
        ),
    )


def check(data: str, reading: Reading | None = None, *, quiet: bool = False) -> checks.CheckReport:
    """Looks at DATA without learning anything: corrupt, doubled, missing, cut, lopsided.

    Args:
        data: a folder, a csv / tsv / jsonl, or `set:NAME`.
        reading: columns and the like, where they are not to be guessed.
        quiet: print nothing.

    Returns:
        The report; its `status` is 0 clean, 1 warnings, 2 unusable.
    """
    talk = Talk(quiet)
    source = read(data, reading)
    for note in source.notes:
        talk.say(note)
    with talk.bar("check images") as bar:
        report = checks.check(source, progress=bar)
    word = {0: "clean", 1: "warnings", 2: "unusable"}[report.status]
    talk.result(f"{source.name}: {word}. {report.reason} {report.cure}".strip())
    talk.table(f"{source.layout}", ("what", "count", "example"), report.rows())
    return report


def embed(
    encoder: DualEncoder, samples: Sequence[Sample], hashes: Sequence[str], talk: Talk, *, mirrored: bool
) -> tuple[Float[Tensor, "V B D"], Float[Tensor, "V B F"], Float[Tensor, "V B"]]:
    """Encodes the images of samples with the frozen towers, from the store where they were encoded before."""
    store = FeatureStore()
    told: list[int] = []
    try:
        with talk.step("encode"), talk.bar("encode images") as bar:

            def update(done: int, total: int) -> None:
                if not told and done > 0:
                    talk.say(f"{done} of {total} images were encoded before; going on from there")
                told.append(done)
                bar(done, total)

            pictures = [sample.picture for sample in samples]
            return encode_images(encoder, pictures, hashes, store, mirrored=mirrored, progress=update)
    finally:
        store.close()
