"""What an `OptimSpec` asks for is what torch and timm do, and what can not be is refused before any work."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from deixis import engine, zoo
from deixis.engine.training.optim import make_optimiser, optim_spec, parameter_groups, set_rates
from deixis.engine.training.train import Numerics, Training, train
from deixis.errors import DeixisError
from deixis.nn.blocks import layer_numbers
from deixis.nn.vision.vit import Vit, VitConfig
from deixis.types import Losses, OptimGroup, OptimSpec, Part, Progress
from tests.support import Peer
from tests.toys import TwoTowers, carded, pairs

timm, timm_optim = Peer("timm"), Peer("timm.optim")
STEPS = 5


def method(spec: OptimSpec | None = None) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = TwoTowers()
    if spec is not None:
        made.config = SimpleNamespace(optim=spec)  # type: ignore[assignment]
    return made


def groups(spec: OptimSpec, subject: Any = None) -> dict[str, tuple[float, float]]:
    """Name of a parameter -> its rate and decay."""
    subject = method(spec) if subject is None else subject
    names = {id(parameter): name for name, parameter in subject.named_parameters()}
    made = parameter_groups(subject, dict(subject.named_parameters()), spec)
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in made for p in group["params"]}


def rates(spec: OptimSpec, total: int, which: int = 0) -> list[float]:
    """Of a group at each step of a run."""
    subject = method(spec)
    optimiser, found = make_optimiser(subject, dict(subject.named_parameters())), []
    for step in range(total):
        set_rates(optimiser, subject, Progress(step, total))
        found.append(optimiser.param_groups[which]["lr"])
    return found


# Steps


def theirs(make: Any, decay: float = 0.1) -> dict[str, torch.Tensor]:
    """The weights after the same steps by a plain loop."""
    plain, batch = method().train(), pairs(12)
    wide = [parameter for parameter in plain.parameters() if parameter.dim() > 1]
    rest = [parameter for parameter in plain.parameters() if parameter.dim() < 2]
    optimiser = make([{"params": wide, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}])
    for _ in range(STEPS):
        optimiser.zero_grad()
        plain(batch, Progress()).total.backward()
        optimiser.step()
    return plain.state_dict()


@pytest.mark.parametrize(
    ("spec", "make"),
    [
        (OptimSpec(learning_rate=0.01, weight_decay=0.1), lambda them: torch.optim.AdamW(them, lr=0.01, fused=True)),
        (
            OptimSpec(learning_rate=0.01, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-3),
            lambda them: torch.optim.AdamW(them, lr=0.01, betas=(0.8, 0.95), eps=1e-3, fused=True),
        ),
        (
            OptimSpec("sgd", learning_rate=0.01, weight_decay=0.1, nesterov=True),
            lambda them: torch.optim.SGD(them, lr=0.01, momentum=0.9, nesterov=True),
        ),
        (
            OptimSpec("sgd", learning_rate=0.01, weight_decay=0.1, momentum=0.0),
            lambda them: torch.optim.SGD(them, lr=0.01),
        ),
        (
            OptimSpec("lars", learning_rate=0.5, weight_decay=0.1),
            lambda them: timm_optim.Lars(them, lr=0.5, momentum=0.9),
        ),
        (
            OptimSpec("lamb", learning_rate=0.1, weight_decay=0.1),
            lambda them: timm_optim.Lamb(them, lr=0.1, max_grad_norm=None),
        ),
    ],
    ids=["adamw", "adamw with settings", "sgd", "sgd without momentum", "lars", "lamb"],
)
def test_steps_are_those_of_torch_and_timm_to_the_bit(spec: OptimSpec, make: Any) -> None:
    ours = train(method(spec), itertools.repeat(pairs(12)), STEPS).state_dict()
    for name, value in theirs(make).items():
        assert torch.equal(ours[name], value), name


def test_a_method_without_a_config_is_trained_by_adamw_as_torch_has_it() -> None:
    ours = train(method(), itertools.repeat(pairs(12)), STEPS).state_dict()
    expected = theirs(lambda them: torch.optim.AdamW(them, fused=True), decay=0.01)
    assert all(torch.equal(ours[name], value) for name, value in expected.items())


# Schedules


def test_the_cosine_is_timm_s() -> None:
    """timm begins its warm-up at a rate that is given, ours one step above 0; after it both are the same."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = Peer("timm.scheduler").CosineLRScheduler(
        optimiser, 20, lr_min=0.03, warmup_t=5, warmup_prefix=True, t_in_epochs=False
    )
    expected = []
    for step in range(25):
        scheduler.step_update(step)
        expected.append(optimiser.param_groups[0]["lr"])
    found = rates(OptimSpec(learning_rate=0.3, schedule="cosine", warmup=5, floor=0.1), 25)
    assert found[5:] == pytest.approx(expected[5:], rel=1e-12)
    assert found[:5] == pytest.approx([0.06, 0.12, 0.18, 0.24, 0.3])


def test_steps_and_lines_are_torch_s() -> None:
    def torch_s(kind: Any, **how: Any) -> list[float]:
        optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
        scheduler, found = kind(optimiser, **how), []
        for _ in range(10):
            found.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            scheduler.step()
        return found

    schedulers = torch.optim.lr_scheduler
    falling = OptimSpec(learning_rate=0.2, schedule="step", milestones=(3, 0.7), gamma=0.5)
    assert rates(falling, 10) == pytest.approx(torch_s(schedulers.MultiStepLR, milestones=[3, 7], gamma=0.5))
    line = torch_s(schedulers.LinearLR, start_factor=1.0, end_factor=0.25, total_iters=10)
    assert rates(OptimSpec(learning_rate=0.2, schedule="linear", floor=0.25), 10) == pytest.approx(line)


def test_a_warm_up_may_be_a_share_of_the_run() -> None:
    share = OptimSpec(schedule="cosine", warmup=0.25)
    assert rates(share, 8) == rates(OptimSpec(schedule="cosine", warmup=2), 8)
    assert rates(share, 8) != rates(OptimSpec(schedule="cosine", warmup=1), 8)


def test_a_decay_that_rises_is_dino_s_and_spares_what_is_not_decayed_and_what_has_a_decay_of_its_own() -> None:
    """Theirs is final + (base - final) (1 + cos(pi step / steps)) / 2, for matrices alone."""
    own = OptimGroup("right", weight_decay=0.3)
    spec = OptimSpec(schedule="cosine", warmup=3, weight_decay=0.04, final_weight_decay=0.4, groups=(own,))
    subject = method(spec)
    names = {id(parameter): name for name, parameter in subject.named_parameters()}
    optimiser = make_optimiser(subject, dict(subject.named_parameters()))
    for step in range(9):
        set_rates(optimiser, subject, Progress(step, 8))
        wanted = 0.4 + (0.04 - 0.4) * (1 + math.cos(math.pi * step / 8)) / 2
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                level = 0.3 if names[id(parameter)].startswith("right") else wanted
                assert group["weight_decay"] == pytest.approx(level if parameter.dim() > 1 else 0.0, rel=1e-12)
    with pytest.raises(DeixisError, match="Give a weight_decay above 0 to begin with"):
        OptimSpec(weight_decay=0.0, final_weight_decay=0.4)


def test_a_decay_that_ends_where_it_began_changes_no_bit() -> None:
    plain, held = (
        train(method(OptimSpec(weight_decay=0.1, final_weight_decay=end)), itertools.repeat(pairs(12)), STEPS)
        for end in (None, 0.1)
    )
    assert all(map(torch.equal, plain.state_dict().values(), held.state_dict().values()))


# Groups


def test_what_has_one_axis_or_a_name_that_is_given_is_not_decayed() -> None:
    decays = {name: decay for name, (_, decay) in groups(OptimSpec(weight_decay=0.5, no_decay=("words",))).items()}
    assert {name for name, decay in decays.items() if decay} == {"left.weight", "right.weight", "context.weight"}
    assert set(groups(OptimSpec(weight_decay=0.5, decay_1d=True)).values()) == {(1e-3, 0.5)}


def test_a_prefix_has_a_rate_a_decay_and_a_schedule_of_its_own() -> None:
    """The first that fits counts, and each parameter is in one group."""
    own = (OptimGroup("left.", 0.1, weight_decay=0.2, schedule="constant", warmup=0), OptimGroup("left.bias", 9.0))
    spec = OptimSpec(learning_rate=0.5, weight_decay=0.3, schedule="linear", warmup=1, groups=own)
    assert groups(spec)["left.weight"] == (0.05, 0.2)
    assert groups(spec)["left.bias"] == (0.05, 0.0)
    assert groups(spec)["right.weight"] == (0.5, 0.3)
    assert groups(spec).keys() == dict(method().named_parameters()).keys()
    assert rates(spec, 3) == pytest.approx([0.5, 0.5, 0.25]), "the first group is the rest"
    assert rates(spec, 3, which=-1) == pytest.approx([0.05] * 3)


class Towered(nn.Module):
    """A method with one image tower."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower, self.scale = tower, nn.Parameter(torch.zeros(()))


carded(Towered, parts=(Part("tower", "image_tower"),))


def vits() -> tuple[nn.Module, nn.Module]:
    """timm's and ours, as deep; on the meta device."""
    with torch.device("meta"):
        named = {"img_size": 32, "patch_size": 16, "embed_dim": 8, "depth": 3, "num_heads": 2, "num_classes": 4}
        ours = Vit(VitConfig(32, 16, 8, 3, 2, 16, 4, pre_norm=False))
        return timm.models.vision_transformer.VisionTransformer(**named), ours


def test_layer_decay_is_timm_s_on_its_vit() -> None:
    tower, _ = vits()
    subject, names = Towered(tower), {id(parameter): name for name, parameter in tower.named_parameters()}
    found = groups(OptimSpec(learning_rate=0.1, weight_decay=0.05, layer_decay=0.7), subject)
    expected = {
        f"tower.{names[id(p)]}": (pytest.approx(0.1 * group["lr_scale"]), group["weight_decay"])
        for group in timm_optim.param_groups_layer_decay(tower, weight_decay=0.05, layer_decay=0.7)
        for p in group["params"]
    }
    assert found == {**expected, "scale": (0.1, 0.0)}
    assert len({rate for rate, _ in found.values()}) == 5, "before the blocks, three blocks, behind them"


def test_layers_of_our_vit_are_numbered_as_timm_s() -> None:
    """The norm behind the blocks counts with the last one, the projection comes after it."""
    theirs, ours = (layer_numbers(tower) for tower in vits())
    pairs = {"pos_embed": "positions", "cls_token": "class_token", "patch_embed.proj.weight": "patches.weight"}
    pairs |= {f"blocks.{i}.mlp.fc1.weight": f"blocks.{i}.perceptron.widen.weight" for i in range(3)}
    pairs |= {"norm.weight": "post_norm.weight", "head.weight": "projection.weight"}
    assert {name: ours[name] for name in pairs.values()} == {pairs[name]: theirs[name] for name in pairs}


def test_both_towers_of_an_encoder_have_rates_that_fall_to_their_first_layers() -> None:
    subject = engine.build("clip", "tiny", {"optim.layer_decay": 0.5, "optim.learning_rate": 1.0})
    found = {name: rate for name, (rate, _) in groups(subject.config.optim, subject).items()}
    for tower in (subject.encoder.image_tower, subject.encoder.text_tower):
        side = "image_tower" if tower is subject.encoder.image_tower else "text_tower"
        numbers = layer_numbers(tower)
        own = [found[f"encoder.{side}.{name}"] for name in sorted(numbers, key=numbers.__getitem__)]
        assert own == sorted(own)
        assert own[-1] == 1.0
    assert found["logit_scale"] == 1.0


# The norm of the gradient


def test_the_spec_s_clip_holds_the_norm_unless_the_run_says_otherwise() -> None:
    def moved(spec: OptimSpec, numerics: Numerics | None = None) -> float:
        subject = method(spec)
        before = [parameter.detach().clone() for parameter in subject.parameters()]
        Training(subject, itertools.repeat(pairs(12)), 1, numerics=numerics).run()
        after = [parameter.detach() for parameter in subject.parameters()]
        return float(sum((old - new).square().sum() for old, new in zip(before, after, strict=True))) ** 0.5

    plain = OptimSpec("sgd", learning_rate=1.0, momentum=0.0, weight_decay=0.0)
    held = OptimSpec("sgd", learning_rate=1.0, momentum=0.0, weight_decay=0.0, clip=1e-3)
    assert moved(plain) > 0.1
    assert moved(held) == pytest.approx(1e-3, rel=1e-3)
    assert moved(held, Numerics(clip=1e-2)) == pytest.approx(1e-2, rel=1e-3)


# What can not be


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"optimiser": "adam"}, r"no optimiser 'adam'. Choose adamw, sgd, lars or lamb"),
        ({"optim.schedule": "cosinus"}, r"no schedule 'cosinus'. Choose constant, cosine, linear or step"),
        ({"optim.schedule": "step"}, "at least one milestone"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"weight_decay": "much"}, "no weight_decay 'much'. Give a number"),
        ({"warmup": 1.5}, "whole number of steps, or a share"),
        ({"optim.floor": 2.0}, "floor is 2.0"),
        ({"beta2": 1.0}, "betas are"),
        ({"optim.layer_decay": 0.0}, "layer_decay is 0.0"),
        ({"optim.nesterov": True, "momentum": 0.0}, "momentum is 0"),
        ({"optim.groups": (OptimGroup("encodr."),)}, "no parameter's name begins so.*encoder"),
        ({"optim.learning_rte": 1.0}, "no setting 'optim.learning_rte'.*learning_rate"),
    ],
)
def test_what_can_not_be_optimised_is_refused_when_the_method_is_built(overrides: dict[str, Any], said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        engine.build("clip", "tiny", overrides, {"encoder": TINY})


TINY = zoo.load("tiny")


def test_a_method_with_a_schedule_of_its_own_takes_no_other() -> None:
    class Scheduled(TwoTowers):
        config = SimpleNamespace(optim=OptimSpec(schedule="cosine"))

        def rate(self, progress: Progress) -> float:
            return 0.5

    carded(Scheduled)
    with pytest.raises(DeixisError, match="has a schedule of its own"):
        optim_spec(Scheduled())
    Scheduled.config = SimpleNamespace(optim=OptimSpec(learning_rate=1.0))
    seen: list[float] = []
    training = Training(Scheduled(), itertools.repeat(pairs(12)), 2)

    def on_step(progress: Progress, losses: Losses) -> None:
        seen.append(training.pulse.rate)

    training.run(on_step)
    assert seen == [0.5, 0.5]
