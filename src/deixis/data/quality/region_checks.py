"""What is wrong with what points into images: boxes, the words they stand for, questions and their answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deixis.data.quality.report import Finding, as_findings
from deixis.types.samples import Region, Sample

__all__ = ["check_regions"]

_ROUNDING = 1e-3


def check_regions(samples: Sequence[Sample]) -> list[Finding]:
    """Boxes outside the image or without area, spans outside the caption, questions without an answer, and what points
    to a region that isn't there."""
    places = [(sample, index, region) for sample in samples for index, region in enumerate(sample.regions)]
    outside = [_box(*place) for place in places if not _inside(place[2].box)]
    empty = [_box(*place) for place in places if not _has_area(place[2].box)]
    spans = [span for place in places for span in _spans(*place)]
    unknown = [pointer for sample in samples for pointer in _unknown(sample)]
    every_question = [(sample, question) for sample in samples for question in sample.questions]
    mute = [
        f"{s.id}: {q.question or '(no question)'}"
        for s, q in every_question
        if not (q.answer.strip() and q.question.strip())
    ]
    fix = "Fix or remove them: training on them gives wrong results."
    return (
        as_findings(
            "box_outside", "boxes outside the image", outside, len(places), "boxes are outside their image", fix
        )
        + as_findings("box_empty", "boxes without area", empty, len(places), "boxes have no area", fix)
        + as_findings(
            "span_outside", "spans outside the caption", spans, len(places), "spans are outside the caption", fix
        )
        + as_findings(
            "region_unknown", "pointers to no region", unknown, len(places), "pointers lead to no region", fix
        )
        + as_findings(
            "answer_missing", "questions without an answer", mute, len(every_question), "questions have no answer", fix
        )
    )


def _inside(box: Sequence[float]) -> bool:
    return all(-_ROUNDING <= value <= 1 + _ROUNDING for value in box)  # false for what is no number


def _has_area(box: Sequence[float]) -> bool:
    x0, y0, x1, y1 = box
    return not (x1 <= x0 or y1 <= y0)


def _box(sample: Sample, index: int, region: Region) -> str:
    values = ", ".join(f"{value:.3g}" for value in region.box)
    return f"{sample.id}: region {index}{f' ({region.category})' if region.category else ''} at {values}"


def _spans(sample: Sample, index: int, region: Region) -> Iterator[str]:
    length = len(sample.captions[0]) if sample.captions else 0
    for start, end in region.spans:
        if not 0 <= start < end <= length:
            yield f"{sample.id}: region {index} refers to characters {start} to {end} of {length}"


def _unknown(sample: Sample) -> Iterator[str]:
    count = len(sample.regions)
    pointers = [(f"phrase {phrase.text!r}", phrase.relates) for region in sample.regions for phrase in region.phrases]
    pointers += [(f"question {question.question!r}", question.regions) for question in sample.questions]
    for what, numbers in pointers:
        for number in numbers:
            if not 0 <= number < count:
                yield f"{sample.id}: {what} points to region {number} of {count}"
