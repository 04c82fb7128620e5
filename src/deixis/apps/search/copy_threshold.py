"""The similarity from which pairs of an index are copies, measured on altered copies of its own pictures."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from deixis.apps.common.console import Reporter
from deixis.apps.common.find_picture import find_picture
from deixis.apps.common.loading import load_encoder
from deixis.apps.common.runs import opened_index
from deixis.data.quality.altered_copies import EDITS, AlteredCopy
from deixis.data.quality.check import duplicates
from deixis.data.quality.image_probe import probe_images
from deixis.data.quality.reduced_image import ReducedImage
from deixis.errors import DeixisError
from deixis.indexing.changes import annotate
from deixis.indexing.index import Index
from deixis.nn.dual import DualEncoder
from deixis.types import Picture, Sample

__all__ = ["KEY", "LEAST", "best_threshold", "copies_of_run", "measure_copies", "write_copies"]

KEY = "copies"
"""Of the manifest."""

LEAST = 100
"""Pictures from which on an index is measured when it is made."""

_COPIES, _FEWEST, _WRONG, _LONGEST, _THREADS = 200, 20, 12, 512, 8
_MISTAKEN = 0.01


def best_threshold(
    own: Float[np.ndarray, " C"], wrong: Float[np.ndarray, " W"], mistaken: float = _MISTAKEN
) -> float | None:
    """The lowest similarity from which on at most a share of the reported pairs is wrong; None where there is none.

    Args:
        own: of copies with their originals.
        wrong: of copies with other pictures.
        mistaken: the share.
    """
    best = None
    for threshold in np.unique(own)[::-1].tolist():
        right, false = int((own >= threshold).sum()), int((wrong >= threshold).sum())
        if false > mistaken * (right + false):
            break
        best = threshold
    return best


def measure_copies(
    encoder: DualEncoder, index: Index, picture_of: Callable[[int], Picture | None], talk: Reporter
) -> dict[str, Any]:
    """The threshold, and what share of altered copies it reports.

    A sample of the pictures is altered, one edit each; a pair of a copy and a picture of the index is right where the
    picture is its original or a near-duplicate of that.

    Args:
        encoder: that made the index.
        index: as it is.
        picture_of: gives the picture of a row; None where it can't be read.
        talk: receives the progress.

    Raises:
        DeixisError: there are too few pictures that can be read.
    """
    rows = [row for row, _ in index.items()]
    random.Random(0).shuffle(rows)
    pictures = {row: each for row in rows[:_COPIES] if (each := picture_of(row)) is not None}
    if len(pictures) < _FEWEST:
        raise DeixisError(
            f"A threshold is measured on {_FEWEST} pictures or more, and {len(pictures)} can be read.",
            "Give the similarity itself, such as --near 0.95.",
        )
    copies, chosen = [], sorted(pictures)
    for place, row in enumerate(chosen):
        reduced = ReducedImage(pictures[row], _LONGEST)
        copies.append(AlteredCopy(reduced, [*EDITS][place % len(EDITS)], str(index.item(row).get("hash", row))))
    with talk.step("copies", "measure the similarity of copies"):
        vectors = np.asarray(encoder.encode_image(copies).detach().cpu(), np.float32)
        own, wrong = _similarities(index, chosen, vectors, picture_of)
    threshold = best_threshold(own, wrong)
    return {
        "threshold": threshold,
        "recall": 0.0 if threshold is None else float((own >= threshold).mean()),
        "copies": len(own),
        "mistaken": _MISTAKEN,
    }


def _similarities(
    index: Index, rows: Sequence[int], copies: Float[np.ndarray, "C D"], picture_of: Callable[[int], Picture | None]
) -> tuple[Float[np.ndarray, " C"], Float[np.ndarray, " W"]]:
    """Of copies with their originals, or the nearest near-duplicate; and with the nearest others."""
    hits = index.search(copies, min(_WRONG, len(index)))
    known = {*rows, *(int(row) for near in hits.rows for row in near if row >= 0)}
    groups = _near_duplicates(sorted(known), picture_of)
    own, wrong = [], list[float]()
    for row, copy, scores, near in zip(rows, copies, hits.scores, hits.rows, strict=True):
        best = float(index.vector(row) @ copy)
        for score, other in zip(scores.tolist(), near.tolist(), strict=True):
            if other >= 0 and groups[other] == groups[row]:
                best = max(best, score)
            elif other >= 0:
                wrong.append(score)
        own.append(best)
    return np.array(own), np.array(wrong)


def _near_duplicates(rows: Sequence[int], picture_of: Callable[[int], Picture | None]) -> dict[int, int]:
    """Row -> a number that is equal for near-duplicates."""
    samples = [Sample(str(row), picture_of(row)) for row in rows]
    probed = probe_images(samples, min(_THREADS, len(os.sched_getaffinity(0))), None)
    readable = [(row, each) for row, each in zip(rows, probed, strict=True) if each.hash]
    groups = {row: row for row in rows}
    for same in duplicates([each for _, each in readable])[1]:
        groups |= {readable[i][0]: readable[same[0]][0] for i in same}
    return groups


def write_copies(folder: Path, encoder: DualEncoder, index: Index, pictures: Sequence[Picture], talk: Reporter) -> None:
    """Measures a new index of `LEAST` pictures or more, and writes it into its manifest.

    Args:
        folder: of the index.
        encoder: that made it.
        index: as it was written, row i of picture i.
        pictures: of the rows.
        talk: receives the progress.
    """
    if len(pictures) >= LEAST:
        annotate(folder, index, KEY, measure_copies(encoder, index, lambda row: pictures[row], talk))


def copies_of_run(run: str | Path, talk: Reporter) -> dict[str, Any]:
    """What was measured of an index; an index that was made before, is small or has changed since is measured now.

    Args:
        run: a folder that `deixis adapt` or `deixis index` wrote.
        talk: receives the progress.

    Raises:
        DeixisError: there is no index, its pictures are gone or too few, or no threshold is good enough.
    """
    index = opened_index(Path(run))
    facts = index.manifest.get(KEY)
    if facts is None:
        encoder = load_encoder(Path(run) / "model")
        index.expect(encoder.fingerprint())
        facts = measure_copies(encoder, index, lambda row: find_picture(str(index.item(row)["path"])), talk)
        try:
            annotate(index.folder, index, KEY, facts)
        except (DeixisError, OSError):  # on a disk that can't be written; it is measured again the next time
            talk.say(f"What was measured could not be written into {index.folder}.")
    if facts["threshold"] is None:
        raise DeixisError(
            f"No similarity distinguishes copies in {run}: at each, more than 1 in 100 reported pairs is no copy.",
            "Give a similarity, such as --near 0.95, or index with another model.",
        )
    return dict(facts)
