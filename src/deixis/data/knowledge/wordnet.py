"""WordNet 3.0's nouns, as `deixis data get wordnet` fetches them: senses with their glosses, and the kinds of each."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from deixis.data.datasets.sources.cache import home
from deixis.data.datasets.sources.wordnet import FILES, NAME
from deixis.inputs.phrases import singular

__all__ = ["THINGS", "WordNet", "kinds", "lemma_of", "lookup", "read_wordnet", "wordnet"]

THINGS = frozenset({"03", "05", "06", "08", "13", "17", "18", "20"})
"""WordNet's files of the topmost nouns, animals, artifacts, body parts, food, natural objects, persons and plants."""


class WordNet(NamedTuple):
    """What is needed of the nouns, by the number of their synset.

    Attributes:
        below: synset -> those that are of its kind.
        above: synset -> those whose kind it is.
        file: synset -> the file of lexicographers that it is of, such as `05` (animals).
        lemmas: synset -> the words for it.
        senses: a word -> its synsets, in WordNet's order.
        tagged: (word, synset) -> how often texts had it in this sense.
        glosses: synset -> what it is, with examples.
    """

    below: Mapping[str, list[str]]
    above: Mapping[str, list[str]]
    file: Mapping[str, str]
    lemmas: Mapping[str, list[str]]
    senses: Mapping[str, list[str]]
    tagged: Mapping[tuple[str, str], int]
    glosses: Mapping[str, str]

    def definition(self, synset: str) -> str:
        """The gloss without its examples."""
        return self.glosses[synset].split('; "')[0].strip().rstrip(";")


def read_wordnet(folder: Path) -> WordNet:
    """Reads `data.noun`, `index.noun` and `cntlist.rev`.

    Args:
        folder: that holds them.
    """
    nouns, index, counted = (folder / name for name in FILES)
    below: dict[str, list[str]] = defaultdict(list)
    above: dict[str, list[str]] = defaultdict(list)
    files, lemmas, keys, glosses = {}, {}, {}, {}
    for line in _lines(nouns):
        facts, _, gloss = line.partition(" | ")
        fields = facts.split()
        number, files[fields[0]], count = fields[0], fields[1], int(fields[3], 16)
        glosses[number] = gloss.strip()
        lemmas[number] = fields[4 : 4 + 2 * count : 2]
        for at, lemma in enumerate(lemmas[number]):
            keys[f"{lemma.lower()}%1:{fields[1]}:{int(fields[5 + 2 * at], 16):02d}::"] = lemma.lower(), number
        pointers = fields[5 + 2 * count :]
        for kind, other in zip(pointers[::4], pointers[1::4], strict=False):
            if kind in ("~", "@"):
                (below if kind == "~" else above)[number].append(other)
    senses = {fields[0]: fields[-int(fields[2]) :] for fields in map(str.split, _lines(index))}
    counts = (line.split() for line in _lines(counted))
    tagged = {keys[key]: int(count) for key, _, count in counts if key in keys}
    return WordNet(below, above, files, lemmas, senses, tagged, glosses)


def _lines(path: Path) -> list[str]:
    """Those of a file of WordNet, without the licence at its top."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("  ")]


def wordnet() -> WordNet:
    """The nouns, from the cache; read once.

    Raises:
        DeixisError: they have not been fetched.
    """
    return _read(home(NAME))


@functools.lru_cache(maxsize=1)
def _read(folder: Path) -> WordNet:
    return read_wordnet(folder)


def lemma_of(net: WordNet, name: str) -> str:
    """The word of WordNet that a class name is, in the plural or not; empty where it is none.

    Args:
        net: the nouns.
        name: such as `fire engine` or `Cherries`.
    """
    words = name.casefold().replace("_", " ").replace("-", " ").split()
    if not words:
        return ""
    single = [*words[:-1], singular(words[-1])]
    forms = [joint.join(each) for each in (words, single) for joint in ("_", "-", "")]
    return next((form for form in forms if form in net.senses), "")


def lookup(net: WordNet, name: str) -> list[str]:
    """The synsets that a class name may mean, in WordNet's order; none where it has no entry."""
    lemma = lemma_of(net, name)
    return list(net.senses[lemma]) if lemma else []


def kinds(net: WordNet, synset: str, most: int = 60) -> list[str]:
    """Words for the kinds of a thing (a rooster, of a bird), the common ones first: by how often texts had them, then
    by depth, then as WordNet has them. One word a synset.

    Args:
        net: the nouns.
        synset: the thing.
        most: words.
    """
    order: dict[str, int] = {}
    layer, depth = [synset], 0
    while layer:
        depth += 1
        layer = list(dict.fromkeys(each for own in layer for each in net.below.get(own, ())))
        layer = [each for each in layer if each not in order and each != synset]
        order |= dict.fromkeys(layer, depth)
    words = []
    for each, far in order.items():
        lemma = net.lemmas[each][0]
        words.append((-net.tagged.get((lemma.lower(), each), 0), far, lemma.replace("_", " ")))
    ranked = sorted(words, key=lambda each: each[:2])
    return list(dict.fromkeys(word for _, _, word in ranked))[:most]
