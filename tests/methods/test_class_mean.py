"""Class means, by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from deixis import engine
from deixis.methods.baselines import class_mean
from deixis.types import Batch, FieldSpec, Progress

NAMES = ("heron", "tram", "moon")
SPECS = {"image_embedding": FieldSpec("image_embedding", "B D")}


def shown(rows: torch.Tensor, labels: list[int]) -> Batch:
    return Batch(
        tuple(map(str, range(len(rows)))),
        labels=torch.tensor(labels),
        extra={"image_embedding": rows},
        specs=SPECS,
    )


def learned(*batches: Batch, named: float = 0.0) -> class_mean.Method:
    method = engine.build("class_mean", "tiny", {"names": NAMES, "named": named})
    assert isinstance(method, class_mean.Method)
    for batch in batches:
        method.observe(batch, Progress())
    method.finish(Progress())
    return method


def test_an_image_scores_by_its_cosine_with_the_mean_of_each_class_however_long_its_images_were() -> None:
    rows = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    labels = [0, 1, 0, 2, 1, 0]
    method = learned(shown(rows * torch.arange(1.0, 7.0)[:, None], labels))
    image = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    for number in range(3):
        mean = torch.stack([F.normalize(row, dim=0) for row, own in zip(rows, labels, strict=True) if own == number])
        expected = method.encoder.scale * F.cosine_similarity(image, mean.mean(0)[None])
        torch.testing.assert_close(method.scores(image)[:, number], expected, rtol=1e-4, atol=1e-4)


def test_the_order_in_which_images_are_shown_is_nothing() -> None:
    rows = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    once = learned(shown(rows, [0, 1, 0, 2, 1, 0]))
    parts = learned(shown(rows[3:], [2, 1, 0]), shown(rows[:3], [0, 1, 0]))
    torch.testing.assert_close(once.scores(rows), parts.scores(rows))


def test_with_all_of_the_share_it_is_zero_shot_and_with_half_the_sum_of_both() -> None:
    rows = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    found = {share: learned(shown(rows, [0, 1, 0, 2, 1, 0]), named=share) for share in (0.0, 0.5, 1.0)}
    named = engine.build("zero_shot", "tiny", {"names": NAMES}, {"encoder": found[1.0].encoder})
    torch.testing.assert_close(found[1.0].scores(rows), named.scores(rows))
    half = found[0.5]
    middle = F.normalize(F.normalize(half.sums, dim=1).float() + found[1.0].classes, dim=1)
    torch.testing.assert_close(half.scores(rows), half.encoder.scale * F.normalize(rows, dim=1) @ middle.T)


def test_a_class_without_an_image_is_never_named() -> None:
    rows = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    method = learned(shown(rows, [0, 1, 0, 1]))
    asked = torch.randn(50, 16, generator=torch.Generator().manual_seed(2))
    assert 2 not in method.scores(asked).argmax(dim=1).tolist()
    with pytest.raises(ValueError, match="nothing was observed"):
        learned()
