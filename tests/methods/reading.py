"""Stored decoders as ours, for the golden vectors of PARSeq and DPTR."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from deixis.nn.reading.two_stream import TwoStreamDecoder

__all__ = ["attention_state", "gradients_of", "stored_decoder"]

_NAMES = {
    "self_attn": "self_attention",
    "cross_attn": "cross_attention",
    "ffn_in": "perceptron.widen",
    "ffn_out": "perceptron.narrow",
    "norm_query": "query_norm",
    "norm_content": "content_norm",
    "norm_cross": "cross_norm",
    "norm_ffn": "norm",
    "final_norm": "norm",
    "layers": "blocks",
}


def attention_state(name: str, value: Tensor) -> dict[str, Tensor]:
    """One stored tensor under our name; one of queries, keys and values side by side as three."""
    first, _, kind = name.rpartition(".")
    named = ".".join(_NAMES.get(each, each) for each in first.removesuffix(".qkv").split("."))
    if not first.endswith("qkv"):
        return {f"{named}.{kind}": value}
    return {
        f"{named}.{part}.{kind}": each for part, each in zip(("query", "key", "value"), value.chunk(3), strict=True)
    }


def _named(stored: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for key, value in stored.items():
        name = key.removeprefix(prefix)
        if name == key:
            continue
        if name == "position_queries":
            found["positions"] = value[0]
        elif name == "token_embedding":
            found["embedding.weight"] = value
        else:
            found |= attention_state(name, value)
    return found


def stored_decoder(golden: Mapping[str, Tensor]) -> TwoStreamDecoder:
    """The decoder of a file of golden vectors."""
    positions, width = golden["param.position_queries"].shape[1:]
    sizes = (len(golden["param.head.bias"]) - 1, positions - 1, width)
    hidden = len(golden["param.layers.0.ffn_in.bias"])
    decoder = TwoStreamDecoder(*sizes, int(golden["cfg.num_heads"]), int(golden["cfg.num_layers"]), hidden).double()
    decoder.load_state_dict(_named(golden, "param."))
    for key in ("eos", "bos", "pad"):
        assert int(golden[f"cfg.{key}_id"]) == {"eos": 0, "bos": decoder.start, "pad": decoder.padding}[key]
    assert decoder.norm.eps == float(golden["cfg.layer_norm_eps"])
    return decoder


def gradients_of(golden: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The stored gradients of the decoder's parameters, by our names."""
    return _named(golden, "grad.param.")
