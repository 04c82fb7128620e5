"""Encoders of images beside each other, by every protocol that needs no words: `python -m bench.encoders_rows`.

What costs nothing stands beside the starter: its features whitened, an untrained network, a perceptual hash, pixels.
Towers that were trained on a set are added with `--encoders my-name=RUN --only stamps`, those of SEER and PixPro by
`python -m bench.trained_encoders_rows`. Each is compared with the starter on the same queries; rows are added to
results/encoders.jsonl, and what has a row is left out, so that a run can be stopped and goes on.

`--at all` measures each encoder and each of its places by the linear classifier, and rows say how well it explained
validation images; `--at PLACE`, or NAME=RUN@PLACE, measures one place.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench.rows import ROOT, environment
from deixis.apps.eval.encoders import at_places
from deixis.apps.eval.evaluate import evaluate
from deixis.apps.eval.settings import EvalSettings
from deixis.data import catalogue
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.engine.evaluation.data import EvalData, EvalSet, missing_fields
from deixis.engine.evaluation.protocols import read_protocol
from deixis.errors import DeixisError
from deixis.types import Source

__all__ = [
    "ENCODERS",
    "RESULTS",
    "SETS",
    "EncoderJob",
    "add_rows",
    "allowed",
    "jobs",
    "main",
    "result_rows",
    "with_places",
]

RESULTS = ROOT / "results" / "encoders.jsonl"
FIRST = "starter"
ENCODERS = (FIRST, "starter+whiten", "scratch:resnet", "phash", "pixels")

_LABELLED, _COPIES, _PLACES = ("knn", "linear", "identity"), ("copies", "corruption"), ("dense", "detect", "patches")
_AT = ("linear",)
"""By which places are compared."""

_FEW = 100
"""Images that are altered: each protocol that alters images reads them 9 or 36 times."""

_SCENES = 400


class EncoderJob(NamedTuple):
    """What is measured in one go.

    Attributes:
        data: name of the set.
        protocols: with the same limit.
        limit: the most images; 0: all, or the protocol's own number.
    """

    data: str
    protocols: tuple[str, ...]
    limit: int


def _shapes() -> Source:
    """Scenes of large shapes, in which colours alone do not tell what a thing is."""
    config = SceneConfig(cast="shapes", objects=(1, 3), repeats=1, tinted=1.0, phrases=0, questions=0, scale=2.0)
    return scenes(0, _SCENES, side=128, config=config)


SETS: Mapping[str, Callable[[], Source]] = {
    **{name: functools.partial(catalogue.read, name) for name in ("stamps", "art4apps", "clipart", "gcompris")},
    "fashion": functools.partial(catalogue.read, "fashion/test"),
    "emoji-tones": functools.partial(catalogue.read, "emoji-tones"),
    "shapes": _shapes,
}
"""Name in rows -> how it is read."""


def jobs() -> list[EncoderJob]:
    """All of them, those that read each image once first; of each what the set's fields allow is measured."""
    photos = [name for name in SETS if name not in ("emoji-tones", "shapes")]
    return [
        *(EncoderJob(name, _LABELLED, 3000 if name == "fashion" else 0) for name in photos),
        EncoderJob("emoji-tones", ("knn", "linear", "fairness"), 0),
        EncoderJob("shapes", _PLACES, 0),
        *(EncoderJob(name, (protocol,), _FEW) for protocol in _COPIES for name in photos),
    ]


def result_rows(result: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The rows of a `result.json`: of the first metric all conditions, of the others the first.

    Args:
        result: what `evaluate` returned.
        names: encoder, as it was given -> its name in rows.
    """
    results = result["results"] if "results" in result else {result["protocol"]: result}
    for protocol, found in results.items():
        main = read_protocol(protocol).metrics[0].name
        changes = {_place(each): each for each in found["differences"]}
        first: dict[tuple[str, str], str] = {}
        for row in found["rows"]:
            model, condition = row["model"], row.get("condition", "")
            overall = first.setdefault((model, row["metric"]), condition)
            if model not in names or (row["metric"] != main and condition != overall):
                continue
            kept = {"protocol": protocol, "encoder": names[model], "metric": row["metric"], "condition": condition}
            kept |= {key: row[key] for key in ("value", "low", "high", "queries", "concepts")}
            if (change := changes.get(_place(row))) is not None:
                kept["difference"] = [change["value"], change["low"], change["high"]]
            facts = found["models"][model]
            if row["metric"] == main and "validation_loss" in facts:
                kept["validation_loss"] = min(facts["validation_loss"].values())
            yield kept | {"seconds_per_image": facts["seconds_per_image"]}


def with_places(encoders: Mapping[str, str], at: str) -> dict[str, str]:
    """Encoders at a place, or, by `all`, followed by themselves at each of their places.

    Args:
        encoders: name in rows -> what the encoder is called, or its folder.
        at: see `at_places`; empty: the encoders as they are.
    """
    return {f"{name}{each[len(path) :]}": each for name, path in encoders.items() for each in at_places((path,), at)}


def allowed(source: Source, protocols: Sequence[str]) -> list[str]:
    """The protocols whose fields the data have.

    Args:
        source: the data.
        protocols: names.
    """

    def check(some: Source) -> EvalSet:
        raise AssertionError("no image is read to know the fields")

    data = EvalData(source, check)
    return [name for name in protocols if not missing_fields(data, read_protocol(name).fields)]


def _place(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["model"], row["metric"], row.get("condition", "")


def add_rows(
    source: Source,
    job: EncoderJob,
    encoders: Mapping[str, str],
    results: Path = RESULTS,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Measures some encoders, and the first one for comparison; rows are added for those that are requested. A
    protocol that the data turn out not to fit is left out, and said.

    Args:
        source: the images.
        job: what is measured.
        encoders: name in rows -> what the encoder is called, or its folder.
        results: where rows are added.
        more: what each row says further.
    """
    given = {path: name for name, path in encoders.items()}
    settings = EvalSettings(protocol=job.protocols, encoders=tuple(dict.fromkeys([FIRST, *given])), limit=job.limit)
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = evaluate(source, Path(folder, "out"), settings, quiet=True)
        except DeixisError as error:
            if len(job.protocols) == 1:
                print(f"{job.data}: {job.protocols[0]} is left out: {error}", flush=True)
                return
            for protocol in job.protocols:
                add_rows(source, job._replace(protocols=(protocol,)), encoders, results, more)
            return
    shared, surroundings = {"data": job.data, "limit": job.limit}, environment(torch.get_num_threads())
    with open(results, "a", encoding="utf-8") as file:
        for row in result_rows(result, given):
            file.write(json.dumps({**shared, **row, **(more or {}), **surroundings}, ensure_ascii=False) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Adds the rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="*", default=ENCODERS, help="NAME, or NAME=RUN for a folder")
    parser.add_argument("--only", nargs="*", default=tuple(SETS), help="names of sets")
    parser.add_argument("--protocols", nargs="*", default=(), help="by default all that apply; of places: linear")
    parser.add_argument("--at", default="", help="all, for a row for each place of each encoder, or a place")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    encoders = {each.partition("=")[0]: each.partition("=")[2] or each for each in options.encoders}
    encoders, chosen = with_places(encoders, options.at), options.protocols or (_AT if options.at else ())
    lines = options.results.read_text(encoding="utf-8").splitlines() if options.results.is_file() else []
    done = {
        (row["data"], row["protocol"], row["encoder"])
        for row in map(json.loads, lines)
        # Places are compared on validation images, of which rows of before say nothing.
        if not options.at or row["protocol"] not in _AT or "validation_loss" in row
    }
    for job in jobs():
        wanted = [each for each in job.protocols if each in (chosen or job.protocols)]
        if job.data not in options.only or not wanted:
            continue
        source = SETS[job.data]()
        missing: dict[tuple[str, ...], list[str]] = {}
        for protocol in allowed(source, wanted):
            todo = tuple(name for name in encoders if (job.data, protocol, name) not in done)
            if todo:
                missing.setdefault(todo, []).append(protocol)
        for todo, protocols in missing.items():
            print(f"{job.data}: {', '.join(protocols)} of {', '.join(todo)}", flush=True)
            part = job._replace(protocols=tuple(protocols))
            add_rows(source, part, {name: encoders[name] for name in todo}, options.results)


if __name__ == "__main__":
    main()
