"""ConSE: a mean of class embeddings whose weights carry the gradient; and the tower around it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deixis.nn.vision.conse import ClassifierTower, ConSE

CLASSES, WIDTH, FEATURES = 7, 5, 6


@pytest.fixture
def prototypes() -> torch.Tensor:
    return F.normalize(torch.randn(CLASSES, WIDTH, dtype=torch.float64), dim=-1)


@pytest.fixture
def tower(prototypes: torch.Tensor) -> ClassifierTower:
    backbone = nn.Sequential(nn.Conv2d(3, FEATURES, 4, stride=4), nn.ReLU())
    return ClassifierTower(backbone, nn.Linear(FEATURES, CLASSES), ConSE(prototypes, 3, 1.5)).double()


def test_conse_by_hand() -> None:
    head = ConSE(torch.eye(3), k=2, temperature=2.0)
    mixed = head.mix(torch.tensor([[2.0, 0.0, -9.0]]))[0]
    first = math.exp(1) / (math.exp(1) + 1)
    torch.testing.assert_close(mixed, torch.tensor([first, 1 - first, 0.0]))


def test_rows_have_length_one(prototypes: torch.Tensor) -> None:
    rows = ConSE(prototypes, 3, 1.5)(torch.randn(4, CLASSES, dtype=torch.float64))
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(4, dtype=torch.float64))


def test_with_all_classes_and_temperature_one_it_is_the_plain_weighted_mean(prototypes: torch.Tensor) -> None:
    scores = torch.randn(4, CLASSES, dtype=torch.float64)
    torch.testing.assert_close(ConSE(prototypes, 1000, 1.0).mix(scores), scores.softmax(-1) @ prototypes)


def test_the_weights_are_the_softmax_over_all_classes_cut_and_scaled_to_sum_one(prototypes: torch.Tensor) -> None:
    scores = torch.randn(CLASSES, dtype=torch.float64)
    shares = (scores / 1.5).softmax(-1)
    best = sorted(range(CLASSES), key=lambda c: -shares[c])[:3]
    slow = sum(shares[c] * prototypes[c] for c in best) / sum(shares[c] for c in best)
    torch.testing.assert_close(ConSE(prototypes, 3, 1.5).mix(scores[None])[0], slow)


def test_the_gradient_passes_through_the_weights_of_the_chosen_classes_only(prototypes: torch.Tensor) -> None:
    scores = torch.randn(2, CLASSES, dtype=torch.float64, requires_grad=True)
    head = ConSE(prototypes, 3, 1.5)
    assert torch.autograd.gradcheck(head, scores)
    head(scores)[:, 0].sum().backward()
    chosen = torch.zeros(2, CLASSES).scatter(1, scores.topk(3).indices, 1.0).bool()
    assert (scores.grad[chosen] != 0).all()
    assert not scores.grad[~chosen].any()


def test_the_prototypes_are_constant(prototypes: torch.Tensor) -> None:
    head = ConSE(prototypes, 3, 1.5)
    assert list(head.parameters()) == []
    assert list(head.state_dict()) == ["prototypes"]


def test_the_towers_doubt_is_what_the_likeliest_class_leaves(tower: ClassifierTower) -> None:
    states = tower(torch.randn(2, 3, 8, 8, dtype=torch.float64))
    shares = tower.classifier(states.features).softmax(-1)
    torch.testing.assert_close(states.doubt, 1 - shares.max(-1).values)
    assert states.embedding.shape == (2, WIDTH)
    assert states.features.shape == (2, FEATURES)


def test_features_are_the_mean_of_the_map_and_tokens_its_cells_row_by_row(tower: ClassifierTower) -> None:
    images = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    cells, tokens = tower.backbone(images), tower.tokens(images)
    torch.testing.assert_close(tower(images).features, cells.mean((2, 3)))
    assert tokens.grid == (2, 3)
    assert tokens.states.shape == (2, 6, WIDTH)
    assert tokens.mask.all()
    torch.testing.assert_close(tokens.states[:, 4], tower.head.mix(tower.classifier(cells[:, :, 1, 1])))


def test_a_gradient_reaches_the_image(tower: ClassifierTower) -> None:
    images = torch.randn(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    tower(images).embedding[0, 0].backward()
    assert images.grad.abs().sum() > 0
