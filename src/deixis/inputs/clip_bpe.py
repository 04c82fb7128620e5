"""CLIP's byte-pair encoding, token for token that of open_clip, with the place of every token in the string given.

CLIP reads cleaned text (Radford et al. 2021, in the authors' code): mojibake repaired, HTML entities resolved, white
space collapsed, lower case. Tokens are found in what is left, so each step keeps a map back to the original.
"""

from __future__ import annotations

import gzip
import html
import json
import os
import re
import string
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import ftfy
import regex
import tokenizers
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors

from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.inputs.tokenizer import Tokenizer

__all__ = ["MERGES", "Cleaning", "ClipTokenizer", "clean", "clean_with_map", "is_clip_bpe"]

MERGES = ("clip-bpe", "bpe_simple_vocab_16e6.txt.gz")
"""Folder and file in the cache where `deixis data get clip-bpe` puts CLIP's table of merges."""

_START, _END = "<start_of_text>", "<end_of_text>"
_STORED = ("<|startoftext|>", "<|endoftext|>")
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
# Not the pattern language of `tokenizers`, whose tables of letters are those of an older Unicode.
_WORDS = regex.compile(f"{_START}|{_END}|{_PIECES}", regex.IGNORECASE)
_SUFFIX = "</w>"
_MERGES_READ = 49152 - 256 - 2
_SPLITS_TRIED = 64
_DROPPED = frozenset(string.punctuation) - {"_"}
_NO_MARKS = str.maketrans("", "", "".join(sorted(_DROPPED)))

Cleaning: TypeAlias = Literal["whitespace", "lower", "canonicalize"]
"""What open_clip's tokenizers do to a text besides repairing it: nothing, lower case (CLIP), or lower case and no
punctuation (SigLIP)."""


def clean(text: str, how: Cleaning = "lower") -> str:
    """The text as tokenizers of open_clip read it: repaired by ftfy, unescaped twice, white space collapsed.

    Args:
        text: as it was written.
        how: what is done besides.
    """
    cleaned = " ".join(_without_marks(_repair(text), how).split())
    return cleaned if how == "whitespace" else cleaned.lower()


def clean_with_map(text: str, how: Cleaning = "lower") -> tuple[str, list[tuple[int, int]]]:
    """The cleaned text, and for each of its characters the range of the original that it comes from.

    Ranges are as narrow as halving finds: a character stands alone where cleaning the parts gives the parts of the
    cleaned whole; what was repaired together (an entity, mojibake, a letter and its accent) shares one range.
    """
    repaired, ranges, start = _repair(text), [], 0
    for length, piece in _units(text, repaired):
        ranges += [(start, start + length)] * len(piece)
        start += length
    if how == "canonicalize":
        ranges = [each for letter, each in zip(repaired, ranges, strict=True) if letter not in _DROPPED]
        repaired = _without_marks(repaired, how)
    words = [(found.start(), found.end()) for found in re.finditer(r"\S+", repaired)]
    letters, kept = "", []
    for index, (first, last) in enumerate(words):
        if index:
            letters += " "
            kept.append((ranges[words[index - 1][1]][0], ranges[first - 1][1]))
        letters += repaired[first:last]
        kept += ranges[first:last]
    if how == "whitespace":
        return letters, kept
    return letters.lower(), [where for letter, where in zip(letters, kept, strict=True) for _ in letter.lower()]


def _without_marks(text: str, how: Cleaning) -> str:
    """Without punctuation, where that is wanted; an underscore is a space then."""
    return text.replace("_", " ").translate(_NO_MARKS) if how == "canonicalize" else text


def _repair(text: str) -> str:
    return html.unescape(html.unescape(ftfy.fix_text(text)))


def _units(text: str, repaired: str) -> Iterator[tuple[int, str]]:
    """Cuts `text` into parts that are repaired independently: length of each and what it becomes."""
    if text == repaired:
        yield from ((1, letter) for letter in text)
        return
    middle = len(text) // 2
    cuts = sorted(range(1, len(text)), key=lambda cut: abs(cut - middle)) if repaired else []
    for cut in cuts[:_SPLITS_TRIED]:
        left = _repair(text[:cut])
        if repaired.startswith(left) and repaired[len(left) :] == (right := _repair(text[cut:])):
            yield from _units(text[:cut], left)
            yield from _units(text[cut:], right)
            return
    yield len(text), repaired


class ClipTokenizer(Tokenizer):
    """CLIP's byte-pair encoding; equal to open_clip's `SimpleTokenizer`, of which it has the cleaning and the numbers.

    As there, and unlike in a plain `Tokenizer`, a caption that holds `<start_of_text>` or `<end_of_text>` gets these
    tokens. A caption that is too long keeps its beginning and the token at its end.

    Args:
        merges: the pairs that are joined, most frequent first. Tokens are numbered: 256 bytes, 256 bytes that end a
            word, one for each merge, start and end.
    """

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        self._merges = [(left, right) for left, right in merges]
        rules = _backend(self._merges, (_START, _END))
        rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        super().__init__(rules)
        self._rules.encode_special_tokens = False

    @property
    def end(self) -> int:
        """The number of the token that ends a text; no other is higher."""
        return self.vocabulary - 1

    @classmethod
    def cached(cls) -> ClipTokenizer:
        """With the merges that all of OpenAI's and nearly all of open_clip's models use.

        Raises:
            DeixisError: they are not in the cache.
        """
        path = cache_dir(*MERGES)
        if not path.is_file():
            raise DeixisError(
                f"CLIP's table of merges is not in {path.parent}, and the checkpoint does not bring its own.",
                "Run: deixis data get clip-bpe",
            )
        return cls.from_merges(path)

    @classmethod
    def from_merges(cls, path: str | os.PathLike[str]) -> ClipTokenizer:
        """Reads a table of merges, a pair a line under a line of version: `merges.txt`, plain or compressed by gzip.

        Raises:
            DeixisError: it can't be read, or is no such table.
        """
        try:
            raw = Path(path).read_bytes()
            text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
            lines = text.split("\n")[1 : _MERGES_READ + 1]
            return cls([_pair(line.split()) for line in lines if line])
        except Exception as error:  # whatever gzip or tokenizers meet
            raise DeixisError(
                f"The file {os.fspath(path)!r} is no table of merges that can be read: {error}",
                "It should hold two parts per line, after a first line with the version.",
            ) from error

    @classmethod
    def from_dict(cls, rules: dict[str, Any]) -> ClipTokenizer:
        """Rebuilds what `to_dict` gave, or the `tokenizer.json` of a CLIP by transformers.

        Raises:
            DeixisError: it is not CLIP's encoding, or numbers its tokens in another way.
        """
        if not is_clip_bpe(rules):
            raise DeixisError("This is not CLIP's byte-pair encoding.", "Read it with deixis.inputs.tokenizer.")
        try:
            pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in rules["model"]["merges"]]
            tokenizer = cls([_pair(pair) for pair in pairs])
        except Exception as error:  # whatever tokenizers meets
            raise DeixisError(f"The merges of this tokenizer can't be read: {error}.", "Take them anew.") from error
        tokenizer.require_numbers(rules["model"]["vocab"], {each["content"]: each["id"] for each in _added(rules)})
        return tokenizer

    def require_numbers(self, vocabulary: dict[str, int], added: dict[str, int] | None = None) -> None:
        """Checks a vocabulary that was stored beside the merges.

        Raises:
            DeixisError: a token has another number here.
        """
        ours = self._rules.get_vocab(with_added_tokens=True)
        names = dict(zip(_STORED, (_START, _END), strict=True))
        for token, number in {**vocabulary, **(added or {})}.items():
            if ours.get(names.get(token, token)) != number:
                raise DeixisError(
                    f"The tokenizer numbers {token!r} as {number}, and CLIP's encoding as "
                    f"{ours.get(names.get(token, token), 'nothing')}.",
                    "The vocabulary does not belong to these merges; take both from the model's own checkpoint.",
                )

    def to_dict(self) -> dict[str, Any]:
        """As a `tokenizer.json` that transformers reads as a CLIP tokenizer; there without ftfy and unescaping."""
        rules = _backend(self._merges, _STORED)
        rules.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        specials = "|".join(name.replace("|", r"\|") for name in _STORED)
        split = pre_tokenizers.Split(tokenizers.Regex(f"{specials}|{_PIECES}"), behavior="removed", invert=True)
        rules.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        stored: dict[str, Any] = json.loads(rules.to_str())
        return stored

    def encode_spans(self, text: str, spans: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int] | None]:
        """Where stretches of the original text lie among the tokens; see `Tokenizer.encode_spans`."""
        return self._overlapping(self._places(text, length), spans)

    def _piece(self, number: int) -> str:
        """The bytes of a token as text; those that are a part of a character can't be told."""
        token = self._token(number)
        if token in (_START, _END):
            return token
        ends = token.endswith(_SUFFIX)
        text = bytes(_BYTES[letter] for letter in token.removesuffix(_SUFFIX)).decode("utf-8", "replace")
        return text if ends else f"{text}-"

    def _places(self, text: str, length: int) -> dict[int, tuple[int, int]]:
        """As in `Tokenizer`, in the original text."""
        cleaned, ranges = clean_with_map(text)
        encoding = self._encode([text])[0]
        kept = len(self._fit(encoding.ids, length)) - (self.around - self._start)
        words, numbers = [each.start() for each in _WORDS.finditer(cleaned)], cast(list[int], encoding.word_ids)
        places: dict[int, tuple[int, int]] = {}
        for position in range(self._start, kept):
            start = words[numbers[position]]
            first, last = (start + offset for offset in encoding.offsets[position])
            places[position] = ranges[first][0], ranges[last - 1][1]
        return places

    def _encode(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        words = [_WORDS.findall(clean(text)) for text in texts]
        encodings: list[tokenizers.Encoding] = self._rules.encode_batch(words, is_pretokenized=True)
        return encodings

    def __repr__(self) -> str:
        return f"ClipTokenizer(vocabulary={self.vocabulary})"


def is_clip_bpe(rules: dict[str, Any]) -> bool:
    """Whether a `tokenizer.json` is CLIP's encoding: pairs of bytes, a mark where words end, lower case."""
    model = rules.get("model") or {}
    kinds = {each.get("type") for each in _parts(rules.get("normalizer"), "normalizers")}
    return model.get("type") == "BPE" and model.get("end_of_word_suffix") == _SUFFIX and "Lowercase" in kinds


def _parts(component: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    return [] if component is None else list(component.get(key, [component]))


def _added(rules: dict[str, Any]) -> list[dict[str, Any]]:
    return list(rules.get("added_tokens") or [])


def _pair(parts: Sequence[str]) -> tuple[str, str]:
    left, right = parts
    return left, right


def _alphabet() -> list[str]:
    """The letters that stand for the 256 bytes, in CLIP's order: those that print as themselves come first."""
    return sorted(pre_tokenizers.ByteLevel.alphabet(), key=lambda letter: (ord(letter) > 255, ord(letter)))


def _byte_of() -> dict[str, int]:
    """Letter -> the byte that it stands for: a letter of Latin-1 for its own, the others for those left, in order."""
    letters = _alphabet()
    own = {letter: ord(letter) for letter in letters if ord(letter) < 256}
    left = (byte for byte in range(256) if byte not in own.values())
    return own | {letter: next(left) for letter in letters if letter not in own}


_BYTES = _byte_of()


def _backend(merges: list[tuple[str, str]], marks: tuple[str, str]) -> tokenizers.Tokenizer:
    letters = _alphabet()
    tokens = [*letters, *(letter + _SUFFIX for letter in letters), *(left + right for left, right in merges), *marks]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    rules = tokenizers.Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix=_SUFFIX))
    rules.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    rules.post_processor = processors.TemplateProcessing(
        single=f"{marks[0]} $A {marks[1]}", special_tokens=[(mark, vocabulary[mark]) for mark in marks]
    )
    return rules
