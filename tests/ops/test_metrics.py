from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from deixis.ops.metrics import (
    accuracy,
    pair_ranks,
    ranks,
    recall_at,
    reciprocal_rank,
    retrieval,
    retrieval_of_scores,
    retrieval_ranks,
)
from tests.support import examples


def rank_by_loop(query: list[int], key: int, gallery: list[list[int]], keys: list[int]) -> int:
    """Whole numbers, so that scores are exact: 1 + the entries of other keys that score at least as high."""
    scores = [sum(a * b for a, b in zip(query, entry, strict=True)) for entry in gallery]
    best = max(score for score, other in zip(scores, keys, strict=True) if other == key)
    return 1 + sum(score >= best and other != key for score, other in zip(scores, keys, strict=True))


@st.composite
def searches(draw: st.DrawFn) -> tuple[list[list[int]], list[int], list[list[int]], list[int]]:
    width = draw(st.integers(1, 4))
    vector = st.lists(st.integers(-2, 2), min_size=width, max_size=width)
    gallery = draw(st.lists(vector, min_size=1, max_size=12))
    keys = draw(st.lists(st.integers(0, 5), min_size=len(gallery), max_size=len(gallery)))
    queries = draw(st.lists(vector, min_size=1, max_size=8))
    query_keys = draw(st.lists(st.sampled_from(keys), min_size=len(queries), max_size=len(queries)))
    return queries, query_keys, gallery, keys


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


@examples(150)
@given(searches(), st.integers(1, 9))
def test_ranks_equal_a_slow_loop_with_ties_and_duplicates_for_any_block(
    case: tuple[list[list[int]], list[int], list[list[int]], list[int]], block: int
) -> None:
    queries, query_keys, gallery, keys = case
    found = ranks(
        torch.tensor(queries).float(),
        torch.tensor(gallery).float(),
        torch.tensor(query_keys),
        torch.tensor(keys),
        block=block,
    )
    assert found.tolist() == [rank_by_loop(q, key, gallery, keys) for q, key in zip(queries, query_keys, strict=True)]


def test_a_tower_that_gives_every_image_one_vector_ranks_last() -> None:
    generator = torch.Generator().manual_seed(0)
    text = unit(torch.randn(37, 48, generator=generator))
    image = unit(torch.randn(1, 48, generator=generator)).expand(37, 48)
    keys = torch.arange(37)
    assert ranks(text, image, keys, keys, block=5).tolist() == [37] * 37


def test_equal_vectors_tie_also_when_a_tower_left_them_different_last_digits() -> None:
    generator = torch.Generator().manual_seed(1)
    image = unit(torch.randn(1, 512, generator=generator)).repeat(20, 1)
    noisy = image * (1 + 1e-7 * torch.randn(20, 512, generator=generator))
    query = unit(torch.randn(20, 512, generator=generator))
    keys = torch.arange(20)
    assert ranks(query, noisy, keys, keys).tolist() == [20] * 20


def test_differences_that_float32_can_tell_apart_are_no_ties() -> None:
    gallery = torch.tensor([[1.0, 0.0], [1.0 - 1e-5, 0.0], [1.0 - 2e-5, 0.0]])
    keys = torch.arange(3)
    assert ranks(torch.tensor([[1.0, 0.0]] * 3), gallery, keys, keys).tolist() == [1, 2, 3]


@pytest.mark.parametrize("block", [1, 2, 7, 64, 1000])
def test_the_block_size_changes_nothing_on_ordinary_vectors(block: int) -> None:
    generator = torch.Generator().manual_seed(2)
    queries, gallery = torch.randn(65, 96, generator=generator), torch.randn(200, 96, generator=generator)
    query_keys, keys = torch.arange(65) % 40, torch.arange(200) % 50
    assert torch.equal(
        ranks(queries, gallery, query_keys, keys, block=block), ranks(queries, gallery, query_keys, keys, block=65)
    )


def test_the_length_of_a_query_does_not_change_its_rank() -> None:
    generator = torch.Generator().manual_seed(3)
    queries, gallery = torch.randn(9, 8, generator=generator), torch.randn(30, 8, generator=generator)
    keys = torch.arange(30)
    whole = ranks(queries, gallery, keys[:9], keys)
    assert torch.equal(ranks(queries * 1e-6, gallery, keys[:9], keys), whole)
    assert torch.equal(ranks(queries, gallery * 1e6, keys[:9], keys), whole)


def test_a_query_without_a_hit_is_named() -> None:
    rows = torch.eye(3)
    with pytest.raises(ValueError, match=r"query 1 looks for key 9.*2 of 3 queries"):
        ranks(rows, rows, torch.tensor([0, 9, 8]), torch.tensor([0, 1, 2]))


def test_an_empty_gallery_has_no_hit_and_no_queries_have_no_ranks() -> None:
    rows, keys = torch.eye(2), torch.arange(2)
    with pytest.raises(ValueError, match="query 0"):
        ranks(rows, rows[:0], keys, keys[:0])
    assert ranks(rows[:0], rows, keys[:0], keys).shape == (0,)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_vector_that_is_not_finite_has_no_rank(value: float) -> None:
    rows, keys = torch.eye(3), torch.arange(3)
    broken = rows.clone()
    broken[2, 0] = value
    with pytest.raises(ValueError, match="query 2"):
        ranks(broken, rows, keys, keys)
    with pytest.raises(ValueError, match="gallery entry 2"):
        ranks(rows, broken, keys, keys)


def test_recall_and_reciprocal_rank_of_known_ranks() -> None:
    found = torch.tensor([1, 2, 5, 11])
    assert recall_at(found, 5).tolist() == [1, 1, 1, 0]
    assert reciprocal_rank(found).tolist() == [1, 0.5, 0.2, 1 / 11]


def test_retrieval_by_hand_with_a_caption_of_two_images() -> None:
    # Captions: 7 (images 0 and 2), 3 (image 1). The second vector of caption 7 must not enter the gallery.
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    keys = torch.tensor([7, 3, 7])
    to_text, to_image = retrieval_ranks(image, text, keys)
    assert to_text.tolist() == [1, 1, 2]
    assert to_image.tolist() == [1, 1, 1]
    values = retrieval(image, text, keys)
    assert values["image_to_text_r1"].tolist() == [1, 1, 0]
    assert values["mean_mrr"].tolist() == [1, 1, 0.75]
    assert set(values) == {
        f"{direction}_{metric}"
        for direction in ("image_to_text", "text_to_image", "mean")
        for metric in ("r1", "r5", "r10", "mrr")
    }


def test_retrieval_equals_a_slow_loop_over_samples() -> None:
    generator = torch.Generator().manual_seed(4)
    image = torch.randint(-2, 3, (25, 4), generator=generator)
    text = torch.randint(-2, 3, (25, 4), generator=generator)
    keys = torch.randint(0, 14, (25,), generator=generator) * 1000
    caption = {int(key): text[keys == key][0].tolist() for key in keys.flip(0)}
    images, names = image.tolist(), list(caption)
    to_text, to_image = retrieval_ranks(image.float(), text.float(), keys)
    for i in range(25):
        key = int(keys[i])
        assert to_text[i] == rank_by_loop(images[i], key, [caption[name] for name in names], names)
        assert to_image[i] == rank_by_loop(caption[key], key, images, keys.tolist())


def test_a_subset_of_queries_keeps_the_whole_gallery() -> None:
    generator = torch.Generator().manual_seed(5)
    image, text = torch.randn(30, 6, generator=generator), torch.randn(30, 6, generator=generator)
    keys, chosen = torch.randint(0, 20, (30,), generator=generator), torch.rand(30, generator=generator) < 0.4
    whole, part = retrieval(image, text, keys), retrieval(image, text, keys, chosen)
    for name, values in whole.items():
        assert torch.equal(part[name], values[chosen])
    assert retrieval(image, text, keys, torch.zeros(30, dtype=torch.bool))["mean_r1"].shape == (0,)


def test_accuracy_counts_a_tie_as_wrong() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 2.0, 0.0], [0.0, 1.0, 3.0], [0.0, 0.0, 0.0]])
    assert accuracy(logits, torch.tensor([0, 0, 1, 2])).tolist() == [1, 0, 0, 0]
    assert accuracy(torch.tensor([[20.0, 20.0 - 1e-6]]), torch.tensor([0])).tolist() == [0]
    assert accuracy(torch.tensor([[-5.0]]), torch.tensor([0])).tolist() == [1]


def test_accuracy_refuses_a_label_that_is_no_class_and_scores_that_are_not_finite() -> None:
    with pytest.raises(ValueError, match="label 3 of sample 1 is none of the 3 classes"):
        accuracy(torch.zeros(2, 3), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="row of logits 0"):
        accuracy(torch.tensor([[float("nan"), 1.0]]), torch.tensor([0]))


def test_scores_of_pairs_and_embeddings_give_the_same_values() -> None:
    generator = torch.Generator().manual_seed(3)
    image, text = (unit(torch.randn(12, 6, generator=generator)) for _ in range(2))
    keys = torch.arange(12) // 2
    text = text[::2].repeat_interleave(2, dim=0)
    of_vectors, of_scores = retrieval(image, text, keys), retrieval_of_scores(image @ text.T, keys)
    assert all(torch.equal(of_vectors[name], of_scores[name]) for name in of_vectors)


def test_an_image_with_several_captions_is_found_by_any_of_them_whatever_the_pieces() -> None:
    # Images 0 and 1 share caption 1; image 0 also has caption 0, image 2 captions 2 and 3.
    pairs = torch.tensor([[0, 0], [0, 1], [1, 1], [2, 2], [2, 3]])
    scores = torch.tensor([[0.1, 0.5, 0.4, 0.0], [0.9, 0.3, 0.2, 0.1], [0.6, 0.5, 0.4, 0.7]])
    for sizes in ((3,), (1, 2), (1, 1, 1)):
        assert pair_ranks(scores.split(list(sizes)), pairs, block=2).tolist() == [1, 2, 1]
    assert pair_ranks([scores.T], pairs.flip(1)).tolist() == [3, 2, 2, 1]


def test_the_true_class_is_among_the_first_k_unless_it_ties_with_the_next() -> None:
    logits = torch.tensor([[0.1, 0.4, 0.3, 0.2], [0.2, 0.2, 0.2, 0.1]])
    labels = torch.tensor([3, 0])
    assert [accuracy(logits, labels, k).tolist() for k in (1, 2, 3, 4)] == [[0, 0], [0, 0], [1, 1], [1, 1]]
