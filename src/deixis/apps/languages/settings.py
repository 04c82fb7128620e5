"""How languages are read. Does not import torch."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["TRAINS", "WAYS", "LanguageWay"]

TRAINS = "kalm"
"""The method that trains a text tower for a language."""

LanguageWay = Literal["dictionary", "tower", "both"]
"""How texts of a language are read: word by word, by a tower that was trained on the dictionary, or by the mean of what
both say."""

WAYS: tuple[LanguageWay, ...] = get_args(LanguageWay)
