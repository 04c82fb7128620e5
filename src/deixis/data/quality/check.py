"""A look at a source before anything is learned from it: what is broken, doubled, missing, too long or lopsided."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence

import numpy as np

from deixis.data.quality.caption_checks import Reader, check_captions
from deixis.data.quality.duplicates import alike
from deixis.data.quality.image_probe import THUMBNAIL, ImageProbe, misnamed, probe_images
from deixis.data.quality.leaks import leaks
from deixis.data.quality.licences import licences
from deixis.data.quality.region_checks import check_regions
from deixis.data.quality.report import (
    EXAMPLES,
    MIN_PAIRS,
    CheckReport,
    Finding,
    as_findings,
    as_text,
    verdict,
    worst_first,
)
from deixis.data.readers.captions import excerpt
from deixis.types.samples import Sample, Source

__all__ = ["MIN_PAIRS", "CheckReport", "Reader", "check", "duplicates"]

_LOPSIDED = 10
_TINY = 48
"""Pixels of the longer side below which images hold too little to be distinguished: half of Fashion-MNIST, of 28 x 28,
would be called copies. Only equal bytes count there."""

_WORDS_WANTED = ("captions", "text")


def check(
    source: Source,
    *,
    reader: Reader | str = "not measured, no model was given",
    progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> CheckReport:
    """Decodes every image of a source once, and reports what is wrong with it.

    Near-duplicates are images whose perceptual hashes differ in at most `NEAR_DUPLICATE_BITS` bits and whose thumbnails
    agree too, since the hashes of blank or nearly blank images agree by themselves; they are linked transitively.

    Args:
        source: what `sources.read` gave.
        reader: whose context the captions must fit; or why that is not measured.
        progress: called with (images done, images in all).
        threads: decoding threads; as many as there are cores, but 8 at most, where not given.
    """
    probed = probe_images(source.samples, threads or min(8, len(os.sched_getaffinity(0))), progress)
    good = [index for index, each in enumerate(probed) if each.skipped is None]
    samples, readable = [source.samples[index] for index in good], [probed[index] for index in good]
    exact, same = duplicates(readable)
    near = [group for group in same if len({readable[index].hash for index in group}) > 1]
    words = check_captions(
        samples, reader if isinstance(reader, Reader) else None, expected=source.kind in _WORDS_WANTED
    )
    columns, unlicensed = licences(samples)
    labels = dict(collections.Counter(sample.label for sample in samples if sample.label is not None))
    report = CheckReport(
        name=source.name,
        kind=source.kind,
        layout=source.layout,
        notes=source.notes,
        samples=len(source.samples),
        images=sum(sample.image is not None for sample in source.samples),
        formats=dict(collections.Counter(each.format for each in readable if each.format).most_common()),
        sizes=_sizes([each.size for each in readable if each.hash]),
        unreadable=tuple(each.skipped for each in probed if each.skipped is not None),
        skipped=source.skipped,
        exact=tuple(tuple(samples[index].id for index in group) for group in exact),
        near=tuple(tuple(samples[index].id for index in group) for group in near),
        captions=words.figures,
        reader=reader.name if isinstance(reader, Reader) else reader,
        languages=words.languages,
        labels=labels,
        splits=dict(collections.Counter(sample.split for sample in samples if sample.split)),
        regions=sum(len(sample.regions) for sample in samples),
        questions=sum(len(sample.questions) for sample in samples),
        licences=columns,
        findings=(),
        hashes=tuple(each.hash for each in readable),
        same=same,
        fingerprint=_fingerprint(samples, [each.hash for each in readable]),
    )
    findings = (
        words.findings + unlicensed + leaks(samples, same) + check_regions(samples) + _misnamed(samples, readable)
    )
    findings += _image_findings(report) + _label_findings(report, samples)
    report = dataclasses.replace(report, findings=worst_first(findings))
    status, reason, cure = verdict(report)
    return dataclasses.replace(report, status=status, reason=reason, cure=cure)


def _sizes(sizes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return (ordered[0], ordered[len(ordered) // 2], ordered[-1]) if ordered else ()


def _fingerprint(samples: Sequence[Sample], hashes: Sequence[str]) -> str:
    rows = sorted(
        json.dumps([digest, sample.label, sample.captions]) for sample, digest in zip(samples, hashes, strict=True)
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def duplicates(readable: Sequence[ImageProbe]) -> tuple[list[list[int]], tuple[tuple[int, ...], ...]]:
    """Index groups with equal bytes, and index groups that are equal or look alike."""
    by_hash: dict[str, list[int]] = collections.defaultdict(list)
    for index, each in enumerate(readable):
        if each.hash:
            by_hash[each.hash].append(index)
    exact = [group for group in by_hash.values() if len(group) > 1]
    copies = [group for group in by_hash.values() if max(readable[group[0]].size) >= _TINY]
    first = [readable[group[0]] for group in copies]
    codes = np.array([each.code for each in first], dtype=np.uint64)
    thumbnails = np.array([each.thumbnail for each in first], dtype=np.uint8).reshape(len(first), 3 * THUMBNAIL**2)
    linked: dict[int, list[int]] = collections.defaultdict(list)
    for group, member_of in zip(copies, alike(codes, thumbnails), strict=True):
        linked[int(member_of)] += group
    same = [sorted(group) for group in linked.values() if len(group) > 1]
    same += [group for group in exact if max(readable[group[0]].size) < _TINY]
    return exact, tuple(tuple(group) for group in sorted(same))


# Findings


def _image_findings(report: CheckReport) -> list[Finding]:
    """What is wrong with images: unreadable, left out, doubled."""
    copies = {sample for group in report.exact for sample in group[1:]}
    near = [[sample for sample in group if sample not in copies] for group in report.near]
    silent = report.kind == "images" and not (report.captions["total"] or report.regions)
    return [
        *([_SILENT] if silent else []),
        *as_findings(
            "unreadable", "images that can't be read", report.unreadable, report.images,
            "images can't be read", "Fix or remove them.", as_text,
        ),
        *as_findings(
            "skipped", "entries that the reader left out", report.skipped, report.samples + len(report.skipped),
            "entries were skipped", "The notes of the source say how to fix them.", as_text,
        ),
        *_copies("exact", "exact duplicates", report.exact, report.images, "images are copies of others"),
        *_copies("near", "near duplicates", near, report.images, "images look like others"),
    ]  # fmt: skip


_SILENT = Finding(
    "nothing_said", "", 1, 1, (),
    "there are neither captions nor labels: the images can be searched, but not trained on",
    "Caption or label them; `deixis label` writes a table to fill in.",
)  # fmt: skip


def _copies(name: str, what: str, groups: Sequence[Sequence[str]], total: int, reason: str) -> list[Finding]:
    spare = [group for group in groups for _ in group[1:]]
    cure = "Copies stay on one side of a split; remove them to learn no image twice."
    return [
        dataclasses.replace(each, examples=tuple(excerpt(_equal(group), 160) for group in groups[:EXAMPLES]))
        for each in as_findings(name, what, spare, total, reason, cure, _equal)
    ]


def _equal(group: Sequence[str]) -> str:
    return " = ".join(map(excerpt, group[:3])) + (" = ..." if len(group) > 3 else "")


def _misnamed(samples: Sequence[Sample], readable: Sequence[ImageProbe]) -> list[Finding]:
    wrong = [
        f"{sample.id}: a {promised} by its name, a {each.format} by its bytes"
        for sample, each in zip(samples, readable, strict=True)
        if each.format and (promised := misnamed(sample, each.format))
    ]
    return as_findings(
        "suffix", "images whose format does not match their extension", wrong, len(samples),
        "images bear the suffix of another format", "They are read all the same; rename them for other programs.",
    )  # fmt: skip


def _label_findings(report: CheckReport, samples: Sequence[Sample]) -> list[Finding]:
    if report.kind != "labels" or not report.labels:
        return []
    bare = [sample.id for sample in samples if sample.label is None]
    most, least = max(report.labels, key=report.labels.__getitem__), min(report.labels, key=report.labels.__getitem__)
    single = [label for label, count in report.labels.items() if count == 1]
    lopsided = report.labels[most] > _LOPSIDED * report.labels[least]
    balance = f"the largest class has {report.labels[most]} images, the smallest {report.labels[least]}"
    return [
        *as_findings(
            "label_missing", "images without a label", bare, len(samples),
            "images have no label", "Label them, or they can't be trained on.",
        ),
        *as_findings(
            "class_single", "classes with one image", single, len(report.labels),
            "classes have one image, which can't be on both sides of a split", "Add images to them.",
        ),
        *(
            [Finding("class_balance", "", 1, 1, (most, least), balance, "Accuracy will favour large classes.")]
            if lopsided
            else []
        ),
    ]  # fmt: skip
