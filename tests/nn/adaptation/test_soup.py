"""A soup of equal models is the model; it lies between its models, and refuses what has no mean."""

import copy

import pytest
import torch
from torch import nn

import deixis
from deixis import zoo
from deixis.errors import DeixisError
from deixis.nn.adaptation.soup import soup


def _tuned(model: nn.Module, seed: int, size: float = 0.01) -> nn.Module:
    """The model, each weight moved a little."""
    generator = torch.Generator().manual_seed(seed)
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for value in moved.parameters():
            value += size * torch.randn(value.shape, generator=generator)
    return moved


def test_a_soup_of_equal_models_is_the_model() -> None:
    model = zoo.load("tiny")
    assert soup([model, copy.deepcopy(model), copy.deepcopy(model)]).fingerprint() == model.fingerprint()


def test_each_weight_is_the_weighted_mean() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    models = [_tuned(model, seed) for seed in range(3)]
    models[1][1].running_var += 2.0
    made = soup(models, [1.0, 2.0, 1.0])
    for name, value in made.state_dict().items():
        a, b, c = (each.state_dict()[name] for each in models)
        torch.testing.assert_close(value, (a + 2 * b + c) / 4 if value.is_floating_point() else a)
    assert torch.equal(soup(models, [0.0, 1.0, 0.0])[0].weight, models[1][0].weight)


def test_the_noise_of_runs_falls_as_they_are_averaged() -> None:
    """Where each run is the truth and noise of its own, the mean of nine is three times as near."""
    truth = nn.Linear(200, 50)
    runs = [_tuned(truth, seed) for seed in range(9)]
    away = [(each.weight - truth.weight).norm().item() for each in (soup(runs), runs[0])]
    assert away[1] / away[0] == pytest.approx(3, rel=0.05)


def test_models_are_left_as_they_were() -> None:
    model = nn.Linear(9, 9)
    models = [_tuned(model, seed) for seed in range(2)]
    before = [each.weight.clone() for each in models]
    soup(models)
    assert all(torch.equal(each.weight, old) for each, old in zip(models, before, strict=True))


def test_deixis_load_averages_several_models(tmp_path) -> None:
    model = zoo.load("tiny")
    folders = [tmp_path / str(seed) for seed in range(2)]
    for seed, folder in enumerate(folders):
        zoo.save(_tuned(model, seed), folder)
    made = deixis.load(folders)
    assert made.fingerprint() == soup([zoo.load(folder) for folder in folders]).fingerprint()
    images = torch.rand(2, 3, 32, 32)
    assert made.encode_image(images).shape == (2, made.width)


def test_models_that_began_elsewhere_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="fine-tuned from one model"):
        soup([nn.Linear(20, 20), nn.Linear(20, 20)])


@pytest.mark.parametrize(
    ("models", "weights", "said"),
    [
        ([], None, "A soup of 0 models"),
        ([nn.Linear(1, 1)], [1.0, 2.0], "the weights"),
        ([nn.Linear(1, 1)] * 2, [1.0, -1.0], "the weights"),
        ([nn.Linear(1, 1), nn.Linear(2, 1)], None, "Model 2 has another layout than model 1: weight of"),
    ],
)
def test_what_has_no_mean_is_refused(models, weights, said) -> None:
    with pytest.raises(DeixisError, match=said):
        soup(models, weights)
