"""Race `segment`: the classes of a picture's pixels from overlapping windows, all at once against one by one.

`ours` is `score_map`, whose encoder sees all windows of a picture in one batch; `one by one` gives it one window after
the other, and the mean of their maps is the same. One thread; the scores must be the same first. The network sees each
window at its own size on both sides: batching gains what its small matrices lose, and no more.

`--clock processor` counts the processor's seconds instead of those that pass, which is fairer where other programs run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.rows import Race, alternate, append_row, clock_name, clock_parser, environment, make_row, seconds_of
from deixis.engine.training.build import build
from deixis.methods.baselines.score_map import class_cosines
from deixis.nn.dense.window_maps import grid_map, unit_range, window_boxes, window_inputs
from deixis.ops.dense.windows import mean_of_windows

__all__ = ["CASES", "RACE", "main", "one_by_one", "ours", "segmenter"]

RACE = Race(
    measures="Pictures a second, from pixels to the scores of their classes by overlapping windows",
    peers=("one by one",),
    equal="the scores of all pixels, within a ten-thousandth",
)

CASES = {"10 windows": (224, 112), "26 windows": (149, 75), "50 windows": (112, 56)}
THREADS, SIDE = 1, 448
_TOLERANCE = 1e-4
Method = Any
Side = Callable[[Method, Tensor], Tensor]


def segmenter(crop: int, stride: int, preset: str = "desk") -> Method:
    """What compares cells with names and with all nouns of everything else, by windows of `crop` pixels beside the
    whole picture."""
    return build("score_map", preset, {"crops": (crop,), "stride": stride, "similar": 2.0}).eval()


def ours(method: Method, images: Tensor) -> Tensor:
    """The scores [B, C, H, W] of images as the encoder takes them."""
    found: Tensor = method.segment(images)
    return found


@torch.no_grad()
def one_by_one(method: Method, images: Tensor) -> Tensor:
    """The same, the encoder seeing one window at a time."""
    encoder, config = method.encoder, method.config
    classes, others = method.texts()
    found = []
    for image in unit_range(images, encoder.preprocess):
        size = (image.shape[1], image.shape[2])
        boxes = window_boxes(*size, config.crops, config.stride)
        inputs = (window_inputs(image, (box,), encoder.preprocess) for box in boxes)
        maps = [class_cosines(grid_map(encoder.image_tokens(each))[0], torch.cat([others, classes])) for each in inputs]
        scores = mean_of_windows(maps, boxes, size)
        found.append(torch.cat([scores[: len(others)].amax(0, keepdim=True) + config.offset, scores[len(others) :]]))
    return torch.stack(found)


def _race(case: str, count: int, repeats: int, clock: str) -> dict[str, Any]:
    method = segmenter(*CASES[case])
    images = torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    apart = float((ours(method, images[:1]) - one_by_one(method, images[:1])).abs().max())
    if apart > _TOLERANCE:
        raise SystemExit(f"{case}: the sides differ by {apart}")

    def rate(side: Side) -> float:
        return count / seconds_of(partial(side, method, images), clock)

    timings = alternate(partial(rate, ours), partial(rate, one_by_one), repeats)
    facts = {"race": "segment", "case": f"{case}{clock_name(clock)}", "peer": RACE.peers[0]}
    facts["peer_version"] = torch.__version__
    return make_row(facts, timings, unit="images/s", equal=True, surroundings=environment(threads=THREADS))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends a row a case."""
    parser = clock_parser("segment", __doc__, CASES, 7)
    parser.add_argument("--files", type=int, default=4, help="pictures (default 4)")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    for case in chosen.cases:
        append_row(_race(case, chosen.files, chosen.repeats, chosen.clock), chosen.results)


if __name__ == "__main__":
    main()
