"""The tokenizer keeps no state, cuts only the text, and finds characters among tokens."""

from __future__ import annotations

import json

import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, processors

from deixis.errors import DeixisError
from deixis.inputs.tokenizer import Tokenizer

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "bird", "##s", "on", "roof", "[", "]", "sep")


def rules() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(
        models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    backend.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return backend


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer(rules())


def test_a_batch_is_padded_with_zeros_to_its_longest_text(tokenizer: Tokenizer) -> None:
    assert tokenizer(["a red bird", "roof"], 10).ids.tolist() == [[2, 4, 5, 6, 3], [2, 9, 3, 0, 0]]


def test_a_text_alone_and_in_a_batch_has_the_same_tokens(tokenizer: Tokenizer) -> None:
    alone, together = tokenizer(["roof"], 10), tokenizer(["roof", "a red bird on a roof"], 10)
    length = alone.ids.shape[1]
    assert together.ids[0, :length].tolist() == alone.ids[0].tolist()
    assert not together.ids[0, length:].any()
    assert alone.mask.all()
    assert together.mask.sum(1).tolist() == [length, 8], "what is padding is said"


def test_what_is_too_long_loses_its_end_and_keeps_the_tokens_around_it(tokenizer: Tokenizer) -> None:
    assert tokenizer(["a red bird on a roof"], 5).ids.tolist() == [[2, 4, 5, 6, 3]]


def test_overflow_tells_which_texts_are_cut(tokenizer: Tokenizer) -> None:
    assert tokenizer.overflow(["a red bird", "a red bird on a roof", ""], 5) == [False, True, False]


def test_no_call_leaves_a_trace_for_the_next(tokenizer: Tokenizer) -> None:
    before = tokenizer(["a red bird on a roof"], 20)
    tokenizer(["a red bird on a roof"], 3)
    assert torch.equal(tokenizer(["a red bird on a roof"], 20).ids, before.ids)


def test_truncation_and_padding_set_in_the_rules_are_dropped() -> None:
    backend = rules()
    backend.enable_truncation(4)
    backend.enable_padding(length=4)
    assert Tokenizer(backend)(["a red bird on a roof"], 20).ids.shape == (1, 8)
    assert backend.truncation is not None


def test_an_empty_text_has_the_tokens_around_a_text_and_no_others(tokenizer: Tokenizer) -> None:
    assert tokenizer([""], 10).ids.tolist() == [[2, 3]]
    assert tokenizer([], 10).ids.shape == (0, 1)


def test_the_name_of_a_special_token_in_a_caption_is_text(tokenizer: Tokenizer) -> None:
    assert tokenizer(["[SEP]"], 10).ids.tolist() == [[2, 10, 12, 11, 3]]
    assert 0 not in tokenizer(["[PAD]"], 10).ids


def test_half_a_surrogate_pair_is_no_error(tokenizer: Tokenizer) -> None:
    assert tokenizer(["a \ud800 bird"], 10).ids.tolist() == [[2, 4, 1, 6, 3]]


def test_a_length_without_room_for_text_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="leaves no room"):
        tokenizer(["a"], 2)


def test_character_spans_become_token_spans(tokenizer: Tokenizer) -> None:
    text = "a red birds on a roof"
    spans = [(2, 5), (6, 11), (2, 11), (16, 21), (5, 6)]
    assert tokenizer.encode_spans(text, spans, 20) == [(2, 3), (3, 5), (2, 5), (7, 8), None]


def test_a_span_that_was_cut_off_is_none_and_one_cut_through_ends_with_the_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_spans("a red birds", [(6, 11), (0, 1)], 5) == [(3, 4), (1, 2)]
    assert tokenizer.encode_spans("a red birds", [(6, 11)], 4) == [None]


def test_the_way_back_tells_the_word_of_each_token_and_what_joins_another(tokenizer: Tokenizer) -> None:
    row = tokenizer(["a red birds [SEP]"], 20).ids[0].tolist()
    assert tokenizer.pieces(row) == ["[CLS]", "a", "red", "bird", "-s", "[", "sep", "]", "[SEP]"]
    assert tokenizer.pieces(range(tokenizer.vocabulary)) == [word.replace("##", "-") for word in WORDS]
    for number in (-1, tokenizer.vocabulary):
        with pytest.raises(ValueError, match=f"none has the number {number}"):
            tokenizer.pieces([number])


def test_rules_survive_a_round_trip_through_json(tokenizer: Tokenizer) -> None:
    again = Tokenizer.from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert again.to_dict() == tokenizer.to_dict()
    assert again(["a red bird"], 10).ids.tolist() == tokenizer(["a red bird"], 10).ids.tolist()


def test_a_file_that_is_missing_or_no_tokenizer_is_named(tmp_path) -> None:
    with pytest.raises(DeixisError, match="no tokenizer file"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DeixisError, match="not a tokenizer that can be read"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")
    rules().save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.from_file(tmp_path / "tokenizer.json").vocabulary == len(WORDS)


@given(st.text(max_size=30), st.integers(3, 12))
def test_any_text_gives_a_row_that_fits(text: str, length: int) -> None:
    row = Tokenizer(rules())([text], length).ids[0]
    assert 2 <= len(row) <= length
    assert (row[0], row[-1]) == (2, 3)
