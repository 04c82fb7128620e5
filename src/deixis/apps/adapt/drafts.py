"""Captions from a csv with drafts: those that a person wrote or accepted, and sure drafts on request."""

from __future__ import annotations

import collections
import dataclasses
from typing import Literal

from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import read
from deixis.apps.common.formatting import counted
from deixis.apps.common.options import Reading
from deixis.apps.label.label_table import DRAFT, SURE
from deixis.errors import DeixisError
from deixis.types import Sample, Source

__all__ = ["draft_kind", "read_accepted"]


def draft_kind(caption: str, draft: str) -> Literal["accepted", "edited", "untouched"]:
    """What a person did with a draft.

    Args:
        caption: that stands beside it.
        draft: a text.
    """
    caption, draft = (" ".join(text.split()) for text in (caption, draft))
    return "untouched" if not caption else "accepted" if caption == draft else "edited"


def read_accepted(data: str, reading: Reading | None, accept: float, talk: Reporter) -> Source:
    """Reads DATA; where it has drafts of captions, says how many were accepted, edited and left, and takes drafts where
    that is requested.

    Args:
        data: what `deixis.apps.common.dataset.read` takes.
        reading: columns and the like.
        accept: the chance of being right from which on a draft is taken as a caption; 0: none is.
        talk: receives what was found.

    Raises:
        DeixisError: nothing can be read, or the chance is none.
    """
    if not 0 <= accept <= 1:
        raise DeixisError(f"Drafts are to be accepted from a chance of {accept}.", "Give --accept from 0 to 1.")
    source = read(data, reading)
    drafted = [sample for sample in source.samples if sample.extra.get(DRAFT)]
    if not drafted:
        return source
    kinds = collections.Counter(draft_kind(" ".join(each.captions[:1]), _draft(each)) for each in drafted)
    taken = [_taken(sample, accept) for sample in source.samples] if accept else list(source.samples)
    more = sum(one is not other for one, other in zip(taken, source.samples, strict=True))
    by_chance = f"; {more} of these are taken, with a chance of {accept:g} or more" if accept else ""
    talk.say(
        f"{counted(sum(kinds.values()), 'draft')}: {kinds['accepted']} accepted, {kinds['edited']} edited, "
        f"{kinds['untouched']} untouched{by_chance}."
    )
    kind = "captions" if more and source.kind == "images" else source.kind
    return dataclasses.replace(source, kind=kind, samples=tuple(taken))


def _draft(sample: Sample) -> str:
    return str(sample.extra[DRAFT]).strip()


def _taken(sample: Sample, accept: float) -> Sample:
    if any(map(str.strip, sample.captions)) or not sample.extra.get(DRAFT):
        return sample
    try:
        sure = float(sample.extra.get(SURE) or 0.0)
    except ValueError:
        return sample
    return dataclasses.replace(sample, captions=(_draft(sample),)) if sure >= accept else sample
