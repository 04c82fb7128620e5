"""Supervised training classifies every crop by its image's label."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from deixis import engine
from deixis.methods.baselines import supervised
from deixis.nn.vision.any_size import pooled
from deixis.types import Batch, Progress


def test_the_loss_equals_a_loop_over_images_and_crops_and_is_classify_of_each() -> None:
    method = engine.build("supervised", "tiny", seed=1).eval()
    batch = Batch.synthetic(supervised.CARD.needs, method.config.view, size=4)
    assert batch.labels is not None
    terms = []
    for crops in batch.views:
        for image, label in zip(crops[:, 0], batch.labels, strict=True):
            logits = method.classify(image[None])
            torch.testing.assert_close(logits, method.head(pooled(method.encoder, image[None])))
            terms.append(F.cross_entropy(logits, label[None]))
    torch.testing.assert_close(method(batch, Progress()).total, torch.stack(terms).mean())
