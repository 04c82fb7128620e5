"""What each word of a text has in its score: by the gradient, and by integrated gradients, which sum to what the words
change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from deixis import zoo
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.relevance.word_scores import gradient_times_input, integrated_gradients

TEXTS = ["a red bird on a wooden boat", "sea"]


def images(encoder: DualEncoder, count: int) -> Tensor:
    draw = torch.randn(count, encoder.width, generator=torch.Generator().manual_seed(0))
    return nn.functional.normalize(draw, dim=1)


def padded(encoder: DualEncoder, texts: list[str]) -> Tensor:
    """Embeddings of texts whose words are the padding token, each mark around them being as it was."""
    (ids, mask), (empty, real) = encoder.tokenize(texts), encoder.tokenize([texts[0], ""])
    pad = int(empty[1][~real[1]][0])
    for row, text in zip(ids, texts, strict=True):
        for _, _, first, last in encoder.tokenizer.words(text, encoder.context_length):
            row[first:last] = pad
    return encoder.encode_text(ids, mask=mask)


@pytest.mark.slow
def test_so_do_those_of_the_starter(fetched: Callable[[str], Path]) -> None:
    fetched("starter")
    test_integrated_gradients_of_words_sum_to_the_difference_of_the_scores("starter")


@pytest.mark.parametrize("name", ["tiny", "tiny-vit"])
def test_integrated_gradients_of_words_sum_to_the_difference_of_the_scores(name: str) -> None:
    encoder = zoo.load(name).eval()
    partners = images(encoder, 2)
    found = integrated_gradients(encoder, TEXTS, partners)
    sums = torch.tensor([sum(value for *_, value in words) for words in found])
    with torch.no_grad():
        whole = (encoder.encode_text(encoder.tokenize(TEXTS)) * partners).sum(1)
        bare = (padded(encoder, TEXTS) * partners).sum(1)
    assert (sums - (whole - bare)).abs().le(0.01 * (whole - bare).abs()).all()
    assert [[TEXTS[0][start:stop] for start, stop, _ in found[0]], len(found[1])] == [TEXTS[0].split(), 1]


def test_the_gradient_times_the_input_is_the_derivative_of_the_score_where_a_word_is_made_longer() -> None:
    encoder = zoo.load("tiny").eval()
    partners = images(encoder, 1)
    (found,) = gradient_times_input(encoder, TEXTS[:1], partners)
    table = next(each for each in encoder.text_tower.modules() if isinstance(each, nn.Embedding))
    _, _, first, last = encoder.tokenizer.words(TEXTS[0], encoder.context_length)[2]
    scores = []
    for factor in (0.999, 1.001):

        def longer(_: nn.Module, given: tuple[Tensor], out: Tensor, factor: float = factor) -> Tensor:
            out = out.clone()
            out[:, first:last] *= factor
            return out

        handle = table.register_forward_hook(longer)
        with torch.no_grad():
            scores.append(float((encoder.encode_text(encoder.tokenize(TEXTS[:1])) * partners).sum()))
        handle.remove()
    assert found[2][2] == pytest.approx((scores[1] - scores[0]) / 0.002, rel=0.02, abs=1e-4)


def test_a_tower_is_left_as_it_was_and_one_without_word_vectors_is_refused() -> None:
    encoder = zoo.load("tiny").train()
    before = [(each.requires_grad, each.grad) for each in encoder.parameters()]
    integrated_gradients(encoder, TEXTS, images(encoder, 2))
    assert [(each.requires_grad, each.grad) for each in encoder.parameters()] == before
    assert encoder.training
    assert not any(each._forward_hooks for each in encoder.text_tower.modules())
    encoder.text_tower = nn.Identity()
    with pytest.raises(DeixisError, match="Identity has no table of word vectors"):
        integrated_gradients(encoder, TEXTS, images(encoder, 2))
