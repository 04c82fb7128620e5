"""Text to token numbers, by the rules of a `tokenizer.json`; the same text always gives the same row."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import regex
import tokenizers
import torch

from deixis.errors import DeixisError
from deixis.ops.spans import token_span
from deixis.types.outputs import Tokens

__all__ = ["Tokenizer"]


class Tokenizer:
    """A tokenizer of the `tokenizers` package that keeps no state between calls: length and padding are arguments.

    Text stays text: a caption with `[SEP]` in it gives the tokens of these five characters, not the separator. What is
    too long loses its end, while the tokens that a model expects around a text stay.

    Args:
        backend: the rules; they are copied, and any truncation or padding set in them is dropped.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._rules: tokenizers.Tokenizer = tokenizers.Tokenizer.from_str(backend.to_str())
        self._rules.no_truncation()
        self._rules.no_padding()
        self._rules.encode_special_tokens = True
        empty = self._rules.encode("").ids
        self.around, self.marks = len(empty), tuple(empty)
        self._start = self._count_start(empty)

    def _count_start(self, empty: list[int]) -> int:
        """How many of the tokens around a text stand before it."""
        mask = self._rules.encode("a").special_tokens_mask
        return mask.index(0) if 0 in mask else len(empty)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Reads a `tokenizer.json`.

        Raises:
            DeixisError: the file is missing or is no tokenizer.
        """
        if not Path(path).is_file():
            raise DeixisError(f"There is no tokenizer file {os.fspath(path)!r}.", "Give the path of a tokenizer.json.")
        try:
            return cls(tokenizers.Tokenizer.from_file(os.fspath(path)))
        except Exception as error:  # the package raises plain Exception
            raise DeixisError(
                f"The file {os.fspath(path)!r} is not a tokenizer that can be read: {error}",
                "It should be a tokenizer.json as the tokenizers package writes it.",
            ) from error

    @classmethod
    def from_dict(cls, rules: dict[str, Any]) -> Tokenizer:
        """Rebuilds what `to_dict` gave."""
        return cls(tokenizers.Tokenizer.from_str(json.dumps(rules)))

    def to_dict(self) -> dict[str, Any]:
        """The rules as plain values, in the form of a `tokenizer.json`."""
        rules: dict[str, Any] = json.loads(self._rules.to_str())
        return rules

    @property
    def backend(self) -> tokenizers.Tokenizer:
        """The rules, as the `tokenizers` package has them."""
        return self._rules

    @property
    def vocabulary(self) -> int:
        """How many different tokens there are."""
        return int(self._rules.get_vocab_size())

    def __call__(self, texts: Sequence[str], length: int) -> Tokens:
        """Token numbers of a batch, padded to the longest text in it, and which of them are real.

        Args:
            texts: B strings.
            length: tokens per text at the most, those around the text included.

        Returns:
            One row a text. L is at most `length`, and at least 1.
        """
        rows = [self._fit(encoding.ids, length) for encoding in self._encode(texts)]
        tokens = torch.zeros(len(rows), max([1, *map(len, rows)]), dtype=torch.long)
        for row, ids in zip(tokens, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
        lengths = torch.tensor([len(ids) for ids in rows], dtype=torch.long)
        return Tokens(tokens, torch.arange(tokens.shape[1]) < lengths[:, None])

    def overflow(self, texts: Sequence[str], length: int) -> list[bool]:
        """Which of the texts are cut when at most `length` tokens are kept."""
        return [len(encoding.ids) > length for encoding in self._encode(texts)]

    def encode_spans(self, text: str, spans: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int] | None]:
        """Where stretches of characters lie among the tokens.

        Args:
            text: the whole text.
            spans: character positions in it, ends exclusive.
            length: tokens per text at the most, as in a call.

        Returns:
            Positions in the row that a call gives, ends exclusive; None where no token of the span is left (it holds
            nothing but spaces, or was cut off).
        """
        encoding = self._encode([text])[0]
        kept = len(self._fit(encoding.ids, length)) - (self.around - self._start)
        return [self._span(encoding, start, stop, kept) for start, stop in spans]

    def words(self, text: str, length: int) -> list[tuple[int, int, int, int]]:
        """The words of a text that are left when it is cut, and the signs between them.

        Tokens that follow one another without a space are one word if letters meet letters; a sign of a script that has
        no spaces is a word by itself, as far as the tokens tell.

        Args:
            text: the whole text.
            length: tokens per text at the most, as in a call.

        Returns:
            For each in order: its first character and the one behind its last, its first token and the one behind its
            last in the row that a call gives.
        """
        words: list[tuple[int, int, int, int]] = []
        for position, (start, stop) in self._places(text, length).items():
            start, stop = stop - len(text[start:stop].lstrip()), start + len(text[start:stop].rstrip())
            if stop <= start:
                continue
            if words and (
                start < words[-1][1] or (start == words[-1][1] and _inside_word(text[start - 1 : start + 1]))
            ):
                words[-1] = (words[-1][0], max(stop, words[-1][1]), words[-1][2], position + 1)
            else:
                words.append((start, stop, position, position + 1))
        return words

    def decode(self, numbers: Sequence[int]) -> str:
        """The way back: the text of tokens in a row; those that stand around a text are left out."""
        text: str = self._rules.decode(list(numbers), skip_special_tokens=True)
        return text

    def pieces(self, numbers: Sequence[int]) -> list[str]:
        """The way back: what each token stands for, by itself.

        A `-` stands where a piece of a word joins what is before it, and, in encodings that mark where words end, what
        is behind it; the tokens that stand around a text are written as the rules name them.

        Args:
            numbers: of tokens.

        Raises:
            ValueError: no token has such a number.
        """
        return [self._piece(int(number)) for number in numbers]

    def _piece(self, number: int) -> str:
        token = self._token(number)
        joint: str = getattr(self._rules.model, "continuing_subword_prefix", None) or ""
        if joint and token.startswith(joint) and token != joint:
            return f"-{token.removeprefix(joint)}"
        return self._rules.decode([number], skip_special_tokens=False).strip() or token

    def _token(self, number: int) -> str:
        """As the rules write it."""
        token: str | None = self._rules.id_to_token(number) if number >= 0 else None
        if token is None:
            raise ValueError(f"there are {self.vocabulary} tokens, and none has the number {number}")
        return token

    def _places(self, text: str, length: int) -> dict[int, tuple[int, int]]:
        """Position of each token of the text that is left when it is cut -> where it begins and ends in the text."""
        encoding = self._encode([text])[0]
        kept = len(self._fit(encoding.ids, length)) - (self.around - self._start)
        return {position: encoding.offsets[position] for position in range(self._start, kept)}

    @staticmethod
    def _overlapping(
        places: dict[int, tuple[int, int]], spans: Sequence[tuple[int, int]]
    ) -> list[tuple[int, int] | None]:
        """First token of each span and the one behind its last, by the places of tokens in the text."""
        found = ([at for at, (low, high) in places.items() if low < stop and start < high] for start, stop in spans)
        return [(min(inside), max(inside) + 1) if inside else None for inside in found]

    @staticmethod
    def _span(encoding: tokenizers.Encoding, start: int, stop: int, kept: int) -> tuple[int, int] | None:
        places = (encoding.char_to_token(character) for character in range(start, stop))
        tokens = [place if place is not None and place < kept else None for place in places]
        return token_span(tokens, 0, len(tokens))

    def _encode(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        """Half a surrogate pair is no character and cannot be encoded; a question mark keeps the offsets right."""
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        encodings: list[tokenizers.Encoding] = self._rules.encode_batch(clean)
        return encodings

    def _fit(self, ids: list[int], length: int) -> list[int]:
        if length <= self.around:
            raise ValueError(f"a length of {length} leaves no room for text: {self.around} tokens stand around it")
        if len(ids) <= length:
            return ids
        end = self.around - self._start
        return ids[: length - end] + ids[len(ids) - end :]

    def __repr__(self) -> str:
        return f"Tokenizer(vocabulary={self.vocabulary}, around={self.around})"


_SPACELESS = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")


def _inside_word(pair: str) -> bool:
    """Whether no word ends between two characters."""
    return all(each.isalnum() and not _SPACELESS.match(each) for each in pair)
