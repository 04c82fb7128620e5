"""What a check found, as a table and as JSON, and whether anything can be learned from it."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from deixis.data.readers.captions import excerpt
from deixis.types.samples import Skipped, Source

__all__ = ["EXAMPLES", "MIN_PAIRS", "CheckReport", "Finding", "as_findings", "as_text", "verdict", "worst_first"]

MIN_PAIRS = 20
"""Distinct captions, or labelled images, below which nothing can be learned and proven."""

EXAMPLES = 5
"""Cases of a finding that are written out; `unreadable`, `exact` and `near` hold all."""

_IN_A_SENTENCE = 3
_IN_A_ROW = 3


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing to look at.

    Attributes:
        name: a fixed key, such as `caption_cut`.
        what: the same in words, for a table.
        count: how many cases there are.
        total: of how many.
        examples: the first cases, at most `EXAMPLES`; each begins with the id of its sample.
        reason: the warning, as part of a sentence; empty: reported, but nothing to fix.
        cure: what to do about it.
    """

    name: str
    what: str
    count: int
    total: int
    examples: tuple[str, ...]
    reason: str = ""
    cure: str = ""


Case = TypeVar("Case")


def as_findings(
    name: str,
    what: str,
    cases: Sequence[Case],
    total: int,
    reason: str = "",
    cure: str = "",
    show: Callable[[Case], str] = str,
) -> list[Finding]:
    """A finding, where there are cases of it.

    Args:
        name: see `Finding`.
        what: see `Finding`.
        cases: all of them.
        total: of how many.
        reason: the warning; `3 of 20` is put before it.
        cure: see `Finding`.
        show: makes an example of a case.
    """
    if not cases:
        return []
    examples = tuple(excerpt(show(case), 160) for case in cases[:EXAMPLES])
    return [
        Finding(name, what, len(cases), total, examples, f"{len(cases)} of {total} {reason}" if reason else "", cure)
    ]


_WORST_FIRST = (
    "nothing_said unreadable leak_image leak_caption leak_group skipped box_outside box_empty span_outside "
    "region_unknown caption_missing label_missing answer_missing exact near caption_wordless caption_foreign "
    "caption_cut caption_control caption_long caption_repeated class_single class_balance licence_missing suffix"
).split()


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings in the order in which they are reported."""
    return tuple(sorted(findings, key=lambda finding: _WORST_FIRST.index(finding.name)))


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """What a check found.

    `hashes` and `same` go with the samples of `usable(source)`, in their order, and not with those of the source that
    was checked, which may hold unreadable ones.

    Attributes:
        name: of the source.
        kind: of the source: `captions`, `labels`, `images` or `text`.
        layout: of the source.
        notes: of the source.
        samples: all that were looked at, with an image or without.
        images: those with an image.
        formats: readable images by format.
        sizes: (width, height) of the image with the smallest, the median and the largest area; empty without images.
        unreadable: images that could not be decoded, with the reason.
        skipped: what the reader had left out already.
        exact: groups of ids with the same bytes.
        near: groups of ids that look alike, without those that are equal throughout.
        captions: figures on the captions (`total`, `distinct`, `missing`, `repeated`, `wordless`, `cut`); `cut` is None
            where it wasn't measured.
        reader: whose tokens `cut` counts, or why it wasn't measured.
        languages: distinct captions that are not English, by language or script.
        labels: readable images by class.
        splits: samples by the side that the source puts them on.
        regions: how many there are.
        questions: how many there are.
        licences: for each column of licences, the samples by value; the empty value stands for none.
        findings: what to look at, the worst first.
        hashes: [N] SHA-256 of the usable samples' files; empty for words alone.
        same: groups of indices into the usable samples whose images are equal or look alike.
        fingerprint: of images, captions and labels; the order and names of files don't matter.
        status: 0 clean, 1 warnings, 2 unusable.
        reason: why it is unusable, or what to look at first; empty if clean.
        cure: what to do about it.
    """

    name: str
    kind: str
    layout: str
    notes: tuple[str, ...]
    samples: int
    images: int
    formats: Mapping[str, int]
    sizes: tuple[tuple[int, int], ...]
    unreadable: tuple[Skipped, ...]
    skipped: tuple[Skipped, ...]
    exact: tuple[tuple[str, ...], ...]
    near: tuple[tuple[str, ...], ...]
    captions: Mapping[str, int | None]
    reader: str
    languages: Mapping[str, int]
    labels: Mapping[str, int]
    splits: Mapping[str, int]
    regions: int
    questions: int
    licences: Mapping[str, Mapping[str, int]]
    findings: tuple[Finding, ...]
    hashes: tuple[str, ...]
    same: tuple[tuple[int, ...], ...]
    fingerprint: str
    status: int = 0
    reason: str = ""
    cure: str = ""

    def usable(self, source: Source) -> Source:
        """The source that was checked, its unreadable samples moved to `skipped`."""
        broken = {item.path for item in self.unreadable}
        samples = tuple(sample for sample in source.samples if sample.id not in broken)
        return dataclasses.replace(source, samples=samples, skipped=(*source.skipped, *self.unreadable))

    def rows(self) -> list[tuple[str, int, str]]:
        """The report as a table: what, how many, an example. Lines that would say nothing are left out."""
        return self._image_rows() + self._word_rows() + self._finding_rows()

    def _image_rows(self) -> list[tuple[str, int, str]]:
        rows = [] if self.images == self.samples else [("samples", self.samples, "with an image or without")]
        rows.append(("images", self.images, _counts(self.formats)))
        if self.sizes:
            small, middle, large = (f"{width} x {height}" for width, height in self.sizes)
            rows.append(("readable", self.images - len(self.unreadable), f"{small} to {large}, median {middle}"))
        if self.splits:
            rows.append(("splits", len(self.splits), _counts(self.splits)))
        return rows

    def _word_rows(self) -> list[tuple[str, int, str]]:
        rows = []
        if self.captions["total"] or self.kind in ("captions", "text"):
            rows.append(("distinct captions", self.captions["distinct"] or 0, f"context: {self.reader}"))
        if self.labels:
            most, least = max(self.labels, key=self.labels.__getitem__), min(self.labels, key=self.labels.__getitem__)
            balance = f"{excerpt(least, 30)} {self.labels[least]} to {excerpt(most, 30)} {self.labels[most]}"
            rows.append(("classes", len(self.labels), balance))
        rows += [
            (name, count, "") for name, count in (("regions", self.regions), ("questions", self.questions)) if count
        ]
        for column, values in self.licences.items():
            rows.append((f"licences ({excerpt(column, 30)})", len(values), _counts(values)))
        return rows

    def _finding_rows(self) -> list[tuple[str, int, str]]:
        rows = []
        for finding in self.findings:
            if finding.name in ("unreadable", "skipped"):
                rows += _by_reason(finding.name, self.unreadable if finding.name == "unreadable" else self.skipped)
            elif finding.what:
                share = f"{finding.count / finding.total:.0%}; " if finding.name == "caption_cut" else ""
                rows.append((finding.what, finding.count, share + finding.examples[0]))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it, without the hashes and indices.

        The keys are those of this class, and stay; later versions may add some. Lists of ids and of pairs (`exact`,
        `near`, `sizes`) are lists of lists; an entry of `unreadable` or `skipped` has `path`, `reason` and `detail`,
        one of `findings` the keys of `Finding`. A name that is not Unicode has its odd bytes written out.
        """
        value = dataclasses.asdict(self)
        del value["hashes"], value["same"]
        plain: dict[str, Any] = _plain(value)
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value


def _counts(counts: Mapping[str, int], most: int = 5) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    parts = [f"{count} {excerpt(name, 40) or '(none)'}" for name, count in ordered[:most]]
    return ", ".join([*parts, "..."] if len(ordered) > most else parts)


def _by_reason(word: str, items: Sequence[Skipped]) -> list[tuple[str, int, str]]:
    """A row a reason: the first case in full, and where the next ones are."""
    rows = []
    for reason, count in collections.Counter(item.reason for item in items).most_common():
        first, *rest = itertools.islice((item for item in items if item.reason == reason), _IN_A_ROW)
        also = ", ".join([*(excerpt(item.path) for item in rest), *(["..."] if count > _IN_A_ROW else [])])
        rows.append((f"{word}: {reason}", count, excerpt(as_text(first), 160) + (f" Also {also}" if also else "")))
    return rows


def as_text(item: Skipped) -> str:
    """What was left out, and why, with its path."""
    if item.path in item.detail:
        return item.detail
    return f"{item.path}: {item.detail}" if item.detail else item.path


def verdict(report: CheckReport) -> tuple[int, str, str]:
    """The `status`, `reason` and `cure` of a report that has none yet; the worst finding is named first."""
    unusable = _unusable(report)
    if unusable is not None:
        return 2, *unusable
    warnings = [finding for finding in report.findings if finding.reason]
    reported, rest = warnings[:_IN_A_SENTENCE], len(warnings) - _IN_A_SENTENCE
    parts = [finding.reason for finding in reported] + ([f"{rest} more warnings are in the table"] if rest > 0 else [])
    cures = dict.fromkeys(finding.cure for finding in reported if finding.cure)
    return min(1, len(warnings)), f"{'; '.join(parts)}." if parts else "", " ".join(cures)


def _unusable(report: CheckReport) -> tuple[str, str] | None:
    readable = report.images - len(report.unreadable)
    if not readable and report.kind != "text":
        return (
            f"Training is impossible: none of the {report.images} image{'s' * (report.images != 1)} can be read.",
            f"The first: {report.unreadable[0].detail}" if report.unreadable else "Give a folder with images.",
        )
    distinct = (report.captions["distinct"] or 0) + report.regions + report.questions
    if report.kind in ("captions", "text") and distinct < MIN_PAIRS:
        of = f" on {readable} readable images" if readable else ""
        return (
            f"Training is impossible: {distinct} distinct captions{of}, and at least {MIN_PAIRS} are needed.",
            f"Caption {MIN_PAIRS - distinct} or more further images, each in its own words.",
        )
    if report.kind == "labels" and len(report.labels) < 2:
        return (
            f"Training is impossible: all {readable} readable images have one label, and at least 2 are needed.",
            "Add images of another class.",
        )
    labelled = sum(report.labels.values())
    if report.kind == "labels" and labelled < MIN_PAIRS:
        return (
            f"Training is impossible: {labelled} labelled images, and at least {MIN_PAIRS} are needed.",
            f"Add {MIN_PAIRS - labelled} or more labelled images.",
        )
    return None
