"""The text tower is that of the authors and of open_clip, and reads a text where it ends, whatever stands behind."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.dual import TextTower
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from tests.clip_golden import close, text_tower
from tests.support import Peer, load_golden

theirs = Peer("open_clip.transformer")
CONFIG = TextConfig(vocabulary=50, length=9, width=12, depth=2, heads=3, hidden=48, out=10)
SIGLIP = dataclasses.replace(
    CONFIG, causal=False, pool="last", fill=1, projection_bias=True, epsilon=1e-6, activation="gelu_tanh"
)
START, END = 48, 49
TEXTS = torch.tensor(
    [
        [START, 7, 0, 3, END, 0, 0, 0, 0],
        [START, 5, END, 0, 0, 0, 0, 0, 0],
        [START, 4, 4, 9, 0, 2, 2, 2, END],
        [START, END, 0, 0, 0, 0, 0, 0, 0],
    ]
)

REAL = torch.arange(9) < torch.tensor([5, 3, 9, 2])[:, None]


def moved(tower: nn.Module) -> nn.Module:
    """In float64, with all its weights away from where they start."""
    tower = tower.double().eval()
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return tower


@torch.no_grad()
def like_open_clip(tower: TextTransformer, peer: Any) -> None:
    state = peer.state_dict()
    tower.words.weight.copy_(state["token_embedding.weight"])
    tower.positions.copy_(state["positional_embedding"])
    for kind in ("weight", "bias"):
        getattr(tower.norm, kind).copy_(state[f"ln_final.{kind}"])
        for number, block in enumerate(tower.blocks):
            qkv = state[f"transformer.resblocks.{number}.attn.in_proj_{kind}"].chunk(3)
            for part, value in zip(("query", "key", "value"), qkv, strict=True):
                getattr(getattr(block.attention, part), kind).copy_(value)
            names = {"attention.out": "attn.out_proj", "attention_norm": "ln_1", "norm": "ln_2"}
            names |= {"perceptron.widen": "mlp.c_fc", "perceptron.narrow": "mlp.c_proj"}
            for ours, name in names.items():
                getattr(block.get_submodule(ours), kind).copy_(state[f"transformer.resblocks.{number}.{name}.{kind}"])
    if "text_projection" in state:
        tower.projection.weight.copy_(state["text_projection"].T)
    else:
        tower.projection.load_state_dict({kind: state[f"text_projection.{kind}"] for kind in ("weight", "bias")})


def embed(tower: TextTransformer, tokens: Tensor) -> Tensor:
    return tower.embed(tower.words(tokens), tower.ends(tokens))


@pytest.mark.golden
def test_every_stored_state_of_the_text_tower_is_matched() -> None:
    golden = load_golden("clip_vit")
    tower, tokens = text_tower(golden), golden["in.token_ids"]
    embedding = embed(tower, tokens)
    close(embedding, golden["out.text_features"])
    states = tower.hidden(tower.words(tokens))
    assert len(states) == 1 + int(golden["cfg.text_layers"])
    for number, each in enumerate(states[1:]):
        close(each, golden[f"out.text_tokens_block{number}"])
    close(tower.norm(states[-1]), golden["out.text_tokens_final"])
    torch.testing.assert_close(tower(tokens), F.normalize(embedding, dim=1))


@pytest.mark.golden
def test_reading_at_the_number_that_ends_a_text_is_reading_at_the_highest() -> None:
    golden = load_golden("clip_vit")
    by_number = text_tower(golden, pool="eos", end=int(golden["cfg.eot_id"]))
    close(embed(by_number, golden["in.token_ids"]), golden["out.text_features"])


@pytest.mark.parametrize("quick", [False, True])
def test_clip_s_layout_gives_the_numbers_of_open_clip(quick: bool) -> None:
    layer = theirs.QuickGELU if quick else nn.GELU
    peer = moved(theirs.TextTransformer(9, 50, 12, 3, 2, output_dim=10, act_layer=layer))
    tower = TextTransformer(dataclasses.replace(CONFIG, activation="quick_gelu" if quick else "gelu")).double()
    like_open_clip(tower, peer)
    torch.testing.assert_close(embed(tower, TEXTS), peer(TEXTS), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(tower(TEXTS), F.normalize(peer(TEXTS), dim=1), rtol=1e-10, atol=1e-10)


def test_siglip_s_layout_gives_the_numbers_of_open_clip_on_texts_filled_up() -> None:
    options = {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}
    norm, layer = lambda width: theirs.LayerNorm(width, eps=1e-6), lambda: nn.GELU(approximate="tanh")
    peer = moved(theirs.TextTransformer(9, 50, 12, 3, 2, output_dim=10, norm_layer=norm, act_layer=layer, **options))
    tower = TextTransformer(SIGLIP).double()
    like_open_clip(tower, peer)
    short = torch.tensor([[7, 5, 9, 0], [3, 0, 0, 0]])
    filled = torch.tensor([[7, 5, 9, 1, 1, 1, 1, 1, 1], [3, 1, 1, 1, 1, 1, 1, 1, 1]])
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    torch.testing.assert_close(tower(short, mask), F.normalize(peer(filled), dim=1), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(tower(filled), tower(short, mask), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("config", [CONFIG, dataclasses.replace(CONFIG, pool="eos", end=END), SIGLIP])
def test_padding_is_nothing(config: TextConfig) -> None:
    tower = moved(TextTransformer(config))
    text = TEXTS[:1, :5]  # that holds number 0, a token like any other
    more, mask = F.pad(text, (0, 4)), torch.arange(9)[None] < 5
    torch.testing.assert_close(tower(more, mask), tower(text), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(tower(TEXTS, REAL)[:1], tower(text), rtol=1e-12, atol=1e-14)
    ours, theirs = tower.tokens(more, mask), tower.tokens(text)
    assert torch.equal(ours.mask[:, :5], theirs.mask)
    assert not ours.mask[:, 5:].any()
    torch.testing.assert_close(ours.states[:, :5], theirs.states, rtol=1e-12, atol=1e-14)


def test_what_stands_after_the_end_gets_no_gradient() -> None:
    tower = moved(TextTransformer(CONFIG))
    tower(TEXTS[:2]).sum().backward()
    assert tower.positions.grad[:5].any(dim=1).all()
    assert not tower.positions.grad[5:].any()


def test_number_zero_inside_a_text_is_a_token_like_any_other() -> None:
    tower = moved(TextTransformer(CONFIG))
    other = TEXTS[:1].clone()
    other[0, 2] = 8
    assert not torch.allclose(tower(other), tower(TEXTS[:1]))
    assert tower.tokens(TEXTS).mask.sum(dim=1).tolist() == [5, 3, 9, 2]


def test_the_token_that_is_read_is_the_embedding() -> None:
    for config in (CONFIG, dataclasses.replace(SIGLIP, fill=None)):
        tower = moved(TextTransformer(config))
        tokens, ends = tower.tokens(TEXTS), tower.ends(TEXTS)
        read = tokens.states[torch.arange(4), ends]
        torch.testing.assert_close(F.normalize(read, dim=1), tower(TEXTS))


def test_word_embeddings_from_anywhere_take_the_place_of_tokens() -> None:
    tower = moved(TextTransformer(CONFIG))
    prompt = tower.words(TEXTS[:, 1:2]).detach().requires_grad_()
    words = torch.cat([tower.words(TEXTS[:, :1]), prompt, tower.words(TEXTS[:, 2:])], dim=1)
    embedding = tower.embed(words, tower.ends(TEXTS))
    torch.testing.assert_close(embedding, embed(tower, TEXTS))
    embedding.sum().backward()
    assert prompt.grad.abs().amax(dim=(1, 2)).all()


def test_a_mask_hides_tokens() -> None:
    tower = moved(TextTransformer(CONFIG))
    mask = torch.ones_like(TEXTS, dtype=torch.bool)
    torch.testing.assert_close(tower(TEXTS, mask), tower(TEXTS), rtol=1e-12, atol=1e-14)
    mask[:, 1] = False
    other = TEXTS.clone()
    other[0, 1], other[2, 1] = 20, 21
    torch.testing.assert_close(tower(other, mask), tower(TEXTS, mask), rtol=1e-12, atol=1e-14)


def test_a_text_that_does_not_end_is_refused_and_an_empty_one_is_not() -> None:
    tower = TextTransformer(dataclasses.replace(CONFIG, pool="eos", end=END))
    with pytest.raises(DeixisError, match="no token 49"):
        tower(TEXTS[:, :4])
    nothing = torch.zeros(2, 3, dtype=torch.long)
    assert tower(nothing, nothing > 0).isfinite().all()


def test_a_text_longer_than_the_positions_is_refused_with_both_lengths() -> None:
    for config in (CONFIG, SIGLIP):
        with pytest.raises(DeixisError, match="10 tokens, and this tower has positions for 9"):
            TextTransformer(config)(torch.tensor([[START, *[5] * 8, END]]))


@pytest.mark.parametrize("change", [{"pool": "eos"}, {"end": 3}, {"fill": 1}])
def test_a_layout_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"belongs to pool=|never sees what `fill`"):
        TextTransformer(dataclasses.replace(CONFIG, **change))


def test_a_tower_says_what_a_dual_encoder_asks() -> None:
    tower = TextTransformer(dataclasses.replace(CONFIG, out=None)).eval()
    assert isinstance(tower, TextTower)
    assert tower.width == 12
    assert tower.tokens(TEXTS).states.shape == (4, 9, 12)
    assert tower(TEXTS[:0]).shape == (0, 12)
    assert tower.config["causal"] is True


def test_new_weights_are_drawn_as_in_the_authors_code() -> None:
    tower = TextTransformer(dataclasses.replace(CONFIG, vocabulary=500, length=77, width=192, hidden=768, out=128))
    peer = theirs.TextTransformer(77, 500, 192, 3, 2, output_dim=128)
    drawn = [(tower.words.weight, peer.token_embedding.weight), (tower.positions, peer.positional_embedding)]
    drawn += [(tower.projection.weight, peer.text_projection)]
    for ours, block in zip(tower.blocks, peer.transformer.resblocks, strict=True):
        drawn += [(ours.attention.value.weight, block.attn.in_proj_weight[-192:])]
        drawn += [(ours.attention.out.weight, block.attn.out_proj.weight)]
        drawn += [(ours.perceptron.widen.weight, block.mlp.c_fc.weight)]
        drawn += [(ours.perceptron.narrow.weight, block.mlp.c_proj.weight)]
    for found, wanted in drawn:
        assert float(found.detach().std()) == pytest.approx(float(wanted.detach().std()), rel=0.05)
