"""What is quoted of a text is found in it and measured; rivals quote as many words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from deixis.engine.claims.tasks.reasons import ScoredText, _coverage, _moved, _quoted, _value

TEXT = ScoredText(tuple("a dog runs after a red ball near the old house".split()), torch.linspace(-0.1, 0.3, 11))


class Speaker:
    """Says always the same."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence

    def verbalise(
        self,
        words: Sequence[str],
        scores: torch.Tensor,
        writer: Callable[[Sequence[tuple[str, str]]], str] | None = None,
    ) -> str:
        return writer([]) if writer and writer([]) == "right" else self.sentence


def test_of_several_places_the_words_count_that_hold_most() -> None:
    assert _quoted("The word » a « is most important", TEXT).nonzero()[:, 0].tolist() == [4]
    assert _quoted('"the old" and "cat"', TEXT).nonzero()[:, 0].tolist() == [8, 9]


def test_only_the_five_largest_words_count_and_all_of_them_are_the_ceiling_of_as_many() -> None:
    speaker, positive = Speaker("» near the « and » a red «"), float(TEXT.scores.clamp(min=0).sum())
    found = _value("coverage_at_5", speaker, TEXT, None, (0, 0))
    assert found == np.float32(float(TEXT.scores[7:9].sum()) / positive)
    assert found < _value("top_words", speaker, TEXT, None, (0, 0))
    assert _value("first_words", speaker, TEXT, None, (0, 0)) == 0
    assert _coverage(torch.ones(11, dtype=torch.bool), TEXT) < 1, "the smaller words hold the rest"


def test_an_answer_that_is_taken_counts_as_passed() -> None:
    assert _value("passed", Speaker("template"), TEXT, lambda messages: "right", (0, 0)) == 1
    assert _value("passed", Speaker("template"), TEXT, lambda messages: "wrong", (0, 0)) == 0


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 1000))
def test_random_runs_quote_as_many_words_and_move_within_the_text(marks: list[bool], seed: int) -> None:
    moved = _moved(torch.tensor(marks), np.random.default_rng(seed))
    assert len(moved) == len(marks)
    assert int(moved.sum()) == sum(marks)
