"""DenseCLIP: golden vectors of pool, score map and box loss; and pixels that are matched with texts."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.errors import DeixisError
from deixis.methods.denseclip import (
    IGNORED,
    auxiliary_loss,
    box_loss,
    box_targets,
    label_map,
    poly_rate,
    score_map,
)
from deixis.nn.dense.attention_pool import pool_everywhere
from deixis.nn.dense.class_contexts import ClassContexts
from deixis.nn.layers.context_decoder import ContextDecoder
from deixis.nn.vision.modified_resnet import AttentionPool
from deixis.types import Batch, Progress
from deixis.zoo import scratch
from tests.clip_golden import assert_gradient, close, stored, text_tower
from tests.nn.layers.test_context_decoder import ours
from tests.support import load_golden

_POOL = {"q": "query", "k": "key", "v": "value", "out": "out"}


def _pool(golden: dict[str, Tensor], positions: str) -> AttentionPool:
    """The stored pool."""
    places, width = golden[f"param.pool.{positions}"].shape
    pool = AttentionPool(places - 1, width, int(golden["cfg.heads"]), len(golden["param.pool.out.bias"]))
    state = {"positions": golden[f"param.pool.{positions}"]}
    for theirs, own in _POOL.items():
        state |= {f"attention.{own}.{kind}": golden[f"param.pool.{theirs}.{kind}"] for kind in ("weight", "bias")}
    pool.double().load_state_dict(state)
    return pool


@pytest.mark.golden
def test_the_pool_on_all_positions_is_the_authors_with_resized_and_with_cut_positions() -> None:
    golden = load_golden("denseclip_attnpool")
    pool, features = _pool(golden, "pos"), golden["in.features"].double().requires_grad_()
    whole, cells = pool_everywhere(pool, features)
    scalar = (whole * golden["in.cotangent_global"]).sum() + (cells * golden["in.cotangent_map"]).sum()
    scalar.backward()
    cut = pool_everywhere(_pool(golden, "pos_det"), golden["in.features_det"].double(), "cut")
    found = {"out.global_feature": whole, "out.feature_map": cells, "out.scalar": scalar}
    found |= {"out.global_feature_det": cut[0], "out.feature_map_det": cut[1]}
    for key, value in found.items():
        close(value, golden[key], key)
    gradients = {"features": features.grad, "pool.pos": pool.positions.grad}
    for theirs, own in _POOL.items():
        part = getattr(pool.attention, own)
        gradients |= {f"pool.{theirs}.weight": part.weight.grad, f"pool.{theirs}.bias": part.bias.grad}
    compared = {assert_gradient(golden, name, value) for name, value in gradients.items() if value is not None}
    assert compared | set(found) == stored(golden)


@pytest.mark.golden
def test_contexts_decoder_scores_and_both_means_of_their_loss_are_the_authors() -> None:
    golden = load_golden("denseclip_score")
    width, vocabulary = golden["param.text.proj"].shape[1], len(golden["param.text.token_embedding"])
    sizes = {"vocab_size": vocabulary, "embed_dim": width, "context_length": len(golden["param.text.pos"])}
    tower = text_tower({**golden, **{f"cfg.{name}": torch.tensor(value) for name, value in sizes.items()}})
    rows = [row[: row.index(int(golden["cfg.eot_id"])) + 1] for row in golden["in.token_ids"].tolist()]
    contexts = ClassContexts(rows, 1, golden["param.contexts"][0].double())
    names = {key.removeprefix("param.decoder."): key for key in golden if key.startswith("param.decoder.")}
    inner = len(golden["param.decoder.memory.fc.bias"])
    decoder = ContextDecoder(width, inner, int(golden["cfg.decoder_heads"]), int(golden["cfg.decoder_layers"]))
    decoder.double().load_state_dict({ours(name): golden[key] for name, key in names.items()})
    image, whole, gamma = (
        golden[key].double().requires_grad_() for key in ("in.feature_map", "in.global_feature", "param.gamma")
    )

    texts = contexts(tower)
    memory = torch.cat([whole[:, None], image.flatten(2).transpose(1, 2)], dim=1)
    residual = decoder(texts.expand(len(memory), -1, -1), memory)
    refined = texts + gamma * residual
    scores = score_map(image, refined)
    labels = golden["in.labels"].where(golden["in.labels"] != golden["cfg.ignore_index"], IGNORED)
    weight, logits = float(golden["cfg.aux_weight"]), scores / float(golden["cfg.tau"])
    loss = weight * auxiliary_loss(logits, labels)
    loss.backward()

    found = {
        "out.text_embeddings": texts,
        "out.text_residual": residual,
        "out.text_refined": refined,
        "out.score_map": scores,
        "out.aux_loss": loss,
        "out.aux_loss_mean_over_valid": weight * auxiliary_loss(logits, labels, "valid"),
        "out.decoder_input_channels": torch.tensor(scores.shape[1]),
    }
    for key, value in found.items():
        close(value, golden[key], key)
    parameters = dict(decoder.named_parameters())
    assert contexts.vectors.grad is not None
    gradients = {f"decoder.{name}": parameters[ours(name)].grad for name in names}
    gradients |= {"contexts": contexts.vectors.grad[None], "gamma": gamma.grad}
    gradients |= {"feature_map": image.grad, "global_feature": whole.grad}
    compared = {assert_gradient(golden, name, value) for name, value in gradients.items() if value is not None}
    assert compared | set(found) == stored(golden)


@pytest.mark.golden
def test_filled_boxes_and_the_loss_inside_of_them_are_the_authors() -> None:
    golden = load_golden("denseclip_boxloss")
    image, texts = (golden[key].double().requires_grad_() for key in ("in.feature_map", "in.text"))
    height, width = int(golden["cfg.image_height"]), int(golden["cfg.image_width"])
    owners, size = golden["in.box_image"], (height // 4, width // 4)
    most = int(torch.bincount(owners).max())
    boxes, classes = torch.zeros(len(image), most, 4), torch.full((len(image), most), -1)
    for row in range(len(image)):
        own = owners == row
        boxes[row, : int(own.sum())], classes[row, : int(own.sum())] = (
            golden["in.boxes"][own],
            golden["in.box_labels"][own],
        )
    coarse = score_map(image, texts) / float(golden["cfg.tau"])
    target, mask = box_targets(boxes, classes, int(golden["cfg.n_classes"]), size)
    loss = box_loss(coarse, target, mask)
    loss.backward()
    fine = torch.nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=False)
    found = {"out.score_map_coarse": coarse, "out.score_map_fine": fine, "out.loss": loss}
    for key, value in found.items():
        close(value, golden[key], key)
    for key, value in {"out.target": target, "out.mask": mask}.items():
        assert torch.equal(value.to(torch.uint8), golden[key])
        found[key] = value
    compared = {
        assert_gradient(golden, name, value)
        for name, value in {"feature_map": image.grad, "text": texts.grad}.items()
        if value is not None
    }
    assert compared | set(found) == stored(golden)


def test_a_box_never_fills_the_last_row_or_column_as_released() -> None:
    target, mask = box_targets(
        torch.tensor([[[0.0, 0.0, 16.0, 16.0], [0.0, 0.0, 9.0, 7.9]]]), torch.tensor([[0, 1]]), 2, (4, 4)
    )
    assert target[0, 0].long().tolist() == [[1, 1, 1, 0]] * 3 + [[0] * 4]
    assert target[0, 1].long().tolist() == [[1, 1, 0, 0]] + [[0] * 4] * 3
    assert torch.equal(mask[0, 0], target[0, 0])


def test_of_things_that_overlap_the_smallest_has_the_pixel() -> None:
    small, large = torch.zeros(2, 2, dtype=torch.bool), torch.ones(2, 2, dtype=torch.bool)
    small[0, 0] = True
    for order in ([0, 1], [1, 0]):
        masks, classes = torch.stack([small, large])[order][None], torch.tensor([[3, 4]])[:, order]
        assert label_map(masks, classes, 0)[0].tolist() == [[3, 4], [4, 4]]
    assert label_map(small[None, None], torch.tensor([[IGNORED]]), 0)[0].tolist() == [[IGNORED, 0], [0, 0]]


def test_the_rate_falls_by_a_power_behind_a_linear_rise() -> None:
    rates = [poly_rate(step, 10, 2, 0.0, 0.5, 0.0) for step in (0, 1, 5, 10)]
    assert rates == pytest.approx([0.0, 0.9**0.5 / 2, 0.5**0.5, 0.0])


NAMES = ("square", "heart", "moon")


@functools.cache
def _encoder(image: str, side: int) -> Any:
    return scratch.build(["a square , a heart and a moon . background"], "tiny", side, 0, "transformer", image)


def _method(image: str = "vit", side: int = 32, **settings: Any) -> Any:
    settings = {"names": NAMES, "layers": (0, 0, 0, 0) if image == "vit" else (), **settings}
    return engine.build("denseclip", "tiny", settings, {"encoder": _encoder(image, side)}, seed=1)


def _batch(**changes: Any) -> Batch:
    """Two pictures; the first shows a heart, left above, and something unknown over the right half."""
    masks = torch.zeros(2, 2, 32, 32, dtype=torch.bool)
    masks[0, 0, :16, :16], masks[0, 1, :, 24:] = True, True
    boxes = torch.tensor([[[0, 0, 0.5, 0.5], [0.5, 0, 1, 1]], [[0, 0, 0, 0]] * 2]).float()
    valid = {"T": torch.tensor([[True, True], [False, False]])}
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    fields: dict[str, Any] = {"images": images, "phrases": (("the red heart", "a tree"), ()), "boxes": boxes}
    return Batch(ids=("a", "b"), valid=valid, **{**fields, "masks": masks, **changes})


def test_pixels_of_no_mask_are_background_of_an_unknown_thing_ignored_and_a_missing_mask_is_its_box() -> None:
    labels = _method().labels(_batch())
    assert labels[0, :16, :16].unique().tolist() == [2]
    assert labels[0, :, 24:].unique().tolist() == [IGNORED]
    assert labels[0, 16:, :24].unique().tolist() == [0]
    assert labels[1].unique().tolist() == [0]
    without = _batch()
    assert without.masks is not None
    missing = dataclasses.replace(without, masks=without.masks & torch.tensor([[[[False]], [[True]]]]))
    assert _method().labels(missing)[0, :16, :16].unique().tolist() == [IGNORED]
    assert _method(background="").labels(_batch())[1].unique().tolist() == [IGNORED]
    assert _method(supervision="boxes").labels(_batch())[0, 0, 20].item() == IGNORED


@pytest.mark.parametrize("image", ["vit", "resnet"])
def test_with_a_closed_gate_the_classes_are_the_texts_whatever_the_image(image: str) -> None:
    method = _method(image, gamma=0.0)
    states = method.dense(method.tower, torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(method.refined(states), method.texts().expand(2, -1, -1))
    states = method.dense(method.tower, torch.randn(1, 3, 64, 96))
    assert [tuple(each.shape[2:]) for each in states.maps][-1] == tuple(states.cells.shape[2:])


def test_a_transformer_of_clip_says_of_its_own_size_what_the_encoder_says() -> None:
    method, images = _method("vit"), torch.randn(2, 3, 32, 32)
    states, encoder = method.dense(method.tower, images), method.encoder
    torch.testing.assert_close(states.whole, encoder.image_tower.embed(images)[0])
    torch.testing.assert_close(states.cells.flatten(2).transpose(1, 2), encoder.image_tower.tokens(images).states)
    twice = _method("vit", class_twice=True)
    assert not torch.allclose(twice.dense(twice.tower, images).cells, states.cells)


def test_a_resnet_of_clip_says_of_the_whole_what_the_encoder_says() -> None:
    method, images = _method("resnet"), torch.randn(2, 3, 32, 32)
    whole = method.dense(method.tower, images).whole
    torch.testing.assert_close(whole, method.encoder.image_tower.embed(images)[0])


_FORMS: tuple[dict[str, Any], ...] = (
    {"supervision": "boxes"},
    {"classes": "random"},
    {"classes": "head"},
    {"classes": "none"},
    {"where": "before"},
    {"where": "off", "learned": False, "words": "a heart"},
)


@pytest.mark.parametrize("settings", _FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_each_form_trains_all_that_it_says_it_trains_and_names_every_pixel(settings: dict[str, Any]) -> None:
    method, batch = _method(**settings), _batch()
    stage = method.stages()[0]
    chosen = engine.enter(method, stage)
    method(batch, Progress()).total.backward()
    assert [name for name, value in chosen.items() if value.grad is None] == []
    assert any(name.startswith("encoder.image_tower.") for name in chosen)
    assert not any(name.startswith("encoder.text_tower.") for name in chosen)
    chances = method.eval().segment(torch.randn(2, 3, 32, 32))
    assert chances.shape == (2, 4, 32, 32)
    torch.testing.assert_close(chances.sum(1), torch.ones(2, 32, 32))


def test_any_tower_gets_an_attention_pool_of_its_own_behind_its_last_map() -> None:
    tower = scratch.image_half("tiny", 32, "resnet", seed=5)
    parts = {"encoder": _encoder("vit", 32), "encoder_tower": tower}
    method: Any = engine.build("denseclip", "tiny", {"names": NAMES}, parts, seed=1)
    chosen = engine.enter(method, method.stages()[0])
    method(_batch(), Progress()).total.backward()
    assert {"dense.pool.positions", "encoder_tower.network.conv1.weight"} <= set(chosen)
    assert not any(name.startswith("encoder.") for name in chosen)
    assert [name for name, value in chosen.items() if value.grad is None] == []


def test_one_class_without_a_background_and_a_block_that_is_not_there_are_refused() -> None:
    with pytest.raises(DeixisError, match="There is 1 class"):
        _method(names=("heart",), background="")
    with pytest.raises(DeixisError, match="the tower has 1"):
        _method(layers=(0, 0, 0, 7))
    with pytest.raises(DeixisError, match="makes a text of"):
        _method(names=("heart " * 60, "moon"))
