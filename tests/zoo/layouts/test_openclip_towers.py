"""Towers that open_clip takes from timm and transformers, CoCa's two encoders, and one config of each architecture."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench.zoo_rows import compare
from deixis import zoo
from deixis.errors import DeixisError
from deixis.inputs.images import load_image
from deixis.nn.encoders import ImageHalf
from deixis.types.protocols import ImageEncoder
from tests.support import few
from tests.zoo import checkpoints as tiny

TIMM: dict[str, dict[str, Any]] = {
    "classifier-token": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None},
    "linear-own-pool": {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"},
    "mlp-bias": {"timm_model_name": "test_efficientnet", "timm_proj": "mlp", "timm_proj_bias": True},
    "none-map": {"timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none"},
    "rotary-pool": {"timm_model_name": "test_efficientnet", "timm_pool": "rot_attn", "timm_proj": ""},
    "learned-pool": {"timm_model_name": "test_efficientnet", "timm_pool": "abs_attn", "timm_proj": "linear"},
}


def equal(model: torch.nn.Module, folder: Path, photographs: Path) -> zoo.DualEncoder:
    """Both sides embed the same photographs and captions."""
    paths = tiny.photographs(photographs)
    images, texts = tiny.open_clip_outputs(model, paths)
    encoder = zoo.load(folder)
    assert not encoder.training
    pictures = encoder.preprocess.batch([load_image(path) for path in paths])
    torch.testing.assert_close(encoder.encode_image(pictures), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_text(tiny.TEXTS), texts, atol=1e-5, rtol=0)
    assert (images[0] - images[1]).abs().max() > 1e-3
    assert (texts[0] - texts[2]).abs().max() > 1e-3
    return encoder


@pytest.mark.parametrize("case", few(TIMM, "classifier-token"))
def test_a_tower_of_timm_gives_open_clips_numbers(tmp_path: Path, case: str) -> None:
    vision = {"image_size": 160, **TIMM[case]}
    out = {"embed_dim": 96 if case == "none-map" else 32}
    model = tiny.open_clip_folder(tmp_path / "model", {**tiny.open_clip_config(vision, custom_text=True), **out})
    encoder = equal(model, tmp_path / "model", tmp_path / "photographs")
    images = torch.randn(2, 3, 160, 160)
    tokens = encoder.image_tokens(images)
    assert tokens.states.shape[-1] == encoder.width
    half = ImageHalf.of(encoder)
    assert isinstance(half, ImageEncoder)
    assert half(images).shape == (2, half.width)
    assert [each.shape[1] for each in half.feature_maps(images)] == list(half.channels)


@pytest.mark.slow
def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    vision = {"image_size": 160, "timm_model_name": "test_vit_relpos", "timm_proj": "mlp"}
    tiny.open_clip_folder(tmp_path / "model", tiny.open_clip_config(vision))
    state = torch.random.get_rng_state()
    zoo.load(tmp_path / "model")
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.slow
def test_a_cell_in_the_shared_space_is_what_an_image_of_such_cells_alone_would_be(tmp_path: Path) -> None:
    """A convolutional network with mean pooling: the mean of the projected cells is the projected mean."""
    vision = {"image_size": 160, "timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "linear"}
    tiny.open_clip_folder(tmp_path / "model", tiny.open_clip_config(vision))
    encoder, images = zoo.load(tmp_path / "model"), torch.randn(2, 3, 160, 160)
    mean = torch.nn.functional.normalize(encoder.image_tokens(images).states.mean(dim=1), dim=-1)
    torch.testing.assert_close(mean, encoder.encode_image(images))


COCA = {"attentional_pool": True, "attn_pooler_heads": 4, "attn_pooler_queries": 5, "output_tokens": True}


@pytest.mark.parametrize("width", [64, pytest.param(128, marks=pytest.mark.slow)])
def test_of_coca_the_two_encoders_are_read_and_the_decoder_is_left_out(tmp_path: Path, width: int) -> None:
    """At a width of 128 the states are as wide as the queries, and open_clip stores the three maps as one."""
    from open_clip.coca_model import CoCa

    words = {**tiny.TEXT, "embed_cls": True, "output_tokens": True}
    decoder = {"context_length": 16, "vocab_size": tiny.VOCABULARY, "width": 64, "heads": 1, "layers": 2}
    vision = {**tiny.VIT, **COCA}
    config = {"embed_dim": width, "vision_cfg": vision, "text_cfg": words, "multimodal_cfg": decoder}
    torch.manual_seed(0)
    with tiny.quiet():
        model = tiny.shake(CoCa(**json.loads(json.dumps(config))))
    tiny.write_open_clip(tmp_path / "model", {**config, "custom_text": True}, model)
    encoder = equal(model, tmp_path / "model", tmp_path / "photographs")
    assert not [name for name in encoder.state_dict() if "decoder" in name]
    texts = encoder.tokenize(tiny.TEXTS)
    words_of = encoder.text_tower.embeddings(texts.ids)
    again = encoder.text_tower.from_embeddings(words_of, texts.mask)
    torch.testing.assert_close(again, encoder.encode_text(tiny.TEXTS))


@pytest.mark.parametrize("tower", ["vision_cfg", pytest.param("text_cfg", marks=pytest.mark.slow)])
def test_layer_scales_are_folded_into_the_maps_before_them(tmp_path: Path, tower: str) -> None:
    config = tiny.open_clip_config(tiny.VIT)
    config[tower]["ls_init_value"] = 0.3
    model = tiny.open_clip_folder(tmp_path / "model", config)
    assert any(name.endswith("ls_1.gamma") for name in load_file(tmp_path / "model" / "open_clip_model.safetensors"))
    equal(model, tmp_path / "model", tmp_path / "photographs")


def test_without_a_causal_mask_the_filling_is_read_as_open_clip_reads_it(tmp_path: Path) -> None:
    config = tiny.open_clip_config(tiny.VIT, custom_text=True)
    config["text_cfg"]["no_causal_mask"] = True
    model = tiny.open_clip_folder(tmp_path / "model", config)
    encoder = equal(model, tmp_path / "model", tmp_path / "photographs")
    assert encoder.text_tower.config["fill"] == 0
    zoo.save_as(encoder, tmp_path / "again", "openclip")
    assert torch.equal(zoo.load(tmp_path / "again").encode_text(tiny.TEXTS), encoder.encode_text(tiny.TEXTS))


@pytest.mark.slow
def test_towers_that_are_not_ours_are_not_written_as_open_clips(tmp_path: Path) -> None:
    vision = {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None}
    tiny.open_clip_folder(tmp_path / "model", tiny.open_clip_config(vision))
    encoder = zoo.load(tmp_path / "model")
    assert zoo.layouts_for(encoder) == []
    with pytest.raises(DeixisError, match=r"TimmTower.*no towers of open_clip's"):
        zoo.save_as(encoder, tmp_path / "again", "openclip")


@pytest.mark.slow
def test_an_adapted_model_stands_on_a_tower_of_timm(tmp_path: Path) -> None:
    from deixis.nn.adaptation.adapters import TextResidual

    vision = {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None}
    tiny.open_clip_folder(tmp_path / "model", tiny.open_clip_config(vision))
    encoder = zoo.load(tmp_path / "model")
    zoo.save(encoder.with_adapters(None, TextResidual(32)), tmp_path / "adapted")
    assert zoo.load(tmp_path / "adapted").text_adapter is not None


def test_what_fills_a_text_must_be_said_where_the_tower_reads_it(tmp_path: Path) -> None:
    config = tiny.open_clip_config(tiny.VIT, custom_text=True)
    words = {"hf_tokenizer_name": "a/tokenizer", "pool_type": "last", "no_causal_mask": True}
    config["text_cfg"] |= words
    tiny.open_clip_folder(tmp_path / "model", config)
    (tmp_path / "model" / "tokenizer.json").write_text(json.dumps(tiny.word_rules()))
    with pytest.raises(DeixisError, match=r"which token fills a text up.*tokenizer_config\.json"):
        zoo.load(tmp_path / "model")
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps({"pad_token": "</s>"}))
    assert zoo.load(tmp_path / "model").text_tower.config["fill"] == 1


def test_weights_of_another_size_and_a_file_cut_short_are_named(tmp_path: Path) -> None:
    vision = {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None}
    tiny.open_clip_folder(tmp_path / "model", tiny.open_clip_config(vision))
    weights = tmp_path / "model" / "open_clip_model.safetensors"
    config = tmp_path / "model" / "open_clip_config.json"
    tiny.edit(config, "model_cfg", "vision_cfg", "timm_pool", value="avg")
    tiny.edit(config, "model_cfg", "vision_cfg", "timm_model_name", value="test_efficientnet")
    with pytest.raises(DeixisError, match=r"weights that its config describes: .*visual\.trunk.*nothing was loaded"):
        zoo.load(tmp_path / "model")
    tiny.edit(config, "model_cfg", "vision_cfg", "timm_model_name", value="test_vit")
    tiny.edit(config, "model_cfg", "vision_cfg", "timm_pool", value="token")
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(DeixisError, match=r"open_clip_model\.safetensors can't be read.*cut short"):
        zoo.load(tmp_path / "model")
    weights.unlink()
    with pytest.raises(DeixisError, match="has a config and no weights"):
        zoo.load(tmp_path / "model")


@pytest.mark.slow
def test_a_text_encoder_needs_the_extra_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from deixis.nn.transformers_networks import create

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DeixisError, match=re.escape("pip install 'deixis[hf]'")):
        create({"model_type": "roberta"})


EACH = (
    *("EVA02-B-16", "MobileCLIP-B", "MobileCLIP2-S0", "PE-Core-T-16-384", "RN50", "ViT-B-32-quickgelu"),
    *("ViT-B-16-SigLIP", "ViT-B-16-SigLIP2", "ViT-L-14-CLIPA", "ViT-L-14-worldwide", "ViTamin-S", "coca_ViT-B-32"),
    *("convnext_base", "convnext_large_d", "nllb-clip-base", "nllb-clip-base-siglip", "roberta-ViT-B-32"),
    *("xlm-roberta-base-ViT-B-32", "mt5-base-ViT-B-32", "swin_base_patch4_window7_224", "ViT-S-32-alt"),
    *("vit_medium_patch16_gap_256", "vit_relpos_medium_patch16_cls_224", "coca_roberta-ViT-B-32"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_each_architecture_of_open_clip_gives_its_numbers(tmp_path: Path, name: str) -> None:
    """With two layers a tower, where these can be counted, and small vocabularies; bench/zoo_rows.py runs all whole."""
    (found,) = compare(name, [], tmp_path / "model", depth=2, size=2000)
    assert max(found.image, found.text) <= 1e-5
