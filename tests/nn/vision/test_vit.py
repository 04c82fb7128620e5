"""The vision transformer is that of the authors, of open_clip and of SigLIP, number by number."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.dual import ImageTower
from deixis.nn.layers.transformer import quick_gelu
from deixis.nn.vision.vit import Vit, VitConfig
from tests.clip_golden import close, vit
from tests.support import Peer, load_golden

theirs, timm = Peer("open_clip.transformer"), Peer("timm.models.vision_transformer")
CONFIG = VitConfig(image_size=24, patch_size=8, width=12, depth=2, heads=3, hidden=20, out=10)
SIGLIP = dataclasses.replace(
    CONFIG, pool="map", class_token=False, pre_norm=False, patch_bias=True, epsilon=1e-6, out=None
)


def images(count: int = 3, side: int = 24) -> Tensor:
    return torch.randn(count, 3, side, side, dtype=torch.float64)


def moved(tower: nn.Module) -> nn.Module:
    """In float64, with all its weights away from where they start: an affine map that is the identity hides faults."""
    tower = tower.double().eval()
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return tower


def copy_blocks(ours: nn.Module, state: dict[str, Tensor], prefix: str, names: dict[str, str]) -> None:
    """Copies the blocks of a peer's state into our stack; `names` are its names of our parts."""
    for number, block in enumerate(ours):
        for kind in ("weight", "bias"):
            qkv = state[f"{prefix}{number}.{names['qkv']}{kind}"].chunk(3)
            for part, value in zip(("query", "key", "value"), qkv, strict=True):
                getattr(getattr(block.attention, part), kind).copy_(value)
            for part, name in names.items():
                if part != "qkv":
                    getattr(block.get_submodule(part), kind).copy_(state[f"{prefix}{number}.{name}.{kind}"])


OPEN_CLIP = {
    "qkv": "attn.in_proj_",
    "attention.out": "attn.out_proj",
    "attention_norm": "ln_1",
    "norm": "ln_2",
    "perceptron.widen": "mlp.c_fc",
    "perceptron.narrow": "mlp.c_proj",
}
TIMM = {
    "qkv": "attn.qkv.",
    "attention.out": "attn.proj",
    "attention_norm": "norm1",
    "norm": "norm2",
    "perceptron.widen": "mlp.fc1",
    "perceptron.narrow": "mlp.fc2",
}


@torch.no_grad()
def like_open_clip(tower: Vit, peer: Any) -> None:
    state = peer.state_dict()
    tower.patches.weight.copy_(state["conv1.weight"])
    tower.class_token.copy_(state["class_embedding"])
    tower.positions.copy_(state["positional_embedding"])
    tower.projection.weight.copy_(state["proj"].T)
    for ours, name in (("pre_norm", "ln_pre"), ("post_norm", "ln_post")):
        if f"{name}.weight" in state:
            tower.get_submodule(ours).load_state_dict({k: state[f"{name}.{k}"] for k in ("weight", "bias")})
    copy_blocks(tower.blocks, state, "transformer.resblocks.", OPEN_CLIP)


@pytest.mark.golden
def test_every_stored_state_of_the_image_tower_is_matched() -> None:
    golden = load_golden("clip_vit")
    tower, pixels = vit(golden), golden["in.image"].double()
    embedding, features = tower.embed(pixels)
    close(embedding, golden["out.image_features"])
    before, *blocks = tower.hidden(pixels)
    close(before, golden["out.vision_tokens_pre"])
    assert len(blocks) == int(golden["cfg.vision_layers"])
    for number, states in enumerate(blocks):
        close(states, golden[f"out.vision_tokens_block{number}"])
    states = tower(pixels)
    torch.testing.assert_close(states.embedding, F.normalize(embedding, dim=1))
    torch.testing.assert_close(states.features, features)


VARIANTS = {
    "as CLIP": ({}, {}),
    "with OpenAI's activation": ({"activation": "quick_gelu"}, {"act_layer": lambda: theirs.QuickGELU()}),
    "without the first norm": ({"pre_norm": False}, {"no_ln_pre": True}),
    "mean of the patches": ({"pool": "mean"}, {"pool_type": "avg"}),
    "mean, then norm": (
        {"pool": "mean", "norm_after_pool": True},
        {"pool_type": "avg", "final_ln_after_pool": True},
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_layout_of_open_clip_gives_its_numbers(variant: str) -> None:
    ours, options = VARIANTS[variant]
    config = dataclasses.replace(CONFIG, **ours)
    peer = moved(theirs.VisionTransformer(24, 8, 12, 2, 3, 20 / 12, output_dim=10, **options))
    tower = Vit(config).double()
    like_open_clip(tower, peer)
    pixels = images()
    torch.testing.assert_close(tower.embed(pixels)[0], peer(pixels), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
@torch.no_grad()
def test_siglip_s_layout_gives_the_numbers_of_timm(activation: str) -> None:
    layer = nn.GELU if activation == "gelu" else lambda: nn.GELU(approximate="tanh")
    peer = moved(
        timm.VisionTransformer(
            img_size=24, patch_size=8, embed_dim=12, depth=2, num_heads=3, mlp_ratio=2.0, num_classes=0,
            class_token=False, global_pool="map", act_layer=layer,
        )
    )  # fmt: skip
    tower = Vit(dataclasses.replace(SIGLIP, hidden=24, activation=activation)).double()
    state = peer.state_dict()
    copy_blocks(tower.blocks, state, "blocks.", TIMM)
    tower.positions.copy_(state["pos_embed"][0])
    tower.patches.load_state_dict({k: state[f"patch_embed.proj.{k}"] for k in ("weight", "bias")})
    tower.post_norm.load_state_dict({k: state[f"norm.{k}"] for k in ("weight", "bias")})
    head = tower.head
    head.probe.copy_(state["attn_pool.latent"][0, 0])
    for kind in ("weight", "bias"):
        key, value = state[f"attn_pool.kv.{kind}"].chunk(2)
        pairs = {"attention.query": state[f"attn_pool.q.{kind}"], "attention.key": key, "attention.value": value}
        names = {"attention.out": "proj", "norm": "norm", "perceptron.widen": "mlp.fc1", "perceptron.narrow": "mlp.fc2"}
        pairs |= {ours: state[f"attn_pool.{name}.{kind}"] for ours, name in names.items()}
        for ours, tensor in pairs.items():
            getattr(head.get_submodule(ours), kind).copy_(tensor)
    pixels = images()
    torch.testing.assert_close(tower.embed(pixels)[0], peer(pixels), rtol=1e-10, atol=1e-10)


def test_activations_that_look_alike_give_other_numbers() -> None:
    torch.manual_seed(0)
    exact = moved(Vit(CONFIG))
    pixels = images()
    for activation in ("quick_gelu", "gelu_tanh"):
        other = Vit(dataclasses.replace(CONFIG, activation=activation)).double()
        other.load_state_dict(exact.state_dict())
        assert (other(pixels).embedding - exact(pixels).embedding).abs().max() > 1e-6


@pytest.mark.parametrize("config", [CONFIG, SIGLIP, dataclasses.replace(CONFIG, pool="mean")])
def test_a_tower_says_what_a_dual_encoder_asks(config: VitConfig) -> None:
    tower = Vit(config).eval()
    assert isinstance(tower, ImageTower)
    states, tokens = tower(images().float()), tower.tokens(images().float())
    assert states.embedding.shape == (3, tower.width)
    assert states.features.shape == (3, tower.feature_width)
    assert torch.equal(states.doubt, torch.ones(3))
    torch.testing.assert_close(states.embedding.norm(dim=1), torch.ones(3))
    assert tokens.states.shape == (3, 9, tower.width)
    assert tokens.mask.all()
    assert tokens.grid == (3, 3)
    assert tower.config["pool"] == config.pool


def test_the_mean_of_the_tokens_is_the_embedding_where_the_tower_takes_the_mean() -> None:
    tower, pixels = moved(Vit(dataclasses.replace(CONFIG, pool="mean"))), images()
    torch.testing.assert_close(tower.tokens(pixels).states.mean(dim=1), tower.embed(pixels)[0])


def test_a_token_of_siglip_s_head_is_what_the_head_gives_for_that_patch_alone() -> None:
    head = moved(Vit(SIGLIP)).head
    states = torch.randn(2, 5, 12, dtype=torch.float64)
    alone = torch.stack([head(states[:, n : n + 1]) for n in range(5)], dim=1)
    torch.testing.assert_close(head.alone(states), alone)


def test_patches_are_dropped_in_training_only_and_the_class_token_never() -> None:
    tower, pixels = moved(Vit(dataclasses.replace(CONFIG, patch_dropout=0.5))), images()
    whole = tower.hidden(pixels)[0]
    assert whole.shape[1] == 10
    tower.train()
    few = tower.hidden(pixels)[0]
    assert few.shape[1] == 1 + 4
    torch.testing.assert_close(few[:, 0], whole[:, 0])
    for b in range(3):
        kept = [n for n in range(1, 10) if (few[b] - whole[b, n]).abs().sum(-1).min() < 1e-12]
        assert len(kept) == 4, "different patches, each as it was, with its own position"
    assert tower.tokens(pixels).states.shape[1] == 9


def test_patch_dropout_of_nothing_changes_nothing() -> None:
    tower, pixels = moved(Vit(CONFIG)), images()
    assert torch.equal(tower.train()(pixels).embedding, tower.eval()(pixels).embedding)


def test_images_of_another_size_are_refused_with_both_sizes() -> None:
    with pytest.raises(DeixisError, match="32 by 32 pixels, and this tower sees 24 by 24"):
        Vit(CONFIG)(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"class_token": False}, "needs class_token"),
        ({"patch_size": 30}, "no patch of 30"),
        ({"patch_dropout": 1.0}, "a share from 0"),
        ({"heads": 5}, "cannot be cut into 5"),
        ({"heads": 0}, "cannot be cut into 0"),
    ],
)
def test_a_layout_that_contradicts_itself_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Vit(dataclasses.replace(CONFIG, **change))


def test_what_does_not_fill_a_patch_is_not_seen() -> None:
    tower = moved(Vit(dataclasses.replace(CONFIG, image_size=27)))
    pixels = images(side=27)
    other = pixels.clone()
    other[..., 24:, :] = other[..., 24:] = 9.0
    assert torch.equal(tower(pixels).embedding, tower(other).embedding)
    assert tower.tokens(pixels).grid == (3, 3)


def test_new_weights_are_drawn_as_in_the_authors_code() -> None:
    tower = Vit(dataclasses.replace(CONFIG, width=192, hidden=768, out=128))
    peer = theirs.VisionTransformer(24, 8, 192, 2, 3, 4.0, output_dim=128)
    drawn = [(tower.positions, peer.positional_embedding), (tower.projection.weight, peer.proj)]
    drawn += [(tower.class_token, peer.class_embedding), (tower.patches.weight, peer.conv1.weight)]
    for ours, block in zip(tower.blocks, peer.transformer.resblocks, strict=True):
        drawn += [(ours.attention.query.weight, block.attn.in_proj_weight[:192])]
        drawn += [(ours.attention.out.weight, block.attn.out_proj.weight)]
        drawn += [(ours.perceptron.widen.weight, block.mlp.c_fc.weight)]
        assert not torch.stack([p.bias for p in (ours.attention.key, ours.attention.out)]).any()
    for found, wanted in drawn:
        assert float(found.detach().std()) == pytest.approx(
            float(wanted.detach().std()), rel=0.25 if found.dim() == 1 else 0.05
        )


def test_a_paper_sized_tower_is_built_without_memory() -> None:
    with torch.device("meta"):
        tower = Vit(VitConfig(224, 32, 768, 12, 12, 3072, 512, activation="quick_gelu"))
    assert sum(p.numel() for p in tower.parameters()) == 87_849_216


def test_quick_gelu_is_its_equation_and_so_is_its_gradient() -> None:
    x = torch.linspace(-9, 9, 41, dtype=torch.float64, requires_grad=True)
    expected = x * torch.sigmoid(1.702 * x)
    torch.testing.assert_close(quick_gelu(x), expected, rtol=1e-14, atol=1e-15)
    [ours], [wanted] = (torch.autograd.grad(y.sum(), x) for y in (quick_gelu(x), expected))
    torch.testing.assert_close(ours, wanted, rtol=1e-13, atol=1e-15)
