"""The protocol `copies`: edits that are the same for all models, and ranks that a slow count confirms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deixis.data.quality.altered_copies import EDITS, altered
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column
from deixis.engine.evaluation.protocols import copies
from deixis.errors import DeixisError
from deixis.ops.similarity.copies import copy_matches
from deixis.types import Sample, Source
from tests.engine.evaluation.test_protocols import SILENT

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_changes_an_image_each_time_alike_and_takes_the_smallest(edit: str) -> None:
    first, again = (np.array(altered(PHOTO, edit, "a")) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != (40, 60, 3) or (first != np.array(PHOTO)).any()
    if edit != "mirror":
        other = np.array(altered(PHOTO, edit, "b"))
        assert other.shape != first.shape or (other != first).any()
    assert altered(PHOTO.resize((1, 1)), edit, "a").mode == "RGB"


def test_matches_equal_a_count_of_all_pairs_and_a_near_duplicate_of_the_original_is_no_mistake() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(12, 4, generator=rng), dim=1)
    made = torch.nn.functional.normalize(images + 0.6 * torch.randn(12, 4, generator=rng), dim=1)
    groups = torch.tensor([0, 0, *range(1, 11)])
    found, scores = copy_matches(made, images, groups), (made.double() @ images.double().T).tolist()
    own = [max(scores[i][j] for j in range(12) if groups[j] == groups[i]) for i in range(12)]
    wrong = [scores[i][j] for i in range(12) for j in range(12) if groups[j] != groups[i]]
    for i in range(12):
        hits, misses = sum(each >= own[i] for each in own), sum(each >= own[i] for each in wrong)
        assert float(found.precision[i]) == pytest.approx(hits / (hits + misses))
        rivals = [scores[i][j] for j in range(12) if groups[j] != groups[i]]
        assert bool(found.first[i]) == (own[i] > max(rivals))
    assert 0 < int(found.first.sum()) < 12, "both happen"


class Blind(torch.nn.Module):
    """Sees every image alike, or its colours."""

    class preprocess:
        size = 8

        @staticmethod
        def read(pictures: list[Path], threads: int = 1) -> torch.Tensor:
            opened = [Image.fromarray(each.draw()) if hasattr(each, "draw") else Image.open(each) for each in pictures]
            return torch.stack([torch.from_numpy(np.array(each.resize((8, 8)))).permute(2, 0, 1) for each in opened])

    def __init__(self, sees: bool) -> None:
        super().__init__()
        self.sees = sees

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        flat = images.float().flatten(1)
        return flat - flat.mean(dim=1, keepdim=True) if self.sees else torch.ones_like(flat)


def test_every_edit_is_measured_and_a_model_that_sees_nothing_finds_nothing(tmp_path: Path) -> None:
    rng, samples = np.random.default_rng(0), []
    for number in range(6):
        rough = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        rough.resize((36, 36)).save(tmp_path / f"{number}.png")
        samples.append(Sample(str(number), tmp_path / f"{number}.png", label="same"))
    source = Source("made", tmp_path, "labels", "made", tuple(samples))
    data = EvalData(source, lambda some: EvalSet.of(some, [each.id for each in some.samples]))
    plan = copies.prepare(data, EvalOptions(), SILENT)
    assert len(set(plan.groups)) == 6, "labels make no near-duplicates"
    seeing, blind = (
        copies.measure(plan, EvalModel(str(sees), Blind(sees)), EvalOptions(), SILENT).arms[""]
        for sees in (True, False)
    )
    assert {column.condition for column in seeing} == {"all edits", *EDITS}
    for edit in ("jpeg", "colour", "blur"):
        assert seeing[Column("recall1", edit)].values.all()
        assert seeing[Column("micro_ap", edit)].estimate().value > 0.9
    assert not blind[Column("recall1", "all edits")].values.any()
    assert blind[Column("micro_ap", "crop")].estimate().value == pytest.approx(1 / 6)


def test_images_that_are_all_alike_are_refused(tmp_path: Path) -> None:
    PHOTO.save(tmp_path / "a.png")
    samples = tuple(Sample(str(number), tmp_path / "a.png") for number in range(3))
    source = Source("made", tmp_path, "images", "made", samples)
    data = EvalData(source, lambda some: EvalSet.of(some, ["a"] * 3, [[0, 1, 2]]))
    with pytest.raises(DeixisError, match="All images are near-duplicates"):
        copies.prepare(data, EvalOptions(), SILENT)
