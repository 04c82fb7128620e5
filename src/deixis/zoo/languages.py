"""In which languages a model reads, as far as its name and its tokenizer tell; checkpoints do not record it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deixis.inputs.clip_bpe import ClipTokenizer

if TYPE_CHECKING:
    from deixis.nn.dual import DualEncoder

__all__ = ["languages"]

_BY_NAME = (
    (r"alt-?clip", "English and Chinese"),
    (r"chinese|cn[-_]clip|taiyi", "Chinese"),
    (r"ja(panese)?[-_]clip|clip[-_]japanese", "Japanese"),
    (r"xlm|nllb|multilingual|m-clip|metaclip-?2|worldwide|siglip-?2|i18n|jina-clip-v2", "many languages"),
    (r"starter|minilm", "English"),
)


def languages(encoder: DualEncoder) -> str:
    """The languages that a model was trained to read: `English`, `many languages`...; empty where that is unknown."""
    name = encoder.name.casefold()
    known = next((told for pattern, told in _BY_NAME if re.search(pattern, name)), "")
    return known or ("English" if isinstance(encoder.tokenizer, ClipTokenizer) else "")
