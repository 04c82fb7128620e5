"""Taps give activations and gradients as autograd has them, whatever the model does with them, and leave no trace."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from deixis.errors import DeixisError
from deixis.nn.frozen import freeze
from deixis.nn.taps import eval_with_grad, names, taps, to_grid
from tests.support import Peer, few

timm = Peer("timm")
X = torch.randn(2, 3, 8, 10, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    """conv -> ReLU in place -> the same conv again -> add in place -> mean -> linear; `relu` and `conv2` run twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        cells = self.relu(self.conv1(images))
        cells = self.conv2(cells)
        cells += 1.5
        cells = self.relu(self.conv2(cells).mul_(2))
        return self.head(cells.mean(dim=(2, 3)))


def by_hand(model: Plain) -> dict[str, tuple[Tensor, Tensor]]:
    """Activation and gradient of the sum of class 1, written without anything in place."""
    steps = {"conv1": model.conv1(X)}
    steps["relu#0"] = F.relu(steps["conv1"])
    steps["conv2#0"] = model.conv2(steps["relu#0"])
    steps["conv2#1"] = model.conv2(steps["conv2#0"] + 1.5)
    steps["relu#1"] = F.relu(2 * steps["conv2#1"])
    score = model.head(steps["relu#1"].mean(dim=(2, 3)))[:, 1].sum()
    return {name: (value, torch.autograd.grad(score, value, retain_graph=True)[0]) for name, value in steps.items()}


def untouched(model: nn.Module) -> bool:
    return not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_activations_and_gradients_survive_in_place_operations_and_shared_layers() -> None:
    model = Plain()
    expected = by_hand(model)
    with taps(model, tuple(expected)) as tapped:
        gradients = tapped.gradients(model(X)[:, 1])
    for name, (activation, gradient) in expected.items():
        torch.testing.assert_close(tapped.activation(name), activation, msg=lambda m, n=name: f"{n}: {m}")
        torch.testing.assert_close(gradients[name], gradient, msg=lambda m, n=name: f"{n}: {m}")


def test_tapping_does_not_change_what_the_model_gives() -> None:
    model = Plain()
    with taps(model, ("conv1", "relu#1", "input", "head:in")):
        watched = model(X)
    assert torch.equal(watched.detach(), model(X))


def test_what_a_layer_is_given_is_what_the_layer_before_gave() -> None:
    model = Plain()
    with taps(model, ("input", "conv1:in", "relu#0", "conv2:in#0")) as tapped:
        gradients = tapped.gradients(model(X)[:, 1])
    assert torch.equal(tapped.activation("input"), X)
    torch.testing.assert_close(gradients["input"], gradients["conv1:in"])
    torch.testing.assert_close(gradients["relu#0"], gradients["conv2:in#0"])


def test_inputs_given_by_name_are_tapped_too() -> None:
    model = Plain()
    with taps(model, ("input",)) as tapped:
        tapped.gradients(model(images=X)[:, 1])
    assert torch.equal(tapped.activation("input"), X)


def test_two_forward_passes_in_one_step_are_two_calls() -> None:
    model = Plain()
    with taps(model, ("conv1#0", "conv1#1")) as tapped:
        gradients = tapped.gradients((model(X) * model(2 * X))[:, 1])
    torch.testing.assert_close(tapped.activation("conv1#1"), model.conv1(2 * X))
    assert not torch.allclose(gradients["conv1#0"], gradients["conv1#1"])


def test_several_gradients_come_from_one_forward_pass() -> None:
    model = Plain()
    with taps(model, ("conv1",)) as tapped:
        output = model(X)
        each = [tapped.gradients(output[:, place], keep=True)["conv1"] for place in range(3)]
        together = tapped.gradients(output.sum(1))["conv1"]
    torch.testing.assert_close(sum(each), together)


def test_what_lies_before_the_first_tap_keeps_no_graph() -> None:
    model = Plain()
    with taps(model, ("relu#0",)) as tapped:
        model(X)
        assert tapped.activation("relu#0").is_leaf


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradients_are_there_whatever_mode_the_caller_is_in(mode: Any) -> None:
    model = freeze(Plain())
    with taps(model, ("conv1",)) as tapped:
        expected = tapped.gradients(model(X)[:, 1])["conv1"]
    with mode(), taps(model, ("conv1",)) as tapped:
        torch.testing.assert_close(tapped.gradients(model(X.clone())[:, 1])["conv1"], expected)


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_mode_gradients_and_hooks_are_afterwards_as_before(error: Any) -> None:
    model = Plain().train()
    model.conv2.eval()
    model.conv1.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    with contextlib.suppress(RuntimeError), taps(model, ("conv1",)) as tapped:
        assert not model.training
        tapped.gradients(model(X)[:, 1])
        if error:
            raise error
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert [value.requires_grad for value in model.parameters()] == [False] * 2 + [True] * 4
    assert all(value.grad is None for value in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert untouched(model)


def test_frozen_weights_need_gradients_only_inside() -> None:
    model = freeze(Plain())
    with eval_with_grad(model, gradients=True):
        assert all(value.requires_grad for value in model.parameters())
        model(X).sum().backward()
    assert not any(value.requires_grad for value in model.parameters())


# Names


@pytest.mark.parametrize(("name", "near"), [("conv3", "conv2"), ("layr4.1", "layer4.1"), ("bn2", "layer4.1.bn2")])
def test_an_unknown_layer_is_refused_with_near_names(name: str, near: str) -> None:
    model = Plain() if name == "conv3" else _resnet()
    with pytest.raises(DeixisError, match=rf"no layer '{name}'\..*{near}"), taps(model, (name,)):
        pass
    assert untouched(model)


def _resnet() -> nn.Module:
    with torch.device("meta"):
        return timm.create_model("resnet18")


def test_names_are_those_of_all_inner_layers() -> None:
    assert names(Plain()) == ["conv1", "conv2", "relu", "head"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("relu", r"ran 2 times.*relu#0 is the first, relu#1 the last"),
        ("relu#2", "ran 2 times"),
        ("relu#-3", "ran 2 times"),
        ("relu#last", "names no call"),
    ],
)
def test_a_call_that_is_not_clear_is_refused(name: str, message: str) -> None:
    model = Plain()
    with pytest.raises(DeixisError, match=message), taps(model, (name,)) as tapped:
        tapped.gradients(model(X)[:, 1])
    assert untouched(model)


def test_the_last_call_can_be_named_from_the_end() -> None:
    model = Plain()
    with taps(model, ("relu#-1", "relu#1")) as tapped:
        model(X)
    assert torch.equal(tapped.activation("relu#-1"), tapped.activation("relu#1"))


def test_a_layer_that_does_not_run_is_refused() -> None:
    model = Plain()
    model.unused = nn.Conv2d(3, 4, 1)
    with pytest.raises(DeixisError, match="'unused' did not run"), taps(model, ("unused",)) as tapped:
        tapped.gradients(model(X)[:, 1])


def test_a_layer_behind_the_score_is_refused() -> None:
    model = Plain()
    with taps(model, ("conv1", "head")) as tapped:
        model(X)
        with pytest.raises(DeixisError, match="does not depend on the layer 'head'"):
            tapped.gradients(tapped.activation("conv1").mean())


# Models of all kinds


class Wrapped(nn.Module):
    """Layers that give a tuple, a dictionary, whole numbers; one that runs without gradients; one checkpointed."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.inner, self.outer = how, nn.Conv2d(3, 4, 3), _Giving(how)

    def forward(self, images: Tensor) -> Tensor:
        if self.how.startswith("checkpoint"):
            cells = checkpoint(lambda x: self.inner(x).relu(), images, use_reentrant=self.how.endswith("reentrant"))
        elif self.how == "no_grad":
            with torch.no_grad():
                cells = self.inner(images)
        else:
            cells = self.outer(self.inner(images))
        cells = cells["found"] if isinstance(cells, dict) else cells[0] if isinstance(cells, tuple | list) else cells
        return cells.float().mean(dim=(2, 3))


class _Giving(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, cells: Tensor) -> Any:
        kinds = {"dict": {"found": cells}, "tuple": (cells, None), "list": [cells, 3], "long": cells.long()}
        return kinds.get(self.how, cells)


@pytest.mark.parametrize("how", ["tuple", "list"])
def test_of_a_layer_that_gives_several_things_the_first_is_tapped(how: str) -> None:
    model = Wrapped(how)
    with taps(model, ("outer",)) as tapped:
        gradient = tapped.gradients(model(X)[:, 1])["outer"]
    assert gradient[:, 1].unique().numel() == 1
    assert not gradient[:, 0].any()


@pytest.mark.parametrize("how", ["dict", "long"])
def test_a_layer_that_gives_no_tensor_of_numbers_is_refused(how: str) -> None:
    model = Wrapped(how)
    with pytest.raises(DeixisError, match="'outer' handles"), taps(model, ("outer",)):
        model(X)
    assert untouched(model)


def test_a_checkpointed_layer_is_tapped_once() -> None:
    model = Wrapped("checkpoint")
    with taps(model, ("input", "inner")) as tapped:
        gradients = tapped.gradients(model(X)[:, 1])
    expected = torch.autograd.grad(
        model.inner(given := X.clone().requires_grad_()).relu().mean((2, 3))[:, 1].sum(), given
    )
    torch.testing.assert_close(gradients["input"], expected[0])
    assert len(tapped._calls["inner", False]) == 1
    with taps(model, ("inner",)) as tapped:
        model(X)
    assert tapped.activation("inner").shape == (2, 4, 6, 8)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("how", ["no_grad", "checkpoint reentrant"])
def test_a_layer_that_runs_without_gradients_is_refused_with_the_cure(how: str) -> None:
    model = Wrapped(how)
    with pytest.raises(DeixisError, match=r"runs without gradients.*use_reentrant=False"), taps(model, ("inner",)):
        model(X)


def test_a_score_that_was_detached_is_refused_with_the_cure() -> None:
    model = Plain()
    with pytest.raises(DeixisError, match=r"score has no gradient.*detach"), taps(model, ("conv1",)) as tapped:
        tapped.gradients(model(X).detach()[:, 1])


def _inference_weights() -> nn.Module:
    with torch.inference_mode():
        return Plain()


UNFIT = {
    "compiled": (lambda: torch.compile(Plain(), backend="eager"), "is compiled.*_orig_mod"),
    "compiled inside": (lambda: nn.Sequential(torch.compile(Plain(), backend="eager")), "'0' is compiled"),
    "compiled in place": (lambda: _compiled_in_place(), "is compiled"),
    "parallel": (lambda: nn.DataParallel(Plain()), "DataParallel.*model.module"),
    "inference": (_inference_weights, "inference_mode.*copy.deepcopy"),
}


def _compiled_in_place() -> nn.Module:
    model = Plain()
    model.compile(backend="eager")
    return model


@pytest.mark.parametrize("case", few(UNFIT, *(case for case in UNFIT if case != "compiled")))
def test_a_model_that_cannot_be_tapped_is_refused_with_the_cure(case: str) -> None:
    make, message = UNFIT[case]
    with pytest.raises(DeixisError, match=message), taps(make(), ("conv1",)):
        pass


def test_the_cure_for_weights_of_inference_mode_is_one() -> None:
    model = copy.deepcopy(_inference_weights())
    with taps(model, ("conv1",)) as tapped:
        tapped.gradients(model(X)[:, 1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_of_half_precision_come_in_whole(dtype: torch.dtype) -> None:
    model = Plain()
    expected = by_hand(model)["relu#1"][1]
    model.to(dtype)
    with taps(model, ("relu#1",)) as tapped:
        found = tapped.gradients(model(X.to(dtype))[:, 1])["relu#1"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.02, atol=1e-4)


# Grids


@pytest.mark.parametrize(
    ("size", "grid", "aside"),
    [
        ((224, 224), (14, 14), 1),
        ((224, 224), (16, 16), 5),
        ((224, 224), (7, 7), 0),
        ((336, 336), (24, 24), 1),
        ((256, 320), (16, 20), 1),
        ((32, 96), (4, 12), 4),
        ((32, 32), (4, 4), 1),
    ],
)
def test_tokens_go_back_to_the_places_of_their_patches(size: Any, grid: Any, aside: int) -> None:
    count = grid[0] * grid[1]
    states = torch.arange(count + aside).float()[None, :, None].expand(2, -1, 3)
    cells, special = to_grid(states, size)
    assert torch.equal(cells[0, 0], aside + torch.arange(count).float().reshape(grid))
    assert torch.equal(special[1, :, 2], torch.arange(aside).float())
    assert torch.equal(to_grid(states, size, before=aside)[0], cells)


def test_a_grid_stays_and_one_with_channels_last_is_turned() -> None:
    cells = torch.rand(2, 6, 7, 7)
    assert torch.equal(to_grid(cells, (224, 224))[0], cells)
    turned, special = to_grid(cells.permute(0, 2, 3, 1), (224, 224))
    assert torch.equal(turned, cells)
    assert special.shape == (2, 0, 6)


@pytest.mark.parametrize(
    ("shape", "before", "message"),
    [
        ((2, 8), None, "has no positions"),
        ((2, 1, 8), None, None),
        ((2, 240, 8), None, "do not lie on a grid"),
        ((2, 197, 8), 0, "do not lie on a grid"),
    ],
)
def test_states_without_places_are_refused(shape: Any, before: Any, message: Any) -> None:
    if message is None:
        assert to_grid(torch.rand(shape), (224, 224), before)[0].shape == (2, 8, 1, 1)
        return
    with pytest.raises(DeixisError, match=message):
        to_grid(torch.rand(shape), (224, 224), before)
