"""The image side of a model as an ONNX graph: onnxruntime embeds pictures on the processor faster than torch does.

    CACHE/image-graphs/HASH/states.onnx    from pixels to what the image tower says before any adapter
    CACHE/image-graphs/HASH/graph.json     of which model, and the hashes of the files

Written where a collection is large enough to pay for it and the packages of the extra `export` are installed; used
where onnxruntime is, its numbers being compared with the model's each time it is opened. Whatever else is found, torch
embeds, and nothing is said. Numbers of the two differ in the sixth digit, so rows of one never stand for the other's.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.files import atomic_folder, cache_dir, content_hash, write_json
from deixis.nn.compute import current
from deixis.nn.dual import DualEncoder
from deixis.nn.modes import evaluating
from deixis.ops.collective import world_size
from deixis.types import ImageStates

__all__ = ["COSINE", "LIMIT", "OPENS", "PAYS", "ImageGraph", "image_graph", "open_image_graph"]

PAYS = 3000
"""Pictures from which writing a graph pays: it takes 25 seconds of the processor, once a model, and onnxruntime then
saves 8 to 10 ms a picture (ViT-B/32 and the starter on two cores, see docs/races.md)."""

OPENS = 200
"""Pictures from which opening a graph pays, which takes a second or two."""

COSINE = 1 - 1e-5
"""The least cosine between the embeddings of a probe that is let pass."""

LIMIT = 1e-4
"""The largest difference of a number that is let pass, in shares of the largest number of its kind."""

_FORMAT = 1
_TOY = 1_000_000  # numbers of a tower; below, nobody waits for it
_KEPT = 4  # graphs in the cache; each is as large as its tower
_OLDEST = (1, 18)  # onnxruntime that maps weights of such files
_WRITERS = ("onnx", "onnxscript", "onnxruntime")
_GRAPH, _FACTS = "states.onnx", "graph.json"
_PROBES, _COARSE = 4, 8


class ImageGraph:
    """An image tower as onnxruntime computes it.

    Args:
        session: of onnxruntime.
        digest: of the graph's file.

    Attributes:
        engine: what computes, such as `onnxruntime 1.32.0`.
        mark: what tells its rows from those of torch, and of another graph, in a store.
    """

    def __init__(self, session: Any, digest: str) -> None:
        self._session = session
        self.engine = f"onnxruntime {importlib.metadata.version('onnxruntime')}"
        self.mark = f"{self.engine}/{digest[:16]}"

    def states(self, pixels: Float[Tensor, "B 3 S S"]) -> ImageStates:
        """What the image tower says, before any adapter."""
        found = self._session.run(None, {"pixels": np.ascontiguousarray(pixels.numpy(force=True), np.float32)})
        return ImageStates(*map(torch.from_numpy, found))


def image_graph(encoder: DualEncoder, images: int, say: Callable[[str], None] | None = None) -> ImageGraph | None:
    """What embeds so many pictures faster than torch, written where that pays; None where torch is to do it.

    Args:
        encoder: the model; its adapters stand on what the graph gives.
        images: how many pictures are to be embedded.
        say: is told when it will take some seconds.
    """
    if images < OPENS or not _is_suitable(encoder):
        return None
    found = open_image_graph(encoder)
    if found is not None or images < PAYS or not all(map(importlib.util.find_spec, _WRITERS)):
        return found
    if say is not None:
        say(f"The image side of {encoder.name} is written as a graph, once: pictures are then embedded faster.")
    return open_image_graph(encoder) if _write(encoder.with_adapters(None, None)) else None


def open_image_graph(encoder: DualEncoder) -> ImageGraph | None:
    """The graph of an encoder's image tower, if it is in the cache, whole, and gives what the tower gives.

    Args:
        encoder: the model, on the processor.
    """
    if not _is_suitable(encoder):
        return None
    try:
        fingerprint = encoder.with_adapters(None, None).fingerprint()
        folder = _folder(fingerprint)
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        if facts["format"] != _FORMAT or facts["fingerprint"] != fingerprint or facts["hashes"] != _hashes(folder):
            return None
        graph = ImageGraph(_session(folder / _GRAPH), facts["hashes"][_GRAPH])
        return graph if _agrees(graph, encoder) else None
    except Exception:  # whatever it is, torch embeds without
        return None


def _is_suitable(encoder: DualEncoder) -> bool:
    """Whether a graph could stand for the image tower, here and now: one process, on the processor, in full precision,
    and no toy."""
    here = current()
    if world_size() > 1 or here.device.type != "cpu" or here.precision is not None or not _is_new_enough():
        return False
    weights = list(encoder.image_tower.parameters())
    return sum(each.numel() for each in weights) >= _TOY and all(each.dtype == torch.float32 for each in weights)


def _is_new_enough() -> bool:
    try:
        numbers = re.findall(r"\d+", importlib.metadata.version("onnxruntime"))
    except importlib.metadata.PackageNotFoundError:
        return False
    return tuple(map(int, numbers[:2])) >= _OLDEST


def _folder(fingerprint: str) -> Path:
    return cache_dir("image-graphs") / fingerprint[:16]


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: content_hash(path) for path in sorted(folder.iterdir()) if path.name != _FACTS}


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Else its threads turn round and round between two batches, on the cores that decode the next one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # it prints to the terminal otherwise
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@torch.inference_mode()
def _agrees(graph: ImageGraph, encoder: DualEncoder) -> bool:
    """Whether graph and tower say the same of some pixels, half of them noise and half of them smooth."""
    side, generator = encoder.preprocess.size, torch.Generator().manual_seed(0)
    noise = torch.rand(_PROBES // 2, 3, side, side, generator=generator)
    coarse = torch.rand(_PROBES // 2, 3, _COARSE, _COARSE, generator=generator)
    pixels = torch.cat([noise, F.interpolate(coarse, (side, side), mode="bilinear")]) * 4 - 2
    with evaluating(encoder):
        wanted = encoder.image_states(pixels)
    found = graph.states(pixels)
    near = all(
        bool(((one - other).abs() <= LIMIT * other.abs().amax().clamp(min=1e-6)).all())
        for one, other in (
            (found.embedding, wanted.embedding),
            (found.features, wanted.features),
            (found.doubt, wanted.doubt),
        )
        if one.shape == other.shape and other.numel()
    )
    alike = found.embedding.shape == wanted.embedding.shape and found.features.shape == wanted.features.shape
    return near and alike and bool(F.cosine_similarity(found.embedding, wanted.embedding).amin() >= COSINE)


def _write(bare: DualEncoder) -> bool:
    """Puts the graph of an encoder without adapters into the cache; whether that could be done."""
    from deixis.engine.export import onnx

    fingerprint = bare.fingerprint()
    folder = _folder(fingerprint)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_folder(folder) as part:
            onnx.write_side(bare, onnx.STATES, part, weights_beside=True)
            write_json(part / _FACTS, {"format": _FORMAT, "fingerprint": fingerprint, "hashes": _hashes(part)})
    except Exception:  # an operation that ONNX has no operator for, no room: torch embeds without
        return False
    _drop_oldest(folder)
    return True


def _drop_oldest(new: Path) -> None:
    """Leaves the graphs that were written last: one a model would fill the disk of who trains many."""
    with contextlib.suppress(OSError):
        others = [each for each in new.parent.iterdir() if each != new and (each / _FACTS).is_file()]
        others.sort(key=lambda each: (each / _FACTS).stat().st_mtime_ns, reverse=True)
        for each in others[_KEPT - 1 :]:
            shutil.rmtree(each, ignore_errors=True)
