"""The same scene with one thing changed, and the words that say what: targets of queries of a picture and words."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int8, Int64

from deixis.data.synthetic.scenes.config import SIZES
from deixis.data.synthetic.scenes.cutouts import size_of
from deixis.data.synthetic.scenes.drawing import PlacedCutout, Scene
from deixis.data.synthetic.scenes.layout import SceneStage, ThingFacts
from deixis.data.synthetic.scenes.object_bank import colours_for
from deixis.data.synthetic.scenes.wording import article, describe

__all__ = ["Change", "changes"]

_TRIES = 30  # places that are tried for a thing that is added
_DRAWS = 8  # draws for each requested change, since some repeat others or find no place


@dataclasses.dataclass(frozen=True)
class Change:
    """A scene that differs from another in one thing; all else stands where it stood.

    Attributes:
        words: what is there now and was not: `a blue star`, where the star had another colour or where there was none.
        scene: after the change; a `types.Drawing`.
    """

    words: str
    scene: Scene


def changes(
    rng: np.random.Generator, scene: Scene, facts: Sequence[ThingFacts], stage: SceneStage
) -> tuple[Change, ...]:
    """Up to `stage.config.changes` changes of a scene, in other words each: things in another tint, and things added,
    by turns. Things that are not tinted keep their colours, and nothing is added that covers too much.

    Args:
        rng: draws them.
        scene: as it is.
        facts: of all its things.
        stage: what it was made with.
    """
    found: dict[str, Change] = {}
    turn, wanted = int(rng.integers(2)), stage.config.changes
    for draw in range(turn, turn + _DRAWS * wanted):
        change = (_tinted, _added)[draw % 2](rng, scene, facts, stage)
        if change is not None:
            found.setdefault(change.words, change)
        if len(found) == wanted:
            break
    return tuple(found.values())


def _tinted(rng: np.random.Generator, scene: Scene, facts: Sequence[ThingFacts], stage: SceneStage) -> Change | None:
    """A thing that is the only one of its noun in another tint."""
    nouns = collections.Counter(fact.noun for fact in facts)
    alone = [fact for fact in facts if fact.colour and nouns[fact.noun] == 1]
    if not alone:
        return None
    fact = alone[int(rng.integers(len(alone)))]
    colours = [each for each in colours_for(fact.noun, stage.split, stage.config.unseen) if each != fact.colour]
    colour = colours[int(rng.integers(len(colours)))]
    items = list(scene.items)
    items[fact.layer] = dataclasses.replace(items[fact.layer], colour=colour)
    return _change(describe(fact.noun, colour), scene, items)


def _added(rng: np.random.Generator, scene: Scene, facts: Sequence[ThingFacts], stage: SceneStage) -> Change | None:
    """One thing more, of a noun that is not there, above all others; tinted where they are."""
    there = {fact.noun for fact in facts}
    nouns = [noun for noun in stage.nouns if noun not in there]
    if not nouns:
        return None
    noun, sizes = nouns[int(rng.integers(len(nouns)))], list(SIZES.values())
    members, colours = stage.cast[noun], colours_for(noun, stage.split, stage.config.unseen)
    cutout, colour = members[int(rng.integers(len(members)))], colours[int(rng.integers(len(colours)))]
    share = float(rng.uniform(*sizes[int(rng.integers(len(sizes)))]))
    size = size_of(cutout.picture, round(share * scene.side))
    new = PlacedCutout(cutout.picture, 0, 0, size, bool(rng.random() < 0.5), colour if facts[0].colour else "")
    places = rng.random((_TRIES, 2)) * (scene.side - size[0] + 1, scene.side - size[1] + 1)
    place = _free(scene, new, [(int(x), int(y)) for x, y in places], stage.config.overlap)
    if place is None:
        return None
    item = dataclasses.replace(new, x=place[0], y=place[1])
    return _change(describe(noun, item.colour), scene, [*scene.items, item])


def _free(scene: Scene, new: PlacedCutout, places: Sequence[tuple[int, int]], overlap: float) -> tuple[int, int] | None:
    """The first place where `new` covers nothing more than may be, what covers that already counted in."""
    layers, solid, count = scene.layers(), new.solid(), len(scene.items)
    areas, left = np.array([item.solid().sum() for item in scene.items]), _counted(layers, count)
    for x, y in places if solid.any() else ():
        hidden = _counted(layers[y : y + new.size[1], x : x + new.size[0]][solid], count)
        visible = (left - hidden >= (1 - overlap) * areas) & (left > hidden)
        if visible[hidden > 0].all():
            return x, y
    return None


def _counted(layers: Int8[np.ndarray, "..."], count: int) -> Int64[np.ndarray, " N"]:
    """Pixels of each of `count` things."""
    found: np.ndarray = np.bincount(layers.ravel() + 1, minlength=count + 1)[1:]
    return found


def _change(what: str, scene: Scene, items: Sequence[PlacedCutout]) -> Change:
    words = f"{article(what)} {what}"
    return Change(words, dataclasses.replace(scene, name=f"{scene.name}, {words}", items=tuple(items)))
