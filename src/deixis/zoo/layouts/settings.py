"""Reads the JSON files beside a checkpoint, and says which entry is wrong instead of passing over it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deixis.errors import DeixisError
from deixis.inputs.clip_bpe import ClipTokenizer, is_clip_bpe
from deixis.inputs.preprocess import Preprocess
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.dual import DualEncoder, Traits

__all__ = [
    "StrictConfig",
    "check_seal",
    "licence_of",
    "no_weights",
    "read_json",
    "read_tokenizer",
    "require_vocabulary",
    "scale_of",
    "scale_tensors",
    "stored_numbers",
    "write_seal",
]

_SEAL = "deixis_seal.json"


class StrictConfig:
    """A dictionary read from a config, of which every entry must be asked for.

    Args:
        values: the entries.
        source: what errors call it.
    """

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        if not isinstance(values, Mapping):
            raise DeixisError(f"{source} is {values!r}, and no group of settings.", "Fetch the config again.")
        self._left, self.source = dict(values), source

    def take(self, name: str, default: Any = None) -> Any:
        """An entry; `default` where it is absent or null.

        Raises:
            DeixisError: it is neither there nor has a default.
        """
        value = self._left.pop(name, None)
        value = default if value is None else value
        if value is None:
            raise DeixisError(f"{self.source} has no {name!r}.", "Take the config that came with the weights.")
        return value

    def has(self, name: str) -> bool:
        """Whether there is such an entry, be it null."""
        return name in self._left

    def count(self, name: str, default: int | None = None, most: int = 10**6) -> int:
        """A whole number from 1 to `most`, also where it is written as two equal ones (the sides of a square).

        Raises:
            DeixisError: it is anything else.
        """
        value = self.take(name, default)
        if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise self.wrong(name, value, f"It must be a whole number from 1 to {most} (only squares can be loaded).")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A number, not below 0.

        Raises:
            DeixisError: it is anything else.
        """
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise self.wrong(name, value, "It must be a number, not below 0.")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false.

        Raises:
            DeixisError: it is anything else, such as the word "false".
        """
        value = self.take(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, value, "It must be true or false.")
        return value

    def choice(self, name: str, choices: Mapping[str, Any], default: str) -> Any:
        """The value of `choices` that an entry names.

        Raises:
            DeixisError: it names none of them.
        """
        value = self.take(name, default)
        if not isinstance(value, str) or value not in choices:
            raise self.wrong(name, value, f"Those that can be loaded are: {', '.join(map(str, choices))}.")
        return choices[value]

    def choice_number(self, name: str, choices: Mapping[int, str], default: int) -> str:
        """The value of `choices` whose number an entry gives.

        Raises:
            DeixisError: it gives none of them.
        """
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value not in choices:
            known = ", ".join(f"{number} ({meaning})" for number, meaning in choices.items())
            raise self.wrong(name, value, f"Those that can be loaded are: {known}.")
        return choices[value]

    def ignore(self, *names: str) -> None:
        """Drops entries that say nothing about the numbers a loaded model gives."""
        for name in names:
            self._left.pop(name, None)

    def refuse(self, names: Sequence[str], cure: str) -> None:
        """Raises an error where one of these is switched on."""
        for name in names:
            value = self._left.pop(name, None)
            if value not in (None, False, 0, "", "default", {}):
                raise self.wrong(name, value, cure)

    def done(self) -> None:
        """Raises an error where an entry is left that nobody asked for."""
        if self._left:
            name, value = next(iter(self._left.items()))
            raise self.wrong(name, value, "It is not known here, and might change the model's output.")

    def wrong(self, name: str, value: Any, cure: str) -> DeixisError:
        """The error that says so."""
        return DeixisError(f"{self.source} has {name}={value!r}, which can't be loaded.", cure)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        DeixisError: it is missing, or holds anything else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DeixisError(f"There is no {path.name} in {path.parent}.", "Fetch the checkpoint again.") from error
    except (OSError, ValueError) as error:
        raise DeixisError(f"{path} can't be read as JSON: {error}.", "Fetch the checkpoint again.") from error
    if not isinstance(value, dict):
        raise DeixisError(f"{path} holds a {type(value).__name__}, and no object.", "Fetch the checkpoint again.")
    return value


def read_tokenizer(folder: Path, clip: bool, name: str = "") -> Tokenizer:
    """The tokenizer of a checkpoint folder.

    Args:
        folder: perhaps with `tokenizer.json`, or with `merges.txt` and `vocab.json`.
        clip: whether it must be CLIP's encoding, for which the table in the cache serves where the folder has none.
        name: of the repository that it comes from, for the message.

    Raises:
        DeixisError: it is damaged, contradicts itself, is not there, or is another one than CLIP's.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        rules = read_json(path)
        if is_clip_bpe(rules):
            return ClipTokenizer.from_dict(rules)
        if clip:
            raise DeixisError(
                f"The tokenizer in {path} is not CLIP's encoding, which this model's texts are read with.",
                "Put the model's own tokenizer there, or remove the file to use CLIP's.",
            )
        return Tokenizer.from_file(path)
    if (folder / "merges.txt").is_file():
        tokenizer = ClipTokenizer.from_merges(folder / "merges.txt")
        if (folder / "vocab.json").is_file():
            tokenizer.require_numbers(read_json(folder / "vocab.json"))
        return tokenizer
    if clip:
        return ClipTokenizer.cached()
    raise DeixisError(
        f"There is no tokenizer.json in {folder}.",
        "Write one, where transformers and sentencepiece are: "
        f"transformers.AutoTokenizer.from_pretrained({name or str(folder)!r}).save_pretrained({str(folder)!r})",
    )


def padding_of(folder: Path, tokenizer: Tokenizer, text_config: Mapping[str, Any] | None = None) -> int:
    """The token that fills a text up: what the tokenizer's own config says, else its rules, else the model's config.

    Args:
        folder: perhaps with `tokenizer_config.json`.
        tokenizer: of the folder.
        text_config: entries of the model's config on its text tower, where it has such.

    Raises:
        DeixisError: nothing says it, or what it says is no token.
    """
    path, rules = folder / "tokenizer_config.json", tokenizer.to_dict()
    told = read_json(path).get("pad_token") if path.is_file() else None
    content = told.get("content") if isinstance(told, dict) else told
    if isinstance(content, str):
        numbers = {each["content"]: each["id"] for each in rules.get("added_tokens") or []}
        if content not in numbers:
            raise DeixisError(f"{path} pads with {content!r}, which is no special token of the tokenizer.")
        return int(numbers[content])
    if text_config is not None:
        return int(StrictConfig(text_config, "text_config").number("pad_token_id", 1))
    stored = read_json(folder / "tokenizer.json").get("padding")
    if not isinstance(stored, dict) or not isinstance(stored.get("pad_id"), int):
        raise DeixisError(
            f"Nothing in {folder} says which token fills a text up, and this text tower reads it.",
            "Fetch tokenizer_config.json, too: it has the entry pad_token.",
        )
    return int(stored["pad_id"])


def require_vocabulary(
    tokenizer: Tokenizer, vocabulary: int, end: int | None, source: str, *, exact: bool = True
) -> None:
    """Checks that a tokenizer belongs to a text tower.

    Args:
        tokenizer: of the checkpoint.
        vocabulary: tokens that the tower has vectors for.
        end: the token at which the tower reads a text, if it looks for a certain one.
        source: what errors call the checkpoint.
        exact: whether the tower has no more vectors than CLIP's tokenizer tokens, if it is that one.

    Raises:
        DeixisError: it does not.
    """
    ours = tokenizer.vocabulary
    if ours > vocabulary or (exact and isinstance(tokenizer, ClipTokenizer) and ours != vocabulary):
        raise DeixisError(
            f"{source}: the tokenizer has {ours} tokens, and the text tower vectors for {vocabulary}.",
            "It is the tokenizer of another model; take the one that came with the weights.",
        )
    last = tokenizer([""], 1000).ids[0, -1].item()
    if end is not None and last != end:
        raise DeixisError(
            f"{source}: the tokenizer ends a text with token {last}, and the text tower looks for {end}.",
            "It is the tokenizer of another model; take the one that came with the weights.",
        )


def licence_of(folder: Path) -> str:
    """The licence that the head of a folder's `README.md` tells, in the form the model hubs use; else nothing."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    head = re.match(r"---\r?\n(.*?)\n---", text, re.DOTALL)
    found = head and re.search(r"^license:\s*['\"]?([\w.-]+)", head.group(1), re.MULTILINE)
    return found.group(1) if found else ""


def write_seal(encoder: DualEncoder, folder: Path, preprocess: Preprocess) -> None:
    """Writes what `check_seal` compares: all settings by name, and the fingerprint of the whole; no name, no licence.

    Args:
        encoder: the model that was written.
        folder: the folder it was written to.
        preprocess: as it is read back from there.
    """
    seal = json.dumps(_seal(encoder, preprocess), indent=1)
    (folder / _SEAL).write_text(seal + "\n", encoding="utf-8")


def check_seal(encoder: DualEncoder, folder: Path) -> None:
    """Compares a model with the seal that deixis wrote beside it, if there is one.

    Raises:
        DeixisError: a setting or a weight was changed since; the message names it.
    """
    if not (folder / _SEAL).is_file():
        return
    then, now = read_json(folder / _SEAL), _seal(encoder, encoder.preprocess)
    changed = [f"{name} was {then.get(name)!r} and is {now.get(name)!r}" for name in now if then.get(name) != now[name]]
    if changed:
        other = [line for line in changed if not line.startswith("fingerprint")] or ["a weight has another value"]
        raise DeixisError(
            f"The model in {folder} is not the one that was saved: {'; '.join(other[:3])}.",
            f"Save it again; or, if the change is meant, remove {_SEAL}.",
        )


def scale_of(logarithm: float, source: str) -> float:
    """The scale whose logarithm a checkpoint stores as `logit_scale`.

    Raises:
        DeixisError: it can't be one (CLIP's is at most 100).
    """
    if abs(logarithm) > 50:
        raise DeixisError(f"{source}: logit_scale is {logarithm:g}, the logarithm of no scale.", "Take another file.")
    return math.exp(logarithm)


def scale_tensors(encoder: DualEncoder, shape: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """`logit_scale` and, where the model has a bias, `logit_bias`, as checkpoints store them.

    Args:
        encoder: the model.
        shape: of each.
    """
    values = {"logit_scale": math.log(encoder.scale)}
    if encoder.bias is not None:
        values["logit_bias"] = encoder.bias
    return {name: torch.tensor(value).reshape(shape) for name, value in values.items()}


def no_weights(folder: Path, names: Sequence[str]) -> DeixisError:
    """What there is to say where a folder has a config alone.

    Args:
        folder: that was to be loaded.
        names: that weights may have.
    """
    return DeixisError(
        f"{folder} has a config and no weights: there is none of {', '.join(names)}.",
        "Fetch the checkpoint again; of a repository with large files perhaps only the pointers came.",
    )


def stored_numbers(encoder: DualEncoder) -> tuple[float, float | None]:
    """Scale and bias as they are read back from the 32 bits in which checkpoints store them (the scale as logarithm).

    Raises:
        DeixisError: the weights have another precision, which would be lost.
    """
    if other := {str(value.dtype) for value in encoder.parameters() if value.dtype != torch.float32}:
        raise DeixisError(f"The model's weights are {', '.join(sorted(other))}.", "Call encoder.float() before saving.")
    bias = None if encoder.bias is None else float(torch.tensor(encoder.bias))
    return math.exp(float(torch.tensor(math.log(encoder.scale)))), bias


def _seal(encoder: DualEncoder, preprocess: Preprocess) -> dict[str, Any]:
    bare = DualEncoder(
        encoder.image_tower,
        encoder.text_tower,
        tokenizer=encoder.tokenizer,
        preprocess=preprocess,
        traits=Traits("", encoder.context_length, *stored_numbers(encoder)),
    )
    rules = json.dumps(encoder.tokenizer.to_dict(), sort_keys=True).encode()
    flat = {"tokenizer": hashlib.sha256(rules).hexdigest()[:16]}
    for name, value in bare.config.items():
        flat |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    flat["fingerprint"] = bare.fingerprint()
    return dict(json.loads(json.dumps(flat)))
