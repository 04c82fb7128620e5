"""New encoders: the same for equal seeds, others for other seeds, and words as tokens that lead back to characters."""

from __future__ import annotations

import json

import pytest
import torch

from deixis.errors import DeixisError
from deixis.nn.dual import ImageTower, TextTower
from deixis.nn.language.bag_of_words import BagOfWords
from deixis.zoo.scratch import MARKS, build, described, is_new, options, rebuilt, words_of

TEXTS = ("A red dog and a small cat.", "Two dogs, a pepper-pot!", "A cat on grey ground.")


def test_equal_seeds_give_equal_encoders_and_others_do_not() -> None:
    prints = [build(TEXTS, "tiny", seed=seed).fingerprint() for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build(TEXTS, "tiny", seed=7)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("text", ["transformer", "bag"])
@pytest.mark.parametrize("image", ["vit", "vit-mean", "resnet"])
def test_each_kind_encodes_pictures_and_texts(text: str, image: str) -> None:
    encoder = build(TEXTS, "tiny", 32, text=text, image=image)
    assert isinstance(encoder.image_tower, ImageTower)
    assert isinstance(encoder.text_tower, TextTower)
    assert not encoder.training
    rows = [encoder.encode_image(torch.randn(2, 3, 32, 32)), encoder.encode_text(["A red cat.", "dogs"])]
    for found in rows:
        torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    assert encoder.image_tokens(torch.randn(1, 3, 32, 32)).grid == ((1, 1) if image == "resnet" else (4, 4))
    assert encoder.text_tokens(encoder.tokenize(["A red cat."])).states.shape[2] == encoder.width


def test_the_towers_of_two_text_kinds_share_the_image_tower_of_a_seed() -> None:
    """So that arms which differ in the text tower alone start from the same image tower."""
    one, other = (build(TEXTS, "tiny", seed=1, text=text).image_tower.state_dict() for text in ("transformer", "bag"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_bag_does_not_read_the_order_and_a_transformer_does() -> None:
    texts = ["red dog small cat", "small dog red cat"]
    bag, transformer = (build(TEXTS, "tiny", text=text).encode_text(texts) for text in ("bag", "transformer"))
    torch.testing.assert_close(bag[0], bag[1])
    assert not torch.allclose(transformer[0], transformer[1], atol=1e-3)


def test_marks_around_a_text_are_no_words_of_a_bag() -> None:
    tower = build(TEXTS, "tiny", text="bag").text_tower
    assert isinstance(tower, BagOfWords)
    assert tower.config["marks"] == (0, 1, 2)


@pytest.mark.parametrize("text", ["transformer", "bag"])
@pytest.mark.parametrize("image", ["vit", "vit-mean", "resnet"])
def test_an_encoder_is_built_again_from_what_is_said_of_it(text: str, image: str) -> None:
    encoder = build(TEXTS, "tiny", 32, text=text, image=image)
    again = rebuilt(json.loads(json.dumps(described(encoder))), encoder.tokenizer)
    again.load_state_dict(encoder.state_dict())
    assert again.fingerprint() == encoder.fingerprint()
    assert is_new(again)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("starter", None),
        ("./scratch", None),
        ("scratch", {"image": "resnet", "image_size": 64}),
        ("scratch:vit", {"image": "vit", "image_size": 48}),
        ("scratch:96:bag:base", {"image": "resnet", "image_size": 96, "size": "base", "text": "bag"}),
    ],
)
def test_a_name_tells_what_is_built(name: str, asked: dict[str, object] | None) -> None:
    assert options(name) == asked


@pytest.mark.parametrize("name", ["scratch:", "scratch:rnn", "scratch:vit:resnet", "scratch:-8"])
def test_a_name_that_tells_nothing_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(DeixisError, match=r"There is no new model.*transformer, bag; tiny, small, base"):
        options(name)


# --- words ------------------------------------------------------------------------------------------------------------


def test_words_are_numbered_by_frequency_then_alphabet_whatever_the_order_of_the_texts() -> None:
    one, other = words_of(TEXTS), words_of(reversed(TEXTS))
    assert one.to_dict() == other.to_dict()
    vocabulary = one.to_dict()["model"]["vocab"]
    assert list(vocabulary)[:4] == list(MARKS)
    assert vocabulary["a"] == 4, "the most frequent word"
    assert vocabulary["dog"] < vocabulary["dogs"] < vocabulary["ground"], "once each: by alphabet"


def test_a_text_comes_back_from_its_tokens_through_the_characters() -> None:
    tokenizer, text = words_of(TEXTS), "Two dogs,  a Pepper-pot!"
    words = ["Two", "dogs", ",", "a", "Pepper", "-", "pot", "!"]
    starts = [text.index(word) for word in words]
    spans = [(start, start + len(word)) for start, word in zip(starts, words, strict=True)]
    assert tokenizer.encode_spans(text, spans, 32) == [(i, i + 1) for i in range(1, 9)]
    numbers = {number: word for word, number in tokenizer.to_dict()["model"]["vocab"].items()}
    row = tokenizer([text], 32).ids[0].tolist()
    assert [numbers[number] for number in row] == ["[START]", *(word.lower() for word in words), "[END]"]


def test_unknown_words_are_one_word_and_cut_texts_keep_their_end() -> None:
    tokenizer = words_of(TEXTS)
    assert tokenizer(["zebra yak"], 32).ids.tolist() == [[1, 3, 3, 2]]
    assert tokenizer(["a a a a a"], 4).ids.tolist() == [[1, 4, 4, 2]]


@pytest.mark.parametrize("text", ["", "\x00", "\ud800 a [START] [END]", "a " * 100_000])
def test_odd_texts_are_read(text: str) -> None:
    encoder = build((*TEXTS, text), "tiny", 16)
    assert torch.isfinite(encoder.encode_text(text)).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": "huge"}, "no size 'huge'.*tiny, small, base"),
        ({"text": "rnn"}, "no text 'rnn'"),
        ({"image": "max"}, "no image 'max'"),
        ({"image": "resnet", "image_size": 48}, "48 pixels.*32"),
        ({"image_size": 4}, "4 pixels"),
    ],
)
def test_what_there_is_not_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        build(TEXTS, **options)  # type: ignore[arg-type]


def test_texts_without_words_are_refused() -> None:
    with pytest.raises(DeixisError, match="no words"):
        words_of(["", "  "])
