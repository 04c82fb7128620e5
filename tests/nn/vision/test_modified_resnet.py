"""CLIP's ResNet gives the authors' numbers and gradients, in eval and in train mode."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.dual import ImageTower
from deixis.nn.vision.modified_resnet import AttentionPool, ModifiedResNet, ModifiedResNetConfig
from deixis.ops.contrastive import info_nce
from tests.clip_golden import assert_gradient, assert_gradients, close, resnet, stored
from tests.support import Peer, load_golden

theirs = Peer("open_clip.modified_resnet")
CONFIG = ModifiedResNetConfig(image_size=64, blocks=(1, 2, 1, 1), width=4, heads=2, out=10)


def states_of(golden: dict[str, Tensor], tower: ModifiedResNet, pixels: Tensor) -> set[str]:
    """Compares the maps of the eval mode; gives the keys."""
    stem, *stages = tower.hidden(pixels)
    close(stem[0], golden["out.stem_eval_first"])
    close(stages[-1], golden["out.stage4_eval"])
    named = {"stem": stem} | {f"stage{number}": cells for number, cells in enumerate(stages, 1)}
    for name, cells in named.items():
        close(cells.mean(dim=(2, 3)), golden[f"out.{name}_eval_spatial_mean"], name)
    return {"out.stem_eval_first", "out.stage4_eval", *(f"out.{name}_eval_spatial_mean" for name in named)}


@pytest.mark.golden
def test_every_stored_number_and_gradient_is_matched_in_both_modes() -> None:
    golden = load_golden("clip_rn")
    seen: set[str] = set()
    for mode in ("eval", "train"):
        tower = resnet(golden).train(mode == "train")
        pixels, text = (golden[f"in.{name}"].double().requires_grad_() for name in ("image", "text_features"))
        log_scale = golden["param.logit_scale"].double().requires_grad_()
        embedding, _ = tower.embed(pixels)
        close(embedding, golden[f"out.image_features_{mode}"])
        image, captions = F.normalize(embedding, dim=1), F.normalize(text, dim=1)
        loss = info_nce(image, captions, scale=log_scale.exp())
        close(loss, golden[f"out.loss_{mode}"])
        loss.backward()
        seen |= assert_gradients(golden, tower, f"_{mode}") | {f"out.image_features_{mode}", f"out.loss_{mode}"}
        seen.add(assert_gradient(golden, "text_features", text.grad, f"_{mode}"))
        seen.add(assert_gradient(golden, "image", pixels.grad, f"_{mode}"))
        if mode == "eval":
            seen |= states_of(golden, tower, pixels)
            seen.add(assert_gradient(golden, "image_first_channel", pixels.grad[0, 0], "_eval"))
            seen.add(assert_gradient(golden, "logit_scale", log_scale.grad, "_eval"))
            close(log_scale.exp() * image @ captions.T, golden[key := "out.logits_per_image_eval"])
        else:
            close(tower.norm1.running_mean, golden["out.stem_bn1_running_mean_after"])
            close(tower.norm1.running_var, golden["out.stem_bn1_running_var_after"])
    seen |= {key, "out.stem_bn1_running_mean_after", "out.stem_bn1_running_var_after"}
    assert seen == stored(golden)


@torch.no_grad()
def test_open_clip_s_tower_gives_the_same_numbers_on_other_sizes() -> None:
    peer = theirs.ModifiedResNet([2, 1, 1, 2], 10, heads=8, image_size=96, width=8).double().eval()
    for tensor in peer.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.2 * torch.rand_like(tensor))
    tower = ModifiedResNet(ModifiedResNetConfig(96, (2, 1, 1, 2), 8, 8, 10)).double().eval()
    parts = {"attnpool.positional_embedding": "pool.positions", "attnpool.": "pool.attention.", "bn": "norm"}
    parts |= {"q_proj": "query", "k_proj": "key", "v_proj": "value", "c_proj": "out"}
    parts |= {"downsample.0": "shortcut_conv", "downsample.1": "shortcut_norm"}
    state = {}
    for name, value in peer.state_dict().items():
        for theirs_name, ours in parts.items():
            name = name.replace(theirs_name, ours)
        if name.startswith("layer"):
            name = f"stages.{int(name[5]) - 1}{name[6:]}"
        state[name] = value
    tower.load_state_dict(state)
    pixels = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    torch.testing.assert_close(tower.embed(pixels)[0], peer(pixels), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_the_pool_equals_a_loop_and_its_tokens_are_what_it_mixes() -> None:
    pool = AttentionPool(6, 8, 1, 5).double()
    cells = torch.randn(2, 8, 2, 3, dtype=torch.float64)
    pooled, found = pool(cells)
    for b in range(2):
        rows = [cells[b, :, r, c] for r in range(2) for c in range(3)]
        states = [sum(rows) / 6, *rows]
        states = [state + pool.positions[n] for n, state in enumerate(states)]
        query = pool.attention.query(states[0])
        scores = torch.stack([query @ pool.attention.key(state) / 8**0.5 for state in states]).softmax(0)
        slow = sum(weight * pool.attention.value(state) for weight, state in zip(scores, states, strict=True))
        torch.testing.assert_close(found[b], slow)
        torch.testing.assert_close(pooled[b], pool.attention.out(slow))
        mean = pool.attention.out(pool.attention.value(states[0]))
        mixed = scores[0] * mean + scores[1:] @ pool.alone(cells)[b]
        torch.testing.assert_close(pooled[b], mixed)


def test_a_tower_says_what_a_dual_encoder_asks() -> None:
    tower, pixels = ModifiedResNet(CONFIG).eval(), torch.randn(3, 3, 64, 64)
    assert isinstance(tower, ImageTower)
    states, tokens = tower(pixels), tower.tokens(pixels)
    assert states.embedding.shape == (3, 10)
    assert states.features.shape == (3, tower.feature_width) == (3, 128)
    torch.testing.assert_close(states.embedding.norm(dim=1), torch.ones(3))
    assert torch.equal(states.doubt, torch.ones(3))
    assert tokens.states.shape == (3, 4, 10)
    assert tokens.grid == (2, 2)
    assert tower.config["blocks"] == [1, 2, 1, 1]


def test_a_new_block_is_its_shortcut() -> None:
    tower = ModifiedResNet(CONFIG)
    assert not any(block.norm3.weight.any() for stage in tower.stages for block in stage)
    block, cells = tower.stages[1][1].eval(), torch.rand(1, 32, 4, 4)
    assert torch.equal(block(cells), cells)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="70 pixels is no multiple of 32"):
        ModifiedResNet(ModifiedResNetConfig(70, (1, 1, 1, 1), 4, 2, 10))
    with pytest.raises(DeixisError, match="96 by 64 pixels, and this tower sees 64 by 64"):
        ModifiedResNet(CONFIG)(torch.zeros(1, 3, 96, 64))


def test_a_paper_sized_tower_is_built_without_memory() -> None:
    with torch.device("meta"):
        tower = ModifiedResNet(ModifiedResNetConfig(224, (3, 4, 6, 3), 64, 32, 1024))
    assert sum(p.numel() for p in tower.parameters()) == 38_316_896
