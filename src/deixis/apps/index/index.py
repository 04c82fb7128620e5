"""Index a collection, to be searched, and keep the index as the collection is."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor

from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import encode_source, read
from deixis.apps.common.formatting import counted
from deixis.apps.common.loading import AT, load_encoder, save_encoder, tell_weights
from deixis.apps.common.options import ComputeSettings, Reading
from deixis.apps.common.runs import free_name, opened_index, run_folder
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.index.approximate import approximate
from deixis.apps.index.dims_cost import codes_sentence, cost_sentence
from deixis.apps.index.index_diff import Changed, Item, index_diff, items_of, matching_ids
from deixis.apps.index.known_files import (
    Before,
    forget_known_files,
    known_header,
    read_known_files,
    unchanged,
    write_known_files,
)
from deixis.apps.index.settings import IndexSettings
from deixis.apps.index.unchanged_folder import folder_state, outcome_before, remember, sentence
from deixis.apps.search.copy_threshold import write_copies
from deixis.apps.search.measure_calibration import make_stale, measure_again, write_for_index
from deixis.data.readers.embedded import known_headers
from deixis.engine.export.text_graph import write_text_graph
from deixis.engine.features.calls import PartCall
from deixis.engine.features.embedding import vectors
from deixis.engine.features.image_call import image_call, same_call
from deixis.engine.features.store import FeatureStore
from deixis.engine.training import launch
from deixis.errors import DeixisError
from deixis.files import clear_partial, explained
from deixis.indexing import changes
from deixis.indexing.approximate import package
from deixis.indexing.changes import build
from deixis.indexing.directions import Storage
from deixis.indexing.index import Index
from deixis.nn.compute import current
from deixis.nn.dual import DualEncoder
from deixis.ops.collective import rank
from deixis.types import Source, place

__all__ = ["Changed", "index", "index_folder", "items_of", "remove", "update", "write_index"]

Dtype = Literal["float32", "float16", "int8"]


def write_index(
    folder: Path,
    encoder: DualEncoder | PartCall,
    vectors: Float[Tensor, "B D"],
    source: Source,
    hashes: Sequence[str],
    dtype: Dtype | Storage = "float32",
    talk: Reporter | None = None,
) -> Index:
    """Writes the images of a source, embedded by `encoder`, as an index.

    Args:
        folder: where it goes.
        encoder: that made the vectors, or the call of its states.
        vectors: one a sample.
        source: the samples.
        hashes: of the contents of their images.
        dtype: of the vectors on disk; a `Storage` says also how many numbers of each.
        talk: receives messages.
    """
    engine = encoder.engine if isinstance(encoder, PartCall) else ""
    encoder = encoder.part if isinstance(encoder, PartCall) else encoder
    made = build(
        folder,
        vectors.numpy(),
        items_of(source, hashes),
        model=encoder.name,
        fingerprint=encoder.fingerprint(),
        dtype=dtype,
        compute=current().facts | ({"engine": engine} if engine else {}),
    )
    write_text_graph(encoder, folder, None if talk is None else talk.say)
    return made


@takes_settings(reading=Reading, compute=ComputeSettings)
def index(
    data: str | Path | Source,
    out: str | Path = "deixis-index",
    model: str = "starter",
    reading: Reading | None = None,
    *,
    dtype: Dtype | Storage = "float32",
    overwrite: bool = False,
    quiet: bool = False,
) -> Index:
    """Indexes the images of DATA for search; captions and labels are carried along but not needed.

    Each image is read and decoded once. Stopped or killed, the same call goes on from there. Under `torchrun`, all
    ranks call this alike.

    Args:
        data: what `deixis.apps.common.dataset.read` takes, or a source that was read already.
        out: the folder to write, with the model in it.
        model: a name, a model folder, or a run of a method that embeds images, such as SEER; or an image tower, or
            `NAME@PLACE`. An index of a run without text, of a tower or of a place is searched by images alone.
        reading: columns and the like, where they are not to be guessed.
        dtype: of the vectors on disk; float16 takes half the room, and moves a similarity by less than 0.001; of int8
            see `IndexSettings`; a `Storage` of `deixis.indexing.directions` says also how many numbers of each.
        overwrite: replace what a run or index left at `out`.
        quiet: print nothing.

    Raises:
        DeixisError: nothing can be read, `out` is taken, the disk is full, or another rank is gone.
    """
    out = Path(out)
    with launch.ranks(), contextlib.closing(FeatureStore()) as store:
        talk = Reporter(quiet or rank() > 0)
        _reservation = free_name(out, overwrite)
        state, begun = folder_state(data), time.time_ns()
        with known_headers(lambda path: None) as headers:
            source = data if isinstance(data, Source) else read(str(data), reading)
        encoder = _model_of_pictures(model, talk)
        call = image_call(encoder, [sample.picture for sample in source.samples], store, talk.say)
        source, hashes = encode_source(call, source, store, talk)
        costs = list[str]()
        if rank() == 0:
            rows = vectors(call, hashes, store)
            with run_folder(out, overwrite) as folder:
                save_encoder(encoder.cpu(), folder / "model", model)
                made = write_index(folder / "index", call, rows, source, hashes, dtype, talk)
                write_known_files(folder / "index", source.samples, hashes, begun, headers)
                write_copies(folder / "index", encoder, made, [sample.picture for sample in source.samples], talk)
                stored = rows.numpy() if made.directions is None else made.vectors
                remark = write_for_index(folder, model, encoder, stored, source, hashes)
                if remark:
                    talk.say(remark)
                remember(Index.open(folder / "index"), folder, state, source, reading, begun)
                costs += [] if made.directions is None else [cost_sentence(made, rows.numpy(), source, encoder)]
                costs += [codes_sentence(made)] if "scan" in made.manifest else []
        talk.result(f"{counted(len(hashes), 'image')} indexed in {out}; {len(source.skipped)} skipped.")
        for each in costs:
            talk.result(each)
        words = '"words"   or a picture in place of words' if encoder.reads_text else "photo.jpg"
        talk.result(f"Search: deixis search {out} {words}")
    return Index.open(out / "index", verify=False)


def update(
    folder: str | Path,
    data: str | Path | Source,
    *,
    remove_gone: bool = False,
    reading: Reading | None = None,
    model: str = "",
    progress: Callable[[int, int], None] | None = None,
    talk: Reporter | None = None,
) -> Changed:
    """Takes into an index what is new in DATA or has changed; only that is embedded.

    Images are known by the hashes of their contents; files whose size and times are as they were are not read again
    (unless `INDEX/files.json` is removed), and a folder all of whose files are so is not looked at any further. The
    index changes in one step at the end, and can be searched all the while; stopped or killed, it is as it was, and the
    same call goes on from there. DATA need not be the one that was indexed first: an index may hold several. Under
    `torchrun`, all ranks call this alike.

    Args:
        folder: what `deixis index` or `deixis adapt` wrote.
        data: what `deixis.apps.common.dataset.read` takes, or a source that was read already.
        remove_gone: also remove what has gone from DATA, and let what was moved keep its vector.
        reading: columns and the like, where they are not to be guessed.
        model: the model that made the index, where the one in the folder can't be had.
        progress: called on the calling thread with images done and images in all; what it raises ends the update.
        talk: receives progress and messages.

    Raises:
        DeixisError: there is no such index, its model is missing or another one, or as `index`.
    """
    run, talk = Path(folder), talk or Reporter(quiet=True)
    opened, state = _opened(run), folder_state(data)
    outcome = None if model else outcome_before(opened, run, state, reading)
    if outcome is not None:
        return outcome.say(run, talk)
    encoder = _maker(run, model, opened)
    with launch.ranks(), contextlib.closing(FeatureStore()) as store:
        talk = talk if rank() == 0 else Reporter(quiet=True)
        listed, begun = read_known_files(opened.folder), time.time_ns()
        with known_headers(functools.partial(known_header, listed)) as headers:
            source = data if isinstance(data, Source) else read(str(data), reading)
        known = {str(item["hash"]): row for row, item in opened.items() if "hash" in item}
        encoder = encoder.to(launch.device())
        unread = unchanged(source.samples, listed, known)
        same = {place(source.samples[number].picture) for number in unread}
        call = same_call(encoder, opened.engine, len(source.samples) - len(unread), talk.say)
        source, hashes = encode_source(call, source, store, talk, known=known, unread=unread, progress=progress)
        latest = _opened(run)  # another process may have changed it meanwhile
        now = [item for _, item in latest.items()]
        work = index_diff(now, items_of(source, hashes), source, remove_gone=remove_gone)
        if rank() == 0:
            rows = _rows(work.items, opened, known, call, store)
            with explained(run):
                for each in (run, opened.folder):
                    clear_partial(each)  # of a killed update that had changed all it wanted to
                if work.is_new:
                    make_stale(run)
                if work.items or work.removed:
                    latest = changes.change(opened.folder, vectors=rows, items=work.items, removed=work.removed)
                    now = [item for _, item in latest.items()]
                before = Before(listed, same, (str(item["path"]) for item in now))
                write_known_files(opened.folder, source.samples, hashes, begun, headers, before)
                if not (run / "model").exists():
                    save_encoder(encoder.cpu(), run / "model", model)
                remark = measure_again(run, encoder, _opened(run))
                if remark:
                    talk.say(remark)
                if remove_gone:
                    remember(latest, run, state, source, reading, begun, work.others)
    talk.result(sentence(run, work.changed, work.others))
    return work.changed


def _rows(
    items: Sequence[Item], opened: Index, known: dict[str, int], call: PartCall, store: FeatureStore
) -> Float32[np.ndarray, "N D"]:
    """The vectors of items: from the index, where it has their content, else from the store."""
    rows = np.empty((len(items), call.part.width), np.float32)
    fresh = [i for i, item in enumerate(items) if item["hash"] not in known]
    rows[fresh] = vectors(call, [items[i]["hash"] for i in fresh], store).numpy()
    for i in set(range(len(items))).difference(fresh):
        rows[i] = opened.vector(known[items[i]["hash"]])
    return rows


def remove(folder: str | Path, names: Sequence[str | Path], *, talk: Reporter | None = None) -> Changed:
    """Takes pictures out of an index, in one step; no file of a picture is touched.

    Args:
        folder: what `deixis index` or `deixis adapt` wrote.
        names: ids or paths; a folder means all that lies in it.
        talk: receives progress and messages.

    Raises:
        DeixisError: there is no such index, or a name means nothing in it; nothing is removed then.
    """
    opened = _opened(Path(folder))
    ids = matching_ids([item for _, item in opened.items()], names)
    with explained(Path(folder)):
        changes.remove(opened.folder, ids)
    (talk or Reporter(quiet=True)).result(f"{len(ids)} removed from {folder}; {len(opened) - len(ids)} remain.")
    return Changed(removed=tuple(ids), kept=len(opened) - len(ids))


def _opened(run: Path) -> Index:
    """The index in a run folder."""
    return opened_index(run, f"Create it first: deixis index DATA --out {run}")


def _maker(run: Path, model: str, opened: Index) -> DualEncoder:
    """The model that made an index, before anything is encoded by another."""
    name, made = opened.manifest["model"], str(opened.manifest["fingerprint"])
    if not model and not (run / "model" / "config.json").is_file():
        raise DeixisError(
            f"The model {name!r} that made the index is not in {run / 'model'} any more.",
            "Copy it back, or name an identical one with --model, which is then stored there again.",
        )
    encoder = load_encoder(model or run / "model")
    if encoder.fingerprint() != made:
        raise DeixisError(
            f"The index {opened.folder} was made by the model {name!r} ({made[:12]}); {model or run / 'model'} is "
            f"another one ({encoder.fingerprint()[:12]}), whose vectors can't be compared with those in the index.",
            f"Name the model that made it with --model, or index again: deixis index DATA --out {run} --overwrite",
        )
    return encoder


def _wished(settings: IndexSettings, overwrite: bool) -> list[str]:
    """Which change of an index is requested, of which there is one at the most."""
    wished = [name for name in ("add", "update", "remove") if getattr(settings, name)]
    if len(wished) > 1 or (wished and overwrite):
        both = " and ".join(f"--{name}" for name in (*wished, *(["overwrite"] if overwrite else [])))
        raise DeixisError(f"{both} were requested.", "Choose one.")
    if settings.verify and not (settings.add or settings.update):
        raise DeixisError("--verify reads all files again in an update.", "Give it with --update or --add.")
    if settings.approximate:
        package()  # before any work
    if settings.dims and (settings.approximate or wished):
        other = "--approximate" if settings.approximate else f"--{wished[0]}"
        raise DeixisError(f"--dims is of a new index, and not of one with {other}.", "Leave one of both out.")
    if settings.at and wished:
        raise DeixisError(
            f"--at is of a new index, and not of one with --{wished[0]}.", "Leave it out; the index knows its place."
        )
    return wished


@takes_settings(settings=IndexSettings)
def index_folder(
    data: Sequence[str], out: str, settings: IndexSettings, reading: Reading, *, overwrite: bool, quiet: bool
) -> None:
    """What `deixis index` does: makes an index, or with --add, --update or --remove changes the one that is there.

    Args:
        data: what is indexed, or taken in, one after the other; several images are one; or the ids and paths to remove.
        out: the folder of the index.
        settings: which of these, and the model.
        reading: columns and the like.
        overwrite: replace what is there.
        quiet: print nothing.
    """
    wished = _wished(settings, overwrite)
    talk = Reporter(quiet)
    are_files = len(data) > 1 and all(map(os.path.isfile, data))
    sources: Sequence[str | Source] = [read(data, reading)] if are_files and not settings.remove else data
    if settings.read and not settings.remove:
        from deixis.apps.read.collection import with_words  # and scipy, which nothing else here needs

        sources = [with_words(each if isinstance(each, Source) else read(each, reading), talk) for each in sources]
    if settings.remove:
        remove(out, data, talk=talk)
    elif wished:
        if settings.verify:
            forget_known_files(_opened(Path(out)).folder)
        for each in sources:
            update(out, each, remove_gone=settings.update, reading=reading, model=settings.model, talk=talk)
    elif len(sources) == 1:
        index(
            sources[0],
            out,
            _placed(settings),
            reading,
            dtype=Storage(settings.dtype, settings.dims),
            overwrite=overwrite,
            quiet=quiet,
        )
    else:
        raise DeixisError(f"{len(sources)} collections were given.", "Index the first, then add the others with --add.")
    if settings.approximate:
        approximate(out, quiet=quiet)


def _placed(settings: IndexSettings) -> str:
    """The model that was requested, at the place that was."""
    model = settings.model or "starter"
    if settings.at and AT in model:
        raise DeixisError(f"{model} names a place already, and --at {settings.at} another.", "Leave out --at.")
    return f"{model}{AT}{settings.at}" if settings.at else model


def _model_of_pictures(model: str | os.PathLike[str], talk: Reporter) -> DualEncoder:
    """The model, on its device; what its weights are fetched from is said before."""
    tell_weights([str(model)], talk.say)
    encoder = load_encoder(model).to(launch.device())
    encoder.require_embeddings("index pictures")
    return encoder
