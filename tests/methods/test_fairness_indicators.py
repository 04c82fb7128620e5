"""The three indicators are those of the authors' scripts, group by group; an empty group has no number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.engine.evaluation.groups import gap, group_means, income_bucket
from deixis.methods import fairness_indicators as fairness
from deixis.types import Batch, Progress
from tests.support import load_golden

CLOSE = {"rtol": 0.0, "atol": 1e-9}


def members(rows: list[Tensor], count: int) -> Tensor:
    found = torch.zeros(len(rows), count, dtype=torch.bool)
    for row, numbers in zip(found, rows, strict=True):
        row[numbers] = True
    return found


@pytest.mark.golden
def test_label_association_is_that_of_the_authors_scripts() -> None:
    golden = load_golden("seer_label_association")
    scores, sure = golden["in.scores"], float(golden["cfg.disparate_threshold"])
    gender, tone = golden["in.gender"], (golden["in.skin_type"] > 3).long()
    groups = {"gender": (gender, 2), "skintone": (tone, 2), "gender_skintone": (2 * gender + tone, 4)}
    sets = members([golden[f"in.set_{name}"] for name in ("human", "non_human", "crime")], scores.shape[1])
    for t, threshold in enumerate(golden["cfg.thresholds"].tolist()):
        kept = fairness.kept_labels(scores, threshold, int(golden["cfg.topk"]), int(golden["cfg.max_predictions"]))
        associated = fairness.label_association(kept, sets)
        watched = fairness.watched_labels(scores, kept, golden["in.disparate_labels"], sure)
        above = fairness.confident(scores, kept, sure)
        for name, (group, count) in groups.items():
            found, sizes = group_means(associated, group, count)
            assert torch.equal(sizes, golden[f"out.count_{name}"])
            torch.testing.assert_close((100 * found).round(decimals=3), golden[f"out.assoc_{name}"][t], **CLOSE)
            found = group_means(watched, group, count)[0].round(decimals=5)
            torch.testing.assert_close(found, golden[f"out.disparate_{name}"][t], **CLOSE)
            found = group_means(above, group, count)[0].round(decimals=5)
            torch.testing.assert_close(found, golden[f"out.above_{name}"][t], **CLOSE)


@pytest.mark.golden
def test_geographic_diversity_is_that_of_the_authors_scripts_by_both_rules() -> None:
    golden = load_golden("seer_geo_diversity")
    scores, concept, concepts = golden["in.scores"], golden["in.concept"], golden["in.class_to_concepts"]
    topk = int(golden["cfg.topk"])
    for t, threshold in enumerate(golden["cfg.thresholds"].tolist()):
        settings = {"threshold": threshold, "topk": topk}
        hit = fairness.geographic_diversity(scores, concept, concepts, **settings)
        for name in ("region", "country", "concept"):
            expected = golden[f"out.hit_{name}"][t]
            found, sizes = group_means(hit, golden[f"in.{name}"], len(expected))
            assert torch.equal(sizes, golden[f"out.count_{name}"])
            rounded = torch.where(sizes > 0, (100 * found).round(decimals=3), found)
            torch.testing.assert_close(rounded, expected, **CLOSE)
        torch.testing.assert_close((100 * hit.mean()).round(decimals=3), golden["out.hit_overall"][t], **CLOSE)
        naive = fairness.geographic_diversity(scores, concept, concepts, rule="first", **settings)
        assert torch.equal(naive.long(), golden["out.hit_naive"][:, t])
        every = torch.ones_like(scores, dtype=torch.bool).scatter(1, scores.topk(topk).indices, True)
        covered = fairness.confident(scores, every, threshold)
        assert torch.equal(covered.long(), golden["out.cover_naive"][:, t])
    assert torch.equal(income_bucket(golden["in.income"]), golden["out.income_bucket"])


@pytest.mark.golden
def test_same_attribute_retrieval_is_that_of_the_authors_scripts() -> None:
    golden = load_golden("seer_retrieval")
    attribute, group = golden["in.query_attr"], golden["in.query_group"]
    attributes, groups = int(golden["cfg.n_attr"]), int(golden["cfg.n_group"])
    precision = fairness.attribute_retrieval(
        golden["in.query"], golden["in.gallery"], attribute, golden["in.gallery_attr"], golden["cfg.ks"].tolist()
    )
    torch.testing.assert_close(precision.mean(dim=0), golden["out.overall"], **CLOSE)
    torch.testing.assert_close(group_means(precision, attribute, attributes)[0].T, golden["out.by_attr"], **CLOSE)
    torch.testing.assert_close(group_means(precision, group, groups)[0].T, golden["out.by_group"], **CLOSE)
    both, sizes = group_means(precision, attribute * groups + group, attributes * groups)
    torch.testing.assert_close(both.T, golden["out.by_intersection"], **CLOSE)
    assert torch.equal(sizes, golden["out.intersection_counts"])


def test_labels_equal_a_loop_over_the_sorted_ones() -> None:
    scores = torch.rand(20, 9).softmax(dim=1)
    kept = fairness.kept_labels(scores, 0.11, 3, 5)
    for row, own in zip(scores.tolist(), kept, strict=True):
        order = sorted(range(9), key=lambda label: -row[label])[:5]
        assert set(own.nonzero()[:, 0].tolist()) == set([label for label in order if row[label] >= 0.11][:3])


def test_a_query_is_not_its_own_answer() -> None:
    rows = torch.eye(3) + 0.01
    alone = fairness.attribute_retrieval(rows, rows, torch.arange(3), torch.arange(3), (1, 5), itself=True)
    assert not alone.any()


def test_the_evaluator_gives_one_value_an_image_for_each_indicator() -> None:
    method = engine.build("fairness_indicators", "tiny")
    batch = Batch.synthetic(fairness.CARD.needs, size=7)
    values = method.measure(method.observe(batch, Progress()))
    assert set(values) == {"hit", "confident", "precision_at_1", "precision_at_5", "associated_first", "watched_2"}
    true = batch.extra["scores"].gather(1, batch.extra["concept"][:, None])[:, 0] >= 0.1
    assert torch.equal(values["hit"].bool(), true), "of five classes all are among the first five"


def test_a_gap_holds_its_interval_and_is_not_stated_of_few_images() -> None:
    rng = np.random.default_rng(0)
    groups = ["north"] * 300 + ["south"] * 200 + ["west"] * 20
    values = (rng.random(520) < np.array([0.9] * 300 + [0.6] * 200 + [0.0] * 20)).astype(float)
    found = gap(values, groups, np.arange(520))
    assert found is not None
    assert (found.highest, found.lowest) == ("north", "south")
    assert found.low < found.value < found.high
    assert found.low == pytest.approx(found.value - 0.08, abs=0.02), "two standard errors"
    assert gap(values, ["few"] * 99 + ["more"] * 421, np.arange(520)) is None


def test_a_group_without_images_has_no_mean_and_does_not_weigh() -> None:
    means, sizes = group_means(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0, 0, 2]), 3)
    assert means.tolist() == [0.5, -1.0, 1.0]
    assert sizes.tolist() == [2, 0, 1]
