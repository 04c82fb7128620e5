"""Low-rank changes: nothing when new, and only they train."""

from __future__ import annotations

import copy

import torch
from torch import nn

from deixis import zoo
from deixis.nn.adaptation.lora import add_low_rank, low_rank_changes


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, groups=6), nn.Flatten(), nn.Linear(96, 8), nn.Linear(8, 2)
    )


def test_a_new_one_changes_nothing() -> None:
    plain, images = network(), torch.rand(2, 3, 8, 8)
    changed = copy.deepcopy(plain)
    add_low_rank(changed, 2)
    assert torch.equal(changed(images), plain(images))


def test_every_linear_layer_and_ungrouped_convolution_gets_one_if_the_rank_saves_anything() -> None:
    changed = network()
    added = add_low_rank(changed, 2)
    assert {name.split(".")[0] for name in added} == {"0", "3"}, "grouped, or no side larger than the rank: left out"
    assert {name for name, _ in changed.named_parameters()} >= set(added)


def test_the_change_is_the_product_and_has_its_rank() -> None:
    changed = network()
    for name in add_low_rank(changed, 2):
        nn.init.normal_(changed.get_parameter(name))
    changes = low_rank_changes(changed)
    low = changed[3].parametrizations.weight[0]
    torch.testing.assert_close(changes["3.weight"], low.up @ low.down)
    assert torch.linalg.matrix_rank(changes["0.weight"].flatten(1)) == 2


def test_adding_the_changes_to_the_plain_weights_gives_the_changed_network() -> None:
    plain, images = network(), torch.rand(2, 3, 8, 8)
    changed = copy.deepcopy(plain)
    for name in add_low_rank(changed, 2):
        nn.init.normal_(changed.get_parameter(name))
    state = plain.state_dict()
    for name, change in low_rank_changes(changed).items():
        state[name] += change
    torch.testing.assert_close(plain(images), changed(images))


def test_both_towers_of_a_model_take_it() -> None:
    model = zoo.load("tiny")
    texts = model.tokenize(["a red bird"])
    before = model.encode_text(texts)
    assert add_low_rank(model.text_tower, 2)
    assert add_low_rank(model.image_tower, 2)
    torch.testing.assert_close(model.encode_text(texts), before)
