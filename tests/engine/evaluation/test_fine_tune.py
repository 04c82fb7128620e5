"""Fine-tuning on a few labels, beside a linear classifier of the frozen features of the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deixis import zoo
from deixis.apps.eval.image_encoders import WhitenedModel
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.output import Column
from deixis.engine.evaluation.protocols import fine_tune
from deixis.engine.evaluation.selection import select
from deixis.errors import DeixisError
from deixis.types import Sample
from tests.engine.evaluation.test_protocols import OPTIONS, SILENT, data_of, mean, run


@dataclasses.dataclass(frozen=True)
class Tinted:
    """A square of one colour: red tells the class, green and blue tell nothing."""

    name: str
    red: bool

    def draw(self) -> Any:
        rng = np.random.default_rng(int(self.name))
        colour = np.array([200 if self.red else 50, *rng.integers(0, 256, 2)], dtype=np.uint8)
        return np.broadcast_to(colour, (32, 32, 3)).copy()


class Reading:
    """Pixels from -1 to 1."""

    size = 32

    def read(self, pictures: Sequence[Any], threads: int = 1) -> Tensor:
        return torch.stack([torch.from_numpy(each.draw()).permute(2, 0, 1) / 127.5 - 1 for each in pictures])


class BlindToRed(nn.Module):
    """A tower whose weights read green and blue alone, and can learn to read red."""

    preprocess = Reading()

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) @ self.weight.T


class Mean(nn.Module):
    """The mean colour: a tower without weights."""

    preprocess = Reading()

    def encode_image(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def samples(count: int = 60) -> list[Sample]:
    return [Sample(f"{i:03}", Tinted(f"{i}", i % 2 == 0), label=("blue", "red")[i % 2 == 0]) for i in range(count)]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, values in (("_RATES", (0.1,)), ("_DECAYS", (0.05,)), ("_STEPS", (20,)), ("_BATCH", 8)):
        monkeypatch.setattr(fine_tune, name, values)


@pytest.mark.usefixtures("short")
def test_fine_tuning_learns_what_frozen_features_do_not_hold_and_leaves_the_model_as_it_is() -> None:
    tower, options = BlindToRed(), dataclasses.replace(OPTIONS, labels=(0.5, 3), draws=2)
    before = tower.weight.detach().clone()
    found = run("fine-tune", EvalModel("blind", tower), data_of(samples()), options)
    assert [column.condition for column in found.arms[""]] == ["3", "3", "50%", "50%"]
    assert mean(found, "fine_tuned", "50%") > 0.9
    assert mean(found, "frozen", "50%") < 0.8, "green and blue say nothing"
    assert torch.equal(tower.weight, before)
    assert not tower.weight.grad
    assert [len(each) for each in found.facts["draws"]["3"].values()] == [2, 2]
    assert any(note.startswith("3 labels: fine-tuned ") and note.count(" ± ") == 2 for note in found.notes)
    again = run("fine-tune", EvalModel("blind", tower), data_of(samples()), options)
    assert again.facts["draws"] == found.facts["draws"]


def test_what_has_no_weights_and_what_is_whitened_has_a_classifier_alone() -> None:
    inner = EvalModel("blind", BlindToRed())
    for model in (EvalModel("mean", Mean()), WhitenedModel("white", inner, 2)):
        found = run("fine-tune", model, data_of(samples()), dataclasses.replace(OPTIONS, draws=1))
        assert {column.metric for column in found.arms[""]} == {"frozen"}
        assert any("nothing of it is fine-tuned" in note for note in found.notes)


def test_draws_of_few_labels_begin_those_of_many_and_none_is_of_validation_or_test() -> None:
    plan = fine_tune.prepare(data_of(samples()), dataclasses.replace(OPTIONS, labels=(100, 2, 5, 50)), SILENT)
    assert list(plan.draws) == ["2", "5", "50"], "100 would be the same images as 50"
    for few, more, every in zip(*plan.draws.values(), strict=True):
        assert set(few) < set(more) < set(every) == set(plan.split.train)
    assert len({frozenset(each) for each in plan.draws["5"]}) == OPTIONS.draws
    assert not set(plan.split.train) & {*plan.split.validation, *plan.split.test}
    assert any("2 classes have fewer images than 100" in note for note in plan.notes)


def test_one_label_of_a_class_is_refused_before_any_work() -> None:
    for wrong, message in (
        ({"labels": (5, 1)}, "1 labelled images of each class are requested.*Give 2 or more"),
        ({"labels": ()}, "0 labelled images"),
        ({"draws": 0}, "0 draws"),
    ):
        with pytest.raises(DeixisError, match=message):
            fine_tune.prepare(data_of(samples()), dataclasses.replace(OPTIONS, **wrong), SILENT)
    split = ["train", "val", "val", "test", "test", "test"]
    single = [dataclasses.replace(each, split=split[i // 2]) for i, each in enumerate(samples(12))]
    with pytest.raises(DeixisError, match="Each of the 2 classes has one image to learn from"):
        fine_tune.prepare(data_of(single), OPTIONS, SILENT)


def test_it_runs_only_where_it_is_named_even_among_encoders() -> None:
    selection = select(data_of(samples()), [EvalModel("blind", BlindToRed())], slow=True)
    assert "fine-tune" not in selection.models
    assert selection.reasons["fine-tune"] == "takes hours; name it: --protocol fine-tune"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "scratch:resnet:tiny:32"])
def test_towers_with_and_without_words_are_fine_tuned(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine_tune, "_STEPS", (20,))
    model: Any = zoo.load(name) if name == "tiny" else zoo.load_part("image_tower", name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = run("fine-tune", EvalModel(name, model), data_of(samples(80)), dataclasses.replace(OPTIONS, draws=1))
    assert mean(found, "fine_tuned", "20") > 0.9
    assert set(found.arms[""]) >= {Column("frozen", "5"), Column("fine_tuned", "20")}
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
