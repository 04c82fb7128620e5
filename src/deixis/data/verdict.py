"""What a check found, as a table and as JSON, and whether anything can be learned from it."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from deixis.data.captions import shown
from deixis.types.samples import Skipped, Source

__all__ = ["MIN_PAIRS", "CheckReport", "verdict"]

MIN_PAIRS = 20
"""Distinct captions, or labelled images, below which nothing can be learned and proven."""

_LOPSIDED = 10
_LABEL = "Caption or label them; `deixis label` writes a table to fill in."


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """What a check found.

    `hashes` and `same` go with the samples of `usable(source)`, in their order, and not with those of the source that
    was checked, which may hold unreadable ones.

    Attributes:
        images: samples that were looked at.
        kind: of the source: `captions`, `labels` or `images`.
        formats: readable images by format.
        sizes: (width, height) of the image with the smallest, the median and the largest area; empty without images.
        unreadable: images that could not be decoded, with the reason.
        skipped: what the reader had left out already, by reason.
        exact: groups of ids with the same bytes.
        near: groups of ids that look alike, without those that are equal throughout.
        captions: figures on the captions (`distinct`, `missing`, `repeated`, `wordless`, `cut`); `cut` is None where it
            wasn't measured.
        examples: for each figure, the first case of it.
        labels: readable images by class.
        status: 0 clean, 1 warnings, 2 unusable.
        reason: why it is unusable, or what to look at; empty if clean.
        cure: what to do about it.
        hashes: [N] SHA-256 of the usable samples' files.
        same: groups of indices into the usable samples whose images are equal or look alike.
        fingerprint: of images, captions and labels; the order and names of files don't matter.
    """

    images: int
    kind: str
    formats: Mapping[str, int]
    sizes: tuple[tuple[int, int], ...]
    unreadable: tuple[Skipped, ...]
    skipped: Mapping[str, int]
    exact: tuple[tuple[str, ...], ...]
    near: tuple[tuple[str, ...], ...]
    captions: Mapping[str, int | None]
    examples: Mapping[str, str]
    labels: Mapping[str, int]
    status: int
    reason: str
    cure: str
    hashes: tuple[str, ...]
    same: tuple[tuple[int, ...], ...]
    fingerprint: str

    def usable(self, source: Source) -> Source:
        """The source that was checked, its unreadable samples moved to `skipped`."""
        broken = {item.path for item in self.unreadable}
        samples = tuple(sample for sample in source.samples if sample.id not in broken)
        return dataclasses.replace(source, samples=samples, skipped=(*source.skipped, *self.unreadable))

    def rows(self) -> list[tuple[str, int, str]]:
        """The report as a table: what, how many, an example. Lines that would say nothing are left out."""
        formats = ", ".join(f"{count} {name}" for name, count in self.formats.items())
        rows = [("images", self.images, formats)]
        if self.sizes:
            small, middle, large = (f"{width} x {height}" for width, height in self.sizes)
            rows.append(("readable", self.images - len(self.unreadable), f"{small} to {large}, median {middle}"))
        for reason, count in self.skipped.items():
            rows.append((f"skipped: {reason}", count, self.examples.get(f"skipped: {reason}", "")))
        for reason, count in collections.Counter(item.reason for item in self.unreadable).items():
            rows.append((f"unreadable: {reason}", count, _shown_first(self.unreadable, reason)))
        for what, groups in (("exact duplicates", self.exact), ("near duplicates", self.near)):
            if groups:
                rows.append((what, sum(len(group) - 1 for group in groups), " = ".join(map(shown, groups[0][:3]))))
        if self.kind == "captions":
            for name, words in _CAPTION_WORDS.items():
                number = self.captions[name]
                if number or name == "distinct":
                    rows.append((words, number or 0, self.examples.get(name, "")))
        if self.labels:
            most, least = max(self.labels, key=self.labels.__getitem__), min(self.labels, key=self.labels.__getitem__)
            balance = f"{shown(least, 30)} {self.labels[least]} to {shown(most, 30)} {self.labels[most]}"
            rows.append(("classes", len(self.labels), balance))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it, without the hashes and indices."""
        value = dataclasses.asdict(self)
        del value["hashes"], value["same"]
        value["sizes"] = [list(size) for size in self.sizes]
        value["exact"], value["near"] = [list(group) for group in self.exact], [list(group) for group in self.near]
        value["unreadable"] = list(value["unreadable"])
        return value


_CAPTION_WORDS = {
    "distinct": "distinct captions",
    "missing": "images without a caption",
    "repeated": "repeated captions",
    "wordless": "captions without letters",
    "cut": "captions cut at the context length",
}


def _shown_first(items: Sequence[Skipped], reason: str) -> str:
    first = next(item for item in items if item.reason == reason)
    return shown(first.detail or first.path, 160)


def verdict(report: CheckReport) -> tuple[int, str, str]:
    """The `status`, `reason` and `cure` of a report that has none yet."""
    unusable = _unusable(report)
    if unusable is not None:
        return 2, *unusable
    found = _warnings(report)
    reason = "; ".join(reason for reason, _ in found)
    return (
        min(1, len(found)),
        f"{reason}." if reason else "",
        " ".join(dict.fromkeys(cure for _, cure in found if cure)),
    )


def _unusable(report: CheckReport) -> tuple[str, str] | None:
    readable = report.images - len(report.unreadable)
    if not readable:
        return (
            f"Nothing can be learned: none of the {report.images} images can be read.",
            f"The first: {report.unreadable[0].detail}" if report.unreadable else "Give a folder with images.",
        )
    distinct = report.captions["distinct"] or 0
    if report.kind == "captions" and distinct < MIN_PAIRS:
        return (
            f"Nothing can be learned: {distinct} distinct captions on {readable} readable images, and at least "
            f"{MIN_PAIRS} are needed.",
            f"Caption {MIN_PAIRS - distinct} or more further images, each in its own words.",
        )
    if report.kind == "labels" and len(report.labels) < 2:
        return (
            f"Nothing can be learned: all {readable} readable images have one label, and at least 2 are needed.",
            "Add images of another class.",
        )
    labelled = sum(report.labels.values())
    if report.kind == "labels" and labelled < MIN_PAIRS:
        return (
            f"Nothing can be learned: {labelled} labelled images, and at least {MIN_PAIRS} are needed.",
            f"Add {MIN_PAIRS - labelled} or more labelled images.",
        )
    return None


def _warnings(report: CheckReport) -> list[tuple[str, str]]:
    """What to look at, and what to do about it."""
    found = []
    if report.kind == "images":
        found.append(("there are neither captions nor labels: the images can be searched, but nothing learned", _LABEL))
    if report.unreadable:
        found.append((f"{len(report.unreadable)} of {report.images} images can't be read", "Mend or remove them."))
    if report.skipped:
        found.append(
            (f"{sum(report.skipped.values())} entries were skipped", "The notes of the source tell the cures.")
        )
    doubles = sum(len(group) - 1 for group in report.same)
    if doubles:
        found.append((f"{doubles} images are or look like copies of others", "Copies stay on one side of a split."))
    return found + (_caption_warnings(report) if report.kind == "captions" else []) + _label_warnings(report)


def _caption_warnings(report: CheckReport) -> list[tuple[str, str]]:
    found, counts = [], {name: count or 0 for name, count in report.captions.items()}
    if counts["missing"]:
        found.append((f"{counts['missing']} images have no caption", "Caption them, or nothing is learned from them."))
    if counts["repeated"] > counts["distinct"]:
        found.append(("most captions are repeated", "Captions that tell images apart teach more."))
    if counts["wordless"]:
        found.append((f"{counts['wordless']} captions hold no letters", "Check that the text files hold captions."))
    if counts["cut"]:
        found.append((f"{counts['cut']} captions are cut at the context length", "Put what matters first."))
    return found


def _label_warnings(report: CheckReport) -> list[tuple[str, str]]:
    if report.kind != "labels":
        return []
    found = []
    most, least = max(report.labels.values()), min(report.labels.values())
    unlabelled = report.images - len(report.unreadable) - sum(report.labels.values())
    if unlabelled:
        found.append((f"{unlabelled} images have no label", "Label them, or nothing is learned from them."))
    if least == 1:
        single = sum(count == 1 for count in report.labels.values())
        found.append(
            (f"{single} classes have one image, which can't be on both sides of a split", "Add images to them.")
        )
    if most > _LOPSIDED * least:
        found.append(
            (f"the largest class has {most} images, the smallest {least}", "Accuracy will favour large classes.")
        )
    return found
