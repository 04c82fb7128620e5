"""Values before and after: one a sample, by the functions of `ops`, whatever was adapted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from deixis.engine.adaptation.evaluate import (
    TEST_STATISTIC,
    apply,
    intervals,
    measure_labels,
    measure_retrieval,
    pooled,
    set_strength,
)
from deixis.engine.features.store import FeatureTable
from deixis.nn.adaptation.adapters import ImageResidual, TextResidual
from deixis.ops.metrics import retrieval
from deixis.ops.stats import cluster_bootstrap
from tests.planted import planted


def flat(image: torch.Tensor, text: torch.Tensor, keys: list[int]) -> FeatureTable:
    ids = tuple(map(str, range(len(image))))
    return FeatureTable(ids, image[None], image[None], torch.ones(1, len(image)), text, torch.tensor(keys))


def learned() -> tuple[ImageResidual, TextResidual]:
    image, text = ImageResidual(24, 16), TextResidual(16)
    for each in (image, text):
        torch.nn.init.normal_(each.linear.weight, std=0.3)
    return image.eval(), text.eval()


def test_without_adapters_the_table_is_measured_as_it_is() -> None:
    table = planted(concepts=10).table
    image, text = apply(table, (None, None))
    assert torch.equal(image, table.embedding[0])
    assert torch.equal(text, table.text)


def test_adapters_are_applied_each_to_its_side() -> None:
    table, (image, text) = planted(concepts=10).table, learned()
    with torch.no_grad():
        expected = image(table.states()), text(table.text)
    assert all(torch.equal(a, b) for a, b in zip(apply(table, (image, text)), expected, strict=True))
    assert torch.equal(apply(table, (image, None))[1], table.text)


def test_strength_zero_measures_as_the_original_bit_for_bit_and_back() -> None:
    table, adapters = planted(concepts=10).table, learned()
    full = measure_retrieval(table, adapters)
    none, original = measure_retrieval(table, set_strength(adapters, 0.0)), measure_retrieval(table, (None, None))
    assert all(np.array_equal(none[name], original[name]) for name in original)
    again = measure_retrieval(table, set_strength(adapters, 1.0))
    assert all(np.array_equal(again[name], full[name]) for name in full)


def test_retrieval_is_what_ops_measures_and_the_evidence_is_the_mean_log_rank() -> None:
    table = planted(concepts=15).table
    values = measure_retrieval(table, (None, None))
    expected = retrieval(table.embedding[0], table.text, table.keys)
    assert values.keys() == {*expected, TEST_STATISTIC}
    assert all(np.array_equal(values[name], expected[name].numpy()) for name in expected)
    for i in range(len(table)):
        ranks = [1 / float(expected[f"{way}_mrr"][i]) for way in ("image_to_text", "text_to_image")]
        assert values[TEST_STATISTIC][i] == pytest.approx(-(math.log(ranks[0]) + math.log(ranks[1])) / 2)


def test_classes_by_hand() -> None:
    """Three classes on the axes; scores of the true class against the others, ties against the model."""
    classes = flat(torch.eye(3), torch.eye(3), [0, 1, 2])
    image = torch.tensor([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.5, 0.5, 0.0], [0.9, 0.5, 0.1]])
    values = measure_labels(classes, flat(image, torch.zeros(4, 3), [0, 1, 1, 2]), (None, None))
    assert values["accuracy"].tolist() == [1, 0, 0, 0]
    assert values["mrr"].tolist() == pytest.approx([1, 1 / 2, 1 / 2, 1 / 3])
    assert values[TEST_STATISTIC].tolist() == pytest.approx([0, -math.log(2), -math.log(2), -math.log(3)])


def test_a_tie_in_the_last_digit_is_a_tie_for_accuracy_and_rank_alike() -> None:
    classes = flat(torch.eye(2), torch.eye(2), [0, 1])
    image = torch.tensor([[1.0, 1.0 - 1e-7]]) / math.sqrt(2)
    values = measure_labels(classes, flat(image, torch.zeros(1, 2), [0]), (None, None))
    assert values["accuracy"].tolist() == [0.0]
    assert values["mrr"].tolist() == [0.5]


def test_the_text_of_classes_goes_through_the_text_adapter() -> None:
    world, (image, text) = planted(concepts=8), learned()
    classes, table = world.table.take(range(0, 16, 2)), world.table
    values = measure_labels(classes, table, (image, text))
    with torch.no_grad():
        scores = image(table.states()) @ text(classes.text).T
    correct = scores.argmax(1) == table.keys
    assert values["accuracy"].tolist() == correct.double().tolist()


def test_pooling_joins_values_of_splits_in_order() -> None:
    parts = [{"a": np.array([1.0, 2.0]), "b": np.array([0.0, 0.0])}, {"a": np.array([3.0]), "b": np.array([1.0])}]
    joined = pooled(parts)
    assert joined["a"].tolist() == [1, 2, 3]
    assert joined["b"].tolist() == [0, 0, 1]


def test_intervals_resample_concepts() -> None:
    values = F.normalize(torch.randn(40, 1), dim=0)[:, 0].double().numpy().repeat(5)
    clusters = np.arange(40).repeat(5)
    assert intervals({"x": values}, clusters) == {"x": cluster_bootstrap(values, clusters)}
    alone = intervals({"x": values}, np.arange(200))["x"]
    together = intervals({"x": values}, clusters)["x"]
    assert (together.high - together.low) > 1.5 * (alone.high - alone.low), (
        "five copies are not five times the evidence"
    )
