"""The focal weight is (1 - p)^gamma, with gradients that stay numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deixis.ops.text.weighting import focal_weight


def probabilities() -> Tensor:
    return torch.tensor([[0.0, 0.25], [0.9, 1.0]], dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_weight_is_a_power_of_the_rest_and_so_is_its_gradient(gamma: float) -> None:
    prob = probabilities()
    weight = focal_weight(prob, gamma)
    expected = [[1.0, 0.75**gamma], [(1 - 0.9) ** gamma, 0.0]]
    torch.testing.assert_close(weight, torch.tensor(expected, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(weight.sum(), prob)
    slope = [[-gamma, -gamma * 0.75 ** (gamma - 1)], [-gamma * (1 - 0.9) ** (gamma - 1), 0.0]]
    torch.testing.assert_close(gradient, torch.tensor(slope, dtype=torch.float64))


def test_without_an_exponent_all_weights_are_one_and_the_loss_is_the_plain_one() -> None:
    assert torch.equal(focal_weight(probabilities(), 0.0), torch.ones(2, 2, dtype=torch.float64))


def test_a_certain_target_has_weight_and_gradient_zero_also_where_rounding_makes_it_more_than_certain() -> None:
    prob = torch.tensor([1.0, 1.0 + 1e-7], requires_grad=True)
    loss = -(focal_weight(prob, 0.5) * prob.log()).sum()
    (gradient,) = torch.autograd.grad(loss, prob)
    assert loss.item() == 0
    assert gradient.tolist() == [0, 0]


def test_a_negative_exponent_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        focal_weight(torch.tensor([0.5]), -1.0)
