"""Words of other languages with their English: FreeDict's dictionaries, out of Debian's `dict-freedict-*-eng`.

`set:tongues/de` has a text for each entry of the German one: the headword as caption, and its English, all senses, in
the column `english`. Entries without a letter, and explanations in brackets, are left out.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from deixis.data.datasets.sources.cache import finished, from_debian, home, set_name, writing
from deixis.errors import DeixisError
from deixis.files import atomic_path
from deixis.types import Sample, Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "LANGUAGES", "entries", "fetch", "fetch_language", "fetched", "read", "translations"]

DATASET = DatasetCard(
    title="Dictionaries of German, French, Spanish, Italian and Dutch to English (FreeDict)",
    licence="GPL-2.0-or-later, GPL-3.0-or-later, AGPL-3.0 (FreeDict, Ding; see the files copyright)",
    how="apt",
    size_mb=24,
    fields=("captions",),
    parts=("de", "es", "fr", "it", "nl"),
)

LANGUAGES = {"de": "deu", "es": "spa", "fr": "fra", "it": "ita", "nl": "nld"}
"""Language -> how its dictionary is called."""

_NAME = set_name(__name__)
_FILE = "entries.tsv.gz"
_ABOUT = "00-database"  # entries on the dictionary itself begin so
_DIGITS = {
    letter: place for place, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
}
_NOT_SENSES = re.compile(r"\s{3,}|\s*(?:see|Synonyms?|Note|Antonyms?)\b:?")
_HEADWORD = re.compile(r"(.+?)\s*(?:/[^/]*/\s*.*|<[^>]*>.*)?")
_BRACKETS = re.compile(r"<[^>]*>|\[[^\]]*\]|\([^)]*\)|\{[^}]*\}|^\s*\d+\.")


def fetch(say: Callable[[str], None]) -> Path:
    """Puts all dictionaries into the cache; does nothing for those that are there.

    Raises:
        DeixisError: a package can't be had; see `packages.debian_package`.
    """
    for language in LANGUAGES:
        fetch_language(language, say)
    if not finished(_NAME):
        with writing(_NAME, licence=DATASET.licence) as (_, marker):
            marker["languages"] = list(LANGUAGES)
    return home(_NAME)


def fetch_language(language: str, say: Callable[[str], None]) -> Path:
    """Puts one dictionary into the cache; does nothing if it is there.

    Args:
        language: a key of `LANGUAGES`.
        say: receives what is being done, a line at a time.

    Raises:
        DeixisError: there is no such dictionary, its package can't be had, or holds no entry that can be read.
    """
    name = _home(language)
    if not finished(name):
        code = LANGUAGES[language]
        with from_debian(name, f"dict-freedict-{code}-eng", DATASET.licence, say) as (share, folder, marker):
            stem = share / "dictd" / f"freedict-{code}-eng"
            count = 0
            with atomic_path(folder / _FILE) as temporary, gzip.open(temporary, "wt", encoding="utf-8") as file:
                for word, senses in entries(stem):
                    file.write("\t".join((word, *senses)) + "\n")
                    count += 1
            if not count:
                raise DeixisError(
                    f"The dictionary {stem.name} holds no entry that can be read.", "Its format may have changed."
                )
            marker["files"] = 1
            marker["entries"] = count
    return home(name)


def fetched() -> tuple[str, ...]:
    """The languages whose dictionary is in the cache."""
    return tuple(each for each in LANGUAGES if finished(_home(each)))


def _home(language: str) -> str:
    if language not in LANGUAGES:
        raise DeixisError(f"There is no dictionary for {language!r}.", f"There are: {', '.join(LANGUAGES)}.")
    return f"{_NAME}-{language}"


def entries(stem: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Headword and English of each entry of a dictionary in dictd's format, in its order.

    Args:
        stem: the path of its files, without `.index` and `.dict.dz`.

    Raises:
        DeixisError: a file is missing, cut short, or of another format.
    """
    index, texts = Path(f"{stem}.index"), Path(f"{stem}.dict.dz")
    try:
        whole = gzip.decompress(texts.read_bytes())
        rows = index.read_text(encoding="utf-8").splitlines()
        places = sorted({(_number(row.split("\t")[1]), _number(row.split("\t")[2])) for row in rows if row})
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise DeixisError(
            f"The dictionary {stem.name} can't be read: {error}.", "Fetch it again; its format may have changed."
        ) from error
    for start, length in places:
        if start + length > len(whole):
            raise DeixisError(f"The dictionary {stem.name} is cut short.", "Fetch it again.")
        word, senses = _entry(whole[start : start + length].decode("utf-8", "replace"))
        if word and senses:
            yield word, senses


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = 64 * value + _DIGITS[digit]
    return value


def _entry(text: str) -> tuple[str, tuple[str, ...]]:
    """Headword and senses; what stands indented is no sense, nor is what follows the first empty line."""
    first, *rest = text.split("\n")
    if first.startswith(_ABOUT):
        return "", ()
    found = _HEADWORD.fullmatch(first.strip())
    word = _BRACKETS.sub(" ", found.group(1) if found else "").strip(" …")
    senses: list[str] = []
    for line in rest:
        if not line.strip():
            break
        if not _NOT_SENSES.match(line):
            senses += [_plain(part) for part in _BRACKETS.sub(" ", line).replace(";", ",").split(",")]
    return " ".join(word.split()), tuple(dict.fromkeys(sense for sense in senses if sense))


def _plain(sense: str) -> str:
    sense = " ".join(sense.split()).strip(" .,…")
    return sense if any(letter.isalpha() for letter in sense) else ""


def translations(language: str) -> list[tuple[str, tuple[str, ...]]]:
    """Headword and English of each entry of a dictionary that was fetched.

    Args:
        language: a key of `LANGUAGES`.

    Raises:
        DeixisError: there is no such dictionary, it is not in the cache, or its file is damaged.
    """
    name = _home(language)
    if not finished(name):
        raise DeixisError(
            f"The dictionary of {language!r} is not in the cache.", f"Run: deixis data get language-{language}"
        )
    path = home(name) / _FILE
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = [line.rstrip("\n").split("\t") for line in file]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DeixisError(
            f"The dictionary {path} is damaged: {error}.", f"Remove {home(name)}, fetch again."
        ) from error
    return [(row[0], tuple(row[1:])) for row in rows if len(row) > 1]


def read(part: str = "de") -> Source:
    """The entries of a dictionary.

    Args:
        part: a key of `LANGUAGES`.

    Raises:
        DeixisError: as `translations`.
    """
    samples = tuple(
        Sample(f"{part}/{number}", None, (word,), groups=(f"word {word.casefold()}",), extra={"english": senses})
        for number, (word, senses) in enumerate(translations(part))
    )
    return Source(f"tongues/{part}", home(_home(part)), "text", "dictionary", samples)
