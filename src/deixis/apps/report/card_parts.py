"""What a model card is about, and the Markdown it is written in."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from deixis.files import public_name
from deixis.nn.dual import DualEncoder

__all__ = ["UNPRINTABLE", "Form", "Subject", "block", "code", "inline", "table"]

Form = Literal["deixis", "onnx", "openclip", "huggingface"]

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")
"""What no page should hold, line breaks included."""

_BAR = re.compile(r"(?<!\\)\|")


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a card is about.

    Attributes:
        encoder: the model in the folder.
        folder: its name, as its user will know it.
        result: of the run that made the model, as in its `result.json`; empty where there was none.
        form: the layout of the folder.
        export: what `export.json` holds, of a folder that `deixis export` wrote.
        licences: of the pictures: column -> value -> how many, as the check found them.
    """

    encoder: DualEncoder
    folder: str
    result: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    form: Form = "deixis"
    export: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    licences: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)

    @property
    def learns_classes(self) -> bool:
        """Whether the run left a classifier, the encoder being as it was."""
        return self.result.get("kind") == "classes"

    @property
    def is_original(self) -> bool:
        """Whether the encoder is one that no run has changed."""
        return not self.result or self.learns_classes or self.result.get("kept") == "original"

    @property
    def base(self) -> str:
        """What the encoder, or the one it was made from, is called."""
        name = (self.result.get("model") or {}).get("name")
        return public_name(str(name or self.encoder.name))

    @property
    def method(self) -> str:
        """How the run learned; empty where there was none."""
        method = self.result.get("method")
        if isinstance(method, Mapping):
            return str(method.get("name") or (method.get("final") or {}).get("method") or "")
        return str(method or "")


def inline(text: str, escape: bool = True) -> str:
    """Words of a user's on one line, with nothing in them that Markdown takes for its own."""
    clean = UNPRINTABLE.sub(" ", text).strip()
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", clean) if escape else clean


def code(text: str) -> str:
    """Something to be read letter by letter."""
    return f"`{UNPRINTABLE.sub(' ', text).replace('`', chr(39))}`"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells hold Markdown, of which only bars would be misread."""
    lines = [[_BAR.sub(r"\|", cell) for cell in line] for line in (columns, ["---"] * len(columns), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def block(code: str) -> str:
    """A program."""
    return f"```python\n{code}\n```"
