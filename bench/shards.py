"""Race `shards`: training batches of normalised 224 pixels from packed tar shards, in random order, on 2 cores.

`ours` is the loader with two threads, over shards that `deixis.data.writers.pack` wrote. `webdataset` reads the same
shards in a WebLoader with two workers, shards and a buffer of samples shuffled. `torch` is a DataLoader with two
workers over torchvision's ImageFolder, shuffled, on the files that were packed. All sides preprocess as open_clip does;
before anything is timed they must give the same files with the same values, to the bit.

Two things are measured. `epoch` is images a second of a whole pass, workers being started by each. `resume` is the
seconds until the first batch when a run goes on at 90 % of an epoch, from the listing of the data on. There the peers
are helped as far as they can be: webdataset is not asked to shuffle samples, and leaves out what was seen before it is
decoded; torch gets the rest of a seeded permutation for a sampler, and so reads nothing again either. With ten times as
many samples each side lists ten times as much: ours one index a shard, torch the folder, webdataset the tars up to
where it goes on.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bench.decode import MEAN, PLAN, STD, encode
from bench.rows import RESULTS, Race, Timings, append_row, environment, make_row
from deixis.data.loading.collate import Collate
from deixis.data.loading.loader import Loader
from deixis.data.loading.sampler import SampleOrder
from deixis.data.readers.formats.shards import read_shards
from deixis.data.writers.pack import pack
from deixis.types import FieldSpec, Sample, Source

__all__ = ["CASES", "RACE", "SIDES", "Case", "epoch", "first", "main", "same", "write"]

RACE = Race(
    measures="Training batches from tar shards, in random order",
    peers=("webdataset", "torch"),
    equal="the files and their values, to the bit",
)

THREADS, BATCH, DISTINCT, SHARDS, BUFFER = 2, 32, 64, 8, 1000
PEERS = ("webdataset", "torch")
SHARE = 0.9
"""Of an epoch, what was seen before a run goes on."""

Batches = Iterator[tuple[Sequence[str], Tensor]]
"""Names and values [B, 3, 224, 224]."""


class Case(NamedTuple):
    """The size of the pictures, how many files there are, and what is measured."""

    width: int
    height: int
    files: int
    resume: bool


CASES = {
    "epoch, 1,024 of 500x375": Case(500, 375, 1024, False),
    "resume at 90 % of 10,000 of 500x375": Case(500, 375, 10_000, True),
    "resume at 90 % of 10,000 of 64x48": Case(64, 48, 10_000, True),
    "resume at 90 % of 100,000 of 64x48": Case(64, 48, 100_000, True),
}


def write(case: Case, folder: Path) -> None:
    """Writes the files of a case into `files/all`, in one class, and packs them into `shards`."""
    files = folder / "files" / "all"
    files.mkdir(parents=True)
    contents = [encode(case.width, case.height, seed) for seed in range(min(DISTINCT, case.files))]
    for number in range(case.files):
        # The names are the keys that packing gives.
        (files / f"{number:09}.jpg").write_bytes(contents[number % len(contents)])
    samples = tuple(Sample(path.stem, path) for path in sorted(files.iterdir()))
    source = Source("pictures", files, "images", "files", samples)
    pack(source, folder / "shards", samples_per_shard=-(-case.files // SHARDS))


def _shards(folder: Path) -> list[Path]:
    return sorted((folder / "shards").glob("*.tar"))


def _ours(folder: Path, done: int) -> Batches:
    source = read_shards(_shards(folder))
    collate = Collate(source, (FieldSpec("images", "B 3 H W"),), PLAN)
    with Loader(source, collate, SampleOrder(BATCH, seed=1, window=BUFFER, last="keep"), workers=THREADS) as loader:
        loader.load_state({**loader.state(), "position": done})
        for batch in loader:
            assert batch.images is not None
            yield [name.rpartition("/")[2] for name in batch.ids], batch.images


def _transform() -> Callable[..., Tensor]:
    from open_clip.transform import image_transform

    return image_transform(PLAN.size, is_train=False, mean=MEAN, std=STD)


def _webdataset(folder: Path, done: int) -> Batches:
    import webdataset

    names = [str(path) for path in _shards(folder)]
    data = webdataset.WebDataset(names, shardshuffle=SHARDS, detshuffle=True, seed=1)
    data = data.slice(done * BATCH // THREADS, None) if done else data.shuffle(BUFFER)
    data = data.decode("pil").to_tuple("__key__", "jpg").map_tuple(None, _transform()).batched(BATCH)
    return iter(webdataset.WebLoader(data, batch_size=None, num_workers=THREADS))


def _torch(folder: Path, done: int) -> Batches:
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    files = ImageFolder(str(folder / "files"), _transform())
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(1)).tolist()[done * BATCH :]
    loader = DataLoader(files, BATCH, sampler=order, num_workers=THREADS)
    for start, (images, _) in zip(range(0, len(order), BATCH), loader, strict=True):
        yield [Path(files.samples[i][0]).stem for i in order[start : start + BATCH]], images


SIDES: dict[str, Callable[[Path, int], Batches]] = {"ours": _ours, "webdataset": _webdataset, "torch": _torch}


def same(folder: Path) -> bool:
    """Whether all sides give each file once, with values that are equal to the bit."""
    found = [
        [(name, row) for names, images in side(folder, 0) for name, row in zip(names, images, strict=True)]
        for side in SIDES.values()
    ]
    rows = [dict(each) for each in found]
    once = all(len(each) == len(row) for each, row in zip(found, rows, strict=True))
    alike = all(each.keys() == rows[0].keys() for each in rows)
    return once and alike and all(torch.equal(row, each[name]) for each in rows for name, row in rows[0].items())


def epoch(side: str, folder: Path, files: int) -> float:
    """Images a second of one pass."""
    start = time.perf_counter()
    count = sum(len(names) for names, _ in SIDES[side](folder, 0))
    if count != files:
        raise SystemExit(f"a pass of {side} over {files} files gave {count}")
    return files / (time.perf_counter() - start)


def first(side: str, folder: Path, files: int) -> float:
    """Seconds until the first batch at 90 % of an epoch."""
    start = time.perf_counter()
    batches = SIDES[side](folder, int(SHARE * files / BATCH))
    next(batches)
    return time.perf_counter() - start


def _race(name: str, repeats: int, results: Path) -> None:
    case = CASES[name]
    measure, unit = (first, "s") if case.resume else (epoch, "images/s")
    with tempfile.TemporaryDirectory() as folder:
        # A case of many files compares some of them, of the same kind.
        small = Path(folder, "small")
        write(case._replace(files=8 * BATCH), small)
        if not same(small):
            raise SystemExit(f"{name}: the sides differ")
        write(case, Path(folder))
        found: dict[str, list[float]] = {side: [] for side in SIDES}
        for repeat in range(repeats + 1):
            for side, each in found.items():
                value = measure(side, Path(folder), case.files)
                if repeat:  # the first warms up
                    each.append(value)
    for peer in PEERS:
        told = {"race": "shards", "case": name, "peer": peer, "peer_version": importlib.metadata.version(peer)}
        timings = Timings(found["ours"], found[peer])
        append_row(make_row(told, timings, unit=unit, equal=True, surroundings=environment(THREADS)), results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows a case."""
    parser = argparse.ArgumentParser(prog="python -m bench.shards", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="measurements a side (default 7)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    for name in chosen.cases:
        _race(name, chosen.repeats, chosen.results)


if __name__ == "__main__":
    main()
