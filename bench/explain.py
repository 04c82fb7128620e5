"""Race `explain`: maps a second, at image size, against captum and pytorch-grad-cam.

224 pixels, a batch of 4, random weights. Each side gives one map an image; then five, of five classes or texts: ours
from one forward pass, the peers by five calls, as they take one target an image. Ours is what `deixis.Explainer` gives.

* Grad-CAM of the last stage of resnet18, and of what the last block of a ViT-S/16 is given, normalised.
* The same of a ViT-S/16 as an image tower: the score is the cosine with a text's vector.
* Layer-wise relevance of resnet18's pixels by the epsilon rule. captum is given the network with batch norms folded
  into the convolutions and sums as modules, as it takes it; ours folds and finds them by itself. The rule divides by
  what may be nearly 0: float32 alone moves captum's map by 1e-3 and ours by 1e-4, so they are compared in float64.

`torch` is a forward hook and one autograd.grad a class, written out: what is lost to it is the price of the house. All
maps, stretched to 0 ... 1, must agree within 1e-4 of the peer's before anything is timed. captum knows grids only: it
is given the ViT with a layer put in that hands the patches on as a grid.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bench.rows import RESULTS, Race, alternate, append_row, environment, make_row
from deixis.apps.explain.explain import Explainer
from deixis.nn.taps import to_grid
from deixis.ops.maps import to_unit

__all__ = ["CASES", "PEERS", "RACE", "TOLERANCE", "apart", "main", "model_of", "ours", "runs"]

RACE = Race(
    measures="Saliency maps a second, at image size",
    peers=("captum", "pytorch-grad-cam", "torch"),
    equal="all maps, stretched to 0 ... 1, within 1e-4",
)

THREADS, TOLERANCE, SIZE, BATCH, CLASSES, WIDTH = 2, 1e-4, 224, 4, 5, 512
CASES = {
    "Grad-CAM, resnet18": ("resnet18", "layer4"),
    "Grad-CAM, ViT-S/16": ("vit_small_patch16_224", "blocks.11.norm1"),
    "Grad-CAM of texts, ViT-S/16": ("vit_small_patch16_224", "tower.blocks.11.norm1"),
    "LRP, resnet18": ("resnet18", ""),
}
Side = Callable[[Tensor, Tensor], Tensor]
"""Images [B, 3, H, W] and classes [B, T] -> maps [B, T, H, W]."""


class Pair(nn.Module):
    """An image tower whose outputs are cosines with the vectors of texts."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower, self.texts = tower, F.normalize(torch.randn(1000, WIDTH), dim=-1)

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.tower(images), dim=-1) @ self.texts.T


class Gridded(nn.Module):
    """A norm over tokens that hands the patches on as a grid, for who can watch grids only."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm, self.grid = norm, nn.Identity()

    def forward(self, states: Tensor) -> Tensor:
        cells, special = to_grid(self.norm(states), (SIZE, SIZE))
        return torch.cat([special, self.grid(cells).flatten(2).transpose(1, 2)], dim=1)


class Folded(nn.Module):
    """resnet18 as captum takes it: batch norms folded into the convolutions, sums and activations modules of their own,
    or a stage of it."""

    def __init__(self, stem: nn.Module, blocks: Sequence[nn.Module], head: nn.Linear) -> None:
        super().__init__()
        self.conv, self.act, self.pool = fuse_conv_bn_eval(stem.conv1, stem.bn1), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        self.blocks, self.mean, self.head = nn.Sequential(*blocks), nn.AdaptiveAvgPool2d(1), head

    def forward(self, images: Tensor) -> Tensor:
        cells = self.blocks(self.pool(self.act(self.conv(images))))
        return self.head(self.mean(cells).flatten(1))


class FoldedBlock(nn.Module):
    """A residual block, likewise."""

    def __init__(self, block: nn.Module, total: nn.Module) -> None:
        super().__init__()
        self.conv1, self.act1 = fuse_conv_bn_eval(block.conv1, block.bn1), nn.ReLU()
        self.conv2, self.act2 = fuse_conv_bn_eval(block.conv2, block.bn2), nn.ReLU()
        self.down = None if block.downsample is None else fuse_conv_bn_eval(*block.downsample)
        self.total = total

    def forward(self, cells: Tensor) -> Tensor:
        found = self.conv2(self.act1(self.conv1(cells)))
        return self.act2(self.total(found, cells if self.down is None else self.down(cells)))


def model_of(case: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The network of a case, with random weights that are the same each time."""
    import timm

    torch.manual_seed(0)
    network, layer = CASES[case]
    if layer.startswith("tower"):
        return Pair(timm.create_model(network, num_classes=WIDTH)).to(dtype).eval()
    # a ResNet whose residual branches begin at 0 has no relevance in them
    return timm.create_model(network, **({} if layer else {"zero_init_last": False})).to(dtype).eval()


def ours(case: str, dtype: torch.dtype = torch.float32) -> Side:
    """One forward pass for all classes."""
    layer = CASES[case][1]
    method = {"method": "grad_cam", "layers": (layer,)} if layer else {"method": "relevance", "rules": "epsilon"}
    explainer = Explainer(model_of(case, dtype), **method)
    return lambda images, classes: explainer.attribute(images, classes)


def _each(one: Callable[[Tensor, Tensor], Tensor]) -> Side:
    """A call for each class."""
    return lambda images, classes: torch.stack([one(images, column) for column in classes.T], dim=1)


def _captum(case: str, dtype: torch.dtype = torch.float32) -> Side:
    from captum.attr import LayerAttribution, LayerGradCam

    model, layer = model_of(case, dtype), CASES[case][1]
    if not layer:
        return _captum_relevance(model)
    if "resnet18" not in case:
        block, _, name = layer.rpartition(".")
        setattr(model.get_submodule(block), name, Gridded(model.get_submodule(layer)))
        layer = f"{layer}.grid"
    gradcam = LayerGradCam(model, model.get_submodule(layer))

    def one(images: Tensor, classes: Tensor) -> Tensor:
        found = gradcam.attribute(images, classes, relu_attributions=True)
        return LayerAttribution.interpolate(found.detach(), (SIZE, SIZE), "bilinear")[:, 0]

    return _each(one)


def _captum_relevance(model: nn.Module) -> Side:
    from captum.attr import LRP
    from captum.attr._utils.custom_modules import Addition_Module
    from captum.attr._utils.lrp_rules import EpsilonRule

    stages = (model.layer1, model.layer2, model.layer3, model.layer4)
    folded = Folded(model, [FoldedBlock(block, Addition_Module()) for stage in stages for block in stage], model.fc)
    linear = [module for module in folded.eval().modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    method = LRP(folded)

    def one(images: Tensor, classes: Tensor) -> Tensor:
        for module in linear:
            module.rule = EpsilonRule(1e-6)  # each call takes the rules away when it is done
        return method.attribute(images.clone(), classes).detach().sum(1)

    return _each(one)


def _pytorch_grad_cam(case: str, dtype: torch.dtype = torch.float32) -> Side:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, turned = model_of(case, dtype), None if "resnet18" in case else _patches
    camera = GradCAM(model, [model.get_submodule(CASES[case][1])], reshape_transform=turned)

    def one(images: Tensor, classes: Tensor) -> Tensor:
        return torch.from_numpy(camera(images, [ClassifierOutputTarget(each) for each in classes.tolist()]))

    return _each(one)


def _patches(states: Tensor) -> Tensor:
    return states[:, 1:].reshape(len(states), SIZE // 16, SIZE // 16, -1).permute(0, 3, 1, 2)


def _torch(case: str, dtype: torch.dtype = torch.float32) -> Side:
    model, held = model_of(case, dtype).requires_grad_(False), {}
    turn = (lambda cells: cells) if "resnet18" in case else _patches

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


def runs(case: str, peer: str) -> bool:
    """Whether the peer has the method: relevance is captum's alone."""
    return peer == "captum" or bool(CASES[case][1])


def apart(left: Tensor, right: Tensor) -> float:
    """The greatest difference of two sets of maps, each stretched to 0 ... 1."""
    return float((to_unit(left) - to_unit(right)).abs().max())


def _difference(case: str, make: Callable[..., Side], images: Tensor, classes: Tensor) -> float:
    """How far the maps are from one another, where rounding does not count."""
    sides = (each(case, torch.float64)(images.double(), classes) for each in (ours, make))
    return apart(*sides)


def _timer(side: Side, images: Tensor, classes: Tensor) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter()
        side(images, classes)
        return classes.numel() / (time.perf_counter() - start)

    return run


def _race(case: str, peer: str, repeats: int, results: Path | None) -> None:
    package, make = PEERS[peer]
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(BATCH, 3, SIZE, SIZE, generator=generator)
    mine, theirs = ours(case), make(case)
    what = ("text", "texts") if "texts" in case else ("class", "classes")
    for count in (1, CLASSES):
        classes = torch.randint(0, 1000, (BATCH, count), generator=generator)
        if CASES[case][1]:
            difference = apart(mine(images, classes), theirs(images, classes))
        else:
            difference = _difference(case, make, images[:1], classes[:1])
        if not difference <= TOLERANCE:
            raise SystemExit(f"explain {case}: the maps of {peer} differ from ours by {difference:.1g}")
        timings = alternate(_timer(mine, images, classes), _timer(theirs, images, classes), repeats)
        named = {"race": "explain", "peer": peer, "peer_version": importlib.metadata.version(package)}
        named["case"] = f"{case}, {count} {what[count > 1]} an image"
        row = make_row(named, timings, unit="maps/s", equal=True, surroundings=environment(threads=THREADS))
        if results is None:
            print(json.dumps(row, ensure_ascii=False), f"apart {difference:.1g}", flush=True)
        else:
            append_row(row, results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows a case and peer: of one class an image and of five."""
    parser = argparse.ArgumentParser(prog="python -m bench.explain", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="runs a side (default 7)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which maps and networks")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="against whom")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    parser.add_argument("--print", action="store_true", help="print the rows, add none")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    for case in chosen.cases:
        for peer in filter(lambda each, case=case: runs(case, each), chosen.peers):
            _race(case, peer, chosen.repeats, None if chosen.print else chosen.results)


if __name__ == "__main__":
    main()
