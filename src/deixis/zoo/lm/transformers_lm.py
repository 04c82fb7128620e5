"""Causal language models as transformers saves them: GPT-2, LLaMA (SmolLM is one) and Qwen2. It need not be installed.

Whatever an entry of the config or a tensor is not known for is an error, as it might change what the model says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from deixis.errors import DeixisError
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.language.causal_lm import CausalLm, CausalLmConfig
from deixis.nn.unfilled import Unfilled
from deixis.zoo.layouts.settings import StrictConfig, licence_of, no_weights, read_json, read_tokenizer
from deixis.zoo.layouts.weights import Weights, open_weights

__all__ = ["KINDS", "fill", "load", "names_of", "read_config"]

KINDS = ("gpt2", "llama", "qwen2")
"""Values of `model_type` that can be loaded."""

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_SILENT = (
    "model_type architectures dtype torch_dtype transformers_version _name_or_path initializer_range use_cache "
    "attention_dropout attn_pdrop embd_pdrop resid_pdrop pretraining_tp chunk_size_feed_forward id2label label2id "
    "is_decoder is_encoder_decoder output_attentions output_hidden_states problem_type return_dict summary_type "
    "summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout task_specific_params "
    "pad_token_id unk_token_id max_window_layers n_ctx gradient_checkpointing transformers.js_config "
    "reorder_and_upcast_attn is_llama_config rope_interleaved quantization_config_note"
).split()
_BUFFERS = ("attn.bias", "attn.masked_bias", "rotary_emb.inv_freq")
"""Ends of the names of tensors that old releases stored, and that the config determines."""

_LLAMA = (
    ("words.", "model.embed_tokens."),
    ("blocks.", "model.layers."),
    (".attention_norm.", ".input_layernorm."),
    (".norm.", ".post_attention_layernorm."),
    ("norm.", "model.norm."),
    ("head.", "lm_head."),
    (".attention.query.", ".self_attn.q_proj."),
    (".attention.key.", ".self_attn.k_proj."),
    (".attention.value.", ".self_attn.v_proj."),
    (".attention.out.", ".self_attn.o_proj."),
    (".perceptron.gate.", ".mlp.gate_proj."),
    (".perceptron.widen.", ".mlp.up_proj."),
    (".perceptron.narrow.", ".mlp.down_proj."),
)
_GPT2 = (
    ("words.", "wte."),
    ("positions.", "wpe."),
    ("blocks.", "h."),
    (".attention_norm.", ".ln_1."),
    (".norm.", ".ln_2."),
    ("norm.", "ln_f."),
    ("head.", "lm_head."),
    *((f".attention.{name}.", ".attn.c_attn.") for name in ("query", "key", "value")),
    (".attention.out.", ".attn.c_proj."),
    (".perceptron.widen.", ".mlp.c_fc."),
    (".perceptron.narrow.", ".mlp.c_proj."),
)


def load(folder: Path, name: str) -> CausalLm:
    """A language model from a folder with `config.json`, weights and `tokenizer.json`, in eval mode.

    Args:
        folder: as transformers saves it.
        name: of the part.

    Raises:
        DeixisError: a file is missing or damaged, the model is of another kind, or tokenizer and weights do not fit.
    """
    settings = read_json(folder / "config.json")
    config = read_config(settings, str(folder / "config.json"))
    tokenizer: Tokenizer = read_tokenizer(folder, clip=False, name=name)
    with Unfilled():
        model = CausalLm(config, tokenizer, name, licence_of(folder))
    fill(model, _opened(folder))
    model.chat_template = _chat_template(folder)
    return model.eval()


def read_config(settings: Mapping[str, Any], source: str) -> CausalLmConfig:
    """What a `config.json` describes.

    Args:
        settings: its entries.
        source: what errors call it.

    Raises:
        DeixisError: it describes what is not built here, or no token that ends a text; the message names the entry.
    """
    entries = StrictConfig({key: value for key, value in settings.items() if value is not None}, source)
    kind = entries.choice("model_type", {each: each for each in KINDS}, "")
    entries.ignore(*_SILENT)
    config = _gpt2(entries) if kind == "gpt2" else _llama(entries, kind)
    entries.done()
    return config


def _shared(entries: StrictConfig) -> dict[str, Any]:
    end, start = entries.take("eos_token_id", -1), entries.take("bos_token_id", -1)
    end = end[0] if isinstance(end, list) and end else end
    if not isinstance(end, int) or end < 0:
        raise DeixisError(
            f"{entries.source} names no token that ends a text (eos_token_id), and a text would never be finished.",
            "Add its number to the config: that of `eos_token` in tokenizer_config.json.",
        )
    return {"vocabulary": entries.count("vocab_size"), "end": end, "start": None if start == -1 else int(start)}


def _gpt2(entries: StrictConfig) -> CausalLmConfig:
    entries.choice("activation_function", {"gelu_new": "", "gelu_pytorch_tanh": ""}, "gelu_new")
    entries.refuse(("scale_attn_by_inverse_layer_idx", "add_cross_attention"), "Such a GPT-2 is not built here.")
    if not entries.flag("scale_attn_weights", True):
        raise entries.wrong("scale_attn_weights", False, "Such a GPT-2 is not built here.")
    width = entries.count("n_embd", 768)
    return CausalLmConfig(
        "gpt2",
        length=entries.count("n_positions", 1024),
        width=width,
        depth=entries.count("n_layer", 12),
        heads=entries.count("n_head", 12),
        hidden=entries.count("n_inner", 4 * width),
        tied=entries.flag("tie_word_embeddings", True),
        epsilon=entries.number("layer_norm_epsilon", 1e-5),
        **_shared(entries),
    )


def _llama(entries: StrictConfig, kind: str) -> CausalLmConfig:
    entries.choice("hidden_act", {"silu": ""}, "silu")
    entries.refuse(("rope_scaling", "mlp_bias", "use_sliding_window"), "Such positions or maps are not built here.")
    entries.ignore("sliding_window", "layer_types")
    rope = entries.take("rope_parameters", {})
    if rope.get("rope_type", "default") != "default" or set(rope) - {"rope_type", "rope_theta"}:
        raise entries.wrong("rope_parameters", rope, "Positions that are stretched are not built here.")
    width, heads = entries.count("hidden_size"), entries.count("num_attention_heads")
    if entries.count("head_dim", width // heads) != width // heads:
        raise entries.wrong("head_dim", "another", "Heads must be as wide as the states divided by their number.")
    biases = "inputs" if kind == "qwen2" else ("all" if entries.flag("attention_bias", False) else "none")
    return CausalLmConfig(
        "llama",
        length=entries.count("max_position_embeddings", 2048),
        width=width,
        depth=entries.count("num_hidden_layers"),
        heads=heads,
        hidden=entries.count("intermediate_size"),
        key_heads=entries.count("num_key_value_heads", heads),
        biases=biases,  # type: ignore[arg-type]
        tied=entries.flag("tie_word_embeddings", False),
        rotary_base=float(entries.take("rope_theta", 0) or rope.get("rope_theta", 10_000.0)),
        epsilon=entries.number("rms_norm_eps", 1e-6),
        **_shared(entries),
    )


def names_of(model: CausalLm) -> dict[str, str]:
    """Name of each of our tensors -> that of transformers (of a GPT-2 without `transformer.` before it)."""
    rules = _GPT2 if model.config["shape"] == "gpt2" else _LLAMA
    return {name: _renamed(name, rules) for name in model.state_dict()}


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    """What a rule that begins with a dot says holds inside a name, another at its beginning, once."""
    for ours, theirs in rules:
        if ours.startswith("."):
            name = name.replace(ours, theirs, 1)
        elif name.startswith(ours):
            name = theirs + name.removeprefix(ours)
    return name


def fill(model: CausalLm, weights: Weights) -> None:
    """Puts the tensors of a checkpoint of transformers into a model.

    Args:
        model: with weights of any values.
        weights: of the checkpoint.

    Raises:
        DeixisError: a tensor is missing, superfluous or of another shape; all are named.
    """
    gpt2 = model.config["shape"] == "gpt2"
    stored = {name.removeprefix("transformer.") if gpt2 else name: name for name in weights.shapes}
    left = {each for each in stored if not each.endswith(_BUFFERS)}
    if model.head is None:
        left.discard("lm_head.weight")
    places: dict[str, list[tuple[Tensor, Callable[[Tensor], Tensor]]]] = {}
    names = names_of(model)
    for name, value in model.state_dict().items():
        theirs = names[name]
        places.setdefault(theirs, []).append((value, _as_ours(name) if gpt2 else lambda tensor: tensor))
    missing = sorted(places.keys() - stored.keys())
    wrong = [f"{each} is missing" for each in missing] + [
        f"{each} is not known" for each in sorted(left - places.keys())
    ]
    for theirs in sorted(places.keys() & stored.keys()) if not wrong else ():
        tensor = weights.take(stored[theirs])
        for value, ours in places[theirs]:
            turned = ours(tensor)
            if turned.shape != value.shape:
                wrong.append(f"{theirs} is {tuple(tensor.shape)}, and {tuple(value.shape)} is built")
                break
            value.copy_(turned)
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise DeixisError(
            f"{weights.source} does not fit its config: {'; '.join(wrong[:5])}{more}.",
            "Take weights and config of the same model.",
        )


def _as_ours(name: str) -> Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]:
    """GPT-2 stores its maps the other way round, those to queries, keys and values side by side."""
    third = next((n for n, each in enumerate(("query", "key", "value")) if f".{each}." in name), None)
    mapped = ".attention." in name or ".perceptron." in name

    def turned(tensor: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        if third is not None:
            tensor = tensor.chunk(3, dim=-1)[third]
        return tensor.T if mapped and tensor.dim() == 2 else tensor

    return turned


def _chat_template(folder: Path) -> str:
    """How conversations are put into words, where the folder says it: in a file of its own, or the tokenizer's."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    path = folder / "tokenizer_config.json"
    found = read_json(path).get("chat_template") if path.is_file() else None
    return found if isinstance(found, str) else ""


def _opened(folder: Path) -> Weights:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return open_weights([folder / each for each in sorted(set(read_json(index)["weight_map"].values()))])
    found = next((folder / each for each in _WEIGHTS if (folder / each).is_file()), None)
    if found is None:
        raise no_weights(folder, _WEIGHTS)
    return open_weights(found)
