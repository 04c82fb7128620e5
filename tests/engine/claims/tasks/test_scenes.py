"""Tasks of claims: splits share no cut-out, equal seeds give equal scenes, what an arm changes is all that differs."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from deixis.data.loading.collate import Collate
from deixis.data.loading.loader import Loader
from deixis.data.loading.sampler import SampleOrder
from deixis.data.synthetic.scenes.drawing import Scene
from deixis.engine.claims import claim_tasks, tasks
from deixis.engine.claims.claim_tasks import TrainingTask, list_tasks, make_task, read_task
from deixis.engine.claims.design import Design, split_setting
from deixis.engine.claims.measures import MEASURES, values
from deixis.engine.claims.tasks.scenes import Options
from deixis.engine.evaluation import saliency
from deixis.engine.training.build import build, configure
from deixis.engine.training.stages import stages
from deixis.engine.training.train import train
from deixis.errors import DeixisError
from deixis.methods import list_methods, read
from deixis.types import Arm, Claim, Source

SHAPES = {"cast": "shapes", "count": 24, "held": 12, "batch_size": 8, "size": "tiny"}


def training(name: str, options: Mapping[str, Any], seed: int) -> TrainingTask:
    made = make_task(name, options, seed)
    assert isinstance(made, TrainingTask)
    return made


def of_shapes(seed: int = 0, **options: Any) -> TrainingTask:
    return training("scenes", {**SHAPES, **options}, seed)


def cutouts(source: Source) -> set[str]:
    return {region.attributes["cutout"] for sample in source.samples for region in sample.regions}


def nouns(source: Source) -> set[str]:
    return {region.category for sample in source.samples for region in sample.regions}


def looks(source: Source) -> set[tuple[str, str]]:
    return {(region.category, region.attributes["colour"]) for s in source.samples for region in s.regions}


def told(source: Source) -> list[Any]:
    return [(sample.id, sample.captions, sample.label) for sample in source.samples]


def test_training_validation_and_test_share_neither_cut_outs_nor_scenes() -> None:
    made = of_shapes()
    sides = [made.train, made.validation, made.test]
    for i, one in enumerate(sides):
        for other in sides[i + 1 :]:
            assert not cutouts(one) & cutouts(other)
            assert not {s.id for s in one.samples} & {s.id for s in other.samples}


def test_with_unseen_pairs_they_share_no_pair_of_noun_and_colour_either() -> None:
    made = of_shapes(unseen="pair", count=80, held=30)
    sides = [looks(side) for side in (made.train, made.validation, made.test)]
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]


def test_what_is_held_out_speaks_of_nouns_that_training_holds() -> None:
    made = of_shapes(count=80)
    assert nouns(made.test) <= nouns(made.train)
    assert nouns(made.validation) <= nouns(made.train)


def test_equal_seeds_give_equal_tasks_and_others_do_not() -> None:
    one, again, other = of_shapes(1), of_shapes(1), of_shapes(2)
    assert told(one.train) == told(again.train) != told(other.train)
    assert told(one.test) == told(again.test) != told(other.test)
    assert one.encoder(5).fingerprint() == again.encoder(5).fingerprint() != one.encoder(6).fingerprint()


@pytest.mark.slow
def test_fewer_scenes_are_the_first_of_more_and_noise_leaves_pictures_and_what_is_held_out() -> None:
    few, many, noisy = of_shapes(), of_shapes(count=48), of_shapes(noise=0.5)
    assert told(few.train) == told(many.train)[:24]
    assert [s.image for s in noisy.train.samples] == [s.image for s in few.train.samples]
    assert noisy.train != few.train
    assert (noisy.validation, noisy.test) == (few.validation, few.test)


def test_messy_captions_are_for_training_only() -> None:
    made, plain = of_shapes(messy=True), of_shapes()
    assert all(sample.extra["noisy"] == "messy" for sample in made.train.samples)
    assert made.test == plain.test
    assert made.encoder(0).tokenizer.vocabulary > plain.encoder(0).tokenizer.vocabulary


def test_few_nouns_and_one_thing_a_scene_can_be_asked_for_what_is_held_out() -> None:
    made = of_shapes(count=40, nouns=6, held=20, held_nouns=2, held_objects=(1, 1))
    assert len(nouns(made.train)) == 6
    assert len(nouns(made.test)) == 2
    assert nouns(made.test) == nouns(made.validation)
    assert {len(sample.regions) for sample in made.test.samples} == {1}


def test_held_out_scenes_come_with_changes_where_they_are_asked_for_and_are_else_the_same() -> None:
    made, plain = of_shapes(changes=2), of_shapes()
    assert all(len(sample.extra["changes"]) == 2 for sample in (*made.validation.samples, *made.test.samples))
    assert made.train == plain.train
    assert (told(made.test), made.test.samples[0].image) == (told(plain.test), plain.test.samples[0].image)


def test_held_out_scenes_have_masks_and_training_scenes_do_without() -> None:
    made = of_shapes()
    assert all(region.mask for sample in made.test.samples for region in sample.regions)
    assert not any(region.mask for sample in made.train.samples for region in sample.regions)


def test_the_encoder_reads_the_scenes_and_knows_their_words() -> None:
    made = of_shapes(side=64, text="bag", image="vit-mean")
    encoder = made.encoder(0)
    assert isinstance(made.train.samples[0].image, Scene)
    assert encoder.encode_image(made.train.samples[0].picture).shape == (1, encoder.width)
    tokens = encoder.tokenize([sample.captions[0] for sample in made.train.samples]).ids
    assert not (tokens == 3).any(), "no training word is unknown"
    assert torch.equal(encoder.encode_text(["star red"]), encoder.encode_text(["red star"]))


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"colour": "red"}, "no option 'colour'.*cast, nouns"),
        ({"count": 1}, "count is 1"),
        ({"batch_size": 64}, "batch of 64 is requested, and there are 24"),
        ({"nouns": 99}, "99 nouns are requested.*emoji/all"),
        ({"noise": 0.7}, "noise is 0.7"),
        ({"cast": "spoons"}, "no cast called 'spoons'"),
    ],
)
def test_options_that_can_not_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        of_shapes(**options)


def test_an_unknown_task_is_answered_with_those_there_are() -> None:
    with pytest.raises(DeixisError, match=r"no task 'coco'.*scenes"):
        make_task("coco", {}, 0)


@pytest.mark.parametrize("cast", ["stamps", "emoji/all"])
def test_a_cast_that_was_not_fetched_is_refused_with_the_command_that_fetches_it(
    cast: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path))
    with pytest.raises(DeixisError, match=r"deixis (fetch|data)") as caught:
        make_task("scenes", {"cast": cast}, 0)
    assert caught.value.cure


# --- what claims ask for ----------------------------------------------------------------------------------------------

CLAIMED = [(name, claim) for name in list_methods() for claim in read(name).claims if claim.data == "scenes"]


@pytest.mark.parametrize(("name", "claim"), CLAIMED, ids=[f"{name}-{claim.metric}" for name, claim in CLAIMED])
def test_a_claim_asks_for_options_settings_and_measures_that_there_are(name: str, claim: Claim) -> None:
    assert {claim.metric, *(arm.metric or claim.metric for arm in claim.arms.values())} <= set(MEASURES)
    assert next(iter(claim.arms.values())).method == name, "the paper's arm comes first"
    for arm in claim.arms.values():
        options = Options(**{**claim.options, **arm.data})
        assert claim.budget % options.batch_size == 0
        for field, tried in {**{key: (value,) for key, value in arm.overrides.items()}, **arm.grid}.items():
            for value in tried:
                setting, data = split_setting({field: value})
                configure(arm.method, "desk", setting)
                assert Options(**{**claim.options, **arm.data, **data})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "claim"), CLAIMED, ids=[f"{name}-{claim.metric}" for name, claim in CLAIMED])
def test_each_arm_of_a_claim_takes_a_step_and_is_measured(name: str, claim: Claim) -> None:
    """With towers as small as can be, and shapes, which need not be fetched."""
    small = {"cast": "shapes", "nouns": 0, "count": 8, "held": 6, "batch_size": 4, "size": "tiny"}
    for arm in claim.arms.values():
        made = training("scenes", {**claim.options, **arm.data, **small}, 0)
        encoder = made.encoder(0)
        method = build(arm.method, "desk", arm.overrides, {"encoder": encoder})
        collate = Collate(made.train, read(arm.method).card.needs, encoder.preprocess, encoder.tokenizer)
        train(method, Loader(made.train, collate, SampleOrder(4)), 1, stage=stages(method)[0])
        assert 0 <= float(values(arm.metric or claim.metric, method, made.test).mean()) <= 1


def test_cards_of_tasks_name_what_can_be_measured() -> None:
    assert set(read_task("scenes").card.metrics) == set(MEASURES)
    assert set(read_task("explained").card.metrics) == set(saliency.METRICS)


@pytest.mark.parametrize("name", list_tasks())
def test_a_task_is_read_without_importing_it(name: str) -> None:
    declared, module = read_task(name), importlib.import_module(f"deixis.engine.claims.tasks.{name}")
    assert declared.card == module.TASK
    assert dataclasses.asdict(declared.options()) == dataclasses.asdict(module.Options())


def test_every_claim_names_a_task_its_options_and_what_it_measures() -> None:
    for name in list_methods():
        for claim in read(name).claims:
            task = read_task(claim.data)
            assert {claim.metric, *(arm.metric or claim.metric for arm in claim.arms.values())} <= set(
                task.card.metrics
            )
            known = {field.name for field in dataclasses.fields(task.options)}
            assert all(known >= {*claim.options, *arm.data} for arm in claim.arms.values())


def test_a_file_in_the_folder_is_a_task_and_nothing_else_is_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.types import Source
from deixis.types.cards import TaskCard

TASK = TaskCard(title="Toys", metrics=("height",), axis="blocks")

@dataclass(frozen=True)
class Options:
    blocks: int = 3

def make(options, seed):
    toys = Source(f"toys {seed}", Path("."), "captions", "toys", ())
    return TrainingTask(toys, toys, toys, str, options.blocks)
"""
    (tmp_path / "toy_tower.py").write_text(text)
    monkeypatch.setattr(claim_tasks, "_FOLDER", tmp_path)
    monkeypatch.setattr(tasks, "__path__", [str(tmp_path)])
    assert (list_tasks(), read_task("toy_tower").card.axis) == (["toy_tower"], "blocks")
    made = training("toy_tower", {"blocks": 5}, 1)
    assert (made.train.name, made.batch_size) == ("toys 1", 5)
    with pytest.raises(DeixisError, match=r"'toy_tower' has no option 'stones'. Its options are: blocks"):
        make_task("toy_tower", {"stones": 5}, 1)
    arms = {"a": Arm("clip"), "b": Arm("filip")}
    claim = Claim("Toys stand.", arms, "height", "final", 1.0, "toy_tower", 10, cheap="b")
    assert Design("clip", claim).axis == "blocks"
    with pytest.raises(DeixisError, match=r"'toy_tower' does not measure 'width'. It measures: height"):
        Design("clip", dataclasses.replace(claim, metric="width"))
    del sys.modules["deixis.engine.claims.tasks.toy_tower"]
