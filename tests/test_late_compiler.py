"""Libraries that want torch's compiler while they are imported get it when they use it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deixis import late_compiler
from tests.commands import SOURCE

COMPILER = {
    "__init__": "def disable(fn, recursive=True, reason=None):\n    return lambda: ('left alone', fn(), reason)\n",
    "utils": "def is_compile_supported(device_type):\n    return device_type == 'cpu'\n",
    "other": "value = 7\n",
}


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for libraries, beside a compiler of three modules; the finder looks for a library called `library`."""
    (tmp_path / "compiler_of_tests").mkdir()
    for name, text in COMPILER.items():
        (tmp_path / "compiler_of_tests" / f"{name}.py").write_text(text, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(late_compiler, "COMPILER", "compiler_of_tests")
    monkeypatch.setattr(late_compiler, "_LIBRARIES", ("library_of_tests",))
    late_compiler.install()
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("compiler_of_tests", "library_of_tests")]:
        del sys.modules[name]


def imported(folder: Path, text: str) -> Any:
    (folder / "library_of_tests.py").write_text(text, "utf-8")
    return importlib.import_module("library_of_tests")


def test_a_function_that_is_asked_for_imports_the_compiler_when_it_is_called(libraries: Path) -> None:
    library = imported(libraries, "from compiler_of_tests.utils import is_compile_supported\n")
    assert not [name for name in sys.modules if name.startswith("compiler_of_tests")]
    assert type(library.__loader__) is type(library.__spec__.loader) is not late_compiler._Loader
    assert library.is_compile_supported("cpu")
    assert not library.is_compile_supported("meta")
    assert sys.modules["compiler_of_tests"].__file__


def test_a_decorated_function_is_as_it_was_until_something_is_compiled(libraries: Path) -> None:
    text = "from compiler_of_tests import disable\n@disable(reason='slow')\ndef two():\n    return 2\n"
    library = imported(libraries, text)
    assert library.two() == 2
    assert library.two.__name__ == "two"
    importlib.import_module("compiler_of_tests")
    assert library.two() == ("left alone", 2, "slow")


@pytest.mark.parametrize(
    "text",
    [
        "from compiler_of_tests import other\nvalue = other.value\n",
        "import compiler_of_tests.other\nvalue = compiler_of_tests.other.value\n",
    ],
)
def test_whatever_else_a_library_wants_is_the_real_one(text: str, libraries: Path) -> None:
    assert imported(libraries, text).value == 7
    assert sys.modules["compiler_of_tests"].__file__


def test_a_library_that_can_not_be_imported_says_why(libraries: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        imported(libraries, "from compiler_of_tests import disable\n1 / 0\n")
    assert "library_of_tests" not in sys.modules


@pytest.mark.slow
def test_the_two_libraries_as_they_are_import_no_compiler_and_work() -> None:
    code = """
import sys
import deixis
import timm, torch, torchvision
from torchvision.ops import nms, roi_align
assert "torch._dynamo" not in sys.modules
assert torchvision.__spec__.loader is torchvision.__loader__
boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3.9]])
assert nms(boxes, torch.tensor([0.5, 0.9]), 0.5).tolist() == [1]
assert timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32)(torch.rand(1, 3, 32, 32)).shape == (1, 192)
assert "torch._dynamo" not in sys.modules
torch.use_deterministic_algorithms(True)  # roi_align asks then
assert roi_align(torch.rand(1, 3, 8, 8), [boxes[:1]], 2).shape == (1, 3, 2, 2)
import torch._dynamo
assert torch._dynamo.__file__ and torch._dynamo.disable(len)([1]) == 1
"""
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
