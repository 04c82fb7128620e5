"""NT-Xent, SupCon and the spectral loss equal loops over anchors; of several ranks they are the loss of all samples."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis.ops.collective import world_size
from deixis.ops.similarity.view_losses import nt_xent, spectral, supcon
from tests.ranks import on_ranks

COUNTS = (3, 2)
LABELS = torch.tensor([0, 1, 0, 2, 1])


def loop(views: Tensor, labels: Tensor, temperature: float, negatives: str) -> Tensor:
    rows = F.normalize(views, dim=2).flatten(0, 1)
    owner = labels.repeat(len(views))
    anchors = []
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i]
        positives = [j for j in others if owner[j] == owner[i]]
        apart = torch.stack([(rows[i] @ rows[j] / temperature).exp() for j in others if owner[j] != owner[i]])
        terms = []
        for p in positives:
            own = (rows[i] @ rows[p] / temperature).exp()
            every = torch.stack([(rows[i] @ rows[j] / temperature).exp() for j in others]).sum()
            terms.append(-(own / (every if negatives == "sum" else own + apart.mean())).log())
        if terms:
            anchors.append(torch.stack(terms).mean())
    return torch.stack(anchors).mean()


@pytest.mark.parametrize("negatives", ["sum", "mean"])
def test_they_equal_loops_over_anchors_and_leave_out_those_without_a_positive(negatives: Any) -> None:
    """The third label has one view alone, which still is a negative of the others."""
    views = torch.randn(1, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(supcon(views, LABELS, 0.5, negatives), loop(views, LABELS, 0.5, negatives))
    both = torch.randn(2, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(nt_xent(both, 0.2, negatives), loop(both, torch.arange(4), 0.2, negatives))


@pytest.mark.parametrize("negatives", ["sum", "mean"])
def test_without_any_positive_the_loss_is_zero_and_has_a_gradient(negatives: Any) -> None:
    views = torch.randn(1, 3, 4, requires_grad=True)
    loss = supcon(views, torch.arange(3), 0.5, negatives)
    assert float(loss.detach()) == 0.0
    assert torch.autograd.grad(loss, views)[0].tolist() == torch.zeros(1, 3, 4).tolist()


def test_equal_vectors_give_the_logarithm_of_the_number_of_others_by_sums_and_of_two_by_means() -> None:
    views = torch.ones(2, 8, 3)
    assert float(nt_xent(views, 0.5)) == pytest.approx(math.log(15))
    assert float(nt_xent(views, 0.5, "mean")) == pytest.approx(math.log(2))


def test_the_spectral_loss_equals_a_loop_over_pairs_and_refuses_a_single_image() -> None:
    first, second = torch.randn(2, 4, 3, dtype=torch.float64)
    own = torch.stack([first[i] @ second[i] for i in range(4)]).mean()
    others = torch.stack([(first[i] @ second[j]) ** 2 for i in range(4) for j in range(4) if i != j]).mean()
    torch.testing.assert_close(spectral(first, second), others - 2 * own)
    with pytest.raises(ValueError, match="one image has no other"):
        spectral(first[:1], second[:1])


def of_ranks(rank: int) -> dict[str, list[Any]]:
    """Each loss of this rank's images, and its gradient with respect to all of them."""
    start, count = (sum(COUNTS[:rank]), COUNTS[rank]) if world_size() > 1 else (0, sum(COUNTS))
    views = torch.randn(2, sum(COUNTS), 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own = slice(start, start + count)
    losses = {
        "nt_xent": lambda rows: nt_xent(rows, 0.5),
        "mean": lambda rows: nt_xent(rows, 0.5, "mean"),
        "supcon": lambda rows: supcon(rows, LABELS[own], 0.5),
        "spectral": lambda rows: spectral(rows[0], rows[1]),
    }
    found: dict[str, list[Any]] = {}
    for name, loss in losses.items():
        leaf = views.clone().requires_grad_()
        value = loss(leaf[:, own])
        found[name] = [value.tolist(), torch.autograd.grad(value, leaf)[0].tolist()]
    return found


@pytest.mark.slow
def test_two_ranks_of_unequal_size_equal_one_process() -> None:
    alone = of_ranks(0)
    ranks = on_ranks(len(COUNTS), of_ranks)
    for name, whole in alone.items():
        for part in range(2):
            mean = torch.stack([torch.tensor(each[name][part]) for each in ranks]).mean(dim=0)
            torch.testing.assert_close(mean, torch.tensor(whole[part]), rtol=1e-6, atol=1e-9)
