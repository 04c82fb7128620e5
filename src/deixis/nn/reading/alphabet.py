"""Characters as numbers: the end of a word is 0, characters follow, and behind them stand the start and padding."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deixis.errors import DeixisError

__all__ = ["ALPHABETS", "Alphabet"]

ALPHABETS = {
    "94": string.digits + string.ascii_letters + string.punctuation,
    "62": string.digits + string.ascii_letters,
    "36": string.digits + string.ascii_lowercase,
}
"""Name -> characters: those of ASCII that show, without punctuation, and without capitals as well."""

END = 0


class Alphabet:
    """The characters that a recogniser knows.

    Args:
        characters: each once; or a name in `ALPHABETS`.
        longest: characters of a word at the most.

    Raises:
        DeixisError: there is none, one comes twice or can't be seen, or words have no length.
    """

    def __init__(self, characters: str, longest: int) -> None:
        self.characters = ALPHABETS.get(characters, characters)
        twice = sorted({each for each in self.characters if self.characters.count(each) > 1})
        if not self.characters or twice or any(not each.isprintable() or each.isspace() for each in self.characters):
            raise DeixisError(
                f"The alphabet {self.characters[:40]!r} can't be used"
                + (f": {twice[0]!r} comes twice." if twice else "."),
                f"Give characters that show, each once; or one of the names {', '.join(ALPHABETS)}.",
            )
        if longest < 1:
            raise DeixisError(f"Words of {longest} characters are requested.", "Give 1 or more.")
        self.longest = longest
        self._numbers = {each: number for number, each in enumerate(self.characters, 1)}

    @property
    def start(self) -> int:
        """The number that stands before a word."""
        return len(self.characters) + 1

    @property
    def padding(self) -> int:
        """The number that fills up what is behind the end."""
        return len(self.characters) + 2

    def folded(self, word: str, lower: bool = False) -> str:
        """The word as it can be predicted: composed characters, no spaces, and in the case that the alphabet has.

        Args:
            word: any.
            lower: capitals become small letters.
        """
        text = "".join(unicodedata.normalize("NFKC", word).split())
        text = text.lower() if lower else text
        return "".join(each if each in self._numbers else self._other_case(each) for each in text)

    def _other_case(self, character: str) -> str:
        other = character.swapcase()
        return other if other in self._numbers else character

    def unknown(self, word: str) -> int:
        """How many characters of a folded word are outside the alphabet."""
        return sum(each not in self._numbers for each in word)

    def encode(self, words: Sequence[str], lower: bool = False) -> tuple[Int64[Tensor, "B L"], int, int]:
        """Start, characters, end, padding: `longest` + 2 numbers a word.

        A word that is too long or empty, and one with a character outside the alphabet, can't be learned: its row is
        padding but for the start.

        Args:
            words: as they are.
            lower: capitals are learned as small letters.

        Returns:
            The numbers; how many words are too long or empty; and how many have characters outside the alphabet.
        """
        rows = torch.full((len(words), self.longest + 2), self.padding)
        rows[:, 0] = self.start
        length = outside = 0
        for row, word in zip(rows, words, strict=True):
            text = self.folded(word, lower)
            if self.unknown(text):
                outside += 1
            elif not 0 < len(text) <= self.longest:
                length += 1
            else:
                row[1 : len(text) + 1] = torch.tensor([self._numbers[each] for each in text])
                row[len(text) + 1] = END
        return rows, length, outside

    def decode(self, logits: Float[Tensor, "B L C"]) -> tuple[list[str], list[float]]:
        """The likeliest word of each row up to its end, and its chance: the product of those of its characters and its
        end."""
        chances, numbers = logits.float().softmax(dim=-1).max(dim=-1)
        words, likely = [], []
        for row, values in zip(numbers.tolist(), chances.double().tolist(), strict=True):
            end = row.index(END) if END in row else len(row)
            words.append("".join(self.characters[number - 1] for number in row[:end]))
            product = 1.0
            for value in values[: end + 1]:
                product *= value
            likely.append(product)
        return words, likely
