"""Pretrained weights: `load("starter")`, `load("a/folder")`, `load("hf-hub:organisation/name")` give a `DualEncoder`.

`load_part("image_tower", "timm:resnet18")` gives a part of any kind. Loading is strict: a mismatch is an error.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deixis.errors import DeixisError
from deixis.zoo.parts import load_part

if TYPE_CHECKING:
    from deixis.nn.dual import DualEncoder

__all__ = [
    "IMAGE_SIDE",
    "LAYOUTS",
    "METHOD",
    "MODELS",
    "is_image_side",
    "joined",
    "layouts_for",
    "load",
    "load_part",
    "save",
    "save_as",
]

MODELS: dict[str, str] = {
    "starter": "EfficientNet-Lite0 and MiniLM-L6 joined without training; for trying out, needs no model hub",
    "desk-clip": "the starter's towers, trained jointly on drawings; for prompts and whatever asks for joint training",
    "tiny": "random weights, made in memory; for tests and demonstrations only",
    "tiny-vit": "the same with a vision transformer",
}
"""Name -> what it is; the module of the same name in this folder, `_` for `-`, has `load(**options)`. That of `tiny`
makes `tiny-vit`, too."""


LAYOUTS: dict[str, str] = {
    "openclip": "open_clip: open_clip_config.json beside the weights",
    "huggingface": "transformers: config.json beside the weights",
}
"""Of checkpoint folders that are read and written; the module of the same name has `load` and `save`."""

_SCALE = 20.0
"""Of a model whose towers have not met yet."""

METHOD = "method.safetensors"
"""What a run keeps of its method; in a folder without a dual encoder it is all that there is."""

IMAGE_SIDE = "image_side"
"""What the config of an index's model has where that is an image tower, or a place of an encoder."""

_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")


def load(
    name: str | os.PathLike[str],
    *,
    layout: str | None = None,
    image_size: int | None = None,
    context_length: int | None = None,
    **options: Any,
) -> DualEncoder:
    """Loads a model in eval mode.

    Args:
        name: one of `MODELS`; a model folder that `save` wrote, or a run folder that holds one; a folder of open_clip
            or transformers; a file as OpenAI published them; `hf-hub:organisation/name`, also without its prefix; a
            name of open_clip's, `ViT-B-32/laion2b_s34b_b79k`, see `deixis list models`; or `characters:16x64`, new
            towers for pictures of words.
        layout: one of `LAYOUTS`, for a folder that holds both.
        image_size: side of the pictures, in pixels, where it is to be another than the model's: a CLIP's positions are
            then interpolated, and the model's name tells it.
        context_length: tokens of a text, likewise.
        **options: what the model's own `load` takes.

    Raises:
        DeixisError: the name is unknown, the weights are not there (the message says how to get them), or they are not
            what their config says (the message names what differs).
    """
    encoder = _find(os.fspath(name), layout, options)
    if image_size is None and context_length is None:
        return encoder
    resized: DualEncoder = importlib.import_module("deixis.zoo.sizes").resize(encoder, image_size, context_length)
    return resized


def _find(key: str, layout: str | None, options: dict[str, Any]) -> DualEncoder:
    if key in MODELS or key.partition(":")[0] == "characters":
        return _made(key, options)
    if key.startswith("hf-hub:"):
        folder = importlib.import_module("deixis.zoo.hub").snapshot(key)
        return _load_folder(folder, key, layout, options)
    path = Path(key)
    if path.is_file() and path.suffix in _SUFFIXES:
        encoder: DualEncoder = importlib.import_module("deixis.zoo.layouts.openai").load(
            path, os.path.abspath(key), **options
        )
        return encoder
    for folder in (path, path / "model"):
        if ((folder / METHOD).is_file() and not (folder / "model").is_dir()) or is_image_side(folder):
            raise importlib.import_module("deixis.nn.image_only").words_error(key)
        if _layouts(folder) or (folder / "config.json").is_file():
            return _load_folder(folder, os.path.abspath(folder), layout, options)
    remote = None if path.exists() else _published(key)
    if remote is not None:
        return remote
    there = f"The models are: {', '.join(MODELS)}; `deixis list models` has those of model hubs."
    if path.exists():
        kind = "folder" if path.is_dir() else "file"
        raise DeixisError(f"{key!r} is a {kind}, and not a model that can be loaded.", there)
    if key.split(":")[0] == "scratch":
        raise DeixisError(
            f"{key!r} is a new model, whose words come from captions.",
            "Train one: deixis train clip --data my-photos --model scratch",
        )
    close = difflib.get_close_matches(key, MODELS, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    raise DeixisError(f"There is no model called {key!r}.", hint + there)


def is_image_side(folder: Path) -> bool:
    """Whether a folder holds the image tower, or the place of an encoder, that an index was made with."""
    try:
        return IMAGE_SIDE in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _made(key: str, options: dict[str, Any]) -> DualEncoder:
    """One of `MODELS`, or new towers for words, whose name says what they are."""
    if key not in MODELS:
        words: DualEncoder = importlib.import_module("deixis.zoo.reader.characters").load(key, **options)
        return words
    module, own = ("tiny", {"image": "vit"}) if key == "tiny-vit" else (key.replace("-", "_"), {})
    model: DualEncoder = importlib.import_module(f"deixis.zoo.{module}").load(**own, **options)
    return model


def _published(key: str) -> DualEncoder | None:
    """What the peers would load by this name: one of open_clip's, or a repository of the hub."""
    model = importlib.import_module("deixis.zoo.published").find(key)
    hub = importlib.import_module("deixis.zoo.hub")
    if model is not None:
        folder, words = hub.published(model)
        settings = None if (folder / "open_clip_config.json").is_file() else model.settings
        encoder: DualEncoder = importlib.import_module("deixis.zoo.layouts.openclip").load(
            folder, model.name, settings=settings, words=words
        )
        return encoder
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?", key):
        return None
    name = f"{hub.PREFIX}{key}"
    return _load_folder(hub.snapshot(name), name, None, {})


def _layouts(folder: Path) -> list[str]:
    """Which checkpoint layouts a folder is in."""
    found = ["openclip"] if (folder / "open_clip_config.json").is_file() else []
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return found
    return [*found, "huggingface"] if isinstance(config, dict) and "model_type" in config else found


def _load_folder(folder: Path, name: str, layout: str | None, options: dict[str, Any]) -> DualEncoder:
    found = _layouts(folder)
    if layout is not None and layout not in LAYOUTS:
        raise DeixisError(f"There is no layout {layout!r}.", f"There are: {', '.join(LAYOUTS)}.")
    if name.startswith("hf-hub:"):
        found = found[:1]
    if layout is None and len(found) > 1:
        raise DeixisError(
            f"{folder} holds two models: one for {' and one for '.join(found)}.",
            f"Say which: load({str(folder)!r}, layout={found[0]!r})",
        )
    chosen = layout or (found[0] if found else "folder")
    if chosen in LAYOUTS and chosen not in found:
        raise DeixisError(f"{folder} holds no model for {chosen}.", f"It holds: {', '.join(found) or 'none'}.")
    arguments, prefix = ((folder, name), "layouts.") if chosen in LAYOUTS else ((folder,), "")
    encoder: DualEncoder = importlib.import_module(f"deixis.zoo.{prefix}{chosen}").load(*arguments, **options)
    return encoder


def joined(image_tower: Any, text_encoder: Any, width: int = 256, *, seed: int = 0, name: str = "") -> DualEncoder:
    """A dual encoder out of any two parts, each with a projection into the shared space, in eval mode.

    The embedding of a side is the direction of the mean of its projected states, see `deixis.nn.joined`. The
    projections are random, so train them: `engine.build("clip", parts={"encoder": joined("timm:resnet18", "minilm")})`.

    Args:
        image_tower: a name that `load_part("image_tower", ...)` loads, or such a part (shared, not copied).
        text_encoder: a name that `load_part("text_encoder", ...)` loads, or such a part (shared, not copied).
        width: of the shared space.
        seed: of the projections, and of parts that are new; the global generator of random numbers is left as it was.
        name: of the model; by default those of the parts.

    Raises:
        DeixisError: the width is none, or a part can't be had.
    """
    import torch

    from deixis.nn.dual import DualEncoder, Traits
    from deixis.nn.joined import ProjectedImage, ProjectedText

    if width < 1:
        raise DeixisError(f"A shared space of width {width} was requested.", "Give 1 or more.")
    image = load_part("image_tower", image_tower, seed=seed)
    text = load_part("text_encoder", text_encoder, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        towers = ProjectedImage(image, width), ProjectedText(text, width)
    names = [str(getattr(part, "name", type(part).__name__)) for part in (image, text)]
    licences = dict.fromkeys(each for part in (image, text) if (each := getattr(part, "licence", "")))
    traits = Traits(name or " + ".join(names), text.context_length, _SCALE, licence="; ".join(licences))
    encoder = DualEncoder(*towers, tokenizer=text.tokenizer, preprocess=image.preprocess, traits=traits)
    return encoder.eval()


def save(encoder: DualEncoder, folder: str | os.PathLike[str]) -> None:
    """Writes a model folder, atomically: see `deixis.zoo.folder`."""
    importlib.import_module("deixis.zoo.folder").save(encoder, Path(folder))


def save_as(encoder: DualEncoder, folder: str | os.PathLike[str], layout: str) -> None:
    """Writes a CLIP for other programs, atomically: a folder that open_clip or transformers loads.

    Args:
        encoder: without adapters, which these programs don't have.
        folder: a folder of this name is replaced.
        layout: one of `LAYOUTS`.

    Raises:
        DeixisError: the layout is unknown, or has no place for what the model is made of.
    """
    if layout not in LAYOUTS:
        raise DeixisError(f"There is no layout {layout!r}.", f"There are: {', '.join(LAYOUTS)}.")
    if encoder.image_adapter is not None or encoder.text_adapter is not None:
        raise DeixisError("The model has adapters, which no other program knows.", "Use zoo.save(encoder, folder).")
    if encoder.traits.similarity != "embeddings":
        raise DeixisError(
            f"The model compares {encoder.traits.similarity}, and {layout} compares embeddings that it never trained.",
            "Use zoo.save(encoder, folder), or ONNX graphs, which give the mean of the tokens.",
        )
    importlib.import_module(f"deixis.zoo.layouts.{layout}").save(encoder, Path(folder))


def layouts_for(encoder: DualEncoder) -> list[str]:
    """Those of `LAYOUTS` that have a place for all that a model is made of."""
    adapted = encoder.image_adapter is not None or encoder.text_adapter is not None
    if adapted or encoder.traits.similarity != "embeddings":
        return []
    found = []
    for layout in LAYOUTS:
        with contextlib.suppress(DeixisError):
            importlib.import_module(f"deixis.zoo.layouts.{layout}").require(encoder)
            found.append(layout)
    return found
