"""The penalised correction: nothing of it is left under a large penalty, and it is at the bottom of its objective."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis import engine
from deixis.methods.baselines import delta
from deixis.types import Batch, FieldSpec, Progress

SPECS = {"image_embedding": FieldSpec("image_embedding", "B D"), "image_features": FieldSpec("image_features", "B F")}


def some(count: int = 15) -> tuple[Tensor, Tensor, Tensor]:
    return F.normalize(torch.randn(count, 16), dim=-1), torch.randn(count, 24), torch.arange(count) % 5


def fitted(image: Tensor, features: Tensor, labels: Tensor, **settings: Any) -> delta.Method:
    method = engine.build("delta", "tiny", settings)
    ids = tuple(f"{i:03}" for i in range(len(labels)))
    extra = {"image_embedding": image, "image_features": features}
    with torch.no_grad():
        method.observe(Batch(ids, labels=labels, extra=extra, specs=SPECS), Progress())
        method.finish(Progress())
    return method


def named(method: delta.Method, image: Tensor) -> Tensor:
    return method.encoder.scale * image @ method.classes.T


def test_under_a_large_penalty_the_names_decide() -> None:
    """The intercept is penalised, too: unbalanced classes do not move what the names say."""
    image, features, _ = some(20)
    method = fitted(image, features, torch.tensor([0] * 16 + [1, 2, 3, 4]), penalty=1e9)
    torch.testing.assert_close(method.scores(image, features), named(method, image), rtol=1e-5, atol=1e-6)


def test_under_a_small_penalty_the_few_images_are_told_apart_whatever_the_names_say() -> None:
    image, features, labels = some(20)
    method = fitted(image, features, labels, penalty=1e-6)
    assert not torch.equal(named(method, image).argmax(1), labels)
    assert torch.equal(method.scores(image, features).argmax(1), labels)


@pytest.mark.parametrize("count", [15, 60], ids=["fewer images than features", "more"])
def test_the_gradient_at_the_solution_is_zero(count: int) -> None:
    image, features, labels = some(count)
    method = fitted(image, features, labels, penalty=1e-2)
    weight, bias = method.head.weight.double(), method.head.bias.double()
    scaled = F.normalize(features.double(), dim=1)
    errors = (named(method, image).double() + scaled @ weight.T + bias).softmax(1) - F.one_hot(labels, 5)
    assert float((errors.T @ scaled / count + 1e-2 * weight).abs().max()) < 1e-6
    assert float((errors.mean(0) + 1e-2 * bias).abs().max()) < 1e-6


def test_logits_are_those_of_the_words_and_of_the_correction() -> None:
    method = fitted(*some())
    pixels = torch.rand(3, 3, 32, 32)
    states = method.encoder.image_states(pixels)
    added = F.normalize(states.features, dim=1) @ method.head.weight.T + method.head.bias
    torch.testing.assert_close(method.classify(pixels), named(method, states.embedding) + added)


def test_images_are_forgotten_once_fitted() -> None:
    method = fitted(*some())
    with pytest.raises(ValueError, match="nothing was observed"):
        method.finish(Progress())
