"""Questions about scenes, and what maps are measured by: an oracle is right about everything, a map of the picture
alone does not care what it is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import deixis
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.engine.evaluation import saliency, saliency_checks
from deixis.engine.evaluation.saliency import (
    NounScore,
    SaliencyQueries,
    between_things,
    build_explainer,
    explain,
    localisation,
    measured,
    perturbation,
    questions,
)
from deixis.engine.evaluation.saliency_checks import absent, agreement, cascade, entries, measure, stages
from deixis.engine.training.build import build
from deixis.errors import DeixisError
from deixis.methods import normgrad
from deixis.nn.dual import DualEncoder
from deixis.types import Part, Sample, Source
from tests.toys import carded

SHAPES = SceneConfig(cast="shapes", unseen="nothing", objects=(2, 2), repeats=1, phrases=0, questions=0)


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    return deixis.load("tiny")


@pytest.fixture(scope="module")
def asked(encoder: DualEncoder) -> SaliencyQueries:
    return questions(encoder, scenes(0, 4, side=48, config=SHAPES))


def test_each_kind_of_thing_is_a_question_with_its_own_mask(encoder: DualEncoder, asked: SaliencyQueries) -> None:
    source = scenes(0, 4, side=48, config=SHAPES)
    wanted = [(row, region.category) for row, sample in enumerate(source.samples) for region in sample.regions]
    found = [(int(p), asked.nouns[int(n)]) for p, n in zip(asked.picture, asked.noun, strict=True)]
    assert found == wanted
    assert asked.others.all()
    assert asked.masks.flatten(1).any(1).all()
    assert not (asked.masks[0] & asked.masks[1]).any()


@pytest.mark.slow
def test_things_of_one_noun_are_one_question_and_one_thing_alone_has_none_beside_it(encoder: DualEncoder) -> None:
    config = dataclasses.replace(SHAPES, objects=(1, 3), repeats=3, nouns=("star", "ring"))
    found = questions(encoder, scenes(1, 12, side=48, config=config))
    pairs = list(zip(found.picture.tolist(), found.noun.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    alone = [number for number in range(12) if found.picture.tolist().count(number) == 1]
    assert 0 < len(alone) < 12
    assert [p in alone for p in found.picture.tolist()] == (~found.others).tolist()


def test_where_nothing_has_a_mask_boxes_stand_for_them(encoder: DualEncoder) -> None:
    exact = scenes(0, 4, side=48, config=SHAPES)
    plain = [
        dataclasses.replace(each, regions=tuple(dataclasses.replace(one, mask=None) for one in each.regions))
        for each in exact.samples
    ]
    boxes, masks = questions(encoder, dataclasses.replace(exact, samples=tuple(plain))), questions(encoder, exact)
    assert boxes.noun.tolist() == masks.noun.tolist()
    for box, mask in zip(boxes.masks, masks.masks, strict=True):
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        around = torch.zeros_like(mask)
        around[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        assert (box ^ around).float().mean() < 0.06, "but for the pixels at the edge"


def test_pictures_without_masks_and_boxes_are_refused(encoder: DualEncoder) -> None:
    bare = Source("bare", Path("."), "captions", "made", (Sample("a", None, captions=("a star",)),))
    with pytest.raises(DeixisError, match="kinds of things with masks"):
        questions(encoder, bare)


def test_every_question_gets_the_map_that_it_gets_alone(encoder: DualEncoder, asked: SaliencyQueries) -> None:
    method = build("normgrad", "tiny", {"cell": "linear_approximation"}, {"encoder": encoder})
    together = explain(method, asked)
    texts = asked.texts[asked.noun]
    for number in (0, 3, len(asked.picture) - 1):
        image, text = asked.images[asked.picture[number]][None], texts[number]
        alone = method.attribute(image, lambda output, text=text: output @ text)
        torch.testing.assert_close(together[number], alone[0])


def test_the_masks_themselves_are_right_about_everything(asked: SaliencyQueries) -> None:
    found = localisation(asked.masks.float(), asked)
    assert all((each == 1).all() for each in found.values())


def test_a_map_of_the_other_thing_is_wrong_about_everything_but_the_tolerance(asked: SaliencyQueries) -> None:
    other = asked.masks.unflatten(0, (-1, 2)).flip(1).flatten(0, 1).float()
    found = localisation(other, asked)
    assert not found["exact"].any()
    assert not found["energy"].any()
    assert not found["overlap"].any()


def test_a_map_that_ignores_the_question_correlates_wholly_between_things(asked: SaliencyQueries) -> None:
    of_the_picture = torch.rand(4, *asked.masks.shape[1:])[asked.picture]
    torch.testing.assert_close(between_things(of_the_picture, asked), torch.ones(8).double())
    opposite = of_the_picture * torch.tensor([1.0, -1.0]).repeat(4)[:, None, None]
    torch.testing.assert_close(between_things(opposite, asked), -torch.ones(8).double())


def test_a_thing_alone_has_nothing_to_be_compared_with(asked: SaliencyQueries) -> None:
    one = dataclasses.replace(asked.part(1), others=torch.tensor([False, False]))
    assert between_things(torch.rand(2, *asked.masks.shape[1:]), one).isnan().all()


@pytest.mark.parametrize("fill", ["blur", "mean"])
def test_deletion_and_insertion_are_areas_under_the_probability_of_the_noun(
    encoder: DualEncoder, asked: SaliencyQueries, fill: Any
) -> None:
    """One step: the area is the mean of both ends, whatever the map; and one goes the other's way."""
    few = asked.part(2)
    found = perturbation(encoder, torch.rand(4, *asked.masks.shape[1:]), few, 1, fill)
    torch.testing.assert_close(found["deletion"], found["insertion"])
    with torch.no_grad():
        whole = (encoder.encode_image(few.images) @ few.texts.T).softmax(1)[few.picture, few.noun]
    assert ((found["deletion"] * 2 - whole) > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(saliency.METRICS))
def test_what_claims_measure_lies_between_0_and_1(encoder: DualEncoder, asked: SaliencyQueries, name: str) -> None:
    method = build("normgrad", "tiny", {"cell": "norm_grad"}, {"encoder": encoder})
    found = measured(name, method, asked)
    assert len(found) == (4 if name == "class_sensitivity" else 8)
    assert ((found >= 0) & (found <= 1)).all()


class Planted(nn.Module):
    """Explains with a ramp for one noun and, for every other, with the same or the opposite one."""

    def __init__(self, encoder: DualEncoder, opposite: bool) -> None:
        super().__init__()
        self.encoder, self.opposite, self.config = encoder, opposite, normgrad.Config()

    def attribute(self, images: Tensor, score: Any) -> Tensor:
        side = images.shape[-1]
        ramp = torch.linspace(0, 1, side * side).reshape(side, side)
        values = score(self.encoder.encode_image(images))
        likely = values == values.amax(1, keepdim=True)
        other = ramp.flip(0, 1) if self.opposite else ramp
        return torch.where(likely[..., None, None], ramp, other)


carded(Planted, parts=(Part("encoder", "dual_encoder"),), capabilities=("attribute",))


@pytest.mark.parametrize(("opposite", "sensitivity"), [(False, 0.0), (True, 1.0)])
def test_class_sensitivity_is_0_of_equal_maps_and_1_of_opposite_ones(
    encoder: DualEncoder, asked: SaliencyQueries, opposite: bool, sensitivity: float
) -> None:
    """More is better: a sign the other way would exchange both."""
    found = measured("class_sensitivity", Planted(encoder, opposite), asked)
    torch.testing.assert_close(found, torch.full_like(found, sensitivity), rtol=0, atol=1e-6)


def test_the_loss_of_a_noun_is_its_cross_entropy_among_all(encoder: DualEncoder, asked: SaliencyQueries) -> None:
    nouns = torch.tensor([[0, 1]]).expand(len(asked.images), 2)
    score, output = NounScore(asked.texts, nouns), encoder.encode_image(asked.images).detach()
    logits = output @ asked.texts.T
    torch.testing.assert_close(score(output), logits[:, :2])
    for place in (0, 1):
        wanted = F.cross_entropy(logits, nouns[:, place], reduction="none")
        torch.testing.assert_close(score.loss(output)[:, place], wanted)


def test_a_measure_that_there_is_not_is_refused(encoder: DualEncoder, asked: SaliencyQueries) -> None:
    with pytest.raises(DeixisError, match="no measure 'beauty'"):
        measured("beauty", build_explainer("normgrad", {}, encoder), asked)


def test_a_method_that_explains_nothing_is_no_explainer(encoder: DualEncoder) -> None:
    with pytest.raises(DeixisError, match="residual explains no model"):
        build_explainer("residual", {}, encoder)


def test_an_absent_noun_is_absent(asked: SaliencyQueries) -> None:
    found = absent(asked, 0)
    for number, noun in enumerate(found.tolist()):
        assert noun not in asked.noun[asked.picture == asked.picture[number]].tolist()


def test_where_a_picture_shows_all_nouns_the_question_keeps_its_own(asked: SaliencyQueries) -> None:
    one = dataclasses.replace(asked.part(1), nouns=("a", "b"), noun=torch.tensor([0, 1]))
    assert absent(one, 0).tolist() == [0, 1]


def test_weights_go_random_from_the_output_to_the_input_and_come_back_bit_for_bit(encoder: DualEncoder) -> None:
    tower = encoder.image_tower
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    groups = stages(tower)
    assert [name for name, _ in groups] == ["head", "backbone.2", "backbone.0"]
    assert sum(len(weights) for _, weights in groups) == len(list(tower.parameters()))
    for done, name in enumerate(cascade(tower, 0), 1):
        changed = {id(weight) for _, weights in groups[:done] for weight in weights}
        assert name == groups[done - 1][0]
        for key, weight in tower.named_parameters():
            assert torch.equal(weight, before[key]) == (id(weight) not in changed)
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())


def test_weights_come_back_where_the_cascade_is_left_early(encoder: DualEncoder) -> None:
    before = encoder.image_tower.state_dict()["classifier.weight"].clone()
    going = cascade(encoder.image_tower, 0)
    next(going)
    assert not torch.equal(encoder.image_tower.state_dict()["classifier.weight"], before)
    going.close()
    assert torch.equal(encoder.image_tower.state_dict()["classifier.weight"], before)


def test_the_table_has_the_baselines_and_each_cell_at_each_layer(encoder: DualEncoder) -> None:
    found = [(entry.method, entry.layer) for entry in entries(encoder, ("grad_cam", "norm_grad_selective"))]
    assert found == [
        ("centre", ""),
        ("edges", ""),
        ("random", ""),
        ("grad_cam", "backbone.0"),
        ("grad_cam", "backbone.1"),
        ("grad_cam", "last"),
        ("norm_grad_selective", "backbone.0"),
        ("norm_grad_selective", "backbone.1"),
        ("norm_grad_selective", "last"),
        ("norm_grad_selective", "backbone.0 x backbone.1"),
    ]
    with pytest.raises(DeixisError, match="no map called 'guess'"):
        entries(encoder, ("guess",))


def test_edges_pass_no_check_and_leave_no_cascade(encoder: DualEncoder, asked: SaliencyQueries) -> None:
    """They ignore the question wholly, and the model."""
    _, edges, _ = entries(encoder, ("norm_grad",))[:3]
    row = measure(edges, encoder, asked)
    assert row.metrics["class_sensitivity"].value == pytest.approx(1)
    assert row.metrics["random_label"].value == pytest.approx(1)
    assert row.cascade == {}
    assert row.metrics["pointing"].low <= row.metrics["pointing"].value <= row.metrics["pointing"].high


@pytest.mark.slow
def test_a_map_of_the_model_has_a_cascade_of_all_groups(encoder: DualEncoder, asked: SaliencyQueries) -> None:
    entry = next(each for each in entries(encoder, ("norm_grad",)) if each.learned)
    row = measure(entry, encoder, asked.part(2))
    assert list(row.cascade) == [name for name, _ in stages(encoder.image_tower)]
    assert all(-1 <= value <= 1 for value in row.cascade.values())


def test_halves_agree_where_they_order_rows_alike(encoder: DualEncoder, asked: SaliencyQueries) -> None:
    row = measure(entries(encoder, ("norm_grad",))[0], encoder, asked)
    rows = [dataclasses.replace(row, halves={"exact": (value, 2 * value)}) for value in (0.1, 0.3, 0.2)]
    assert agreement(rows, "exact") == pytest.approx(1)
    rows = [dataclasses.replace(row, halves={"exact": (value, -value)}) for value in (0.1, 0.3, 0.2)]
    assert agreement(rows, "exact") == pytest.approx(-1)
    assert agreement(rows[:2], "exact") != agreement(rows[:2], "exact")  # two rows agree by chance: no number
    assert saliency_checks.BASELINES == ("centre", "edges", "random")
