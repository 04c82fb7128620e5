"""All randomness hangs on where in a run one is, and on nothing else."""

from __future__ import annotations

import collections
import dataclasses

import pytest
import torch

from deixis.types import GroundOutput, Losses, Progress

IDS = ("a", "b", "c", "d")


def test_per_sample_draws_do_not_depend_on_order_batch_rank_or_micro_step() -> None:
    whole = Progress(step=3).uniform("mask", IDS, 5)
    assert whole.shape == (4, 5)
    assert torch.equal(Progress(step=3).uniform("mask", IDS[::-1], 5), whole.flip(0))
    assert torch.equal(Progress(step=3).uniform("mask", IDS[2:3], 5), whole[2:3])
    assert torch.equal(Progress(step=3, rank=1, micro=2).uniform("mask", IDS, 5), whole)
    assert torch.equal(Progress(step=3, total=99, epoch=7).uniform("mask", IDS, 5), whole)


@pytest.mark.parametrize(
    "other", [{"step": 4}, {"seed": 1}, {"stage": "second"}, {"draw": 3}], ids=lambda change: str(change)
)
def test_per_sample_draws_differ_between_steps_seeds_and_stages(other: dict[str, object]) -> None:
    here = Progress(step=3)
    there = dataclasses.replace(here, **other)  # type: ignore[arg-type]
    assert not torch.equal(there.uniform("mask", IDS, 5), here.uniform("mask", IDS, 5))


def test_two_purposes_in_one_step_draw_independently() -> None:
    progress = Progress()
    left, right = progress.uniform("left", IDS * 50, 4).flatten(), progress.uniform("right", IDS * 50, 4).flatten()
    assert not torch.equal(left, right)
    assert not torch.equal(progress.uniform("left", ("a",), 4), progress.uniform("left", ("b",), 4))


def test_draws_are_uniform_on_zero_to_one() -> None:
    values = Progress().uniform("mask", [str(i) for i in range(4000)], 2)
    assert ((values >= 0) & (values < 1)).all()
    # Four standard errors of the mean, of the mean square and of the correlation.
    assert (values.mean(0) - 1 / 2).abs().max() < 4 * (1 / 12 / 4000) ** 0.5
    assert (values.square().mean(0) - 1 / 3).abs().max() < 4 * (4 / 45 / 4000) ** 0.5
    assert abs(float(torch.corrcoef(values.T)[0, 1])) < 4 / 4000**0.5


def test_no_samples_have_no_draws() -> None:
    assert Progress().uniform("mask", (), 3).shape == (0, 3)


def _first(progress: Progress, shared: bool = False) -> int:
    return int(torch.randint(2**60, (), generator=progress.rng("task", shared)))


def test_a_shared_draw_is_the_same_on_all_ranks_and_micro_steps() -> None:
    assert _first(Progress(rank=1, micro=3), shared=True) == _first(Progress(), shared=True)
    assert _first(Progress(step=1), shared=True) != _first(Progress(), shared=True)


def test_a_draw_that_is_not_shared_differs_between_ranks_and_micro_steps() -> None:
    drawn = {_first(Progress(rank=rank, micro=micro)) for rank in range(3) for micro in range(3)}
    assert len(drawn) == 9
    assert _first(Progress(rank=2, micro=1)) == _first(Progress(rank=2, micro=1))


def test_a_fixed_draw_is_the_same_at_every_step() -> None:
    assert _first(Progress(step=1, draw=0)) == _first(Progress(step=9, draw=0))
    assert _first(Progress(step=1, draw=0)) != _first(Progress(step=1, draw=1))


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    Progress().rng("task")
    Progress().uniform("mask", IDS, 2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_total_is_the_sum_of_the_parts_with_their_gradients() -> None:
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(5.0, requires_grad=True)
    losses = Losses({"a": 3 * a, "b": b * b})
    assert float(losses.total.detach()) == 31.0
    losses.total.backward()
    assert (float(a.grad), float(b.grad)) == (3.0, 10.0)  # type: ignore[arg-type]


def test_the_best_box_of_a_phrase_is_its_highest_score_among_the_candidates_that_are_real() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.2, 0.2, 0.4, 0.4]]])
    scores = torch.tensor([[[0.1, 0.7, 0.9], [0.8, 0.2, 0.9]]])  # two phrases; the third candidate is padding
    found = GroundOutput(boxes, scores, torch.tensor([[True, True, False]]))
    best, values = found.best()
    assert torch.equal(best[0, :, 0], boxes[0, [1, 0]])
    assert torch.equal(values[0, :, 0], torch.tensor([0.7, 0.8]))


def test_more_boxes_than_an_image_has_are_filled_up_with_zeros_that_no_score_speaks_for() -> None:
    found = GroundOutput(torch.rand(2, 1, 4), torch.rand(2, 3, 1), torch.tensor([[True], [False]]))
    boxes, scores = found.best(2)
    assert boxes.shape == (2, 3, 2, 4)
    assert torch.equal(boxes[0, :, 0], found.boxes[0].expand(3, 4))
    assert not boxes[0, :, 1].any()
    assert not boxes[1].any()
    assert scores[1].isneginf().all()
    assert scores[0, :, 1].isneginf().all()


def test_in_each_round_every_task_has_as_many_turns_as_its_share() -> None:
    tasks = (("match", 2), ("words", 2), ("regions", 1))
    rounds = [[Progress(step, seed=1).turn(tasks) for step in range(n * 5, n * 5 + 5)] for n in range(40)]
    assert all(collections.Counter(each) == dict(tasks) for each in rounds)
    assert len({tuple(each) for each in rounds}) > 10, "the order is drawn anew"
    for step in range(10):
        there = Progress(step, seed=1, rank=1, micro=2, total=99)
        assert there.turn(tasks) == Progress(step, seed=1).turn(tasks), "on all ranks and micro-steps"
        assert Progress(7, seed=1, draw=step).turn(tasks) == Progress(step, seed=1).turn(tasks)
    assert any(Progress(step, seed=2).turn(tasks) != Progress(step, seed=1).turn(tasks) for step in range(10))
