"""The preset that `deixis train NAME` begins with can be built; elsewhere methods are built by the tiny one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deixis import engine
from deixis.errors import DeixisError
from deixis.methods import list_methods, read
from deixis.types import Sample, Source

WORDS = ("dog", "cat", "cup", "hat")
SOURCE = Source(
    "made",
    Path(),
    "captions",
    "made",
    tuple(Sample(str(n), None, (f"a red {WORDS[n % 4]} on a table",), label=WORDS[n % 4]) for n in range(12)),
)
NOT_HERE = ("deixis data get", "from the hub")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in list_methods() if read(name).card.kind == "trained"])
def test_a_method_is_built_by_its_desk_preset(name: str, fetched: Callable[[str], Path]) -> None:
    fetched("starter")
    names = {part.name: WORDS for part in read(name).card.parts if part.kind == "names"}
    try:
        method = engine.build(name, "desk", names, {}, 0, SOURCE)
    except DeixisError as error:
        if any(each in str(error) for each in NOT_HERE):
            pytest.skip(str(error).splitlines()[0][:100])
        raise
    assert engine.stages(method)
