"""Predictions on the terminal, in a csv, as a picture, or as a folder of both."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from deixis.apps.common.console import Reporter
from deixis.apps.common.formatting import counted
from deixis.apps.common.options import Reading
from deixis.apps.common.runs import run_folder, writable
from deixis.apps.label.cells import harmless
from deixis.apps.predict.capable import open_method
from deixis.apps.predict.pictures import BatchPredictor, Named, Prediction, pictures_of, predict
from deixis.apps.predict.settings import PredictOutput, PredictSettings
from deixis.errors import DeixisError
from deixis.files import atomic_path, explained
from deixis.types import Detections, Segments
from deixis.types.detections import coco_json
from deixis.types.protocols import AnyMethod
from deixis.types.segments import joined_coco

__all__ = ["Predictions", "predict_data", "predict_with", "saving", "write_predictions"]

_TABLE, _LABELS = "predictions.csv", "-labels.png"
_FEW = 3
"""Pictures that were skipped and are named."""

Save = Callable[[Prediction], None]
Predictions = Callable[[list[Named], Callable[[str, DeixisError], None]], Iterable[Prediction]]


def predict_data(
    capability: str,
    data: str,
    caller: Callable[[Any], BatchPredictor],
    settings: PredictSettings,
    output: PredictOutput,
    reading: Reading,
) -> int:
    """Runs a method over DATA and prints or writes what it predicts.

    Args:
        capability: that the method must offer.
        data: a picture, or a collection.
        caller: of the method, what calls it on a batch.
        settings: model, device, batch and precision.
        output: files, or the terminal.
        reading: columns and the like.

    Returns:
        How many pictures were predicted.

    Raises:
        DeixisError: the model does not offer the capability, nothing can be read, or `out` can't be written.
    """
    with settings.active():
        method = open_method(settings.model, capability)
        return predict_with(method, data, caller(method), output, reading)


def predict_with(
    method: AnyMethod,
    data: str,
    run: BatchPredictor,
    output: PredictOutput,
    reading: Reading,
    *,
    beside: Sequence[str] = (),
) -> int:
    """The same with a method that is open, on the device where it computes.

    Args:
        method: makes the predictions.
        data: as for `predict_data`.
        run: calls the method on a batch.
        output: as for `predict_data`.
        reading: as for `predict_data`.
        beside: of a single picture and without `out`: ends of the names of files in the working folder; a label map
            has the end `-labels.png`.

    Returns:
        How many pictures were predicted.

    Raises:
        DeixisError: nothing can be read, or `out` can't be written.
    """
    return write_predictions(data, lambda pictures, skip: predict(method, pictures, run, skip), output, reading, beside)


def write_predictions(
    data: str, predictions: Predictions, output: PredictOutput, reading: Reading, beside: Sequence[str] = ()
) -> int:
    """Prints or writes what is made of the pictures of DATA, one by one.

    Args:
        data: as for `predict_data`.
        predictions: of the pictures, in order; calls what it is given with each picture that can't be read.
        output: as for `predict_data`.
        reading: as for `predict_data`.
        beside: as for `predict_with`.

    Returns:
        How many pictures were predicted.

    Raises:
        DeixisError: nothing can be read, or `out` can't be written.
    """
    talk, pictures = Reporter(output.quiet), pictures_of(data, reading)
    own = bool(beside) and not output.out and len(pictures) == 1  # names of our own, which may be replaced
    outs = [f"{Path(pictures[0][0]).stem}{end}" for end in beside] if own else [output.out] if output.out else []
    skipped: list[str] = []

    def skip(path: str, error: DeixisError) -> None:
        skipped.append(path)
        if len(pictures) == 1:
            raise error

    done = 0
    with contextlib.ExitStack() as stack, talk.bar("predict") as bar:
        savers = [stack.enter_context(saving(out, len(pictures), own or output.overwrite)) for out in outs]
        for prediction in predictions(pictures, skip):
            for save in savers:
                save(prediction)
            done += 1
            bar(done + len(skipped), len(pictures))
            if not outs or len(pictures) == 1:
                for line in prediction.lines():
                    talk.result(f"{prediction.path}: {line}")
        if not done:
            raise DeixisError(
                f"None of the {len(pictures)} pictures of {data} can be read.", "`deixis check` says why."
            )
    if skipped:
        named = ", ".join(skipped[:_FEW]) + ", ..." * (len(skipped) > _FEW)
        talk.say(f"{len(skipped)} of {len(pictures)} pictures can't be read and are skipped: {named}")
    if outs:
        talk.result(f"{counted(done, 'picture')}: {' and '.join(outs)} written.")
    return done


@contextlib.contextmanager
def saving(out: str, count: int, overwrite: bool = False) -> Iterator[Save]:
    """Yields what takes each prediction; `out` is there in the end, whole, or not at all.

    Args:
        out: a file (.csv, .png of one picture, .json of boxes), or a folder.
        count: pictures.
        overwrite: replace what is there.

    Raises:
        DeixisError: `out` is taken, can't be written, or does not suit so many pictures.
    """
    path = Path(out)
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".png", ".json"):
        with run_folder(path, overwrite) as folder, _rows(folder / _TABLE) as write:
            yield _into_folder(folder, write)
        return
    if suffix == ".png" and count > 1:
        raise DeixisError(f"{out} is one picture, and DATA has {count}.", "Give --out a folder, or a .csv.")
    with _file(path, overwrite) as temporary:
        if suffix == ".png":
            label_map = path.name.endswith(_LABELS)
            yield lambda prediction: _picture(prediction, label_map).save(temporary, "PNG")
        elif suffix == ".csv":
            with _rows(temporary) as write:
                yield lambda prediction: write(prediction.path, prediction.rows())
        else:
            rest: list[Detections | dict[str, Any]] = []
            yield lambda prediction: rest.append(_without_picture(prediction, out))
            boxes = [each for each in rest if isinstance(each, Detections)]
            content = coco_json(boxes) if boxes or not rest else joined_coco([e for e in rest if isinstance(e, dict)])
            temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def _picture(prediction: Prediction, label_map: bool) -> Image.Image:
    drawn = prediction.label_map() if label_map else None
    return prediction.overlay() if drawn is None else drawn


def _without_picture(prediction: Prediction, out: str) -> Detections | dict[str, Any]:
    """Boxes alone, or run lengths: thousands of them may wait to be written."""
    if isinstance(prediction, Segments):
        return prediction.to_coco()
    if not isinstance(prediction, Detections):
        raise DeixisError(f"{out} would hold boxes, and there are none.", "Give --out a .csv, or a folder.")
    return dataclasses.replace(prediction, picture=None, masks=None)


@contextlib.contextmanager
def _file(path: Path, overwrite: bool) -> Iterator[Path]:
    if path.is_dir():
        raise DeixisError(f"{path} is a folder.", "Choose another --out.")
    if path.exists() and not overwrite:
        raise DeixisError(f"There is {path} already.", "Choose another --out, or replace it with --overwrite.")
    writable(path)
    with explained(path), atomic_path(path) as temporary:
        yield temporary


@contextlib.contextmanager
def _rows(path: Path) -> Iterator[Callable[[str, Iterable[dict[str, Any]]], None]]:
    """Yields what writes the rows of a picture; the columns are those of the first row."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writers: list[csv.DictWriter[str]] = []

        def write(picture: str, rows: Iterable[dict[str, Any]]) -> None:
            for row in rows:
                if not writers:
                    writers.append(csv.DictWriter(file, ["path", *row]))
                    writers[0].writeheader()
                cells = {"path": picture, **row}
                writers[0].writerow({k: harmless(v) if isinstance(v, str) else v for k, v in cells.items()})

        yield write


def _into_folder(folder: Path, write: Callable[[str, Iterable[dict[str, Any]]], None]) -> Save:
    """Rows into the csv, overlays into `pictures`, numbers of classes into `labels`."""
    taken: set[str] = set()

    def save(prediction: Prediction) -> None:
        name = _free_name(prediction.path, taken)
        for inside, picture in (("pictures", prediction.overlay()), ("labels", prediction.label_map())):
            if picture is not None:
                (folder / inside).mkdir(exist_ok=True)
                picture.save(folder / inside / name, "PNG")
        write(prediction.path, ({**row, "picture": f"pictures/{name}"} for row in prediction.rows()))

    return save


def _free_name(path: str, taken: set[str]) -> str:
    """The name of a PNG file for a picture that may lie anywhere; different ones for different pictures."""
    stem = re.sub(r"[^\w.-]+", "-", Path(path).stem).strip("-.")[:100] or "picture"
    name, number = f"{stem}.png", 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}.png"
    taken.add(name)
    return name
