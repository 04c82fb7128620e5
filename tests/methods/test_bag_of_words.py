"""The prediction of words is what a loop over words says; each word counts once, marks and padding never."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.engine.training.train import train
from deixis.methods.baselines import bag_of_words
from deixis.types import Batch, Progress
from deixis.zoo import scratch

START, END = 1, 2
TOKENS = torch.tensor([[[START, 7, 8, 7, END, 0]], [[START, 9, END, 0, 0, 0]], [[START, END, 0, 0, 0, 0]]])
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
BATCH = Batch(ids=("a", "b", "c"), images=IMAGES, tokens=TOKENS, valid={"L": TOKENS > 0})


def built(**overrides: Any) -> bag_of_words.Method:
    return engine.build("bag_of_words", "tiny", overrides, seed=3)


@torch.no_grad()
def chances(method: bag_of_words.Method, image: Tensor) -> list[float]:
    """Logarithms of the probabilities of all words, by the definition."""
    states = method.encoder.encode_image(image[None])[0] * method.encoder.width**0.5
    logits = [float(row @ states + bias) for row, bias in zip(method.head.weight, method.head.bias, strict=True)]
    total = torch.tensor(logits, dtype=torch.float64).logsumexp(0)
    return [logit - float(total) for logit in logits]


def words(text: Tensor) -> list[int]:
    return sorted({token for token in text.tolist() if token not in (0, START, END)})


def test_the_loss_is_the_mean_over_samples_of_the_mean_over_their_words_by_a_loop() -> None:
    method = built()
    terms = []
    for image, text in zip(IMAGES, TOKENS[:, 0], strict=True):
        told, held = chances(method, image), words(text)
        terms.append(-sum(told[word] for word in held) / len(held) if held else 0.0)
    assert abs(float(method(BATCH, Progress()).total.detach()) - sum(terms) / 3) < 1e-5


def test_a_text_fits_by_the_sum_of_its_words_each_once_by_a_loop() -> None:
    method = built().eval()
    with torch.no_grad():
        found = method.compare(IMAGES, *BATCH.caption())
    expected = [
        [sum(chances(method, image)[word] for word in words(text)) for text in TOKENS[:, 0]] for image in IMAGES
    ]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert not found[:, 2].any(), "a text without words"


def test_order_repeats_and_padding_make_no_difference() -> None:
    method = built().eval()
    same = torch.tensor([[START, 8, 7, END, 0, 0, 0, 0], [START, 7, 7, 7, 8, 8, END, 0]])
    found = method.compare(IMAGES, same)
    torch.testing.assert_close(found[:, 0], found[:, 1])
    torch.testing.assert_close(found[:, 0], method.compare(IMAGES, TOKENS[:1, 0])[:, 0])


def test_the_text_tower_stays_as_it_was() -> None:
    method = built()
    before = {name: value.clone() for name, value in method.encoder.text_tower.state_dict().items()}
    train(method, iter([BATCH] * 3), 3, stage=method.stages()[0])
    assert all(torch.equal(before[name], value) for name, value in method.encoder.text_tower.state_dict().items())


@pytest.mark.slow
def test_which_words_an_image_has_can_be_learned() -> None:
    """Each image with words of its own; afterwards its text fits it better than the others do."""
    encoder = scratch.build(["red dog", "green cat", "blue hen"], "tiny", 16)
    method = engine.build("bag_of_words", "tiny", {"learning_rate": 3e-3}, {"encoder": encoder}, seed=3)
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    texts = encoder.tokenize(["red dog", "green cat", "blue hen"])
    batch = Batch(ids=("a", "b", "c"), images=images, tokens=texts.ids[:, None], valid={"L": texts.mask[:, None]})
    train(method, iter([batch] * 60), 60, stage=method.stages()[0])
    assert method.compare(images, *texts).argmax(1).tolist() == [0, 1, 2]
