"""From a run folder to its method, and what is written so that this is possible.

method.safetensors      the tensors that the run made or changed, and as its metadata: method, preset, overrides,
config, and every part by name and fingerprint (a new language model also by its sizes and words)
model/                  the dual encoder, with what the method changed of it (weights, adapters, scale)
classifier.json         of methods that learn classes: their names, for `load_classifier`
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from deixis import engine, zoo
from deixis.apps.common.overrides import parse_overrides
from deixis.apps.few_shot.classifier import load_classifier
from deixis.apps.report import model_card
from deixis.apps.report.model_card import Subject
from deixis.apps.train.encoder_report import encoder_table
from deixis.engine.evaluation.model import preprocess_of
from deixis.engine.training.batching import encoder_of
from deixis.engine.training.checkpoint import load_facts, load_state, save_state
from deixis.engine.training.stages import card_of, name_of
from deixis.errors import DeixisError
from deixis.files import atomic_path
from deixis.methods import read as read_method
from deixis.nn.dual import DualEncoder
from deixis.nn.fingerprint import fingerprint
from deixis.nn.frozen import is_frozen
from deixis.nn.image_only import image_only
from deixis.nn.language.causal_lm import CausalLm
from deixis.types import Part
from deixis.types.protocols import AnyMethod, HasConfig
from deixis.zoo.parts import lm

__all__ = ["STATE", "facts_of", "image_encoder", "load_method", "require_rebuildable", "write_card"]

STATE = zoo.METHOD


def load_method(run: str | os.PathLike[str]) -> AnyMethod:
    """The method of a run, as it was at the end, in eval mode: with all that its file offers beside an encoder.

    Args:
        run: a folder that `deixis train` wrote, or one with a classifier.

    Raises:
        DeixisError: the folder holds no method, or a part is missing or is not the one that the run was made with.
    """
    folder = Path(run)
    if not (folder / STATE).is_file():
        raise DeixisError(f"{folder} holds no method: there is no {STATE}.", "Give a run folder of `deixis train`.")
    facts = load_facts(folder / STATE)
    if "method" not in facts:  # written by `deixis adapt`, or by a classifier's `save`
        return load_classifier(folder).method_
    card, recorded = read_method(facts["method"]).card, facts.get("parts", {})
    parts = {}
    if (folder / "model").is_dir() and (encoder := next(filter(_is_encoder, card.parts), None)) is not None:
        model = zoo.load(folder / "model")
        parts[encoder.name] = model.with_adapters(None, None) if "adapters" in card.capabilities else model
    parts |= {name: each["settings"] for name, each in recorded.items() if "settings" in each}
    method = engine.build(facts["method"], facts.get("preset", "desk"), facts["config"], parts)
    for part in card.parts:
        then, now = recorded.get(part.name, {}).get("fingerprint"), _fingerprint(method, part)
        if part.frozen and then is not None and then != now:
            raise DeixisError(
                f"The part {part.name!r} of the run {folder} was {recorded[part.name]['name']!r} with fingerprint "
                f"{then[:12]}, and the one here has {str(now)[:12]}.",
                "Use the version that the run was made with, or train again.",
            )
    return load_state(method, folder / STATE).eval()


def image_encoder(run: str | os.PathLike[str]) -> DualEncoder:
    """The method of a run without a dual encoder as a model that embeds images and can't encode text.

    Args:
        run: as for `load_method`.

    Raises:
        DeixisError: as `load_method`; or the method embeds no images.
    """
    method, facts = load_method(run), load_facts(Path(run) / STATE)
    if "encode_image" not in card_of(method).capabilities:
        raise DeixisError(
            f"{run} is a run of the method {facts['method']!r}, which embeds no images.",
            "Give the run of a method that offers encode_image: see `deixis list`.",
        )
    assert isinstance(method, nn.Module)
    return image_only(
        facts["method"],
        method,
        preprocess=preprocess_of(facts["method"], method),
        settings={"method": facts["method"], "config": facts["config"]},
        licence=str(getattr(getattr(method, "encoder", None), "licence", "")),
    )


def _is_encoder(part: Part) -> bool:
    """Whether a run keeps a part as its model."""
    return part.kind == "dual_encoder" and not part.many


def _fingerprint(method: AnyMethod, part: Part) -> str | None:
    value = getattr(method, part.name, None)
    if value is None:
        return None
    if part.many:
        return "+".join(fingerprint(each) for each in value)
    if isinstance(value, DualEncoder) and "adapters" in card_of(method).capabilities:
        value = value.with_adapters(None, None)
    return fingerprint(value)


def require_rebuildable(name: str, method: AnyMethod) -> None:
    """Refuses a new language model that the method leaves as it is: it knows nothing, and a run would not store it.

    Args:
        name: of the method.
        method: as it was built.

    Raises:
        DeixisError: it has one.
    """
    for part in card_of(method).parts:
        value = getattr(method, part.name, None)
        if isinstance(value, CausalLm) and lm.is_new(value) and any(map(is_frozen, value.modules())):
            raise DeixisError(
                f"{name} does not train all of its language model, and {value.name!r} has random weights.",
                "Train it: --set trains=all; or name one that has learned a language: --set lm=smollm2.",
            )


def _settings(part: object) -> dict[str, Any]:
    """What a new language model is built again from: its words are those of the captions, and no name leads to it."""
    return {"settings": lm.described(part)} if isinstance(part, CausalLm) and lm.is_new(part) else {}


def facts_of(method: AnyMethod, what: Mapping[str, Any], preset: str, overrides: Sequence[str]) -> dict[str, Any]:
    """What must be known of a method to build it again.

    Args:
        method: at the end of a run.
        what: with `method` and `config`.
        preset: that the config began with.
        overrides: what was changed of it, as on the command line.
    """
    parts = {
        part.name: {
            "name": what["config"].get(part.name),
            "fingerprint": _fingerprint(method, part),
            **_settings(getattr(method, part.name, None)),
        }
        for part in card_of(method).parts
    }
    changed = parse_overrides(what["method"], overrides, preset)
    return {"method": what["method"], "config": what["config"], "preset": preset, "overrides": changed, "parts": parts}


def save_built(method: AnyMethod, folder: Path, preset: str = "desk", config: Mapping[str, Any] | None = None) -> None:
    """Writes a method that a command built by itself, from which `load_method` opens it.

    Args:
        method: at the end of the command.
        folder: of the run.
        preset: that its config began with.
        config: what it is built from again; by default its own.
    """
    assert isinstance(method, HasConfig)
    what = {"method": name_of(method), "config": dataclasses.asdict(method.config) if config is None else config}
    save_state(method, folder / STATE, facts_of(method, what, preset, ()))


def write_card(method: AnyMethod, folder: Path, result: Mapping[str, Any]) -> None:
    """The `README.md` of a run.

    Args:
        method: of the run.
        folder: of the run.
        result: what stands in its `result.json`.
    """
    if encoder_of(method) is not None and (folder / "model").is_dir():
        model_card.write(folder / "README.md", Subject(zoo.load(folder / "model"), folder.name, result))
        return
    card, data = card_of(method), result["data"]
    lines = [
        f"# {card.title}, on {data['name']}",
        f"Made by `deixis train {result['method']}` from {data['samples']} samples, fingerprint {data['fingerprint']}.",
        f"```python\nimport deixis\n\nmethod = deixis.load_method({folder.name!r})\n```",
    ]
    if "encoders" in result:
        lines += [str(result["sentence"]), _markdown(*encoder_table(result["encoders"]))]
    with atomic_path(folder / "README.md") as temporary:
        temporary.write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)
