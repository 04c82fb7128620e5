"""Class names -> texts: what methods are given of classes besides their names, and what is wrong with it."""

from __future__ import annotations

import collections
import csv
import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deixis.errors import DeixisError

__all__ = ["Knowledge", "chosen", "exchanged", "holds_texts", "key_phrases", "read_texts", "remarks", "write_texts"]

_WORD = re.compile(r"[^\W\d_]{2,}")
_STOP = frozenset(
    "a an and any are as at be been being by can for from has have having in into is it its made more most not of on "
    "one or other others over several some such than that the their them these this those to two typically used "
    "usually very was were when where which who whose with within without".split()
)
_SHOWN = 3
_NEAR = 0.75
"""Likeness of two names from which one may be a slip for the other."""

_FIELDS = ("class", "text")


@dataclasses.dataclass(frozen=True)
class Knowledge:
    """Texts of classes.

    Attributes:
        texts: class name -> its texts; a class of which nothing is known is absent.
        source: where they are from, such as `wordnet`.
        notes: what there was to say, such as the sense that was taken of an ambiguous name.
    """

    texts: Mapping[str, tuple[str, ...]]
    source: str
    notes: tuple[str, ...] = ()

    def pairs(self, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """(class, text) of some classes, as methods take them: in the order of the names.

        Args:
            names: of the classes; what is known of others is left out.
        """
        return tuple((name, text) for name in names for text in self.texts.get(name, ()))


def holds_texts(path: Path) -> bool:
    """Whether a file begins as a csv of texts of classes does; the rest is not read.

    Args:
        path: of the file.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return set(_FIELDS) <= set(next(csv.reader(file), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def read_texts(path: Path) -> dict[str, tuple[str, ...]]:
    """Reads a csv of two columns, `class,text`; several rows may be of one class.

    Args:
        path: of the table.

    Raises:
        DeixisError: it can't be read, or has no such columns or rows.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DeixisError(
            f"The texts of classes in {path} can't be read: {error}.", "Give a csv in UTF-8: class,text."
        ) from error
    columns = list(rows[0]) if rows else []
    if not set(_FIELDS) <= set(columns):
        found = ", ".join(map(str, columns)) or "no rows"
        raise DeixisError(f"{path} has {found}.", "Give a csv with the columns class and text, a row a text.")
    return merged((str(row["class"] or ""), str(row["text"] or "")) for row in rows)


def write_texts(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """Writes what `read_texts` reads.

    Args:
        path: of the table.
        pairs: (class, text).
    """
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([_FIELDS, *pairs])


def merged(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Class -> its distinct texts in order, white space made plain; what is empty is left out."""
    found: dict[str, dict[str, None]] = {}
    for name, text in pairs:
        clean, words = " ".join(name.split()), " ".join(text.split())
        if clean and words:
            found.setdefault(clean, {})[words] = None
    return {name: tuple(texts) for name, texts in found.items()}


def chosen(
    texts: Mapping[str, Sequence[str]], names: Sequence[str], where: str, also: Mapping[str, str] | None = None
) -> Knowledge:
    """The texts of the classes there are, and a note on those of others.

    Args:
        texts: class -> texts, of these and perhaps of other classes.
        names: of the classes.
        where: the texts are from, for messages.
        also: what the texts may call classes instead -> their names.

    Raises:
        DeixisError: none of them is of any class.
    """
    clean = {**{_key(other): name for other, name in (also or {}).items()}, **{_key(name): name for name in names}}
    found = {clean[key]: tuple(own) for each, own in texts.items() if (key := _key(each)) in clean}
    unknown = [each for each in texts if _key(each) not in clean]
    if texts and not found:
        first = unknown[0]
        near = difflib.get_close_matches(_key(first), clean, n=1, cutoff=0.0)
        raise DeixisError(
            f"{where} has texts of {len(texts)} classes, such as {first!r}, and none of these is a class here.",
            f"The classes here are {', '.join(map(repr, names[:_SHOWN]))}...; did you mean {clean[near[0]]!r}?",
        )
    return Knowledge(found, where, tuple(_left_out(unknown, clean, where)))


def _left_out(unknown: Sequence[str], clean: Mapping[str, str], where: str) -> list[str]:
    """What there is to say of names that are no class here: how many they are, and which are nearly one."""
    if not unknown:
        return []
    near = [(each, difflib.get_close_matches(_key(each), clean, n=1, cutoff=_NEAR)) for each in unknown]
    meant = [f"{each!r} (did you mean {clean[own[0]]!r}?)" for each, own in near if own]
    more = f" and {len(meant) - _SHOWN} more like these" if len(meant) > _SHOWN else ""
    named = f"{', '.join(meant[:_SHOWN])}{more}" if meant else _some(unknown)
    what = "1 name that is" if len(unknown) == 1 else f"{len(unknown)} names that are"
    return [f"{where} has {what} no class here, and left out: {named}."]


def _key(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").split())


def remarks(knowledge: Knowledge, names: Sequence[str]) -> list[str]:
    """What a user should know of the texts: classes without one, with the text of another, or that another's names.

    Args:
        knowledge: the texts.
        names: of the classes.
    """
    notes = list(knowledge.notes)
    bare = [name for name in names if not knowledge.texts.get(name)]
    if bare:
        notes.append(
            f"{len(bare)} of {len(names)} classes have no text from {knowledge.source}, and are known by name alone: "
            f"{_some(bare)}."
        )
    owners: dict[str, list[str]] = collections.defaultdict(list)
    for name, text in knowledge.pairs(names):
        owners[text.casefold()].append(name)
    notes += [f"{_some(own)} have one text: nothing in it tells them apart." for own in owners.values() if len(own) > 1]
    words = {name: re.compile(rf"\b{re.escape(_key(name))}\b") for name in names}
    naming = [
        (name, other)
        for name, text in knowledge.pairs(names)
        for other, pattern in words.items()
        if other != name and _key(other) not in _key(name) and pattern.search(text.casefold())
    ]
    if naming:
        name, other = naming[0]
        count = len({own for own, _ in naming})
        notes.append(f"{count} texts name another class, such as that of {name!r}, which names {other!r}.")
    return notes


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(map(repr, names[:_SHOWN]))}{more}"


def exchanged(knowledge: Knowledge, names: Sequence[str], seed: int) -> Knowledge:
    """The same texts, each class with those of another: the control of all that is claimed of texts.

    Args:
        knowledge: the texts.
        names: of the classes; those that have texts pass them round, in an order that is drawn.
        seed: of the order.
    """
    import random

    known = [name for name in names if knowledge.texts.get(name)]
    random.Random(seed).shuffle(known)
    turned = zip(known, known[1:] + known[:1], strict=True)
    return dataclasses.replace(
        knowledge,
        texts={name: knowledge.texts[other] for name, other in turned},
        source=f"{knowledge.source}, exchanged",
    )


def key_phrases(
    texts: Mapping[str, Sequence[str]], count: int = 3, longest: int = 2, names: Sequence[str] = ()
) -> dict[str, tuple[str, ...]]:
    """The words of each class's texts that say most of it among the classes, by TF-IDF, without those of its name.

    Frequencies are counted in all texts of a class together; the inverse frequency is smoothed, log((1 + C) / (1 + df))
    + 1, as scikit-learn's `TfidfVectorizer` has it.

    Args:
        texts: class -> texts.
        count: phrases a class, at the most; a word is in one of them.
        longest: words a phrase.
        names: of further classes, which count in the number of classes alone.
    """
    counts = {name: collections.Counter(_phrases(own, longest)) for name, own in texts.items()}
    seen = collections.Counter(phrase for own in counts.values() for phrase in own)
    total = len({*counts, *names})
    found = {}
    for name, own in counts.items():
        taken: set[str] = set(_words(name))
        picked: list[str] = []
        score = {each: n * (math.log((1 + total) / (1 + seen[each])) + 1) for each, n in own.items()}
        for phrase in sorted(score, key=lambda each: (-score[each], -len(each.split()), each)):
            if len(picked) < count and not taken & set(phrase.split()):
                picked.append(phrase)
                taken |= set(phrase.split())
        found[name] = tuple(picked)
    return found


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _phrases(texts: Iterable[str], longest: int) -> Iterable[str]:
    """Runs of words that are no stop words, within a text's commas and full stops."""
    for text in texts:
        for clause in re.split(r"[.,;:()]", text):
            words = _words(clause)
            for start in range(len(words)):
                for end in range(start + 1, min(len(words), start + longest) + 1):
                    if not _STOP & set(words[start:end]):
                        yield " ".join(words[start:end])
