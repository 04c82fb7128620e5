"""Spans of characters become spans of tokens, and these become masks."""

from __future__ import annotations

import torch

from deixis.ops.spans import span_mask, token_span


def test_a_span_of_characters_covers_every_token_that_it_touches() -> None:
    #         a  _     c  a  t  s
    places = [0, None, 1, 1, 2, 2]
    for start in range(6):
        for stop in range(start, 7):
            tokens = {token for token in places[start:stop] if token is not None}
            wanted = (min(tokens), max(tokens) + 1) if tokens else None
            assert token_span(places, start, stop) == wanted
    assert token_span(places, 1, 2) is None, "a space has no token"
    assert token_span(places, -3, 99) == (0, 3), "what lies outside of the text is left out"


def test_a_mask_is_the_union_of_its_spans() -> None:
    spans = torch.tensor([[[[1, 3], [4, 5]], [[0, 0], [2, 2]]], [[[0, 2], [1, 9]], [[5, 4], [3, 4]]]])
    found = span_mask(spans, 6)
    for row in range(2):
        for target in range(2):
            inside = {place for low, high in spans[row, target].tolist() for place in range(low, high)}
            assert found[row, target].tolist() == [place in inside for place in range(6)]
