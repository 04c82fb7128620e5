"""The linear probe of the joint space is that of features, given embeddings."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from deixis import engine
from deixis.engine.fewshot import learners
from deixis.methods.baselines import linear_joint
from deixis.ops.logistic import linear_layer
from deixis.types import Batch, FieldSpec, Progress


def test_it_is_the_logistic_regression_of_embeddings() -> None:
    method = engine.build("linear_joint", "tiny", {"penalty": 0.01, "names": ("a", "b", "c")})
    assert isinstance(method, linear_joint.Method)
    embedding = F.normalize(torch.randn(30, method.encoder.width), dim=-1)
    labels = torch.arange(30) % 3
    specs = {"image_embedding": FieldSpec("image_embedding", "B D")}
    with torch.no_grad():
        method.observe(
            Batch(tuple(map(str, range(30))), labels=labels, extra={"image_embedding": embedding}, specs=specs),
            Progress(),
        )
        method.finish(Progress())
        weight, bias = linear_layer(embedding, labels, 3, 0.01, iterations=500)
        wanted = embedding @ weight.float().T + bias.float()
        torch.testing.assert_close(method.scores(embedding), wanted)
        images = torch.randn(2, 3, method.encoder.preprocess.size, method.encoder.preprocess.size)
        torch.testing.assert_close(method.classify(images), method.scores(method.encoder.encode_image(images)))


def test_no_choice_falls_on_it_that_nobody_made() -> None:
    assert "linear_joint" in learners.offered()
    assert "linear_joint" not in learners.candidates()
