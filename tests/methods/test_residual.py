"""The residual adapter: its loss against a slow loop, and what it learns on concepts it has not seen."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deixis import engine
from deixis.engine.training.stages import card_of
from deixis.types import Batch, Features, Progress
from tests.planted import planted


def built(**overrides: Any) -> Any:
    method = engine.build("residual", "tiny", overrides)
    for adapter in (method.image, method.text):
        if hasattr(adapter, "linear"):
            nn.init.normal_(adapter.linear.weight, std=0.1)
            nn.init.normal_(adapter.linear.bias, std=0.1)
    return method.eval()


def batch(method: Any, size: int = 5) -> Batch:
    return Batch.synthetic(card_of(method).needs, size=size, D=16, F=24)


def softmax(scores: list[float]) -> list[float]:
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    return [power / sum(powers) for power in powers]


def dot(a: Tensor, b: Tensor) -> float:
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def slow_loss(image: Tensor, text: Tensor, frozen: Tensor, scale: float, target_scale: float) -> float:
    """Both directions, pair by pair; the backward targets are the forward ones' transpose, rows made to sum to 1."""
    n = len(image)
    hard = [[float(i == j) for j in range(n)] for i in range(n)]
    soft = [softmax([target_scale * dot(frozen[i], frozen[j]) for j in range(n)]) for i in range(n)]
    forward = soft if target_scale else hard
    backward = [[forward[j][i] / sum(forward[k][i] for k in range(n)) for j in range(n)] for i in range(n)]
    total = 0.0
    for i in range(n):
        to_text = softmax([scale * dot(image[i], text[j]) for j in range(n)])
        to_image = softmax([scale * dot(text[i], image[j]) for j in range(n)])
        total -= sum(forward[i][j] * math.log(to_text[j]) for j in range(n)) / (2 * n)
        total -= sum(backward[i][j] * math.log(to_image[j]) for j in range(n)) / (2 * n)
    return total


@pytest.mark.parametrize("target_scale", [0.0, 1.0, 20.0])
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_the_loss_equals_a_loop_over_pairs(scale: float, target_scale: float) -> None:
    method = built(scale=scale, target_scale=target_scale).double()
    data = batch(method).map(Tensor.double)
    with torch.no_grad():
        rows = method.encode(data, Progress()).rows
    assert torch.equal(rows["frozen_text"], data.extra["text_embedding"]), "targets come from the texts as they were"
    expected = slow_loss(rows["image"], rows["text"], rows["frozen_text"], scale, target_scale)
    assert float(method(data, Progress()).total.detach()) == pytest.approx(expected, rel=1e-9)


def test_encoding_corrects_each_side_by_its_own_adapter() -> None:
    method = built()
    data = batch(method)
    rows, extra = method.encode(data, Progress()).rows, data.extra
    scaled = F.normalize(extra["image_features"], dim=1) * 24**0.5
    shift = extra["image_doubt"][:, None] * (scaled @ method.image.linear.weight.T + method.image.linear.bias)
    torch.testing.assert_close(rows["image"], F.normalize(extra["image_embedding"] + shift, dim=1))
    text = extra["text_embedding"]
    moved = text + text @ method.text.linear.weight.T + method.text.linear.bias
    torch.testing.assert_close(rows["text"], F.normalize(moved, dim=1))


def test_captions_that_say_the_same_are_not_pushed_apart() -> None:
    """Where two samples of one caption lie on one another, soft targets are met and hard ones want them apart."""
    same = torch.eye(16)[[0, 0, 1]]
    features = Features({"image": same, "text": same, "frozen_text": same})
    losses = {
        target_scale: float(built(scale=50.0, target_scale=target_scale).loss(features, Batch(()), Progress()).total)
        for target_scale in (0.0, 50.0)
    }
    entropy = 2 / 3 * math.log(2)  # two of the three share their mass evenly
    assert losses[50.0] == pytest.approx(entropy, abs=1e-5), "no loss is below the entropy of its targets"
    assert losses[0.0] == pytest.approx(entropy, abs=1e-5), "and here it could fall to 0"


def test_without_a_text_side_texts_stay_as_they_are() -> None:
    method = built(text=False)
    data = batch(method)
    assert torch.equal(method.encode(data, Progress()).rows["text"], data.extra["text_embedding"])
    assert method.adapters() == (method.image, None)
    assert all(name.startswith("image.") for name in engine.enter(method, engine.stages(method)[0]))


def test_a_new_adapter_gives_the_encoder_back() -> None:
    method = engine.build("residual", "tiny").eval()
    images, tokens = torch.rand(3, 3, 32, 32), torch.randint(1, 20, (3, 6))
    torch.testing.assert_close(method.encode_image(images), method.encoder.encode_image(images), rtol=0, atol=1e-6)
    torch.testing.assert_close(method.encode_text(tokens), method.encoder.encode_text(tokens), rtol=0, atol=1e-6)


def test_the_adapters_on_the_encoder_are_the_method() -> None:
    method = built()
    encoder = method.encoder.with_adapters(*method.adapters())
    images, tokens = torch.rand(3, 3, 32, 32), torch.randint(1, 20, (3, 6))
    assert torch.equal(encoder.encode_image(images), method.encode_image(images))
    assert torch.equal(encoder.encode_text(tokens), method.encode_text(tokens))


def test_it_learns_a_hidden_linear_map_and_keeps_it_on_concepts_it_has_not_seen() -> None:
    before, after = planted(gain=1.0).held_out("residual", {"learning_rate": 1e-2, "dropout": 0.1}, steps=40)
    assert after > before + 0.3


def test_what_is_not_in_the_features_cannot_be_learned_for_unseen_concepts() -> None:
    before, after = planted(gain=0.0).held_out("residual", {"learning_rate": 1e-2, "dropout": 0.1}, steps=40)
    assert after < before + 0.02
