"""Late interaction: against a loop over every pair of tokens, and what must not matter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from deixis.ops.late_interaction import strongest_tokens, token_similarity
from tests.support import load_golden


def tokens(count: int, length: int, seed: int, width: int = 5) -> Tensor:
    rows = torch.randn(count, length, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return normalize(rows, dim=-1).requires_grad_()


IMAGE_MASK = torch.tensor([[1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 1, 0]]).bool()
TEXT_MASK = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()


def by_loop(image: Tensor, text: Tensor, image_mask: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor]:
    """The equations, one pair of tokens at a time."""
    to_text, to_image = [], []
    for v, real_v in zip(image, image_mask, strict=True):
        for w, real_w in zip(text, text_mask, strict=True):
            patches, words = (
                [x for x, r in zip(v, real_v, strict=True) if r],
                [x for x, r in zip(w, real_w, strict=True) if r],
            )
            to_text.append(torch.stack([max((p * x).sum() for x in words) for p in patches]).mean())
            to_image.append(torch.stack([max((p * x).sum() for p in patches) for x in words]).mean())
    shape = (len(image), len(text))
    return torch.stack(to_text).reshape(shape), torch.stack(to_image).reshape(shape)


@pytest.mark.parametrize("tile", [None, 1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_both_similarities_and_their_gradients_equal_a_slow_loop(masked: bool, tile: int | None) -> None:
    image, text = tokens(3, 4, 0), tokens(2, 3, 1)
    masks = (IMAGE_MASK, TEXT_MASK) if masked else (None, None)
    fast = token_similarity(image, text, image_mask=masks[0], text_mask=masks[1], tile=tile)
    full = [
        torch.ones(x.shape[:2], dtype=torch.bool) if m is None else m for x, m in zip((image, text), masks, strict=True)
    ]
    slow = by_loop(image, text, *full)
    weights = torch.arange(6.0, dtype=torch.float64).reshape(3, 2)
    for ours, theirs in zip(fast, slow, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
        found = torch.autograd.grad((ours * weights).sum(), (image, text), retain_graph=True)
        expected = torch.autograd.grad((theirs * weights).sum(), (image, text), retain_graph=True)
        for left, right in zip(found, expected, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-14)


def test_padding_is_nothing_whatever_it_holds() -> None:
    image, text = tokens(3, 4, 2), tokens(3, 3, 3)
    plain = token_similarity(image, text)
    longer = torch.cat([text, 100 * tokens(3, 2, 4)], 1)
    mask = torch.tensor([True, True, True, False, False]).expand(3, 5)
    for ours, theirs in zip(token_similarity(image, longer, text_mask=mask), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=0)


def test_with_one_token_a_side_both_are_the_cosine() -> None:
    image, text = tokens(4, 1, 0), tokens(5, 1, 1)
    for each in token_similarity(image, text):
        torch.testing.assert_close(each, image[:, 0] @ text[:, 0].T, rtol=1e-13, atol=0)


def test_an_image_or_a_text_without_a_token_is_refused_by_its_number() -> None:
    nothing = torch.tensor([[True, False], [False, False]])
    with pytest.raises(ValueError, match="text 1 has no real token"):
        token_similarity(tokens(2, 2, 0), tokens(2, 2, 1), text_mask=nothing)
    with pytest.raises(ValueError, match="image 1 has no real token"):
        token_similarity(tokens(2, 2, 0), tokens(2, 2, 1), image_mask=nothing)


@pytest.mark.parametrize("tile", [None, 8])
def test_no_tensor_of_all_products_is_kept_and_in_tiles_none_of_their_maxima(tile: int | None) -> None:
    image, text = (tokens(32, length, seed).float().detach().requires_grad_() for length, seed in ((16, 0), (8, 1)))
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (kept.append(x.numel()), x)[1], lambda x: x):
        token_similarity(image, text, tile=tile)
    assert max(kept) == (32 * 32 * 16 if tile is None else 32 * 16 * 5)


def test_under_autocast_products_stay_in_float32() -> None:
    image, text = (tokens(4, 6, seed).float().detach() for seed in (0, 1))
    plain = token_similarity(image, text)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = token_similarity(image, text)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(mixed, plain, strict=True))


def test_the_strongest_tokens_are_those_that_some_word_fits_best() -> None:
    patches = torch.tensor([[[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0], [0.1, -1.0]]])
    words = torch.tensor([[[0.0, 1.0], [9.0, 9.0]], [[1.0, 0.0], [9.0, 9.0]]])
    real = torch.tensor([[True, False], [True, False]])
    kept = strongest_tokens(patches, words, share=0.5, others_mask=real)
    assert kept.tolist() == [[True, True, False, False]]
    mask = torch.tensor([[False, True, True, True]])  # of three real ones, a half is two
    assert strongest_tokens(patches, words, share=0.5, mask=mask, others_mask=real).tolist() == [
        [False, True, False, True]
    ]
    with pytest.raises(ValueError, match="share is 0"):
        strongest_tokens(patches, words, share=0.0)


@pytest.mark.golden
@pytest.mark.parametrize("tile", [None, 2])
@pytest.mark.parametrize("variant", ["text_mask", "both_masks"])
def test_similarities_are_those_of_the_equations_of_filip(variant: str, tile: int | None) -> None:
    golden = load_golden("filip_late")
    image, text = (normalize(golden[f"in.{side}_tokens"].double(), dim=-1) for side in ("image", "text"))
    mask = golden["in.image_mask"] if variant == "both_masks" else None
    to_text, to_image = token_similarity(image, text, image_mask=mask, text_mask=golden["in.text_mask"], tile=tile)
    torch.testing.assert_close(to_text, golden[f"out.{variant}.similarity_i2t"], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(to_image, golden[f"out.{variant}.similarity_t2i"], rtol=1e-12, atol=1e-14)
