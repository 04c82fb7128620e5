"""Heads for answers, pooled pairs and comparisons: each state its own head, padding is nothing."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from deixis.nn.layers.answer_heads import AnswerHeads
from deixis.nn.layers.heads import ProjectionHead
from deixis.nn.layers.pooled_pair import PooledPair

KINDS = (("no", "yes"), ("red", "blue", "green"))


def test_the_loss_of_answers_equals_a_loop_over_questions() -> None:
    torch.manual_seed(0)
    logits = AnswerHeads(6, KINDS)(torch.randn(5, 3, 6))
    kind, answer = torch.tensor([0, 1, -1, 1, 0]), torch.tensor([1, 2, 0, 0, 0])
    kinds, binary, colour = [], [], []
    for row in range(5):
        if kind[row] < 0:
            continue
        kinds.append(-logits[0][row].log_softmax(0)[kind[row]])
        if kind[row]:
            colour.append(-logits[2][row].log_softmax(0)[answer[row]])
        else:
            binary.append(-F.logsigmoid(logits[1][row, 0] * (1 if answer[row] else -1)))
    slow = sum(torch.stack(each).mean() for each in (kinds, binary, colour))
    torch.testing.assert_close(AnswerHeads.loss(logits, kind, answer), slow)


def test_the_answer_is_the_likeliest_of_the_likeliest_kind() -> None:
    logits = [
        torch.tensor([[2.0, 1.0], [0.0, 1.0]]),
        torch.tensor([[-1.0], [3.0]]),
        torch.tensor([[0.0, 2.0, 1.0]] * 2),
    ]
    assert AnswerHeads(6, KINDS).names(logits) == ["no", "blue"]


def test_padding_is_nothing_to_a_pooled_pair_and_its_vectors_have_length_one() -> None:
    pair, states = PooledPair(6, 4), torch.randn(2, 5, 6)
    real = torch.arange(5) < torch.tensor([[5], [2]])
    first, second = pair((states, real), (states[:, :2], real[:, :2]))
    torch.testing.assert_close(first[1], F.normalize(pair.first(states[1, :2].mean(0)), dim=0))
    torch.testing.assert_close(second.norm(dim=1), torch.ones(2))


def test_a_projection_head_of_cells_is_that_of_vectors_on_each_cell() -> None:
    torch.manual_seed(0)
    vectors, cells = (ProjectionHead((6, 5, 4), norm=True, cells=cells).eval() for cells in (False, True))
    cells.load_state_dict(
        {
            name: x[..., None, None] if "linears" in name and x.ndim == 2 else x
            for name, x in vectors.state_dict().items()
        }
    )
    maps = torch.randn(2, 6, 3, 3)
    rows = vectors(maps.permute(0, 2, 3, 1).reshape(-1, 6)).reshape(2, 3, 3, 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(cells(maps), rows)


def test_a_projection_head_of_two_widths_is_linear_and_with_a_norm_each_hidden_number_is_positive_for_some() -> None:
    torch.manual_seed(0)
    plain, x, y = ProjectionHead((6, 4)), torch.randn(3, 6), torch.randn(3, 6)
    torch.testing.assert_close(plain(x + y), plain(x) + plain(y) - plain(torch.zeros(3, 6)))
    head, seen = ProjectionHead((6, 5, 4), norm=True), []
    head.linears[-1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    head(100 + torch.randn(64, 6))
    assert bool((seen[0] > 0).any(0).all())
    assert bool((seen[0] == 0).any(0).all())
