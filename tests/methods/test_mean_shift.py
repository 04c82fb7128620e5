"""The mean shift, by hand."""

from __future__ import annotations

import torch

from deixis import engine
from deixis.types import Batch, FieldSpec, Progress

SPECS = {name: FieldSpec(name, "B D") for name in ("image_embedding", "text_embedding")}


def pairs(image: list[list[float]], text: list[list[float]]) -> Batch:
    """Two numbers each, in the first two of the tiny encoder's 16 places."""
    extra = {
        name: torch.nn.functional.pad(torch.tensor(rows), [0, 14])
        for name, rows in (("image_embedding", image), ("text_embedding", text))
    }
    return Batch(tuple(map(str, range(len(image)))), extra=extra, specs=SPECS)


def test_the_vector_is_the_mean_caption_minus_the_mean_image_over_all_pairs() -> None:
    """Differences (-1, 1), (0, 0) and, in a batch of its own, (2, 4): the mean is (1/3, 5/3)."""
    method = engine.build("mean_shift", "tiny")
    with torch.no_grad():
        method.observe(pairs([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]), Progress())
        method.observe(pairs([[0.0, 0.0]], [[2.0, 4.0]]), Progress())
        method.finish(Progress())
    torch.testing.assert_close(method.image.linear.bias, torch.tensor([1 / 3, 5 / 3] + [0.0] * 14))
    assert not method.image.linear.weight.any(), "one vector for all"


def test_every_image_moves_by_that_vector_and_texts_stay() -> None:
    method = engine.build("mean_shift", "tiny")
    with torch.no_grad():
        method.observe(pairs([[0.0, 0.0]], [[0.0, 3.0]]), Progress())
        method.finish(Progress())
    images = torch.rand(4, 3, 32, 32)
    moved = method.encoder.encode_image(images)
    moved[:, 1] += 3.0
    torch.testing.assert_close(method.encode_image(images), torch.nn.functional.normalize(moved, dim=1))
    image, text = method.adapters()
    assert image is method.image
    assert text is None


def test_pairs_that_already_lie_together_need_no_shift() -> None:
    method = engine.build("mean_shift", "tiny")
    with torch.no_grad():
        method.observe(pairs([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]), Progress())
        method.finish(Progress())
    assert not method.image.linear.bias.any()
