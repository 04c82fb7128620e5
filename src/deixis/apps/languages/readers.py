"""Texts of another language as vectors in a model's space: by a dictionary, by a trained tower, or by both."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.apps.languages.settings import LanguageWay
from deixis.data.dictionaries import Dictionary, EnglishReading, without_articles
from deixis.engine.language_tower import TowerReader
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder

__all__ = ["read_aloud", "reading_of", "vectors_by"]


def read_aloud(reading: EnglishReading, say: Callable[[str], None]) -> None:
    """Says what a text is in English, and which words stay as they are.

    Args:
        reading: of one text.
        say: receives a line or two.
    """
    more = f" (or: {'; '.join(reading.texts[1:])})" if len(reading.texts) > 1 else ""
    say(f"read as: {reading.texts[0]}{more}")
    if reading.unknown:
        say(f"not in the dictionary, left as they are: {', '.join(reading.unknown)}")


def reading_of(text: str, dictionary: Dictionary) -> EnglishReading:
    """A text in English; as it is, where the dictionary knows none of its words."""
    try:
        return dictionary.read(text)
    except DeixisError:
        return EnglishReading((text,), (text,))


def vectors_by(
    way: LanguageWay,
    texts: Sequence[str],
    readings: Sequence[EnglishReading],
    english: DualEncoder,
    tower: TowerReader | None,
    language: str,
) -> Float[Tensor, "N D"]:
    """Vectors of length 1 of texts in a language.

    Args:
        way: who reads; `both` where the dictionary knows no word of a text is the tower.
        texts: in the language.
        readings: of the same texts, by the dictionary; not needed for the tower.
        english: reads English.
        tower: reads the language; not needed for the dictionary.
        language: by its code.
    """
    if way == "dictionary":
        return _of_readings(readings, english)
    assert tower is not None
    rows = tower.encode_text([without_articles(text, language) for text in texts])
    if way == "tower":
        return rows
    known = torch.tensor([reading.texts != reading.unknown for reading in readings], device=rows.device)
    return F.normalize(rows + _of_readings(readings, english) * known[:, None], dim=1)


def _of_readings(readings: Sequence[EnglishReading], english: DualEncoder) -> Float[Tensor, "N D"]:
    """The mean over what each text may mean."""
    rows = english.encode_text([text for reading in readings for text in reading.texts])
    parts = rows.split([len(reading.texts) for reading in readings])
    return F.normalize(torch.stack([part.mean(0) for part in parts]), dim=1)
