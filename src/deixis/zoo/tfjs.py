"""Graphs of TensorFlow.js as modules: `model.json` beside a file of weights, interpreted node by node.

    graph, weights = read_tfjs(folder / "model.json", ("scores",))
    network = TfjsGraph(graph, weights, ("scores",))
    scores = network(images)["scores"]

A graph is written for pictures as [B, H, W, C]; here every activation is [B, C, H, W], and axes, kernels and constants
are turned accordingly. The operations are a table, `OPERATIONS`; a graph that needs another one is refused by name. Two
conventions of TensorFlow differ from torch's: padding `SAME` puts the odd pixel below and to the right, and bilinear
resizing without `half_pixel_centers` reads its source at target / factor, where torch would read half a pixel aside.

Two things are done for speed, and change values by rounding alone: activations lie in memory as the graph has them,
channels last, and the four nodes of a hard swish are one.
"""

from __future__ import annotations

import base64
import collections
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError

__all__ = ["OPERATIONS", "TfjsGraph", "read_tfjs"]

Node = Mapping[str, Any]
Graph = list[dict[str, Any]]
Operation = Callable[[Node, Sequence[Tensor]], Tensor]


def read_tfjs(path: Path, outputs: Sequence[str]) -> tuple[Graph, dict[str, Tensor]]:
    """The nodes that `outputs` need, in the order in which they can be computed, and the constants among them.

    Args:
        path: of the json file; the files of weights that it names lie beside it.
        outputs: names of nodes.

    Raises:
        DeixisError: it is no graph of TensorFlow.js, holds no such node, or its weights are cut off or of a kind that
            is not read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        nodes = {node["name"]: node for node in content["modelTopology"]["node"]}
        groups = [
            (group["weights"], [Path(name).name for name in group["paths"]]) for group in content["weightsManifest"]
        ]
        stored = {
            name: value
            for entries, names in groups
            for name, value in _weights(entries, b"".join((path.parent / each).read_bytes() for each in names)).items()
        }
        graph = _needed(nodes, outputs)
        return graph, {node["name"]: stored[node["name"]] for node in graph if node["op"] == "Const"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeixisError(
            f"{path} is no graph of TensorFlow.js that can be read: {type(error).__name__}: {error}.",
            "It must have modelTopology and weightsManifest, with the files of weights beside it.",
        ) from error


def _weights(entries: Sequence[Mapping[str, Any]], content: bytes) -> dict[str, Tensor]:
    """The tensors of one group, which lie one behind the other."""
    found, start = {}, 0
    for entry in entries:
        kind = entry.get("quantization", {}).get("dtype", entry["dtype"])
        if kind not in _KINDS:
            raise ValueError(f"weights of kind {kind!r} in {entry['name']!r}")
        dtype, shape = _KINDS[kind], tuple(entry["shape"])
        count = math.prod(shape)
        if count:
            found[entry["name"]] = torch.frombuffer(bytearray(content), dtype=dtype, count=count, offset=start)
            found[entry["name"]] = found[entry["name"]].reshape(shape).clone()
        start += count * dtype.itemsize
    if start != len(content):
        raise ValueError(f"the weights need {start} bytes, and {len(content)} are there")
    return found


_KINDS = {"float16": torch.float16, "float32": torch.float32, "int32": torch.int32}


def _needed(nodes: Mapping[str, dict[str, Any]], outputs: Sequence[str]) -> Graph:
    """What `outputs` are computed from, each node behind its inputs."""
    order: dict[str, dict[str, Any]] = {}
    waiting = list(reversed(outputs))
    while waiting:
        name = waiting[-1]
        missing = [each for each in nodes[name].get("input", ()) if each not in order]
        if name in order or not missing:
            order[waiting.pop()] = nodes[name]
        else:
            if len(waiting) > len(nodes):
                raise ValueError("its nodes form a circle")
            waiting += missing[:1]
    return list(order.values())


def _swishes_joined(graph: Graph, weights: Mapping[str, Tensor], outputs: Sequence[str]) -> Graph:
    """The graph with `x * c * relu6(x + 3)` as one node each, where nothing else needs what lies between."""
    nodes = {node["name"]: node for node in graph}
    users = collections.Counter(name for node in graph for name in node.get("input", ()))
    joined, dropped = dict[str, dict[str, Any]](), set[str]()
    for node in graph:
        given = [nodes[name] for name in node.get("input", ())]
        if node["op"] != "Mul" or sorted(each["op"] for each in given) != ["Mul", "Relu6"]:
            continue
        scaled, cut = given if given[0]["op"] == "Mul" else given[::-1]
        raised = nodes[cut["input"][0]]
        between = {each["name"] for each in (scaled, cut, raised)}
        factor, term = (_one_scalar(each, weights) for each in (scaled, raised))
        if raised["op"] != "Add" or factor is None or term is None or between & set(outputs):
            continue
        if factor[1] == term[1] and term[0] == _RAISED and all(users[name] == 1 for name in between):
            joined[node["name"]] = {"name": node["name"], "op": _SWISH, "input": [factor[1]], "factor": factor[0]}
            dropped |= between
    return [joined.get(node["name"], node) for node in graph if node["name"] not in dropped]


def _one_scalar(node: Node, weights: Mapping[str, Tensor]) -> tuple[float, str] | None:
    """The constant of a node of two inputs, if exactly one is a single number, and the name of the other input."""
    single = [name for name in node["input"] if name in weights and weights[name].numel() == 1]
    others = [name for name in node["input"] if name not in single]
    return (float(weights[single[0]]), others[0]) if len(single) == len(others) == 1 else None


class TfjsGraph(nn.Module):
    """A graph as a module; its constants are its parameters.

    Args:
        graph: nodes in the order of computation, as `read_tfjs` gives them.
        weights: the value of each node of kind `Const`.
        outputs: the nodes that are given back.

    Raises:
        DeixisError: a node is of a kind that is not in `OPERATIONS`, or its settings are not supported.
    """

    def __init__(self, graph: Graph, weights: Mapping[str, Tensor], outputs: Sequence[str]) -> None:
        super().__init__()
        unknown = sorted({node["op"] for node in graph} - set(OPERATIONS) - {"Const", "Placeholder"})
        if unknown:
            raise DeixisError(
                f"The graph has operations that are not known here: {', '.join(unknown)}.",
                f"Known are: {', '.join(OPERATIONS)}.",
            )
        self.outputs = tuple(outputs)
        self._graph = [node for node in _swishes_joined(graph, weights, outputs) if node["op"] != "Const"]
        self._constants = {name: value for name, value in weights.items() if not value.is_floating_point()}
        kernels = {node["input"][1] for node in graph if node["op"] in _KERNELS}
        for name, value in sorted(weights.items()):
            if value.is_floating_point():
                turned = _turned(value.float(), name in kernels)
                self.register_parameter(_key(name), nn.Parameter(turned))

    def forward(self, images: Float[Tensor, "B C H W"]) -> dict[str, Tensor]:
        """The outputs by name, each [B, C, H, W]."""
        values: dict[str, Tensor] = dict(self._constants)
        images = images.contiguous(memory_format=torch.channels_last)
        for node in self._graph:
            names = node.get("input", ())
            given = [values[each] if each in values else self.get_parameter(_key(each)) for each in names]
            values[node["name"]] = images if node["op"] == "Placeholder" else _COMPUTED[node["op"]](node, given)
        return {name: values[name] for name in self.outputs}


def _key(name: str) -> str:
    return "constant/" + name.replace(".", "_")  # names of their own, as `half` is a method of every module


def _turned(value: Tensor, is_kernel: bool) -> Tensor:
    """A constant for activations [B, C, H, W]: kernels lose their last place for the first, vectors are channels."""
    if is_kernel:
        return value.permute(3, 2, 0, 1).contiguous()
    return value[:, None, None] if value.dim() == 1 else value


# the operations


def _conv(node: Node, given: Sequence[Tensor]) -> Tensor:
    values, kernel = given[0], given[1]
    bias = given[2].flatten() if len(given) > 2 else None
    groups = 1
    if "Depthwise" in node["op"]:  # [multiple, channels, h, w]: one output a channel and multiple
        groups = kernel.shape[1]
        kernel = kernel.transpose(0, 1).reshape(-1, 1, *kernel.shape[2:])
    strides, dilations = (tuple(_ints(node, key, (1, 1, 1, 1))[1:3]) for key in ("strides", "dilations"))
    padding = [
        _padding(node, *each) for each in zip(values.shape[2:], kernel.shape[2:], strides, dilations, strict=True)
    ]
    even = tuple(low for low, _ in padding)
    if any(low != high for low, high in padding):
        values, even = F.pad(values, (*padding[1], *padding[0])), (0, 0)
    found = F.conv2d(values, kernel, bias, strides, even, dilations, groups)
    for name in _texts(node, "fused_ops")[1:]:
        found = _ACTIVATIONS[name](found)
    return found


def _padding(node: Node, size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Before and behind, along one axis."""
    if _text(node, "padding") == "VALID":
        return 0, 0
    total = max(0, (math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def _resize(node: Node, given: Sequence[Tensor]) -> Tensor:
    values, size = given[0], [int(each) for each in given[1].tolist()]
    flags = [bool(node["attr"].get(key, {}).get("b")) for key in ("align_corners", "half_pixel_centers")]
    if any(flags):
        return F.interpolate(values, size, mode="bilinear", align_corners=flags[0])
    return _stretch(_stretch(values, 2, size[0]), 3, size[1])


def _stretch(values: Tensor, axis: int, size: int) -> Tensor:
    """One axis at another size: the value at i is read at i * old / new, between two neighbours."""
    old = values.shape[axis]
    place = torch.arange(size, device=values.device) * (old / size)
    low = place.long().clamp(max=old - 1)
    share = (place - low).to(values.dtype).reshape(-1, *[1] * (4 - axis))
    last, along = values.movedim(1, -1), axis - 1  # what is selected lies in memory in the order of the axes
    first, second = (last.index_select(along, each) for each in (low, (low + 1).clamp(max=old - 1)))
    return torch.lerp(first, second, share).movedim(-1, 1)


def _concat(node: Node, given: Sequence[Tensor]) -> Tensor:
    *values, axis = given
    return torch.cat(values, dim=_AXES[int(axis)])


def _mean(node: Node, given: Sequence[Tensor]) -> Tensor:
    axes = [_AXES[int(each)] for each in given[1].flatten().tolist()]
    return given[0].mean(axes, keepdim=bool(node["attr"].get("keep_dims", {}).get("b")))


def _swish(node: Node, given: Sequence[Tensor]) -> Tensor:
    return F.hardswish(given[0]).mul_(6 * node["factor"])  # half precision has no sixth


_AXES = {0: 0, 1: 2, 2: 3, 3: 1, -1: 1}
"""Axis of [B, H, W, C] -> axis of [B, C, H, W]."""

_SWISH, _RAISED = "joined hard swish", 3.0

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Relu": torch.relu_,
    "Relu6": lambda values: F.hardtanh_(values, 0.0, 6.0),
}
"""Of what a convolution gave, in its place."""

OPERATIONS: dict[str, Operation] = {
    "Conv2D": _conv,
    "_FusedConv2D": _conv,
    "DepthwiseConv2dNative": _conv,
    "FusedDepthwiseConv2dNative": _conv,
    "ResizeBilinear": _resize,
    "ConcatV2": _concat,
    "Mean": _mean,
    "Add": lambda node, given: given[0] + given[1],
    "Mul": lambda node, given: given[0] * given[1],
    "Relu": lambda node, given: F.relu(given[0]),
    "Relu6": lambda node, given: F.relu6(given[0]),
    "Sigmoid": lambda node, given: given[0].sigmoid(),
    "Identity": lambda node, given: given[0],
}
"""Name of an operation -> what it computes from its node and its inputs."""

_COMPUTED = {**OPERATIONS, _SWISH: _swish}

_KERNELS = ("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")


def _ints(node: Node, key: str, default: Sequence[int]) -> list[int]:
    return [int(each) for each in node["attr"].get(key, {}).get("list", {}).get("i", default)]


def _text(node: Node, key: str) -> str:
    """A text among the settings of a node, which are written in base 64."""
    return base64.b64decode(node["attr"].get(key, {}).get("s", "")).decode()


def _texts(node: Node, key: str) -> list[str]:
    return [base64.b64decode(each).decode() for each in node["attr"].get(key, {}).get("list", {}).get("s", ())]
