"""Classes from few images: what is chosen by cross-validation and held out together, and what goes on when killed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis import zoo
from deixis.engine.fewshot import cost, few_shot, learners
from deixis.engine.fewshot.shots import Shots
from deixis.errors import DeixisError
from deixis.methods import cones, coop
from deixis.methods.baselines.zero_shot import class_vectors
from deixis.nn.dual import DualEncoder
from tests.prompting import clip_like
from tests.support import few

NAMES = ("heron", "ice cream", "bee", "fire_engine", "moon")
TEMPLATES = ("a photo of a {}.",)


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    return zoo.load("tiny")


@pytest.fixture(autouse=True)
def _fewer_penalties(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of what is tested here hangs on how many are tried."""
    monkeypatch.setattr(few_shot, "PENALTIES", (1e-3, 1.0))


def centres(encoder: DualEncoder) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(len(NAMES), encoder.width + encoder.feature_width, generator=generator)


def shots(encoder: DualEncoder, each: int = 4, noise: float = 1.0, seed: int = 1) -> Shots:
    """Images that scatter around a centre for each class, which the names know nothing of."""
    labels = torch.arange(each * len(NAMES)) % len(NAMES)
    generator = torch.Generator().manual_seed(seed)
    middle = centres(encoder)[labels]
    rows = middle + noise * torch.randn(middle.shape, generator=generator)
    embedding, features = rows.split([encoder.width, encoder.feature_width], dim=1)
    ids = tuple(f"{seed}-{i}" for i in range(len(labels)))
    return Shots(ids, labels, F.normalize(embedding, dim=1), features.contiguous())


def right(method: Any, asked: Shots) -> float:
    found = few_shot.logits(method, asked.embedding, asked.features).argmax(dim=1)
    return float((found == asked.labels).float().mean())


# what is offered


def test_all_that_classify_by_embeddings_or_features_are_offered_and_nothing_else() -> None:
    names = ["best_cell", "class_mean", "cocoop", "cones", "coop", "delta", "described", "gist", "kapt", "linear"]
    assert learners.offered() == [*names, "linear_joint", "mutual_prompt", "pre", "tip", "zero_shot"]
    assert learners.candidates() == ["zero_shot", "delta", "tip", "linear"]


@pytest.mark.parametrize(
    "name", few(["linear", "linear_joint", "tip", "delta", "coop", "cocoop", "pre"], "linear", "tip", "delta")
)
def test_each_method_learns_what_names_do_not_tell(name: str, encoder: DualEncoder) -> None:
    learned_from = shots(encoder, 4, noise=0.3)
    faster = {"learning_rate": 0.05, "epochs": 12} if learners.takes(name, "learning_rate") else {}
    method = few_shot.learn(name, encoder, NAMES, learned_from, overrides=faster)
    named = few_shot.learn("zero_shot", encoder, NAMES, learned_from)
    assert right(method, learned_from) > right(named, learned_from)


def test_zero_shot_asks_the_class_vectors_alone(encoder: DualEncoder) -> None:
    asked = shots(encoder)
    method = few_shot.learn("zero_shot", encoder, NAMES, asked, overrides={"templates": TEMPLATES})
    expected = encoder.scale * asked.embedding @ class_vectors(encoder, NAMES, TEMPLATES).T
    torch.testing.assert_close(few_shot.logits(method, asked.embedding, asked.features), expected)


def test_logits_in_pieces_are_those_of_all_at_once(encoder: DualEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = shots(encoder)
    method = few_shot.learn("delta", encoder, NAMES, asked, overrides={"penalty": 0.1})
    whole = few_shot.logits(method, asked.embedding, asked.features)
    monkeypatch.setattr(few_shot, "_CELLS", 3 * len(NAMES))
    torch.testing.assert_close(few_shot.logits(method, asked.embedding, asked.features), whole)
    assert few_shot.logits(method, asked.embedding[:0], asked.features[:0]).shape == (0, 5)


def test_what_learns_no_classes_is_refused_with_what_does(encoder: DualEncoder) -> None:
    with pytest.raises(DeixisError, match=r"residual learns no classes.*cocoop, cones, coop, delta"):
        few_shot.learn("residual", encoder, NAMES, shots(encoder))
    with pytest.raises(DeixisError, match="no method called 'cop'"):
        few_shot.learn("cop", encoder, NAMES, shots(encoder))
    with pytest.raises(DeixisError, match="classification needs at least two"):
        few_shot.learn("linear", encoder, NAMES[:1], shots(encoder).take([0, 5]))


def test_a_text_tower_that_takes_no_embeddings_is_refused_for_prompts_alone(encoder: DualEncoder) -> None:
    class Numbers(torch.nn.Module):
        width = encoder.width

        def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
            return F.normalize(torch.ones(len(tokens), self.width) + tokens[:, 1:2], dim=-1)

    parts = {"tokenizer": encoder.tokenizer, "preprocess": encoder.preprocess, "traits": encoder.traits}
    deaf = DualEncoder(encoder.image_tower, Numbers(), **parts)
    few_shot.learn("linear", deaf, NAMES, shots(encoder), overrides={"penalty": 0.1})
    with pytest.raises(DeixisError, match=r"Prompts can't be learned .* linear, tip"):
        few_shot.learn("coop", deaf, NAMES, shots(encoder))


# cross-validation


def test_the_penalty_is_the_one_that_explains_held_out_images_best(
    encoder: DualEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_shot, "PENALTIES", (1e-3, 1e-1, 1.0))
    some = shots(encoder, 3, noise=2.0)
    losses = {}
    for penalty in few_shot.PENALTIES:
        losses[penalty] = 0.0
        for part in few_shot._parts(some, 0):
            own = {"penalty": penalty, "iterations": few_shot._ITERATIONS}
            method = few_shot.learn("linear", encoder, NAMES, some.take(part.train), overrides=own)
            held = some.take(part.test)
            found = few_shot.logits(method, held.embedding, held.features)
            losses[penalty] += float(F.cross_entropy(found.double(), held.labels, reduction="sum"))
    assert len(set(losses.values())) == 3
    method = few_shot.learn("linear", encoder, NAMES, some)
    assert method.config.penalty == min(losses, key=losses.__getitem__)
    told = few_shot.learn("linear", encoder, NAMES, some, overrides={"penalty": 0.5})
    assert told.config.penalty == 0.5


def test_each_fold_holds_out_some_of_every_class_and_together_they_hold_out_all(encoder: DualEncoder) -> None:
    some = shots(encoder, 5)
    parts = few_shot._parts(some, 0)
    assert sorted(i for part in parts for i in part.test) == list(range(25))
    for part in parts:
        assert sorted(some.labels[list(part.test)].tolist()) == [0, 1, 2, 3, 4]
        assert not set(part.train) & set(part.test)


def test_a_class_with_one_image_is_always_learned_from_and_never_asked_about(encoder: DualEncoder) -> None:
    some = shots(encoder, 4).take([0, 1, 5, 6, 7, 2, 10, 11, 12])  # of the classes 0 1 0 1 2 2 0 1 2
    some = dataclasses.replace(some, labels=torch.tensor([0, 1, 0, 1, 2, 3, 0, 1, 2]))
    parts = few_shot._parts(some, 0)
    assert parts
    assert all(5 in part.train and 5 not in part.test for part in parts)


@pytest.mark.parametrize("how", ["views", "groups"])
def test_views_and_images_of_one_group_are_held_out_together(encoder: DualEncoder, how: str) -> None:
    some = shots(encoder, 6)
    twins = {i: i + 5 if i % 10 < 5 else i - 5 for i in range(30)}  # of the same class, each
    names = tuple(f"{min(i, twins[i])}#{i}" if how == "views" else str(i) for i in range(30))
    groups = () if how == "views" else tuple(min(i, twins[i]) for i in range(30))
    some = dataclasses.replace(some, ids=names, groups=groups)
    for part in few_shot._parts(some, 0):
        assert {twins[i] for i in part.test} == set(part.test)


# auto


def test_auto_keeps_to_the_names_where_they_are_right(encoder: DualEncoder) -> None:
    vectors = class_vectors(encoder, NAMES, TEMPLATES)
    labels = torch.arange(20) % 5
    ids = tuple(map(str, range(20)))
    pick = few_shot.choose(encoder, NAMES, Shots(ids, labels, vectors[labels], torch.randn(20, encoder.feature_width)))
    assert pick.method == "zero_shot"
    assert pick.accuracy["zero_shot"] == 1.0
    assert pick.why.startswith("zero_shot named 100.0% of 20 images rightly that were held out, over 4 folds")


def test_auto_learns_where_the_names_are_wrong_and_gives_the_reason_in_numbers(encoder: DualEncoder) -> None:
    some = shots(encoder, 4, noise=0.5)
    pick = few_shot.choose(encoder, NAMES, some)
    assert pick.accuracy[pick.method] == max(pick.accuracy.values()) > pick.accuracy["zero_shot"]
    assert all(f"{name} {value:.1%}" in pick.why for name, value in pick.accuracy.items() if name != pick.method)


def test_one_image_a_class_can_choose_nothing_and_delta_is_taken(encoder: DualEncoder) -> None:
    pick = few_shot.choose(encoder, NAMES, shots(encoder, 1))
    assert (pick.method, pick.accuracy) == ("delta", {})
    assert "5 of 5 classes have one image" in pick.why
    learned, choice = cost.learn_resumed("auto", encoder, NAMES, shots(encoder, 1), {}, 0)
    assert type(learned).__module__.endswith("delta")
    assert choice == pick


def test_a_setting_that_no_candidate_has_is_named(encoder: DualEncoder) -> None:
    with pytest.raises(DeixisError, match="chosen from has a setting 'vectors'"):
        few_shot.choose(encoder, NAMES, shots(encoder), overrides={"vectors": 4})


# training


@pytest.mark.parametrize(
    ("count", "classes", "told", "expected"),
    [
        (10, 10, False, (10, 50)),
        (160, 10, False, (32, 250)),
        (1600, 100, False, (267, 300)),
        (1600, 100, True, (32, 2500)),
        (160_000, 10_000, False, (1677, 300)),  # as many as fit into memory
    ],
)
def test_epochs_become_batches_of_32_and_at_most_300_steps_unless_they_are_told(
    count: int, classes: int, told: bool, expected: tuple[int, int]
) -> None:
    size, steps = few_shot._length(50, count, classes, told)
    assert (size, steps) == expected
    assert size * steps <= 50 * count + steps  # never more images than the epochs hold


def test_training_that_was_interrupted_ends_with_the_same_vectors(
    encoder: DualEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, some, path = clip_like(), shots(encoder), tmp_path / "training.safetensors"
    straight = few_shot.learn("coop", encoder, NAMES, some, overrides={"epochs": 6})
    plain, steps = coop.Method.loss, []

    def cut(self: Any, features: Any, batch: Any, progress: Any) -> Any:
        steps.append(progress.step)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return plain(self, features, batch, progress)

    monkeypatch.setattr(coop.Method, "loss", cut)
    with pytest.raises(KeyboardInterrupt):
        few_shot.learn("coop", encoder, NAMES, some, overrides={"epochs": 6}, checkpoint=path)
    again = few_shot.learn("coop", encoder, NAMES, some, overrides={"epochs": 6}, checkpoint=path)
    assert steps == [0, 1, 2, 3, 3, 4, 5]
    assert torch.equal(again.context, straight.context)


def test_stages_are_trained_one_after_the_other_and_each_resumes(
    encoder: DualEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some, path = shots(encoder), tmp_path / "training.safetensors"
    settings = {"second": ("adapter",), "epochs": 8}
    straight = few_shot.learn("cones", encoder, NAMES, some, overrides=settings)
    alone = few_shot.learn("cones", encoder, NAMES, some, overrides={"epochs": 4, "optim": straight.config.optim})
    torch.testing.assert_close(straight.table(), alone.table())  # the second stage moves the layers alone
    assert straight.adapter.weight.abs().sum() > 0
    plain, steps = cones.Method.loss, []

    def cut(self: Any, features: Any, batch: Any, progress: Any) -> Any:
        steps.append((progress.stage, progress.step))
        if len(steps) == 7:
            raise KeyboardInterrupt
        return plain(self, features, batch, progress)

    monkeypatch.setattr(cones.Method, "loss", cut)
    with pytest.raises(KeyboardInterrupt):
        few_shot.learn("cones", encoder, NAMES, some, overrides=settings, checkpoint=path)
    again = few_shot.learn("cones", encoder, NAMES, some, overrides=settings, checkpoint=path)
    assert steps == [
        *(("concepts", step) for step in range(4)),
        *(("layers", step) for step in (0, 1, 2, 2, 3)),
    ]
    assert torch.equal(again.adapter.weight, straight.adapter.weight)
    assert list(tmp_path.iterdir()) == [path]


def test_a_forecast_tries_a_step_with_few_classes_and_multiplies(
    encoder: DualEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    plain = few_shot.build

    def counted(name: str, encoder: Any, names: Any, *rest: Any) -> Any:
        built.append(len(names))
        return plain(name, encoder, names, *rest)

    monkeypatch.setattr(few_shot, "build", counted)
    assert few_shot.forecast("coop", encoder, [f"thing {i}" for i in range(10_000)], 100) > 0
    assert few_shot.forecast("auto", encoder, [f"thing {i}" for i in range(10_000)], 100) > 0
    assert max(built) == 64
