"""Other backward passes: the numbers stay, the gradients are those of the rule, what has no rule is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.modified_backward import EXCITATION, GUIDED, BackwardRules, Rewritten

X = torch.tensor([[-2.0, 0.0, 3.0, 5.0]])
FORMS = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "function": F.relu,
    "torch": torch.relu,
    "method": lambda x: x.relu(),
    "in place": lambda x: x.relu_(),
    "torch in place": lambda x: torch.relu_(x),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_guided_relu_passes_back_what_is_positive_where_its_input_was_not_negative(form: str) -> None:
    given = X.clone().requires_grad_()
    with Rewritten(GUIDED):
        found = FORMS[form](given * 1)
    assert torch.equal(found, F.relu(X))
    (gradient,) = torch.autograd.grad(found, given, torch.tensor([[1.0, 2.0, -3.0, 4.0]]))
    assert gradient.tolist() == [[0, 2, 0, 4]]


def test_excitation_hands_each_unit_its_share_by_hand() -> None:
    """Unit 0 gets 2 * 3 of 2 * 3 + 1 * 2, unit 1 the rest; the negative weight and the bias count for nothing."""
    given = torch.tensor([[2.0, 1.0, 4.0]], requires_grad=True)
    weight, bias = torch.tensor([[3.0, 2.0, -1.0]]), torch.tensor([7.0])
    with Rewritten(EXCITATION):
        found = F.linear(given, weight, bias)
    assert found.item() == 2 * 3 + 1 * 2 - 4 + 7
    (share,) = torch.autograd.grad(found, given, torch.ones(1, 1))
    torch.testing.assert_close(share, torch.tensor([[6 / 8, 2 / 8, 0]]))


def test_excitation_of_positive_activations_keeps_its_sum_through_a_residual_network() -> None:
    torch.manual_seed(0)
    convolution, linear = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 4)
    given = torch.rand(1, 3, 6, 6, requires_grad=True)
    with Rewritten(EXCITATION):
        cells = F.relu(convolution(given))
        cells += given
        found = linear(F.adaptive_avg_pool2d(F.max_pool2d(cells, 2), 1).flatten(1))
    (share,) = torch.autograd.grad(found[:, 1].sum(), given)
    torch.testing.assert_close(share.sum(), torch.tensor(1.0))
    assert share.min() >= 0


def test_a_function_without_a_rule_is_refused_by_name() -> None:
    given = torch.rand(2, 3, requires_grad=True)
    with pytest.raises(DeixisError, match="no rule for 'layer_norm'"), Rewritten(EXCITATION):
        F.layer_norm(given, (3,))


def test_a_table_that_finds_nothing_to_rewrite_is_refused() -> None:
    with pytest.raises(DeixisError, match="Guided backpropagation changes nothing"), Rewritten(GUIDED):
        torch.tanh(X)


def test_an_error_in_the_model_is_told_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), Rewritten(GUIDED):
        raise ZeroDivisionError


def test_outside_all_is_as_before() -> None:
    with Rewritten(BackwardRules("Nothing", {torch.tanh: lambda func, args, kwargs: func(*args, **kwargs)})):
        torch.tanh(X)
    given = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.relu(given), given, -torch.ones(1, 4))
    assert gradient.tolist() == [[0, 0, -1, -1]]
