"""Relevance runs from the cosine of a pair down to pixels and to words, through every tower there is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deixis import zoo
from deixis.nn.dual import DualEncoder
from deixis.nn.language.bert import Bert, BertConfig, MeanPooledText
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.nn.relevance import Epsilon, Rules, pair_score, relevance, text_relevance
from deixis.nn.vision.modified_resnet import ModifiedResNet, ModifiedResNetConfig
from deixis.nn.vision.vit import Vit, VitConfig

TIGHT = Rules(Epsilon(1e-12), Epsilon(1e-12), norm=Epsilon(1e-12), epsilon=1e-12, attention="constant")
SIZES = {"width": 8, "depth": 2, "heads": 2, "hidden": 12, "out": 6}


def vit(**more: Any) -> nn.Module:
    return Vit(VitConfig(16, 8, **SIZES, **more))


def resnet() -> nn.Module:
    model = ModifiedResNet(ModifiedResNetConfig(32, (1, 1, 1, 1), 4, 2, 6))
    for name, parameter in model.named_parameters():
        if "norm3" in name:
            nn.init.uniform_(parameter, 0.5, 1.0)
    return model


TOWERS = {
    "class": (vit, 16),
    "quick_gelu": (lambda: vit(activation="quick_gelu"), 16),
    "mean": (lambda: vit(pool="mean", class_token=False, norm_after_pool=True), 16),
    "resnet": (resnet, 32),
}


def without_constants(model: nn.Module) -> nn.Module:
    """No bias and no learned position: all that the score is made of comes from the input."""
    for name, parameter in model.named_parameters():
        if "bias" in name or "position" in name or "class_token" in name or "kinds" in name:
            nn.init.zeros_(parameter)
    return model.double().eval()


@pytest.mark.parametrize("name", list(TOWERS))
def test_through_a_tower_without_biases_the_relevance_of_pixels_sums_to_the_cosine(name: str) -> None:
    make, side = TOWERS[name]
    torch.manual_seed(0)
    model, images, text = without_constants(make()), torch.rand(2, 3, side, side).double(), torch.randn(2, 6).double()
    found = relevance(model, images, pair_score(nn.functional.normalize(text, dim=-1)), rules=TIGHT)
    torch.testing.assert_close(found.scores, (model(images).embedding * nn.functional.normalize(text, dim=-1)).sum(1))
    torch.testing.assert_close(found.input.flatten(1).sum(1), found.scores, rtol=1e-5, atol=1e-7)


def text_towers() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    causal = TextTransformer(TextConfig(vocabulary=20, length=7, **SIZES))
    both = TextTransformer(TextConfig(vocabulary=20, length=7, causal=False, pool="last", fill=1, **SIZES))
    bert = MeanPooledText(Bert(BertConfig(20, 6, 2, 2, 12)))
    return {"causal": causal, "both": both, "bert": bert}


@pytest.mark.parametrize("name", ["causal", "both", "bert"])
def test_the_relevance_of_tokens_has_their_shape_and_sums_to_the_cosine(name: str) -> None:
    model = without_constants(text_towers()[name])
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings == 20:
            nn.init.normal_(module.weight)
    tokens = torch.tensor([[3, 5, 19, 0, 0], [4, 6, 7, 19, 0]])
    image = nn.functional.normalize(torch.randn(2, 6).double(), dim=-1)
    mask = tokens != 0
    found = relevance(model, tokens, pair_score(image), rules=TIGHT, mask=mask)
    assert found.input.shape == tokens.shape
    if name != "both":  # which reads its filling, too
        torch.testing.assert_close(found.input.sum(1), found.scores, rtol=1e-5, atol=1e-7)
        assert not found.input[~mask].any(), "padding carries nothing"


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    return zoo.load("tiny")


def pixels(encoder: DualEncoder, count: int) -> Tensor:
    side = encoder.preprocess.size
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def pixels_of(encoder: DualEncoder, images: Tensor, partners: Tensor, others: Tensor | None = None) -> Tensor:
    return relevance(
        encoder, images, pair_score(partners, others), rules="epsilon_plus", forward=encoder.encode_image
    ).input


def test_several_texts_an_image_are_each_as_alone_and_a_contrast_with_itself_is_nothing(encoder: DualEncoder) -> None:
    images = pixels(encoder, 2)
    texts = encoder.encode_text(["a red bird", "a tractor", "two dogs", "a boat"]).reshape(2, 2, -1)
    found = pixels_of(encoder, images, texts)
    for number in range(2):
        torch.testing.assert_close(found[:, number], pixels_of(encoder, images, texts[:, number]))
    assert not pixels_of(encoder, images[:1], texts[1, 1:], others=texts[1, 1:]).any()


def test_words_get_what_their_tokens_carry(encoder: DualEncoder) -> None:
    texts = ["a red bird, unbelievably", "dogs"]
    images = encoder.encode_image(pixels(encoder, 2))
    found = text_relevance(encoder, texts, images)
    words = [[text[start:stop] for start, stop, _ in row] for text, row in zip(texts, found, strict=True)]
    assert words == [["a", "red", "bird", ",", "unbelievably"], ["dogs"]]
    tokens, mask = encoder.tokenize(texts)
    score, forward = pair_score(images), encoder.encode_text
    whole = relevance(encoder, tokens, score, rules="attention", forward=forward, mask=mask).input
    for text, row, scores in zip(texts, whole, found, strict=True):
        places = encoder.tokenizer.words(text, encoder.context_length)
        for (*_, begin, end), (*_, score) in zip(places, scores, strict=True):
            assert score == pytest.approx(float(row[begin:end].sum()), rel=1e-4, abs=1e-7)


def test_a_text_of_nothing_has_no_words_and_no_error(encoder: DualEncoder) -> None:
    images = encoder.encode_image(pixels(encoder, 2))
    assert text_relevance(encoder, ["", "   "], images) == [[], []]


def test_signs_of_scripts_without_spaces_are_words_and_pieces_of_a_word_are_not(encoder: DualEncoder) -> None:
    text = "two dogs 红色 don't"
    words = [text[start:stop] for start, stop, *_ in encoder.tokenizer.words(text, encoder.context_length)]
    assert words[:4] == ["two", "dogs", "红", "色"]
    cut = encoder.tokenizer.words(text, 4)
    assert len(cut) <= 2, "what is cut off is no word"
