"""The task of claims about detectors: pairs of noun and colour, of which some are in captions and in no box."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.tasks import novel_pairs
from deixis.methods import read
from deixis.types import Part, Source
from deixis.types.outputs import GroundOutput
from deixis.zoo import tiny
from tests.toys import carded

NOUNS = ("bar", "ring")


class Boxes(nn.Module):
    """The boxes of scenes in their order, each for every phrase; or the whole image."""

    def __init__(self, source: Source, right: bool) -> None:
        super().__init__()
        self.encoder, self.source, self.right = tiny.load(), source, right

    def ground(self, images: Tensor, tokens: Tensor, mask: Tensor, spans: Any = None) -> GroundOutput:
        """As many as there are."""
        whole = [[(0.0, 0.0, 1.0, 1.0)]] * len(images)
        rows = [[region.box for region in sample.regions] for sample in self.source.samples] if self.right else whole
        most = max(map(len, rows))
        boxes = torch.tensor([[*row, *[(0.0, 0.0, 0.0, 0.0)] * (most - len(row))] for row in rows])
        valid = torch.tensor([[place < len(row) for place in range(most)] for row in rows])
        return GroundOutput(boxes, torch.ones(len(rows), 1, most), valid)


carded(Boxes, kind="training-free", needs=(), parts=(Part("encoder", "dual_encoder"),), capabilities=("ground",))


@pytest.fixture(scope="module")
def task() -> TrainingTask:
    options: dict[str, Any] = {"nouns": NOUNS, "count": 8, "held": 8, "captions": 12, "side": 48, "objects": (2, 2)}
    made = novel_pairs.make(novel_pairs.Options(**options, image="vit-mean", steps=0), 0)
    assert isinstance(made, TrainingTask)
    return made


def test_each_noun_is_novel_in_two_colours_and_claims_name_the_others() -> None:
    nouns = novel_pairs.Options().nouns
    base, novel = novel_pairs.pair_names(nouns)
    assert not set(base) & set(novel)
    assert [sum(name.endswith(noun) for name in novel) for noun in nouns] == [2] * len(nouns)
    arms = [arm for claim in read("dito").claims for arm in claim.arms.values()]
    assert arms
    assert all(arm.overrides["names"] == base for arm in arms)


def test_novel_pairs_have_no_box_to_learn_from_and_boxes_to_be_found(task: TrainingTask) -> None:
    base, novel = map(set, novel_pairs.pair_names(NOUNS))
    assert {region.category for sample in task.train.samples for region in sample.regions} <= base
    assert {region.category for sample in task.test.samples for region in sample.regions} & novel
    captions = [caption for sample in task.sources["captions"].samples for caption in sample.captions]
    assert any(name in caption for caption in captions for name in novel)


def test_precision_has_a_value_a_pair_that_is_shown(task: TrainingTask) -> None:
    measure = task.measures["novel_ap50"]
    shown = {region.category for sample in task.test.samples for region in sample.regions}
    values = measure(Boxes(task.test, True), task.test)
    assert len(values) == len(shown & set(novel_pairs.pair_names(NOUNS)[1]))
    assert (values > 0).all()
    assert (values < 1).all()
    assert measure(Boxes(task.test, False), task.test).tolist() == [0.0] * len(values)
