"""MIM: its two forms of q(x), codes of generated images, and likelihoods that equal loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from deixis import engine
from deixis.errors import DeixisError
from deixis.methods.baselines import mim
from deixis.methods.baselines.mim import mim_loss, token_nll
from deixis.nn.layers.conv_decoder import ConvDecoder
from deixis.nn.layers.gaussian import GaussianHead, gaussian_code, log_normal, scale_gradient
from deixis.types import Batch, Progress


def built(**overrides: Any) -> mim.Method:
    return engine.build("mim", "tiny", overrides, seed=3)


def test_the_marginal_of_one_code_with_beta_one_leaves_likelihood_and_prior() -> None:
    likelihood, prior, posterior = torch.randn(3, 5)
    torch.testing.assert_close(mim_loss(likelihood, prior, posterior, None, 1.0), -(likelihood + prior))
    half = -(likelihood + prior + 0.5 * (posterior + likelihood + prior - posterior)) / 2
    torch.testing.assert_close(mim_loss(likelihood, prior, posterior, None, 0.5), half)
    anchor = torch.randn(5)
    expected = -(likelihood + prior + posterior + anchor) / 2
    torch.testing.assert_close(mim_loss(likelihood, prior, posterior, anchor, 1.0), expected)


def test_generated_pairs_take_part_once_beta_is_one() -> None:
    method = built(warmup=0.5)
    batch = Batch.synthetic(mim.CARD.needs, method.config.view, size=3)
    assert [method.beta(Progress(step, 8)) for step in (0, 2, 4, 8)] == [0.0, 0.5, 1.0, 1.0]
    assert "generated" not in method.encode(batch, Progress(2, 8)).rows
    rows = method.encode(batch, Progress(4, 8)).rows
    assert rows["generated"].shape == (3,)
    assert method(batch, Progress(4, 8)).total.isfinite()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "levels"])
@pytest.mark.parametrize("marginal", ["anchor", "marginal"])
def test_each_likelihood_is_a_sum_over_pixels_and_generates_images_between_0_and_1(
    likelihood: Any, marginal: Any
) -> None:
    method = built(likelihood=likelihood, marginal=marginal, levels=4)
    batch = Batch.synthetic(mim.CARD.needs, method.config.view, size=2)
    code, pixels = torch.randn(2, 4), torch.rand(2, 3, 8, 8)
    total, mean = method.log_likelihood(code, pixels)
    torch.testing.assert_close(total / (3 * 8 * 8), mean)
    told = method.decoder(code)
    first = told[0, 0, 5, 6] if likelihood != "levels" else told[0, :4, 5, 6]
    x = pixels[0, 0, 5, 6]
    changed = pixels.clone()
    changed[0, 0, 5, 6] = 0.0
    one = {
        "bernoulli": lambda v: v * first.sigmoid().log() + (1 - v) * (-first).sigmoid().log(),
        "gaussian": lambda v: -(((v - first.sigmoid()) / 0.1) ** 2) / 2 - math.log(0.1) - math.log(2 * math.pi) / 2,
        "levels": lambda v: first.log_softmax(dim=0)[min(3, int(v * 4))],
    }[likelihood]
    difference = method.log_likelihood(code, changed)[0][0] - total[0]
    torch.testing.assert_close(difference, one(torch.tensor(0.0)) - one(x), rtol=1e-3, atol=2e-3)
    assert method(batch, Progress()).total.isfinite()


def test_tokens_that_are_padding_count_neither_in_the_sum_nor_in_the_mean() -> None:
    logits, targets = torch.randn(2, 3, 5), torch.tensor([[0, 1, 2], [3, 0, 0]])
    padding = torch.tensor([[False, False, False], [False, True, True]])
    total, mean = token_nll(logits, targets, padding)
    own = -logits.log_softmax(dim=2)
    sums = torch.stack([own[0, [0, 1, 2], [0, 1, 2]].sum(), own[1, 0, 3]])
    torch.testing.assert_close(total, sums)
    torch.testing.assert_close(mean, sums / torch.tensor([3.0, 1.0]))


def test_the_deviation_stops_at_its_limit_and_has_no_gradient_there() -> None:
    raw = torch.tensor([[0.5, -9.0]], requires_grad=True)
    code = gaussian_code(raw, torch.ones(1, 1), -6.0)
    assert code.log_sigma.tolist() == [[-6.0]]
    assert float(code.z.detach()) == pytest.approx(0.5 + math.exp(-6))
    assert torch.autograd.grad(code.z.sum(), raw)[0].tolist() == [[1.0, 0.0]]
    assert GaussianHead(3, 2)(torch.randn(4, 3), torch.zeros(4, 2)).z.shape == (4, 2)


def test_log_densities_are_those_of_torch_and_a_scaled_gradient_leaves_the_value() -> None:
    z, mean, log_sigma = torch.randn(3, 4, 5)
    expected = torch.distributions.Normal(mean, log_sigma.exp()).log_prob(z).sum(dim=1)
    torch.testing.assert_close(log_normal(z, mean, log_sigma), expected)
    leaf = torch.tensor([2.0], requires_grad=True)
    scaled = scale_gradient(leaf, 0.25)
    assert (float(scaled.detach()), float(torch.autograd.grad(scaled, leaf)[0])) == (2.0, 0.25)


def test_the_stages_of_a_decoder_have_names_and_an_odd_side_is_cut_out() -> None:
    decoder = ConvDecoder(4, (6, 5, 3), 30, 2)
    assert decoder(torch.randn(2, 4)).shape == (2, 2, 30, 30)
    states = decoder.states(torch.randn(2, 4))
    assert {name: each.shape[1:] for name, each in states.items()} == {
        "stage0": (6, 8, 8),
        "stage1": (5, 16, 16),
        "stage2": (3, 32, 32),
    }


def test_a_deviation_of_nothing_is_refused() -> None:
    with pytest.raises(DeixisError, match=r"deviation is 0\.0, latent 4 and levels 16"):
        built(deviation=0.0)
