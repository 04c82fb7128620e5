"""transformers' folders of CLIP and SigLIP, and the hub that they come from."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from deixis import zoo
from deixis.errors import DeixisError
from deixis.inputs.clip_bpe import ClipTokenizer
from deixis.inputs.images import load_image
from deixis.nn.dual import DualEncoder
from tests.support import few
from tests.zoo import checkpoints as tiny

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is the oracle of these tests"
)

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "clip": ("clip", {}),
    "clip-gelu": ("clip", {"text": {"hidden_act": "gelu"}, "vision": {"hidden_act": "gelu", "layer_norm_eps": 1e-6}}),
    "clip-two-activations": ("clip", {"text": {"hidden_act": "gelu"}}),
    "clip-old-end": ("clip", {"text": {"eos_token_id": 2}}),
    "siglip": ("siglip", {}),
    "siglip-projected": ("siglip", {"text": {"hidden_size": 48, "projection_size": 32}}),
}


def read(encoder: DualEncoder, paths: list[Path]) -> torch.Tensor:
    return encoder.preprocess.batch([load_image(path) for path in paths])


def theirs(model: torch.nn.Module, folder: Path, paths: list[Path], tokens: torch.Tensor) -> list[torch.Tensor]:
    """transformers' pixels and embeddings; its Pillow backend, since the other one resizes tensors."""
    with tiny.quiet(), torch.no_grad():
        import transformers as peers

        kind = model.config.model_type
        processor = (peers.CLIPImageProcessorPil if kind == "clip" else peers.SiglipImageProcessorPil).from_pretrained(
            folder
        )
        pixels = processor([Image.open(path) for path in paths], return_tensors="pt")["pixel_values"]
        full = torch.ones(len(tokens), 16, dtype=torch.long)
        full[:, : tokens.shape[1]] = torch.where((tokens == 0) & (kind == "siglip"), 1, tokens)
        images, texts = model.get_image_features(pixels).pooler_output, model.get_text_features(full).pooler_output
    return [pixels, F.normalize(images, dim=-1), F.normalize(texts, dim=-1)]


@pytest.mark.parametrize("case", few(CASES, "clip"))
def test_our_embeddings_are_transformers_and_so_is_what_we_write(tmp_path: Path, case: str) -> None:
    kind, changes = CASES[case]
    model = tiny.transformers_folder(tmp_path / "model", kind, **changes)
    paths, encoder = tiny.photographs(tmp_path / "photographs"), zoo.load(tmp_path / "model")
    pixels, images, texts = theirs(model, tmp_path / "model", paths, encoder.tokenizer(tiny.TEXTS, 16).ids)
    torch.testing.assert_close(read(encoder, paths), pixels, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_image(read(encoder, paths)), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_text(tiny.TEXTS), texts, atol=1e-5, rtol=0)
    assert encoder.scale == pytest.approx(model.logit_scale.exp().item(), rel=1e-6)
    assert encoder.bias == (pytest.approx(-9.7) if kind == "siglip" else None)

    zoo.save_as(encoder, tmp_path / "again", "huggingface")
    again, first = (
        load_file(tmp_path / "again" / "model.safetensors"),
        load_file(tmp_path / "model" / "model.safetensors"),
    )
    assert {name: value.shape for name, value in again.items()} == {name: value.shape for name, value in first.items()}
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert torch.equal(zoo.load(tmp_path / "again").encode_text(tiny.TEXTS), encoder.encode_text(tiny.TEXTS))


@pytest.mark.parametrize("kind", few(["clip", "siglip"], "siglip"))
def test_transformers_reads_what_we_write(tmp_path: Path, kind: str) -> None:
    model = tiny.transformers_folder(tmp_path / "model", kind)
    zoo.save_as(zoo.load(tmp_path / "model"), tmp_path / "again", "huggingface")
    with tiny.quiet():
        import transformers as peers

        again, told = peers.AutoModel.from_pretrained(tmp_path / "again", output_loading_info=True)
        processor = peers.AutoImageProcessor.from_pretrained(tmp_path / "again")
        tokenizer = peers.AutoTokenizer.from_pretrained(tmp_path / "again")
    assert not any(told[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(again) is type(model)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert processor.size in ({"shortest_edge": 32}, {"height": 32, "width": 32})
    ours = zoo.load(tmp_path / "model").tokenizer(["the red bird"], 16).ids[0].tolist()
    assert tokenizer("the red bird")["input_ids"] == ours


def test_texts_of_a_siglip_are_filled_up_with_its_own_token(tmp_path: Path) -> None:
    model = tiny.transformers_folder(tmp_path / "model", "siglip")
    encoder = zoo.load(tmp_path / "model")
    assert encoder.text_tower.config["fill"] == 1
    with torch.no_grad():
        filled = torch.tensor([[3, 4, 5, 1] + [1] * 12])
        expected = F.normalize(model.get_text_features(filled).pooler_output, dim=-1)
    torch.testing.assert_close(encoder.encode_text("the red bird"), expected, atol=1e-5, rtol=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.transformers_folder(tmp_path / "model", "clip")
    return tmp_path / "model"


def test_merges_are_taken_from_the_folder_else_from_the_cache(folder: Path) -> None:
    expected = zoo.load(folder).tokenizer.to_dict()
    rules = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    assert zoo.load(folder).tokenizer.to_dict() == expected
    tiny.put_merges().unlink()
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(tiny.PAIRS) + "\n")
    (folder / "vocab.json").write_text(json.dumps(rules["model"]["vocab"]))
    tokenizer = zoo.load(folder).tokenizer
    assert isinstance(tokenizer, ClipTokenizer)
    assert tokenizer.to_dict() == expected
    (folder / "vocab.json").write_text(json.dumps({**rules["model"]["vocab"], "th": 3}))
    with pytest.raises(DeixisError, match="numbers 'th' as 3"):
        zoo.load(folder)


def test_weights_in_several_files_are_one_model(folder: Path) -> None:
    expected = zoo.load(folder).state_dict()
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    halves = {"model-00001-of-00002.safetensors": names[:40], "model-00002-of-00002.safetensors": names[40:]}
    for file, inside in halves.items():
        save_file({name: state[name] for name in inside}, folder / file)
    index = {"weight_map": {name: file for file, inside in halves.items() for name in inside}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    found = zoo.load(folder).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    index["weight_map"]["logit_scale"] = "../elsewhere.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(DeixisError, match="outside of its folder"):
        zoo.load(folder)


def test_early_configs_hold_texts_and_pictures_twice_and_the_second_counts(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    whole = config["text_config"]
    tiny.edit(folder / "config.json", "text_config_dict", value=whole)
    tiny.edit(folder / "config.json", "text_config", value={**whole, "hidden_act": "gelu"})
    assert zoo.load(folder).text_tower.config["activation"] == "quick_gelu"


def test_positions_counted_by_old_versions_are_let_be(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file({**load_file(path), "text_model.embeddings.position_ids": torch.arange(16)[None]}, path)
    assert zoo.load(folder).context_length == 16


def settings(*keys: str, value: Any) -> Callable[[Path], None]:
    return lambda folder: tiny.edit(folder / "config.json", *keys, value=value)


def processing(key: str, value: Any) -> Callable[[Path], None]:
    return lambda folder: tiny.edit(folder / "preprocessor_config.json", key, value=value)


def tensors(**changes: Callable[[torch.Tensor], torch.Tensor] | None) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        state = load_file(path)
        for name, how in changes.items():
            value = state.pop(name.replace("__", "."))
            if how is not None:
                state[name.replace("__", ".")] = how(value).contiguous()
        save_file(state, path)

    return spoil


def swap_towers(folder: Path) -> None:
    path, names = folder / "model.safetensors", {"text_model": "vision_model", "vision_model": "text_model"}
    swapped = {}
    for name, value in load_file(path).items():
        first, _, rest = name.partition(".")
        swapped[f"{names[first]}.{rest}" if ".encoder." in name else name] = value
    save_file(swapped, path)


def other_words(folder: Path) -> None:
    (folder / "tokenizer.json").write_text(json.dumps(tiny.word_rules()))


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (settings("text_config", "hidden_act", value="relu"), "hidden_act='relu'.*quick_gelu"),
        (
            tensors(text_projection__weight=lambda value: value.T),
            r"text_projection\.weight \[32, 24\] instead of \[24, 32\]",
        ),
        (tensors(visual_projection__weight=None), r"missing \(visual_projection\.weight\)"),
        (other_words, "not CLIP's encoding"),
        (
            settings("text_config", "eos_token_id", value=7),
            "ends a text with token 521, and the text tower looks for 7",
        ),
        (settings("text_config", "vocab_size", value=49408), "tokenizer has 522 tokens"),
        (processing("image_mean", [123, 117, 104]), r"mean is \[123"),
        (processing("rescale_factor", 1 / 127.5), "rescale_factor"),
        (processing("do_resize", False), "do_resize=False"),
        (processing("crop_size", {"height": 24, "width": 24}), "crop_size.*image size of the model is 32"),
        (processing("do_center_crop", False), "size=.*the centre is cut"),
        (processing("resample", 0), r"resample=0.*3 \(bicubic\)"),
        (settings("vision_config", "patch_size", value=16), "patch size"),
        (settings("vision_config", "image_size", value=64), "image size of the model is 64"),
        (settings("text_config", "max_position_embeddings", value=77), "the context length"),
        (settings("text_config", "num_hidden_layers", value=1), r"16 have no place.*text_model\.encoder\.layers\.1"),
        (settings("text_config", "new_setting", value=1), "new_setting=1"),
        (settings("text_config", value=[1]), r"text_config=\[1\]"),
        (settings("vision_config", "image_size", value="large"), "image_size='large'"),
        (processing("do_center_crop", "false"), "do_center_crop='false'.*true or false"),
        (settings("model_type", value="flava"), "model_type='flava'.*clip, metaclip_2, clipseg, siglip"),
        (swap_towers, "missing|no place"),
        (lambda folder: (folder / "model.safetensors").unlink(), "a config and no weights"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), r"no preprocessor_config\.json"),
    ],
)
def test_what_does_not_fit_is_named(folder: Path, spoil: Callable[[Path], None], name: str) -> None:
    spoil(folder)
    with pytest.raises(DeixisError, match=name):
        zoo.load(folder)


def test_a_siglip_without_head_or_tokenizer_is_named(tmp_path: Path) -> None:
    tiny.transformers_folder(tmp_path / "model", "siglip")
    (tmp_path / "model" / "tokenizer.json").rename(tmp_path / "kept.json")
    with pytest.raises(DeixisError, match=r"no tokenizer\.json.*AutoTokenizer"):
        zoo.load(tmp_path / "model")
    (tmp_path / "kept.json").rename(tmp_path / "model" / "tokenizer.json")
    tiny.edit(tmp_path / "model" / "config.json", "vision_config", "vision_use_head", value=False)
    with pytest.raises(DeixisError, match="vision_use_head"):
        zoo.load(tmp_path / "model")


def test_what_transformers_has_no_place_for_is_not_written(tmp_path: Path) -> None:
    vision = {**tiny.VIT, "pool_type": "avg"}
    tiny.open_clip_folder(tmp_path / "mean", tiny.open_clip_config(vision))
    with pytest.raises(DeixisError, match="pool='mean'"):
        zoo.save_as(zoo.load(tmp_path / "mean"), tmp_path / "out", "huggingface")
    tiny.open_clip_folder(tmp_path / "resnet", tiny.open_clip_config(tiny.RESNET))
    with pytest.raises(DeixisError, match="ModifiedResNet"):
        zoo.save_as(zoo.load(tmp_path / "resnet"), tmp_path / "out", "huggingface")
    tiny.transformers_folder(tmp_path / "siglip", "siglip")
    with pytest.raises(DeixisError, match="class_token=False"):
        zoo.save_as(zoo.load(tmp_path / "siglip"), tmp_path / "out", "openclip")
    assert not (tmp_path / "out").exists()


def test_a_clip_of_transformers_can_be_written_for_open_clip(folder: Path, tmp_path: Path) -> None:
    encoder = zoo.load(folder)
    zoo.save_as(encoder, tmp_path / "openclip", "openclip")
    again = zoo.load(tmp_path / "openclip")
    assert torch.equal(again.encode_text(tiny.TEXTS), encoder.encode_text(tiny.TEXTS))
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(again.encode_image(images), encoder.encode_image(images))
    assert again.preprocess.mode == "crop"


# ---- the hub, faked at the function that speaks to it


class FakeHub:
    """Copies what matches from a folder, as `snapshot_download` would."""

    def __init__(self, source: Path, target: Path) -> None:
        self.source, self.target, self.asked = source, target, []

    def __call__(self, repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked.append((repository, revision, allow_patterns))
        self.target.mkdir(exist_ok=True)
        for pattern in allow_patterns:
            for path in self.source.glob(pattern):
                shutil.copy(path, self.target)
        return str(self.target)


def use_hub(monkeypatch: pytest.MonkeyPatch, hub: FakeHub) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    monkeypatch.setattr("deixis.zoo.hub.require_reachable", lambda *_: None)


def test_a_published_name_is_fetched_from_its_repository_and_needs_no_config_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config of a name of open_clip's is known; a repository may hold nothing but weights and a tokenizer."""
    from deixis.zoo import published

    config = tiny.open_clip_config(tiny.VIT)
    tiny.open_clip_folder(tmp_path / "source", config)
    (tmp_path / "source" / "open_clip_config.json").unlink()
    known = published.find("ViT-B-32/laion2b_s34b_b79k")
    assert known is not None
    small = dataclasses.replace(known, settings={"model_cfg": config, "preprocess_cfg": {}})
    monkeypatch.setattr(published, "find", {known.name: small, "ViT-B-32:laion2b_s34b_b79k": small}.get)
    hub = FakeHub(tmp_path / "source", tmp_path / "cache")
    use_hub(monkeypatch, hub)
    encoder = zoo.load("ViT-B-32:laion2b_s34b_b79k")
    assert encoder.name == "ViT-B-32/laion2b_s34b_b79k"
    assert zoo.load(encoder.name).fingerprint() == encoder.fingerprint()
    assert {each[0] for each in hub.asked} == {"laion/CLIP-ViT-B-32-laion2B-s34B-b79K"}


def test_a_repository_is_loaded_without_the_prefix_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub(monkeypatch, FakeHub(folder, tmp_path / "cache"))
    assert zoo.load("someone/clip").name == "hf-hub:someone/clip"


def test_a_repository_of_the_hub_loads_by_its_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = FakeHub(folder, tmp_path / "cache")
    use_hub(monkeypatch, hub)
    torch.save({}, folder / "pytorch_model.bin")
    encoder = zoo.load("hf-hub:someone/clip@v1")
    assert encoder.name == "hf-hub:someone/clip@v1"
    assert {each[:2] for each in hub.asked} == {("someone/clip", "v1")}
    assert not (tmp_path / "cache" / "pytorch_model.bin").exists()
    assert zoo.load(encoder.name).fingerprint() == encoder.fingerprint()


def test_of_a_repository_with_two_layouts_open_clips_is_fetched(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.open_clip_folder(tmp_path / "other", tiny.open_clip_config(tiny.VIT), weights="bin")
    for path in (tmp_path / "other").iterdir():
        shutil.copy(path, folder)
    use_hub(monkeypatch, FakeHub(folder, tmp_path / "cache"))
    assert zoo.load("hf-hub:someone/clip").width == 32
    assert not (tmp_path / "cache" / "model.safetensors").exists()


def test_what_the_hub_cannot_give_is_one_clear_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeixisError, match="names no repository"):
        zoo.load("hf-hub:clip")
    with pytest.raises(DeixisError, match=r"hf-hub:someone/nothing is not available from the hub"):
        zoo.load("hf-hub:someone/nothing")  # the fast tests are offline
    (folder / "model.safetensors").unlink()
    use_hub(monkeypatch, FakeHub(folder, tmp_path / "cache"))
    with pytest.raises(DeixisError, match="holds no weights"):
        zoo.load("hf-hub:someone/clip")
