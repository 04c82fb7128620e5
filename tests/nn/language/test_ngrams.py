"""Words and parts of words are numbered the same everywhere, and texts that share parts are alike."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from deixis import zoo
from deixis.errors import DeixisError
from deixis.nn.language.ngrams import NgramTokenizer


def test_pieces_are_the_word_and_its_runs_of_letters_with_marks_of_its_ends() -> None:
    assert NgramTokenizer(longest=4).pieces("Hut, ab") == [
        "hut",
        "<hu",
        "hut",
        "ut>",
        "<hut",
        "hut>",
        "ab",
        "<ab",
        "ab>",
        "<ab>",
    ]


def test_numbers_are_those_of_a_hash_that_no_run_or_machine_changes() -> None:
    tokens = NgramTokenizer(1000)(["Hut", "berĳden", "?!"], 512)
    assert tokens.ids[0, :4].tolist() == [907, 653, 955, 991]
    assert torch.equal(tokens.ids[1], NgramTokenizer(1000)(["BERIJDEN"], 512).ids[0]), "one word, written in two ways"
    assert tokens.mask.sum(1).tolist() == [7, 22, 0]
    assert NgramTokenizer(1000)(["Hut"], 2).ids.shape == (1, 2)


def test_words_that_share_parts_are_nearer_than_others_before_any_training() -> None:
    encoder = zoo.load_part("text_encoder", "ngrams:32", seed=0)
    tokens = encoder.tokenizer(["Leuchtturm", "Leuchttürme", "Banane", "!"], encoder.context_length)
    vectors = encoder(tokens.ids, tokens.mask)
    assert vectors.shape == (4, 32)
    assert F.cosine_similarity(vectors[0], vectors[1], dim=0) > F.cosine_similarity(vectors[0], vectors[2], dim=0) + 0.2
    assert not vectors[3].any(), "a text without a letter has the vector 0"
    with pytest.raises(DeixisError, match="no text encoder 'ngrams:wide'"):
        zoo.load_part("text_encoder", "ngrams:wide")
