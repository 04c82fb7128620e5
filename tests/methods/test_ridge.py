"""Ridge, against a loop over the normal equations, and on a planted truth."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from deixis import engine, zoo
from deixis.engine.training.stages import card_of
from deixis.methods.baselines.ridge import ridge
from deixis.types import Batch, Progress
from tests.planted import planted


def moments(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    ones = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    return ones.T @ ones, ones.T @ y


def slow_ridge(x: torch.Tensor, y: torch.Tensor, penalty: float) -> torch.Tensor:
    """Gauss-Jordan on (X'X + penalty n I) w = X'y with sums written out; the intercept's own entry is not raised."""
    n, features, targets = len(x), x.shape[1], y.shape[1]
    size = features + 1
    rows = [[*map(float, x[i]), 1.0] for i in range(n)]
    left = [[sum(rows[i][a] * rows[i][b] for i in range(n)) for b in range(size)] for a in range(size)]
    right = [[sum(rows[i][a] * float(y[i, t]) for i in range(n)) for t in range(targets)] for a in range(size)]
    for a in range(features):
        left[a][a] += penalty * n
    for a in range(size):
        pivot = left[a][a]
        left[a] = [value / pivot for value in left[a]]
        right[a] = [value / pivot for value in right[a]]
        for b in range(size):
            if b != a:
                factor = left[b][a]
                left[b] = [v - factor * p for v, p in zip(left[b], left[a], strict=True)]
                right[b] = [v - factor * p for v, p in zip(right[b], right[a], strict=True)]
    return torch.tensor(right, dtype=torch.float64)


@pytest.mark.parametrize("penalty", [1e-3, 0.3, 10.0])
def test_ridge_equals_the_normal_equations_written_out(penalty: float) -> None:
    x, y = torch.randn(12, 3, dtype=torch.float64), torch.randn(12, 2, dtype=torch.float64) + 5
    torch.testing.assert_close(ridge(*moments(x, y), penalty), slow_ridge(x, y, penalty))


def test_the_intercept_is_not_penalised() -> None:
    """However heavy the penalty, what is left is the mean."""
    x, y = torch.randn(30, 4, dtype=torch.float64), torch.randn(30, 2, dtype=torch.float64) + 100
    solution = ridge(*moments(x, y), 1e9)
    torch.testing.assert_close(solution[:-1], torch.zeros(4, 2, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(solution[-1], y.mean(0))


def test_a_shift_of_the_targets_moves_the_intercept_alone() -> None:
    x, y = torch.randn(20, 3, dtype=torch.float64), torch.randn(20, 2, dtype=torch.float64)
    plain, shifted = ridge(*moments(x, y), 0.5), ridge(*moments(x, y + 7), 0.5)
    torch.testing.assert_close(shifted[:-1], plain[:-1])
    torch.testing.assert_close(shifted[-1], plain[-1] + 7)


def test_by_hand_one_feature() -> None:
    """x = -1, 1 and y = 0, 4: mean 2, slope x'y / (x'x + penalty n) = 4 / (2 + 2 penalty), 1 at penalty 1."""
    x, y = torch.tensor([[-1.0], [1.0]]), torch.tensor([[0.0], [4.0]])
    torch.testing.assert_close(ridge(*moments(x, y), 1.0), torch.tensor([[1.0], [2.0]]))


def test_the_method_fits_scaled_features_to_what_the_embeddings_lack() -> None:
    method = engine.build("ridge", "tiny", {"penalty": 0.2})
    batch = Batch.synthetic(card_of(method).needs, size=50, D=16, F=24)
    with torch.no_grad():
        for piece in batch.split(20):
            method.observe(piece, Progress())
        method.finish(Progress())
    x = F.normalize(batch.extra["image_features"].double(), dim=1) * 24**0.5
    lacking = (batch.extra["text_embedding"] - batch.extra["image_embedding"]).double()
    expected = slow_ridge(x, lacking, 0.2).float()
    torch.testing.assert_close(method.image.linear.weight, expected[:-1].T, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(method.image.linear.bias, expected[-1], rtol=1e-3, atol=1e-5)


def test_it_learns_a_hidden_linear_map_and_keeps_it_on_concepts_it_has_not_seen() -> None:
    world = planted(gain=1.0)
    before, after = world.held_out("ridge", {"encoder": "tiny", "penalty": 0.01})
    assert after > before + 0.3


def test_images_are_corrected_and_texts_are_not() -> None:
    encoder = zoo.load("tiny")
    method = engine.build("ridge", "tiny", parts={"encoder": encoder})
    method.image.linear.bias.fill_(1.0)
    tokens, images = torch.randint(1, 20, (3, 5)), torch.rand(3, 3, 32, 32)
    assert torch.equal(method.encode_text(tokens), encoder.encode_text(tokens))
    states = encoder.image_states(images)
    torch.testing.assert_close(method.encode_image(images), F.normalize(states.embedding + 1.0, dim=1))
