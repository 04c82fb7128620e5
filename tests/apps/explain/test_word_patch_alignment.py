"""Words and patches: each word points at the patch it is most similar to, and the sheet shows it there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from deixis import engine, zoo
from deixis.apps.explain.word_patch_alignment import align_words, draw_alignment
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.ops.late_interaction import token_similarity
from deixis.types import Tokens, TokenStates
from deixis.zoo import scratch
from tests.support import texts

CAPTION = "A red star, a blue ring."
WORDS = ("A", "red", "star", ",", "a", "blue", "ring", ".")


@pytest.fixture
def encoder() -> DualEncoder:
    return scratch.build([CAPTION], "tiny", 32)


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8))


def test_the_means_of_what_is_chosen_are_the_similarities_that_filip_trains(
    encoder: DualEncoder, picture: Image.Image
) -> None:
    """Each word of this tokenizer is one token; the marks around the text choose patches, too."""
    found = align_words(encoder, picture, CAPTION)
    assert found.words == WORDS
    image, text = (
        torch.nn.functional.normalize(side.states.detach(), dim=-1)
        for side in (
            encoder.image_tokens(encoder.read_images([picture])),
            encoder.text_tokens(encoder.tokenize([CAPTION])),
        )
    )
    _, to_image = token_similarity(image, text[:, 1:-1])
    best = [found.similarity[number][place] for number, place in enumerate(found.choices())]
    torch.testing.assert_close(torch.stack(best).mean(), to_image[0, 0])
    assert (found.chosen_by.sum(0) <= 1).all(), "a patch has one nearest token"


def planted(encoder: DualEncoder) -> DualEncoder:
    """Word i and the marks behind it are patch i, and no other."""

    def image_tokens(images: Tensor) -> TokenStates:
        return TokenStates(torch.eye(16)[None], torch.ones(1, 16) > 0, (4, 4))

    def text_tokens(tokens: Tokens) -> TokenStates:
        return TokenStates(torch.eye(16)[None, : tokens.ids.shape[1]], tokens.mask)

    encoder.image_tokens, encoder.text_tokens = image_tokens, text_tokens  # type: ignore[method-assign]
    return encoder


def test_a_word_is_framed_where_it_points_and_in_colour_where_it_is_meant(
    encoder: DualEncoder, picture: Image.Image
) -> None:
    found = align_words(planted(encoder), picture, CAPTION)
    assert found.choices() == [divmod(number, 4) for number in range(1, 9)], "behind the mark that begins a text"
    for number, (row, column) in enumerate(found.choices()):
        assert found.chosen_by[number].nonzero().tolist() == [[row, column]]
    sheet = draw_alignment(encoder, picture, CAPTION)
    pixels = np.asarray(sheet).astype(int)
    red = (pixels == (216, 28, 36)).all(-1)
    assert red.any()
    assert sheet.width > sheet.height, "four a row"


def test_a_method_a_folder_and_an_encoder_are_drawn_alike(
    encoder: DualEncoder, picture: Image.Image, tmp_path: Path
) -> None:
    zoo.save(encoder, tmp_path / "model")
    picture.save(tmp_path / "picture.png")
    method = engine.build("filip", "desk", parts={"encoder": encoder}).train()
    sheets = [draw_alignment(model, picture, CAPTION) for model in (encoder, method, tmp_path / "model")]
    sheets.append(draw_alignment(encoder, tmp_path / "picture.png", CAPTION))
    assert len({sheet.tobytes() for sheet in sheets}) == 1
    assert method.training


def test_a_method_without_a_dual_encoder_compares_its_own_words_with_its_own_patches(picture: Image.Image) -> None:
    overrides = {"lm": "scratch:tiny", "grid": 0, "tower": "patches:16:32"}
    method = engine.build("cgvlm", "tiny", overrides, source=texts(CAPTION)).eval()
    found = align_words(method, picture, CAPTION)
    assert found.words == WORDS
    assert found.similarity.shape == (8, 2, 2)
    assert (found.chosen_by.sum(0) == 1).all(), "marks around the text choose none"


def test_what_can_not_be_aligned_is_refused(encoder: DualEncoder, picture: Image.Image) -> None:
    with pytest.raises(DeixisError, match="has no words"):
        align_words(encoder, picture, " ")
    with pytest.raises(DeixisError, match="A Linear has no words and patches"):
        align_words(torch.nn.Linear(1, 1), picture, CAPTION)
    planted(encoder).image_tokens = lambda images: TokenStates(torch.eye(16)[None], torch.ones(1, 16) > 0)  # type: ignore[method-assign]
    with pytest.raises(DeixisError, match="do not form a grid"):
        align_words(encoder, picture, CAPTION)
