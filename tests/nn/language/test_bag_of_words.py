"""A bag of words reads a text as the mean of its words: neither order nor padding nor marks count."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from deixis.nn.dual import TextTower
from deixis.nn.language.bag_of_words import BagConfig, BagOfWords

START, END = 1, 2
TEXTS = torch.tensor([[START, 7, 9, 7, END], [START, 5, END, 0, 0], [START, END, 0, 0, 0]])


def bag() -> BagOfWords:
    torch.manual_seed(0)
    return BagOfWords(BagConfig(vocabulary=12, width=6, out=4, marks=(0, START, END)))


def test_an_embedding_is_the_mean_of_the_words_through_the_map_by_a_loop() -> None:
    tower = bag()
    for text, found in zip(TEXTS[:2], tower(TEXTS[:2]), strict=True):
        words = [tower.words.weight[token] for token in text.tolist() if token not in (0, START, END)]
        expected = tower.projection.weight @ (sum(words, torch.zeros(6)) / len(words))
        torch.testing.assert_close(found, expected / expected.norm())


def test_order_and_padding_make_no_difference() -> None:
    tower = bag()
    turned = torch.tensor([[START, 9, 7, 7, END, 0, 0]])
    torch.testing.assert_close(tower(turned), tower(TEXTS[:1]))


def test_a_text_without_words_gives_zeros_and_finite_gradients() -> None:
    tower = bag()
    embedding = tower(TEXTS)
    assert not embedding[2].any()
    embedding.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in tower.parameters() if p.grad is not None)


def test_each_word_alone_is_what_a_text_of_it_would_be() -> None:
    tower = bag()
    states = tower.tokens(TEXTS)
    assert states.mask.sum(1).tolist() == [3, 1, 0]
    torch.testing.assert_close(normalize(states.states[1, 1], dim=-1), tower(TEXTS[1:2])[0])


def test_a_mask_says_which_words_count() -> None:
    tower = bag()
    mask = torch.tensor([[False, True, False, True, False]])
    torch.testing.assert_close(tower(TEXTS[:1], mask), tower(torch.tensor([[7]])))


def test_it_is_a_text_tower_that_tells_its_sizes() -> None:
    assert isinstance(bag(), TextTower)
    assert bag().config == {"kind": "BagOfWords", "vocabulary": 12, "width": 6, "out": 4, "marks": (0, 1, 2)}
