"""Relevance follows its rules' equations, keeps its sum where the rules say so, and reaches all or says why not."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.nn.layers.attention import Attention
from deixis.nn.layers.transformer import TransformerBlock
from deixis.nn.relevance import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    Rules,
    ZBox,
    ZPlus,
    relevance,
)
from tests.support import Peer, load_golden

attributions, lrp_rules, timm = Peer("captum.attr"), Peer("captum.attr._utils.lrp_rules"), Peer("timm")

SMALL = 1e-9
COMPOSITES = {
    "paper": Rules(Epsilon(SMALL, signed=False), ZPlus()),
    "epsilon": Rules(Epsilon(0.05), Epsilon(0.05), epsilon=0.05),
    "box_zplus_epsilon": Rules(ZPlus(), Epsilon(0.01), first=ZBox(-1.0, 1.0)),
    "flat_gamma_epsilon": Rules(Gamma(0.25), Epsilon(0.01), first=Flat()),
    "alpha1beta0": Rules(AlphaBeta(), AlphaBeta()),
}


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-12) -> None:
    """Equal, relative to the largest entry."""
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) <= tolerance * float(wanted.abs().max())


def golden_network(golden: dict[str, Tensor]) -> nn.Sequential:
    """Convolution, batch norm, ReLU, max pool, convolution, ReLU, average pool, flatten, two linear layers."""
    weights = {name: golden[f"param.{name}.weight"] for name in ("conv1", "conv2", "fc1", "fc2")}
    model = nn.Sequential()
    for name, weight in weights.items():
        bias = golden[f"param.{name}.bias"]
        if name.startswith("conv"):
            layer: nn.Module = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
        else:
            layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.double().load_state_dict({"weight": weight, "bias": bias})
        if name == "fc1":
            model.add_module("flat", nn.Flatten())
        model.add_module(name, layer)
        if name == "conv1":
            norm = nn.BatchNorm2d(len(bias), eps=float(golden["cfg.bn_eps"]))
            state = {key: golden[f"param.bn1.{key}"] for key in ("weight", "bias", "running_mean", "running_var")}
            norm.double().load_state_dict({**state, "num_batches_tracked": torch.tensor(0)})
            model.add_module("bn1", norm)
        if name != "fc2":
            model.add_module(f"{name}_relu", nn.ReLU(inplace=True))
        if name.startswith("conv"):
            model.add_module(f"{name}_pool", nn.MaxPool2d(2) if name == "conv1" else nn.AvgPool2d(2))
    return model


@pytest.mark.golden
@pytest.mark.parametrize("composite", list(COMPOSITES))
def test_a_convolutional_network_gets_the_relevance_of_the_equations_at_every_layer(composite: str) -> None:
    golden = load_golden("lrp_rules")
    model, targets = golden_network(golden), golden["in.targets"]
    taps = ("fc1_relu", "flat", "conv1_pool", "conv1_relu")
    found = relevance(
        model,
        golden["in.images"],
        lambda logits: logits.gather(1, targets[:, None])[:, 0],
        rules=COMPOSITES[composite],
        layers=taps,
    )
    close(found.scores, golden["out.logits"].gather(1, targets[:, None])[:, 0])
    close(found.input, golden[f"out.{composite}.input"])
    for tap, name in zip(taps, ("fc2_input", "fc1_input", "conv2_input", "conv1_output"), strict=True):
        close(found.layers[tap], golden[f"out.{composite}.{name}"])


@pytest.mark.golden
def test_a_folded_batch_norm_is_the_layer_of_the_equations_and_gets_the_same_relevance() -> None:
    golden = load_golden("lrp_rules")
    model, targets = golden_network(golden), golden["in.targets"]
    folded = nn.Sequential(*(nn.Identity() if isinstance(each, nn.BatchNorm2d) else each for each in model))
    first: Any = folded[0]
    first.load_state_dict({kind: golden[f"out.folded.conv1.{kind}"] for kind in ("weight", "bias")})
    first, norm = folded[0], golden_network(golden).eval()[:2]
    close(first(golden["in.images"]).detach(), norm(golden["in.images"]).detach())
    found = relevance(
        folded,
        golden["in.images"],
        lambda logits: logits.gather(1, targets[:, None])[:, 0],
        rules=COMPOSITES["paper"],
    )
    close(found.input, golden["out.paper.input"])


@pytest.mark.golden
@pytest.mark.parametrize("kind", ["conv", "linear"])
@pytest.mark.parametrize("rule", ["epsilon", "gamma", "zplus_abs", "alpha1beta0", "zbox", "flat"])
def test_a_layer_with_signed_inputs_gets_the_relevance_of_each_rule(rule: str, kind: str) -> None:
    golden = load_golden("lrp_rules")
    low, high = golden["cfg.layer.box"].tolist()
    small, epsilon = float(golden["cfg.layer.stabiliser"]), float(golden["cfg.layer.epsilon"])
    rules: dict[str, Rule] = {
        "epsilon": Epsilon(epsilon),
        "gamma": Gamma(float(golden["cfg.layer.gamma"]), small),
        "zplus_abs": ZPlus(small),
        "alpha1beta0": AlphaBeta(epsilon=small),
        "zbox": ZBox(low, high, small),
        "flat": Flat(),
    }
    weight = golden[f"param.{'conv2' if kind == 'conv' else 'fc2'}.weight"]
    bias = golden[f"param.layer.{kind}.bias"]
    out, into = weight.shape[:2]
    layer: nn.Module = nn.Conv2d(into, out, 3, padding=1) if kind == "conv" else nn.Linear(into, out)
    layer = layer.double()
    layer.load_state_dict({"weight": weight, "bias": bias})
    x = golden[f"in.layer.{kind}.x"]
    x = x.abs() if rule == "zplus_abs" else x.clip(low, high)
    wanted = golden[f"in.layer.{kind}.relevance"][None]
    output = layer(x[None]).detach()
    found = relevance(
        layer,
        x[None],
        lambda y: (y * wanted / output).flatten(1).sum(1),
        rules=Rules(rules[rule], rules[rule]),
    )
    close(found.input[0], golden[f"out.layer.{kind}.{rule}"], 1e-11)


class Copy(nn.Module):
    """Marks a place: what passes is the same, and another tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view_as(x)


class Named(nn.Module):
    """A pre-norm block of the same parts, with a module at each place that is asked for."""

    def __init__(self, block: TransformerBlock) -> None:
        super().__init__()
        self.block, self.skip1, self.skip2 = block, Copy(), Copy()
        self.mid, self.score, self.weights, self.found = (Copy() for _ in range(4))
        self.q, self.k, self.v = (Copy() for _ in range(3))
        self.attention_norm, self.norm = block.attention_norm, block.norm

    def forward(self, x: Tensor) -> Tensor:
        own = self.block.attention
        states = self.attention_norm(x)
        q, k, v = (
            self.q(own._cut(own.query(states))),
            self.k(own._cut(own.key(states))),
            self.v(own._cut(own.value(states))),
        )
        weights = self.weights(self.score(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1))
        found = self.found((weights @ v).transpose(1, 2).flatten(2))
        x = self.mid(self.skip1(x) + own.out(found))
        return self.skip2(x) + self.block.perceptron(self.norm(x))


PLACES = {
    "block.perceptron": "mlp_out",
    "skip2": "residual2",
    "block.perceptron.widen": "fc1_out",
    "norm": "norm2_out",
    "mid": "mid",
    "block.attention.out": "proj_out",
    "skip1": "residual1",
    "found": "attn_out",
    "weights": "attention",
    "score": "score",
    "v": "value",
    "q": "query",
    "k": "key",
    "attention_norm": "norm1_out",
}
PARTS = {
    "norm1": "attention_norm",
    "norm2": "norm",
    "q": "attention.query",
    "k": "attention.key",
    "v": "attention.value",
    "proj": "attention.out",
    "fc1": "perceptron.widen",
    "fc2": "perceptron.narrow",
}


def golden_block(golden: dict[str, Tensor], biased: bool = True) -> TransformerBlock:
    width, hidden = golden["in.x"].shape[-1], len(golden["param.fc1.bias"])
    block = TransformerBlock(width, int(golden["cfg.heads"]), hidden, "gelu", float(golden["cfg.norm_eps"])).double()
    state = {
        f"{ours}.{kind}": golden[f"param.{theirs}.{kind}"]
        for theirs, ours in PARTS.items()
        for kind in ("weight", "bias")
    }
    block.load_state_dict(state if biased else {k: v * 0 if k.endswith("bias") else v for k, v in state.items()})
    return block


def even(epsilon: float) -> Rules:
    return Rules(Epsilon(epsilon), Epsilon(epsilon), norm=Epsilon(epsilon), epsilon=epsilon)


@pytest.mark.golden
@pytest.mark.parametrize("whole", [True, False])
def test_a_transformer_block_gets_the_relevance_of_the_equations_at_every_place(whole: bool) -> None:
    """`whole`: our own block with fused attention; else the same parts, written out."""
    golden = load_golden("lrp_vit")
    block, wanted = golden_block(golden), golden["in.relevance"]
    model, layers = (block, {}) if whole else (Named(block), PLACES)
    output = block(golden["in.x"]).detach()
    close(output, golden["out.y"])
    found = relevance(
        model,
        golden["in.x"],
        lambda y: (y * wanted / output).flatten(1).sum(1),
        rules=even(float(golden["cfg.epsilon"])),
        layers=tuple(layers),
    )
    close(found.input, golden["out.relevance.input"], 1e-11)
    for place, name in layers.items():
        close(found.layers[place], golden[f"out.relevance.{name}"], 1e-11)
    if not whole:
        seen: list[Tensor] = []
        model.weights.register_forward_hook(lambda module, given, weights: seen.append(weights.detach()))
        model(golden["in.x"])
        close(seen[0], golden["out.attention_weights"])


@pytest.mark.golden
def test_without_biases_a_block_keeps_the_sum_but_for_the_softmax() -> None:
    golden = load_golden("lrp_vit")
    block, wanted = golden_block(golden, biased=False), golden["in.nobias.relevance"]
    output = block(golden["in.x"]).detach()
    close(output, golden["out.nobias.y"])
    found = relevance(
        Named(block),
        golden["in.x"],
        lambda y: (y * wanted / output).flatten(1).sum(1),
        rules=even(float(golden["cfg.nobias.epsilon"])),
        layers=tuple(PLACES),
    )
    close(found.input, golden["out.nobias.input"], 1e-10)
    close(found.layers["weights"], golden["out.nobias.attention"], 1e-10)
    close(found.layers["score"], golden["out.nobias.score"], 1e-10)
    sums = {PLACES[place]: each.flatten(1).sum(1) for place, each in found.layers.items()}
    for out, parts in {
        "mid": ("residual2", "norm2_out"),
        "norm2_out": ("fc1_out",),
        "fc1_out": ("mlp_out",),
        "proj_out": ("attn_out",),
        "attn_out": ("attention", "value"),
        "score": ("query", "key"),
        "norm1_out": ("query", "key", "value"),
    }.items():
        torch.testing.assert_close(sums[out], sum(sums[part] for part in parts), rtol=1e-8, atol=1e-10)
    assert not torch.allclose(sums["score"], sums["attention"], rtol=1e-3)


# Where other code has the rule


class Plain(nn.Module):
    """Convolutions and linear layers without anything that captum refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1, self.pool = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        self.conv2, self.relu2, self.mean = nn.Conv2d(4, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
        self.fc1, self.relu3, self.fc2 = nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mean(self.relu2(self.conv2(self.pool(self.relu1(self.conv1(x))))))
        return self.fc2(self.relu3(self.fc1(torch.flatten(x, 1))))


def seeded(make: Any, *sizes: Any, **named: Any) -> Any:
    torch.manual_seed(0)
    return make(*sizes, **named).double().eval()


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def first(output: Tensor) -> Tensor:
    return output[:, 0]


def test_the_epsilon_rule_equals_captums() -> None:
    model, x = seeded(Plain), numbers(2, 3, 11, 9).requires_grad_()
    for name, layer in model.named_children():
        if not name.startswith("relu"):
            layer.rule = lrp_rules.EpsilonRule(0.01)
    wanted = attributions.LRP(model).attribute(x, target=0)
    own = seeded(Plain)
    found = relevance(own, x, first, rules=even(0.01)).input
    close(found, wanted.detach(), 1e-10)


THEIRS: dict[str, tuple[Any, Rule]] = {
    "gamma": (lambda: lrp_rules.GammaRule(0.25, set_bias_to_zero=True), Gamma(0.25)),
    "z+": (lambda: lrp_rules.Alpha1_Beta0_Rule(set_bias_to_zero=True), ZPlus()),
    "alpha 1, beta 0": (lambda: lrp_rules.Alpha1_Beta0_Rule(set_bias_to_zero=True), AlphaBeta(bias=False)),
}


@pytest.mark.parametrize("name", list(THEIRS))
def test_the_other_rules_that_captum_has_equal_captums(name: str) -> None:
    """Without biases, which captum's gamma does not raise; on inputs that are not negative, as it takes them to be."""
    theirs, ours = THEIRS[name]
    models, x = [seeded(Plain), seeded(Plain)], numbers(2, 3, 11, 9).abs()
    for model in models:
        for key, value in model.named_parameters():
            value.data = torch.zeros_like(value) if "bias" in key else value.data
        model.fc2.weight.data.abs_()  # a score below 0 would be shared out among products above
    for key, layer in models[0].named_children():
        if not key.startswith("relu"):
            layer.rule = theirs() if isinstance(layer, nn.Conv2d | nn.Linear) else lrp_rules.EpsilonRule(SMALL)
    wanted = attributions.LRP(models[0]).attribute(x.clone().requires_grad_(), target=0)
    close(relevance(models[1], x, first, rules=Rules(ours, ours)).input, wanted.detach(), 1e-6)


# Sums


SPLIT = Rules(Epsilon(1e-12), Epsilon(1e-12), norm=Epsilon(1e-12), epsilon=1e-12)


class Residual(nn.Module):
    """A stem, a skip around two convolutions with batch norms, in-place activations, a pool and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU(inplace=True)
        self.conv1, self.norm1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1, bias=False, groups=2), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        found = self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))
        found += x
        return self.head(self.act(found).mean((2, 3)))


def test_without_biases_every_layer_of_a_residual_network_keeps_the_sum() -> None:
    model, x = seeded(Residual), numbers(2, 3, 9, 7).abs()
    found = relevance(model, x, first, rules=SPLIT, layers=("act#0", "act#2"))
    for each in (found.input, *found.layers.values()):
        torch.testing.assert_close(each.flatten(1).sum(1), found.scores)


@pytest.mark.parametrize("rules", ["epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_gamma_box"])
def test_without_biases_every_layer_of_a_chain_keeps_the_sum(rules: str) -> None:
    """Units that relevance reaches are positive here, so that each has a positive part that it can go to."""
    parts = (nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.Conv2d(6, 6, 3, bias=False), nn.ReLU(), nn.AvgPool2d(3))
    model, x = seeded(nn.Sequential, *parts, nn.Flatten(), nn.LazyLinear(2, bias=False)), numbers(2, 3, 10, 7).abs()
    model(x)
    found = relevance(model, x, first, rules=rules, layers=("1", "2", "3", "5"))
    for each in (found.input, *found.layers.values()):
        torch.testing.assert_close(each.flatten(1).sum(1), found.scores, rtol=1e-3, atol=1e-5)


def test_without_biases_a_network_of_timms_keeps_the_sum() -> None:
    """Skips, batch norms (folded, their own biases 0), a max pool with a stride, an average and a head."""
    model = timm.models.ResNet(timm.models.resnet.BasicBlock, (1, 1, 1, 1), channels=(8, 8, 16, 16), num_classes=3)
    torch.manual_seed(0)
    for name, value in model.named_parameters():
        nn.init.zeros_(value) if "bias" in name else nn.init.normal_(value, std=0.2)
    x = numbers(2, 3, 64, 48).abs()
    found = relevance(model.double().eval(), x, first, rules=SPLIT, layers=("maxpool", "layer1", "layer4"))
    for each in (found.input, *found.layers.values()):
        torch.testing.assert_close(each.flatten(1).sum(1), found.scores, rtol=1e-5, atol=1e-8)


def test_what_biases_take_is_what_is_missing() -> None:
    """One linear layer under the epsilon rule: b / (z + epsilon) of the score, and epsilon's own part."""
    layer, x, epsilon = seeded(nn.Linear, 5, 1), numbers(3, 5), 0.1
    found = relevance(layer, x, first, rules=even(epsilon))
    z = found.scores
    kept = (z - layer.bias.detach()) / (z + epsilon * torch.where(z < 0, -1.0, 1.0))
    torch.testing.assert_close(found.input.sum(1), z * kept)


def test_a_batch_norm_is_folded_into_the_convolution_before_it() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    model = nn.Sequential(conv, norm, nn.ReLU(), nn.Flatten()).double().eval()
    fused = nn.Sequential(torch.nn.utils.fuse_conv_bn_eval(model[0], model[1]), nn.ReLU(), nn.Flatten())
    x = numbers(2, 3, 6, 5)
    for rules in (even(0.1), "epsilon_plus", "epsilon_gamma_box"):
        found, wanted = (relevance(each, x, lambda y: y.sum(1), rules=rules).input for each in (model, fused))
        close(found, wanted, 1e-10)


def test_attention_weights_taken_as_constants_send_everything_to_the_values() -> None:
    attention, x = seeded(Attention, 8, 2), numbers(2, 5, 8)
    for part in (attention.value, attention.out):
        nn.init.zeros_(part.bias)
    rules = Rules(SPLIT.convolution, SPLIT.linear, epsilon=1e-12, attention="constant")
    layers = ("query", "key", "value")
    with pytest.raises(DeixisError, match="No relevance passes through the output of 'query'"):
        relevance(attention, x, lambda y: y[:, 0].sum(1), rules=rules, layers=layers)
    found = relevance(attention, x, lambda y: y[:, 0].sum(1), rules=rules, layers=("value",))
    for each in (found.input, found.layers["value"]):
        torch.testing.assert_close(each.flatten(1).sum(1), found.scores)


@pytest.mark.parametrize("mode", ["product", "constant"])
def test_torchs_own_attention_gets_the_same_relevance_as_ours(mode: Any) -> None:
    ours, theirs = seeded(Attention, 8, 2), seeded(nn.MultiheadAttention, 8, 2, batch_first=True)
    parts = (ours.query, ours.key, ours.value)
    theirs.in_proj_weight.data = torch.cat([each.weight.data for each in parts])
    theirs.in_proj_bias.data = numbers(24)
    for each, bias in zip(parts, theirs.in_proj_bias.data.chunk(3), strict=True):
        each.bias.data = bias
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    x, rules = numbers(2, 5, 8), Rules(attention=mode)
    causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
    for mask in (None, causal, torch.zeros(5, 5).double().masked_fill(causal, -math.inf)):
        wanted = relevance(
            ours, x, lambda y: y[:, 2].sum(1), rules=rules, forward=lambda x, c=mask is not None: ours(x, causal=c)
        )
        found = relevance(
            theirs, x, lambda y: y[0][:, 2].sum(1), rules=rules, forward=lambda x, m=mask: theirs(x, x, x, attn_mask=m)
        )
        close(found.scores, wanted.scores)
        close(found.input, wanted.input, 1e-10)
        assert mask is None or not found.input[:, 3:].any(), "what may not be looked at carries nothing"


def test_fused_attention_equals_attention_step_by_step() -> None:
    attention, x = seeded(Attention, 8, 2), numbers(2, 5, 8)
    fused = relevance(attention, x, lambda y: y[:, 2].sum(1), forward=lambda x: attention(x, causal=True))
    steps = relevance(
        attention, x, lambda y: y[:, 2].sum(1), forward=lambda x: attention.with_weights(x, causal=True)[0]
    )
    close(fused.input, steps.input, 1e-9)


# Use


def test_several_scores_share_the_forward_pass_and_are_those_of_each_alone() -> None:
    model, x, calls = seeded(Residual), numbers(2, 3, 8, 8), []
    model.stem.register_forward_hook(lambda *_: calls.append(1))
    found = relevance(model, x, lambda y: y)
    assert found.input.shape == (2, 3, 3, 8, 8)
    assert len(calls) == 1
    for number in range(3):
        close(found.input[:, number], relevance(model, x, lambda y, n=number: y[:, n]).input, 1e-12)


def test_samples_do_not_touch_each_other() -> None:
    model, x = seeded(Residual), numbers(3, 3, 8, 6)
    whole = relevance(model, x, first).input
    for number in range(3):
        close(whole[number : number + 1], relevance(model, x[number : number + 1], first).input, 1e-10)


def test_mode_weights_and_needs_of_gradients_are_as_before_also_after_an_error() -> None:
    model, x = seeded(Residual).train(), numbers(2, 3, 8, 8)
    model.norm1.eval()
    model.head.weight.requires_grad = False
    before = copy.deepcopy(model.state_dict())
    modes = [each.training for each in model.modules()]

    def failing(y: Tensor) -> Tensor:
        raise RuntimeError("no")

    relevance(model, x, first)
    with pytest.raises(RuntimeError, match="no"):
        relevance(model, x, failing)
    assert [each.training for each in model.modules()] == modes
    assert not model.head.weight.requires_grad
    assert model.stem.weight.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())


def test_callers_without_gradients_frozen_weights_and_inference_tensors_are_served() -> None:
    model, x = seeded(Residual).requires_grad_(False), numbers(2, 3, 8, 8)
    wanted = relevance(model, x, first).input
    with torch.no_grad():
        close(relevance(model, x, first).input, wanted)
    with torch.inference_mode():
        close(relevance(model, x.clone(), first).input, wanted)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_32_bits(kind: torch.dtype) -> None:
    model, x = seeded(Residual).to(kind), numbers(2, 3, 8, 8).to(kind)
    found = relevance(model, x, first).input
    assert found.dtype == torch.float32
    assert next(model.parameters()).dtype == kind
    close(found, relevance(copy.deepcopy(model).float(), x.float(), first).input, 1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_images_give_finite_relevance(value: float) -> None:
    model, x = seeded(Residual).float(), torch.full((1, 3, 9, 7), value)
    for rules in ("salient_relevance", "epsilon_plus_flat", "epsilon_gamma_box"):
        assert relevance(model, x, first, rules=rules).input.isfinite().all()


# What is refused


class Odd(nn.Module):
    """Relevance reaches an error function here, unless `beside`."""

    def __init__(self, beside: bool) -> None:
        super().__init__()
        self.beside, self.inner = beside, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        states = self.inner(x)
        return (states, states.erf()) if self.beside else (states.erf(), states)


def test_a_function_without_a_rule_is_refused_by_name_once_relevance_reaches_it() -> None:
    x = numbers(2, 4)
    model = nn.Sequential(seeded(Odd, beside=False))
    with pytest.raises(DeixisError, match=r"no rule for erf\(\), called by the module '0' \(Odd\)"):
        relevance(model, x, lambda y: y[0].sum(1))
    assert relevance(nn.Sequential(seeded(Odd, beside=True)), x, lambda y: y[0].sum(1)).input.isfinite().all()


class _Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * gradient


class WithOwn(nn.Module):
    """Calls an autograd function of its own, which no table sees."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return _Own.apply(self.inner(x))


class Writing(nn.Module):
    """Writes into a tensor that carries relevance."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        found = self.inner(x)
        found[:, 0] = 0
        return found


def checkpointed() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4))
    model.grad_checkpointing = True
    return model


REFUSED = {
    "own": (WithOwn, "no rule for the autograd function _Own"),
    "writing": (Writing, "writes into a tensor in place"),
    "parallel": (lambda: nn.DataParallel(nn.Linear(4, 4)), "wrapped in DataParallel"),
    "checkpointed": (checkpointed, "checkpointing"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_models_that_cannot_be_followed_are_refused_with_the_cure(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(DeixisError, match=message):
        relevance(make(), torch.ones(2, 4), first)


def test_unknown_rules_unknown_layers_and_scores_beside_the_input_are_refused() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4)), torch.ones(2, 4)
    with pytest.raises(DeixisError, match="no set of rules 'epsilom'"):
        relevance(model, x, first, rules="epsilom")
    with pytest.raises(DeixisError, match="no layer 'fc'"):
        relevance(model, x, first, layers=("fc",))
    with pytest.raises(DeixisError, match="does not depend on the input"):
        relevance(model, x, lambda y: torch.ones(2))
    with pytest.raises(ValueError, match="alpha - beta must be 1"):
        AlphaBeta(2.0, 2.0)
