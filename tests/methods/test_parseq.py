"""PARSeq predicts characters in the authors' orders, by their masks, with their losses; and reads as they do."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from deixis import engine
from deixis.engine.training.train import batches, train
from deixis.errors import DeixisError
from deixis.methods.baselines import parseq
from deixis.nn.reading.alphabet import Alphabet
from deixis.nn.reading.orders import permutation_masks, permutations
from deixis.nn.reading.two_stream import TwoStreamDecoder
from deixis.types import Batch, Progress
from tests.methods.reading import gradients_of, stored_decoder
from tests.support import load_golden

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


@pytest.mark.golden
def test_masks_of_each_order_are_the_authors() -> None:
    golden = load_golden("parseq_masks")
    orders = golden["in.permutations"]
    assert orders.shape == (int(golden["cfg.num_permutations"]), int(golden["cfg.label_length"]) + 2)
    for order, content, query in zip(orders, golden["out.content_masks"], golden["out.query_masks"], strict=True):
        ours = permutation_masks(order)
        assert torch.equal(~ours[0], content)
        assert torch.equal(~ours[1], query)


@pytest.mark.golden
def test_states_logits_loss_and_gradients_are_the_authors() -> None:
    golden = load_golden("parseq_decoder")
    decoder, memory = stored_decoder(golden), golden["in.memory"].clone().requires_grad_()
    ids, orders = golden["in.token_ids"], golden["in.permutations"]
    masks = [torch.stack(each) for each in zip(*map(permutation_masks, orders), strict=True)]
    known = ids[:, :-1]
    real = (known != decoder.padding) & (known != 0)
    states = decoder.states(known, memory, *masks, real)
    torch.testing.assert_close(states.transpose(0, 1), golden["out.query_states"], **CLOSE)
    torch.testing.assert_close(decoder.head(states).transpose(0, 1), golden["out.logits"], **CLOSE)
    loss = parseq.permuted_loss(parseq.character_losses(decoder, memory, ids, orders))
    torch.testing.assert_close(loss, golden["out.loss"], **CLOSE)
    loss.backward()
    torch.testing.assert_close(memory.grad, golden["grad.in.memory"], **CLOSE)
    expected = gradients_of(golden)
    assert expected.keys() == dict(decoder.named_parameters()).keys()
    for name, value in expected.items():
        torch.testing.assert_close(decoder.get_parameter(name).grad, value, **CLOSE)


@pytest.mark.golden
def test_greedy_and_refined_reading_are_the_authors_and_so_is_what_their_code_does_with_one_mask() -> None:
    golden = load_golden("parseq_decode")
    decoder, memory = stored_decoder(golden), golden["in.memory"]
    logits = decoder.greedy(memory, whole=True)
    assert logits.shape[1] == int(golden["cfg.max_length"]) + 1
    torch.testing.assert_close(logits, golden["out.logits_autoregressive"], **CLOSE)
    assert torch.equal(logits.argmax(-1), golden["out.tokens_autoregressive"])
    refined = decoder.refined(logits, memory)
    torch.testing.assert_close(refined, golden["out.logits_refined"], **CLOSE)
    assert torch.equal(refined.argmax(-1), golden["out.tokens_refined"])
    released = decoder.refined(logits, memory, released=True)
    torch.testing.assert_close(released, golden["out.logits_refined_released"], **CLOSE)


def test_orders_are_forward_then_backward_then_mirrored_pairs_of_which_none_comes_twice() -> None:
    for length, count in ((1, 6), (2, 6), (3, 6), (4, 12), (9, 6)):
        rows = permutations(length, count, torch.Generator().manual_seed(0)).tolist()
        assert rows[0] == list(range(length + 2))
        assert all(sorted(row) == rows[0] and row[0] == 0 for row in rows)
        assert len(set(map(tuple, rows))) == len(rows) == min(count, {1: 1, 2: 2, 3: 6}.get(length, count))
        if length > 1:
            assert rows[1] == [0, *range(length + 1, 0, -1)]
        for one, other in zip(rows[2::2], rows[3::2], strict=True):
            assert one[1:-1] == other[-2:0:-1]
            assert one[-1] == other[-1] == length + 1
    with pytest.raises(DeixisError, match="even number"):
        permutations(5, 3, torch.Generator())


def test_the_loss_is_that_of_each_character_given_those_before_it_in_an_order() -> None:
    torch.manual_seed(0)
    decoder, memory = TwoStreamDecoder(5, 4, 8, 2, 2, 16).double().eval(), torch.randn(2, 3, 8).double()
    ids = torch.tensor([[6, 1, 2, 3, 0, 7], [6, 4, 0, 7, 7, 7]])
    orders = permutations(4, 4, torch.Generator().manual_seed(1))
    total, count = 0.0, 0
    for number, order in enumerate(orders.tolist()):
        for row, each in zip(ids, memory, strict=True):
            for place in range(1, 6):
                if row[place] == 7 or (number > 1 and row[place] == 0):
                    continue
                # What comes later in the order is changed, and what is predicted at this place must not mind.
                later = [p for p in order[order.index(place) :] if p < 5]
                other = row[:-1].clone()
                other[later] = torch.where((other[later] == 7) | (other[later] == 0), other[later], 5)
                content, query = permutation_masks(torch.tensor(order))
                real = (row[:-1] != 7) & (row[:-1] != 0)
                state = decoder.states(other[None], each[None], content[None], query[None], real[None])[0, 0, place - 1]
                total += float(F.cross_entropy(decoder.head(state), row[place]).detach())
                count += 1
    found = parseq.permuted_loss(parseq.character_losses(decoder, memory, ids, orders))
    assert float(found.detach()) == pytest.approx(total / count, rel=1e-9)


def test_of_one_order_it_is_a_model_from_left_to_right() -> None:
    """Its loss is that of reading character by character, each time with what stood before."""
    torch.manual_seed(0)
    decoder, memory = TwoStreamDecoder(5, 4, 8, 2, 2, 16).double().eval(), torch.randn(1, 3, 8).double()
    greedy = decoder.greedy(memory, whole=True)
    ids = torch.cat([torch.tensor([[6]]), greedy.argmax(-1)], dim=1)
    ids[:, 1:] = ids[:, 1:].clamp(min=1)  # ends inside would be hidden
    order = permutations(4, 1, torch.Generator())
    content, query = permutation_masks(order[0])
    past = torch.ones(5, 5, dtype=torch.bool).tril()
    assert torch.equal(content, past)
    assert torch.equal(query, past)
    states = decoder.states(ids[:, :-1], memory, content[None], query[None])
    for place in range(5):
        alone = decoder.states(
            ids[:, : place + 1], memory, content[None, : place + 1, : place + 1], query[None, : place + 1, : place + 1]
        )
        torch.testing.assert_close(alone[:, 0, -1], states[:, 0, place], **CLOSE)


def test_reading_with_cached_keys_is_reading_anew_at_each_step() -> None:
    torch.manual_seed(0)
    decoder, memory = TwoStreamDecoder(5, 6, 8, 2, 3, 16).double().eval(), torch.randn(4, 3, 8).double()
    greedy = decoder.greedy(memory, whole=True)
    tokens = torch.cat([torch.full((4, 1), 6), greedy[:, :-1].argmax(-1)], dim=1)
    past = torch.ones(1, 7, 7, dtype=torch.bool).tril()
    torch.testing.assert_close(decoder.head(decoder.states(tokens, memory, past, past)[:, 0]), greedy, **CLOSE)


def test_a_word_is_numbers_between_start_and_end_and_comes_back() -> None:
    alphabet = Alphabet("62", 6)
    rows, too_long, unknown = alphabet.encode(["Ab1", "a b", "", "toolong1", "naïve", "ﬁt"])
    assert rows.shape == (6, 8)
    assert rows[0, 0] == alphabet.start == 63
    assert rows[0, 4:].tolist() == [0, alphabet.padding, alphabet.padding, alphabet.padding]
    assert (too_long, unknown) == (2, 1)
    logits = F.one_hot(rows[[0, 1, 5], 1:].clamp(max=62), 63).float() * 50
    assert alphabet.decode(logits)[0] == ["Ab1", "ab", "fit"]
    assert Alphabet("36", 6).folded("AbÉ") == "abÉ"
    with pytest.raises(DeixisError, match="comes twice"):
        Alphabet("abca", 3)


def test_words_that_cannot_be_learned_are_left_out_and_counted() -> None:
    method = engine.build("parseq", "tiny").eval()
    images = torch.randn(3, 3, 32, 32)
    words = (("good",), ("x" * 17,), ("日本",))
    batch = Batch(("a", "b", "c"), images=images, captions=words)
    losses = method(batch, Progress())
    alone = method(batch.take([0]), Progress())
    torch.testing.assert_close(losses.total, alone.total)
    assert {name: float(value) for name, value in losses.metrics.items()} == {"too_long": 1, "unknown": 1}
    assert set(method.warnings({"too_long": 1.0, "unknown": 0.0}, Progress())) == {"too_long"}
    nothing = method(batch.take([1, 2]), Progress())
    assert float(nothing.total.detach()) == 0


@pytest.mark.slow
def test_a_few_words_are_learned_and_read() -> None:
    method = engine.build("parseq", "tiny", {"permutations": 2, "dropout": 0.0})
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    words = ("tea", "cake", "milk", "7up")
    batch = Batch(tuple("abcd"), images=images, captions=tuple((word,) for word in words))
    train(method, batches(batch, 4, 0), 150)
    read, chances = method.read_with_chances(images)
    assert tuple(read) == words
    assert all(0.5 < each <= 1 for each in chances)
