"""Class names in order, and a tokenizer that reads each as one token."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import regex
import torch
from jaxtyping import Int64
from torch import Tensor

from deixis.types.outputs import Tokens

__all__ = ["ClassNames", "NameTokenizer", "region_classes"]


class ClassNames(tuple[str, ...]):
    """Class names; the class number is the place in the tuple."""

    @functools.cached_property
    def tokenizer(self) -> NameTokenizer:
        """Number n is the token n + 1; 0 is padding."""
        return NameTokenizer(self)


def region_classes(names: ClassNames, phrases: Sequence[Sequence[str]], count: int) -> Int64[Tensor, "B T"]:
    """The class of each region by what it is called: the name itself, or the first one within it; -1 where that is no
    class, or there is no region.

    Args:
        names: of the classes.
        phrases: of the regions of each image.
        count: regions of an image at the most (T).
    """
    known = {name.casefold(): number for number, name in reversed(list(enumerate(names)))}
    found = torch.full((len(phrases), count), -1)
    for row, texts in zip(found, phrases, strict=True):
        for place, text in enumerate(texts[:count]):
            spoken = " ".join(text.split()).casefold()
            row[place] = known[spoken] if spoken in known else int(names.tokenizer([spoken], 1).ids[0, 0]) - 1
    return found


class NameTokenizer:
    """Finds class names in texts, whole words in any case; of two that overlap the first, of two that begin together
    the longer. All other text is passed over.

    Args:
        names: number n becomes the token n + 1.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._numbers = {name.casefold(): number for number, name in reversed(list(enumerate(names, 1)))}
        self._count = len(names)
        longest_first = sorted(self._numbers, key=lambda name: (-len(name), name))
        choice = "|".join(map(regex.escape, longest_first))
        self._pattern = regex.compile(rf"(?<!\w)(?:{choice})(?!\w)") if choice else None

    @property
    def vocabulary(self) -> int:
        """How many different tokens there are, padding included."""
        return self._count + 1

    def __call__(self, texts: Sequence[str], length: int) -> Tokens:
        """The names in each text, in order, and which of the numbers are real.

        Args:
            texts: B strings.
            length: names per text at the most.

        Returns:
            One row a text, padded with 0 to the longest; L is at least 1.
        """
        rows = [self._read(text)[:length] for text in texts]
        tokens = torch.zeros(len(rows), max([1, *map(len, rows)]), dtype=torch.long)
        for row, numbers in zip(tokens, rows, strict=True):
            row[: len(numbers)] = torch.tensor(numbers, dtype=torch.long)
        return Tokens(tokens, tokens != 0)

    def _read(self, text: str) -> list[int]:
        if self._pattern is None:
            return []
        return [self._numbers[found] for found in self._pattern.findall(text.casefold())]
