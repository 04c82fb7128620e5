"""GIST: texts matched as the released scripts match them, pairs that deny each other or not, and its two stages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis import engine, zoo
from deixis.engine.training.train import fit
from deixis.methods import gist
from deixis.ops.logistic import linear_layer
from deixis.types import Batch, FieldSpec, Progress
from tests.support import load_golden

NAMES = ("bird", "fish", "tram")
TEXTS = (("bird", "rooster; a male"), ("bird", "hen"), ("bird", "gull"), ("fish", "carp"), ("fish", "pike"))


def built(**settings: Any) -> gist.Method:
    changed = {"names": NAMES, "knowledge": TEXTS, "shorten": "clause", **settings}
    return engine.build("gist", "tiny", changed, {"encoder": zoo.load("tiny")}, seed=1)


def images(count: int = 9) -> Batch:
    generator = torch.Generator().manual_seed(3)
    extra = {
        "image_embedding": F.normalize(torch.randn(count, 16, generator=generator), dim=-1),
        "image_features": torch.randn(count, 24, generator=generator),
    }
    specs = {
        "image_embedding": FieldSpec("image_embedding", "B D"),
        "image_features": FieldSpec("image_features", "B F"),
    }
    return Batch(tuple(map(str, range(count))), labels=torch.arange(count) % 3, extra=extra, specs=specs)


@pytest.mark.golden
def test_matches_probabilities_pairs_loss_and_gradients_are_those_stored() -> None:
    golden = load_golden("gist_match")
    image, labels = golden["in.image_features"].double(), golden["in.image_labels"]
    texts, owners = golden["in.caption_features"].double(), golden["in.caption_labels"]
    chances = (golden["cfg.match_scale"] * gist.class_cosines(image, labels, texts, owners)).softmax(dim=-1)
    torch.testing.assert_close(chances, golden["out.class_restricted_probabilities"], rtol=1e-6, atol=1e-12)
    assert bool((chances[labels[:, None] != owners[None]] == 0).all())
    matched = gist.match_texts(image, labels, texts, owners, int(golden["cfg.top_k"]))
    assert torch.equal(matched, golden["out.matched_captions"])
    used = matched[:, : int(golden["cfg.captions_per_image"])]
    pairs = (used >= 0).nonzero()[:, 0]
    assert torch.equal(pairs, golden["in.pair_image_index"])
    assert torch.equal(used[used >= 0], golden["in.pair_caption_index"])
    left, right = image[pairs].requires_grad_(), texts[used[used >= 0]].requires_grad_()
    log_scale = golden["param.log_scale"].clone().requires_grad_()
    rows = [F.normalize(each, dim=-1) for each in (left, right)]
    torch.testing.assert_close(log_scale.exp() * rows[0] @ rows[1].T, golden["out.pair_logits"], rtol=1e-6, atol=1e-9)
    loss = gist.pair_loss(*rows, log_scale.exp())
    torch.testing.assert_close(loss, golden["out.finetune_loss"], rtol=1e-6, atol=0)
    learned = {"pair_image_features": left, "pair_caption_features": right, "log_scale": log_scale}
    assert {f"grad.{name}" for name in learned} == {key for key in golden if key.startswith("grad.")}
    for name, found in zip(learned, torch.autograd.grad(loss, list(learned.values())), strict=True):
        torch.testing.assert_close(found, golden[f"grad.{name}"], rtol=1e-6, atol=1e-10, msg=name)


def test_at_the_start_it_is_the_frozen_encoder_to_rounding() -> None:
    method, pixels = built(), torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(method.encode_image(pixels), method.encoder.encode_image(pixels))
    tokens = method.encoder.tokenize(["a hen", "a carp"])
    torch.testing.assert_close(method.encode_text(*tokens), method.encoder.encode_text(tokens))


def test_a_loop_over_pairs_gives_the_loss_and_masked_pairs_are_no_negatives() -> None:
    for masked in (False, True):
        method, batch = built(masked=masked, used=2), images()
        texts = method.text_rows()
        pairs = [
            (row, place)
            for row, own in enumerate(method.matched(batch.extra["image_embedding"], batch.labels).tolist())
            for place in own
            if place >= 0
        ]
        logits: Tensor = method.encoder.scale * torch.stack(
            [torch.stack([batch.extra["image_embedding"][i] @ texts[j] for _, j in pairs]) for i, _ in pairs]
        )
        classes = torch.tensor([int(batch.labels[i]) for i, _ in pairs])
        if masked:
            same = (classes[:, None] == classes[None]) & ~torch.eye(len(pairs), dtype=torch.bool)
            logits = logits.masked_fill(same, -1e9)
        own = torch.arange(len(pairs))
        expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        torch.testing.assert_close(method(batch, Progress()).total, expected, rtol=1e-4, atol=1e-5)


def test_captions_are_the_name_with_a_first_clause_and_without_a_text_the_name_in_a_sentence() -> None:
    assert built().captions[0][:2] == ("bird: rooster", "bird: hen")
    assert built().captions[2] == ("a photo of a tram.",)
    assert built(pairs="name").captions[0] == ("a photo of a bird.",)
    assert (
        gist.shortened("one two three four five six seven eight nine ten eleven twelve more", "words").count(" ") == 11
    )


def test_the_controls_pair_with_a_text_of_the_class_and_the_mean_is_one_for_all() -> None:
    batch = images()
    for pairs in ("random", "mean", "name"):
        method = built(pairs=pairs)
        found = method.matched(batch.extra["image_embedding"], batch.labels)[:, 0]
        assert torch.equal(method.text_labels[found], batch.labels)
    rows = built(pairs="mean").text_rows()
    assert torch.equal(rows[0], rows[1])
    drawn = {int(built(pairs="random").matched(batch.extra["image_embedding"], batch.labels)[0, 0]) for _ in range(30)}
    assert drawn == {0, 1, 2}


def test_the_classifier_is_solved_for_on_what_was_tuned() -> None:
    method, batch = built(), images()
    with torch.no_grad():
        method.image_adapter.linear.weight.normal_(std=0.3)
    tune, probe = engine.stages(method)
    assert set(engine.training.stages.trainable(method, tune)) == {
        f"{side}_adapter.linear.{kind}" for side in ("image", "text") for kind in ("weight", "bias")
    } | {"log_scale"}
    fit(method, [batch], probe)
    rows = method.adapted(batch.extra["image_embedding"], batch.extra["image_features"]).detach()
    weight, bias = linear_layer(rows, batch.labels, 3, method.config.penalty_of_probe)
    expected = rows @ weight.float().T + bias.float()
    found = method.scores(batch.extra["image_embedding"], batch.extra["image_features"])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
