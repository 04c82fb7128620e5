"""Index a collection and search it, with words or with a picture."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from deixis import zoo
from deixis.apps.collection import collect, embed, read
from deixis.apps.console import Talk
from deixis.apps.options import Reading
from deixis.apps.runs import free_name, run_folder
from deixis.engine.evaluate import apply
from deixis.engine.features import table
from deixis.errors import DeixisError
from deixis.indexing.index import Index, build
from deixis.inputs.images import IMAGE_SUFFIXES
from deixis.nn.dual import DualEncoder
from deixis.types import Source, place

__all__ = ["index", "search", "write_index"]


def write_index(folder: Path, encoder: DualEncoder, vectors: Float[Tensor, "B D"], source: Source) -> Index:
    """Writes the images of a source, embedded by `encoder`, as an index."""
    items = [
        {"id": s.id, "path": place(s.picture), "captions": list(s.captions), "label": s.label} for s in source.samples
    ]
    return build(folder, vectors.numpy(), items, model=encoder.name, fingerprint=encoder.fingerprint())


def index(
    data: str | Source,
    out: str | Path = "deixis-index",
    model: str = "starter",
    reading: Reading | None = None,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> Index:
    """Indexes the images of DATA for search; captions and labels are carried along but not needed.

    Args:
        data: what `collection.read` takes, or a source that was read already.
        out: the folder to write, with the model in it.
        model: a name or a model folder.
        reading: columns and the like, where they are not to be guessed.
        overwrite: replace what a run or index left at `out`.
        quiet: print nothing.
    """
    out, talk = Path(out), Talk(quiet)
    free_name(out, overwrite)
    source = data if isinstance(data, Source) else read(data, reading)
    encoder = zoo.load(model).eval()
    collection = collect(source, talk)
    views = embed(encoder, collection.source.samples, collection.report.hashes, talk, mirrored=False)
    ids = [sample.id for sample in collection.source.samples]
    rows = table(encoder, ids, views, [""] * len(ids))
    with run_folder(out, overwrite) as folder:
        zoo.save(encoder, folder / "model")
        vectors, _ = apply(rows, (encoder.image_adapter, None))
        write_index(folder / "index", encoder, vectors, collection.source)
    talk.result(f"{len(rows)} images indexed in {out}; {len(collection.source.skipped)} skipped.")
    talk.result(f'Search: deixis search {out} "words"   or a picture in place of words')
    return Index.open(out / "index", verify=False)


def search(
    run: str | Path, query: str | Path, k: int = 10, *, quiet: bool = True
) -> list[tuple[float, dict[str, object]]]:
    """The k best images of a run or index folder for words or for a picture.

    Args:
        run: a folder that `deixis adapt` or `deixis index` wrote.
        query: words, or the path of a picture.
        k: how many answers.
        quiet: print nothing.

    Returns:
        (cosine similarity, item) pairs, best first; an item holds `id`, `path`, `captions`, `label`.

    Raises:
        DeixisError: no such run, a damaged index, a picture that can't be read, empty words.
    """
    if k < 1:
        raise DeixisError(f"{k} answers were asked for.", "Ask for at least 1 (--k).")
    picture = _is_picture(query)
    if not picture and not str(query).strip():
        raise DeixisError("The query is empty.", "Give some words, or the path of a picture.")
    opened, encoder = _opened(Path(run))
    vector = encoder.encode_image([Path(query)]) if picture else encoder.encode_text([str(query)])
    hits = opened.search(np.asarray(vector.detach()), k)
    found = [(float(score), opened.item(int(row))) for score, row in zip(hits.scores[0], hits.rows[0], strict=True)]
    talk = Talk(quiet)
    talk.result("similarity  picture")
    for score, item in found:
        talk.result(f"{score:10.3f}  {_from_here(str(item['path']))}")
    return found


def _opened(run: Path) -> tuple[Index, DualEncoder]:
    """The index of a run and the model that made it."""
    if not run.is_dir():
        raise DeixisError(f"There is no folder {run}.", "Make one with `deixis adapt DATA` or `deixis index DATA`.")
    opened = Index.open(run / "index" if (run / "index").is_dir() else run, verify=False)
    if not (run / "model" / "config.json").is_file():
        raise DeixisError(
            f"{run} holds no model that could read the query: no model/config.json.",
            "Give the folder that `deixis adapt` or `deixis index` wrote.",
        )
    encoder = zoo.load(run / "model").eval()
    opened.expect(encoder.fingerprint())
    return opened, encoder


def _from_here(path: str) -> str:
    """A path as seen from the working folder, where that is shorter."""
    return min(os.path.relpath(path), path, key=len)


def _is_picture(query: str | Path) -> bool:
    """Whether the query means a picture: an existing file, or what ends like one and looks like a path."""
    path = Path(query)
    if os.path.isfile(path):  # words may be no path at all, which Path.is_file takes amiss
        return True
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise DeixisError(f"There is no picture {path}.", "Check the path; words need no ending such as .jpg.")
    return False
