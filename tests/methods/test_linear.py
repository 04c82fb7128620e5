"""The linear probe is at the bottom of its own, convex, objective."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis import engine
from deixis.errors import DeixisError
from deixis.methods.baselines import linear
from deixis.ops import logistic
from deixis.types import Batch, FieldSpec, Progress


def labelled(features: Tensor, labels: Tensor) -> Batch:
    ids = tuple(map(str, range(len(labels))))
    specs = {"image_features": FieldSpec("image_features", "B F")}
    return Batch(ids, labels=labels, extra={"image_features": features}, specs=specs)


def fitted(batch: Batch, penalty: float = 1e-2, names: str = "abcde") -> linear.Method:
    method = engine.build("linear", "tiny", {"penalty": penalty, "names": tuple(names)})
    with torch.no_grad():
        method.observe(batch, Progress())
        method.finish(Progress())
    assert isinstance(method, linear.Method)
    return method


def slow_gradient(method: linear.Method, batch: Batch, penalty: float) -> tuple[Tensor, Tensor]:
    """Of mean CE + penalty / 2 |W|^2, sample by sample: the class probabilities minus the truth, times the features."""
    assert batch.labels is not None
    weight, bias = method.head.weight.double(), method.head.bias.double()
    of_weight, of_bias = penalty * weight, torch.zeros_like(bias)
    for f, label in zip(batch.extra["image_features"].double(), batch.labels.tolist(), strict=True):
        scaled = f / math.sqrt(sum(float(v) ** 2 for v in f))
        scores = [float(weight[c] @ scaled + bias[c]) for c in range(len(bias))]
        total = sum(math.exp(score) for score in scores)
        for c, score in enumerate(scores):
            error = math.exp(score) / total - (c == label)
            of_weight[c] = of_weight[c] + error * scaled / len(batch)
            of_bias[c] = of_bias[c] + error / len(batch)
    return of_weight, of_bias


@pytest.mark.parametrize("penalty", [1e-3, 1e-1])
def test_the_gradient_at_the_solution_is_zero(penalty: float) -> None:
    batch = labelled(torch.randn(40, 24), torch.arange(40) % 5)
    of_weight, of_bias = slow_gradient(fitted(batch, penalty), batch, penalty)
    assert float(of_weight.abs().max()) < 1e-6
    assert float(of_bias.abs().max()) < 1e-6


def test_the_intercept_is_not_penalised() -> None:
    """Under a penalty that leaves no weights, probabilities are the classes' shares: 3/4 and 1/4."""
    method = fitted(labelled(torch.randn(40, 24), torch.tensor([0, 0, 0, 1] * 10)), penalty=1e6, names="ab")
    assert float(method.head.weight.abs().max()) < 1e-4
    torch.testing.assert_close(method.head.bias.softmax(0), torch.tensor([0.75, 0.25]), rtol=1e-4, atol=1e-4)


def test_only_the_direction_of_the_features_counts() -> None:
    features, labels = torch.randn(30, 24), torch.arange(30) % 5
    lengths = torch.rand(30, 1) + 0.5
    plain, scaled = (fitted(labelled(f, labels)) for f in (features, features * lengths))
    torch.testing.assert_close(scaled.head.weight, plain.head.weight, rtol=1e-3, atol=1e-4)


def test_classes_that_differ_in_their_features_are_told_apart() -> None:
    centres = torch.eye(24)[:5]
    labels = torch.arange(100) % 5
    method = fitted(labelled(centres[labels] + 0.1 * torch.randn(100, 24), labels))
    fresh = F.normalize(centres + 0.1 * torch.randn(5, 24), dim=1)
    assert method.head(fresh).argmax(1).tolist() == [0, 1, 2, 3, 4]


def test_it_classifies_by_the_features_of_the_tower() -> None:
    method = fitted(labelled(torch.randn(40, 24), torch.arange(40) % 5))
    images = torch.rand(3, 3, 32, 32)
    features = F.normalize(method.encoder.image_states(images).features, dim=1)
    torch.testing.assert_close(method.classify(images), features @ method.head.weight.T + method.head.bias)


def test_features_are_forgotten_once_fitted() -> None:
    method = fitted(labelled(torch.randn(40, 24), torch.arange(40) % 5))
    with pytest.raises(ValueError, match="nothing was observed"):
        method.finish(Progress())


def test_without_names_of_classes_there_is_no_method() -> None:
    with pytest.raises(DeixisError, match=r"part 'names' is missing. Name one with --names"):
        engine.build("linear", "tiny", {"names": ()})


def test_logits_made_a_few_rows_at_a_time_lead_to_the_same_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = labelled(torch.randn(40, 24), torch.arange(40) % 5)
    whole = fitted(batch)
    monkeypatch.setattr(logistic, "_CELLS", 35)  # seven rows of five classes
    torch.testing.assert_close(fitted(batch).head.weight, whole.head.weight, rtol=1e-5, atol=1e-6)


def test_weights_lie_among_the_directions_of_the_images() -> None:
    """Which is why fewer images than features make a smaller problem with the same solution."""
    features = torch.randn(10, 24)
    weight = fitted(labelled(features, torch.arange(10) % 5)).head.weight
    inside = torch.linalg.lstsq(features.T, weight.T).solution
    torch.testing.assert_close((features.T @ inside).T, weight, rtol=1e-4, atol=1e-5)
