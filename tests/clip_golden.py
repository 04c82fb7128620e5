"""CLIP's golden vectors under our names, and how they are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.nn.vision.modified_resnet import ModifiedResNet, ModifiedResNetConfig
from deixis.nn.vision.vit import Vit, VitConfig

__all__ = ["assert_gradient", "assert_gradients", "close", "deviation", "resnet", "stored", "text_tower", "vit"]

Golden = Mapping[str, Tensor]

# ours -> theirs; the three of ours that make up one of theirs stand in order
PARTS = {
    "attention.query": "attn.qkv",
    "attention.key": "attn.qkv",
    "attention.value": "attn.qkv",
    "attention.out": "attn.out",
    "attention_norm": "ln1",
    "norm": "ln2",
    "perceptron.widen": "mlp.fc1",
    "perceptron.narrow": "mlp.fc2",
}
THIRDS = ("query", "key", "value")


def _block(name: str, prefix: str) -> str:
    _, number, part = name.split(".", 2)
    part, kind = part.rsplit(".", 1)
    return f"{prefix}.block{number}.{PARTS[part]}.{kind}"


def _vision(name: str) -> str:
    names = {"class_token": "cls", "positions": "pos", "patches.weight": "patch.weight", "projection.weight": "proj"}
    for kind in ("weight", "bias"):
        names |= {f"pre_norm.{kind}": f"ln_pre.{kind}", f"post_norm.{kind}": f"ln_post.{kind}"}
    return _block(name, "vision") if name.startswith("blocks.") else f"vision.{names[name]}"


def _text(name: str) -> str:
    names = {"words.weight": "token_embedding", "positions": "pos", "projection.weight": "proj"}
    names |= {f"norm.{kind}": f"ln_final.{kind}" for kind in ("weight", "bias")}
    return _block(name, "text") if name.startswith("blocks.") else f"text.{names[name]}"


def _resnet(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "pool":
        short = {"positions": "pos", "query": "q", "key": "k", "value": "v"}
        return ".".join(["rn.pool", *(short.get(part, part) for part in parts[1:] if part != "attention")])
    place = f"stage{int(parts[1]) + 1}.block{parts[2]}" if parts[0] == "stages" else "stem"
    layer = (
        parts[-2]
        .replace("shortcut_conv", "shortcut.conv")
        .replace("shortcut_norm", "shortcut.bn")
        .replace("norm", "bn")
    )
    return f"rn.{place}.{layer}.{parts[-1]}"


NAMES = {Vit: _vision, TextTransformer: _text, ModifiedResNet: _resnet}


def _ours(tower: nn.Module, name: str, theirs: Tensor) -> Tensor:
    """What of the stored tensor is our tensor `name`: a third of it, its transpose, or all."""
    for place, part in enumerate(THIRDS):
        if f"attention.{part}." in name and not isinstance(tower, ModifiedResNet):
            return theirs.chunk(3)[place]
    return theirs.T if name == "projection.weight" else theirs


def load(tower: nn.Module, golden: Golden) -> nn.Module:
    """The stored weights in `tower`, as float64; all stored ones are used."""
    tower = tower.double()
    state = {}
    used = set()
    for name, value in tower.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = value
            continue
        used.add(key := f"param.{NAMES[type(tower)](name)}")
        state[name] = _ours(tower, name, golden[key].double())
    tower.load_state_dict(state)
    side = next(iter(used)).split(".")[1]
    assert used == {key for key in golden if key.startswith(f"param.{side}.")}
    return tower


def stored(golden: Golden) -> set[str]:
    """Names of all expected values and gradients."""
    return {key for key in golden if key.startswith(("out.", "grad."))}


def number(golden: Golden, name: str) -> int:
    return int(golden[f"cfg.{name}"])


def layers(golden: Golden, side: str) -> tuple[int, int]:
    """Depth and hidden width of a transformer."""
    return number(golden, f"{side}_layers"), len(golden[f"param.{side}.block0.mlp.fc1.bias"])


def vit(golden: Golden) -> Vit:
    depth, hidden = layers(golden, "vision")
    config = VitConfig(
        number(golden, "image_size"),
        number(golden, "patch_size"),
        len(golden["param.vision.cls"]),
        depth,
        number(golden, "vision_heads"),
        hidden,
        number(golden, "embed_dim"),
        activation="quick_gelu",
    )
    return load(Vit(config), golden)


def text_tower(golden: Golden, **layout: Any) -> TextTransformer:
    depth, hidden = layers(golden, "text")
    config = TextConfig(
        number(golden, "vocab_size"),
        number(golden, "context_length"),
        golden["param.text.pos"].shape[1],
        depth,
        number(golden, "text_heads"),
        hidden,
        number(golden, "embed_dim"),
        activation="quick_gelu",
        **layout,
    )
    return load(TextTransformer(config), golden)


def resnet(golden: Golden) -> ModifiedResNet:
    blocks = tuple(golden["cfg.blocks_per_stage"].tolist())
    config = ModifiedResNetConfig(
        number(golden, "image_size"),
        blocks,
        number(golden, "width"),
        number(golden, "pool_heads"),
        number(golden, "embed_dim"),
        float(golden["cfg.bn_eps"]),
        float(golden["cfg.bn_momentum"]),
    )
    return load(ModifiedResNet(config), golden)


def deviation(found: Tensor, stored: Tensor) -> float:
    """The largest difference, relative to the largest number of the stored tensor (below 1e-9: zero in theory)."""
    assert found.shape == stored.shape
    most = float(stored.abs().max())
    return float((found.detach().double() - stored.double()).abs().max()) / (most if most > 1e-9 else 1.0)


def close(found: Tensor, stored: Tensor, what: str = "") -> None:
    """Equal at the tolerance of the sidecar."""
    allowed = 1e-6 if stored.dtype == torch.float64 else 2e-4
    assert deviation(found, stored) <= allowed, what


def statistics(gradient: Tensor) -> Tensor:
    flat = gradient.detach().double().flatten()
    places = torch.arange(len(flat), dtype=torch.float64)
    return torch.stack([flat.norm(), flat.sum(), (flat * places.cos()).sum()])


def assert_gradient(golden: Golden, name: str, gradient: Tensor, mode: str = "") -> str:
    """Compares with the stored gradient, or where it was too large to store with its three numbers; gives the key."""
    if (key := f"grad.{name}{mode}") in golden:
        close(gradient, golden[key], key)
    else:
        close(statistics(gradient), golden[key := f"out.grad_stat.{name}{mode}"], key)
    return key


def assert_gradients(golden: Golden, tower: nn.Module, mode: str = "") -> set[str]:
    """Compares the gradients of all parameters of `tower`; gives the keys."""
    together: dict[str, list[Tensor]] = {}
    for name, parameter in tower.named_parameters():
        assert parameter.grad is not None, name
        gradient = parameter.grad.T if name == "projection.weight" else parameter.grad
        together.setdefault(NAMES[type(tower)](name), []).append(gradient)
    return {assert_gradient(golden, name, torch.cat(pieces), mode) for name, pieces in together.items()}
