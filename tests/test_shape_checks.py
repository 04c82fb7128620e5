"""Calls that contradict a signature are refused, whatever kind of function it is of."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import zeros

from tests.shape_checks import check_shapes

SOURCE = """
from __future__ import annotations
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from nowhere import Unknown

def product(a: Float[Tensor, "B D"], b: Float[Tensor, "B D"] | None = None, *, scale: int = 1) -> Float[Tensor, " B"]:
    return (a * (a if b is None else b)).sum(1) * scale

def transposed(a: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    return a.T

def nested(a: Float[Tensor, "B D"]) -> Float[Tensor, " D"]:
    return product(a.T)

def squared(a: Float[Tensor, "N N"]) -> Float[Tensor, "N 2"] | None:
    return a[:, :2] if len(a) > 2 else None

def masked(a: Float[Tensor, "B D"], mask: Float[Tensor, " B"] | float = 1.0, /) -> Float[Tensor, "B D"] | float:
    return a * mask[:, None] if isinstance(mask, Tensor) else mask

def gathered(*parts: Float[Tensor, "B _"], names: Sequence[str] = (), **more: Float[Tensor, " B"]) -> dict[str, Tensor]:
    return dict(zip(names, parts), **more)

def doubled(text: str) -> list[str]:
    return [text, text] if text else None

def rows(a: Float[Tensor, "B D"], count: int) -> Iterator[Float[Tensor, " D"]]:
    yield from a[:count]

def dotted(a: Float[Tensor, "*B D"], b: Float[Tensor, "*B D"], c: Float[Tensor, "... D"]) -> Float[Tensor, "*B"]:
    return (a * b).sum(-1) if c.any() else b.sum(-1)[None]

def typed_only(a: Unknown, count: int) -> Unknown:
    return a

@dataclass(frozen=True)
class Pair:
    one: Float[Tensor, "B D"]
    other: Float[Tensor, "B D"]

    @property
    def name(self) -> str:
        return len(self.one)

    @classmethod
    def of(cls, one: Float[Tensor, "B D"]) -> Pair:
        return cls(one, one)

@dataclass(frozen=True)
class Named(Pair):
    label: str = ""
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("checked")
    (folder / "checked_toy.py").write_text(SOURCE)
    sys.path.insert(0, str(folder))
    hook = check_shapes("checked_toy")
    try:
        yield importlib.import_module("checked_toy")
    finally:
        hook.uninstall()
        sys.path.remove(str(folder))
        del sys.modules["checked_toy"]


def test_what_fits_its_signature_passes(checked: ModuleType) -> None:
    for size in (2, 3):  # what an axis measured in one call binds no other
        assert checked.product(zeros(size, 4), zeros(size, 4), scale=2).shape == (size,)
        assert checked.nested(zeros(size, 4)).shape == (4,), "nor in a call within a call"
    assert checked.squared(zeros(2, 2)) is None
    assert checked.squared(zeros(3, 3)).shape == (3, 2)
    assert checked.masked(zeros(2, 3), 0.5) == 0.5
    assert checked.masked(zeros(2, 3), zeros(2)).shape == (2, 3)
    assert set(checked.gathered(zeros(2, 3), zeros(2, 4), names=["a", "b"], c=zeros(2))) == {"a", "b", "c"}
    assert len(list(checked.rows(zeros(3, 2), 2))) == 2
    for shape in ((3,), (2, 3), (2, 3), (4, 2, 3)):
        assert checked.dotted(zeros(shape), zeros(shape), torch.ones(5, 3)).shape == shape[:-1]
    assert checked.typed_only("whatever", 1) == "whatever"
    assert checked.Named.of(zeros(2, 3)).other.shape == (2, 3)
    assert checked.Named(zeros(2, 3), zeros(2, 3), "a name").label == "a name"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        pytest.param("product", (zeros(2, 3, 4),), id="too many axes"),
        pytest.param("product", (zeros(2, 3).int(),), id="kind of number"),
        pytest.param("product", (zeros(2, 3), zeros(2, 4)), id="two arguments that differ"),
        pytest.param("transposed", (zeros(2, 3),), id="a result unlike the argument"),
        pytest.param("squared", (zeros(2, 3),), id="an axis that is there twice"),
        pytest.param("masked", (zeros(2, 3), zeros(3)), id="one of several types, of another length"),
        pytest.param("masked", (zeros(2, 3), zeros(2).int()), id="one of several types, of another kind of number"),
        pytest.param("masked", (zeros(2, 3), "1"), id="none of several types"),
        pytest.param("gathered", (zeros(2, 3), zeros(3, 3)), id="the second of any number"),
        pytest.param("dotted", (zeros(2, 3), zeros(4, 3), zeros(3)), id="any number of axes, of another size"),
        pytest.param("dotted", (zeros(2, 3), zeros(3), zeros(3)), id="any number of axes, not as many"),
        pytest.param("dotted", (zeros(2, 3), zeros(2, 3), zeros(7, 4)), id="an axis behind any number of them"),
        pytest.param("dotted", (zeros(2, 3), zeros(2, 3), zeros(())), id="fewer than behind any number of them"),
        pytest.param("dotted", (zeros(2, 3), zeros(2, 3), zeros(3)), id="a result of other axes"),
        pytest.param("doubled", (1,), id="type of an argument"),
        pytest.param("doubled", ("",), id="type of a result"),
        pytest.param("typed_only", (1, "2"), id="type beside one that is not imported"),
        pytest.param("rows", (zeros(3, 2), "2"), id="arguments of a generator before its first value"),
        pytest.param("Pair", (zeros(2, 3), zeros(3, 2)), id="fields of a data class"),
        pytest.param("Named", (zeros(2, 3), zeros(2, 3), 7), id="fields of a derived class"),
    ],
)
def test_what_contradicts_its_signature_is_refused(checked: ModuleType, name: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeCheckError):
        getattr(checked, name)(*arguments)


def test_properties_and_class_methods_are_checked(checked: ModuleType) -> None:
    with pytest.raises(TypeCheckError):
        checked.Pair.of(torch.zeros(2))
    with pytest.raises(TypeCheckError):
        _ = checked.Pair.of(zeros(2, 3)).name


def test_arguments_by_name_are_checked_and_the_message_names_the_function(checked: ModuleType) -> None:
    for wrong in ({"names": [1]}, {"c": zeros(3)}, {"c": "text"}):
        with pytest.raises(TypeCheckError) as caught:
            checked.gathered(zeros(2, 3), **wrong)
        assert caught.value.__notes__ == ["in a call of checked_toy.gathered"]


def test_what_was_refused_binds_no_axis_of_the_next_call(checked: ModuleType) -> None:
    for size in (2, 3):
        with pytest.raises(TypeCheckError, match="D"):
            checked.product(zeros(size, 4), zeros(size, 5))
        assert checked.product(zeros(size, 5)).shape == (size,)
