"""What is measured on held-out pairs: by hand, the same by scores as by features, and nothing is changed by it."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.engine.evaluation.retrieval_eval import can_retrieve, eval_without_grad, held_out
from deixis.types import Batch, TokenStates
from tests.contract import changed, snapshot
from tests.toys import carded

VECTORS = F.normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), dim=-1)


class Looking(nn.Module):
    """The first pixel says which picture it is, the first token which words; two of three pictures are told right."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.norm = nn.Parameter(torch.ones(())), nn.BatchNorm1d(4)

    def encode_image(self, images: Tensor) -> Tensor:
        numbers = images[:, 0, 0, 0].long()
        self.norm(VECTORS[numbers])
        return VECTORS[torch.where(numbers % 3 == 2, (numbers + 1) % 9, numbers)] * self.weight

    def encode_text(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return VECTORS[tokens[:, 0] - 1]


carded(Looking, capabilities=("encode_image", "encode_text"))


class Scoring(Looking):
    def compare(self, images: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.encode_image(images) @ self.encode_text(tokens).T

    def image_tokens(self, images: Tensor) -> TokenStates:
        return TokenStates(
            self.encode_image(images)[:, None].expand(-1, 2, -1), torch.tensor([[True, False]] * len(images))
        )

    def text_tokens(self, tokens: Tensor, mask: Tensor | None = None) -> TokenStates:
        return TokenStates(self.encode_text(tokens)[:, None], torch.ones(len(tokens), 1, dtype=torch.bool))


carded(Scoring, capabilities=("image_tokens", "text_tokens", "compare"))


def pieces(captions: tuple[int, ...] = tuple(range(9)), sizes: tuple[int, ...] = (4, 5)) -> list[Batch]:
    """Of another number of tokens each, as padding makes them."""
    images = torch.arange(9.0)[:, None, None, None].expand(9, 3, 2, 2)
    tokens = torch.tensor(captions)[:, None, None] + 1
    whole = Batch(tuple(f"sample {i}" for i in range(9)), images=images, tokens=tokens)
    found, start = [], 0
    for size in sizes:
        piece = whole.take(range(start, start + size))
        assert piece.tokens is not None
        wide = F.pad(piece.tokens, (0, size))
        found.append(Batch(piece.ids, images=piece.images, tokens=wide, valid={"L": wide != 0}))
        start += size
    return found


@pytest.mark.parametrize("method", [Looking(), Scoring()])
def test_recall_is_the_share_that_is_found_first(method: Any) -> None:
    found = held_out(method, pieces())
    assert 0.5 <= found["r1"] <= 2 / 3
    assert found["r10"] == 1.0
    assert found["r1"] < found["mrr"] < 1
    assert 1 < found["image_rank"] < found["text_rank"] <= 4


def test_features_and_scores_give_the_same_however_the_pairs_are_cut() -> None:
    first = held_out(Looking(), pieces())
    for method, sizes in ((Scoring(), (4, 5)), (Looking(), (9,)), (Scoring(), (1, 2, 6))):
        assert held_out(method, pieces(sizes=sizes)) == pytest.approx(first)


def test_equal_captions_are_one_and_any_of_their_pictures_will_do() -> None:
    assert held_out(Looking(), pieces((0, 1, 3, 3, 4, 6, 6, 7, 0)))["r1"] == 1.0


def test_measuring_changes_neither_weights_nor_modes_nor_random_numbers() -> None:
    method = Looking().train()
    before, random = snapshot(method), torch.random.get_rng_state()
    held_out(method, pieces())
    assert not changed(method, before)
    assert method.training
    assert method.norm.training
    assert torch.equal(torch.random.get_rng_state(), random)
    method.norm.eval()
    with eval_without_grad(method):
        assert not method.training
        assert not torch.is_grad_enabled()
    assert (method.training, method.norm.training) == (True, False)


def test_only_what_compares_pictures_with_words_is_measured() -> None:
    assert can_retrieve(Looking())
    assert can_retrieve(Scoring())
    assert not can_retrieve(carded(type("Mute", (nn.Module,), {}))())


class Streamed:
    """Batches whose images are made anew each time, and the most images that were alive at once."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.sizes, self.most = sizes, 0
        self._alive: list[weakref.ref[Tensor]] = []

    def __iter__(self) -> Iterator[Batch]:
        for piece in pieces(sizes=self.sizes):
            assert piece.images is not None
            images = piece.images.clone()
            self._alive.append(weakref.ref(images))
            yield dataclasses.replace(piece, images=images)
            del images
            self.most = max(self.most, sum(each() is not None for each in self._alive))


@pytest.mark.parametrize("method", [Looking(), Scoring()])
def test_no_more_images_are_in_memory_than_a_batch_and_the_one_before_it(method: Any) -> None:
    streamed = Streamed((1,) * 9)
    assert held_out(method, streamed) == pytest.approx(held_out(method, pieces()))
    assert streamed.most <= 2


def test_a_method_that_scores_pairs_refuses_images_that_can_be_read_only_once() -> None:
    with pytest.raises(TypeError, match="twice"):
        held_out(Scoring(), iter(pieces()))
    assert held_out(Looking(), iter(pieces())) == pytest.approx(held_out(Looking(), pieces()))
