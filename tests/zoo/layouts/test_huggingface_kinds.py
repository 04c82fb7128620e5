"""Image-text models of transformers beside CLIP and SigLIP give the same numbers here, with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from deixis import zoo
from deixis.errors import DeixisError
from deixis.inputs.images import load_image
from deixis.nn.dual import DualEncoder
from tests.support import few
from tests.zoo import checkpoints as tiny

TEXTS = ["the red bird", "a photo of the bird on a roof", "bird"]
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**SIZES, "image_size": 32, "patch_size": 8}
WORDS = {**SIZES, "vocab_size": 40, "max_position_embeddings": 16, "type_vocab_size": 1}
SQUARE = {"height": 32, "width": 32}


def metaclip_2(peers: Any) -> tuple[nn.Module, Any]:
    text = {**SIZES, "vocab_size": 40, "max_position_embeddings": 16, "eos_token_id": 2}
    config = peers.MetaClip2Config(text_config=text, vision_config=VISION, projection_dim=24)
    return peers.MetaClip2Model(config), peers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)


def clipseg(peers: Any) -> tuple[nn.Module, Any]:
    text = {**SIZES, "vocab_size": tiny.VOCABULARY, "max_position_embeddings": 16}
    text |= {"eos_token_id": tiny.VOCABULARY - 1, "bos_token_id": tiny.VOCABULARY - 2}
    config = peers.CLIPSegConfig(
        text_config=text, vision_config=VISION, projection_dim=24, extract_layers=[0, 1], reduce_dim=8
    )
    config.decoder_num_attention_heads = 2
    size = {"height": 48, "width": 48}
    return peers.CLIPSegForImageSegmentation(config), peers.ViTImageProcessor(size=size)


def siglip2(peers: Any) -> tuple[nn.Module, Any]:
    text = {**SIZES, "vocab_size": 40, "max_position_embeddings": 16}
    config = peers.Siglip2Config(text_config=text, vision_config={**SIZES, "num_patches": 16, "patch_size": 8})
    return peers.Siglip2Model(config), peers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)


def chinese_clip(peers: Any) -> tuple[nn.Module, Any]:
    config = peers.ChineseCLIPConfig(text_config=WORDS, vision_config=VISION, projection_dim=24)
    processor = peers.ChineseCLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SQUARE)
    return peers.ChineseCLIPModel(config), processor


def altclip(peers: Any) -> tuple[nn.Module, Any]:
    words = {**WORDS, "project_dim": 20, "max_position_embeddings": 24, "pad_token_id": 1}
    config = peers.AltCLIPConfig(text_config=words, vision_config=VISION, projection_dim=24)
    return peers.AltCLIPModel(config), peers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)


def align(peers: Any) -> tuple[nn.Module, Any]:
    vision = {"image_size": 64, "hidden_dim": 1280, "width_coefficient": 1.0, "depth_coefficient": 0.2}
    config = peers.AlignConfig(text_config=WORDS, vision_config=vision, projection_dim=1280)
    size = {"height": 64, "width": 64}
    processor = peers.EfficientNetImageProcessor(
        size=size, crop_size=size, do_normalize=False, rescale_factor=1 / 127.5, rescale_offset=True, include_top=False
    )
    return peers.AlignModel(config), processor


def blip(peers: Any, kind: str = "BlipModel") -> tuple[nn.Module, Any]:
    words = {**WORDS, "encoder_hidden_size": 32, "bos_token_id": 3, "eos_token_id": 1, "sep_token_id": 1}
    words["pad_token_id"] = 0
    config = peers.BlipConfig(text_config=words, vision_config=VISION, projection_dim=24, image_text_hidden_size=20)
    return getattr(peers, kind)(config), peers.BlipImageProcessor(size=SQUARE)


def blip_retrieval(peers: Any) -> tuple[nn.Module, Any]:
    return blip(peers, "BlipForImageTextRetrieval")


KINDS: dict[str, Callable[[Any], tuple[nn.Module, Any]]] = {
    each.__name__: each for each in (metaclip_2, clipseg, siglip2, chinese_clip, altclip, align, blip, blip_retrieval)
}


def write(folder: Path, kind: str) -> tuple[Any, Any]:
    """What transformers writes, with a tokenizer; gives model and processor of images."""
    with tiny.quiet():
        import transformers

        torch.manual_seed(0)
        model, processor = KINDS[kind](transformers)
        tiny.shake(model).save_pretrained(folder)
        processor.save_pretrained(folder)
    rules = tiny.tokenizer().to_dict() if kind == "clipseg" else tiny.word_rules()
    if kind == "metaclip_2":  # a text ends with token 2
        rules["post_processor"]["special_tokens"]["</s>"]["ids"] = [2]
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    pad = "</s>" if kind in ("siglip2", "altclip") else "<pad>"
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": pad}))
    return model, processor


def theirs(
    model: Any, processor: Any, kind: str, pictures: list[Image.Image], encoder: DualEncoder
) -> tuple[Tensor, Tensor]:
    """Embeddings of transformers: pictures through its processor, texts as the tokens that ours gives."""
    tokens = encoder.tokenize(TEXTS)
    padding = {"siglip2": 1, "altclip": 1, "metaclip_2": 1, "clipseg": 0}.get(kind, 0)
    ids = tokens.ids.masked_fill(~tokens.mask, padding)
    inputs = processor(images=pictures, return_tensors="pt")
    mask = {"attention_mask": tokens.mask.long()}
    if kind == "siglip2":
        ids, mask = F.pad(ids, (0, 16 - ids.shape[1]), value=1), {}
    inner = model.clip if kind == "clipseg" else model
    with torch.no_grad():
        if kind == "blip_retrieval":
            images = model.vision_proj(model.vision_model(**inputs).last_hidden_state[:, 0])
            texts = model.text_proj(model.text_encoder(input_ids=ids, **mask).last_hidden_state[:, 0])
        else:
            images = inner.get_image_features(**inputs).pooler_output
            texts = inner.get_text_features(input_ids=ids, **mask).pooler_output
    return F.normalize(images, dim=-1), F.normalize(texts, dim=-1)


@pytest.mark.parametrize("kind", few(KINDS, "siglip2", "chinese_clip"))
def test_a_model_of_transformers_gives_the_same_numbers_here(tmp_path: Path, kind: str) -> None:
    model, processor = write(tmp_path / "model", kind)
    encoder = zoo.load(tmp_path / "model")
    assert not encoder.training
    paths = tiny.photographs(tmp_path / "photographs")
    if kind == "siglip2":  # which resizes by the shape of each picture; squares are the ones seen whole here
        paths = paths[3:4]
    pictures = [Image.open(path).convert("RGB") for path in paths]
    images, texts = theirs(model, processor, kind, pictures, encoder)
    pixels = encoder.preprocess.batch([load_image(path) for path in paths])
    reference = processor(images=pictures, return_tensors="pt")["pixel_values"]
    if kind != "siglip2":  # its resizing is torchvision's, which rounds otherwise than Pillow's
        assert (pixels - reference).abs().mean() < 0.02
        with torch.no_grad():
            again = encoder.encode_image(reference)
        torch.testing.assert_close(again, images, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_image(pixels), images, atol=2e-2, rtol=0)
    torch.testing.assert_close(encoder.encode_text(TEXTS), texts, atol=1e-5, rtol=0)
    assert (texts[0] - texts[2]).abs().max() > 1e-3


def test_scores_are_scaled_as_the_model_says(tmp_path: Path) -> None:
    model, _ = write(tmp_path / "model", "align")
    assert zoo.load(tmp_path / "model").scale == pytest.approx(1 / model.temperature.item())


@pytest.mark.slow
def test_a_variable_resolution_model_sees_images_of_any_shape(tmp_path: Path) -> None:
    """Two patches by six, where positions were learned on four by four."""
    model, _ = write(tmp_path / "model", "siglip2")
    encoder, images = zoo.load(tmp_path / "model"), torch.randn(2, 3, 16, 48)
    patches = images.reshape(2, 3, 2, 8, 6, 8).permute(0, 2, 4, 3, 5, 1).reshape(2, 12, -1)
    inputs = {"pixel_attention_mask": torch.ones(2, 12), "spatial_shapes": torch.tensor([[2, 6], [2, 6]])}
    with torch.no_grad():
        expected = model.get_image_features(pixel_values=patches, **inputs).pooler_output
        found = encoder.encode_image(images)
    torch.testing.assert_close(found, F.normalize(expected, dim=-1), atol=1e-5, rtol=0)
    assert encoder.image_tokens(images).grid == (2, 6)
    with pytest.raises(DeixisError, match=r"16 by 44 pixels, and patches 8 by 8"):
        encoder.encode_image(torch.randn(1, 3, 16, 44))


@pytest.mark.slow
def test_a_blip_that_only_writes_captions_is_refused_and_what_can_be_loaded_is_named(tmp_path: Path) -> None:
    write(tmp_path / "model", "blip")
    tiny.edit(tmp_path / "model" / "config.json", "architectures", value=["BlipForConditionalGeneration"])
    with pytest.raises(DeixisError, match=r"BlipForConditionalGeneration.*BlipForImageTextRetrieval and BlipModel"):
        zoo.load(tmp_path / "model")


def test_a_model_of_another_kind_is_refused_and_those_that_can_be_loaded_are_named(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "jina_clip"}))
    with pytest.raises(DeixisError, match=r"model_type='jina_clip'.*clip, metaclip_2, clipseg, siglip, siglip2.*align"):
        zoo.load(tmp_path / "model")
