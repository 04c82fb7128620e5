"""Language models in files of llama.cpp: what is read is what was written, and what can't be read is named."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers
from torch import Tensor

from deixis import zoo
from deixis.errors import DeixisError
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.language.causal_lm import CausalLm, CausalLmConfig
from deixis.nn.language.chat import chat_tokens
from deixis.nn.language.generation import generate
from deixis.nn.language.sequences import continuation_loss
from deixis.types.outputs import Tokens
from deixis.zoo.lm import gguf, transformers_lm
from deixis.zoo.lm.bpe import SPLITS, byte_pair_tokenizer

peer = pytest.importorskip("gguf", reason="gguf writes the files of these tests")

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
TOKENS = ["<|end|>", "<|start|>", *BYTES, "th", "the", "Ġthe"]
ENTRIES = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.merges": ["t h", "th e", "Ġ the"],
    "tokenizer.ggml.token_type": [3, 3, *[1] * (len(TOKENS) - 2)],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 0,
}
CHAT = (
    "{% for message in messages %}{{ '<|start|>' + message['role'] + ': ' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant: ' }}{% endif %}"
)
NAMES = [
    *(f"{name}.weight" for name in ("token_embd", "output_norm")),
    *(f"blk.{n}.{name}.{kind}" for n in (0, 1) for name in gguf._NAMES for kind in ("weight", "bias")),
]
SHAPE = CausalLmConfig("llama", len(TOKENS), 50, 64, 2, 4, 96, end=0, start=1, key_heads=2, rotary_base=500.0)


@functools.cache
def model(biases: Any = "none") -> CausalLm:
    """Of random weights that four bits can hold."""
    shape = CausalLmConfig(**{**vars(SHAPE), "biases": biases})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return CausalLm(shape, byte_pair_tokenizer(ENTRIES, "entries")).eval()


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """As llama.cpp's converter turns the rows of queries and keys."""
    return weight.reshape(heads, 2, len(weight) // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def write(path: Path, kind: str = "llama", form: str = "F32", **changes: Any) -> Path:
    """A file of `model()`, some of its entries changed, or left out where the value is None."""
    lm = model("inputs" if kind == "qwen2" else "none")
    entries = {
        "context_length": 50,
        "embedding_length": 64,
        "block_count": 2,
        "feed_forward_length": 96,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "rope.freq_base": 500.0,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }
    every = {**{f"{kind}.{name}": value for name, value in entries.items()}, **ENTRIES, **changes}
    writer = peer.GGUFWriter(path, kind)
    for name, value in every.items():
        if value is None:
            continue
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string, list: writer.add_array}
        add[type(value)](name, value)
    shorts = {gguf._theirs(name): name for name in NAMES}
    for name, value in lm.state_dict().items():
        turns = kind == "llama" and name.endswith(("query.weight", "key.weight"))
        numbers = interleaved(value, 4 if "query" in name else 2) if turns else value
        short = shorts[transformers_lm.names_of(lm)[name]]
        stored = peer.GGMLQuantizationType["F32" if value.dim() == 1 else form]
        writer.add_tensor(short, peer.quantize(numbers.numpy(), stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def read(*said: str) -> Tokens:
    return model().tokenizer(said, 40)


@torch.no_grad()
def scores(lm: CausalLm) -> Tensor:
    tokens = read("the moth", "7")
    return lm(*tokens)[tokens.mask]


@pytest.mark.parametrize("kind", gguf.ARCHITECTURES)
def test_a_file_gives_the_model_that_was_written(tmp_path: Path, kind: str) -> None:
    loaded = zoo.load_part("lm", str(write(tmp_path / "model.gguf", kind)))
    torch.testing.assert_close(scores(loaded), scores(model("inputs" if kind == "qwen2" else "none")))
    assert loaded.end == 0
    assert loaded.start == 1


@pytest.mark.parametrize("form", [each for each in gguf.STORED if each != "F32"])
def test_numbers_are_unpacked_as_the_package_does(tmp_path: Path, form: str) -> None:
    rows, stored = torch.randn(3, 64).numpy(), peer.GGMLQuantizationType[form]
    packed = peer.quantize(rows, stored)
    found = gguf.unpacked(torch.from_numpy(packed), form)
    torch.testing.assert_close(found, torch.from_numpy(peer.dequantize(packed, stored)), rtol=0, atol=0)
    loaded = zoo.load_part("lm", str(write(tmp_path / "model.gguf", form=form)))
    assert torch.corrcoef(torch.stack([scores(loaded).flatten(), scores(model()).flatten()]))[0, 1] > 0.8


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"kind": "bloom"}, "of the architecture 'bloom'"),
    "form": ({"form": "Q5_0"}, "stores token_embd.weight as Q5_0"),
    "end": ({"tokenizer.ggml.eos_token_id": None}, "no token that ends a text"),
    "positions": ({"llama.rope.scaling.type": "yarn"}, "stretches its positions"),
    "sizes": ({"llama.block_count": None}, "does not say llama.block_count"),
    "blocks": ({"llama.block_count": 1}, r"model.layers.1.\S+ is not known"),
    "words": ({"tokenizer.ggml.model": "llama"}, "a tokenizer of the kind 'llama'"),
    "cut": ({"tokenizer.ggml.pre": "tekken"}, "cuts texts by 'tekken'"),
    "merges": ({"tokenizer.ggml.merges": ["t q"]}, "contradicts itself"),
    "bytes": (
        {"tokenizer.ggml.tokens": ["<|end|>", "<|start|>", "a"], "tokenizer.ggml.merges": []},
        "no token for 'b'",
    ),
    "many": ({"tokenizer.ggml.tokens": [*TOKENS, "more"]}, "the tokenizer has 262 tokens, and .* embeddings of 261"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_read_is_named(tmp_path: Path, case: str) -> None:
    changes, message = REFUSED[case]
    changes = {"tokenizer.ggml.token_type": [3, 3, *[1] * 300], **changes}
    with pytest.raises(DeixisError, match=message):
        zoo.load_part("lm", str(write(tmp_path / "model.gguf", **changes)))


def test_a_file_that_is_cut_short_or_none_is_said_to_be(tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf")
    whole = path.read_bytes()
    for share in (0.01, 0.3, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DeixisError, match="may be cut short"):
            zoo.load_part("lm", str(path))
    with pytest.raises(DeixisError, match="There is no file"):
        zoo.load_part("lm", str(tmp_path / "other.gguf"))
    with pytest.raises(DeixisError, match="Run: deixis data get smollm2"):
        zoo.load_part("lm", "smollm2")


def test_without_the_package_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "model.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(DeixisError, match=r"pip install 'deixis\[lm\]'"):
        zoo.load_part("lm", str(path))


@functools.cache
def tokenizer(cut: str) -> Tokenizer:
    return byte_pair_tokenizer({**ENTRIES, "tokenizer.ggml.pre": cut}, "entries")


@given(st.text(max_size=30), st.sampled_from(sorted(SPLITS)))
@settings(max_examples=25, deadline=None)
def test_a_text_comes_back_as_it_was(text: str, cut: str) -> None:
    rules = tokenizer(cut)
    row = rules([text], 1000)
    assert rules.decode(row.ids[0, row.mask[0]].tolist()) == text


def test_words_are_cut_as_the_model_learned_them() -> None:
    assert tokenizer("smollm").pieces(tokenizer("smollm")(["the the27"], 20).ids[0].tolist()) == [
        "the",
        "the",
        "2",
        "7",
    ]
    assert model().tokenizer.decode(read("<|end|>").ids[0].tolist()) == "<|end|>", "text stays text"
    begun = byte_pair_tokenizer({**ENTRIES, "tokenizer.ggml.add_bos_token": True}, "entries")
    assert begun(["a"], 9).ids[0, 0] == 1


def test_a_conversation_is_put_as_the_model_learned_it_and_no_message_ends_it(tmp_path: Path) -> None:
    lm = zoo.load_part("lm", str(write(tmp_path / "model.gguf", **{"tokenizer.chat_template": CHAT})))
    ids = chat_tokens(lm, [("user", "the <|end|>")]).ids[0].tolist()
    whole = lm.tokenizer.backend.decode(ids, skip_special_tokens=False)
    assert whole == "<|start|>user: the <|end|><|end|><|start|>assistant: "
    assert [ids.count(number) for number in (0, 1)] == [1, 2]
    with pytest.raises(DeixisError, match="has learned from no conversations"):
        chat_tokens(model(), [("user", "the")])
    lm.chat_template = "{{ raise_exception('roles must take turns') }}"
    with pytest.raises(DeixisError, match="roles must take turns"):
        chat_tokens(lm, [("user", "the")])


@pytest.mark.slow
@torch.no_grad()
def test_smollm2_knows_the_capital_of_france_and_a_caption_from_its_words_shuffled(
    fetched: Callable[[str], Path],
) -> None:
    fetched("smollm2")
    lm = zoo.load_part("lm", "smollm2")
    for ids, mask in (
        lm.tokenizer(["The capital of France is"], 50),
        chat_tokens(lm, [("user", "What is the capital of France?")]),
    ):
        assert "Paris" in generate(lm, lm.embed(ids), mask, 10)[0].text
    said = "A brown dog runs across the green grass with a red ball in its mouth."
    shuffled = "brown red a the ball dog runs grass with across A mouth. in green its"
    assert sorted(said.split()) == sorted(shuffled.split())
    plain, mixed = (continuation_loss(lm, None, lm.tokenizer([text], 50)).mean().exp() for text in (said, shuffled))
    assert mixed > 50 * plain
    text = "Ünïcode, 東京, 🙂 and  two\n\nspaces"
    assert lm.tokenizer.decode(lm.tokenizer([text], 100).ids[0].tolist()) == text
