"""The decoder through which texts read an image is DenseCLIP's: values and gradients of the authors' code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis.nn.layers.context_decoder import ContextDecoder
from tests.clip_golden import assert_gradient, close, stored, text_tower
from tests.support import load_golden

_NORMS = {"ln_self": "attention_norm", "ln_cross": "cross_norm", "ln_mlp": "norm"}
_PARTS = {"self_attn": "attention", "cross_attn": "cross_attention", "mlp.fc1": "perceptron.widen"}
_PARTS |= {"mlp.fc2": "perceptron.narrow", **_NORMS}
_ENDS = {"memory.ln_in": "memory.0", "memory.fc": "memory.1", "memory.ln_out": "memory.2"}
_ENDS |= {"query.ln": "enter.0", "query.fc": "enter.1", "output.ln": "leave.0", "output.fc": "leave.1"}
_SHORT = {".q.": ".query.", ".k.": ".key.", ".v.": ".value."}


def ours(name: str) -> str:
    """Our name of a stored tensor of the decoder."""
    for theirs, own in {**_ENDS, **_PARTS, **_SHORT}.items():
        name = name.replace(theirs, own)
    return name.replace("layer", "blocks.", 1) if name.startswith("layer") else name


@pytest.mark.golden
def test_refined_texts_score_map_losses_and_gradients_are_those_of_the_authors() -> None:
    golden = load_golden("denseclip_score")
    width, vocabulary = golden["param.text.proj"].shape[1], len(golden["param.text.token_embedding"])
    sizes = {"vocab_size": vocabulary, "embed_dim": width, "context_length": len(golden["param.text.pos"])}
    tower = text_tower({**golden, **{f"cfg.{name}": torch.tensor(value) for name, value in sizes.items()}})
    names = {key.removeprefix("param.decoder."): key for key in golden if key.startswith("param.decoder.")}
    inner = len(golden["param.decoder.memory.fc.bias"])
    decoder = ContextDecoder(width, inner, int(golden["cfg.decoder_heads"]), int(golden["cfg.decoder_layers"]))
    decoder.double().load_state_dict({ours(name): golden[key] for name, key in names.items()})
    leaves = {
        name: golden[key].double().requires_grad_()
        for name, key in {
            "contexts": "param.contexts",
            "gamma": "param.gamma",
            "global_feature": "in.global_feature",
            "feature_map": "in.feature_map",
        }.items()
    }

    ids, count = golden["in.token_ids"], int(golden["cfg.n_ctx"])
    words = tower.embeddings(ids)
    prompts = torch.cat([words[:, :1], leaves["contexts"].expand(len(ids), -1, -1), words[:, 1:]], dim=1)
    texts = tower.embed(prompts, ids.argmax(dim=1) + count)[None]
    image = leaves["feature_map"]
    memory = torch.cat([leaves["global_feature"][:, None], image.flatten(2).transpose(1, 2)], dim=1)
    residual = decoder(texts.expand(len(memory), -1, -1), memory)
    refined = texts + leaves["gamma"] * residual
    scores = torch.einsum("bdhw,bkd->bkhw", F.normalize(image, dim=1), F.normalize(refined, dim=-1))
    labels, ignored = golden["in.labels"], int(golden["cfg.ignore_index"])
    fine = F.interpolate(scores / float(golden["cfg.tau"]), labels.shape[1:], mode="bilinear", align_corners=False)
    summed = float(golden["cfg.aux_weight"]) * F.cross_entropy(fine, labels, ignore_index=ignored, reduction="sum")
    loss = summed / labels.numel()
    loss.backward()

    found: dict[str, Tensor] = {
        "out.text_embeddings": texts,
        "out.text_residual": residual,
        "out.text_refined": refined,
        "out.score_map": scores,
        "out.aux_loss": loss,
        "out.aux_loss_mean_over_valid": summed / (labels != ignored).sum(),
        "out.decoder_input_channels": torch.tensor(scores.shape[1]),
    }
    for key, value in found.items():
        close(value, golden[key], key)
    parameters = dict(decoder.named_parameters())
    gradients = {f"decoder.{name}": parameters[ours(name)].grad for name in names}
    gradients |= {name: leaf.grad for name, leaf in leaves.items()}
    compared = {assert_gradient(golden, name, gradient) for name, gradient in gradients.items() if gradient is not None}
    assert compared | set(found) == stored(golden)


def test_weights_say_where_each_text_looked_and_change_nothing() -> None:
    torch.manual_seed(0)
    decoder = ContextDecoder(8, 4, 2, 2)
    texts, image = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    found, weights = decoder.with_weights(texts, image)
    torch.testing.assert_close(found, decoder(texts, image))
    assert weights.shape == (2, 2, 3, 5)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 2, 3))
