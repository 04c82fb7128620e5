"""An average of weights follows its equation, and treats the statistics of norms as it was asked to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deixis.nn.ema import MovingAverage


def test_the_average_equals_the_sum_over_all_updates() -> None:
    module = nn.Linear(3, 2)
    average, history = MovingAverage(module), [module.weight.detach().clone()]
    for _ in range(5):
        module.weight.data.add_(torch.randn(2, 3))
        average.update(module, 0.9)
        history.append(module.weight.detach().clone())
    slow = 0.9**5 * history[0] + sum((0.1 * 0.9 ** (5 - n) * history[n] for n in range(1, 6)), torch.zeros(2, 3))
    torch.testing.assert_close(average.module.weight, slow)
    assert not average.module.weight.requires_grad
    assert module.weight.requires_grad
    x = torch.randn(4, 3)
    torch.testing.assert_close(average(x), x @ slow.T + average.module.bias)


@pytest.mark.parametrize("buffers", ["own", "copy"])
def test_statistics_are_those_of_its_own_passes_or_those_of_the_module(buffers: str) -> None:
    module = nn.Sequential(nn.BatchNorm1d(3)).train()
    average = MovingAverage(module, buffers).train()  # type: ignore[arg-type]
    module(torch.randn(8, 3) + 5)
    average(torch.randn(8, 3) - 5)
    average.update(module, 0.5)
    own, its = average.module[0].running_mean, module[0].running_mean
    assert average.module[0].training == (buffers == "own")
    assert torch.equal(own, its) == (buffers == "copy")
    assert (own < 0).all() == (buffers == "own")
