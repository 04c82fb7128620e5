"""Race `explain`: maps a second, at image size, against captum and pytorch-grad-cam.

Grad-CAM of the last stage of resnet18, and of what the last block of a ViT-S/16 is given, normalised; 224 pixels, a
batch of 4, random weights. Each side gives one map an image; then five, of five classes: ours from one forward pass,
the peers by five calls, as they take one target an image. `torch` is a forward hook and one autograd.grad a class,
written out: what is lost to it is the price of the house. All maps, stretched to 0 ... 1, must agree within 1e-4 of the
peer's before anything is timed.

captum knows grids only: it is given the ViT with a layer put in that hands the patches on as a grid.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.rows import RESULTS, alternate, append_row, environment, make_row
from deixis.methods.normgrad import Config, logit, saliency
from deixis.nn.taps import to_grid
from deixis.ops.maps import to_unit

__all__ = ["CASES", "PEERS", "TOLERANCE", "apart", "main", "model_of", "ours"]

THREADS, TOLERANCE, SIZE, BATCH, CLASSES = 2, 1e-4, 224, 4, 5
CASES = {"resnet18": ("resnet18", "layer4"), "ViT-S/16": ("vit_small_patch16_224", "blocks.11.norm1")}
Side = Callable[[Tensor, Tensor], Tensor]
"""Images [B, 3, H, W] and classes [B, T] -> maps [B, T, H, W]."""


class Gridded(nn.Module):
    """A norm over tokens that hands the patches on as a grid, for who can watch grids only."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm, self.grid = norm, nn.Identity()

    def forward(self, states: Tensor) -> Tensor:
        cells, special = to_grid(self.norm(states), (SIZE, SIZE))
        return torch.cat([special, self.grid(cells).flatten(2).transpose(1, 2)], dim=1)


def model_of(case: str) -> nn.Module:
    """The network of a case, with random weights that are the same each time."""
    torch.manual_seed(0)
    return timm.create_model(CASES[case][0]).eval()


def ours(case: str) -> Side:
    """One forward pass for all classes."""
    model, config = model_of(case), Config(cell="grad_cam", layers=(CASES[case][1],))
    return lambda images, classes: saliency(model, images, logit(classes), config).image


def _each(one: Callable[[Tensor, Tensor], Tensor]) -> Side:
    """A call for each class."""
    return lambda images, classes: torch.stack([one(images, column) for column in classes.T], dim=1)


def _captum(case: str) -> Side:
    from captum.attr import LayerAttribution, LayerGradCam

    model, layer = model_of(case), CASES[case][1]
    if case != "resnet18":
        block, _, name = layer.rpartition(".")
        setattr(model.get_submodule(block), name, Gridded(model.get_submodule(layer)))
        layer = f"{layer}.grid"
    gradcam = LayerGradCam(model, model.get_submodule(layer))

    def one(images: Tensor, classes: Tensor) -> Tensor:
        found = gradcam.attribute(images, classes, relu_attributions=True)
        return LayerAttribution.interpolate(found.detach(), (SIZE, SIZE), "bilinear")[:, 0]

    return _each(one)


def _pytorch_grad_cam(case: str) -> Side:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, turned = model_of(case), None if case == "resnet18" else _patches
    camera = GradCAM(model, [model.get_submodule(CASES[case][1])], reshape_transform=turned)

    def one(images: Tensor, classes: Tensor) -> Tensor:
        return torch.from_numpy(camera(images, [ClassifierOutputTarget(each) for each in classes.tolist()]))

    return _each(one)


def _patches(states: Tensor) -> Tensor:
    return states[:, 1:].reshape(len(states), SIZE // 16, SIZE // 16, -1).permute(0, 3, 1, 2)


def _torch(case: str) -> Side:
    model, held = model_of(case).requires_grad_(False), {}
    turn = (lambda cells: cells) if case == "resnet18" else _patches

    def keep(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        held["cells"] = output.requires_grad_()
        return held["cells"]

    model.get_submodule(CASES[case][1]).register_forward_hook(keep)

    def run(images: Tensor, classes: Tensor) -> Tensor:
        scores, maps = model(images).gather(1, classes).sum(0), []
        for place, score in enumerate(scores):
            (gradient,) = torch.autograd.grad(score, held["cells"], retain_graph=place + 1 < len(scores))
            weights = turn(gradient).mean((2, 3), keepdim=True)
            maps.append((weights * turn(held["cells"].detach())).sum(1, keepdim=True).relu())
        return F.interpolate(torch.cat(maps, 1), (SIZE, SIZE), mode="bilinear", align_corners=False)

    return run


PEERS = {
    "captum": ("captum", _captum),
    "pytorch-grad-cam": ("grad-cam", _pytorch_grad_cam),
    "torch": ("torch", _torch),
}
"""Name -> package and what makes the side of a case."""


def apart(left: Tensor, right: Tensor) -> float:
    """The greatest difference of two sets of maps, each stretched to 0 ... 1."""
    return float((to_unit(left) - to_unit(right)).abs().max())


def _timer(side: Side, images: Tensor, classes: Tensor) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter()
        side(images, classes)
        return classes.numel() / (time.perf_counter() - start)

    return run


def _race(case: str, peer: str, repeats: int, results: Path) -> None:
    package, make = PEERS[peer]
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(BATCH, 3, SIZE, SIZE, generator=generator)
    mine, theirs = ours(case), make(case)
    for count in (1, CLASSES):
        classes = torch.randint(0, 1000, (BATCH, count), generator=generator)
        difference = apart(mine(images, classes), theirs(images, classes))
        if difference > TOLERANCE:
            raise SystemExit(f"explain {case}: the maps of {peer} differ from ours by {difference:.1g}")
        timings = alternate(_timer(mine, images, classes), _timer(theirs, images, classes), repeats)
        named = {"race": "explain", "peer": peer, "peer_version": importlib.metadata.version(package)}
        named["case"] = f"Grad-CAM, {case}, {count} {'class' if count == 1 else 'classes'} an image"
        append_row(
            make_row(named, timings, unit="maps/s", equal=True, surroundings=environment(threads=THREADS)), results
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows a case and peer: of one class an image and of five."""
    parser = argparse.ArgumentParser(prog="python -m bench.explain", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="runs a side (default 7)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which networks")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="against whom")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    for case in chosen.cases:
        for peer in chosen.peers:
            _race(case, peer, chosen.repeats, chosen.results)


if __name__ == "__main__":
    main()
