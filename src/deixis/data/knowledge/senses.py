"""Which sense of a word a class has: the one whose gloss is nearest to what the other classes are.

The most frequent sense is a trap: of `crane` it is a writer, of `seal` a fastener. The other classes say what the names
are of, and pictures are never asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

__all__ = ["Embed", "Sense", "choose_senses"]

Embed = Callable[[Sequence[str]], Float[np.ndarray, "N D"]]
"""Texts -> rows of length 1: the frozen text tower."""


class Sense(NamedTuple):
    """What a name was taken to mean.

    Attributes:
        key: of the sense, such as its synset.
        gloss: what it is.
        others: senses that were not taken.
    """

    key: str
    gloss: str
    others: int


def choose_senses(
    options: Mapping[str, Sequence[tuple[str, str]]],
    names: Sequence[str],
    embed: Embed,
    tags: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Sense]:
    """Class name -> its sense, of those that have an option.

    A gloss is as near to another class as to its name or to the nearest of its glosses, whichever is nearer; the mean
    over the other classes decides, and beside it the cosine with the mean of the class's tags where it has some. Of
    equal ones the first is taken.

    Args:
        options: class name -> (key, gloss) of each sense, the most frequent first.
        names: of all classes, those without an option among them.
        embed: the frozen text tower.
        tags: class name -> other words for it.
    """
    open_ = [name for name in names if len(options.get(name, ())) > 1]
    found = {name: Sense(*options[name][0], 0) for name in names if options.get(name)}
    if not open_:
        return found
    texts = [[name, *(gloss for _, gloss in options.get(name, ()))] for name in names]
    rows = embed([text for own in texts for text in own])
    starts = np.cumsum([0, *map(len, texts)])
    for place, name in enumerate(names):
        if name not in open_:
            continue
        glosses = rows[starts[place] + 1 : starts[place + 1]]
        near = np.maximum.reduceat(glosses @ rows.T, starts[:-1], axis=1)
        scores = np.delete(near, place, axis=1).sum(axis=1) / max(1, len(names) - 1)
        own = list((tags or {}).get(name, ()))
        if own:
            mean = embed(own).sum(axis=0)
            scores = scores + glosses @ mean / max(float(np.linalg.norm(mean)), 1e-9)
        found[name] = Sense(*options[name][int(scores.argmax())], len(options[name]) - 1)
    return found
