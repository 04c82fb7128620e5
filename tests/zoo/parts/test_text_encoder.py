"""Text encoders: one vector a text, one state a token; padding is what the mask says, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deixis import zoo
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.encoders import TextHalf
from deixis.nn.fingerprint import fingerprint
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.types.outputs import Tokens
from deixis.types.protocols import TextEncoder
from tests.support import texts

TEXTS = ["a red bird", "a boat", "the boat and the red bird"]


def siglip() -> TextHalf:
    """The text half of a tower that reads its filling, with a tokenizer of bytes."""
    tiny = zoo.load("tiny")
    tower = TextTransformer(TextConfig(259, 64, 16, 1, 1, 32, 16, causal=False, pool="last", fill=1)).eval()
    traits = Traits("siglip", 64, 1.0)
    return TextHalf(DualEncoder.of_text(tower, tokenizer=tiny.tokenizer, preprocess=tiny.preprocess, traits=traits))


MAKE: dict[str, Callable[[], TextEncoder]] = {
    "tiny": lambda: zoo.load_part("text_encoder", "tiny"),
    "transformer": lambda: zoo.load_part("text_encoder", "scratch:transformer:tiny", source=texts(*TEXTS)),
    "bag": lambda: zoo.load_part("text_encoder", "scratch:bag:tiny", source=texts(*TEXTS)),
    "siglip": siglip,
}


def read(encoder: TextEncoder) -> Tokens:
    return encoder.tokenizer(TEXTS, encoder.context_length)


@torch.no_grad()
@pytest.mark.parametrize("name", MAKE)
def test_a_text_encoder_gives_what_it_says_of_itself(name: str) -> None:
    encoder = MAKE[name]()
    tokens, mask = read(encoder)
    pooled, states = encoder(tokens, mask), encoder.tokens(tokens, mask)
    assert pooled.shape == (3, encoder.width)
    torch.testing.assert_close(pooled.norm(dim=-1), torch.ones(3))
    assert states.states.shape == (*tokens.shape, encoder.token_width)
    assert torch.equal(states.mask, mask)
    torch.testing.assert_close(encoder.encode(encoder.embeddings(tokens), mask), states.states)


@torch.no_grad()
@pytest.mark.parametrize("name", MAKE)
def test_what_stands_behind_a_text_changes_neither_its_vector_nor_its_tokens(name: str) -> None:
    encoder = MAKE[name]()
    tokens, mask = read(encoder)
    longer = torch.nn.functional.pad(tokens, (0, 3), value=5)  # an ordinary token, and no part of the text
    wider = torch.nn.functional.pad(mask, (0, 3))
    torch.testing.assert_close(encoder(longer, wider), encoder(tokens, mask))
    states = encoder.tokens(longer, wider).states[:, : tokens.shape[1]]
    torch.testing.assert_close(states[mask], encoder.tokens(tokens, mask).states[mask])


@torch.no_grad()
def test_the_half_of_an_encoder_reads_as_the_encoder_does() -> None:
    for name in ("tiny", "transformer", "bag"):
        half = MAKE[name]()
        tower = half.network  # type: ignore[attr-defined]
        tokens, mask = read(half)
        torch.testing.assert_close(half(tokens, mask), tower(tokens, mask), msg=name)


def test_the_half_of_a_model_folder_is_that_of_the_model(tmp_path: Path) -> None:
    encoder = zoo.load("tiny")
    with torch.no_grad():
        encoder.text_tower.bert.words.weight.mul_(2.0)
        encoder.image_tower.classifier.weight.mul_(2.0)
    zoo.save(encoder, tmp_path / "run" / "model")
    for kind in ("text_encoder", "image_tower"):
        mine, plain = zoo.load_part(kind, tmp_path / "run"), zoo.load_part(kind, "tiny")
        assert fingerprint(mine) == fingerprint(zoo.load_part(kind, encoder))
        assert fingerprint(mine) != fingerprint(plain)


@pytest.mark.slow
@torch.no_grad()
def test_minilm_is_the_starters_text_tower_before_it_is_centred(fetched: Callable[[str], Path]) -> None:
    fetched("starter")
    minilm, starter = zoo.load_part("text_encoder", "minilm"), zoo.load_part("text_encoder", "starter")
    tokens, mask = read(minilm)
    torch.testing.assert_close(minilm.tokens(tokens, mask).states, starter.tokens(tokens, mask).states)
    centred = torch.nn.functional.normalize(minilm(tokens, mask) - starter.network.centre, dim=-1)
    torch.testing.assert_close(centred, starter(tokens, mask))
