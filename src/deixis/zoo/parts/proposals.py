"""Regions of an image that may be things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.nn.vision.given_boxes import GivenBoxes
from deixis.nn.vision.grid_proposals import GridProposals
from deixis.nn.vision.region_heads import RegionHeadProposals
from deixis.types import PartKind, PartSource, Source
from deixis.types import protocols as contracts
from deixis.zoo import detector
from deixis.zoo.parts import no_such_part

__all__ = ["PART", "load"]

PART = PartKind(
    gives="boxes, features, classes and perhaps masks of regions that may be objects",
    protocol="Proposals",
    sources=(
        PartSource(
            "centernet[:COUNT]",
            "centernet:50",
            "a CenterNet for the 80 kinds of COCO; 20 regions an image, or COUNT",
            "145 MB once, of which 4 are kept, and the starter, by `deixis data get detector`",
        ),
        PartSource(
            "own[:PROPOSALS]",
            "own",
            "the boxes of the data, given beside the images, with features and classes by other proposals (centernet)",
            "as those",
        ),
        PartSource(
            "jitter[:PROPOSALS]",
            "jitter",
            "the same, two moved copies of each box, and as many random boxes",
            "as those",
        ),
        PartSource(
            "torchvision:NAME",
            "torchvision:fasterrcnn_resnet50_fpn_v2",
            "a Faster R-CNN of torchvision whose weights lie in torch's cache",
            "nothing: the weights must be there",
        ),
        PartSource("tiny", "tiny", "the cells of a grid of 3 x 3, separated by colour, for tests"),
    ),
    later="Mask proposals come with OVDiff.",
)

_COPIES = 2


def load(name: Any, *, source: Source | None = None, seed: int = 0) -> contracts.Proposals:
    """The proposals called `name`, in eval mode; what exists already is given back.

    Args:
        name: see `PART`.
        source: not asked.
        seed: of random weights and boxes; the global generator of random numbers is left as it was.

    Raises:
        DeixisError: no such name, or its weights are not there.
    """
    if not isinstance(name, str):
        part: contracts.Proposals = name
        return part
    kind, _, rest = name.partition(":")
    if kind == "centernet" and (not rest or rest.isdecimal()):
        return detector.load(int(rest or detector.COUNT))
    if kind in ("own", "jitter"):
        describer = load(rest or "centernet", seed=seed)
        if not hasattr(describer, "describe"):
            raise DeixisError(f"{rest!r} can't describe boxes that are given.", f"Use {kind}:centernet.")
        return GivenBoxes(describer, copies=_COPIES if kind == "jitter" else 0, seed=seed).eval()
    if kind == "torchvision":
        return _of_torchvision(rest)
    if name != "tiny":
        raise no_such_part("proposals", name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GridProposals(3, ("sky", "ground", "thing", "nothing"), Preprocess(32, mode="squash")).eval()


def _of_torchvision(name: str) -> RegionHeadProposals:
    """One of torchvision's Faster R-CNNs, with its best weights, which are never downloaded."""
    from torchvision.models import detection, get_model, get_model_weights, list_models

    names = [each for each in list_models(detection) if each.startswith("fasterrcnn")]
    if name not in names:
        raise DeixisError(f"torchvision has no Faster R-CNN called {name!r}.", f"There are: {', '.join(names)}.")
    weights = get_model_weights(name)["DEFAULT"]
    path = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
    if not path.is_file():
        raise DeixisError(f"The weights of {name} are not in {path.parent}.", f"Download {weights.url} into it.")
    classes = tuple(weights.meta["categories"])
    network = get_model(name, weights=None, weights_backbone=None, num_classes=len(classes))
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # whatever the unpickler meets, or names that are not there
        raise DeixisError(
            f"{path} does not hold the weights of {name}: {error}", f"Download {weights.url} again."
        ) from error
    preprocess = Preprocess(800, mode="squash", interpolation="bilinear", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return RegionHeadProposals(network, classes, preprocess, count=detector.COUNT).eval()
