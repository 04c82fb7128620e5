"""Race `decode`: JPEG files to normalised float32 batches of 224 x 224 pixels, as image towers take them, on 2 cores.

`ours` is the loader with two threads, and the preprocessing of open_clip but that large JPEGs are decoded at a reduced
scale. `torch` is a DataLoader with two workers over torchvision's ImageFolder, which opens by Pillow, with open_clip's
own transform. `open_clip` is that transform in two threads. `webdataset` reads the same files from two tar shards,
decoded by its "pil" and transformed by the same, in a DataLoader with two workers. Workers live on from pass to pass.
`limit` is libjpeg alone, as Pillow calls it: the same files decoded in two threads, at the scale that ours takes, and
thrown away.

The pictures are made here: colours from coarse to fine, shapes with sharp edges, and noise such that a pixel takes
about as many bytes as in a photograph. Before anything is timed, all sides must give the same values for every file:
the peers to the bit, and ours within the bound that stands in the case's name, which is on the mean over a file, in
steps of 1 / 255. Where nothing is reduced it is 0.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from bench.rows import LIMIT, RESULTS, Race, Timings, append_row, environment, limit_row, make_row
from deixis.data.loading.collate import Collate
from deixis.data.loading.loader import Loader
from deixis.data.loading.sampler import SampleOrder
from deixis.inputs.preprocess import Preprocess
from deixis.types import FieldSpec, Sample, Source

__all__ = ["CASES", "PEERS", "RACE", "SIDES", "Case", "encode", "furthest", "limit", "main", "write"]

RACE = Race(
    measures="JPEG files to float32 batches of 224 pixels",
    peers=("torch", "open_clip", "webdataset", "limit"),
    equal="the values of every file: of peers to the bit, ours within the bound in the case's name",
)

THREADS, BATCH, DISTINCT = 2, 16, 4
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PLAN = Preprocess(224, "crop", "bicubic", MEAN, STD)

Pass = Callable[[], Iterator[tuple[Sequence[str], Tensor]]]
"""One pass over all files: their names and the values [B, 3, 224, 224] of each batch."""


class Case(NamedTuple):
    """The size of the pictures, how many files there are, and how far ours may be off on average, in 1 / 255."""

    width: int
    height: int
    files: int
    bound: float


CASES = {
    "500x375, equal": Case(500, 375, 512, 0.0),
    "1600x1200, within 0.5 of 255": Case(1600, 1200, 192, 0.5),
    "4032x3024, within 0.5 of 255": Case(4032, 3024, 64, 0.5),
}


def encode(width: int, height: int, seed: int) -> bytes:
    """A JPEG of quality 90 that is as heavy as a photograph."""
    rng = np.random.default_rng(seed)
    values = rng.normal(128, 5, (height, width, 1)).astype(np.float32).repeat(3, axis=2)
    for cells, strength in ((3, 80), (12, 50), (50, 30), (200, 20)):
        coarse = Image.fromarray(rng.integers(0, 256, (max(1, cells * height // width), cells, 3), dtype=np.uint8))
        smooth = coarse.resize((width, height), Image.Resampling.BICUBIC)
        values += (np.asarray(smooth, np.float32) - 128) * (strength / 128)
    picture = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y, side = (
            int(rng.integers(low, high)) for low, high in ((0, width), (0, height), (width // 50, width // 8))
        )
        red, green, blue, corners = (int(rng.integers(low, high)) for low, high in ((0, 256),) * 3 + ((3, 9),))
        draw.regular_polygon((x, y, max(1, side)), corners, fill=(red, green, blue))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def write(case: Case, folder: Path) -> None:
    """Writes the files of a case into `files/all`, in one class, and into two tar shards."""
    files = folder / "files" / "all"
    files.mkdir(parents=True)
    contents = [encode(case.width, case.height, seed) for seed in range(min(DISTINCT, case.files))]
    for number in range(case.files):
        (files / f"{number:05}.jpg").write_bytes(contents[number % len(contents)])
    paths = sorted(files.iterdir())
    for shard in range(THREADS):
        with tarfile.open(folder / f"{shard:04}.tar", "w") as archive:
            for path in paths[shard::THREADS]:
                archive.add(path, path.name)


def _ours(folder: Path) -> Pass:
    paths = sorted(folder.glob("files/all/*.jpg"))
    source = Source("pictures", folder, "folder", "files", tuple(Sample(path.stem, path) for path in paths))
    collate = Collate(source, (FieldSpec("images", "B 3 H W"),), PLAN)
    loader = Loader(source, collate, SampleOrder(BATCH, shuffle=False, last="keep"), workers=THREADS)

    def once() -> Iterator[tuple[Sequence[str], Tensor]]:
        for batch in loader:
            assert batch.images is not None
            yield batch.ids, batch.images

    return once


def _transform() -> Callable[[Image.Image], Tensor]:
    from open_clip.transform import image_transform

    return image_transform(PLAN.size, is_train=False, mean=MEAN, std=STD)


def _torch(folder: Path) -> Pass:
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    files = ImageFolder(str(folder / "files"), _transform())
    loader = DataLoader(files, BATCH, num_workers=THREADS, persistent_workers=True)
    names = [Path(path).stem for path, _ in files.samples]

    def once() -> Iterator[tuple[Sequence[str], Tensor]]:
        for start, (images, _) in zip(range(0, len(names), BATCH), loader, strict=True):
            yield names[start : start + BATCH], images

    return once


def _open_clip(folder: Path) -> Pass:
    paths, transform = sorted(folder.glob("files/all/*.jpg")), _transform()
    pool = ThreadPoolExecutor(THREADS)

    def read(path: Path) -> Tensor:
        with Image.open(path) as picture:
            return transform(picture)

    def once() -> Iterator[tuple[Sequence[str], Tensor]]:
        found = pool.map(read, paths)
        for start in range(0, len(paths), BATCH):
            some = paths[start : start + BATCH]
            yield [path.stem for path in some], torch.stack([next(found) for _ in some])

    return once


def _webdataset(folder: Path) -> Pass:
    import webdataset
    from torch.utils.data import DataLoader

    shards = sorted(str(path) for path in folder.glob("*.tar"))
    samples = webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("__key__", "jpg")
    batches = samples.map_tuple(None, _transform()).batched(BATCH)
    loader = DataLoader(batches, batch_size=None, num_workers=THREADS, persistent_workers=True)
    return lambda: iter(loader)


SIDES: dict[str, Callable[[Path], Pass]] = {
    "ours": _ours,
    "torch": _torch,
    "open_clip": _open_clip,
    "webdataset": _webdataset,
}
PEERS = {"torch": "torch", "open_clip": "open_clip_torch", "webdataset": "webdataset"}
"""Of each other side: the package whose version is told."""


def furthest(one: Pass, other: Pass) -> float:
    """The mean difference of two sides' values for a file, in 1 / 255, of the file where it is largest."""
    std = torch.tensor(STD)[:, None, None]
    theirs = _rows(other)
    ours = _rows(one)
    if ours.keys() != theirs.keys():
        raise SystemExit(f"one side gives {len(ours)} files and the other {len(theirs)}, or they are others")
    return max(float(((row - theirs[name]) * std).abs().mean()) * 255 for name, row in ours.items())


def _rows(side: Pass) -> dict[str, Tensor]:
    return {name: row for names, images in side() for name, row in zip(names, images, strict=True)}


def _rate(side: Pass, files: int) -> float:
    """Images a second of one pass."""
    start = time.perf_counter()
    count = sum(len(images) for _, images in side())
    if count != files:
        raise SystemExit(f"a pass over {files} files gave {count} images")
    return files / (time.perf_counter() - start)


def limit(folder: Path, files: int) -> float:
    """Images a second that are only decoded."""

    def decode(path: Path) -> int:
        with Image.open(path) as picture:
            picture.draft(None, (least, least))  # type: ignore[arg-type]
            picture.load()
            return min(picture.size)

    paths, least = sorted(folder.glob("files/all/*.jpg")), PLAN.smallest or 0
    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        if min(pool.map(decode, paths)) < PLAN.size or len(paths) != files:
            raise SystemExit(f"{len(paths)} files were decoded, or too small, and {files} are there")
    return files / (time.perf_counter() - start)


def _race(name: str, repeats: int, results: Path) -> None:
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        write(case, Path(folder))
        sides = {side: make(Path(folder)) for side, make in SIDES.items()}
        for peer in PEERS:  # this warms up, too
            bounds = {"ours": case.bound, "torch": 0.0}
            off = {side: furthest(sides[side], sides[peer]) for side in bounds}
            if any(off[side] > bound for side, bound in bounds.items()):
                raise SystemExit(f"{name}: from {peer} differ {off}, and {bounds} is allowed")
        limit(Path(folder), case.files)
        rates: dict[str, list[float]] = {side: [] for side in (*SIDES, LIMIT)}
        for _ in range(repeats):
            for side, each in sides.items():
                rates[side].append(_rate(each, case.files))
            rates[LIMIT].append(limit(Path(folder), case.files))
        sides.clear()
    for peer, package in PEERS.items():
        told = {"race": "decode", "case": name, "peer": peer, "peer_version": importlib.metadata.version(package)}
        timings = Timings(rates["ours"], rates[peer])
        append_row(make_row(told, timings, unit="images/s", equal=True, surroundings=environment(THREADS)), results)
    timings, told = Timings(rates["ours"], rates[LIMIT]), {"unit": "images/s", "package": "pillow"}
    append_row(limit_row("decode", name, timings, **told, surroundings=environment(THREADS)), results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends four rows a case."""
    parser = argparse.ArgumentParser(prog="python -m bench.decode", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="passes a side (default 7)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    for name in chosen.cases:
        _race(name, chosen.repeats, chosen.results)


if __name__ == "__main__":
    main()
