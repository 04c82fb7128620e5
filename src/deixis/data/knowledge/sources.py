"""Where texts of classes come from, by name: `load_knowledge("wordnet", names, embed)`.

`wordnet` (glosses of WordNet's nouns), `kinds` (words for kinds of each), `glosses` (of ImageNet's 21,841 synsets, part
of timm), `emoji` (tags), `captions:DATA` (of other data, those whose head noun is the name), `templates`, `about` (a
file `about.txt` in each class folder), and a csv with the columns `class` and `text`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deixis.data import catalogue
from deixis.data.datasets import emoji
from deixis.data.datasets.sources.cache import finished
from deixis.data.knowledge import wordnet as nouns
from deixis.data.knowledge.senses import Embed, Sense, choose_senses
from deixis.data.knowledge.texts import Knowledge, chosen, holds_texts, merged, read_texts
from deixis.data.readers import sources
from deixis.errors import DeixisError
from deixis.inputs.phrases import head_noun, singular
from deixis.types import Source

__all__ = ["ABOUT", "SOURCES", "TEMPLATES", "find_beside", "load_knowledge", "senses_of"]

ABOUT = "about.txt"
"""What a class folder may say of its class, a text a line."""

TEMPLATES = ("a photo of a {}.", "a drawing of a {}.", "a picture of a {} on a plain background.")
_EMOJI = ("emoji-styles", "emoji")
_CAPTIONS = "captions:"
_SHOWN = 5


def load_knowledge(
    what: str | Path | Mapping[str, str | Sequence[str]],
    names: Sequence[str],
    embed: Embed,
    source: Source | None = None,
    also: Mapping[str, str] | None = None,
) -> Knowledge:
    """The texts of classes.

    Args:
        what: a key of `SOURCES`, `captions:DATA`, a csv, or class -> its text or texts.
        names: of the classes.
        embed: texts -> rows of length 1, the frozen text tower; it chooses among the senses of ambiguous names.
        source: of the pictures, whose folders may hold an `about.txt`.
        also: what tables may call classes instead, such as codes -> their names.

    Raises:
        DeixisError: there is no such source, it is not there, or it knows none of the classes.
    """
    if isinstance(what, Mapping):
        given = {str(name): (own,) if isinstance(own, str) else tuple(own) for name, own in what.items()}
        pairs = ((name, text) for name, own in given.items() for text in own)
        return dataclasses.replace(chosen(merged(pairs), names, "What was given", also), source="what was given")
    text = str(what)
    if text.startswith(_CAPTIONS):
        return _from_captions(text.removeprefix(_CAPTIONS), names)
    if text == "about":
        return _from_folders(source, names, also)
    if text in SOURCES:
        return SOURCES[text](names, embed)
    if text.lower().endswith(".csv"):
        return chosen(read_texts(Path(text)), names, text, also)
    if text == "lm":
        raise DeixisError(
            "Texts of a language model are written and looked through before they are read.",
            "Write them: deixis caption DATA --classes --by lm --out texts.csv, and give that csv.",
        )
    there = ", ".join((*SOURCES, "about", f"{_CAPTIONS}DATA"))
    raise DeixisError(f"There are no texts of classes called {text!r}.", f"Give one of {there}, or a csv: class,text.")


def find_beside(source: Source, names: Sequence[str], also: Mapping[str, str] | None = None) -> str:
    """What data bring of texts themselves, as `load_knowledge` takes it: `about`, or the first csv with the columns
    `class` and `text` that has texts of two classes or more, in the folder of the data or beside it; empty: nothing.

    Args:
        source: of the pictures.
        names: of the classes.
        also: what tables may call classes instead.
    """
    root = Path(source.root)
    if root.is_dir() and any(root.glob(f"*/{ABOUT}")):
        return "about"
    folders = [root, root.parent] if root.is_dir() else [root.parent]
    tables = [each for folder in folders if folder.is_dir() for each in sorted(folder.glob("*.csv"))]
    for path in filter(holds_texts, tables):
        with contextlib.suppress(DeixisError):  # texts of other classes
            if len(chosen(read_texts(path), names, str(path), also).texts) > 1:
                return str(path)
    return ""


def senses_of(names: Sequence[str], embed: Embed) -> dict[str, Sense]:
    """Class name -> its synset in WordNet; see `senses.choose_senses`. Emoji tags help where these are in the cache.

    Args:
        names: of the classes.
        embed: the frozen text tower.

    Raises:
        DeixisError: WordNet has not been fetched.
    """
    net = nouns.wordnet()
    options = {name: [(each, net.definition(each)) for each in _things(net, name)] for name in names}
    tags = _tags() if any(finished(each) for each in _EMOJI) else {}
    return choose_senses(options, names, embed, {name: tags[name] for name in names if name in tags})


def _things(net: nouns.WordNet, name: str) -> list[str]:
    """The synsets of a name that are things, which pictures show; all where none is."""
    every = nouns.lookup(net, name)
    return [each for each in every if net.file[each] in nouns.THINGS] or every


def _said(found: Mapping[str, Sense]) -> tuple[str, ...]:
    """What ambiguous names were taken to mean."""
    open_ = [(name, sense) for name, sense in found.items() if sense.others]
    shown = "; ".join(f"{name}: {sense.gloss}" for name, sense in open_[:_SHOWN])
    more = f"; and {len(open_) - _SHOWN} more" if len(open_) > _SHOWN else ""
    return (f"Of several senses these were taken, as the nearest to the other names: {shown}{more}.",) if open_ else ()


def _from_wordnet(names: Sequence[str], embed: Embed) -> Knowledge:
    found = senses_of(names, embed)
    return Knowledge({name: (sense.gloss,) for name, sense in found.items()}, "wordnet", _said(found))


def _from_kinds(names: Sequence[str], embed: Embed) -> Knowledge:
    found, net = senses_of(names, embed), nouns.wordnet()
    below = {name: tuple(nouns.kinds(net, sense.key)) for name, sense in found.items()}
    return Knowledge({name: own for name, own in below.items() if own}, "kinds", _said(found))


def _from_timm(names: Sequence[str], embed: Embed) -> Knowledge:
    table = _timm_glosses()
    options = {
        name: [(gloss, gloss) for gloss in table.get(" ".join(name.casefold().replace("_", " ").split()), ())]
        for name in names
    }
    found = choose_senses(options, names, embed)
    return Knowledge({name: (sense.gloss,) for name, sense in found.items()}, "glosses", _said(found))


@functools.cache
def _timm_glosses() -> dict[str, tuple[str, ...]]:
    """A word -> the glosses of its synsets."""
    from timm.data.imagenet_info import ImageNetInfo

    found: dict[str, list[str]] = defaultdict(list)
    described = ImageNetInfo("imagenet22k").label_descriptions(detailed=True)
    for words, _, gloss in (each.partition(": ") for each in described):
        for word in words.split(", "):
            found[word.casefold()].append(gloss)
    return {word: tuple(glosses) for word, glosses in found.items()}


def _tags() -> dict[str, tuple[str, ...]]:
    """The name of an emoji -> its tags, from the set that is in the cache."""
    name = next((each for each in _EMOJI if finished(each)), _EMOJI[0])
    return {entry.label: entry.tags for entry in emoji.entries(name)}


def _from_emoji(names: Sequence[str], embed: Embed) -> Knowledge:
    tags = _tags()
    return Knowledge({name: (", ".join(tags[name]),) for name in names if tags.get(name)}, "emoji")


def _from_templates(names: Sequence[str], embed: Embed) -> Knowledge:
    return Knowledge({name: tuple(each.format(name) for each in TEMPLATES) for name in names}, "templates")


def _from_captions(data: str, names: Sequence[str]) -> Knowledge:
    """Captions of other data whose head noun is the name."""
    captions = catalogue.read(data[4:]) if data.startswith("set:") else sources.read(Path(data))
    heads: dict[str, dict[str, None]] = defaultdict(dict)
    for sample in captions.samples:
        for text in sample.captions:
            heads[head_noun(text)][text] = None
    found = {name: own for name in names if (own := tuple(_about(name, heads)))}
    if not found:
        raise DeixisError(
            f"No caption of {data} is about any of the classes.", f"Its captions are about {', '.join([*heads][:5])}..."
        )
    return Knowledge(found, f"{_CAPTIONS}{data}")


def _about(name: str, heads: Mapping[str, Mapping[str, None]]) -> list[str]:
    """The captions, by their head nouns, that are about a class; of a name of several words those that say it whole."""
    words = name.casefold().replace("_", " ").split()
    own = heads.get(singular(words[-1]), {}) if words else {}
    return [text for text in own if len(words) == 1 or " ".join(words) in text.casefold()]


def _from_folders(source: Source | None, names: Sequence[str], also: Mapping[str, str] | None) -> Knowledge:
    """What `about.txt` in each class folder says."""
    if source is None or not Path(source.root).is_dir():
        raise DeixisError(f"There is no folder to read {ABOUT} from.", "Give a folder of class folders, or a csv.")
    files = {path.parent.name: path for path in sorted(Path(source.root).rglob(ABOUT))}
    lines = {name: tuple(path.read_text(encoding="utf-8-sig").splitlines()) for name, path in files.items()}
    found = merged((name, line) for name, own in lines.items() for line in own)
    if not found:
        raise DeixisError(f"No class folder of {source.root} holds an {ABOUT}.", "Write one: a text a line.")
    return dataclasses.replace(chosen(found, names, f"{source.root}/*/{ABOUT}", also), source=ABOUT)


SOURCES: Mapping[str, Callable[[Sequence[str], Embed], Knowledge]] = {
    "wordnet": _from_wordnet,
    "kinds": _from_kinds,
    "glosses": _from_timm,
    "emoji": _from_emoji,
    "templates": _from_templates,
}
"""Name -> what gives the texts of classes."""
