"""The recipe of a few-shot run: all that its numbers hang on, in one file, with a hash that every row bears."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["ShotRecipe", "fingerprint"]


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits of what JSON makes of a value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class ShotRecipe:
    """What was run.

    Attributes:
        protocol: `few-shot`, `base-to-new` or `cross-style`.
        data: name of the data.
        data_fingerprint: of its images and labels.
        classes: in the order of the labels.
        splits: how parts, halves and draws were made, and the fingerprint of the lists of ids that came out.
        shots: images a class.
        seeds: of the draws; a method's own seed is that of its draw.
        model: its name.
        model_fingerprint: of its weights.
        transform: what the images went through before the frozen tower.
        methods: name -> all its settings, epochs among them.
    """

    protocol: str
    data: str
    data_fingerprint: str
    classes: tuple[str, ...]
    splits: Mapping[str, Any]
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    model: str
    model_fingerprint: str
    transform: str
    methods: Mapping[str, Mapping[str, Any]]

    @property
    def hash(self) -> str:
        """Different where anything is."""
        return fingerprint(dataclasses.asdict(self))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it, the hash in front."""
        return {"hash": self.hash, **dataclasses.asdict(self)}
