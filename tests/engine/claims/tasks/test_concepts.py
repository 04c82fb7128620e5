"""Disjoint sets of classes with their texts, each an arena of few shots; and the same texts exchanged."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import deixis
from deixis.data.knowledge.texts import Knowledge, exchanged
from deixis.engine.claims.claim_tasks import make_task
from deixis.engine.claims.tasks import concepts
from deixis.engine.fewshot.benchmark import FewShotBenchmark
from deixis.engine.fewshot.draws import Labelled
from deixis.errors import DeixisError

NAMES = tuple("heron robin tram bus fork spoon plum pear".split())
STYLES = ("one", "two", "three", "four")
SIDES = ("train", "train", "val", "test")


@pytest.fixture(scope="module")
def bench() -> FewShotBenchmark:
    """A picture of each class in each of four styles, near to what its text says."""
    encoder, rng = deixis.load("tiny"), torch.Generator().manual_seed(0)
    texts = encoder.encode_text([f"a thing like {name}" for name in NAMES]).repeat_interleave(4, 0)
    embedding = F.normalize(texts + 0.002 * torch.randn(texts.shape, generator=rng), dim=-1)
    ids = tuple(f"{name} {style}" for name in NAMES for style in STYLES)
    labels = tuple(name for name in NAMES for _ in STYLES)
    data = Labelled(ids, labels, tuple(range(len(ids))), SIDES * len(NAMES), STYLES * len(NAMES))
    return FewShotBenchmark(encoder, data, embedding, torch.zeros(len(ids), encoder.feature_width))


def test_sets_of_classes_are_disjoint_and_another_seed_draws_others() -> None:
    options = concepts.Options(tasks=2, classes=3)
    drawn = concepts._class_sets(NAMES, NAMES, options, 0)
    assert [len(each) for each in drawn] == [3, 3]
    assert not set(drawn[0]) & set(drawn[1])
    assert drawn == concepts._class_sets(NAMES[::-1], NAMES, options, 0)
    assert drawn != concepts._class_sets(NAMES, NAMES, options, 1)
    assert concepts._class_sets(NAMES, NAMES, concepts.Options(classes=0), 0) == [NAMES]
    with pytest.raises(DeixisError, match="8 classes have a text, and 3 sets of 3"):
        concepts._class_sets(NAMES, NAMES, concepts.Options(tasks=3, classes=3), 0)


def accuracy(bench: FewShotBenchmark, knowledge: Knowledge, method: str = "described", **settings: Any) -> float:
    sets = [concepts.only(bench, each) for each in (NAMES[:4], NAMES[4:])]
    task = concepts.DescribedTask(tuple(sets), (1, 2), 0, True, knowledge)
    return task.curve(method, settings, "new_accuracy", "test", 2).points[-1][1]


def test_texts_reach_the_methods_that_read_them_also_of_new_classes_and_exchanged_ones_mislead(
    bench: FewShotBenchmark,
) -> None:
    texts = Knowledge({name: (f"a thing like {name}",) for name in NAMES}, "by hand")
    own = accuracy(bench, texts, by="texts")
    assert own == 1.0
    assert accuracy(bench, exchanged(texts, NAMES, 0), by="texts") < own
    assert accuracy(bench, texts, "zero_shot") == accuracy(bench, exchanged(texts, NAMES, 0), "zero_shot")


def test_a_restricted_bench_holds_the_images_of_its_classes_alone(bench: FewShotBenchmark) -> None:
    some = concepts.only(bench, ("tram", "plum"))
    assert set(some.data.labels) == {"tram", "plum"}
    where = [bench.data.ids.index(each) for each in some.data.ids]
    assert torch.equal(some.embedding, bench.embedding[where])
    assert some.data.sides == SIDES * 2


def test_arms_that_read_cells_are_tried_where_the_task_has_computed_some(bench: FewShotBenchmark) -> None:
    cells = torch.randn(len(bench.data.ids), 4, bench.encoder.width, generator=torch.Generator().manual_seed(1))
    settings = {"context": "off", "most_phrases": 0, "head": True, "epochs": 1}
    with pytest.raises(DeixisError, match="kapt reads the cells of images"):
        accuracy(bench, Knowledge({}, ""), "kapt", **settings)
    some = dataclasses.replace(bench, cells=cells)
    assert torch.equal(concepts.only(some, ("tram",)).cells, cells[8:12])
    assert 0 <= accuracy(some, Knowledge({}, ""), "kapt", **settings) <= 1


@pytest.mark.parametrize(
    ("options", "message"), [({"texts": "none"}, "texts is 'none'"), ({"shots": (3,)}, "shots is")]
)
def test_options_that_mean_nothing_are_refused_before_anything_is_loaded(options: Any, message: str) -> None:
    with pytest.raises(DeixisError, match=message):
        make_task("concepts", options, 0)
