"""Language models: equal to those of transformers, causal, deaf to padding wherever it stands."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.language.causal_lm import CausalLm
from deixis.nn.language.kv_cache import KvCache
from deixis.zoo.layouts.weights import Weights
from deixis.zoo.lm import transformers_lm
from deixis.zoo.tiny import byte_tokenizer

SIZES = {"vocab_size": 300, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LLAMA = {
    **SIZES,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 40,
}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", {**SIZES, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40}),
    "llama": ("LlamaForCausalLM", {**LLAMA, "attention_bias": True}),
    "smollm": (
        "LlamaForCausalLM",
        {**LLAMA, "tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0}},
    ),
    "qwen2": ("Qwen2ForCausalLM", {**LLAMA, "num_key_value_heads": 1}),
}


@functools.cache
def model(shape: str) -> CausalLm:
    """One of random weights that are far from 0."""
    settings = {"model_type": "llama" if shape == "smollm" else shape, **SHAPES[shape][1]}
    built = CausalLm(transformers_lm.read_config(settings, shape), byte_tokenizer(decoder=True), shape)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for value in built.parameters():
            value.copy_(0.3 * torch.randn_like(value) + (value.dim() == 1))
    return built.eval()


@functools.cache
def theirs(shape: str) -> Any:
    """A model of transformers of the same shape, of weights of its own."""
    import transformers

    name, settings = SHAPES[shape]
    built = getattr(transformers, name)(getattr(transformers, name).config_class(**settings)).eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for value in built.parameters():
            value.copy_(0.3 * torch.randn_like(value) + (value.dim() == 1))
        built.lm_head.weight[2] *= -4.0 if shape == "gpt2" else 4.0  # texts end now and then
    return built


@functools.cache
def same(shape: str) -> CausalLm:
    """Ours with the weights of theirs."""
    state = theirs(shape).state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    settings = theirs(shape).config.to_dict()
    built = CausalLm(transformers_lm.read_config(settings, shape), byte_tokenizer(decoder=True), shape)
    transformers_lm.fill(built, Weights(shape, shapes, lambda name: state[name], "safetensors"))
    return built.eval()


def tokens(rows: int = 3, length: int = 9, seed: int = 0) -> Tensor:
    return torch.randint(3, 259, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_logits_are_those_of_transformers(shape: str) -> None:
    pytest.importorskip("transformers")
    ids = tokens()
    expected = theirs(shape)(input_ids=ids).logits
    assert expected.std() > 0.5
    real = torch.ones_like(ids, dtype=torch.bool)
    torch.testing.assert_close(same(shape)(ids, real), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", ["gpt2", "qwen2"])
@torch.no_grad()
def test_padding_before_behind_and_between_changes_nothing(shape: str) -> None:
    ours = model(shape)
    ids = tokens(1, 6)
    alone = ours(ids, torch.ones_like(ids, dtype=torch.bool))[0]
    for places in ([3, 4, 5, 6, 7, 8], [0, 1, 2, 3, 4, 5], [0, 2, 3, 6, 7, 8]):
        padded, mask = tokens(1, 9, seed=1), torch.zeros(1, 9, dtype=torch.bool)
        padded[0, places], mask[0, places] = ids[0], True
        torch.testing.assert_close(ours(padded, mask)[0, places], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", ["gpt2", "qwen2"])
@torch.no_grad()
def test_what_is_read_piece_by_piece_is_what_is_read_at_once(shape: str) -> None:
    ours = model(shape)
    ids, mask = tokens(2, 36), torch.ones(2, 36, dtype=torch.bool)
    mask[0, :2] = mask[1, 4] = False
    whole, past = ours.states(ours.embed(ids), mask), KvCache()
    cuts = [0, 3, 4, 5, 34, 35, 36]
    pieces = [
        ours.states(ours.embed(ids[:, start:stop]), mask[:, start:stop], past)
        for start, stop in itertools.pairwise(cuts)
    ]
    torch.testing.assert_close(torch.cat(pieces, dim=1)[mask], whole[mask], rtol=1e-4, atol=1e-4)


def test_the_loss_of_tokens_is_their_cross_entropy_and_scores_only_what_is_asked() -> None:
    ours = model("smollm")
    ids = tokens(2, 5)
    real = torch.tensor([[True, False, True, True, True], [False, True, False, False, False]])
    states = ours.states(ours.embed(ids), torch.ones_like(real)).detach()
    expected = F.cross_entropy(ours.logits(states).transpose(1, 2), ids, reduction="none") * real
    torch.testing.assert_close(ours.token_loss(states, ids, real), expected)
    assert not ours.token_loss(states, ids, torch.zeros_like(real)).any()


def test_a_text_that_is_longer_than_the_positions_is_refused_with_what_was_read_before_it() -> None:
    ours = model("gpt2")
    ids, past = tokens(1, 30), KvCache()
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        ours.states(ours.embed(ids), mask, past)
        with pytest.raises(DeixisError, match="A text has 60 positions, and this language model has 40"):
            ours.states(ours.embed(ids), mask, past)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bloom"}, "model_type='bloom'"),
        ({"eos_token_id": None}, "no token that ends a text"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "rope_parameters"),
        ({"head_dim": 5}, "head_dim"),
        ({"sideways": True}, "sideways"),
        ({"eos_token_id": 300}, "token 300 is to begin or end a text"),
        ({"vocab_size": 100}, "the tokenizer has 259 tokens"),
    ],
)
def test_what_is_not_built_here_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    settings = {"model_type": "llama", **LLAMA, **changes}
    with pytest.raises(DeixisError, match=message):
        CausalLm(transformers_lm.read_config(settings, "config.json"), byte_tokenizer())


def test_weights_that_do_not_fit_are_named() -> None:
    state = {"surplus.weight": torch.zeros(1), "model.norm.weight": torch.zeros(32)}
    shapes = {name: tuple(each.shape) for name, each in state.items()}
    with pytest.raises(DeixisError, match=r"lm_head.weight is missing;.* and \d+ more"):
        transformers_lm.fill(model("llama"), Weights("x", shapes, lambda name: state[name], "pickle"))
