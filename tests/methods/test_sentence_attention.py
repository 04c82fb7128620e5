"""Sentence Attention Blocks compute what the authors' model file does; the rivals have as many weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import deixis
from deixis import engine
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.methods import sentence_attention
from deixis.methods.sentence_attention import (
    AnswerPyramid,
    Config,
    InputNorm,
    MergeBlock,
    SentenceFilm,
    SentenceGate,
    SqueezeGate,
    TiledSentence,
    answer_pixels,
    hidden_width,
)
from deixis.types import Batch, Detections, Progress
from tests.commands import own_cache
from tests.support import Recorded, load_golden

G = torch.Generator().manual_seed(0)
KINDS = ("gate", "film", "squeeze", "tiled", "none")


def close(found: Tensor, stored: Tensor) -> None:
    torch.testing.assert_close(found, stored, rtol=1e-9, atol=1e-11)


def gradients_are_stored(golden: Recorded, loss: Tensor, given: dict[str, Tensor]) -> None:
    grads = torch.autograd.grad(loss, list(given.values()))
    for name, grad in zip(given, grads, strict=True):
        close(grad, golden[f"grad.{name}"])


@pytest.mark.golden
def test_a_gate_and_its_gradients_are_the_authors() -> None:
    golden = Recorded(load_golden("sab_block"))
    width, channels = golden["in.sentence"].shape[1], golden["in.feature_map"].shape[1]
    gate = SentenceGate(width, channels, int(golden["cfg.expansion"]) * width).double()
    assert isinstance(gate.norm, torch.nn.LayerNorm)
    assert gate.norm.eps == float(golden["cfg.layer_norm_eps"])
    gate.load_state_dict({name: golden[f"param.{name}"] for name in gate.state_dict()})
    given = {f"in.{name}": golden[f"in.{name}"].requires_grad_() for name in ("feature_map", "sentence")}
    found = gate(given["in.feature_map"], given["in.sentence"])
    close(found, golden["out.feature_map"])
    close(gate.gate(given["in.sentence"]), golden["out.gate"])
    loss = (found * golden["in.cotangent"]).sum()
    gradients_are_stored(golden, loss, given | {f"param.{n}": p for n, p in gate.named_parameters()})
    assert golden.read == set(golden)


@pytest.mark.golden
def test_the_pyramid_in_both_modes_and_its_gradients_are_the_authors() -> None:
    golden = Recorded(load_golden("sab_pyramid"))
    names = [f"in.map_{level}" for level in range(int(golden["cfg.num_levels"]))]
    channels = [golden[name].shape[1] for name in names]
    config = dataclasses.replace(Config.tiny(), expansion=4, dropout=0.0)
    pyramid = AnswerPyramid(channels, golden["in.sentence"].shape[1], config).double()
    state = pyramid.state_dict()
    counted = [name for name in state if name.endswith("num_batches_tracked")]  # which is not stored
    pyramid.load_state_dict({n: state[n] if n in counted else golden[f"param.{n}"] for n in state})
    merge = pyramid.merge[0]
    assert isinstance(merge, MergeBlock)
    assert (merge.norm.eps, golden["cfg.layer_norm_eps"]) == (float(golden["cfg.batch_norm_eps"]), 1e-5)
    given = {name: golden[name].requires_grad_() for name in (*names, "in.sentence")}
    size = (int(golden["cfg.out_height"]), int(golden["cfg.out_width"]))
    maps = [given[name] for name in names]
    close(pyramid.eval()(maps, given["in.sentence"], size), golden["out.logits_eval_mode"])
    logits = pyramid.train()(maps, given["in.sentence"], size)
    close(logits, golden["out.logits_train_mode"])
    loss = (logits * golden["in.cotangent"]).sum()
    gradients_are_stored(golden, loss, given | {f"param.{n}": p for n, p in pyramid.named_parameters()})
    assert golden.read == set(golden)


def test_a_softmax_gate_sums_to_one_a_sigmoid_gate_does_not_and_the_image_has_no_part_in_it() -> None:
    sentence = torch.randn(3, 6, generator=G)
    soft, sharp = SentenceGate(6, 5, 12), SentenceGate(6, 5, 12, "sigmoid", norm=False)
    torch.testing.assert_close(soft.gate(sentence).sum(-1), torch.ones(3))
    assert not torch.allclose(sharp.gate(sentence).sum(-1), torch.ones(3), atol=0.05)
    cells = torch.rand(3, 5, 2, 2, generator=G) + 1
    torch.testing.assert_close(soft(2 * cells, sentence) / cells, 2 * soft(cells, sentence) / cells)


def test_the_rivals_do_what_they_are_called() -> None:
    cells, sentence = torch.randn(2, 3, 2, 4, generator=G), torch.randn(2, 6, generator=G)
    film, squeeze, tiled = SentenceFilm(6, 3, 5), SqueezeGate(6, 3, 5), TiledSentence(6, 3, 5)
    with torch.no_grad():
        scale, shift = film.project(F.relu(film.norm(film.expand(sentence)))).chunk(2, dim=1)
        torch.testing.assert_close(
            film(cells, sentence)[1, 2, 0, 3], cells[1, 2, 0, 3] * (1 + scale[1, 2]) + shift[1, 2]
        )
        factor = squeeze.gate(torch.cat([cells.mean((2, 3)), sentence], dim=1))
        torch.testing.assert_close(squeeze(cells, sentence)[0, 1, 1, 2], cells[0, 1, 1, 2] * factor[0, 1])
        both = torch.cat([cells[1, :, 1, 1], sentence[1]])
        hidden = F.relu(tiled.enter.weight[:, :, 0, 0] @ both + tiled.enter.bias)
        expected = tiled.leave.weight[:, :, 0, 0] @ hidden + tiled.leave.bias
        torch.testing.assert_close(tiled(cells, sentence)[1, :, 1, 1], expected)


@pytest.mark.parametrize("maps", ["all", "last"])
def test_all_ways_to_act_on_the_maps_have_as_many_weights(maps: Any) -> None:
    channels = (16, 24, 40)

    def weights(kind: Any) -> int:
        config = dataclasses.replace(Config.desk(), conditioning=kind, maps=maps)
        return sum(value.numel() for value in AnswerPyramid(channels, 48, config).gate.parameters())

    counts = {kind: weights(kind) for kind in KINDS}
    assert counts["none"] == 0
    for kind in ("film", "squeeze", "tiled"):
        assert counts[kind] == pytest.approx(counts["gate"], rel=0.01)
    assert hidden_width("film", 2, 100, 1) == 1


def test_a_coarser_map_is_brought_to_the_size_of_the_finer_whatever_that_is() -> None:
    merge = MergeBlock(3, 2).eval()
    coarse, fine = torch.randn(1, 3, 2, 2, generator=G), torch.randn(1, 2, 5, 3, generator=G)
    up = F.interpolate(merge.norm(merge.conv(coarse)), (5, 3), mode="bilinear", align_corners=False)
    assert torch.equal(merge(coarse, fine), F.relu(up + fine))


def test_the_input_norm_is_torchs_and_remembers_what_it_saw() -> None:
    ours, theirs = InputNorm(), torch.nn.InstanceNorm2d(3, track_running_stats=True)
    for _ in range(2):
        images = 3 * torch.rand(4, 3, 6, 5, generator=G) + 1
        torch.testing.assert_close(ours(images), theirs(images))
    images = torch.rand(2, 3, 6, 5, generator=G)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


@pytest.mark.slow
def test_channels_are_asked_of_the_tower_those_of_efficientnet_b0_to_b2_are_16_and_not_24() -> None:
    import timm

    from deixis.nn.vision.pyramid import levels_of

    with torch.device("meta"):
        first = {name: timm.create_model(f"efficientnet_{name}", num_classes=0) for name in ("b0", "b2", "b7")}
    found = {name: [level.channels for level in levels_of(each, 1)] for name, each in first.items()}
    assert found["b0"] == [16, 24, 40, 112, 320]
    assert found["b2"][0] == 16
    assert found["b7"] == [32, 48, 80, 224, 640]


def built(**overrides: Any) -> sentence_attention.Method:
    method: sentence_attention.Method = engine.build("sentence_attention", "tiny", overrides, seed=3)
    return method.eval()


def test_the_loss_is_the_cross_entropy_of_pixels_and_a_question_without_an_answer_has_an_empty_target() -> None:
    method = built(dice=0.0)
    batch = Batch.synthetic(sentence_attention.CARD.needs, size=3, D=16)
    assert batch.images is not None
    assert batch.masks is not None
    none = torch.zeros_like(batch.valid["T"])
    assert not answer_pixels(batch.masks, none).any()
    with torch.no_grad():
        logits = method._logits(batch.images, batch.extra["sentence"])
        nothing = dataclasses.replace(batch, valid={**batch.valid, "T": none})
        slow = torch.stack([-each.log_softmax(0)[0].mean() for each in logits]).mean()
        torch.testing.assert_close(method(nothing, Progress()).total, slow)


def test_answers_are_chances_at_the_size_of_the_image_and_depend_on_the_question() -> None:
    method, images = built(), torch.rand(2, 3, 32, 32, generator=G)
    one, other = torch.randint(10, 90, (2, 2, 7), generator=G)
    first, second = method.answer_mask(images, one), method.answer_mask(images, other)
    assert first.shape == (2, 32, 32)
    assert ((first > 0) & (first < 1)).all()
    assert not torch.equal(first, second)
    blind = built(conditioning="none")
    assert torch.equal(blind.answer_mask(images, one), blind.answer_mask(images, other))


def test_any_tower_gives_the_maps_also_one_with_a_single_one() -> None:
    assert len(built(tower="scratch:resnet:tiny:32").pyramid.merge) == 3
    assert not len(built().pyramid.merge)


@pytest.mark.slow
def test_a_run_learns_from_questions_one_by_one_and_shows_where_answers_lie(tmp_path: Path) -> None:
    pictures = scenes(1, 8, side=64, config=SceneConfig(cast="shapes", unseen="nothing"))
    settings = TrainSettings(config="tiny", steps=4, batch_size=4, held_out=0.0, workers=0, precision="float32")
    with own_cache(tmp_path / "cache"):
        train("sentence_attention", pictures, tmp_path / "run", settings, quiet=True)
        picture = pictures.samples[0].picture.draw()  # type: ignore[union-attr]
        found = deixis.ground(picture, "what colour is the star?", model=tmp_path / "run", best=True)
    assert isinstance(found, Detections)
    assert found.phrases == ("what colour is the star?",)
    assert found.masks is not None
    assert found.masks.shape == (1, 64, 64)
