"""FocalLens and its rivals: what an instruction changes, and what stays as it was."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis import engine, zoo
from deixis.engine.training.stages import trainable
from deixis.errors import DeixisError
from deixis.methods import focallens
from deixis.methods.baselines import gate, probe, same_triplets, subspace
from deixis.ops.similarity.subspaces import span_of
from deixis.types import Batch, FieldSpec, Progress

VALUES = ("red", "blue", "green")
INSTRUCTIONS = ("the colour", "the size")


def made(module: Any, encoder: str = "tiny-vit", **settings: Any) -> Any:
    config = dataclasses.replace(module.Config.tiny(), **settings)
    return module.Method(config, encoder=zoo.load(encoder)).eval()


def batch(values: tuple[str, ...] = VALUES, **extra: Any) -> Batch:
    """Pictures of different colours, asked for their colour in two wordings."""
    images = torch.randn(len(values), 3, 32, 32, generator=torch.Generator().manual_seed(1))
    more = {"instruction": (("the colour", "its colour"),) * len(values), **extra}
    specs = {name: FieldSpec(name, "B", "object" if name == "instruction" else "long") for name in more}
    specs |= {"image_features": FieldSpec("image_features", "B F")}
    texts = tuple((value,) for value in values)
    return Batch(tuple(map(str, range(len(values)))), images, texts, extra=more, specs=specs)


@pytest.mark.parametrize("place", ["before norm", "after norm", "class token"])
def test_one_picture_has_a_vector_for_each_instruction_and_without_one_the_plain_towers(place: Any) -> None:
    method, images = made(focallens, place=place, tokens=4), batch().images[:1].expand(2, -1, -1, -1)
    told = method.encode_about(images, INSTRUCTIONS)
    assert (told[0] - told[1]).abs().max() > 1e-3
    torch.testing.assert_close(told.norm(dim=1), torch.ones(2))
    untold = made(focallens, place=place, absent=1.0).encode(batch(), Progress()).rows["image"]
    torch.testing.assert_close(untold, method.encoder.encode_image(batch().images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("module", [focallens, gate, same_triplets, subspace, probe])
def test_instructions_that_are_empty_a_page_long_or_not_one_an_image_are_refused(module: Any) -> None:
    method, images = made(module), batch().images[:2]
    for instructions, message in (
        (("the colour", " "), r"An instruction is empty\. Name the respect .* those of encode_image"),
        (("the colour", "of it " * 300), r"'of it of it .*'\.\.\. has 600 words, and the model reads \d+ tokens"),
        (("the colour",), "1 instructions were given for 2 images"),
        ("it", "One text was given for 2 images"),
    ):
        with pytest.raises(DeixisError, match=message):
            method.encode_about(images, instructions)


def read_by_a_language_model(**settings: Any) -> Any:
    torch.manual_seed(0)
    config = dataclasses.replace(focallens.Config.tiny(), lm="tiny", grid=2, **settings)
    return focallens.Method(config, encoder=zoo.load("tiny"), lm=zoo.load_part("lm", "tiny")).eval()


def test_a_language_model_reads_any_tower_s_cells_and_then_the_instruction_in_a_batch_as_alone() -> None:
    method, images = read_by_a_language_model(), batch().images
    told = method.encode_about(images, ("the colour", "the size of the thing in it", "the colour"))
    torch.testing.assert_close(told.norm(dim=1), torch.ones(3))
    alone = method.encode_about(images[:1], ("the colour",))
    torch.testing.assert_close(told[:1], alone)
    assert (alone - method.encode_about(images[:1], ("the size",))).abs().max() > 1e-3, "the instruction is read"
    assert (alone - method.encode_about(images[1:2], ("the colour",))).abs().max() > 1e-3, "and the picture"


@pytest.mark.parametrize("trains", ["projector", "lora", "all"])
def test_a_language_model_learns_as_much_as_it_is_to_and_pictures_without_instruction_stay(trains: Any) -> None:
    method, images = read_by_a_language_model(trains=trains), batch().images
    before = method.encode_image(images)
    [stage] = engine.stages(method)
    chosen = engine.enter(method, stage)
    engine.backward(method, batch(), Progress(stage=stage.name))
    moved = {name for name, value in chosen.items() if value.grad is not None and value.grad.any()}
    learned = {"logit_scale", "condition"} | ({"lm"} if trains != "projector" else set())
    assert {name.partition(".")[0] for name in moved} == learned
    torch.optim.SGD(chosen.values(), lr=0.1).step()
    torch.testing.assert_close(method.eval().encode_image(images), before, rtol=0, atol=0)


def test_a_language_model_learns_to_look_at_what_the_instruction_names() -> None:
    method = read_by_a_language_model(trains="all", absent=0.0)
    images = torch.stack([torch.full((3, 32, 32), -1.0).index_fill(0, torch.tensor(i), 1.0) for i in (0, 2)])
    images = torch.cat([images, images])
    images[2:, :, 8:24, 8:24] = 0.0  # the last two have a patch
    instructions = ["the colour"] * 4 + ["the size"] * 4
    asked = dataclasses.replace(
        batch(("red", "blue", "red", "blue", "small", "small", "big", "big")),
        images=torch.cat([images, images]),
        extra={"instruction": tuple((each,) for each in instructions)},
    )
    [stage] = engine.stages(method)
    chosen = list(engine.enter(method, stage).values())
    optimiser = torch.optim.Adam(chosen, lr=3e-3)
    for step in range(120):
        optimiser.zero_grad()
        engine.backward(method, asked, Progress(step=step, stage=stage.name))
        optimiser.step()
    method.eval()
    for name, values, right in (
        ("the colour", ("red", "blue"), [0, 1, 0, 1]),
        ("the size", ("small", "big"), [0, 0, 1, 1]),
    ):
        texts = method._read(values)
        assert (method.encode_about(images, [name] * 4) @ texts.T).argmax(dim=1).tolist() == right


def test_cells_and_words_beyond_what_the_language_model_reads_are_refused() -> None:
    method = read_by_a_language_model()
    method.lm.context_length = 8
    with pytest.raises(DeixisError, match=r"4 cells of a picture and 6 tokens .* Average the cells"):
        method.encode_about(batch().images[:1], ["the colour"])


def test_a_tenth_of_the_samples_have_no_instruction_and_others_in_another_step() -> None:
    ids = [str(i) for i in range(400)]
    absent = [Progress(step=step).uniform("absent", ids, 1)[:, 0] < 0.1 for step in (1, 2)]
    assert all(20 < int(each.sum()) < 60 for each in absent)
    assert not torch.equal(*absent)


def test_texts_stay_where_they_were_and_the_tower_and_the_condition_train() -> None:
    method = made(focallens)
    names = trainable(method, *engine.stages(method))
    assert not any("text_tower" in name for name in names)
    assert {name.partition(".")[0] for name in names} == {"logit_scale", "encoder", "condition"}


def test_towers_that_take_no_condition_are_refused_before_training_but_not_for_its_rivals() -> None:
    with pytest.raises(DeixisError, match="ClassifierTower takes no condition"):
        engine.stages(made(focallens, "tiny"))
    for module in (gate, same_triplets):
        assert engine.stages(made(module, "tiny"))


def test_equal_answers_are_no_negatives_of_one_another_unless_they_are_to_be() -> None:
    same = batch(("red", "red"))
    shared = made(focallens)(same, Progress()).total
    apart = made(focallens, equal="negatives")(same, Progress()).total
    method = made(focallens)
    features = method.encode(same, Progress())
    assert int(features.rows["answer"].unique().numel()) == 1
    torch.testing.assert_close(shared, apart)  # both texts have one vector, so that half the mass is all there is
    left_out = made(focallens, equal="excluded")(same, Progress()).total
    torch.testing.assert_close(left_out, torch.tensor(0.0))


def test_a_gate_is_the_plain_encoder_at_the_start_and_the_rival_without_instruction_always() -> None:
    images = batch().images
    for module in (gate, same_triplets):
        method = made(module)
        plain = method.encoder.encode_image(images)
        torch.testing.assert_close(method.encode_about(images, ["the colour"] * 3), plain)
    told = made(gate)
    torch.nn.init.normal_(told.gate.weight)
    assert (told.encode_about(images[:1], ["the colour"]) - told.encode_image(images[:1])).abs().max() > 1e-3


def fitted(module: Any, values: tuple[str, ...], respect: list[int], features: Tensor | None = None) -> Any:
    method = made(module, "tiny")
    extra: dict[str, Any] = {"respect": torch.tensor(respect)}
    if features is not None:
        extra["image_features"] = features
    method.observe(batch(values, **extra), Progress())
    method.finish(Progress())
    return method


def test_a_subspace_holds_what_sets_values_apart_and_nothing_else() -> None:
    projection = span_of(torch.tensor([[1.0, 0.0, 5.0], [0.0, 1.0, 5.0], [0.0, 0.0, 5.0]]))
    torch.testing.assert_close(projection, torch.diag(torch.tensor([1.0, 1.0, 0.0])), rtol=0, atol=1e-6)
    one = span_of(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), rank=1)
    torch.testing.assert_close(one @ one, one)
    torch.testing.assert_close(one.trace(), torch.tensor(1.0))
    method = fitted(subspace, VALUES, [2, 2, 2])
    assert method.respects_of(["the colour", "anything"]).tolist() == [2, 2], "unknown words go to the nearest"
    vectors = method.encode_about(batch().images, ["the colour"] * 3)
    torch.testing.assert_close(vectors @ method.projections[2], vectors)


def test_a_probe_compares_pictures_by_what_its_classifier_says() -> None:
    values = ("red", "blue") * 10
    rows = F.one_hot(torch.tensor([0, 1] * 10), 24).float()
    method = fitted(probe, values, [0] * 20, rows)
    method.encoder.image_states = lambda images: dataclasses.make_dataclass("S", ["features"])(rows[: len(images)])
    vectors = method.encode_about(batch(("red", "blue", "red")).images, ["the colour"] * 3)
    similar = vectors @ vectors.T
    assert similar[0, 2] > 0.99
    assert similar[0, 1] < 0.2
    assert not vectors[:, 2:].any(), "what is no value is never said"


def test_more_respects_or_values_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(DeixisError, match="more respects than 8"):
        fitted(subspace, ("red",), [8])
    method = made(probe, "tiny", values=1)
    method.observe(batch(("a", "b"), respect=torch.tensor([0, 0]), image_features=torch.zeros(2, 24)), Progress())
    with pytest.raises(DeixisError, match="A respect has 2 values"):
        method.finish(Progress())
