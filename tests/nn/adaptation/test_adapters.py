"""An adapter corrects by what it learned and by nothing else: new or at strength 0 it leaves the model alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.adaptation.adapters import ImageResidual, TextResidual, from_config
from deixis.types import ImageStates


def states(size: int = 5, seed: int = 0, doubt: Tensor | None = None) -> ImageStates:
    rng = torch.Generator().manual_seed(seed)
    embedding = F.normalize(torch.randn(size, 4, generator=rng), dim=-1)
    features = torch.randn(size, 6, generator=rng)
    return ImageStates(embedding, features, torch.rand(size, generator=rng) if doubt is None else doubt)


def learned(adapter: Any) -> Any:
    nn.init.normal_(adapter.linear.weight)
    nn.init.normal_(adapter.linear.bias)
    return adapter.eval()


def test_a_new_adapter_is_the_identity() -> None:
    x = states()
    torch.testing.assert_close(ImageResidual(6, 4)(x), x.embedding, rtol=0, atol=1e-6)
    torch.testing.assert_close(TextResidual(4)(x.embedding), x.embedding, rtol=0, atol=1e-6)


@given(seed=st.integers(0, 20), gated=st.booleans())
def test_at_strength_zero_the_embedding_comes_back_bit_for_bit(seed: int, gated: bool) -> None:
    x = states(seed=seed)
    image, text = learned(ImageResidual(6, 4, gated=gated)), learned(TextResidual(4))
    for adapter in (image, text):
        adapter.strength.fill_(0.0)
    assert torch.equal(image(x), x.embedding)
    assert torch.equal(text(x.embedding), x.embedding)


def test_what_the_tower_is_sure_of_is_left_alone() -> None:
    x = states(doubt=torch.tensor([0.0, 1.0, 0.0, 0.5, 0.0]))
    out = learned(ImageResidual(6, 4))(x)
    kept = (out - x.embedding).abs().amax(1) < 1e-6
    assert kept.tolist() == [True, False, True, False, True]


def test_without_the_gate_doubt_is_not_looked_at() -> None:
    adapter = learned(ImageResidual(6, 4, gated=False))
    assert torch.equal(adapter(states(doubt=torch.zeros(5))), adapter(states(doubt=torch.ones(5))))


def test_the_image_correction_by_hand() -> None:
    """z = (1, 0), f = (3, 4), so s(f) = sqrt(2) (0.6, 0.8); W = ((0, 0), (1, 2)), b = (0, 1), doubt 1/2, strength 2."""
    adapter = ImageResidual(2, 2).eval()
    adapter.linear.weight.data = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    adapter.linear.bias.data = torch.tensor([0.0, 1.0])
    adapter.strength.fill_(2.0)
    x = ImageStates(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([0.5]))
    second = 2 * 0.5 * (math.sqrt(2) * (0.6 + 2 * 0.8) + 1)
    length = math.hypot(1.0, second)
    torch.testing.assert_close(adapter(x), torch.tensor([[1 / length, second / length]]))


def test_the_text_correction_by_hand() -> None:
    """t = (0, 1); B = ((0, 3), (0, 0)), c = (1, 0), strength 1/2: (0, 1) + (2, 0) = (2, 1)."""
    adapter = TextResidual(2)
    adapter.linear.weight.data = torch.tensor([[0.0, 3.0], [0.0, 0.0]])
    adapter.linear.bias.data = torch.tensor([1.0, 0.0])
    adapter.strength.fill_(0.5)
    torch.testing.assert_close(adapter(torch.tensor([[0.0, 1.0]])), torch.tensor([[2.0, 1.0]]) / math.sqrt(5))


def test_only_the_direction_of_the_features_counts() -> None:
    adapter, x = learned(ImageResidual(6, 4)), states()
    torch.testing.assert_close(adapter(ImageStates(x.embedding, 7 * x.features, x.doubt)), adapter(x))


@given(seed=st.integers(0, 20), strength=st.floats(0, 1))
def test_embeddings_keep_length_one(seed: int, strength: float) -> None:
    image, text, x = learned(ImageResidual(6, 4)), learned(TextResidual(4)), states(seed=seed)
    for adapter in (image, text):
        adapter.strength.fill_(strength)
    torch.testing.assert_close(image(x).norm(dim=1), torch.ones(5))
    torch.testing.assert_close(text(x.embedding).norm(dim=1), torch.ones(5))


def test_features_are_dropped_in_training_only_and_kept_in_the_mean() -> None:
    adapter = learned(ImageResidual(6, 4, gated=False, dropout=0.5))
    x = states(1)
    still = adapter(x)
    assert torch.equal(adapter(x), still)
    adapter.train()
    assert not torch.equal(adapter(x), adapter(x))
    assert "dropout" not in adapter.config, "a matter of training"


@pytest.mark.parametrize("adapter", [ImageResidual(6, 4, gated=False), ImageResidual(6, 4), TextResidual(4)])
def test_an_adapter_is_built_again_from_its_config_and_its_state(adapter: Any) -> None:
    adapter = learned(adapter)
    adapter.strength.fill_(0.3)
    again = from_config(adapter.config)
    again.load_state_dict(adapter.state_dict())
    x: Any = states() if isinstance(adapter, ImageResidual) else states().embedding
    assert torch.equal(again.eval()(x), adapter(x)), "the strength is part of the state"


@pytest.mark.parametrize("config", [{"kind": "Bottleneck"}, {}, {"kind": "TextResidual", "depth": 3}])
def test_an_adapter_that_is_not_known_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"adapter|settings"):
        from_config(config)


def test_gradients_reach_the_correction_and_not_the_strength() -> None:
    adapter = ImageResidual(6, 4)
    adapter(states()).sum().backward()
    assert adapter.linear.weight.grad is not None
    assert not adapter.strength.requires_grad
