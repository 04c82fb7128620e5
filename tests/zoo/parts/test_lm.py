"""Language models: causal, deaf to padding, and their text goes on as step by step."""

from __future__ import annotations

import pytest
import torch

from deixis import zoo
from deixis.errors import DeixisError
from deixis.nn.language.causal_lm import CausalLm
from tests.support import texts

TEXTS = ["a red bird sings", "a boat"]


def small() -> CausalLm:
    model: CausalLm = zoo.load_part("lm", "scratch:tiny", source=texts(*TEXTS), seed=1)
    return model


@torch.no_grad()
def test_a_position_sees_only_itself_and_what_stands_before_it() -> None:
    model = small()
    tokens, mask = model.tokenizer(TEXTS[:1], model.context_length)
    other = tokens.clone()
    other[:, 3] -= 1
    before, after = model(tokens, mask), model(other, mask)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


@torch.no_grad()
def test_padding_is_nothing() -> None:
    model = small()
    tokens, mask = model.tokenizer(TEXTS, model.context_length)
    spoilt = tokens.masked_fill(~mask, 5)
    torch.testing.assert_close(model(tokens, mask)[mask], model(spoilt, mask)[mask])


@torch.no_grad()
def test_a_text_that_was_learned_is_told_from_its_first_word_in_a_batch_as_alone() -> None:
    model = small().train()
    tokens, mask = model.tokenizer(TEXTS, model.context_length)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    with torch.enable_grad():
        for _ in range(60):
            optimiser.zero_grad()
            rows = model(tokens[:, :-1], mask[:, :-1])[mask[:, 1:]]
            torch.nn.functional.cross_entropy(rows, tokens[:, 1:][mask[:, 1:]]).backward()
            optimiser.step()
    model.eval()
    starts = torch.zeros(2, 3, dtype=torch.long)
    starts[0, :3], starts[1, :3] = tokens[0, :3], tokens[1, :3]
    known = torch.tensor([[True, True, True], [True, True, True]])
    written = model.generate(model.embeddings(starts), known, 8)
    assert written == ["bird sings", ""]
    alone = [model.generate(model.embeddings(starts[i : i + 1]), known[i : i + 1], 8)[0] for i in (0, 1)]
    assert written == alone
    shorter = known.clone()
    shorter[0, 2] = False
    assert model.generate(model.embeddings(starts), shorter, 1)[0] == "red", "rows may end at different places"


def test_bytes_are_joined_to_text_and_what_is_too_long_is_refused() -> None:
    model = zoo.load_part("lm", "tiny")
    numbers = model.tokenizer(["Grüße"], 40).ids[0].tolist()
    assert model.tokenizer.decode(numbers) == "Grüße"
    length = model.context_length + 1
    with pytest.raises(DeixisError, match=f"A text has {length} positions"):
        model(torch.ones(1, length, dtype=torch.long), torch.ones(1, length, dtype=torch.bool))
