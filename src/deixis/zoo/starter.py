"""The starter: a dual encoder that any package index brings, for trying out where no CLIP can be downloaded.

Images go through EfficientNet-Lite0 with its ImageNet classifier, texts through MiniLM-L6; ConSE joins them without any
training, by the text embeddings of the 1,000 class names and definitions. These lie in a cone; their mean is subtracted
on both sides. Prompt form, classes mixed, temperature and centring were chosen on drawings (emoji and Art4Apps), see
`bench/starter_choice.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.files import atomic_path, cache_dir, content_hash
from deixis.inputs.preprocess import Preprocess
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.language.bert import Bert, BertConfig, MeanPooledText
from deixis.nn.vision.conse import ClassifierTower, ConSE

__all__ = [
    "CENTRED",
    "CLASSES_MIXED",
    "FILES",
    "PROMPT",
    "PROMPTS",
    "TEMPERATURE",
    "class_prompts",
    "load",
    "load_minilm",
    "load_text",
]

FILES = {"image": "efficientnet-lite0.pth", "text": "minilm-l6.safetensors", "tokenizer": "minilm-l6-tokenizer.json"}
"""What `deixis data get starter` puts into the folder `starter` of the cache."""

PROMPTS = ("lemmas", "lemmas: definition")
PROMPT = "lemmas: definition"
CLASSES_MIXED = 30
TEMPERATURE = 2.0
CENTRED = True
SCALE = 20.0
CONTEXT = 256
MINILM = BertConfig(vocabulary=30522, width=384, depth=6, heads=12, hidden=1536)
TRAITS = Traits("starter", CONTEXT, SCALE, licence="Apache-2.0 (EfficientNet-Lite0, all-MiniLM-L6-v2)")
PREPROCESS = Preprocess(224, mode="pad", interpolation="bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


def load(
    *, prompt: str = PROMPT, k: int = CLASSES_MIXED, temperature: float = TEMPERATURE, centred: bool = CENTRED
) -> DualEncoder:
    """The starter, in eval mode. The first call with a prompt form embeds the class names, which takes some ten
    seconds; the result is kept in the cache.

    Args:
        prompt: how the classes are put into words, one of `PROMPTS`.
        k: classes that are mixed.
        temperature: of the classifier's softmax.
        centred: whether the mean class embedding is subtracted, from images and texts.

    Raises:
        DeixisError: the weights are not in the cache, or are not those expected.
    """
    paths = _paths()
    tokenizer, text, prototypes = _text_side(paths, prompt)
    if centred:
        text.centre = prototypes.mean(0)
        prototypes = prototypes - text.centre
    tower = _image_tower(paths["image"], ConSE(prototypes, k, temperature))
    return DualEncoder(tower, text, tokenizer=tokenizer, preprocess=PREPROCESS, traits=TRAITS).eval()


def load_text() -> DualEncoder:
    """The text side of `load()`, in eval mode: without the image tower, and without importing timm where the classes
    were embedded before.

    Raises:
        DeixisError: as `load`.
    """
    tokenizer, text, prototypes = _text_side(_paths(), PROMPT)
    if CENTRED:
        text.centre = prototypes.mean(0)
    return DualEncoder.of_text(text, tokenizer=tokenizer, preprocess=PREPROCESS, traits=TRAITS).eval()


def load_minilm() -> DualEncoder:
    """MiniLM-L6 by itself, in eval mode: the text side of `load()` before ConSE moves its centre, as published.

    Raises:
        DeixisError: as `load`.
    """
    paths = _paths()
    tokenizer, text = Tokenizer.from_file(paths["tokenizer"]), _text_tower(paths["text"])
    traits = dataclasses.replace(TRAITS, name="minilm", licence="Apache-2.0 (all-MiniLM-L6-v2)")
    return DualEncoder.of_text(text, tokenizer=tokenizer, preprocess=PREPROCESS, traits=traits).eval()


def _paths() -> dict[str, Path]:
    paths = {part: cache_dir("starter") / name for part, name in FILES.items()}
    if missing := [path.name for path in paths.values() if not path.is_file()]:
        raise DeixisError(
            f"The starter is not in {cache_dir('starter')} ({', '.join(missing)} missing).",
            "Run: deixis data get starter",
        )
    return paths


def _text_side(paths: dict[str, Path], prompt: str) -> tuple[Tokenizer, MeanPooledText, Float[Tensor, "C D"]]:
    """Tokenizer, text tower, and the embeddings of the classes."""
    tokenizer, text = Tokenizer.from_file(paths["tokenizer"]), _text_tower(paths["text"])
    return tokenizer, text, _prototypes(prompt, text, tokenizer, content_hash(paths["text"]))


def class_prompts(form: str = PROMPT) -> list[str]:
    """The 1,000 ImageNet classes in words, in the classifier's order (timm's lists, from WordNet).

    Args:
        form: `lemmas` ("tench, Tinca tinca") or `lemmas: definition` (the same, a colon, what it is).
    """
    from timm.data.imagenet_info import ImageNetInfo

    if form not in PROMPTS:
        raise DeixisError(f"There is no prompt form {form!r}.", f"There are: {', '.join(map(repr, PROMPTS))}.")
    return list(ImageNetInfo("imagenet-1k").label_descriptions(detailed=form == "lemmas: definition"))


def _prototypes(form: str, text: MeanPooledText, tokenizer: Tokenizer, weights: str) -> Float[Tensor, "C D"]:
    """The classes' embeddings, from the cache if they were computed before with these weights and timm's lists."""
    key = hashlib.sha256(json.dumps([weights, CONTEXT, form, metadata.version("timm")]).encode()).hexdigest()[:16]
    path = cache_dir("starter-prototypes") / f"{key}.safetensors"
    with contextlib.suppress(Exception):  # missing or damaged: computed again
        return load_file(path)["prototypes"]
    prompts = class_prompts(form)
    text.eval()
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # little padding
    rows = torch.empty(len(prompts), text.width)
    with torch.no_grad():
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            rows[chosen] = text(*tokenizer([prompts[i] for i in chosen], CONTEXT))
    with contextlib.suppress(OSError), atomic_path(path) as temporary:  # a cache that can't be written is no error
        save_file({"prototypes": rows}, temporary)
    return rows


def _image_tower(path: Path, head: ConSE) -> ClassifierTower:
    import timm

    backbone: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0, global_pool="")
    classifier = nn.Linear(backbone.num_features, len(head.prototypes))
    blocks = [f"{stage}.{block}" for stage, blocks in enumerate(backbone.blocks) for block in range(len(blocks))]
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        named = {_timm_name(key, blocks): value for key, value in stored.items()}
        last = {key: named.pop(f"classifier.{key}") for key in ("weight", "bias")}
    except Exception as error:  # whatever the unpickler meets, or names that are not there
        raise _damaged(path, repr(error)) from error
    _fill(classifier, last, path)
    _fill(backbone, named, path)
    return ClassifierTower(backbone, classifier, head)


_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def _timm_name(key: str, blocks: list[str]) -> str:
    """The name in timm's `tf_efficientnet_lite0` of a tensor of the stored network; the first block does not expand."""
    first, *rest = key.split(".")
    if first != "_blocks":
        return ".".join([_TOP.get(first, first), *rest])
    number, part, *rest = rest
    names = _FIRST_BLOCK if number == "0" else _BLOCK
    return ".".join(["blocks", blocks[int(number)], names.get(part, part), *rest])


_MINILM_NAMES = (
    (r"^embeddings\.word_embeddings", "words"),
    (r"^embeddings\.position_embeddings", "positions"),
    (r"^embeddings\.token_type_embeddings", "kinds"),
    (r"^embeddings\.LayerNorm", "norm"),
    (r"^encoder\.layer", "layers"),
    (r"attention\.self", "attention"),
    (r"attention\.output\.dense", "attention.out"),
    (r"attention\.output\.LayerNorm", "attention_norm"),
    (r"intermediate\.dense", "widen"),
    (r"output\.dense", "narrow"),
    (r"output\.LayerNorm", "norm"),
)
_UNUSED = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")


def _text_tower(path: Path) -> MeanPooledText:
    try:
        stored = load_file(path)
    except Exception as error:  # safetensors raises its own
        raise _damaged(path, str(error)) from error
    named = {}
    for key, value in stored.items():
        for pattern, name in _MINILM_NAMES:
            key = re.sub(pattern, name, key)
        named[key] = value
    for key in _UNUSED:  # the pooler was not trained for sentences; positions are counted
        named.pop(key, None)
    bert = Bert(MINILM)
    _fill(bert, named, path)
    return MeanPooledText(bert)


def _fill(module: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Every tensor of the file must have its place, and every place its tensor."""
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> DeixisError:
    return DeixisError(
        f"The file {path} does not hold the starter's weights: {why}",
        f"Remove the folder {path.parent}, then run: deixis data get starter",
    )
