"""KaLM's losses against golden vectors, and what must hold of any."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis.ops.pairs import passages
from deixis.ops.pairs.passages import Ranking
from tests.support import Recorded, load_golden

CLOSE = {"rtol": 0.0, "atol": 1e-8}
TAU = 0.05


@pytest.mark.golden
def test_losses_mixes_and_gradients_are_those_of_the_papers_loops() -> None:
    golden = Recorded(load_golden("kalm_losses"))
    tau, gamma = float(golden["cfg.temperature"]), float(golden["cfg.gamma"])
    dims, weights = golden["cfg.matryoshka_dims"].tolist(), golden["cfg.matryoshka_weights"].tolist()
    plain, focal = Ranking(tau), Ranking(tau, gamma)
    teacher = golden["in.teacher_query"], golden["in.teacher_passage"]
    heat = float(golden["cfg.distill_temperature"])

    def pairs(query: Tensor, passage: Tensor) -> Tensor:
        return passages.mix_pairs(passage[:, 1:], golden["in.mix_pair"], golden["in.mix_lambda"])

    def both(query: Tensor, passage: Tensor) -> Tensor:
        mixes = [pairs(query, passage), passages.mix_list(query, passage[:, 1:], tau)[0]]
        return passages.ranking_loss(query, passage, focal, torch.cat(mixes, dim=1))

    def loss(how: Ranking):
        return functools.partial(passages.ranking_loss, how=how)

    forms = {
        "loss_infonce": loss(plain),
        "loss_focal": loss(focal),
        "loss_focal_detached": loss(Ranking(tau, gamma, detached=True)),
        "loss_in_batch_only": loss(Ranking(tau, negatives="in-batch")),
        "loss_own_group_only": loss(Ranking(tau, negatives="group")),
        "loss_expanded": loss(Ranking(tau, expanded=True)),
        "loss_mixed_pair": lambda q, p: passages.ranking_loss(q, p, plain, pairs(q, p)),
        "loss_mixed_list": lambda q, p: passages.ranking_loss(q, p, plain, passages.mix_list(q, p[:, 1:], tau)[0]),
        "loss_mixed_both_focal": both,
        "loss_matryoshka": passages.matryoshka(loss(plain), dims, weights),
        "loss_matryoshka_focal": passages.matryoshka(loss(focal), dims, weights),
        "distill_kl_batch": lambda q, p: passages.distil_rows((q, p), teacher, heat),
        "distill_kl_own_group": lambda q, p: passages.distil_rows((q, p), teacher, heat, own_group=True),
    }
    for name, form in forms.items():
        query, passage = (golden[f"in.{side}"].clone().requires_grad_() for side in ("query", "passage"))
        value = form(query, passage)
        torch.testing.assert_close(value, golden[f"out.{name}"], **CLOSE)
        short = name.removeprefix("loss_").removesuffix("_batch")
        if f"grad.in.query_{short}" in golden:
            value.backward()
            torch.testing.assert_close(query.grad, golden[f"grad.in.query_{short}"], **CLOSE)
            torch.testing.assert_close(passage.grad, golden[f"grad.in.passage_{short}"], **CLOSE)
    query, passage = golden["in.query"], golden["in.passage"]
    probability = passages.log_probability(query, passage, focal).exp()
    torch.testing.assert_close(probability, golden["out.positive_probability"], **CLOSE)
    torch.testing.assert_close((1 - probability) ** gamma, golden["out.focal_weight"], **CLOSE)
    torch.testing.assert_close(pairs(query, passage), golden["out.mixed_pair"], **CLOSE)
    mix, weight = passages.mix_list(query, passage[:, 1:], tau)
    torch.testing.assert_close(mix, golden["out.mixed_list"], **CLOSE)
    torch.testing.assert_close(weight, golden["out.mixed_list_weight"], **CLOSE)
    harder = passages.harder_than_positive(query, passage[:, 0], pairs(query, passage))
    assert torch.equal(harder, golden["out.mixed_pair_harder_than_positive"])
    assert golden.read == set(golden)


@pytest.fixture(scope="module")
def rows() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(5, 8, generator=draw), torch.randn(5, 3, 8, generator=draw)


def test_an_exponent_of_0_and_one_full_length_are_plain_infonce(rows: tuple[Tensor, Tensor]) -> None:
    query, passage = (F.normalize(each, dim=-1) for each in rows)
    expected = F.cross_entropy(query @ passage.flatten(0, 1).T / TAU, torch.arange(5) * 3)
    loss = functools.partial(passages.ranking_loss, how=Ranking(TAU, gamma=0.0))
    torch.testing.assert_close(loss(*rows), expected)
    torch.testing.assert_close(passages.matryoshka(loss, [8], [1.0])(*rows), expected)


def test_the_gradient_of_hard_queries_grows_against_that_of_easy_ones_with_gamma() -> None:
    passage = torch.eye(3).double()[:2, None]
    query = torch.tensor([[1.0, 0.2, 0.5], [0.9, 0.5, 0.5]]).double()  # the second is nearer to the first's passage

    def ratio(gamma: float) -> float:
        asked = query.clone().requires_grad_()
        passages.ranking_loss(asked, passage, Ranking(0.5, gamma)).backward()
        easy, hard = asked.grad.norm(dim=1)
        return float(hard / easy)

    assert ratio(0.0) < ratio(0.5) < ratio(2.0)


def test_a_mix_of_one_negative_alone_is_that_negative_and_mixes_harder_than_the_answer_can_be_dropped(
    rows: tuple[Tensor, Tensor],
) -> None:
    query, passage = rows
    pairs = torch.tensor([[[0, 1]]] * 5)
    mixed = passages.mix_pairs(passage[:, 1:], pairs, torch.ones(5, 1))
    torch.testing.assert_close(mixed[:, 0], F.normalize(passage[:, 1], dim=-1))
    on_query = F.normalize(query, dim=-1)[:, None]
    assert passages.harder_than_positive(query, passage[:, 0], on_query).all()
    dropped = passages.ranking_loss(query, passage, Ranking(TAU, drop_harder=True), on_query)
    torch.testing.assert_close(dropped, passages.ranking_loss(query, passage, Ranking(TAU)))
    assert passages.ranking_loss(query, passage, Ranking(TAU), on_query) > dropped


def test_a_student_that_ranks_as_its_teacher_has_nothing_to_learn_whatever_the_widths(
    rows: tuple[Tensor, Tensor],
) -> None:
    wide = tuple(F.pad(each, (0, 3)) for each in rows)
    torch.testing.assert_close(passages.distil_rows(rows, wide, TAU), torch.tensor(0.0))


@pytest.mark.parametrize(
    ("dims", "weights", "message"),
    [([8, 4], [1.0], "one each"), ([16], [1.0], "a length of 16"), ([0], [1.0], "above")],
)
def test_lengths_that_are_too_long_or_have_no_weight_are_refused(
    rows: tuple[Tensor, Tensor], dims: list[int], weights: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        passages.matryoshka(functools.partial(passages.ranking_loss, how=Ranking(TAU)), dims, weights)(*rows)


def test_a_temperature_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature"):
        Ranking(0.0)
