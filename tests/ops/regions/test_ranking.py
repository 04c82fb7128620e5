"""Conditional logistic regression is at the bottom of its objective, and a large penalty leaves the offsets alone."""

from __future__ import annotations

import torch
from torch import Tensor

from deixis.ops.regions.ranking import conditional_logit, feature_scales


def some() -> tuple[Tensor, Tensor, Tensor]:
    """Twelve sets of up to five candidates, of which one or two are right."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(12, 5, 3, generator=generator, dtype=torch.float64)
    offsets = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    offsets[:4, 4] = -torch.inf
    targets = torch.zeros(12, 5, dtype=torch.float64)
    targets[:, 1] = 1.0
    targets[::3, :2] = 0.5
    return features, offsets, targets


def test_no_step_from_the_solution_makes_the_objective_smaller() -> None:
    features, offsets, targets = some()
    weight = conditional_logit(features, offsets, targets, 0.1).requires_grad_()
    loss = torch.zeros((), dtype=torch.float64)
    for x, given, right in zip(features, offsets, targets, strict=True):  # from the equation, a set at a time
        logits = [float(given[q]) + x[q] @ weight for q in range(5) if torch.isfinite(given[q])]
        total = torch.stack(logits).logsumexp(0)
        loss = loss - sum(float(right[q]) * (logit - total) for q, logit in enumerate(logits)) / len(features)
    (loss + 0.05 * weight @ weight).backward()
    assert weight.grad is not None
    assert float(weight.grad.abs().max()) < 1e-6
    assert float(weight.detach().norm()) > 0.1


def test_under_a_large_penalty_the_offsets_alone_decide() -> None:
    assert float(conditional_logit(*some(), 1e9).norm()) < 1e-6


def test_each_kind_of_feature_has_the_same_weight_however_many_there_are() -> None:
    features = [torch.randn(9, 5, dtype=torch.float64) * torch.tensor([1.0, 10.0, 0.1, 5.0, 0.0]) for _ in range(200)]
    scales = feature_scales(features, (1, 4))
    spread = (torch.stack([each - each.mean(0) for each in features]).flatten(0, 1) * scales).pow(2).mean(0)
    torch.testing.assert_close(spread, torch.tensor([1.0, 0.25, 0.25, 0.25, 0.0], dtype=torch.float64))
