"""Drafts of captions: the csv of `deixis label`, with a draft beside each picture that has no caption, and how likely
it is right.

What drafts is chosen on captioned pictures that are held back, concept by concept, unless it is named; of equals the
simplest. Nothing is said to be right that was not measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import isotonic_regression

from deixis.apps.caption.csv_output import require_free_csv
from deixis.apps.caption.draft_sources import (
    RUN,
    CaptionDraft,
    DraftSource,
    Nearest,
    Terms,
    learned,
    of_model,
    read_bank,
)
from deixis.apps.caption.settings import CaptionSettings
from deixis.apps.common.console import Reporter
from deixis.apps.common.formatting import counted
from deixis.apps.common.loading import load_encoder
from deixis.apps.common.options import Reading
from deixis.apps.label.cells import write_rows
from deixis.apps.label.label import OrderedPictures, ordered_pictures
from deixis.apps.label.label_table import COLUMNS, DRAFT, SURE
from deixis.apps.predict.settings import PredictOutput
from deixis.data.splits import concept_groups, split
from deixis.engine.evaluation.captions.values import names_same_thing
from deixis.errors import DeixisError
from deixis.files import atomic_path, explained
from deixis.ops.stats import Interval, cluster_bootstrap
from deixis.types import place

__all__ = ["write_drafts"]

METHODS = ("auto", "nearest", "bank", "names", RUN, "close")

_MODEL = "starter"
_HELD, _LEAST, _CONCEPTS, _LEARN = 120, 40, 20, 200


class _Measured(NamedTuple):
    """What a source's drafts for held-back pictures were worth."""

    source: DraftSource
    right: Float[np.ndarray, " Q"]
    scores: list[float | None]


class _Division(NamedTuple):
    """Captioned pictures by place: those held back, with their concepts, and the rest."""

    held: list[int]
    groups: list[int]
    rest: list[int]


def write_drafts(
    data: str, settings: CaptionSettings, output: PredictOutput, reading: Reading, eyes: str = _MODEL
) -> Path:
    """Writes a csv with a row a picture, most informative first: `path,caption,label,draft,sure`.

    Args:
        data: what `deixis.apps.common.dataset.read` takes; pictures with captions are what drafts are measured on.
        settings: the model, the bank, and what drafts.
        output: the csv.
        reading: columns and the like.
        eyes: the image-text model that says which pictures are alike, and which terms fit them.

    Raises:
        DeixisError: there is nothing to draft from, all pictures have captions, or the csv is no csv, there, or can't
            be written.
    """
    out, talk = Path(output.out or "captions.csv"), Reporter(output.quiet)
    require_free_csv(out, output.overwrite, "drafts of captions")
    if settings.method and settings.method not in METHODS:
        raise DeixisError(f"There is no way {settings.method!r} to draft.", f"There are: {', '.join(METHODS)}.")
    terms = read_bank(settings.bank) if settings.bank else []
    with settings.active():
        encoder = load_encoder(eyes)
        pictures = ordered_pictures(data, encoder, reading, talk)
        samples = pictures.collection.source.samples
        todo = [place_ for place_ in pictures.order if not _caption(pictures, place_)]
        if not todo:
            raise DeixisError(
                f"All {counted(len(samples), 'picture')} of {data} have captions.", "Nothing is to draft."
            )
        sources: list[DraftSource] = [Terms(pictures.vectors, encoder, terms)] if terms else []
        sources += [of_model(settings.model, samples)] if settings.model else []
        division = _divided(pictures)
        chosen, measured = _choose(settings.method or "auto", sources, pictures, division, talk)
        drafts = dict(zip(todo, chosen.drafts(todo), strict=True))
    sure = _sure(measured.get(chosen.name), [drafts[each] for each in todo])
    _write(out, pictures, drafts, dict(zip(todo, sure, strict=True)))
    talk.result(_sentence(len(todo), chosen, measured, division))
    talk.result(f"Look through them in {out}: put into `caption` what is right, then: deixis adapt {out}")
    return out


def _caption(pictures: OrderedPictures, number: int) -> str:
    return next(iter(pictures.collection.source.samples[number].captions), "").strip()


def _divided(pictures: OrderedPictures) -> _Division:
    """A third of the captioned pictures, 120 at the most, is held back, by concept; none where they are too few."""
    known = [each for each in pictures.order if _caption(pictures, each)]
    report, samples = pictures.collection.report, pictures.collection.source.samples
    groups = concept_groups(samples, report.same)
    own = [groups[each] for each in known]
    if len(known) < _LEAST or len(set(own)) < _CONCEPTS:
        return _Division([], [], known)
    parts = split(own, 0, 1 - min(1 / 3, _HELD / len(known)))
    return _Division([known[i] for i in parts.test], [own[i] for i in parts.test], [known[i] for i in parts.train])


def _choose(
    method: str, sources: Sequence[DraftSource], pictures: OrderedPictures, division: _Division, talk: Reporter
) -> tuple[DraftSource, dict[str, _Measured]]:
    """What drafts, and what each source was worth where that was measured; the simplest source comes first."""
    captions = {each: _caption(pictures, each) for each in (*division.rest, *division.held)}
    rest = {each: captions[each] for each in division.rest}
    possible: list[DraftSource] = [Nearest(pictures.vectors, rest)] if rest else []
    possible += sources
    wanted = method == "close" or (method == "auto" and bool(division.held))
    if wanted and len(rest) >= _LEARN:
        source = pictures.collection.source
        some = dataclasses.replace(source, samples=tuple(source.samples[each] for each in rest))
        possible.append(learned("close", some, source.samples, talk))
    measured = {each.name: _measure(each, captions, division) for each in possible} if division.held else {}
    usable = [each for each in possible if method in ("auto", each.name)]
    if not usable:
        raise DeixisError(*_missing(method, len(captions)))
    best = _best(usable, measured, division.groups) if measured else usable[0]
    if isinstance(best, Nearest):  # now that it is measured, it may copy from all
        best = Nearest(pictures.vectors, captions)
    return best, measured


def _best(usable: Sequence[DraftSource], measured: dict[str, _Measured], groups: Sequence[int]) -> DraftSource:
    """The first of some sources, unless a later one is shown to name the right thing more often."""
    best = usable[0]
    for other in usable[1:]:
        gain = cluster_bootstrap(measured[other.name].right - measured[best.name].right, np.array(groups))
        best = other if gain.low > 0 else best
    return best


def _missing(method: str, captions: int) -> tuple[str, str]:
    if method == "close":
        return (
            f"There are too few captions to learn from: {captions}.",
            f"Give {_LEARN} beside those that are held back, or another --method.",
        )
    if method == "bank":
        return "There is no bank.", "Give one: --bank TERMS.csv"
    if method in ("names", RUN):
        does = "describes pictures" if method == RUN else "names classes"
        return f"There is no model that {does}.", "Give one: --model RUN"
    return (
        "No picture has a caption, and there is neither a bank of terms nor a model: there is nothing to draft from.",
        "Describe some pictures (deixis label), or give --bank TERMS.csv or --model RUN.",
    )


def _measure(source: DraftSource, captions: dict[int, str], division: _Division) -> _Measured:
    found = source.drafts(division.held)
    right = [float(names_same_thing(d.text, [captions[p]])) for d, p in zip(found, division.held, strict=True)]
    return _Measured(source, np.array(right), [each.score for each in found])


def _sure(measured: _Measured | None, drafts: Sequence[CaptionDraft]) -> list[str]:
    """The chance that each draft is right, by those of held-back pictures with about its score; empty: not measured."""
    if measured is None:
        return [""] * len(drafts)
    mean = float(measured.right.mean())
    known = [(score, right) for score, right in zip(measured.scores, measured.right, strict=True) if score is not None]
    if not known:
        return [f"{mean:.2f}"] * len(drafts)
    scores, right = (np.array(each) for each in zip(*sorted(known), strict=True))
    padded = np.concatenate([[mean], right, [mean]])  # a few at either end do not make it certain
    fitted = isotonic_regression(padded).x[1:-1]
    return [f"{float(np.interp(each.score or 0.0, scores, fitted)):.2f}" for each in drafts]


def _write(out: Path, pictures: OrderedPictures, drafts: dict[int, CaptionDraft], sure: dict[int, str]) -> None:
    samples = pictures.collection.source.samples
    rows = [
        (
            place(samples[i].picture),
            " ".join(samples[i].captions[:1]),
            samples[i].label or "",
            drafts[i].text if i in drafts else "",
            sure.get(i, ""),
        )
        for i in pictures.order
    ]
    with explained(out), atomic_path(out) as temporary:
        write_rows(temporary, [(*COLUMNS, DRAFT, SURE), *rows])


def _sentence(count: int, chosen: DraftSource, measured: dict[str, _Measured], division: _Division) -> str:
    """Of measured numbers alone."""
    drafts = f"{counted(count, 'draft')}, by {chosen.words}."
    if chosen.name not in measured:
        known = len(division.rest)
        said = f"{counted(known, 'picture')} with captions" if known else "no picture with a caption"
        return f"{drafts} How often they are right was not measured: {said}, and {_LEAST} are needed."
    groups = np.array(division.groups)
    own = cluster_bootstrap(measured[chosen.name].right, groups)
    others = "; ".join(
        f"{each.source.words}: {_in_ten(cluster_bootstrap(each.right, groups))}"
        for name, each in measured.items()
        if name != chosen.name
    )
    beside = f"; {others}" if others else ""
    return (
        f"{drafts} On {counted(len(division.held), 'captioned picture')} held back, {_in_ten(own)} name the right "
        f"thing [{10 * own.low:.1f}, {10 * own.high:.1f}]{beside}."
    )


def _in_ten(share: Interval) -> str:
    return f"{round(10 * share.value)} in 10"
