"""The tensors of a TorchScript archive, without its code: OpenAI's weights come as such archives.

`torch.jit.load` compiles and may run what an archive holds. The tensors alone lie in it as plain bytes (`data/0`,
`data/1`, ...), and a pickle tells where they belong. That pickle is read by an unpickler that knows four kinds of
things: a nameless object for each module, an ordered dictionary, a tensor's description, and lists of numbers.
"""

from __future__ import annotations

import collections
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor

__all__ = ["StoredTensor", "is_archive", "read"]

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class StoredTensor(NamedTuple):
    """Where a tensor lies in an archive.

    Attributes:
        record: name of the bytes.
        dtype: of the tensor.
        offset: of its first element.
        shape: of the tensor.
        stride: of the tensor, in elements.
    """

    record: str
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def load(self, path: Path) -> Shaped[Tensor, "..."]:
        """The tensor, in memory of its own.

        Raises:
            ValueError: the archive holds fewer bytes than the tensor needs.
        """
        with zipfile.ZipFile(path) as archive:
            data = bytearray(archive.read(self.record))
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        if math.prod(self.shape) == 0:
            return torch.empty(self.shape, dtype=self.dtype)
        if not 0 <= self.offset <= last < len(data) // self.dtype.itemsize:
            raise ValueError(f"the record {self.record} holds too few bytes for a tensor of shape {list(self.shape)}")
        flat = torch.frombuffer(data, dtype=self.dtype)
        whole = self.offset == 0 and flat.numel() == math.prod(self.shape)
        value = flat.as_strided(self.shape, self.stride, self.offset)
        return value if whole else value.clone()


class _Module(dict[str, Any]):
    """Stands for an object of a class that the archive defines: its attributes and nothing else."""

    def __setstate__(self, state: Any) -> None:
        self.update(state if isinstance(state, dict) else {})


class _Reader(pickle.Unpickler):
    def __init__(self, file: Any, root: str) -> None:
        super().__init__(file)
        self._root = root

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch.jit._pickle" and name.startswith("build_") and name.endswith("list"):
            return list
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> tuple[str, torch.dtype]:
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and isinstance(pid[1], torch.dtype)):
            raise pickle.UnpicklingError("it requests something that is not a storage")
        return f"{self._root}/data/{pid[2]}", pid[1]


def _rebuild(storage: tuple[str, torch.dtype], offset: int, shape: Any, stride: Any, *rest: Any) -> StoredTensor:
    sizes = tuple(int(size) for size in shape), tuple(int(step) for step in stride)
    if min((0, offset, *sizes[0], *sizes[1])) < 0:
        raise pickle.UnpicklingError("it describes a tensor with a negative size")
    return StoredTensor(*storage, int(offset), *sizes)


def is_archive(path: Path) -> bool:
    """Whether a file is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read(path: Path) -> dict[str, StoredTensor]:
    """Where every parameter and buffer lies, by its name in the module's state dict.

    Raises:
        pickle.UnpicklingError: the pickle asks for anything but tensors; nothing of it was run.
        ValueError: the archive is not laid out as TorchScript's are.
    """
    with zipfile.ZipFile(path) as archive:
        [index] = [name for name in archive.namelist() if name.endswith("/data.pkl")] or [""]
        if not index:
            raise ValueError("the archive has no data.pkl")
        order = index.removesuffix("data.pkl") + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise ValueError("the archive was written on a big-endian machine")
        with archive.open(index) as file:
            root = _Reader(file, index.removesuffix("/data.pkl")).load()
    found: dict[str, StoredTensor] = {}
    _collect(root, "", found)
    return found


def _collect(module: Any, prefix: str, found: dict[str, StoredTensor]) -> None:
    for name, value in module.items() if isinstance(module, _Module) else ():
        if isinstance(value, StoredTensor):
            found[prefix + name] = value
        else:
            _collect(value, f"{prefix}{name}.", found)
