"""What texts of coarse classes buy, counted by hand: images matched with their kind, and kinds found by a word."""

from __future__ import annotations

import torch

from bench.finer_words_rows import coarse_folder, matching_precision, search_recall
from deixis.data.knowledge.wordnet import WordNet
from deixis.types import Sample

TEXTS = [("bird", "hen"), ("bird", "cock"), ("tree", "oak")]


def test_precision_is_of_images_whose_kind_is_among_the_texts_and_chance_of_as_many() -> None:
    labels, words = ["bird", "bird", "tree", "bird"], ["hen", "cock", "oak", ""]
    right, chance = matching_precision(torch.tensor([0, 0, 2, 1]), TEXTS, labels, words)
    assert right == [1, 0, 1]
    assert chance == (1 / 2 + 1 / 2 + 1) / 3


def test_recall_is_of_the_images_of_a_kind_of_ten_at_the_most() -> None:
    words = ["hen"] * 2 + [""] * 18 + ["cock"] * 12
    near_hens = torch.linspace(1, 0, 32)
    assert search_recall(torch.stack([near_hens, near_hens]), ["hen", "cock"], words) == [1, 0]
    assert search_recall(-near_hens[None], ["cock"], words) == [1]


def test_a_concept_is_of_the_coarse_class_above_it_and_named_by_a_kind_where_it_is_one() -> None:
    above = {"cock": ["bird"], "bird": ["animal"], "oak": ["plant"]}
    below = {"bird": ["cock"], "animal": ["bird"]}
    names = ("animal", "bird", "cock", "oak", "plant")
    lemmas, senses = {name: [name] for name in names}, {name: [name] for name in (*names, "rooster")}
    senses["rooster"] = ["cock"]
    net = WordNet(below, above, dict.fromkeys(names, "05"), lemmas, senses, {}, dict.fromkeys(names, ""))
    samples = [Sample(name, None, label=name) for name in ("rooster", "bird", "oak", "ghost")]
    folder = coarse_folder(net, samples)
    assert folder.labels == ("bird", "bird")
    assert folder.words == ("cock", "")
    assert folder.texts == {"bird": ("cock",)}
