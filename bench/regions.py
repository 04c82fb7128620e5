"""Race `regions`: 500 photographs from JPEG to what a detector says of their regions, stored, against one by one.

`ours` makes the columns that methods read (`PartColumns` does the same): threads decode ahead, the detector takes
several pictures at once, and rows are stored by content, for which each file is also hashed. `one by one` opens one
picture after the other with Pillow, resizes it to the detector's square, calls the same detector and keeps what it says
in memory. Both have one thread to compute with. Boxes, features and classes must be the same first.

`--clock processor` counts the processor's seconds of all threads instead of those that pass, which is fairer where
other programs run, and leaves out what decoding ahead gains. The network is the same on both sides, and it is most of
the work: as in race `ground`, more than what surrounds it can't be won.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from bench import decode
from bench.ground import rates
from bench.rows import Race, alternate, append_row, clock_name, clock_parser, environment, make_row
from deixis import zoo
from deixis.engine.features.calls import EncodeItem, Inputs, PartCall
from deixis.engine.features.embedding import make
from deixis.engine.features.store import FeatureStore
from deixis.nn.frozen import freeze
from deixis.nn.regions.region_columns import RegionColumns, name_vectors

__all__ = ["CASES", "OUTPUTS", "RACE", "difference", "main", "one_by_one", "ours", "part_of"]

RACE = Race(
    measures="Pictures a second, from files to the boxes, features and classes of their regions",
    peers=("one by one",),
    equal="boxes within a thousandth of a picture's sides, features and classes within a hundredth",
)

OUTPUTS = ("boxes", "features", "classes")
CASES = ("map", "names")
TOLERANCES = {"boxes": 1e-3, "features": 1e-2, "classes": 1e-2}
WIDTH, HEIGHT, THREADS, CHECKED = 640, 480, 1, 8
Regions = Sequence[Mapping[str, Tensor]]
Side = Callable[[Sequence[Path]], Regions]


def part_of(features: str, proposals: str = "centernet", encoder: str = "minilm") -> RegionColumns:
    """What makes the columns.

    Args:
        features: of regions: `map` or `names`.
        proposals: the detector.
        encoder: whose word vectors names have.
    """
    detector = zoo.load_part("proposals", proposals)
    names = name_vectors(zoo.load_part("text_encoder", encoder), detector.classes) if features == "names" else None
    return freeze(RegionColumns(detector, "names" if names is not None else "map", names=names)).eval()


def ours(part: RegionColumns, paths: Sequence[Path]) -> Regions:
    """The regions of each picture, by way of a new store."""
    with tempfile.TemporaryDirectory() as folder:
        call, store = PartCall(part, "regions", OUTPUTS), FeatureStore(Path(folder, "features.sqlite"))
        hashes = make(call, [EncodeItem(path) for path in paths], store).hashes
        keys = [call.keys(Inputs(each)) for each in hashes]
        rows = store.get([key for each in keys for key in each])
        store.close()
    return [call.values([rows[key] for key in each]) for each in keys]


@torch.inference_mode()
def one_by_one(part: RegionColumns, paths: Sequence[Path]) -> Regions:
    """The same by a loop."""
    preprocess: Any = part.preprocess
    mean, std = (torch.tensor(each)[:, None, None] for each in (preprocess.mean, preprocess.std))
    found = []
    for path in paths:
        with Image.open(path) as picture:
            square = picture.convert("RGB").resize((preprocess.size,) * 2, Image.Resampling.BILINEAR)
        regions = part.regions(((pil_to_tensor(square) / 255 - mean) / std)[None])
        found.append({name: getattr(regions, name)[0][regions.valid[0]] for name in OUTPUTS})
    return found


def difference(one: Regions, other: Regions) -> dict[str, float]:
    """How far apart the sides are at most, by output; infinitely where they differ in number."""
    furthest = dict.fromkeys(OUTPUTS, 0.0)
    for left, right in zip(one, other, strict=True):
        for name in OUTPUTS:
            alike = left[name].shape == right[name].shape
            apart = float((left[name] - right[name]).abs().max()) if alike and left[name].numel() else 0.0
            furthest[name] = max(furthest[name], apart if alike else float("inf"))
    return furthest


def _race(case: str, paths: Sequence[Path], repeats: int, clock: str) -> dict[str, Any]:
    part = part_of(case)
    first: Side = partial(ours, part)
    second: Side = partial(one_by_one, part)
    apart = difference(first(paths[:CHECKED]), second(paths[:CHECKED]))
    if any(apart[name] > most for name, most in TOLERANCES.items()):
        raise SystemExit(f"{case}: the sides differ by {apart}")
    measured = [rates(side, paths, repeats, clock) for side in (first, second)]
    timings = alternate(measured[0], measured[1], repeats, warmup=0)
    facts = {"race": "regions", "case": f"{case}, {len(paths)} pictures{clock_name(clock)}", "peer": RACE.peers[0]}
    facts["peer_version"] = torch.__version__
    return make_row(facts, timings, unit="images/s", equal=True, surroundings=environment(threads=THREADS))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends a row a case."""
    parser = clock_parser("regions", __doc__, CASES, 5, "parts into which the pictures are divided")
    parser.add_argument("--files", type=int, default=500, help="pictures (default 500)")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number}.jpg") for number in range(chosen.files)]
        for seed, path in enumerate(paths):  # each another, since equal contents are described once
            path.write_bytes(decode.encode(WIDTH, HEIGHT, seed))
        for case in chosen.cases:
            append_row(_race(case, paths, chosen.repeats, chosen.clock), chosen.results)


if __name__ == "__main__":
    main()
