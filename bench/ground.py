"""Race `ground`: photographs of 2 megapixels from JPEG to the box of a phrase, against a plain loop, on 2 cores.

`ours` is `deixis.ground`, and reads ahead in threads. `plain loop` opens one picture after the other with Pillow,
decodes it whole, resizes it to the detector's square and calls the same method. `plain loop with tricks` reads ahead in
a thread, too, and counts as the rival. Ours also keeps each picture at a size to be shown. All have one thread to
compute with. Every picture's best box must be the same first.

`--clock processor` counts the processor's seconds of all threads instead of those that pass, which is fairer where
other programs run, and leaves out what reading ahead gains. Both sides call the same network, and most of the time goes
there: of some 300 ms of the processor a picture 160 are for the crops, 90 for the detector and 20 for its peaks and
features; the loop's decoding takes 20, ours 35, of which 15 are for the size to be shown. Reading can make neither side
twice as fast.

The pictures are those of `decode`: as heavy as photographs, with things that are none. What is answered costs nothing,
but that crops of the likeliest boxes are compared with the noun in each picture.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from bench import decode
from bench.rows import Race, alternate, append_row, clock_name, clock_parser, environment, make_row, seconds_of
from deixis.apps.ground.ground import ground
from deixis.engine.training.build import build

__all__ = ["PHRASES", "RACE", "Method", "main", "ours", "plain", "rates"]

RACE = Race(
    measures="Pictures of 2 megapixels a second, from files to the box of a phrase",
    peers=("plain loop", "plain loop with tricks"),
    equal="the best box of every picture, within a thousandth of its sides",
)

PHRASES = {"a noun of the detector": "a dog", "another noun": "a squirrel"}
THREADS, WIDTH, HEIGHT, DISTINCT = 1, 1632, 1224, 8
Method = Any
Side = Callable[[Sequence[Path]], Tensor]


def ours(method: Method, paths: Sequence[Path], phrase: str) -> Tensor:
    """The best box of each picture [N, 4]."""
    return torch.cat([each.boxes for each in ground(list(paths), phrase, model=method, count=1, best=True)])


def plain(method: Method, paths: Sequence[Path], phrase: str, ahead: bool) -> Tensor:
    """The same by a loop; with pictures read ahead, or not."""
    if not ahead:
        return _boxes(method, map(_picture, paths), phrase)
    with ThreadPoolExecutor(1) as pool:
        return _boxes(method, pool.map(_picture, paths), phrase)


def _picture(path: Path) -> Tensor:
    with Image.open(path) as picture:
        square = picture.convert("RGB").resize((512, 512), Image.Resampling.BILINEAR)
    return pil_to_tensor(square) / 255


@torch.inference_mode()
def _boxes(method: Method, pictures: Iterable[Tensor], phrase: str) -> Tensor:
    preprocess, found = method.proposals.preprocess, []
    mean, std = (torch.tensor(each)[:, None, None] for each in (preprocess.mean, preprocess.std))
    for picture in pictures:
        output = method.ground(((picture - mean) / std)[None], *method.encoder.tokenize([phrase]))
        best = output.scores[0, 0].masked_fill(~output.valid[0], -1).argmax()
        found.append(output.boxes[0, best])
    return torch.stack(found)


def rates(
    side: Callable[[Sequence[Path]], Any], paths: Sequence[Path], repeats: int, clock: str
) -> Callable[[], float]:
    """Gives at each call how many pictures a second the side does of another part of them."""
    parts = iter([paths[number::repeats] for number in range(repeats)])

    def rate() -> float:
        part = next(parts)
        return len(part) / seconds_of(partial(side, part), clock)

    return rate


def _race(method: Method, case: str, paths: Sequence[Path], repeats: int, clock: str) -> Iterator[dict[str, Any]]:
    """A row a peer."""
    phrase = PHRASES[case]
    first: Side = partial(ours, method, phrase=phrase)
    rivals: list[Side] = [partial(plain, method, phrase=phrase, ahead=ahead) for ahead in (False, True)]
    boxes = first(paths[:DISTINCT])
    if any((boxes - rival(paths[:DISTINCT])).abs().max() > 1e-3 for rival in rivals):
        raise SystemExit(f"{case}: the sides find different boxes")
    for peer, rival in zip(RACE.peers, rivals, strict=True):
        timings = alternate(*(rates(side, paths, repeats, clock) for side in (first, rival)), repeats, warmup=0)
        facts = {"race": "ground", "case": f"{case}, {len(paths)} pictures{clock_name(clock)}", "peer": peer}
        facts["peer_version"] = torch.__version__
        yield make_row(facts, timings, unit="images/s", equal=True, surroundings=environment(threads=THREADS))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows a case, one a peer."""
    parser = clock_parser("ground", __doc__, PHRASES, 5, "parts into which the pictures are divided")
    parser.add_argument("--files", type=int, default=500, help="pictures (default 500)")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    method = build("detect_match").eval()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number}.jpg") for number in range(chosen.files)]
        contents = [decode.encode(WIDTH, HEIGHT, seed) for seed in range(DISTINCT)]
        for number, path in enumerate(paths):
            path.write_bytes(contents[number % DISTINCT])
        for case in chosen.cases:
            for row in _race(method, case, paths, chosen.repeats, chosen.clock):
                append_row(row, chosen.results)


if __name__ == "__main__":
    main()
