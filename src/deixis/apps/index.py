"""Index a collection and search it, with words or with a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from deixis import zoo
from deixis.apps.collection import collect, embed, read
from deixis.apps.console import Talk
from deixis.apps.options import Reading
from deixis.apps.runs import free_name, run_folder
from deixis.engine.features import Table, table
from deixis.errors import DeixisError
from deixis.inputs.images import IMAGE_SUFFIXES
from deixis.nn.dual import DualEncoder
from deixis.search.index import Index, build
from deixis.types import Source

__all__ = ["index", "search", "write_index"]


def write_index(folder: Path, encoder: DualEncoder, rows: Table, source: Source) -> Index:
    """Writes the images of a table, through the encoder's adapters, as an index."""
    with torch.inference_mode():
        adapter = encoder.image_adapter
        vectors = rows.embedding[0] if adapter is None else adapter(rows.states())
    items = [
        {"id": s.id, "path": str(s.path.absolute()), "captions": list(s.captions), "label": s.label}
        for s in source.samples
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
        data: a folder, a csv / tsv / jsonl, `set:NAME`, or a source that was read already.
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
    with run_folder(out) as folder:
        zoo.save(encoder, folder / "model")
        write_index(folder / "index", encoder, rows, collection.source)
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
    run = Path(run)
    if not run.is_dir():
        raise DeixisError(f"There is no folder {run}.", "Make one with `deixis adapt DATA` or `deixis index DATA`.")
    opened = Index.open(run / "index" if (run / "index").is_dir() else run, verify=False)
    picture = _is_picture(query)
    if not picture and not str(query).strip():
        raise DeixisError("The query is empty.", "Give some words, or the path of a picture.")
    encoder = zoo.load(str(run / "model")).eval()
    opened.expect(encoder.fingerprint())
    vector = encoder.encode_image([Path(query)]) if picture else encoder.encode_text([str(query)])
    hits = opened.search(np.asarray(vector.detach()), k)
    found = [(float(score), opened.item(int(row))) for score, row in zip(hits.scores[0], hits.rows[0], strict=True)]
    talk = Talk(quiet)
    rows = [(item["path"], f"{score:.3f}") for score, item in found]
    talk.table(f"{'like ' if picture else ''}{query}", ("picture", "similarity"), rows)
    return found


def _is_picture(query: str | Path) -> bool:
    """Whether the query means a picture: an existing file, or what ends like one and looks like a path."""
    path = Path(query)
    if len(str(query)) < 4096 and "\0" not in str(query) and path.is_file():
        return True
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise DeixisError(f"There is no picture {path}.", "Check the path; words need no ending such as .jpg.")
    return False
