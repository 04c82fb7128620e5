"""detect_match on a detector whose boxes are known: which box each part of a phrase chooses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from deixis import zoo
from deixis.inputs.preprocess import Preprocess
from deixis.methods.baselines.detect_match import (
    Config,
    Method,
    colour_factor,
    crop_images,
    crop_logits,
    kind_heat,
    kind_logits,
    nearest_kind,
)
from deixis.ops.regions.colours import COLOUR_NAMES
from deixis.types.outputs import RegionProposals
from deixis.zoo.tiny import byte_tokenizer

SMALL_DOG, LARGE_DOG, CAR, CAT = range(4)
BOXES = torch.tensor([[0.0, 0.3, 0.2, 0.5], [0.3, 0.2, 0.6, 0.6], [0.7, 0.3, 1.0, 0.6], [0.4, 0.8, 0.5, 0.9]])
KINDS = ("dog", "car", "cat", "person")
HEAT = torch.tensor([[0.8, 0.1, 0.1, 0.0], [0.7, 0.1, 0.2, 0.0], [0.0, 0.9, 0.0, 0.0], [0.2, 0.0, 0.6, 0.0]])


class Known(nn.Module):
    """A detector that finds two dogs, a car and a cat in each image."""

    classes, width = KINDS, 1
    preprocess = Preprocess(64, mode="squash", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    calls = 0

    def forward(self, images: Tensor) -> RegionProposals:
        Known.calls += 1
        boxes, scores = BOXES.expand(len(images), -1, -1), HEAT.amax(1).expand(len(images), -1)
        classes = (HEAT / HEAT.sum(1, keepdim=True)).expand(len(images), -1, -1)
        return RegionProposals(boxes, scores > 0, scores, torch.ones(*scores.shape, 1), classes)


@pytest.fixture(scope="module")
def method() -> Method:
    """Heat alone counts, so that what is expected can be seen; crops are of the tiny encoder."""
    config = Config(kind_curve=(1.0, 0.0, 0.0, 0.0), group_curve=(1.0, 0.0), kind_threshold=0.3, group_threshold=0.3)
    encoder = zoo.load("tiny")
    encoder.tokenizer = byte_tokenizer(decoder=True)
    return Method(config, proposals=Known(), encoder=encoder).eval()


def picture() -> Tensor:
    """Grey, with the large dog red and the car blue."""
    image = torch.full((1, 3, 64, 64), 0.5)
    for place, colour in ((LARGE_DOG, (0.8, 0.1, 0.1)), (CAR, (0.1, 0.2, 0.9))):
        x0, y0, x1, y1 = (BOXES[place] * 64).int().tolist()
        image[0, :, y0:y1, x0:x1] = torch.tensor(colour)[:, None, None]
    return image


def scores(method: Method, phrase: str) -> Tensor:
    return method.ground(picture(), *method.encoder.tokenize([phrase])).scores[0, 0]


@pytest.mark.parametrize(
    ("phrase", "place"),
    [
        *(("a dog", SMALL_DOG), ("a puppy", SMALL_DOG), ("the car", CAR), ("a taxi", CAR), ("a kitten", CAT)),
        *(("the largest dog", LARGE_DOG), ("the rightmost dog", LARGE_DOG), ("the small dog", SMALL_DOG)),
        *(("the dog on the left", SMALL_DOG), ("the red dog", LARGE_DOG), ("the animal at the bottom", CAT)),
        *(
            ("the dog next to the car", LARGE_DOG),
            ("the animal below the red dog", CAT),
            ("the largest animal", LARGE_DOG),
        ),
    ],
)
def test_each_part_of_a_phrase_counts(method: Method, phrase: str, place: int) -> None:
    assert int(scores(method, phrase).argmax()) == place


def test_the_chance_of_a_kind_is_that_of_its_heat(method: Method) -> None:
    torch.testing.assert_close(scores(method, "a dog")[:4], HEAT[:, 0])
    torch.testing.assert_close(scores(method, "an animal")[:4], HEAT[:, [0, 2]].amax(1)), "of several kinds, the best"
    assert scores(method, "a dog")[4] == 0, "the whole image is no dog"


def test_what_is_not_there_stays_below_the_threshold_and_the_source_is_named(method: Method) -> None:
    output = method.ground(picture(), *method.encoder.tokenize(["a person"]))
    assert output.scores.amax() < output.thresholds[0, 0]  # type: ignore[index]
    assert output.sources == (("kind",),)
    assert output.labels == (("dog", "dog", "car", "cat", ""),)
    unknown = method.ground(picture(), *method.encoder.tokenize(["a squirrel"]))
    assert unknown.sources == (("crop",),)
    assert float(unknown.thresholds[0, 0]) == pytest.approx(method.config.crop_threshold)  # type: ignore[index]
    assert unknown.scores[0, 0, 4] > 0, "the whole image may be one"
    assert method.ground(picture(), *method.encoder.tokenize(["an animal"])).sources == (("kinds",),)


def test_spans_are_phrases_of_their_own_and_an_image_is_looked_at_once(method: Method) -> None:
    text, image = "a car and the red dog", picture().repeat(2, 1, 1, 1)
    tokens, mask = method.encoder.tokenize([text, text])
    spans = method.encoder.tokenizer.encode_spans(text, [(0, 5), (10, 21)], tokens.shape[1])
    before = Known.calls
    output = method.ground(image, tokens, mask, torch.tensor([[[span] for span in spans]] * 2))
    assert output.scores.argmax(-1).tolist() == [[CAR, LARGE_DOG]] * 2
    method.ground(image, *method.encoder.tokenize(["a cat"] * 2))
    assert Known.calls == before + 1
    method.ground(image.clone(), *method.encoder.tokenize(["a cat"] * 2))
    assert Known.calls == before + 2


@torch.no_grad()
def test_within_a_kind_crops_decide(method: Method) -> None:
    chances = torch.tensor([0.8, 0.7, 0.0, 0.0, 0.0])
    weights = method._preferred(method._regions(picture()), 0, "poodle", chances)
    assert sorted(weights[:2].tolist())[1] == 1
    assert 0.5 <= float(weights[:2].amin()) <= 1
    assert (weights[2:] == 1).all(), "what is no candidate has no rival"


def test_a_phrase_that_names_nothing_is_taken_as_a_name(method: Method) -> None:
    """`deixis ground` refuses it; data may hold it."""
    output = method.ground(picture(), *method.encoder.tokenize(["the left one"]))
    assert output.scores.isfinite().all()


def test_heat_is_the_score_for_the_best_kind_and_in_proportion_for_the_others() -> None:
    heat = kind_heat(torch.tensor([0.6]), torch.tensor([[0.5, 0.25, 0.25]]))
    torch.testing.assert_close(heat, torch.tensor([[0.6, 0.3, 0.3]]))


def test_crops_say_how_sure_the_first_box_is_and_heat_which_it_is() -> None:
    """A bicycle, its wheel that looks more like one, and a second bicycle of less heat."""
    features = torch.tensor([[0.0, 0.0, 0.1, 1.0], [-1.5, 0.0, 0.3, 1.0], [-1.0, 0.0, 0.1, 1.0]])
    curve = (1.0, 0.0, 10.0, 0.0)
    assert kind_logits(features, curve, 1.0).tolist() == pytest.approx([1.0, 1.5, 0.0])
    assert kind_logits(features, curve, 0.3).tolist() == pytest.approx([1.0, 0.1, 0.0])


def test_how_sure_the_first_box_is_follows_from_its_crop_alone_and_the_order_from_all_that_is_known() -> None:
    features = torch.tensor([[0.4, 0.1, -1.0, 1.0], [0.4, 0.1, 2.0, 1.0], [0.2, 0.0, 0.0, 1.0], [9.0, 9.0, 9.0, 1.0]])
    curve, valid = (5.0, 3.0, 1.0, -1.0), torch.tensor([True, True, True, False])
    logits = crop_logits(features, valid, curve, (6.0, 2.0, -2.0))
    assert float(logits[1]) == pytest.approx(6 * 0.4 + 2 * 0.1 - 2)
    order = features @ torch.tensor(curve)
    torch.testing.assert_close(logits - logits[1], order - order[1])


def test_a_kind_stands_for_a_noun_only_if_it_is_near_and_alone() -> None:
    """Cosines as measured: piano and keyboard, doggo and dog, flower between plant and vase."""
    assert nearest_kind(torch.tensor([0.64, 0.51]), 0.7, 0.15) is None
    assert nearest_kind(torch.tensor([0.67, 0.84]), 0.7, 0.15) == 1
    assert nearest_kind(torch.tensor([0.72, 0.64]), 0.7, 0.15) is None


def test_a_colour_needs_its_share_and_two_colours_theirs() -> None:
    shares = torch.zeros(3, 11)
    red, blue = COLOUR_NAMES.index("red"), COLOUR_NAMES.index("blue")
    shares[0, red], shares[1, red], shares[1, blue] = 0.8, 0.4, 0.4
    assert colour_factor(shares, ("red",)).tolist() == pytest.approx([0.82, 0.7, 0.1])
    assert colour_factor(shares, ("red", "blue")).tolist() == pytest.approx([0.1, 0.82, 0.1])


def test_a_crop_stands_on_white_with_its_shape_kept() -> None:
    crop = crop_images(torch.zeros(1, 3, 40, 40), 0, torch.tensor([[0.25, 0.25, 0.75, 0.5]]), 20, 0.0)[0]
    dark = crop[0] < 0.5
    assert dark[10].all()
    assert not dark[[0, 1, 18, 19]].any()
    assert 8 <= int(dark[:, 10].sum()) <= 12
    assert crop_images(torch.zeros(1, 3, 1, 1), 0, torch.tensor([[0.9, 0.9, 1.0, 1.0]]), 4, 0.1).shape == (1, 3, 4, 4)
