"""The likelihood of a caption is what a loop says that feeds token by token; what follows a token is not seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.engine.training.train import train
from deixis.methods.baselines import bag_of_words, caption
from deixis.types import Batch, Progress
from deixis.zoo import scratch

START, END = 1, 2
TOKENS = torch.tensor([[[START, 7, 8, 7, END, 0]], [[START, 9, END, 0, 0, 0]], [[START, END, 0, 0, 0, 0]]])
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
BATCH = Batch(ids=("a", "b", "c"), images=IMAGES, tokens=TOKENS, valid={"L": TOKENS > 0})


def built(**overrides: Any) -> caption.Method:
    return engine.build("caption", "tiny", {"depth": 2, **overrides}, seed=3)


def likelihoods(method: caption.Method, image: Tensor, text: Tensor) -> list[float]:
    """Logarithm of the probability of each token, each from a decoder that is given no more than what comes before."""
    tokens = [token for token in text.tolist() if token]
    seen = method.image(method.encoder.encode_image(image[None])[0] * method.encoder.width**0.5)
    found = []
    for place, token in enumerate(tokens):
        before = [seen, *(method.words.weight[each] for each in tokens[:place])]
        states = torch.stack([state + method.positions[i] for i, state in enumerate(before)])[None]
        for block in method.blocks:
            states = block(states, causal=True)
        logits = method.head(method.norm(states[0, -1]))
        found.append(float(logits[token] - logits.logsumexp(0)))
    return found


def test_the_loss_is_the_mean_over_samples_of_the_mean_over_tokens_by_a_loop() -> None:
    method = built()
    with torch.no_grad():
        each = [likelihoods(method, image, text) for image, text in zip(IMAGES, TOKENS[:, 0], strict=True)]
        loss = float(method(BATCH, Progress()).total)
    assert abs(loss + sum(sum(found) / len(found) for found in each) / 3) < 1e-5


def test_a_text_fits_by_the_logarithm_of_its_probability_by_a_loop() -> None:
    method = built().eval()
    with torch.no_grad():
        found = method.compare(IMAGES, *BATCH.caption())
        expected = [[sum(likelihoods(method, image, text)) for text in TOKENS[:, 0]] for image in IMAGES]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_padding_makes_no_difference_and_order_does() -> None:
    method = built().eval()
    with torch.no_grad():
        found = method.compare(IMAGES, *BATCH.caption())
        longer = method.compare(IMAGES, *(torch.nn.functional.pad(each, (0, 3)) for each in BATCH.caption()))
        turned = method.compare(IMAGES, torch.tensor([[START, 8, 7, 7, END]]))
    torch.testing.assert_close(found, longer)
    assert not torch.allclose(found[:, :1], turned, atol=1e-4)


def test_number_zero_is_a_word_where_the_mask_says_so() -> None:
    method = built().eval()
    text = torch.tensor([[START, 0, 7, 0, END]])
    with torch.no_grad():
        alone = method.compare(IMAGES, text)
        padded = method.compare(IMAGES, torch.nn.functional.pad(text, (0, 2)), torch.arange(7)[None] < 5)
        other = method.compare(IMAGES, torch.tensor([[START, 7, END]]))
    torch.testing.assert_close(padded, alone)
    assert (alone - other < -1).all(), "each word costs, number 0 too"


def test_no_texts_give_no_columns() -> None:
    assert built().compare(IMAGES, torch.zeros(0, 4, dtype=torch.long)).shape == (3, 0)


def test_it_trains_as_the_prediction_of_words_does() -> None:
    assert isinstance(built(), bag_of_words.Method)


@pytest.mark.slow
def test_the_caption_of_an_image_can_be_learned() -> None:
    """Each image with words of its own; afterwards its text fits it better than the others do."""
    encoder = scratch.build(["red dog", "green cat", "blue hen"], "tiny", 16)
    method = engine.build("caption", "tiny", {"learning_rate": 3e-3}, {"encoder": encoder}, seed=3)
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    texts = encoder.tokenize(["red dog", "green cat", "blue hen"])
    batch = Batch(ids=("a", "b", "c"), images=images, tokens=texts.ids[:, None], valid={"L": texts.mask[:, None]})
    train(method, iter([batch] * 60), 60, stage=method.stages()[0])
    assert method.compare(images, *texts).argmax(1).tolist() == [0, 1, 2]
