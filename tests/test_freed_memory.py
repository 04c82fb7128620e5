"""What torch frees is there for its next tensors, unless somebody wants it otherwise."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deixis import freed_memory
from tests.commands import SOURCE

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is told")


@LINUX
@pytest.mark.parametrize(
    ("variables", "kept"),
    [
        ({}, True),
        ({"DEIXIS_FREED_MEMORY": "return"}, False),
        ({"MALLOC_ARENA_MAX": "2"}, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}, False),
        ({"GLIBC_TUNABLES": "glibc.rtld.nns=5"}, True),
    ],
)
def test_who_sets_a_variable_of_the_allocator_has_their_own_way(variables: dict[str, str], kept: bool) -> None:
    assert freed_memory.keep_freed_memory(variables) is kept


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not freed_memory.keep_freed_memory({})


def test_memory_is_kept_from_when_torch_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(freed_memory, "keep_freed_memory", lambda: told.append("kept"))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    loaded = sys.modules.pop("torch", None)
    try:
        freed_memory.install()
        freed_memory.install()
        finder = sys.meta_path[0]
        assert finder.find_spec("numpy", None) is None
        assert not told
        assert finder.find_spec("torch", None) is None
        assert finder.find_spec("torch", None) is None
        assert told == ["kept"]
    finally:
        if loaded is not None:
            sys.modules["torch"] = loaded
    freed_memory.install()
    assert told == ["kept"] * (1 + (loaded is not None))


@LINUX
@pytest.mark.slow
def test_a_second_tensor_is_laid_where_the_first_one_was() -> None:
    code = """
import resource
import deixis
import torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(40 << 18)  # 40 MB, more than glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""
    found = [
        int(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout)
        for env in ({"PYTHONPATH": str(SOURCE)}, {"PYTHONPATH": str(SOURCE), freed_memory.RETURN: "return"})
    ]
    assert found[0] * 20 < found[1]
