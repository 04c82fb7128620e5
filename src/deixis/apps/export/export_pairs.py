"""The pictures and texts on which an export is checked, and what 8 bits cost is measured."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import in_a_sentence, read
from deixis.apps.common.options import Reading
from deixis.errors import DeixisError
from deixis.indexing.index import Index
from deixis.inputs.images import ImageSource
from deixis.inputs.preprocess import Preprocess
from deixis.nn.dual import DualEncoder

__all__ = ["ExportPair", "Material", "PairLimits", "read_and_encode"]

_TEXTS = ("a red bird", "a wooden boat on a lake", "", "three people in the rain, seen from behind")


@dataclasses.dataclass(frozen=True)
class PairLimits:
    """How much is read.

    Attributes:
        tested: pairs that are checked and measured, at the most.
        calibrated: further images that ranges of 8 bits are read off, at the most.
        fewest: pairs, with fewer of which nothing is measured.
    """

    tested: int = 32
    calibrated: int = 0
    fewest: int = 0


@dataclasses.dataclass(frozen=True)
class ExportPair:
    """A picture that may be read, and its words.

    Attributes:
        id: in its collection.
        picture: where it comes from.
        text: its first caption, or its class in a sentence; empty where there is neither.
    """

    id: str
    picture: ImageSource
    text: str


@dataclasses.dataclass(frozen=True)
class Material:
    """Pictures as the model's squares, and their words.

    Attributes:
        where: they come from, in words.
        real: whether they are somebody's pictures, and not made up.
        squares: those that are tested.
        texts: of these, B.
        calibration: the other squares.
        preprocess: makes pixels of squares.
    """

    where: str
    real: bool
    squares: UInt8[Tensor, "B 3 S S"]
    texts: Sequence[str]
    calibration: UInt8[Tensor, "C 3 S S"]
    preprocess: Preprocess

    def pixels(self, squares: UInt8[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 S S"]:
        """Squares as the image tower takes them."""
        return self.preprocess.normalise(squares)

    @property
    def keys(self) -> Int64[Tensor, " B"]:
        """Equal for equal texts."""
        numbers = {text: number for number, text in enumerate(dict.fromkeys(self.texts))}
        return torch.tensor([numbers[text] for text in self.texts], dtype=torch.long)


def read_and_encode(
    run: Path, data: str, encoder: DualEncoder, wanted: PairLimits, talk: Reporter, reading: Reading | None = None
) -> Material:
    """Reads pictures of DATA, where given, else of the run's own index: those of its first split's test side.

    Where there is no picture to be had and nothing is to be measured, a few are made up.

    Args:
        run: the folder of a run or index, or anything else.
        data: what `deixis.apps.common.dataset.read` takes; empty: the run's own.
        encoder: whose squares are wanted.
        wanted: how many.
        talk: where progress goes.
        reading: columns and the like of `data`.

    Raises:
        DeixisError: fewer pairs than `wanted.fewest` can be read.
    """
    tested, others, where = _of_data(data, reading) if data else _of_run(run)
    measured = wanted.fewest > 0
    with talk.step("read"), talk.bar("read images") as bar:
        squares, texts = _read([each for each in tested if each.text or not measured], encoder, wanted.tested, bar)
        calibration, _ = _read(others, encoder, wanted.calibrated, bar)
    if len(texts) < wanted.fewest or (wanted.calibrated and not len(calibration)):
        raise DeixisError(
            f"8 bits cost something, and there is too little to measure it on: {len(texts)} captioned images that can "
            f"be read ({where}).",
            f"Give {2 * wanted.fewest} or more with --data, or leave --int8 out.",
        )
    real = len(squares) > 0
    if not real:
        squares, where = _made_up(encoder), f"made-up pictures ({where})"
    return Material(where, real, squares, texts if any(texts) else _TEXTS, calibration, encoder.preprocess)


def _of_data(data: str, reading: Reading | None) -> tuple[list[ExportPair], list[ExportPair], str]:
    source = read(data, reading)
    entries = [ExportPair(each.id, each.picture, _text(list(each.captions), each.label)) for each in source.samples]
    tested, others = _halves(entries)
    return tested, others, f"a half of {source.name}, drawn at random"


def _of_run(run: Path) -> tuple[list[ExportPair], list[ExportPair], str]:
    """Of the index of a run: the test side of its first split, and the others; or two random halves."""
    if not (run / "index").is_dir():
        return [], [], "no index of pictures"
    opened = Index.open(run / "index", verify=False)
    items = [item for _, item in opened.items()]
    entries = [
        ExportPair(str(item["id"]), Path(str(item["path"])), _text(item.get("captions") or [], item.get("label")))
        for item in items
        if Path(str(item["path"])).is_file()
    ]
    if not entries:
        return [], [], f"the pictures of {run.name} are not where they were"
    test_ids = _test_queries(run / "split-0" / "result.json")
    if not test_ids:
        return *_halves(entries), f"a half of the pictures of {run.name}, drawn at random"
    tested = [each for each in entries if each.id in test_ids]
    others = [each for each in entries if each.id not in test_ids]
    return _shuffled(tested), _shuffled(others), f"the test pairs of the first split of {run.name}"


def _test_queries(path: Path) -> set[str]:
    """Ids of the test samples of a split; none where the run has none."""
    try:
        return set(json.loads(path.read_text(encoding="utf-8"))["split"]["test"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _text(captions: Sequence[Any], label: Any) -> str:
    if captions:
        return str(captions[0])
    return in_a_sentence(str(label)) if label else ""


def _shuffled(entries: Sequence[ExportPair]) -> list[ExportPair]:
    return random.Random(0).sample(sorted(entries, key=lambda each: each.id), len(entries))


def _halves(entries: Sequence[ExportPair]) -> tuple[list[ExportPair], list[ExportPair]]:
    mixed = _shuffled(entries)
    half = -(-len(mixed) // 2)
    return mixed[:half], mixed[half:]


def _read(
    entries: Sequence[ExportPair], encoder: DualEncoder, most: int, bar: Any
) -> tuple[UInt8[Tensor, "B 3 S S"], list[str]]:
    """The first `most` that can be read."""
    squares: list[Tensor] = []
    texts: list[str] = []
    side = encoder.preprocess.size
    for entry in entries:
        if len(texts) == most:
            break
        try:
            squares.append(encoder.preprocess.square(entry.picture))
        except DeixisError:  # the run has reported it
            continue
        texts.append(entry.text)
        bar(len(texts), min(most, len(entries)))
    return torch.stack(squares) if squares else torch.empty(0, 3, side, side, dtype=torch.uint8), texts


def _made_up(encoder: DualEncoder) -> UInt8[Tensor, "B 3 S S"]:
    """Ramps of colour with noise."""
    side, generator = encoder.preprocess.size, torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 200, side)
    plain = torch.stack([ramp.expand(side, side), ramp[:, None].expand(side, side), ramp.flip(0).expand(side, side)])
    noise = torch.rand(len(_TEXTS), 3, side, side, generator=generator) * 55
    return (plain + noise).to(torch.uint8)
