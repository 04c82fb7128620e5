"""A model folder: which model it stands on, by name and fingerprint, and the adapters on top.

    config.json             format, base, base_fingerprint, image_adapter and text_adapter (their settings), scale
                            (where it is not the base's), fingerprint, text_fingerprint (of its text side)
    adapters.safetensors    the adapters' tensors, `image.*` and `text.*`; absent where there are none
    towers.safetensors      the tensors of the towers that are not the base's; absent where all are

The base is loaded by its name and must have the fingerprint it had; a folder is never half of two models. A model that
was trained from scratch (`zoo.scratch`) stands on no other: its folder holds all of its towers, their settings as
`whole` in the config, and

    tokenizer.json          its vocabulary
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as dump
from torch import Tensor, nn

from deixis import zoo
from deixis.errors import DeixisError
from deixis.files import atomic_folder, write_json
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.adaptation.adapters import from_config
from deixis.nn.dual import DualEncoder, Traits
from deixis.zoo import scratch, starter

__all__ = ["FORMAT", "load", "load_text", "recorded", "save"]

FORMAT = 1
_SIDES = ("image", "text")
_WORDS = "tokenizer.json"


def save(encoder: DualEncoder, folder: Path) -> None:
    """Writes `encoder`, which is a new one or has a name that `zoo.load` knows; adapters, if any, have a `config`."""
    bare, new = encoder.with_adapters(None, None), scratch.is_new(encoder)
    base = bare if new else zoo.load(encoder.name)
    adapters = {side: getattr(encoder, f"{side}_adapter") for side in _SIDES}
    config = {
        "format": FORMAT,
        "base": encoder.name,
        "base_fingerprint": base.fingerprint(),
        **{f"{side}_adapter": None if each is None else each.config for side, each in adapters.items()},
        "fingerprint": encoder.fingerprint(),
        "text_fingerprint": encoder.text_side().fingerprint(),
        "licence": encoder.licence,
        **({} if encoder.scale == base.scale else {"scale": encoder.scale}),
        **({} if encoder.traits.similarity == "embeddings" else {"similarity": encoder.traits.similarity}),
        **({"whole": scratch.described(encoder)} if new else {}),
    }
    tensors = {
        f"{side}.{name}": value.detach().contiguous()
        for side, each in adapters.items()
        if each is not None
        for name, value in each.state_dict().items()
    }
    towers = _stored(bare) if new else _changed(bare, base)
    with atomic_folder(folder) as part:
        if new:
            write_json(part / _WORDS, encoder.tokenizer.to_dict())
        for name, content in (("adapters", tensors), ("towers", towers)):
            if content:
                (part / f"{name}.safetensors").write_bytes(dump(content))  # a full disk is then an OSError
        write_json(part / "config.json", config)


def _stored(encoder: DualEncoder) -> dict[str, Tensor]:
    return {name: value.detach().contiguous() for name, value in encoder.state_dict().items()}


def _changed(encoder: DualEncoder, base: DualEncoder) -> dict[str, Tensor]:
    """The tensors of `encoder` that differ from those of `base`."""
    if encoder.fingerprint() == base.fingerprint():
        return {}
    old = base.state_dict()
    return {name: value for name, value in _stored(encoder).items() if not torch.equal(value, old[name])}


def load(folder: Path) -> DualEncoder:
    """Reads what `save` wrote, in eval mode.

    Raises:
        DeixisError: a file is damaged or of a newer format, the base is not there or not what it was.
    """
    config = _config(folder / "config.json")
    if not isinstance(config["base"], str) or Path(config["base"]).resolve() == folder.resolve():
        raise DeixisError(
            f"{folder / 'config.json'} names {config['base']!r} as its base model, which does not exist.",
            "Adapt again.",
        )
    base = _whole(folder, config) if "whole" in config else _base(folder, config)
    base.traits = _traits(base, config)
    _fill_towers(base, folder / "towers.safetensors", all_of_them="whole" in config)
    adapters = _adapters(folder, config)
    encoder = base.with_adapters(*(adapters.get(side) for side in _SIDES)).eval()
    if encoder.fingerprint() != config["fingerprint"]:
        raise DeixisError(f"The model folder {folder} is damaged: its fingerprint is another.", "Adapt again.")
    return encoder


def load_text(folder: Path) -> DualEncoder:
    """The text side of what `save` wrote, in eval mode; its weights are checked, those of the images are not read.
    Where the base can't be had by half, or an older version wrote the folder, the whole is loaded for it.

    Raises:
        DeixisError: as `load`.
    """
    config = _config(folder / "config.json")
    if "text_fingerprint" not in config or not (config["base"] == "starter" or "whole" in config):
        return load(folder).text_side()
    base = _whole(folder, config).text_side() if "whole" in config else starter.load_text()
    base.traits = _traits(base, config)
    _fill_towers(base, folder / "towers.safetensors", all_of_them="whole" in config, part="text_tower.")
    side = base.with_adapters(None, _adapters(folder, config).get("text")).eval()
    if side.fingerprint() != config["text_fingerprint"]:
        return load(folder).text_side()  # which says what is wrong, or that nothing is
    return side


def recorded(folder: Path) -> str:
    """The fingerprint of the model in a folder, as it was when that was written; nothing is checked.

    Raises:
        DeixisError: the folder's config can't be read.
    """
    return str(_config(folder / "config.json")["fingerprint"])


def _base(folder: Path, config: dict[str, Any]) -> DualEncoder:
    """The model that the folder stands on."""
    base = zoo.load(config["base"])
    found, wanted = base.fingerprint(), config["base_fingerprint"]
    if found != wanted:
        raise DeixisError(
            f"{folder} is built on {config['base']!r} with fingerprint {wanted[:12]}, and the one here has "
            f"{found[:12]}.",
            "Use the version of deixis and of the weights it was made with, or adapt again.",
        )
    return base


def _traits(base: DualEncoder, config: dict[str, Any]) -> Traits:
    """Those of the base, with what training has changed of them."""
    changed = {name: config[name] for name in ("scale", "similarity") if name in config}
    return dataclasses.replace(base.traits, **changed)


def _whole(folder: Path, config: dict[str, Any]) -> DualEncoder:
    """A model that stands on no other, before its weights are put in."""
    tokenizer = Tokenizer.from_file(folder / _WORDS)
    settings = config["whole"] if isinstance(config["whole"], dict) else {}
    try:
        return scratch.rebuilt(settings, tokenizer)
    except DeixisError as error:
        raise DeixisError(f"{folder / 'config.json'} is damaged. {error.found}", error.cure) from error


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        known = {"format", "base", "base_fingerprint", "image_adapter", "text_adapter", "fingerprint"}
        missing = known - config.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise DeixisError(f"{path} can't be read as the config of a model: {error}.", "Adapt again.") from error
    if missing:
        raise DeixisError(f"{path} is no config of a model made by deixis: no {', '.join(sorted(missing))}.")
    if config["format"] != FORMAT:
        raise DeixisError(
            f"{path} has format {config['format']}, and this version reads {FORMAT}.", "Upgrade deixis, or adapt again."
        )
    return dict(config)


@torch.no_grad()
def _fill_towers(base: DualEncoder, path: Path, all_of_them: bool, part: str = "") -> None:
    """Puts tensors that were trained in place of the base's; with `part`, those whose names begin so."""
    if not path.is_file() and not all_of_them:
        return
    state = base.state_dict()
    try:
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(part)]  # noqa: SIM118 (it is no mapping)
            if all_of_them and set(names) != state.keys():
                raise KeyError(", ".join(sorted(set(names) ^ state.keys())[:3]))
            for name in names:
                state[name].copy_(file.get_tensor(name))
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise DeixisError(f"{path} does not hold the towers of this model: {error}.", "Adapt again.") from error


def _adapters(folder: Path, config: dict[str, Any]) -> dict[str, nn.Module]:
    wanted = {side: config[f"{side}_adapter"] for side in _SIDES if config[f"{side}_adapter"] is not None}
    if not wanted:
        return {}
    path = folder / "adapters.safetensors"
    try:
        tensors = load_file(path)
        built = {side: from_config(each) for side, each in wanted.items()}
        for side, module in built.items():
            own = {
                name.removeprefix(f"{side}."): value for name, value in tensors.items() if name.startswith(f"{side}.")
            }
            module.load_state_dict(own, strict=True)
    except (OSError, SafetensorError, TypeError, ValueError, RuntimeError) as error:
        raise DeixisError(f"{path} does not hold the adapters of this model: {error}.", "Adapt again.") from error
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise DeixisError(f"{path} holds numbers that are not finite.", "Adapt again.")
    return {side: module.requires_grad_(False) for side, module in built.items()}
