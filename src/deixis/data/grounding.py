"""Data for methods that learn which words mean which box: merged sentences, phrases and questions as captions.

All take samples whose regions know their words (`spans` in the first caption, or `phrases`), and give samples of the
same pictures.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from deixis.errors import DeixisError
from deixis.ops.regions.boxes import pairwise_giou
from deixis.types.samples import Phrase, Region, Sample, Source, place

__all__ = ["answer_masks", "merge_sentences", "referring", "with_questions"]

_BETWEEN = ". "


def merge_sentences(source: Source, longest: int = 250, overlap: float = 0.5) -> Source:
    """One sample out of several of the same picture, as long as its phrases mean different boxes.

    Sentences in which phrases mean boxes that overlap more than that stay apart: the graph of these conflicts is
    coloured greedily, those with most conflicts first (Kamath et al. 2021, appendix; as notes on the paper have it).

    Args:
        source: samples with a caption and regions that have spans in it.
        longest: characters of a merged caption at the most; a longer one alone stays as it is.
        overlap: GIoU above which two boxes conflict.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in source.samples:
        groups.setdefault(sample.id if sample.image is None else place(sample.image), []).append(sample)
    samples = tuple(merged for group in groups.values() for merged in _merged(group, longest, overlap))
    return dataclasses.replace(source, samples=samples)


def _merged(samples: Sequence[Sample], longest: int, overlap: float) -> Iterator[Sample]:
    conflicts = _conflicts(samples, overlap)
    colours: list[list[int]] = []
    for number in sorted(range(len(samples)), key=lambda n: -int(conflicts[n].sum())):
        for colour in colours:
            texts = [_text(samples[each]) for each in (*colour, number)]
            if not conflicts[number, colour].any() and len(_BETWEEN.join(texts)) <= longest:
                colour.append(number)
                break
        else:
            colours.append([number])
    for colour in colours:
        yield _joined([samples[number] for number in sorted(colour)])


def _conflicts(samples: Sequence[Sample], overlap: float) -> Bool[Tensor, "N N"]:
    """Which samples speak of boxes that overlap."""
    boxes = torch.tensor([region.box for sample in samples for region in sample.regions]).reshape(-1, 4)
    owner = torch.tensor([n for n, sample in enumerate(samples) for _ in sample.regions], dtype=torch.long)
    found = torch.zeros(len(samples), len(samples), dtype=torch.bool)
    one, other = (pairwise_giou(boxes, boxes) > overlap).nonzero(as_tuple=True)
    found[owner[one], owner[other]] = True
    return found.fill_diagonal_(False)


def _text(sample: Sample) -> str:
    return sample.captions[0] if sample.captions else ""


def _joined(samples: Sequence[Sample]) -> Sample:
    regions, start = [], 0
    for sample in samples:
        for region in sample.regions:
            spans = tuple((start + begin, start + end) for begin, end in region.spans)
            regions.append(dataclasses.replace(region, spans=spans))
        start += len(_text(sample)) + len(_BETWEEN)
    caption = _BETWEEN.join(map(_text, samples))
    return dataclasses.replace(samples[0], captions=(caption,), regions=tuple(regions))


def referring(
    source: Source, align: Literal["noun", "phrase"] = "noun", among: Literal["target", "all"] = "target"
) -> Source:
    """One sample for each expression that refers to a region: the expression is its caption, the region its only one,
    or one among all of its picture.

    Args:
        source: samples whose regions have phrases.
        align: which words mean the box: the noun (that of the region's category, where the phrase says it; as published
            for MDETR, which takes the root of the sentence), or the whole phrase.
        among: whether a sample has the region that is meant alone (`target`), or all regions of the picture in their
            order, as candidates (`all`); the column `targets` then holds the box that is meant.

    Raises:
        DeixisError: no region has a phrase.
    """
    samples = tuple(_expressions(source, align, among))
    if not samples:
        raise DeixisError(f"No region of {source.name!r} has a phrase.", "Give data with referring expressions.")
    return dataclasses.replace(source, samples=samples)


def _expressions(source: Source, align: str, among: str) -> Iterator[Sample]:
    for sample in source.samples:
        for number, region in enumerate(sample.regions):
            families = tuple(region.attributes.get("families", ()))
            for place_, phrase in enumerate(region.phrases):
                span = _noun(phrase.text, region.category) if align == "noun" else (0, len(phrase.text))
                family = families[place_] if place_ < len(families) else ""
                only = dataclasses.replace(region, phrases=(Phrase(phrase.text),), spans=(span,))
                others = [dataclasses.replace(each, phrases=(), spans=()) for each in sample.regions]
                regions = (*others[:number], only, *others[number + 1 :]) if among == "all" else (only,)
                targets = {"targets": (region.box,)} if among == "all" else {}
                yield Sample(
                    id=f"{sample.id}#{number}.{place_}",
                    image=sample.image,
                    captions=(phrase.text,),
                    groups=sample.groups,
                    extra={"family": family, "rivals": _rivals(sample.regions, region), **targets},
                    split=sample.split,
                    regions=regions,
                )


def _noun(text: str, category: str) -> tuple[int, int]:
    """Where a phrase says the noun, or the whole phrase."""
    found = re.search(rf"\b{re.escape(category)}\b", text, re.IGNORECASE) if category else None
    return found.span() if found else (0, len(text))


def _rivals(regions: Sequence[Region], region: Region) -> int:
    """How many other regions are of its category."""
    return sum(each.category == region.category for each in regions) - 1


def with_questions(source: Source, kinds: Sequence[tuple[str, Sequence[str]]]) -> Source:
    """The samples, and behind them one for each question of a picture, whose caption is the question.

    All have the columns `question_kind` and `question_answer`, numbers in `kinds`, which are -1 where nothing is asked.

    Args:
        source: samples with questions.
        kinds: name of each kind and its answers; other kinds and other answers are left out.
    """
    answers = {name: {answer: number for number, answer in enumerate(known)} for name, known in kinds}
    order = {name: number for number, (name, _) in enumerate(kinds)}

    def columns(sample: Sample, kind: int, answer: int) -> dict[str, object]:
        return {**sample.extra, "question_kind": kind, "question_answer": answer}

    asked = [
        dataclasses.replace(
            sample,
            id=f"{sample.id}?{number}",
            captions=(each.question,),
            regions=(),
            extra=columns(sample, order[each.kind], answers[each.kind][each.answer]),
        )
        for sample in source.samples
        for number, each in enumerate(sample.questions)
        if each.answer in answers.get(each.kind, {})
    ]
    plain = [dataclasses.replace(sample, extra=columns(sample, -1, -1)) for sample in source.samples]
    return dataclasses.replace(source, samples=(*plain, *asked))


def answer_masks(source: Source) -> Source:
    """One sample for each question of a picture: the question is its caption, and its regions are those that the answer
    rests on; of a question about what is not there, none.

    Questions whose regions have no masks are left out. The columns `kind` and `answer` are those of the question.

    Args:
        source: samples with questions.

    Raises:
        DeixisError: no question says which regions with masks its answer rests on.
    """
    samples = tuple(_asked(source))
    if not any(sample.regions for sample in samples):
        raise DeixisError(
            f"No question of {source.name!r} says which masks its answer rests on.",
            "Give questions with regions that have masks, such as set:scenes.",
        )
    return dataclasses.replace(source, samples=samples)


def _asked(source: Source) -> Iterator[Sample]:
    for sample in source.samples:
        for number, each in enumerate(sample.questions):
            regions = tuple(sample.regions[place_] for place_ in each.regions)
            if all(region.mask is not None for region in regions):
                yield dataclasses.replace(
                    sample,
                    id=f"{sample.id}?{number}",
                    captions=(each.question,),
                    regions=tuple(dataclasses.replace(region, spans=()) for region in regions),
                    questions=(each,),
                    extra={**sample.extra, "kind": each.kind, "answer": each.answer},
                )
