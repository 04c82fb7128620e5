"""box_ranker: as detect_match where nothing was learned; where something was, in another order and as sure."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from deixis import engine, zoo
from deixis.methods.baselines import box_ranker, detect_match


@pytest.fixture(scope="module")
def method() -> box_ranker.Method:
    found = engine.build("box_ranker", "tiny").eval()
    assert isinstance(found, box_ranker.Method)
    return found


def test_without_boxes_it_says_what_detect_match_says(method: box_ranker.Method) -> None:
    plain = detect_match.Method(
        detect_match.Config.tiny(), proposals=zoo.load_part("proposals", "tiny"), encoder=method.encoder
    )
    given = (torch.rand(2, 3, 32, 32), *method.encoder.tokenize(["a dog", "the left cat"]))
    assert_close(method.ground(*given).scores, plain.ground(*given).scores, rtol=0, atol=0)


def test_a_learned_weight_changes_the_order_and_not_how_sure_the_best_box_is(method: box_ranker.Method) -> None:
    given = (torch.rand(1, 3, 32, 32), *method.encoder.tokenize(["a dog"]))
    before = method.ground(*given).scores[0, 0]
    method.weight[0] = 20.0  # the further right the better
    try:
        output = method.ground(*given)
    finally:
        method.weight.zero_()
    after = output.scores[0, 0]
    assert float(output.boxes[0, int(after.argmax()), 2]) == pytest.approx(1.0)
    assert_close(after.amax(), before.amax())
