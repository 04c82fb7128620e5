"""Language models by name: new ones with the words of the texts, folders of transformers, and one described."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from deixis import zoo
from deixis.errors import DeixisError
from deixis.nn.language.causal_lm import CausalLm, CausalLmConfig
from deixis.nn.language.generation import generate
from deixis.zoo.parts.lm import described
from tests.support import texts

TEXTS = ["a red bird sings", "a boat"]


def small() -> CausalLm:
    model: CausalLm = zoo.load_part("lm", "scratch:tiny", source=texts(*TEXTS), seed=1)
    return model


def test_a_text_that_was_learned_is_said_from_its_first_words_in_a_batch_as_alone() -> None:
    model = small().train()
    tokens, mask = model.tokenizer(TEXTS, model.context_length)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        states = model.states(model.embed(tokens[:, :-1]), mask[:, :-1])
        model.token_loss(states, tokens[:, 1:], mask[:, 1:]).sum().backward()
        optimiser.step()
    model.eval()
    starts, known = tokens[:, :3], torch.ones(2, 3, dtype=torch.bool)
    written = generate(model, model.embed(starts), known, 8)
    assert [each.text for each in written] == ["bird sings", ""]
    assert -0.5 < written[0].log_prob < 0
    alone = [generate(model, model.embed(starts[row, None]), known[row, None], 8)[0] for row in (0, 1)]
    assert [each.text for each in written] == [each.text for each in alone]
    known[0, 2] = False
    assert generate(model, model.embed(starts), known, 1)[0].text == "red", "rows may end at different places"


def test_bytes_are_joined_to_text() -> None:
    model = zoo.load_part("lm", "tiny")
    assert model.tokenizer.decode(model.tokenizer(["Grüße"], 40).ids[0].tolist()) == "Grüße"


def test_a_described_model_is_built_again_with_its_words() -> None:
    model = small()
    again = zoo.load_part("lm", json.loads(json.dumps(described(model))))
    again.load_state_dict(model.state_dict())
    ids, mask = model.tokenizer(TEXTS, 10)
    assert torch.equal(again.tokenizer(TEXTS, 10).ids, ids)
    torch.testing.assert_close(again(ids, mask), model(ids, mask))
    with pytest.raises(DeixisError, match="no settings of a language model"):
        zoo.load_part("lm", {"config": {}})


def as_gpt2(model: CausalLm) -> dict[str, Tensor]:
    """The weights of a GPT-2 of one block as transformers stores them."""
    state = model.state_dict()
    names = {"words": "wte", "positions": "wpe", "blocks.0.attention_norm": "h.0.ln_1", "blocks.0.norm": "h.0.ln_2"}
    turned = {"attention.out": "attn.c_proj", "perceptron.widen": "mlp.c_fc", "perceptron.narrow": "mlp.c_proj"}
    found = {"h.0.attn.bias": torch.ones(1, 1, 256, 256)}
    for kind in ("weight", "bias"):
        inputs = [state[f"blocks.0.attention.{each}.{kind}"] for each in ("query", "key", "value")]
        maps = {
            "attn.c_attn": torch.cat(inputs),
            **{out: state[f"blocks.0.{ours}.{kind}"] for ours, out in turned.items()},
        }
        found |= {f"h.0.{name}.{kind}": each.T if each.dim() == 2 else each for name, each in maps.items()}
        plain = {**names, "norm": "ln_f"}.items()
        found |= {f"{name}.{kind}": state[f"{ours}.{kind}"] for ours, name in plain if f"{ours}.{kind}" in state}
    return {f"transformer.{name}": value.contiguous().clone() for name, value in found.items()}


def test_a_folder_of_transformers_is_read_without_transformers(tmp_path: Path) -> None:
    tokenizer = small().tokenizer
    shape = CausalLmConfig("gpt2", tokenizer.vocabulary, 256, 32, 1, 1, 128, end=2, start=1)
    model, rules = CausalLm(shape, tokenizer).eval(), tokenizer.to_dict()
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 1, "n_positions": 256, "vocab_size": tokenizer.vocabulary}
    config = {"model_type": "gpt2", **sizes, "bos_token_id": 1, "eos_token_id": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DeixisError, match=r"no tokenizer\.json"):
        zoo.load_part("lm", str(tmp_path))
    (tmp_path / "tokenizer.json").write_text(json.dumps(rules))
    with pytest.raises(DeixisError, match="a config and no weights"):
        zoo.load_part("lm", str(tmp_path))
    save_file(as_gpt2(model), tmp_path / "model.safetensors")
    loaded = zoo.load_part("lm", str(tmp_path))
    ids, mask = model.tokenizer(TEXTS, 10)
    torch.testing.assert_close(loaded(ids, mask), model(ids, mask))


def test_no_such_model_says_which_there_are() -> None:
    with pytest.raises(DeixisError, match="no lm called 'gpt9'"):
        zoo.load_part("lm", "gpt9")
