"""The task of claims about masks: few scenes with masks, others with captions, and an encoder that is trained once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.tasks import masks
from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.types import Part
from tests.toys import carded

NOUNS = ("bar", "ring")


class Known(nn.Module):
    """Says what it was told, or background everywhere."""

    def __init__(self, names: tuple[str, ...], right: bool) -> None:
        super().__init__()
        self.names, self.right, self.encoder = names, right, nn.Identity()
        self.encoder.preprocess = Preprocess(48, mode="squash")  # type: ignore[assignment]

    def segment(self, images: Tensor) -> Tensor:
        """The background, or the first noun everywhere."""
        scores = torch.zeros(len(images), len(self.names) + 1, *images.shape[2:])
        scores[:, 0 if self.right else 1] = 1
        return scores


carded(
    Known,
    kind="training-free",
    needs=(),
    parts=(Part("names", "names"), Part("encoder", "dual_encoder")),
    capabilities=("segment",),
)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> TrainingTask:
    patch = pytest.MonkeyPatch()
    patch.setattr(masks, "cache_dir", lambda *parts: Path(tmp_path_factory.getbasetemp(), *parts))
    options: dict[str, Any] = {"nouns": NOUNS, "count": 4, "held": 6, "captions": 8, "steps": 1, "side": 48}
    made = masks.make(masks.Options(**options, channels=4), 0)
    again = masks.make(masks.Options(**options, channels=4), 0)  # from the cache
    for one, other in zip(made.encoder(0).parameters(), again.encoder(1).parameters(), strict=True):
        assert torch.equal(one, other)
    patch.undo()
    return made


def test_scenes_with_masks_are_none_of_those_with_captions(task: TrainingTask) -> None:
    assert len(task.train.samples) == 4
    assert all(region.mask is not None for sample in task.train.samples for region in sample.regions)
    assert [sample.id for sample in task.train.samples] == [f"train/10000/{number:06d}" for number in range(4)]
    assert task.encoder(0).image_tokens(torch.zeros(1, 3, 48, 48)).grid == (6, 6)


def test_iou_has_a_value_a_class_and_a_background_everywhere_has_its_share(task: TrainingTask) -> None:
    values = task.measures["miou"](Known(NOUNS, True), task.test)
    assert len(values) == 3
    assert values[0] > 0.6
    assert values[1:].tolist() == [0, 0]
    wrong = task.measures["miou"](Known(NOUNS, False), task.test)
    assert wrong[0] == 0
    assert 0 < wrong[1] < 0.5
    with pytest.raises(DeixisError, match="names ring, bar"):
        task.measures["miou"](Known(NOUNS[::-1], True), task.test)
