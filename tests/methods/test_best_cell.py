"""Zero-shot classification by the best cell: what one thing among many says, whatever the others are."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from deixis import engine
from deixis.engine.fewshot import learners
from deixis.methods.baselines import best_cell, zero_shot

NAMES = ("heron", "tram", "moon")


@pytest.fixture(scope="module")
def method() -> best_cell.Method:
    built = engine.build("best_cell", "tiny", {"names": NAMES})
    assert isinstance(built, best_cell.Method)
    return built


def test_a_class_scores_as_its_best_cell_does_however_long_and_wherever_it_is(method: best_cell.Method) -> None:
    cells = torch.randn(5, 7, method.encoder.width, generator=torch.Generator().manual_seed(0))
    scores = method.scores(cells)
    for image, row in zip(cells, scores, strict=True):
        each = [
            [method.encoder.scale * F.cosine_similarity(cell, own, dim=0) for cell in image] for own in method.classes
        ]
        torch.testing.assert_close(row, torch.stack([torch.stack(own).max() for own in each]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(method.scores(3 * cells.flip(1)), scores, rtol=1e-4, atol=1e-4)


def test_one_cell_of_a_class_decides_among_many_of_another_kind(method: best_cell.Method) -> None:
    rest = F.normalize(-method.classes.sum(dim=0), dim=0).expand(8, -1)
    for number, own in enumerate(method.classes):
        cells = torch.cat([rest, own[None]])[None]
        assert int(method.scores(cells).argmax()) == number


def test_a_single_cell_is_zero_shot_and_images_are_classified_by_their_own_cells(method: best_cell.Method) -> None:
    whole = engine.build("zero_shot", "tiny", {"names": NAMES}, {"encoder": method.encoder})
    assert isinstance(whole, zero_shot.Method)
    embedding = F.normalize(torch.randn(4, method.encoder.width), dim=-1)
    torch.testing.assert_close(method.scores(embedding[:, None]), whole.scores(embedding), rtol=1e-4, atol=1e-4)
    side = method.encoder.preprocess.size
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected = method.scores(method.encoder.image_tokens(images).states)
        torch.testing.assert_close(method.classify(images), expected)


def test_no_choice_falls_on_it_that_nobody_made() -> None:
    assert "best_cell" in learners.offered()
    assert "best_cell" not in learners.candidates()
