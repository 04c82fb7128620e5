"""PCA whitening of image features, by its properties."""

from __future__ import annotations

import torch

from deixis import engine
from deixis.ops.similarity.whitening import pca_whitening
from deixis.types import Batch, FieldSpec, Progress


def test_whitened_data_have_no_mean_no_correlation_and_the_same_spread_everywhere() -> None:
    rows = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.arange(1.0, 7.0)) + 3.0
    mean, matrix = pca_whitening(rows, 4)
    white = (rows.double() - mean) @ matrix
    torch.testing.assert_close(white.mean(dim=0), torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(white.T @ white / 200, torch.eye(4, dtype=torch.float64), atol=1e-9, rtol=0)


def test_directions_in_which_nothing_varies_count_for_nothing() -> None:
    rows = torch.tensor([[1.0, 2.0, 5.0], [3.0, 2.0, 5.0], [5.0, 2.0, 5.0]])
    _, matrix = pca_whitening(rows, 3)
    torch.testing.assert_close(matrix[:, 0].float(), torch.tensor([(3 / 8) ** 0.5, 0.0, 0.0]))
    assert not matrix[:, 1:].any()
    assert not pca_whitening(rows[:1].repeat(4, 1), 3)[1].any(), "equal images"


def test_the_method_whitens_what_its_tower_gives() -> None:
    method, images = engine.build("whitening", "tiny"), torch.rand(12, 3, 32, 32)
    with torch.no_grad():
        features = method.encoder(images)
        specs = {"image_features": FieldSpec("image_features", "B F")}
        method.observe(Batch(tuple(map(str, range(12))), extra={"image_features": features}, specs=specs), Progress())
        method.finish(Progress())
        rows = torch.nn.functional.normalize(features.double(), dim=1)
        mean, matrix = pca_whitening(rows, 8)
        expected = torch.nn.functional.normalize((rows - mean) @ matrix, dim=1)
        torch.testing.assert_close(method.encode_image(images), expected.float(), atol=1e-3, rtol=1e-3)
