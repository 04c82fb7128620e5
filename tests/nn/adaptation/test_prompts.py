"""Texts of classes with vectors in them: the right layout, and the numbers of the path that skips nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deixis import zoo
from deixis.nn.adaptation.prompts import ClassTexts, Place, nearest, place, start_vectors
from deixis.nn.dual import DualEncoder
from deixis.nn.layers.attention import Attention
from tests.prompting import NAMES, clip_like, plain
from tests.support import few

SIGLIP = {"causal": False, "pool": "last", "end": None, "fill": 0}
ENCODERS: dict[str, Callable[[], DualEncoder]] = {
    "causal": clip_like,
    "mean of all states": lambda: zoo.load("tiny"),
    "filled up": lambda: clip_like(**SIGLIP),
    "not causal": lambda: clip_like(causal=False),
}


def texts_of(encoder: DualEncoder, vectors: int, position: Place = "end", chunk: int = 256) -> ClassTexts:
    return ClassTexts(encoder.tokenizer, NAMES, vectors, position, longest=encoder.context_length, chunk=chunk)


def some_vectors(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4)).requires_grad_()


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_a_text_is_put_together_as_the_position_says(position: Place, own: bool) -> None:
    """Class by class, by concatenation; three vectors, of which the first half is the shorter."""
    encoder = clip_like()
    tower, vectors = encoder.text_tower, some_vectors(1, 5 if own else 1, 3, 24)
    found = texts_of(encoder, 3, position).assemble(tower, vectors)[0]
    for c, name in enumerate(NAMES):
        v = vectors[0, c if own else 0]
        start, *letters, end = encoder.tokenizer([name.replace("_", " ")], 64).ids[0].tolist()
        dot = encoder.tokenizer(["."], 64).ids[0, 1].item()
        s, n, e = (tower.words(torch.tensor(each)) for each in ([start], letters, [dot, end]))
        parts = {"end": (s, v, n, e), "middle": (s, v[:1], n, v[1:], e), "front": (s, n, v, e)}[position]
        expected = torch.cat(parts)
        torch.testing.assert_close(found[c, : len(expected)], expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    "own_and_chunk", few(itertools.product((False, True), (1, 2, 3, 256)), (False, 256), (True, 1)), ids=str
)
@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_embeddings_and_gradients_are_those_of_the_path_that_skips_nothing(
    kind: str, position: Place, own_and_chunk: tuple[bool, int]
) -> None:
    (own, chunk), encoder = own_and_chunk, ENCODERS[kind]()
    tower = encoder.text_tower.requires_grad_(False)
    texts = texts_of(encoder, 3, position, chunk)
    vectors = some_vectors(1, 5 if own else 1, 3, tower.embeddings(torch.zeros(1, 1).long()).shape[-1])
    ours, theirs = texts(tower, vectors), plain(tower, texts, vectors, encoder.context_length)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    found, expected = (torch.autograd.grad((each * weights).sum(), vectors)[0] for each in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk", few([1, 3, 7, 256], 3, 256))
@pytest.mark.parametrize("kind", ENCODERS)
def test_several_groups_of_vectors_are_as_each_alone(kind: str, chunk: int) -> None:
    encoder = ENCODERS[kind]()
    tower, texts = encoder.text_tower, texts_of(encoder, 2, chunk=chunk)
    vectors = some_vectors(4, 1, 2, tower.embeddings(torch.zeros(1, 1).long()).shape[-1])
    with torch.no_grad():
        alone = torch.cat([texts(tower, each) for each in vectors.split(1)])
        torch.testing.assert_close(texts(tower, vectors), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ENCODERS)
def test_words_in_the_slots_give_the_embedding_of_the_sentence(kind: str) -> None:
    encoder = ENCODERS[kind]()
    tower = encoder.text_tower
    words = start_vectors(tower, encoder.tokenizer, "many ")
    texts = texts_of(encoder, len(words))
    sentences = [f"many {name.replace('_', ' ')}." for name in NAMES]
    torch.testing.assert_close(texts(tower, words[None, None])[0], encoder.encode_text(sentences), rtol=0, atol=1e-5)


def tokens_through(encoder: DualEncoder, run: Callable[[], object]) -> int:
    """How many tokens the tower's last perceptron saw."""
    seen = []
    module = [each for each in encoder.text_tower.modules() if type(each).__name__ == "Mlp"][-1]
    hook = module.register_forward_hook(lambda module, given, out: seen.append(given[0].shape[:2].numel()))
    run()
    hook.remove()
    return sum(seen)


def test_what_all_classes_share_goes_through_a_causal_tower_once() -> None:
    """Behind one start and 3 vectors, of which the last block needs keys alone, stand the name, a full stop, an end."""
    encoder = clip_like()
    vectors, letters = some_vectors(1, 1, 3, 24), [len(name) for name in NAMES]
    whole, single = (texts_of(encoder, 3, chunk=chunk) for chunk in (256, 1))
    with torch.no_grad():
        assert tokens_through(encoder, lambda: whole(encoder.text_tower, vectors)) == 5 * (max(letters) + 2)
        assert tokens_through(encoder, lambda: single(encoder.text_tower, vectors)) == sum(letters) + 5 * 2


def kept(run: Callable[[], Tensor]) -> int:
    """Bytes that are kept for the gradient, each storage counted once."""
    storages: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        result = run()
    assert result.requires_grad
    return sum(storages.values())


def test_ten_times_as_many_classes_keep_hardly_more_for_the_gradient() -> None:
    encoder = clip_like()
    encoder.text_tower.requires_grad_(False)
    vectors = some_vectors(1, 1, 3, 24)
    sizes = []
    for count, chunk in ((20, 256), (20, 4), (200, 4)):
        names = [f"thing {i:03}" for i in range(count)]
        texts = ClassTexts(encoder.tokenizer, names, 3, longest=77, chunk=chunk)
        sizes.append(kept(lambda texts=texts: texts(encoder.text_tower, vectors)))  # type: ignore[misc]
    whole, few, many = sizes
    assert few < whole / 2
    assert many < 1.5 * few


def test_a_slot_is_overwritten_and_nothing_else() -> None:
    words, slots = torch.zeros(2, 4, 1), torch.tensor([[1, 2], [0, 3]])
    vectors = torch.tensor([[[[1.0], [2.0]]], [[[3.0], [4.0]]]])
    expected = [[[0, 1, 2, 0], [1, 0, 0, 2]], [[0, 3, 4, 0], [3, 0, 0, 4]]]
    assert place(words, vectors, slots)[..., 0].tolist() == expected


def test_the_nearest_words_are_those_of_the_smallest_distance() -> None:
    words = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    numbers, distances = nearest(torch.tensor([[0.0, 0.0], [3.0, 3.0]]), words, 2)
    assert numbers.tolist() == [[0, 2], [1, 2]]
    torch.testing.assert_close(distances, torch.tensor([[0.0, 1.0], [1.0, 13**0.5]]))


@pytest.mark.parametrize(("vectors", "chunk"), [(0, 4), (2, 0)])
def test_no_vector_or_no_text_at_a_time_can_not_be(vectors: int, chunk: int) -> None:
    with pytest.raises(ValueError, match="at least one vector and one text"):
        texts_of(clip_like(), vectors, chunk=chunk)


def test_attention_behind_a_past_is_causal_attention_over_both() -> None:
    """Two pasts, each with three rows behind it."""
    attention = Attention(12, 3)
    before, after = torch.randn(2, 4, 12), torch.randn(6, 5, 12)
    whole = attention(torch.cat([before.repeat_interleave(3, dim=0), after], dim=1), causal=True)
    torch.testing.assert_close(
        attention.attend_cached(after, attention.kv_cache(before)), whole[:, 4:], rtol=1e-4, atol=1e-6
    )
