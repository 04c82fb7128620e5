"""PRE gives the prompts, logits and gradients of the authors' code, and does right what that does wrong."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.methods import pre
from deixis.types import Progress
from tests.clip_golden import statistics
from tests.prompting import NAMES, clip_like, few_images, golden_batch, golden_method
from tests.support import load_golden

WAYS = {"forward": "", "backward": "_reverse"}


def built(**settings: Any) -> pre.Method:
    return engine.build("pre", "tiny", {"names": NAMES, **settings}, {"encoder": clip_like()}, seed=1)


def places(network: str, method: pre.Method) -> dict[str, Tensor]:
    """The authors' name of each weight of the network -> ours."""
    found: dict[str, Tensor] = {}
    for name, value in method.networks[0].named_parameters():
        if network == "mlp":
            layer = "fc1" if "narrow" in name else "fc2"
            found[f"{layer}.{name.split('.')[-1]}"] = value
            continue
        kind, layer, reverse = re.fullmatch(r"lstm\.(\w+)_l(\d)(_reverse)?", name).groups()  # type: ignore[union-attr]
        found[f"layer{layer}.{'backward' if reverse else 'forward'}.{kind}"] = value
    return found


@pytest.mark.golden
@pytest.mark.parametrize(
    "variant", ["bilstm1_residual", "bilstm1_plain", "bilstm2_residual", "mlp_residual", "mlp_plain"]
)
def test_prompts_logits_loss_and_gradients_are_those_of_the_authors(variant: str) -> None:
    golden = load_golden("pre_prompt")
    theirs, kind = variant.split("_")
    network = {"bilstm1": "bilstm"}.get(theirs, theirs)
    bottleneck = int(golden["cfg.mlp_bottleneck"])
    method = golden_method("pre", golden, network=network, residual=kind == "residual", bottleneck=bottleneck)
    method.context.data = golden["param.ctx"].double()[None]
    weights = places(network, method)
    for name, value in weights.items():
        value.data = golden[f"param.{theirs}.{name}"].double()
    torch.testing.assert_close(method.prompt()[0], golden[f"out.{variant}.context"], rtol=1e-10, atol=1e-12)
    batch, image = golden_batch(golden)
    torch.testing.assert_close(method.scores(image), golden[f"out.{variant}.logits"], rtol=1e-9, atol=1e-10)
    loss = method(batch, Progress()).total
    torch.testing.assert_close(loss, golden[f"out.{variant}.loss"], rtol=1e-10, atol=0)
    gradients = dict(zip(weights, torch.autograd.grad(loss, list(weights.values()), retain_graph=True), strict=True))
    of_context = torch.autograd.grad(loss, method.context)[0][0]
    torch.testing.assert_close(of_context, golden[f"grad.{variant}.ctx"], rtol=1e-7, atol=1e-12)
    for name, gradient in gradients.items():
        if name.split(".")[-1].startswith("bias"):
            torch.testing.assert_close(gradient, golden[f"grad.{variant}.{name}"], rtol=1e-7, atol=1e-12, msg=name)
        else:
            stored = golden[f"out.grad_stat.{variant}.{name}"]
            torch.testing.assert_close(statistics(gradient), stored, rtol=1e-7, atol=1e-11, msg=name)


def lstm_by_hand(vectors: Tensor, lstm: torch.nn.LSTM) -> Tensor:
    """Step by step, in both directions, from the equations."""
    halves = []
    for suffix, order in (("", range(len(vectors))), ("_reverse", reversed(range(len(vectors))))):
        w, u, b, c = (getattr(lstm, f"{n}_l0{suffix}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        hidden, cell = torch.zeros(lstm.hidden_size), torch.zeros(lstm.hidden_size)
        out = torch.zeros(len(vectors), lstm.hidden_size)
        for t in order:
            i, f, g, o = (w @ vectors[t] + b + u @ hidden + c).chunk(4)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
            out[t] = hidden
        halves.append(out)
    return torch.cat(halves, dim=1)


def test_the_recurrent_network_is_its_equations() -> None:
    network, vectors = pre.Recurrent(8, 1), torch.randn(5, 8)
    with torch.no_grad():
        torch.testing.assert_close(network(vectors[None])[0], lstm_by_hand(vectors, network.lstm))


def test_the_bottleneck_is_its_equation() -> None:
    network, vectors = pre.PromptBottleneck(6, 3), torch.randn(2, 4, 6)
    hidden = (vectors @ network.narrow.weight.T + network.narrow.bias).clamp(min=0)
    torch.testing.assert_close(network(vectors), hidden @ network.widen.weight.T + network.widen.bias)


def test_two_mlps_have_twice_the_weights_of_one() -> None:
    count = {n: sum(p.numel() for p in pre.prompt_encoder(n, 512, 64).parameters()) for n in ("mlp", "mlp2", "bilstm")}
    assert count == {"mlp": 66_112, "mlp2": 132_224, "bilstm": 1_576_960}


def test_a_single_vector_is_a_sequence_of_one() -> None:
    method = built(vectors=1)
    assert method.prompt().shape == method.context.shape
    torch.testing.assert_close(method.prompt(), method.networks[0](method.context) + method.context)


@pytest.mark.parametrize("network", ["bilstm", "bilstm2", "mlp", "mlp2"])
def test_separate_networks_are_trained_and_each_sees_one_vector(network: str) -> None:
    method = built(network=network, separate=True)
    assert len(method.networks) == 3
    method(few_images(), Progress()).total.backward()
    assert all(
        float(parameter.grad.abs().sum()) > 0 for parameter in method.networks[2].parameters() if parameter.dim() == 1
    )
    before = method.prompt().detach()
    with torch.no_grad():
        method.context[:, 0] += 1
    assert torch.equal(method.prompt()[:, 1:], before[:, 1:])


def test_where_the_network_gives_nothing_it_is_coop() -> None:
    method = built(network="mlp")
    for parameter in method.networks[0][-1].widen.parameters():
        parameter.data.zero_()
    parent = engine.build("coop", "tiny", {"names": NAMES, "vectors": 3}, {"encoder": method.encoder})
    parent.context.data = method.context.data
    batch = few_images()
    torch.testing.assert_close(method(batch, Progress()).total, parent(batch, Progress()).total)


def test_an_odd_width_has_no_two_equal_directions() -> None:
    with pytest.raises(ValueError, match="two directions of equal width do not make 7"):
        pre.Recurrent(7, 1)
