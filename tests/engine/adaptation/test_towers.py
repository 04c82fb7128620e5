"""Fine-tuned towers: the original at strength 0, the tuned model at 1, a mean of weights between."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from deixis import zoo
from deixis.engine.adaptation.evaluate import measure_retrieval, set_strength
from deixis.engine.adaptation.fitting import fit
from deixis.engine.adaptation.recipes import AdaptationRecipe
from deixis.engine.adaptation.towers import ImageTextCache, InterpolatedModel, tune
from deixis.engine.features.store import FeatureTable, table
from deixis.errors import DeixisError
from deixis.methods import clip
from deixis.nn.dual import DualEncoder
from deixis.nn.frozen import freeze, is_frozen
from deixis.types import Stage
from tests.pictures import captioned


class World(NamedTuple):
    """A frozen model, some captioned pictures, and the library that holds both."""

    encoder: DualEncoder
    table: FeatureTable
    library: ImageTextCache


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    paths = sorted(captioned(tmp_path_factory.mktemp("pictures"), 24).glob("*.png"))
    texts = [path.with_suffix(".txt").read_text().strip() for path in paths]
    encoder = freeze(zoo.load("tiny"))
    ids = [path.stem for path in paths]
    library = ImageTextCache(encoder)
    library.add(ids, paths, texts)
    states = encoder.image_states(encoder.read_images(paths))
    views = (states.embedding[None], states.features[None], states.doubt[None])
    return World(encoder, table(ids, views, texts, encoder.encode_text(texts)), library)


def tuned(world: World, layers: str = "all", steps: tuple[int, ...] = (4,)) -> dict[int, InterpolatedModel]:
    recipe = AdaptationRecipe("clip", {"layers": layers, "learning_rate": 3e-3}, batch_size=12)
    return tune(recipe, world.encoder, world.table, steps, 0, world.library)


def test_the_library_gives_the_pictures_as_the_model_reads_them(world: World, tmp_path: Path) -> None:
    paths = sorted(captioned(tmp_path, 6, seed=3).glob("*.png"))
    library = ImageTextCache(world.encoder)
    library.add([path.stem for path in paths], paths, ["x"] * len(paths))
    torch.testing.assert_close(library.images([path.stem for path in paths]), world.encoder.read_images(paths))


def test_batches_pass_over_all_samples_before_one_comes_again(world: World) -> None:
    batches = world.library.batches(world.table.ids, 8, seed=1)
    seen = [name for _ in range(3) for name in next(batches).ids]
    assert sorted(seen) == sorted(world.table.ids)
    assert (
        next(world.library.batches(world.table.ids, 8, seed=1)).ids
        == next(world.library.batches(world.table.ids, 8, seed=1)).ids
    )


@pytest.mark.parametrize("layers", ["all", "last", "lora"])
def test_strength_0_is_the_original_and_strength_1_the_tuned_model(world: World, layers: str) -> None:
    model = tuned(world, layers)[4]
    set_strength(model, 0.0)
    torch.testing.assert_close(model.embed(world.table), (world.table.embedding[0], world.table.text))
    set_strength(model, 1.0)
    moved, _ = model.embed(world.table)
    assert (moved - world.table.embedding[0]).abs().max() > 1e-4
    images = world.library.images(world.table.ids)
    torch.testing.assert_close(model.encoder().encode_image(images), moved)


def test_what_is_padding_in_a_batch_is_what_the_tokenizer_says(world: World) -> None:
    batch = next(world.library.batches(world.table.ids, 8, seed=1))
    for of_batch, of_tokenizer in zip(
        batch.caption(), world.encoder.tokenize(world.library.texts(batch.ids)), strict=True
    ):
        assert torch.equal(of_batch, of_tokenizer)


def test_pictures_are_mirrored_half_of_the_time_unless_a_text_names_a_side_or_they_show_text(tmp_path: Path) -> None:
    encoder = zoo.load("tiny")
    paths = sorted(captioned(tmp_path, 8).glob("*.png"))
    ids = [path.stem for path in paths]
    texts = ["a boat", "a boat on the left", "a bird", "rechts ein Vogel", *["a dog"] * 4]
    turned = {}
    for mirrors in (True, False):
        library = ImageTextCache(encoder, mirrors=mirrors)
        library.add(ids, paths, texts)
        batches = library.batches(ids, 8, seed=1)
        turned[mirrors] = set()
        for batch in itertools.islice(batches, 8):
            plain = library.images(batch.ids)
            same = [torch.equal(one, other) for one, other in zip(batch.images, plain, strict=True)]
            turned[mirrors] |= {name for name, kept in zip(batch.ids, same, strict=True) if not kept}
    assert turned[True] == {ids[i] for i in range(8) if i not in (1, 3)}
    assert turned[False] == set()


def test_between_them_weights_are_averaged(world: World) -> None:
    model = tuned(world)[4]
    half, whole = (set_strength(model, strength).encoder().state_dict() for strength in (0.5, 1.0))
    for name, value in world.encoder.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(half[name], (value + whole[name]) / 2)


def test_the_scale_that_was_trained_goes_with_the_model(world: World) -> None:
    model = tuned(world, steps=(20,))[20]
    assert model.scale != pytest.approx(world.encoder.scale, rel=1e-3)
    scales = [set_strength(model, strength).encoder().scale for strength in (0.0, 0.5, 1.0)]
    assert scales == pytest.approx([world.encoder.scale, (world.encoder.scale * model.scale) ** 0.5, model.scale])


def test_the_original_is_not_touched(world: World) -> None:
    before = world.encoder.fingerprint()
    tuned(world)
    assert world.encoder.fingerprint() == before
    assert is_frozen(world.encoder)


def test_training_teaches_the_training_pairs(world: World) -> None:
    model = tuned(world, steps=(40,))[40]
    before = measure_retrieval(world.table, (None, None))["mean_mrr"].mean()
    assert measure_retrieval(world.table, set_strength(model, 1.0))["mean_mrr"].mean() > before + 0.1


def test_only_the_chosen_layers_change(world: World) -> None:
    last = set(tuned(world, "last")[4].change)
    everything = set(tuned(world, "all")[4].change)
    assert last < everything
    assert not any(name.startswith("image_tower.backbone.0") for name in last)
    assert "logit_scale" not in everything, "the scale is the method's, not the model's"


def test_equal_seeds_give_equal_towers(world: World) -> None:
    first, second = tuned(world)[4].change, tuned(world)[4].change
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_equal_captions_keep_one_vector(world: World) -> None:
    same = world.table.with_text_of([0] * len(world.table))
    library = ImageTextCache(world.encoder)
    library._images = world.library._images
    library._texts = dict.fromkeys(world.table.ids, "one caption for all")
    _, text = InterpolatedModel(world.encoder, {}, library).embed(same)
    assert len(text.unique(dim=0)) == 1


def test_fit_hands_methods_that_read_pictures_to_their_towers(world: World) -> None:
    found = fit(AdaptationRecipe("clip", {}, 12), world.encoder, world.table, (1, 2), 0, world.library)
    assert set(found) == {1, 2}
    assert all(isinstance(each, InterpolatedModel) for each in found.values())


@pytest.mark.parametrize(
    "stages",
    [
        (Stage("warm", trainable=("logit_scale",)), Stage("train")),
        (Stage("look", kind="fit"),),
        (Stage("train", data="others"),),
    ],
)
def test_a_method_of_several_stages_is_not_tuned_in_the_first_of_them(
    world: World, monkeypatch: pytest.MonkeyPatch, stages: tuple[Stage, ...]
) -> None:
    """What it gives would not be the method's; `deixis train` runs all of them."""
    monkeypatch.setattr(clip.Method, "stages", lambda self: stages)
    with pytest.raises(DeixisError, match=r"clip has the stages .*\. Train it: deixis train clip --data DATA"):
        tuned(world)
