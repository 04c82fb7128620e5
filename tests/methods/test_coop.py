"""CoOp gives the prompts, logits and gradients of the authors' code, in whatever pieces, and refuses what can't be."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deixis import engine, zoo
from deixis.engine.training.train import train
from deixis.errors import DeixisError
from deixis.methods import coop
from deixis.nn.adaptation.adapters import TextResidual
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.language.bag_of_words import BagConfig, BagOfWords
from deixis.types import Progress
from tests.prompting import NAMES, clip_like, few_images, golden_batch, golden_method
from tests.support import load_golden


def built(encoder: DualEncoder, **settings: Any) -> coop.Method:
    overrides = {"names": NAMES, "vectors": 4, **settings}
    return engine.build("coop", "tiny", overrides, {"encoder": encoder}, seed=1)


@pytest.mark.golden
@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("mode", ["unified", "class_specific"])
def test_prompts_logits_loss_and_gradients_are_those_of_the_authors(mode: str, position: str) -> None:
    golden, case = load_golden("coop_prompt"), f"{mode}_{position}"
    lengths = golden["in.name_lens"].tolist()
    method = golden_method("coop", golden, lengths, position=position, shared=mode == "unified")
    stored = golden[f"param.ctx_{mode}"].double()
    method.context.data = stored if mode == "class_specific" else stored[None]
    prompts = method.texts.assemble(method.encoder.text_tower, method.prompt()[None])[0]
    expected = golden[f"out.{case}.prompts"].double()
    torch.testing.assert_close(prompts, expected[:, : prompts.shape[1]], rtol=0, atol=0)
    assert bool((expected[:, prompts.shape[1] :] == expected[0, -1]).all()), "only padding is cut off"
    features = nn.functional.normalize(golden[f"out.{case}.text_features"], dim=-1)
    torch.testing.assert_close(method.class_vectors(), features, rtol=1e-9, atol=1e-12)
    batch, image = golden_batch(golden)
    logits = method.scores(image)
    torch.testing.assert_close(logits, golden[f"out.{case}.logits"], rtol=1e-9, atol=1e-10)
    loss = method(batch, Progress()).total
    torch.testing.assert_close(loss, golden[f"out.{case}.loss"], rtol=1e-10, atol=0)
    found, of_image = torch.autograd.grad(loss, [method.context, image])
    found = found if mode == "class_specific" else found[0]
    torch.testing.assert_close(found, golden[f"grad.{case}.ctx"], rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(of_image, golden[f"grad.{case}.image_features"], rtol=1e-7, atol=1e-12)


@pytest.mark.golden
def test_the_learning_rate_is_the_published_one() -> None:
    golden = load_golden("coop_schedule")
    told = [golden[f"cfg.{name}"].item() for name in ("max_epoch", "base_lr", "warmup_epochs", "warmup_lr")]
    found = [coop.learning_rate(epoch, *told) for epoch in range(told[0])]
    torch.testing.assert_close(torch.tensor(found).double(), golden["out.learning_rate_per_epoch"], rtol=1e-6, atol=0)


def test_the_schedule_is_cut_into_equal_epochs_of_a_run() -> None:
    """By hand: 4 epochs in 8 steps, the first at a tenth of the peak, then 1, 1/2 (1 + cos 45 deg), 1/2."""
    method = built(clip_like(), epochs=4, warmup_epochs=1, learning_rate=0.1, warmup_rate=0.01)
    rates = [method.rate(Progress(step, 8)) for step in range(8)]
    expected = [0.1, 0.1, 1, 1, 0.853553, 0.853553, 0.5, 0.5]
    assert rates == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("make", [clip_like, lambda: zoo.load("tiny")], ids=["causal", "mean of all states"])
def test_vectors_that_start_from_words_are_the_words(make: Any) -> None:
    """As long as nothing is learned, the class vectors are the text embeddings of the sentences."""
    encoder = make()
    for shared in (True, False):
        method = built(encoder, words="a photo of a ", shared=shared)
        sentences = [f"a photo of a {name.replace('_', ' ')}." for name in NAMES]
        torch.testing.assert_close(method.class_vectors(), encoder.encode_text(sentences), rtol=1e-4, atol=1e-5)
    assert method.context.shape[:2] == (5, 13), "one vector for each of the words' tokens, for each class"


def test_the_loss_is_the_mean_of_minus_the_logarithms() -> None:
    logits, labels = torch.tensor([[1.0, 2.0], [0.5, -0.5], [3.0, 0.0]]), torch.tensor([0, 0, 1])
    losses = coop.class_loss(logits, labels)
    expected = -sum(float(row[label] - row.exp().sum().log()) for row, label in zip(logits, labels, strict=True)) / 3
    assert float(losses.total) == pytest.approx(expected, rel=1e-6)
    assert float(losses.metrics["accuracy"]) == pytest.approx(1 / 3)


def test_the_image_tower_is_not_asked_in_training() -> None:
    encoder = clip_like()
    encoder.image_tower = nn.Identity()
    encoder.image_tower.width = encoder.image_tower.feature_width = 16
    assert torch.isfinite(built(encoder)(few_images(), Progress()).total)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_it_learns_few_images_with_either_optimiser(optimiser: str) -> None:
    rate = {"sgd": 0.1, "adamw": 0.05}[optimiser]
    method = built(clip_like(), optimiser=optimiser, learning_rate=rate, epochs=10, shared=False, chunk=8)
    batch = few_images()
    first = float(method(batch, Progress()).total.detach())
    train(method, iter([batch] * 10), 10)
    assert float(method(batch, Progress()).total.detach()) < 0.8 * first


def test_classes_never_learned_are_told_apart_by_shared_vectors_only() -> None:
    encoder = clip_like()
    method, other = built(encoder), ("tram", "bus")
    fresh = built(encoder, names=other)
    fresh.context.data.copy_(method.context.data)
    torch.testing.assert_close(method.class_vectors(other), fresh.class_vectors())
    with pytest.raises(DeixisError, match="vectors of its own"):
        built(encoder, shared=False).class_vectors(other)


def test_classes_are_embedded_once_until_something_is_learned() -> None:
    method = built(clip_like())
    images = torch.rand(2, 3, 32, 32)
    before, kept = method.classify(images), method._settled()
    assert method._settled() is kept
    with torch.no_grad():
        method.context.add_(0.5)
    assert not torch.equal(method.classify(images), before)
    expected = method.scale * method.encoder.encode_image(images) @ method.class_vectors().T
    torch.testing.assert_close(method.classify(images), expected)


def test_an_adapter_behind_the_text_tower_is_heeded() -> None:
    adapter = TextResidual(16)
    nn.init.normal_(adapter.linear.weight, std=0.3)
    encoder = clip_like().with_adapters(None, adapter.eval())
    method = built(encoder, words="a photo of a ")
    sentences = [f"a photo of a {name.replace('_', ' ')}." for name in NAMES]
    torch.testing.assert_close(method.class_vectors(), encoder.encode_text(sentences), rtol=1e-4, atol=1e-5)


def no_embeddings() -> DualEncoder:
    tiny = zoo.load("tiny")
    tower = BagOfWords(BagConfig(tiny.tokenizer.vocabulary, 8, 16))
    parts = {"tokenizer": tiny.tokenizer, "preprocess": tiny.preprocess, "traits": Traits("bag", 64, 20.0)}
    return DualEncoder(tiny.image_tower, tower, **parts)


BAD = {
    "embeddings": ({}, r"Prompts can't be learned for bag: its text tower \(\w*BagOfWords\) takes token numbers alone"),
    "none": ({"names": ()}, r"The part 'names' is missing"),
    "long": (
        {"names": ("a", "b" * 70)},
        r"'b+\.\.\.' makes a text of 73 tokens, 4 vectors go with it, and .* 64 in all",
    ),
    "vectors": ({"names": ("a", "bee"), "vectors": 60}, r"makes a text of 6 tokens, 60 vectors go with it"),
    "twins": ({"names": ("a cat", "dog", "a_cat")}, r"The classes 'a cat' and 'a_cat' have one name"),
    "nothing": ({"names": ("a", " \t")}, r"Nothing of the class name ' \\t' can be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_can_not_be_learned_is_refused_with_a_reason(case: str) -> None:
    settings, message = BAD[case]
    encoder = no_embeddings() if case == "embeddings" else zoo.load("tiny")
    with pytest.raises(DeixisError, match=message):
        built(encoder, **settings)


@pytest.mark.parametrize("name", ["\x00", "a\x00b", "\ud800", "\U0001f985 ‮ abc", "[SEP]", "...", "{}", "'\"\\"])
def test_odd_characters_are_read_as_they_are(name: str) -> None:
    method = built(clip_like(), names=(name, "other"))
    assert bool(torch.isfinite(method.class_vectors()).all())


def test_a_name_of_a_megabyte_is_refused_and_named_in_short() -> None:
    with pytest.raises(DeixisError) as caught:
        built(zoo.load("tiny"), names=("a", "x" * 1_000_000))
    assert len(str(caught.value)) < 300


def test_the_presets_differ_from_one_another_only_as_they_say() -> None:
    paper = coop.Config.paper()
    assert (paper.vectors, paper.epochs) == (16, 200)
    assert (paper.optim.optimiser, paper.optim.learning_rate, paper.optim.momentum) == ("sgd", 0.002, 0.9)


def test_labels_need_not_cover_the_classes() -> None:
    batch = dataclasses.replace(few_images(), labels=torch.zeros(12, dtype=torch.long))
    loss: Tensor = built(clip_like())(batch, Progress()).total
    assert torch.isfinite(loss)
