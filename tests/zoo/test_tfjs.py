"""Graphs of TensorFlow.js: each operation against a slow loop from TensorFlow's definition, and what is refused."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deixis.errors import DeixisError
from deixis.zoo.tfjs import OPERATIONS, TfjsGraph, read_tfjs

Settings = dict[str, Any]


def text(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def conv_settings(stride: int, padding: str, dilation: int = 1, fused: tuple[str, ...] = ()) -> Settings:
    return {
        "strides": {"list": {"i": ["1", str(stride), str(stride), "1"]}},
        "dilations": {"list": {"i": ["1", str(dilation), str(dilation), "1"]}},
        "padding": {"s": text(padding)},
        "fused_ops": {"list": {"s": [text(each) for each in fused]}},
    }


def run(op: str, images: Tensor, settings: Settings, **constants: Tensor) -> Tensor:
    """One operation of `images` [B, C, H, W] and constants, in the layout of TensorFlow."""
    graph = [
        {"name": "images", "op": "Placeholder"},
        *({"name": name, "op": "Const"} for name in constants),
        {"name": "out", "op": op, "input": ["images", *constants], "attr": settings},
    ]
    return TfjsGraph(graph, constants, ("out",))(images)["out"].detach()


def slow_conv(images: Tensor, kernel: Tensor, stride: int, same: bool, dilation: int, depthwise: bool) -> Tensor:
    """TensorFlow's definition, pixel by pixel: kernels are [h, w, in, out], for depthwise ones out is a multiple."""
    pixels, (high, wide, inner, outer) = images.permute(0, 2, 3, 1), kernel.shape
    sizes = [(n, (k - 1) * dilation + 1) for n, k in zip(pixels.shape[1:3], (high, wide), strict=True)]
    out = [math.ceil(n / stride) if same else math.ceil((n - reach + 1) / stride) for n, reach in sizes]
    first = [max((o - 1) * stride + r - n, 0) // 2 if same else 0 for o, (n, r) in zip(out, sizes, strict=True)]
    found = torch.zeros(len(images), *out, inner * outer if depthwise else outer)
    for y in range(out[0]):
        for x in range(out[1]):
            for dy in range(high):
                for dx in range(wide):
                    row, column = y * stride + dy * dilation - first[0], x * stride + dx * dilation - first[1]
                    if 0 <= row < pixels.shape[1] and 0 <= column < pixels.shape[2]:
                        values = pixels[:, row, column]
                        found[:, y, x] += (
                            (values[:, :, None] * kernel[dy, dx]).flatten(1) if depthwise else values @ kernel[dy, dx]
                        )
    return found.permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [(1, "SAME", 1), (2, "SAME", 1), (2, "VALID", 1), (1, "SAME", 2)]
)
@pytest.mark.parametrize("depthwise", [False, True])
def test_convolutions_pad_as_tensorflow_does(stride: int, padding: str, dilation: int, depthwise: bool) -> None:
    images, kernel = torch.randn(2, 3, 6, 5), torch.randn(3, 2, 3, 2)
    op = "DepthwiseConv2dNative" if depthwise else "Conv2D"
    found = run(op, images, conv_settings(stride, padding, dilation), kernel=kernel)
    torch.testing.assert_close(found, slow_conv(images, kernel, stride, padding == "SAME", dilation, depthwise))


def test_fused_convolutions_add_the_bias_before_the_activation() -> None:
    images, kernel, bias = torch.randn(1, 3, 4, 4), torch.randn(1, 1, 3, 2), torch.randn(2)
    settings = conv_settings(1, "SAME", fused=("BiasAdd", "Relu"))
    found = run("_FusedConv2D", images, settings, kernel=kernel, bias=bias)
    plain = run("Conv2D", images, conv_settings(1, "SAME"), kernel=kernel)
    torch.testing.assert_close(found, (plain + bias[:, None, None]).relu())


def test_bilinear_resizing_without_flags_reads_the_source_at_target_over_factor() -> None:
    images = torch.randn(1, 2, 3, 2)
    found = run("ResizeBilinear", images, {}, size=torch.tensor([6, 4], dtype=torch.int32))
    for y in range(6):
        for x in range(4):
            low, left = y // 2, x // 2
            below, right = min(low + 1, 2), min(left + 1, 1)
            across = [
                images[0, :, row, left] * (1 - x % 2 / 2) + images[0, :, row, right] * (x % 2 / 2)
                for row in (low, below)
            ]
            torch.testing.assert_close(found[0, :, y, x], across[0] * (1 - y % 2 / 2) + across[1] * (y % 2 / 2))


def test_axes_and_vectors_are_those_of_channels_last() -> None:
    images = torch.randn(2, 3, 4, 5)
    mean = run("Mean", images, {"keep_dims": {"b": True}}, axes=torch.tensor([1, 2], dtype=torch.int32))
    torch.testing.assert_close(mean, images.mean((2, 3), keepdim=True))
    added = run("Add", images, {}, offset=torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(added, images + torch.tensor([1.0, 2.0, 3.0])[:, None, None])


@pytest.mark.parametrize("output", ["out", "raised"])
def test_a_hard_swish_is_one_node_unless_something_else_needs_its_middle(output: str) -> None:
    images = 4 * torch.randn(2, 3, 5, 4)
    constants = {"three": torch.tensor(3.0), "sixth": torch.tensor(1 / 6).half()}
    graph = [
        {"name": "images", "op": "Placeholder"},
        *({"name": name, "op": "Const"} for name in constants),
        {"name": "raised", "op": "Add", "input": ["images", "three"]},
        {"name": "cut", "op": "Relu6", "input": ["raised"]},
        {"name": "scaled", "op": "Mul", "input": ["sixth", "images"]},
        {"name": "out", "op": "Mul", "input": ["scaled", "cut"]},
    ]
    network = TfjsGraph(graph, constants, ("out", output))
    assert len(network._graph) == (2 if output == "out" else 5)
    expected = images * float(constants["sixth"]) * (images + 3).clamp(0, 6)
    torch.testing.assert_close(network(images)["out"], expected)


def write_model(folder: Path, op: str = "Mul", cut: int = 0) -> Path:
    """A graph that halves its image, its one weight in half precision; and a node that no output needs."""
    nodes = [
        {"name": "unused", "op": "TopKV2", "input": ["out"], "attr": {}},
        {"name": "out", "op": op, "input": ["images", "half"], "attr": {}},
        {"name": "half", "op": "Const"},
        {"name": "images", "op": "Placeholder"},
    ]
    weight = {"name": "half", "shape": [], "dtype": "float32", "quantization": {"dtype": "float16"}}
    manifest = [{"paths": ["model.bin"], "weights": [weight]}]
    (folder / "model.bin").write_bytes(torch.tensor([0.5]).half().numpy().tobytes()[cut:])
    content = {"modelTopology": {"node": nodes}, "weightsManifest": manifest}
    (folder / "model.json").write_text(json.dumps(content))
    return folder / "model.json"


def test_a_file_is_read_with_the_nodes_that_its_outputs_need(tmp_path: Path) -> None:
    graph, weights = read_tfjs(write_model(tmp_path), ("out",))
    assert [node["name"] for node in graph][-1] == "out"
    assert "unused" not in {node["name"] for node in graph}
    images = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(TfjsGraph(graph, weights, ("out",))(images)["out"], images / 2)


def test_an_operation_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match=r"not known here: FancyOp\. Known are: Conv2D, .*Identity"):
        TfjsGraph(*read_tfjs(write_model(tmp_path, "FancyOp"), ("out",)), ("out",))
    assert "Mul" in OPERATIONS


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: (path.parent / "model.bin").write_bytes(b"\0"), "buffer length|weights need"),
        (lambda path: (path.parent / "model.bin").write_bytes(b"\0" * 8), "weights need 2 bytes, and 8 are there"),
        (lambda path: (path.parent / "model.bin").unlink(), "No such file"),
        (lambda path: path.write_text("{"), "JSON"),
        (lambda path: path.write_text('{"format": "layers-model"}'), "modelTopology"),
        (lambda path: path.write_text(path.read_text().replace("float16", "uint4")), "kind 'uint4'"),
        (lambda path: path.write_text(path.read_text().replace('["images", "half"]', '["images", "gone"]')), "gone"),
        (lambda path: path.write_text(path.read_text().replace('["images", "half"]', '["images", "out"]')), "circle"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_message(tmp_path: Path, damage: Any, why: str) -> None:
    path = write_model(tmp_path)
    damage(path)
    with pytest.raises(DeixisError, match=f"is no graph of TensorFlow.js that can be read: .*({why})"):
        read_tfjs(path, ("out",))
