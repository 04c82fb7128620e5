"""cMIM's loss, its variants and switches are the authors'; a batch of one leaves the contrastive term out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.errors import DeixisError
from deixis.methods import cmim
from deixis.methods.baselines.mim import token_nll
from deixis.methods.cmim import contrastive_term, latent_terms, objective_of
from deixis.nn.layers.gaussian import gaussian_code, log_normal
from deixis.types import Batch, Progress
from tests.support import load_golden

SWITCHES = {"": "nothing", "_normgrad": "gradient", "_normloss": "loss", "_normboth": "both"}


def built(**overrides: Any) -> cmim.Method:
    return engine.build("cmim", "tiny", overrides, seed=3)


def equals(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13)


class Golden:
    """The pieces of the stored case, made by our functions."""

    def __init__(self) -> None:
        self.stored = load_golden("cmim_loss")
        self.raw = self.stored["in.params_raw"].requires_grad_()
        self.logits = self.stored["in.decoder_logits"].requires_grad_()
        self.code = gaussian_code(self.raw, self.stored["in.noise"], float(self.stored["cfg.min_log_sigma"]))
        self.posterior = log_normal(self.code.z, self.code.mean, self.code.log_sigma)
        self.prior = log_normal(self.code.z)
        self.log_k = contrastive_term(self.code.z, float(self.stored["cfg.temperature"]))
        self.total, self.mean = token_nll(self.logits, self.stored["in.targets"], self.stored["in.padding"])

    def objective(self, name: Any, nll: Tensor, switch: Any) -> Tensor:
        terms = latent_terms(self.posterior, self.prior, switch, self.code.z.shape[1])
        return objective_of(name, nll, *terms, self.log_k).mean()


@pytest.mark.golden
def test_each_term_is_that_of_the_authors_code() -> None:
    case = Golden()
    latent = objective_of("cmim", torch.zeros_like(case.total), case.posterior, case.prior, case.log_k)
    found = {
        "z": case.code.z,
        "log_p_k1": case.log_k,
        "log_q": case.posterior,
        "log_prior": case.prior,
        "latent_loss": latent,
        "nll_token_mean": case.mean,
        "nll_token_sum": case.total,
    }
    for name, value in found.items():
        equals(value, case.stored[f"out.{name}"])


@pytest.mark.golden
@pytest.mark.parametrize("end", SWITCHES)
def test_the_total_and_its_gradients_are_those_of_the_authors_code_with_each_switch(end: str) -> None:
    case = Golden()
    total = case.objective("cmim", float(case.stored["cfg.recon_weight"]) * case.mean, SWITCHES[end])
    equals(total, case.stored[f"out.total{end}"])
    raw, logits = torch.autograd.grad(total, (case.raw, case.logits))
    equals(raw, case.stored[f"grad.params_raw{end}"])
    if not end:
        equals(logits, case.stored["grad.decoder_logits"])


@pytest.mark.golden
@pytest.mark.parametrize("name", ["amim", "vae", "cmim"])
def test_the_summed_variants_and_their_gradients_are_those_of_the_authors_code(name: str) -> None:
    case = Golden()
    total = case.objective(name, case.total, "nothing")
    equals(total, case.stored[f"out.{name}_sum_loss"])
    raw, logits = torch.autograd.grad(total, (case.raw, case.logits))
    equals(raw, case.stored[f"grad.params_raw_{name}_sum"])
    equals(logits, case.stored[f"grad.decoder_logits_{name}_sum"])


def test_the_term_does_not_grow_with_a_batch_of_alike_codes_and_one_code_has_none() -> None:
    for count in (2, 7, 50):
        torch.testing.assert_close(contrastive_term(torch.ones(count, 3), 0.5), torch.full((count,), -math.log(2)))
    summed = contrastive_term(torch.ones(7, 3), 0.5, negatives="sum")
    torch.testing.assert_close(summed, torch.full((7,), -math.log(7)))
    assert contrastive_term(torch.randn(1, 3), 0.5).tolist() == [0.0]


def test_at_a_temperature_of_a_tenth_the_term_is_next_to_nothing_until_codes_are_nearly_one() -> None:
    """The scale trap: beside hundreds of nats of pixels."""

    def at(cosine: float, temperature: float) -> float:
        codes = torch.tensor([[1.0, 0.0], [cosine, math.sqrt(1 - cosine**2)]])
        return -float(contrastive_term(codes, temperature)[0])

    assert at(0.0, 0.1) == pytest.approx(0.00005, abs=1e-5)
    assert at(0.5, 0.1) == pytest.approx(0.007, abs=1e-3)
    assert at(0.8, 0.1) == pytest.approx(0.13, abs=0.01)
    assert at(0.0, 1.0) == pytest.approx(0.31, abs=0.01)


@pytest.mark.parametrize("objective", ["amim", "vae", "ae", "infonce"])
def test_each_objective_is_finite_and_only_infonce_has_a_second_code(objective: Any) -> None:
    method = built(objective=objective)
    batch = Batch.synthetic(cmim.CARD.needs, method.config.view, size=3)
    rows, losses = method.encode(batch, Progress()).rows, method(batch, Progress())
    assert ("second" in rows) == (objective == "infonce")
    assert bool(losses.total.isfinite())
    if objective == "ae":
        torch.testing.assert_close(rows["z"], rows["mean"])


def test_features_are_read_at_named_places_of_their_own_width() -> None:
    method, images = built().eval(), torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        widths = {place: method.encode_image(images, at=place).shape[1] for place in ("code", "encoder", "decoder")}
    assert widths == {"code": 4, "encoder": method.encoder.width, "decoder": 12}


def test_a_temperature_of_nothing_is_refused() -> None:
    with pytest.raises(DeixisError, match=r"temperature is 0\.0 and contrast 1\.0"):
        built(temperature=0.0)
