"""Begin a table of captions: the images that tell most about a collection come first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import CheckedDataset, check_and_read, embed, read
from deixis.apps.common.formatting import counted
from deixis.apps.common.loading import load_encoder
from deixis.apps.common.options import ComputeSettings, Reading
from deixis.apps.common.runs import writable
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.label.cells import write_rows
from deixis.apps.label.label_table import COLUMNS
from deixis.data.readers.formats.triplets import COLUMNS as TRIPLET
from deixis.data.readers.formats.triplets import VOTE
from deixis.errors import DeixisError
from deixis.files import atomic_path, explained
from deixis.nn.dual import DualEncoder
from deixis.types import Member, Source, place

__all__ = ["OrderedPictures", "farthest_first", "label", "ordered_pictures", "telling_triplets"]

_NEAREST = 20
_EVEN = 4.0  # how much more it counts that both are equally near than that they differ


def farthest_first(vectors: Float[Tensor, "N D"]) -> list[int]:
    """An order in which each next vector is the one least like all before it (Gonzalez, 1985).

    The first is the one nearest to the mean. The first k then cover the collection with at most twice the smallest
    possible radius.

    Args:
        vectors: rows of length 1.
    """
    order = [int((vectors @ vectors.mean(dim=0)).argmax())]
    nearest = vectors @ vectors[order[0]]
    for _ in range(len(vectors) - 1):
        nearest[order[-1]] = torch.inf
        order.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, vectors @ vectors[order[-1]])
    return order


@takes_settings(reading=Reading, compute=ComputeSettings)
def label(
    data: str,
    out: str | Path = "labels.csv",
    model: str = "starter",
    reading: Reading | None = None,
    *,
    overwrite: bool = False,
    quiet: bool = False,
    triplets: bool = False,
) -> Path:
    """Writes a csv with a row an image, to be filled in from the top: `path,caption,label`.

    Of equal or near-equal images only one is listed. The csv is read by `deixis adapt` as soon as some rows are filled.

    Args:
        data: what `deixis.apps.common.dataset.read` takes. Pictures that lie in a table or are drawn have no name for a
            csv: they are refused.
        out: the csv.
        model: whose eyes decide which images are unlike one another.
        reading: columns and the like, where they are not to be guessed.
        overwrite: replace `out`, filled-in captions and all.
        quiet: print nothing.
        triplets: write rows `reference,left,right,vote` instead, for `deixis adapt --votes`; see `telling_triplets`.
    """
    out, talk = Path(out), Reporter(quiet)
    writable(out)
    if out.is_dir():
        raise DeixisError(f"{out} is a folder; labels go into a csv.", "Choose another --out.")
    if out.exists() and not overwrite:
        raise DeixisError(
            f"{out} is there already, perhaps with captions in it.", "Choose another --out, or --overwrite."
        )
    collection, vectors, order = ordered_pictures(data, load_encoder(model), reading, talk)
    samples = collection.source.samples
    if triplets:
        found = telling_triplets(vectors, order)
        rows = [(*(place(samples[i].picture) for i in each), "") for each in found]
        _write(out, (*TRIPLET, VOTE), rows)
        talk.result(f"{counted(len(rows), 'triplet')} in {out}, the most telling first.")
        talk.result(
            "Write beside each, from the top, which looks more like the reference (left or right), then: "
            f"deixis adapt {data} --votes {out}"
        )
        return out
    _write(
        out,
        COLUMNS,
        [(place(samples[i].picture), " ".join(samples[i].captions[:1]), samples[i].label or "") for i in order],
    )
    talk.result(
        f"{counted(len(order), 'image')} in {out}, most informative first "
        f"({counted(len(samples) - len(order), 'duplicate')} skipped)."
    )
    talk.result(f"Fill in captions or labels from the top, as many as you like, then: deixis adapt {out}")
    return out


class OrderedPictures(NamedTuple):
    """Pictures that can be read, most informative first.

    Attributes:
        collection: the pictures, and what the check said.
        vectors: embeddings; zeros for duplicates.
        order: places of the pictures; of equal or near-equal ones the first alone.
    """

    collection: CheckedDataset
    vectors: Float[Tensor, "N D"]
    order: list[int]


def ordered_pictures(data: str, encoder: DualEncoder, reading: Reading | None, talk: Reporter) -> OrderedPictures:
    """Reads pictures that a csv can name, and puts them in the order in which they are worth describing.

    Args:
        data: what `deixis.apps.common.dataset.read` takes.
        encoder: whose eyes decide which are unlike one another.
        reading: columns and the like.
        talk: receives the progress.

    Raises:
        DeixisError: nothing can be read, or a picture is no file of its own.
    """
    source = read(data, reading)
    _refuse_nameless(source)
    collection = check_and_read(source, talk)
    samples, report = collection.source.samples, collection.report
    doubles = {i for group in report.same for i in group[1:]}
    index = [i for i in range(len(samples)) if i not in doubles]
    views = embed(encoder, [samples[i] for i in index], [report.hashes[i] for i in index], talk, mirrored=False)
    rows = views[0][0].clone()
    vectors = torch.zeros(len(samples), rows.shape[1]).index_copy(0, torch.tensor(index), rows)
    return OrderedPictures(collection, vectors, [index[i] for i in farthest_first(rows)])


def telling_triplets(vectors: Float[Tensor, "N D"], order: Sequence[int]) -> list[tuple[int, int, int]]:
    """Of each picture the two others of which it is least clear which is more like it, though they differ: both are
    among its nearest, as near as each other but for little, and lie far from each other. Sides are dealt at random.

    Args:
        vectors: rows of length 1.
        order: which pictures are asked about, and in which order.

    Raises:
        DeixisError: there are fewer than three pictures.
    """
    if len(order) < 3:
        raise DeixisError(f"There are {counted(len(order), 'different picture')}.", "A triplet needs three or more.")
    known, rng = torch.tensor(order), torch.Generator().manual_seed(0)
    found = []
    for one in order:
        near = vectors[known] @ vectors[one]
        near[known == one] = -torch.inf
        closest = known[near.topk(min(_NEAREST, len(order) - 1)).indices]
        likeness = vectors[closest] @ vectors[one]
        doubt = _EVEN * (likeness[:, None] - likeness).abs() + vectors[closest] @ vectors[closest].T
        doubt.fill_diagonal_(torch.inf)
        pair = divmod(int(doubt.argmin()), len(closest))
        sides = [int(closest[pair[side]]) for side in torch.randperm(2, generator=rng).tolist()]
        found.append((one, sides[0], sides[1]))
    return found


def _write(out: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with explained(out), atomic_path(out) as temporary:
        write_rows(temporary, [columns, *rows])


def _refuse_nameless(source: Source) -> None:
    """Refuses pictures that are drawn or lie in a cell of a table, before any work."""
    nameless = next((s for s in source.samples if not isinstance(s.image, Path | Member | None)), None)
    if nameless is not None:
        raise DeixisError(
            f"{nameless.id} of {source.name} is no file of its own, so a csv can't name it.",
            "Pack it first (deixis pack DATA --shards SHARDS), and label the shards.",
        )
