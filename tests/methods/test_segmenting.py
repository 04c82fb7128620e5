"""score_map, filled_boxes and outlined_boxes: what they name where the answer is plain."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.methods.baselines import score_map
from deixis.methods.baselines.filled_boxes import ClassBox

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_one_window_of_the_size_of_the_image_is_no_other_answer_than_the_whole() -> None:
    whole = engine.build("score_map", "tiny").segment(IMAGES)  # type: ignore[attr-defined]
    window = engine.build("score_map", "tiny", {"crops": (32,)}).segment(IMAGES)  # type: ignore[attr-defined]
    parts = engine.build("score_map", "tiny", {"crops": (16,), "stride": 8}).segment(IMAGES)  # type: ignore[attr-defined]
    assert whole.shape == (2, 3, 32, 32)
    assert torch.equal(whole, window)
    assert not torch.allclose(whole, parts)


def test_a_cell_has_the_cosine_of_its_state_with_each_text() -> None:
    cells = torch.tensor([[[3.0, 0.0]], [[0.0, -2.0]]])
    found = score_map.class_cosines(cells, torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[[1.0, 0.0]], [[0.5**0.5, -(0.5**0.5)]]]))


def test_a_noun_that_means_the_same_as_a_class_is_not_everything_else() -> None:
    method: Any = engine.build("score_map", "tiny", {"surroundings": False, "others": ("cat", "sky"), "similar": 0.999})
    assert [len(each) for each in method.texts()] == [2, 1]
    nothing: Any = engine.build("score_map", "tiny", {"surroundings": False})
    assert (nothing.segment(IMAGES)[:, 0] == -1).all()


def boxed(name: str, *boxes: ClassBox) -> Any:
    """A method that finds these boxes."""
    method: Any = engine.build(name, "tiny", parts={"names": ["a dog", "a cat"]})
    method.class_boxes = lambda images: list(boxes)
    return method


LARGE, SMALL = (
    ClassBox((0.0, 0.0, 1.0, 0.5), 0.6, 0, "kind"),
    ClassBox((0.5, 0.25, 1.0, 0.75), 0.9, 1, "kind"),
)


@pytest.mark.parametrize("boxes", [(LARGE, SMALL), (SMALL, LARGE)])
def test_smaller_boxes_lie_on_larger_ones_and_everything_else_is_outside(boxes: tuple[ClassBox, ...]) -> None:
    scores = boxed("filled_boxes", *boxes).segment(torch.zeros(1, 3, 8, 8))
    expected = torch.zeros(8, 8, dtype=torch.long)
    expected[:4], expected[2:6, 4:] = 1, 2
    assert torch.equal(scores[0].argmax(0), expected)
    assert scores[0].amax(0).unique().tolist() == pytest.approx([0.6, 0.9, 1.0])


def disc(colour: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
    """A disc on a slope of grey, as the detector takes it, and its pixels."""
    side = torch.linspace(-1, 1, 64)
    inside = side[:, None] ** 2 + side[None] ** 2 < 0.25
    grey = (0.4 + 0.1 * side)[None, :, None].expand(3, 64, 64)
    return torch.where(inside, torch.tensor(colour)[:, None, None], grey)[None], inside


MIDDLE = ClassBox((0.22, 0.22, 0.78, 0.78), 0.8, 0, "kind")


def test_what_differs_from_the_surroundings_of_a_box_is_outlined() -> None:
    image, inside = disc((0.9, 0.2, 0.2))
    preprocess = boxed("outlined_boxes").proposals.preprocess
    mean, std = (torch.tensor(each)[:, None, None] for each in (preprocess.mean, preprocess.std))
    found = boxed("outlined_boxes", MIDDLE).segment((image - mean) / std)[0].argmax(0) == 1
    filled = boxed("filled_boxes", MIDDLE).segment((image - mean) / std)[0].argmax(0) == 1
    overlap, plain = (float((each & inside).sum() / (each | inside).sum()) for each in (found, filled))
    assert overlap > 0.9 > plain
    assert not bool((found & ~filled).any())


def test_a_box_in_which_nothing_differs_stays_filled() -> None:
    found = boxed("outlined_boxes", MIDDLE).segment(torch.zeros(1, 3, 64, 64))
    assert torch.equal(found, boxed("filled_boxes", MIDDLE).segment(torch.zeros(1, 3, 64, 64)))


def test_words_that_the_detector_does_not_know_are_looked_for_though_no_region_looks_like_them() -> None:
    """Grass is no thing: no crop is likely to be it, and the score map finds it all the same."""
    method: Any = engine.build("outlined_boxes", "tiny", {"spread": True}, parts={"names": ["grass", "sea"]})
    finder = method._finder
    finder.config = dataclasses.replace(finder.config, crop_threshold=1.1)  # that no region reaches
    scores = torch.zeros(1, 3, 32, 32)
    scores[0, 1, :16], scores[0, 2, 24:] = 1.0, 1.0
    method._map.of_plain = lambda images: scores.clone()
    found = method.segment(IMAGES[:1])[0]
    boxes = method.class_boxes(IMAGES[:1])
    assert [(box.number, box.source) for box in boxes] == [(0, "crop"), (1, "crop")]
    assert found.argmax(0)[:, 0].tolist() == [1] * 16 + [0] * 8 + [2] * 8
    assert found[1, :16].unique().tolist() == pytest.approx([boxes[0].chance])
