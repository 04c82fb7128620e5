"""CLIP gives the authors' loss and gradients; captions that come twice share their images; the scale is held."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deixis import engine, zoo
from deixis.engine.training.optim import parameter_groups
from deixis.engine.training.train import train
from deixis.methods import clip
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.vision.modified_resnet import ModifiedResNet, ModifiedResNetConfig
from deixis.ops import collective
from deixis.ops.contrastive import info_nce
from deixis.types import Batch, OptimSpec, Progress, Stage
from deixis.types.batch import concatenate
from tests.clip_golden import assert_gradient, assert_gradients, close, stored, text_tower, vit
from tests.ranks import on_ranks
from tests.support import load_golden


def built(**overrides: Any) -> clip.Method:
    return engine.build("clip", "tiny", overrides, seed=3)


def batch_of(tokens: Tensor, seed: int = 0) -> Batch:
    """Random images with these captions [B, K, L]."""
    images = torch.randn(len(tokens), 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return Batch(ids=tuple(f"image-{i}" for i in range(len(tokens))), images=images, tokens=tokens)


def dual(image: nn.Module, text: nn.Module, length: int, scale: float) -> DualEncoder:
    tiny = zoo.load("tiny")
    preprocess = dataclasses.replace(tiny.preprocess)
    traits = Traits("made up", length, scale)
    return DualEncoder(image, text, tokenizer=tiny.tokenizer, preprocess=preprocess, traits=traits)


@pytest.mark.golden
def test_loss_and_gradients_are_those_of_the_authors_model() -> None:
    golden = load_golden("clip_vit")
    length = int(golden["cfg.context_length"])
    encoder = dual(vit(golden), text_tower(golden), length, scale=20.0)
    method = clip.Method(clip.Config(), encoder=encoder).double()
    method.logit_scale.data.copy_(golden["param.logit_scale"])
    pixels = golden["in.image"].double().requires_grad_()
    batch = Batch(ids=tuple("abcdefghijklmnopqrstuvwxyz"[: len(pixels)]), images=pixels)
    batch = dataclasses.replace(batch, tokens=golden["in.token_ids"][:, None])
    features = method.encode(batch, Progress())
    losses = method.loss(features, batch, Progress())
    close(losses.total, golden["out.loss"])
    logits = method.logit_scale.exp() * features.rows["image"] @ features.rows["text"].T
    close(logits, golden["out.logits_per_image"])
    losses.total.backward()
    seen = assert_gradients(golden, encoder.image_tower) | assert_gradients(golden, encoder.text_tower)
    seen.add(assert_gradient(golden, "logit_scale", method.logit_scale.grad))
    seen.add(assert_gradient(golden, "image", pixels.grad))
    seen.add(assert_gradient(golden, "image_first", pixels.grad[0]))
    states = {key for key in golden if key.startswith(("out.vision_tokens", "out.text_tokens"))}
    towers = {"out.image_features", "out.text_features"}
    assert seen | states | towers | {"out.loss", "out.logits_per_image"} == stored(golden), "the rest is in tests/nn"


def test_where_all_captions_differ_shared_repeats_change_nothing() -> None:
    batch = batch_of(torch.randint(3, 20, (6, 1, 5)))
    losses = [built(share_repeats=shared)(batch, Progress()).total for shared in (True, False)]
    torch.testing.assert_close(*losses)


def test_images_of_equal_captions_are_all_right_answers_by_a_loop() -> None:
    tokens = torch.tensor([[4, 5, 0], [7, 0, 0], [4, 5, 0], [4, 5, 6]])[:, None]
    method, batch = built(), batch_of(tokens)
    features = method.encode(batch, Progress())
    image, text = features.rows["image"], features.rows["text"]
    same = [[i for i in range(4) if torch.equal(tokens[i], tokens[j])] for j in range(4)]
    assert same == [[0, 2], [1], [0, 2], [3]]
    expected = torch.zeros(())
    for i in range(4):
        for j in same[i]:
            expected = expected - (20.0 * image @ text.T).log_softmax(1)[i, j] / len(same[i])
            expected = expected - (20.0 * text @ image.T).log_softmax(1)[i, j] / len(same[i])
    torch.testing.assert_close(method.loss(features, batch, Progress()).total, expected / 8)


def test_captions_are_told_apart_by_their_tokens_and_padding_is_none() -> None:
    tokens = torch.tensor([[4, 5, 0], [7, 0, 0], [4, 5, 0], [4, 5, 6]])
    keys = clip.caption_keys(tokens)
    assert keys[0] == keys[2]
    assert len(set(keys.tolist())) == 3
    batch = batch_of(tokens[:, None])
    batch = dataclasses.replace(batch, valid={"L": batch.tokens > 0})
    wider = dataclasses.replace(
        batch,
        tokens=torch.nn.functional.pad(batch.tokens, (0, 4)),
        valid={"L": torch.nn.functional.pad(batch.valid["L"], (0, 4))},
    )
    torch.testing.assert_close(built()(batch, Progress()).total, built()(wider, Progress()).total)


def test_one_of_several_captions_is_drawn_per_image_and_step() -> None:
    tokens = torch.randint(3, 20, (40, 3, 5))
    method, batch = built(), batch_of(tokens)
    drawn = [method.encode(batch, Progress(step)).rows["caption"] for step in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    found = [[k for k in range(3) if torch.equal(row - 1, own[k])] for row, own in zip(drawn[0], tokens, strict=True)]
    assert all(found)
    assert {k for row in found for k in row} == {0, 1, 2}
    part = method.encode(batch.take([7, 3]), Progress()).rows["caption"]
    assert torch.equal(part, drawn[0][[7, 3]]), "whatever the batch"


def test_the_loss_is_plain_cross_entropy_both_ways_in_the_paper_s_settings() -> None:
    method, batch = built(share_repeats=False), batch_of(torch.full((4, 1, 3), 5))
    features = method.encode(batch, Progress())
    expected = info_nce(features.rows["image"], features.rows["text"], scale=20.0)
    torch.testing.assert_close(method.loss(features, batch, Progress()).total, expected)


def test_the_scale_starts_at_the_encoder_s_or_the_config_s_and_is_held_at_its_highest() -> None:
    assert built().scale == pytest.approx(20.0)
    assert built(scale=1 / 0.07).scale == pytest.approx(14.2857, rel=1e-4)
    method, seen = built(scale=150.0, learning_rate=1e-6), []
    batch = batch_of(torch.arange(3, 7)[:, None, None])
    train(method, iter([batch]), 1, on_step=lambda *_: seen.append(method.scale))
    assert seen == [pytest.approx(100.0, rel=1e-5)]


def test_gains_biases_and_the_scale_are_not_decayed() -> None:
    method = built(weight_decay=0.2)
    spec = method.config.optim
    decayed, spared = parameter_groups(method, engine.enter(method, Stage()), spec)
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.2, 0.0)
    told = {names[id(p)] for p in spared["params"]}
    assert "logit_scale" in told
    assert all(name.endswith(("bias", "norm.weight")) for name in told - {"logit_scale"})
    assert not any(names[id(p)].endswith("bias") for p in decayed["params"])
    assert (spec.betas, spec.eps) == ((0.9, 0.98), 1e-6)


def test_batch_norms_keep_their_statistics_unless_the_config_says_otherwise() -> None:
    tower = ModifiedResNet(ModifiedResNetConfig(32, (1, 1, 1, 1), 4, 2, 16))
    encoder = dual(tower, zoo.load("tiny").text_tower, 64, scale=20.0)
    batch = batch_of(torch.randint(3, 20, (4, 1, 5)))
    for statistics in (False, True):
        method = clip.Method(clip.Config(statistics=statistics), encoder=encoder)
        [stage] = method.stages()
        before = tower.norm1.running_mean.clone()
        engine.enter(method, stage)
        assert tower.norm1.weight.requires_grad
        method(batch, Progress())
        assert torch.equal(tower.norm1.running_mean, before) is not statistics
        assert tower.pool.training


def test_gradient_caching_serves_a_tower_with_still_batch_norms() -> None:
    tower = ModifiedResNet(ModifiedResNetConfig(32, (1, 1, 1, 1), 4, 2, 16))
    method = clip.Method(clip.Config(), encoder=dual(tower, zoo.load("tiny").text_tower, 64, scale=20.0))
    batch = batch_of(torch.randint(3, 20, (5, 1, 5)))
    found = []
    for chunk in (None, 2):
        chosen = engine.enter(method, method.stages()[0])
        engine.backward(method, batch, Progress(), chunk)
        found.append({name: parameter.grad.clone() for name, parameter in chosen.items()})
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_a_new_clip_learns_a_few_pairs() -> None:
    from deixis.nn.language.text_transformer import TextConfig, TextTransformer
    from deixis.nn.vision.vit import Vit, VitConfig

    image = Vit(VitConfig(32, 16, 16, 1, 2, 32, 8, activation="quick_gelu", patch_dropout=0.25))
    text = TextTransformer(TextConfig(20, 6, 16, 1, 2, 32, 8, activation="quick_gelu"))
    optim = OptimSpec(learning_rate=3e-3, weight_decay=0.001, betas=(0.9, 0.98), eps=1e-6)
    method = clip.Method(clip.Config(scale=1 / 0.07, optim=optim), encoder=dual(image, text, 6, scale=20.0))
    tokens = torch.tensor([[18, n, 19] for n in range(1, 9)])[:, None]
    batch = batch_of(tokens)
    first = float(method(batch, Progress()).total.detach())
    train(method, iter([batch] * 60), 60, stage=Stage())
    scores = method.encode_image(batch.images) @ method.encode_text(tokens[:, 0]).T
    assert scores.argmax(1).tolist() == list(range(8))
    assert float(method(batch, Progress()).total.detach()) < 0.2 * first


def test_the_paper_s_settings_are_those_it_tells() -> None:
    config = clip.Config.paper()
    optim = config.optim
    assert (optim.learning_rate, optim.weight_decay, optim.betas[1], optim.eps) == (5e-4, 0.2, 0.98, 1e-6)
    assert config.scale == pytest.approx(math.exp(2.6592), rel=1e-4)
    assert config.highest_scale == 100.0


def pieces() -> list[Batch]:
    """Two batches of other sizes and lengths, that have a caption in common."""
    first = batch_of(torch.tensor([[[4, 5]], [[7, 0]], [[9, 9]]]))
    second = batch_of(torch.tensor([[[7, 0, 0]], [[4, 5, 6]]]), seed=1)
    first, second = (dataclasses.replace(each, valid={"L": each.tokens != 0}) for each in (first, second))
    return [first, dataclasses.replace(second, ids=("x", "y"))]


def _rank_step(rank: int) -> dict[str, Any]:
    method = built()
    chosen = engine.enter(method, Stage())
    engine.backward(method, pieces()[rank], Progress(rank=rank))
    collective.average_gradients(chosen.values())
    return {name: parameter.grad.tolist() for name, parameter in chosen.items()}


@pytest.mark.slow
def test_a_caption_that_another_rank_has_too_shares_its_images() -> None:
    together = {name: torch.tensor(value) for name, value in on_ranks(2, _rank_step)[0].items()}
    method = built()
    chosen = engine.enter(method, Stage())
    engine.backward(method, concatenate(pieces()), Progress())
    for name, parameter in chosen.items():
        torch.testing.assert_close(together[name], parameter.grad, rtol=1e-4, atol=1e-6)
