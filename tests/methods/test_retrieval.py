"""The evaluator gives what the functions of `ops` give, over any number of batches."""

from __future__ import annotations

import torch

from deixis import engine
from deixis.engine.training.stages import card_of
from deixis.ops.metrics import retrieval
from deixis.types import Batch, Progress


def test_the_evaluator_measures_what_ops_measures() -> None:
    method = engine.build("retrieval", "tiny")
    batch = Batch.synthetic(card_of(method).needs, size=30, D=4, C=20)
    extra = batch.extra
    expected = retrieval(extra["image_embedding"], extra["text_embedding"], extra["caption_key"])
    pieces = [method.observe(piece, Progress()) for piece in batch.split(7)]
    measured = method.measure({name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]})
    assert measured.keys() == expected.keys()
    assert all(torch.equal(measured[name], expected[name]) for name in expected)


def test_three_pairs_by_hand() -> None:
    """Images 1 and 2 are where their captions are; image 3 lies on caption 1, and caption 3 nearer to the others."""
    image = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.1, 0.0]])
    text = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, 0.2, 0.0]])
    method = engine.build("retrieval", "tiny")
    values = method.measure({"image_embedding": image, "text_embedding": text, "caption_key": torch.arange(3)})
    assert values["image_to_text_mrr"].tolist() == [1.0, 1.0, 1 / 3]
    # Caption 1 finds image 1 and image 3 at the same score: the tie counts against the model.
    assert values["text_to_image_mrr"].tolist() == [1 / 2, 1.0, 1 / 2]
    assert values["mean_r1"].tolist() == [0.5, 1.0, 0.0]
    assert values["mean_r5"].tolist() == [1.0, 1.0, 1.0]


def test_observing_hands_on_what_is_needed_and_keeps_nothing() -> None:
    method = engine.build("retrieval", "tiny")
    batch = Batch.synthetic(card_of(method).needs, size=4)
    rows = method.observe(batch, Progress())
    assert rows.keys() == set(batch.extra)
    assert list(method.state_dict()) == []
