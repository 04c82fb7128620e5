"""SwAV's loss, with and without a queue, is the authors'; SEER's head has no norm, and its tower is what is kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis import engine
from deixis.errors import DeixisError
from deixis.methods import seer
from deixis.nn.vision.any_size import pooled
from deixis.ops.collective import world_size
from deixis.types import Batch, Features, Losses, Progress
from tests.ranks import on_ranks
from tests.support import load_golden


def built(**overrides: Any) -> seer.Method:
    return engine.build("seer", "tiny", overrides, seed=3)


def of_golden(golden: dict[str, Tensor], queue: bool) -> seer.Method:
    """A method with the prototypes, the settings and the queue of a golden case."""
    count, width = golden["param.prototypes"].shape
    settings = {"temperature": "temperature", "epsilon": "epsilon", "rounds": "iters"}
    numbers = {name: golden[f"cfg.{key}"].item() for name, key in settings.items()}
    length = golden["in.queue"].shape[1] if queue else 0
    method = built(width=width, prototypes=count, queue=length, **numbers).double()
    method.prototypes.weight.data.copy_(golden["param.prototypes"])
    for each, rows in zip(method.queues, golden["in.queue"], strict=False):
        each.rows.copy_(rows)
        each.filled.fill_(length)
    return method


@pytest.mark.golden
@pytest.mark.parametrize("queue", [False, True], ids=["batch alone", "with queue"])
def test_loss_gradients_assignments_and_queue_are_those_of_the_authors_code(queue: bool) -> None:
    golden, end = load_golden("swav_loss"), "_queue" if queue else ""
    method = of_golden(golden, queue)
    views, batch = int(golden["cfg.n_views"]), int(golden["cfg.batch"])
    leaf = golden["in.projections"].clone().requires_grad_()
    scores: list[Tensor] = []
    method.prototypes.register_forward_hook(lambda module, given, output: scores.append(output))
    crops = leaf.unflatten(0, (views, batch)).transpose(0, 1)
    ids = tuple(map(str, range(batch)))
    losses = method.loss(Features({"crops": crops}), Batch(ids=ids), Progress())
    torch.testing.assert_close(losses.total, golden[f"out.loss{end}"], rtol=1e-10, atol=0)
    torch.testing.assert_close(scores[0].flatten(0, 1), golden["out.scores"], rtol=1e-10, atol=1e-14)
    found = torch.autograd.grad(losses.total, [leaf, method.prototypes.weight, scores[0]])
    for name, gradient in zip(("projections", "prototypes", "scores"), found, strict=True):
        expected = golden[f"grad.{name}{end}"].reshape(gradient.shape)
        torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-13)
    for crop in range(2):
        queued = method.prototypes(golden["in.queue"][crop]).detach() if queue else None
        settings = {"epsilon": method.config.epsilon, "rounds": method.config.rounds}
        shares = seer.assign(golden["out.scores"].unflatten(0, (views, batch))[crop], queue=queued, **settings)
        torch.testing.assert_close(shares, golden[f"out.assign_crop{crop}{end}"], rtol=1e-9, atol=1e-14)
    if queue:
        method.after_step(Progress(1), losses)
        after = torch.stack([each.rows for each in method.queues])
        torch.testing.assert_close(after, golden["out.queue_after"], rtol=1e-10, atol=1e-14)


def test_the_loss_equals_a_loop_over_crops_and_images() -> None:
    scores, shares = torch.randn(4, 3, 5), torch.rand(2, 3, 5).softmax(dim=2)
    terms = []
    for a in range(2):
        for v in range(4):
            if v != a:
                terms += [-(shares[a, b] * F.log_softmax(scores[v, b] / 0.2, dim=0)).sum() for b in range(3)]
    torch.testing.assert_close(seer.swav_loss(scores, shares, 0.2), torch.stack(terms).mean())


def test_prototypes_that_all_fit_alike_give_the_trivial_loss() -> None:
    shares = torch.rand(2, 3, 6).softmax(dim=2)
    assert float(seer.swav_loss(torch.zeros(3, 3, 6), shares, 0.1)) == pytest.approx(torch.tensor(6.0).log().item())


def test_hard_assignments_lie_on_one_prototype() -> None:
    shares = seer.assign(torch.randn(4, 6), epsilon=0.05, rounds=3, hard=True)
    assert shares.sort(dim=1).values.tolist() == [[0.0] * 5 + [1.0]] * 4


def test_prototypes_are_held_for_the_first_steps_and_have_length_one_after_each() -> None:
    method = built(held_steps=2)
    for step, moves in ((1, False), (2, True)):
        method.prototypes.weight.grad = torch.ones_like(method.prototypes.weight)
        method.after_backward(Progress(step))
        assert (method.prototypes.weight.grad is not None) == moves
    method.prototypes.weight.data *= 3
    method.after_step(Progress(1), Losses({}, carry={"assigning": torch.zeros(6, 2, 8)}))
    torch.testing.assert_close(method.prototypes.weight.norm(dim=1), torch.ones(6))


def test_a_queue_takes_part_once_it_is_full_and_its_step_has_come() -> None:
    method, batch = built(queue=8, queue_from=3), Batch.synthetic(seer.CARD.needs, seer.Config.tiny().view, size=4)
    before = method(batch, Progress(3)).total
    for queue in method.queues:
        queue.rows.copy_(torch.randn(8, 8))
    assert torch.equal(method(batch, Progress(3)).total, before), "not full"
    for queue in method.queues:
        queue.filled.fill_(8)
    assert torch.equal(method(batch, Progress(2)).total, before), "its step has not come"
    assert not torch.equal(method(batch, Progress(3)).total, before)


COUNTS = (3, 1)


def of_ranks(rank: int) -> dict[str, Any]:
    """Loss, assignments and queue of a rank's rows, with a queue that is full; of all rows where there is one rank."""
    start, count = (sum(COUNTS[:rank]), COUNTS[rank]) if world_size() > 1 else (0, sum(COUNTS))
    method = built(queue=5)
    rng = torch.Generator().manual_seed(0)
    for queue in method.queues:
        queue.rows.copy_(F.normalize(torch.randn(5, 8, generator=rng), dim=1))
        queue.filled.fill_(5)
    crops = torch.randn(sum(COUNTS), 3, 8, generator=rng)[start : start + count]
    losses = method.loss(Features({"crops": crops}), Batch(tuple(map(str, range(count)))), Progress())
    method.after_step(Progress(1), losses)
    return {"loss": losses.total.tolist(), "queue": [queue.rows.tolist() for queue in method.queues]}


@pytest.mark.slow
def test_two_ranks_with_a_full_queue_equal_one_process() -> None:
    """The queue counts once, and takes the rows of all ranks in their order."""
    alone = of_ranks(0)
    ranks = on_ranks(len(COUNTS), of_ranks)
    assert sum(each["loss"] for each in ranks) / len(ranks) == pytest.approx(alone["loss"], rel=1e-5)
    for each in ranks:
        torch.testing.assert_close(torch.tensor(each["queue"]), torch.tensor(alone["queue"]))


def test_crops_of_one_size_go_through_the_tower_together() -> None:
    method, batch = built(), Batch.synthetic(seer.CARD.needs, seer.Config.tiny().view, size=4)
    sizes: list[tuple[int, ...]] = []
    backbone = method.encoder.network.backbone
    backbone.register_forward_pre_hook(lambda module, given: sizes.append(tuple(given[0].shape)))
    rows = method.encode(batch, Progress()).rows["crops"]
    assert sizes == [(8, 3, 16, 16), (4, 3, 8, 8)]
    alone = method.head(pooled(method.encoder, batch.views[0][:, 1]))
    torch.testing.assert_close(rows[:, 1], alone)


def test_what_lies_behind_the_pooled_features_does_not_train() -> None:
    method = built(encoder="scratch:resnet:tiny:32")
    names = method.stages()[0].trainable
    assert "encoder.network.conv1.weight" in names
    assert not any("pool.attention.out" in name for name in names)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"assigning": 4}, "There are 3 crops an image, and 4 of them assign. Give at least two crops"),
        ({"epsilon": 0.0}, "epsilon is 0.0 and temperature 0.1. Give numbers above 0"),
    ],
)
def test_settings_that_leave_nothing_to_predict_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        built(**settings)


def test_a_planted_collapse_and_a_planted_ln_k_are_named_with_the_cure() -> None:
    """One tower that gives one vector, and one behind prototypes that are all the same."""
    method, batch = built(queue=0), Batch.synthetic(seer.CARD.needs, seer.Config.tiny().view, size=8)

    def named(method: seer.Method, step: int) -> dict[str, str]:
        losses = method(batch, Progress())
        values = {
            "samples": 100.0,
            "loss": float(losses.total.detach()),
            **{k: float(v) for k, v in losses.metrics.items()},
        }
        return method.warnings(values, Progress(step, 10))

    for value in method.head.parameters():
        value.data.fill_(0.1)
    assert "collapsed" in named(method, 5)["collapsed"]
    method = built(queue=0)
    method.head.linears[-1].weight.data.mul_(50)
    method.prototypes.weight.data[:] = method.prototypes.weight.data[:1].clone()
    assert named(method, 1) == {}
    assert "stuck at ln K, 1.792" in named(method, 5)["stuck at ln K"]


def test_few_images_and_a_queue_that_is_longer_than_they_are_warned_of() -> None:
    values = {"samples": 5.0, "loss": 1.0, "trivial_loss": 1.8, "deviation": 0.5}
    assert set(built().warnings(values, Progress(5, 10))) == {"few images", "long queue"}


PUBLISHED = {"456:160.83:2.52:264": 7392, "640:230.83:2.53:373": 10444, "1744:620.83:2.52:1010": 28280}


@pytest.mark.slow
@pytest.mark.parametrize("group", PUBLISHED)
def test_the_published_networks_have_their_widths(group: str) -> None:
    """On the meta device: the largest has ten billion weights."""
    with torch.device("meta"):
        method = engine.build("seer", "paper", {"encoder": f"regnety:27:{group}:untrained"})
    assert method.encoder.width == method.head.linears[0].in_features == PUBLISHED[group]
