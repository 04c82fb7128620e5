"""What is written is all that is the method's own, comes back into the same places, or is refused whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from deixis.engine.training.checkpoint import load_state, save_state, state
from deixis.errors import DeixisError
from deixis.nn.frozen import freeze
from tests.contract import changed, snapshot


class Toy(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.part = freeze(nn.Linear(3, 3))
            self.partner = nn.Linear(2, 2)
            self.holder = nn.Sequential(freeze(nn.Linear(2, 2)), nn.BatchNorm1d(2))
            self.register_buffer("queue", torch.randn(4, 2))
            self.register_buffer("count", torch.tensor(seed))


def test_frozen_parts_are_left_out_however_deep_and_all_else_is_kept() -> None:
    names = set(state(Toy()))
    assert names == set(Toy().state_dict()) - {"part.weight", "part.bias", "holder.0.weight", "holder.0.bias"}
    assert "partner.weight" in names, "a name that begins like a frozen part's"
    assert {"queue", "count", "holder.1.running_var"} <= names


def test_a_round_trip_restores_every_value_of_every_kind(tmp_path: Path) -> None:
    first, second = Toy(1), Toy(2)
    save_state(first, tmp_path / "x.safetensors")
    frozen = second.part.weight.clone()
    assert load_state(second, tmp_path / "x.safetensors") is second
    assert changed(second, snapshot(first)) == {"part.weight", "part.bias", "holder.0.weight", "holder.0.bias"}
    assert torch.equal(second.part.weight, frozen)
    assert second.count.item() == 1


def test_tensors_of_another_layout_are_loaded_into_place(tmp_path: Path) -> None:
    """Towers run with channels last, where a contiguous copy would take the values and be thrown away."""

    def tower(seed: int) -> nn.Conv2d:
        torch.manual_seed(seed)
        return nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    first, second = tower(1), tower(2)
    assert not first.weight.is_contiguous()
    save_state(first, tmp_path / "x.safetensors")
    load_state(second, tmp_path / "x.safetensors")
    assert torch.equal(second.weight, first.weight)
    assert not second.weight.is_contiguous()


def test_tied_tensors_stay_tied(tmp_path: Path) -> None:
    def tied(seed: int) -> nn.ModuleDict:
        torch.manual_seed(seed)
        model = nn.ModuleDict({"words": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
        model["head"].weight = model["words"].weight
        return model

    first, second = tied(1), tied(2)
    save_state(first, tmp_path / "x.safetensors")
    load_state(second, tmp_path / "x.safetensors")
    assert torch.equal(second["head"].weight, first["words"].weight)
    assert second["head"].weight is second["words"].weight


def test_a_file_of_another_method_is_refused_with_all_that_differs(tmp_path: Path) -> None:
    values = {name: value.clone() for name, value in state(Toy(1)).items()}
    values["queue"], values["stranger"] = torch.zeros(9, 2), torch.zeros(1)
    del values["count"]
    save_file(values, tmp_path / "x.safetensors")
    method = Toy(2)
    with pytest.raises(DeixisError) as caught:
        load_state(method, tmp_path / "x.safetensors")
    for said in ("count is missing", "stranger is not known", "queue is (9, 2), not (4, 2)"):
        assert said in str(caught.value)
    assert not changed(method, snapshot(Toy(2))), "nothing was taken from it"


@pytest.mark.parametrize("content", [None, b"", b"no tensors here", b"\x00" * 64])
def test_a_file_that_is_missing_or_damaged_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeixisError, match=r"x\.safetensors can't be read as a checkpoint"):
        load_state(Toy(), path)


def test_a_truncated_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_state(Toy(), path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DeixisError, match="can't be read as a checkpoint"):
        load_state(Toy(), path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    save_state(Toy(1), path)

    def fail(tensors: object, target: Path, metadata: object) -> None:
        target.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("deixis.engine.training.checkpoint.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        save_state(Toy(2), path)
    assert load_file(path)["count"].item() == 1
    assert [each.name for each in tmp_path.iterdir()] == ["x.safetensors"]
