"""Settings of the text encoders that open_clip's configs name by their repository, so that none has to be fetched.

Numbers are those of each repository's `config.json`; a weight of another shape, or another number of layers, is an
error when the checkpoint is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deixis.errors import DeixisError
from deixis.zoo.layouts.settings import read_json

__all__ = ["text_network"]

_ROBERTA = {
    "hidden_act": "gelu",
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_NLLB = {
    "model_type": "m2m_100",
    "vocab_size": 256206,
    "max_position_embeddings": 1024,
    "d_model": 1024,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "activation_function": "relu",
    "scale_embedding": True,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
_MT5 = {
    "model_type": "mt5",
    "vocab_size": 250112,
    "d_kv": 64,
    "feed_forward_proj": "gated-gelu",
    "layer_norm_epsilon": 1e-6,
    "relative_attention_num_buckets": 32,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
_NETWORKS: dict[str, dict[str, Any]] = {
    "roberta-base": {"model_type": "roberta", "vocab_size": 50265, **_BASE, **_ROBERTA},
    "xlm-roberta-base": {"model_type": "xlm-roberta", "vocab_size": 250002, **_BASE, **_ROBERTA},
    "xlm-roberta-large": {"model_type": "xlm-roberta", "vocab_size": 250002, **_LARGE, **_ROBERTA},
    "facebook/nllb-200-distilled-600M": {
        **_NLLB,
        **{"encoder_layers": 12, "decoder_layers": 12, "encoder_ffn_dim": 4096, "decoder_ffn_dim": 4096},
    },
    "facebook/nllb-200-distilled-1.3B": {
        **_NLLB,
        **{"encoder_layers": 24, "decoder_layers": 24, "encoder_ffn_dim": 8192, "decoder_ffn_dim": 8192},
    },
    "google/mt5-base": {**_MT5, "d_model": 768, "d_ff": 2048, "num_layers": 12, "num_heads": 12},
    "google/mt5-xl": {**_MT5, "d_model": 2048, "d_ff": 5120, "num_layers": 24, "num_heads": 32},
}


def text_network(name: str, folder: Path | None) -> dict[str, Any]:
    """The settings of a text encoder, `model_type` among them.

    Args:
        name: of its repository.
        folder: of the checkpoint; where `text_config.json` stands in it, that counts.

    Raises:
        DeixisError: the encoder is not known, and its settings are not there.
    """
    own = None if folder is None else folder / "text_config.json"
    if own is not None and own.is_file():
        return read_json(own)
    if name not in _NETWORKS:
        raise DeixisError(
            f"The text tower is {name!r} of transformers, whose settings are not known here.",
            f"Put its config.json into the folder, as text_config.json. Known are: {', '.join(_NETWORKS)}.",
        )
    return dict(_NETWORKS[name])
