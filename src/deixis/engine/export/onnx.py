"""A dual encoder as two ONNX graphs that need no torch: `image.onnx` for pixels, `text.onnx` for token numbers and
the mask that says which are real.

Adapters are part of the graphs. Both take batches of any size, the text graph texts of any length up to the context.
What belongs to a graph and is no weight (preprocessing, scale, fingerprint, licence) stands in its `metadata_props`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.errors import DeixisError, require
from deixis.files import public_name
from deixis.nn.dual import DualEncoder
from deixis.nn.modes import evaluating
from deixis.types import Tokens

__all__ = [
    "INPUTS",
    "OUTPUTS",
    "SIDES",
    "STATES",
    "Graphs",
    "effective",
    "facts",
    "graph_name",
    "preprocessing",
    "require_packages",
    "write",
    "write_side",
]

SIDES = ("image", "text")
STATES = "states"
"""The third graph that can be written: what the image tower says before any adapter, see `image_graph`."""
INPUTS = {"image": ("pixels",), "text": ("tokens", "mask"), STATES: ("pixels",)}
OUTPUT = "embeddings"
OUTPUTS = {"image": (OUTPUT,), "text": (OUTPUT,), STATES: ("embedding", "features", "doubt")}
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_packages() -> None:
    """Makes sure that the packages of the extra `export` are there.

    Raises:
        DeixisError: one is not.
    """
    for package in _PACKAGES:
        if sys.modules.get(package, package) is None or importlib.util.find_spec(package) is None:
            require(package, "export", "write and check ONNX graphs")  # which says so; importing all takes seconds


def graph_name(side: str, int8: bool = False) -> str:
    """What the file of a graph is called.

    >>> graph_name("image"), graph_name("text", int8=True)
    ('image.onnx', 'text-int8.onnx')
    """
    return f"{side}-int8.onnx" if int8 else f"{side}.onnx"


def effective(encoder: DualEncoder) -> DualEncoder:
    """The encoder without adapters that change nothing, since their strength is 0: its embeddings are the same."""
    adapters = (encoder.image_adapter, encoder.text_adapter)
    active = (None if each is None or float(getattr(each, "strength", 1.0)) == 0 else each for each in adapters)
    return encoder.with_adapters(*active)


def preprocessing(encoder: DualEncoder) -> dict[str, Any]:
    """All fields of the preprocessing, as plain values."""
    return dict(json.loads(json.dumps(dataclasses.asdict(encoder.preprocess))))


def facts(encoder: DualEncoder) -> dict[str, str]:
    """What stands in the `metadata_props` of both graphs; numbers and objects as JSON.

    A score is `scale` times the cosine, plus `bias`.
    """
    return {
        "model": public_name(encoder.name),
        "model_fingerprint": encoder.fingerprint(),
        "licence": encoder.licence,
        "scale": json.dumps(encoder.scale),
        "bias": json.dumps(encoder.bias or 0.0),
        "width": json.dumps(encoder.width),
        "context_length": json.dumps(encoder.context_length),
        "padding": "0",
        "preprocess": json.dumps(preprocessing(encoder)),
        "deixis": importlib.metadata.version("deixis"),
    }


class _Side(nn.Module):
    """One side of an encoder, from tensors to embeddings."""

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.encoder.encode_image(values) if mask is None else self.encoder.encode_text(values, mask=mask)


class _States(nn.Module):
    """The image tower of an encoder, as tensors beside each other."""

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        states = self.encoder.image_states(pixels)
        return states.embedding, states.features, states.doubt


def write(encoder: DualEncoder, folder: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes `image.onnx` and `text.onnx`.

    Args:
        encoder: is not changed.
        folder: is there already.
        metadata: further entries of `metadata_props`, or others in place of those of `facts`.

    Raises:
        DeixisError: a package is missing, or a tower does something that ONNX has no operator for.
    """
    for each in SIDES:
        write_side(encoder, each, folder, metadata)


def write_side(
    encoder: DualEncoder,
    side: str,
    folder: Path,
    metadata: Mapping[str, str] | None = None,
    *,
    weights_beside: bool = False,
) -> None:
    """Writes `image.onnx`, `text.onnx` or `states.onnx`.

    Args:
        encoder: is not changed.
        side: one of `SIDES`, or `STATES`.
        folder: is there already.
        metadata: as of `write`.
        weights_beside: in a second file, such as `text.onnx.data`, which onnxruntime maps into memory.

    Raises:
        DeixisError: as `write`.
    """
    require_packages()
    plain = effective(encoder)
    if side != "text":
        example: tuple[Tensor, ...] = (torch.zeros(2, 3, plain.preprocess.size, plain.preprocess.size),)
    else:
        tokens = torch.ones(2, min(plain.context_length, 8), dtype=torch.long)
        example = (tokens, tokens > 0)
    program = _exported(plain, side, tuple(value.to(plain.device) for value in example))
    _forget_places(program.model)
    program.model.metadata_props.update(facts(encoder) | dict(metadata or {}), kind=side)
    program.save(folder / graph_name(side), external_data=weights_beside)


def _exported(encoder: DualEncoder, side: str, example: tuple[Tensor, ...]) -> Any:
    batch = torch.export.Dim("batch")
    length = torch.export.Dim("length", min=1, max=encoder.context_length)
    shape = {0: batch, 1: length} if side == "text" else {0: batch}
    module = _States(encoder) if side == STATES else _Side(encoder)
    with evaluating(module), torch.no_grad(), _known_warnings():
        try:
            return torch.onnx.export(
                module,
                example,
                dynamo=True,
                verbose=False,
                dynamic_shapes=(shape,) * len(example),
                input_names=list(INPUTS[side]),
                output_names=list(OUTPUTS[side]),
            )
        except torch.onnx.OnnxExporterError as error:
            side = "text" if side == "text" else "image"
            tower = type(getattr(encoder, f"{side}_tower")).__name__
            why = next((line for line in str(error.__cause__ or error).splitlines() if line.strip()), "")
            raise DeixisError(
                f"The {side} tower ({tower}) contains an operation that can't be exported to ONNX: {why}",
                "Use the model in deixis; `deixis.load` needs torch.",
            ) from error


@contextlib.contextmanager
def _known_warnings() -> Iterator[None]:
    """Leaves out what torch's exporter warns of in its own code."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*LeafSpec.*is deprecated", FutureWarning)
        # Tokens and mask have the same axes, of which one is named.
        warnings.filterwarnings("ignore", r".*axis name: .* will not be used", UserWarning)
        yield


def _forget_places(model: Any) -> None:
    """Takes out what the exporter notes of the source files, with their places on this machine."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


class Graphs:
    """Two written graphs, run by onnxruntime on the processor.

    Args:
        folder: that holds them.
        int8: take the quantised ones.
        threads: of onnxruntime; None: as many as torch has.

    Raises:
        DeixisError: a file is missing, or is no graph.
    """

    def __init__(self, folder: Path, int8: bool = False, threads: int | None = None) -> None:
        require_packages()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        self._sessions = {}
        for side in SIDES:
            path = folder / graph_name(side, int8)
            try:
                session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # the package raises its own, and RuntimeError
                raise DeixisError(f"{path} is no ONNX graph that can be read: {error}", "Export again.") from error
            self._sessions[side] = session

    def metadata(self, side: str) -> dict[str, str]:
        """The entries of `metadata_props`."""
        return dict(self._sessions[side].get_modelmeta().custom_metadata_map)

    def shape(self, side: str) -> list[int | str]:
        """Of the input; a name where it may be of any size."""
        return list(self._sessions[side].get_inputs()[0].shape)

    def encode_image(self, pixels: Float[Tensor, "B 3 S S"], batch_size: int = 32) -> Float[Tensor, "B D"]:
        """Embeddings of length 1 of preprocessed images."""
        return self._run("image", (pixels,), batch_size)

    def encode_text(self, tokens: Tokens, batch_size: int = 32) -> Float[Tensor, "B D"]:
        """Embeddings of length 1 of texts."""
        return self._run("text", tokens, batch_size)

    def _run(self, side: str, values: tuple[Tensor, ...], batch_size: int) -> Tensor:
        known = {each.name for each in self._sessions[side].get_inputs()}  # older graphs of texts take no mask
        rows = []
        for parts in zip(*(value.split(batch_size) for value in values), strict=True):
            named = zip(INPUTS[side], parts, strict=True)
            feed = {name: part.numpy(force=True) for name, part in named if name in known}
            rows.append(self._sessions[side].run([OUTPUT], feed)[0])
        return torch.from_numpy(np.concatenate(rows))
