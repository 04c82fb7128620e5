"""ONNX graphs in 8 bits: a quarter of the bytes, and somewhat other embeddings, whose cost is to be measured.

Text towers and vision transformers are quantised dynamically: weights ahead, a scale a channel, states as they come.
Of convolutional networks that is slow and coarse, so their states get fixed ranges too, read off calibration images.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from deixis.engine.export.onnx import INPUTS, SIDES, graph_name, require_packages

__all__ = ["quantise"]

_BATCH = 8
_DYNAMIC = ("MatMul", "Gather")
"""Linear maps, and the table of word embeddings, of which most of a small text tower's bytes are."""


def quantise(folder: Path, calibration: Float[Tensor, "B 3 S S"]) -> Mapping[str, str]:
    """Writes an 8-bit graph beside each of the two in `folder`.

    Args:
        folder: as `deixis.engine.export.onnx.write` left it.
        calibration: preprocessed images that nothing is measured on.

    Returns:
        Side -> how it was quantised, in words.
    """
    require_packages()
    found = {}
    for side in SIDES:
        source, target = folder / graph_name(side), folder / graph_name(side, int8=True)
        with tempfile.TemporaryDirectory(dir=folder) as place, _quiet():
            ready = Path(place) / source.name
            _prepare(source, ready)
            if side == "image" and _is_convolutional(ready):
                _fixed(ready, target, calibration)
                found[side] = f"weights and states, ranges from {len(calibration)} calibration images"
            else:
                _dynamic(ready, target)
                found[side] = "weights ahead, states as they come"
            _keep_metadata(source, target)
    return found


def _prepare(source: Path, target: Path) -> None:
    """What onnxruntime wants before: constants folded, batch norms merged, shapes inferred."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # Its symbolic shapes break off at an Expand of an unknown size; those of ONNX itself suffice.
    quant_pre_process(source, target, skip_symbolic_shape=True)


def _dynamic(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=list(_DYNAMIC))


def _fixed(source: Path, target: Path, calibration: Tensor) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands out batches."""

        def __init__(self) -> None:
            self._parts = iter(calibration.split(_BATCH))

        def get_next(self) -> dict[str, np.ndarray] | None:
            part = next(self._parts, None)
            return None if part is None else {INPUTS["image"][0]: part.numpy(force=True)}

    quantize_static(
        source,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _is_convolutional(path: Path) -> bool:
    """Whether most of a graph's weights are those of convolutions."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    sizes = {each.name: int(np.prod(each.dims)) for each in graph.initializer}
    kernels = sum(sizes.get(node.input[1], 0) for node in graph.node if node.op_type == "Conv")
    return 2 * kernels > sum(sizes.values())


def _keep_metadata(source: Path, target: Path) -> None:
    import onnx

    model, metadata = onnx.load(target), onnx.load(source, load_external_data=False).metadata_props
    onnx.helper.set_model_props(model, {each.key: each.value for each in metadata} | {"int8": "true"})
    onnx.save(model, target)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out what onnxruntime logs of its own steps."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
