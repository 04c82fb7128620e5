"""Causal language models in one file of llama.cpp (GGUF): LLaMA (SmolLM is one) and Qwen2, stored as F32, F16, Q8_0,
Q4_0 or Q4_1. The package `gguf` reads it; what is computed is float32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from deixis.errors import DeixisError, require
from deixis.nn.language.causal_lm import CausalLm, CausalLmConfig
from deixis.nn.unfilled import Unfilled
from deixis.zoo.layouts.weights import Weights
from deixis.zoo.lm.bpe import byte_pair_tokenizer
from deixis.zoo.lm.transformers_lm import fill

__all__ = ["ARCHITECTURES", "STORED", "half_order", "load", "unpacked"]

ARCHITECTURES = ("llama", "qwen2")
STORED = ("F32", "F16", "Q8_0", "Q4_0", "Q4_1")
"""Forms of tensors that are read."""

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CUT = "It may be cut short: compare its size with the original's, and fetch it again."


def load(path: Path, name: str) -> CausalLm:
    """A language model from a GGUF file, in eval mode.

    Args:
        path: of the file.
        name: of the part.

    Raises:
        DeixisError: the package gguf is not installed; the file is missing, cut short, of another architecture or
            stored in another form; or its tokenizer is none that is known, or does not fit.
    """
    if not path.is_file():
        raise DeixisError(f"There is no file {path}.", "Give the path of a GGUF file.")
    package: Any = require("gguf", "lm", "read language models of llama.cpp (GGUF)")
    try:
        reader = _plain_reader(package)(path)
        entries = {key: field.contents() for key, field in reader.fields.items()}
        tensors = {each.name: each for each in reader.tensors}
    except Exception as error:  # whatever the package meets in a damaged file
        raise DeixisError(f"{path} can't be read as GGUF: {error}.", _CUT) from error
    config = _config(entries, tensors, str(path))
    tokenizer = byte_pair_tokenizer(entries, str(path))
    with Unfilled():
        model = CausalLm(config, tokenizer, name, str(entries.get("general.license", "")))
    model.chat_template = str(entries.get("tokenizer.chat_template", ""))
    fill(model, _weights(tensors, str(path), config, entries["general.architecture"]))
    return model.eval()


def _plain_reader(package: Any) -> Any:
    """The package's reader, on a plain array: of a vocabulary it makes a hundred thousand small reads, and each view of
    a memory map costs numpy several times what another does."""

    def keep(self: Any, data: Any) -> None:
        self._plain = np.asarray(data)

    return type("PlainReader", (package.GGUFReader,), {"data": property(lambda self: self._plain, keep)})


def half_order(weight: Float[Tensor, "D ..."], heads: int) -> Float[Tensor, "D ..."]:
    """Rows of a map to queries or keys, turned from interleaved to half order.

    LLaMA's files have the two numbers that are rotated together side by side; here the second ones follow all first.

    Args:
        weight: of the map, or its bias.
        heads: whose rows they are.
    """
    pairs = weight.unflatten(0, (heads, -1, 2))
    return pairs.transpose(1, 2).flatten(0, 2)


def unpacked(data: Shaped[Tensor, "*B S"], form: str) -> Float[Tensor, "*B D"]:
    """Numbers from the form that they are stored in, as float32.

    Blocks of 32 share a scale d, and in Q4_1 a shift m, in half precision: 8-bit q d, 4-bit (q - 8) d, or q d + m. The
    lower halves of 16 bytes are the first 16 numbers of a block.

    Args:
        data: a row of numbers, or of the bytes of blocks.
        form: one of `STORED`.
    """
    if form in ("F32", "F16"):
        return data.float()
    blocks = data.unflatten(-1, (-1, {"Q8_0": 34, "Q4_0": 18, "Q4_1": 20}[form]))
    scale, rest = blocks[..., :2].contiguous().view(torch.float16).float(), blocks[..., 2:].contiguous()
    if form == "Q8_0":
        return (rest.view(torch.int8) * scale).flatten(-2)
    shift = -8 * scale if form == "Q4_0" else rest[..., :2].contiguous().view(torch.float16).float()
    halves = rest[..., -16:]
    return (torch.cat([halves & 15, halves >> 4], dim=-1) * scale + shift).flatten(-2)


def _config(entries: Mapping[str, Any], tensors: Mapping[str, Any], source: str) -> CausalLmConfig:
    kind = entries.get("general.architecture")
    if kind not in ARCHITECTURES:
        raise DeixisError(
            f"{source} holds a model of the architecture {kind!r}.",
            f"Those that are built: {', '.join(ARCHITECTURES)}.",
        )

    def take(key: str, default: Any = None) -> Any:
        value = entries.get(f"{kind}.{key}", default)
        if value is None:
            raise DeixisError(f"{source} does not say {kind}.{key}.", _CUT)
        return value

    if (scaling := take("rope.scaling.type", "none")) != "none":
        raise DeixisError(
            f"{source} stretches its positions ({kind}.rope.scaling.type is {scaling!r}).",
            "Such a model is not built here; take one without.",
        )
    end = entries.get("tokenizer.ggml.eos_token_id")
    if end is None or "token_embd.weight" not in tensors:
        missing = "no token that ends a text (eos_token_id)" if end is None else "no embeddings (token_embd.weight)"
        raise DeixisError(f"{source} has {missing}.", "Take a file of a whole model, with its tokenizer.")
    start, heads = entries.get("tokenizer.ggml.bos_token_id"), int(take("attention.head_count"))
    return CausalLmConfig(
        "llama",
        vocabulary=int(tensors["token_embd.weight"].shape[1]),
        length=int(take("context_length")),
        width=int(take("embedding_length")),
        depth=int(take("block_count")),
        heads=heads,
        hidden=int(take("feed_forward_length")),
        end=int(end),
        start=None if start is None else int(start),
        key_heads=int(take("attention.head_count_kv", heads)),
        biases="inputs" if kind == "qwen2" else "none",
        tied="output.weight" not in tensors,
        rotary_base=float(take("rope.freq_base", 10_000.0)),
        epsilon=float(take("attention.layer_norm_rms_epsilon")),
    )


def _weights(tensors: Mapping[str, Any], source: str, config: CausalLmConfig, kind: str) -> Weights:
    """The tensors under the names that transformers has for them."""
    stored = {_theirs(name): each for name, each in tensors.items()}
    for name, each in tensors.items():
        if each.tensor_type.name not in STORED:
            raise DeixisError(
                f"{source} stores {name} as {each.tensor_type.name}.",
                f"Those that are read: {', '.join(STORED)}. Take a file of another quantisation.",
            )

    def read(name: str) -> Tensor:
        each = stored[name]
        value = unpacked(torch.from_numpy(each.data.copy()), each.tensor_type.name)
        if kind == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            value = half_order(value, config.heads if ".q_proj." in name else config.key_heads or config.heads)
        return value

    shapes = {name: tuple(map(int, reversed(each.shape))) for name, each in stored.items()}
    return Weights(source, shapes, read, "gguf")


def _theirs(name: str) -> str:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`."""
    place, _, ending = name.rpartition(".")
    block, _, inside = place.rpartition(".")
    long = _NAMES.get(inside, inside)
    return f"model.layers.{block.removeprefix('blk.')}.{long}.{ending}" if block else f"{long}.{ending}"
