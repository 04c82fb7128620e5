"""Race `augment`: views of images, cut out and varied in colour, against one image after the other, and one batch.

32 images of 320 x 240 pixels are decoded already. Each gives one view: a crop at random, mirrored or not, resized, with
other colours, grey, blurred, solarised. `torchvision on PIL` is what training scripts do: its functions on single
Pillow images. Both take the same crop and the same amounts for each image, in the same order; the values must agree to
`TOLERANCE` of 255 on average (Pillow turns hues in steps of 1/255) before anything is timed.

`kornia`, where it is installed, varies a batch of floats at once, after it has cut images out one by one as its
`RandomResizedCrop` does. It has one order of colours for a batch, so in its cases ours has one, too; and its functions
are those of its `ColorJitter`, with the amounts of each image. It may blur with a kernel as wide as ours.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import itertools
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as theirs

from bench.rows import RESULTS, Race, alternate, append_row, environment, make_row
from deixis.data.loading.crops import COLOURS, PLACE, Window, random_window, recoloured
from deixis.inputs.images import load_image
from deixis.inputs.preprocess import Preprocess
from deixis.types import Augment

__all__ = ["CASES", "RACE", "TOLERANCE", "Views", "main"]

RACE = Race(
    measures="Views of images a second, cut out and varied in colour",
    peers=("torchvision on PIL", "kornia"),
    equal="the parameters of each view; values within 2 of 255 on average",
)

IMAGES, WIDTH, HEIGHT, THREADS, TOLERANCE = 32, 320, 240, 1, 2.0
_SWAV = Augment(scale=(0.14, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), grey=0.2, blur=0.5, sigma=(0.1, 2.0))
_PIXPRO = Augment(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.1, sigma=(0.1, 2.0), solarise=0.2)
CASES = {"SwAV, 160 px": (160, _SWAV), "SwAV, 96 px": (96, _SWAV), "PixPro, 224 px": (224, _PIXPRO)}
_ORDERS = tuple(itertools.permutations(range(4)))
_ADJUST = (theirs.adjust_brightness, theirs.adjust_contrast, theirs.adjust_saturation, theirs.adjust_hue)


class Views:
    """The views of one batch, in both ways.

    Args:
        side: of a view, in pixels.
        augment: how images are varied.
        images: how many.
        one_order: whether the colours of all are varied in one order.
    """

    def __init__(self, side: int, augment: Augment, images: int = IMAGES, one_order: bool = False) -> None:
        rng = torch.Generator().manual_seed(0)
        coarse = torch.rand(images, 3, 12, 16, generator=rng)
        smooth = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)
        self.pictures = [Image.fromarray(image.numpy()) for image in (smooth * 255).round().byte().permute(0, 2, 3, 1)]
        self.images = [load_image(picture) for picture in self.pictures]
        self.preprocess = Preprocess(side, interpolation="bilinear")
        places = torch.rand(images, PLACE, generator=rng).tolist()
        self.windows = [random_window(each, WIDTH, HEIGHT, augment) for each in places]
        self.colours = torch.rand(images, COLOURS, generator=rng)
        if one_order:
            self.colours[:, 5] = 0.6
        self.side, self.augment = side, augment

    def ours(self) -> Tensor:
        """Cut out one by one, varied together."""
        size = (self.side, self.side)
        views = [w.show(i, self.preprocess, size) for w, i in zip(self.windows, self.images, strict=True)]
        return recoloured(torch.stack(views), self.augment, self.colours)

    def torchvision(self) -> Tensor:
        """One Pillow image after the other."""
        rows = zip(self.pictures, self.windows, self.colours.tolist(), strict=True)
        return torch.stack([theirs.pil_to_tensor(self._varied(*row)) for row in rows])

    def _varied(self, picture: Image.Image, window: Window, numbers: Sequence[float]) -> Image.Image:
        augment, side = self.augment, self.side
        left, right = sorted((round(window.x0 * WIDTH), round(window.x1 * WIDTH)))
        top, bottom = round(window.y0 * HEIGHT), round(window.y1 * HEIGHT)
        box = (top, left, bottom - top, right - left)
        view = theirs.resized_crop(picture, *box, [side, side], InterpolationMode.BILINEAR)
        view = theirs.hflip(view) if window.x0 > window.x1 else view
        if numbers[0] < augment.jitter_chance:
            for kind in _ORDERS[int(numbers[5] * len(_ORDERS))]:
                amount = (2 * numbers[1 + kind] - 1) * augment.jitter[kind]
                view = _ADJUST[kind](view, amount if kind == 3 else max(0.0, 1 + amount))
        if numbers[6] < augment.grey:
            view = theirs.rgb_to_grayscale(view, num_output_channels=3)
        if numbers[7] < augment.blur:
            low, high = augment.sigma
            sigma, kernel = low + (high - low) * numbers[8], 2 * math.ceil(3 * high) + 1
            view = theirs.gaussian_blur(view, [kernel, kernel], [sigma, sigma])
        return theirs.solarize(view, 128) if numbers[9] < augment.solarise else view

    def kornia(self) -> Tensor:
        """Cut out one by one, varied together, as floats."""
        from kornia import color, enhance, filters, geometry

        views, augment, numbers = self._cut(geometry.transform.resize), self.augment, self.colours
        adjust = {
            0: enhance.adjust_brightness_accumulative,
            1: enhance.adjust_contrast_with_mean_subtraction,
            2: enhance.adjust_saturation_with_gray_subtraction,
            3: lambda some, turn: enhance.adjust_hue(some, 2 * math.pi * turn),
        }
        amounts = (2 * numbers[:, 1:5] - 1) * torch.tensor(augment.jitter)
        rows = numbers[:, 0] < augment.jitter_chance
        for kind in _ORDERS[int(numbers[0, 5] * len(_ORDERS))]:
            amount = amounts[rows, kind] if kind == 3 else (1 + amounts[rows, kind]).clamp(min=0)
            views[rows] = adjust[kind](views[rows], amount)
        rows = numbers[:, 6] < augment.grey
        views[rows] = color.rgb_to_grayscale(views[rows]).expand(-1, 3, -1, -1)
        rows, (low, high) = numbers[:, 7] < augment.blur, augment.sigma
        size, sigma = 2 * math.ceil(3 * high) + 1, low + (high - low) * numbers[rows, 8, None].expand(-1, 2)
        views[rows] = filters.gaussian_blur2d(views[rows], (size, size), sigma)
        rows = numbers[:, 9] < augment.solarise
        if rows.any():
            views[rows] = enhance.solarize(views[rows], 128 / 255)
        return views

    def _cut(self, resize: Callable[..., Tensor]) -> Tensor:
        cut = []
        for image, window in zip(self.images, self.windows, strict=True):
            left, right = sorted((round(window.x0 * WIDTH), round(window.x1 * WIDTH)))
            top, bottom = round(window.y0 * HEIGHT), round(window.y1 * HEIGHT)
            part = image[None, :, top:bottom, left:right].float() / 255
            view = resize(part, (self.side, self.side), antialias=True)
            cut.append(view.flip(-1) if window.x0 > window.x1 else view)
        return torch.cat(cut)

    def sides(self) -> dict[str, Callable[[], Tensor]]:
        """Peer -> its way."""
        return {"torchvision on PIL": self.torchvision, "kornia": self.kornia}

    def difference(self, peer: str = "torchvision on PIL") -> float:
        """Mean distance of the values of both ways, of 255."""
        views = self.sides()[peer]()
        scale = 255 if views.is_floating_point() else 1
        return float((self.ours().float() - views.float() * scale).abs().mean())

    def rate(self, way: Callable[[], Tensor]) -> float:
        """Views a second."""
        start = time.perf_counter()
        way()
        return len(self.images) / (time.perf_counter() - start)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends a row a case."""
    parser = argparse.ArgumentParser(prog="python -m bench.augment", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="runs a side (default 9)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    for case, peer in itertools.product(chosen.cases, RACE.peers):
        package = "kornia" if peer == "kornia" else "torchvision"
        if importlib.util.find_spec(package) is None:
            print(f"augment: {package} is not installed, and no peer here")
            continue
        views = Views(*CASES[case], one_order=peer == "kornia")
        if views.difference(peer) > TOLERANCE:
            raise SystemExit(f"augment {case}: values of {peer} differ by {views.difference(peer):.1f} of 255")
        timings = alternate(partial(views.rate, views.ours), partial(views.rate, views.sides()[peer]), chosen.repeats)
        named = {"race": "augment", "case": case, "peer": peer, "peer_version": importlib.metadata.version(package)}
        row = make_row(named, timings, unit="views/s", equal=True, surroundings=environment(threads=THREADS))
        append_row(row, chosen.results)


if __name__ == "__main__":
    main()
