"""Who plays: cut-outs with a noun each, from the stamps, the emoji, or drawn here; and which split each belongs to."""

from __future__ import annotations

import collections
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from deixis.data import catalogue
from deixis.data.splits import concept_groups
from deixis.data.synthetic.scenes.config import COLOURS, SceneConfig
from deixis.data.synthetic.scenes.cutouts import Cutout
from deixis.data.synthetic.scenes.shapes import SHAPES, VARIANTS, Shape
from deixis.errors import DeixisError
from deixis.inputs.phrases import head_noun, singular
from deixis.types import Sample

__all__ = ["SPLITS", "Cast", "assemble", "colours_for", "cutouts_of", "home", "part", "share"]

SPLITS = ("train", "val", "test")
_HELD = 0.15  # share of the cut-outs, or of the concepts, in each of val and test
_HELD_COLOURS = 2  # of the colours of each noun, in each of val and test, where pairs are unseen

Cast = Mapping[str, tuple[Cutout, ...]]
"""Cut-outs by noun."""

_LEFT_OUT = ("symbols/", "town/roadsigns/", "seasonal/hanukkah/", "people/body_parts/")
_KINDS = ("animals-nature", "food-drink", "travel-places", "activities", "objects")
_COMPOUNDS = frozenset(
    "bow tie,candy cane,cement mixer,computer mouse,drum kit,garbage can,garlic bulb,guinea fowl,lemon slice,"
    "pepper grinder,police officer,pressure cooker,rubber duck,sea lion,totem pole,vacuum cleaner,"
    "washing machine,wishing well".split(",")
)
_TWINS = frozenset(
    # the same drawing as another of its noun, in other colours or once more
    "food/fruit/apple_green.png people/fireman240a.png seasonal/christmas/elfhat.png town/flags/redflag.png "
    "town/flags/whiteflag.png town/flags/yellowflag.png".split()
)
_SPELT = {"sail boat": "sailboat", "motor bike": "motorbike", "t shirt": "shirt"}
_NOT_NAMES = frozenset(
    # no singular, or no plain thing
    "binoculars city cigarette cleaner cooker core cylinder farm fruit garlic glasses grinder head hair jeans kit "
    "lettuce light "
    "machine marker mine mixer moustache oak ornament pants pizza plant pliers pole scissors sign slice stone "
    "sunglasses well xanthia can bolt cane fowl bulb bow doe stable "
    # of the emoji
    "bacon badminton baseball beans blossom blueberries books bowling bread briefs brick bubbles butter camping "
    "candy chains chopsticks cooking construction coral custard cyclone desert dna dvd e-mail fire fog foggy fondue "
    "gloves grapes hamsa herb ice joker kaaba knot label lacrosse ledger link locked lotus luggage maracas mate memo "
    "metro microbe moai motorway oden pancakes peanuts pick placard popcorn rainbow rock rosette sake salt sari "
    "seedling shorts shower skis soap socks softball spaghetti sparkles sponge stadium station sun sunrise sunset "
    "sushi tamale tennis thread tornado unlocked wedding wheel wing wood yarn cityscape cherries houses dango "
    "alembic bullseye droplet elevator packet package receipt seat softball trackball videocassette volcano "
    "chestnut cricket".split()
)


def assemble(config: SceneConfig) -> tuple[Cutout, ...]:
    """All cut-outs of a cast, those of the nouns that are given.

    Raises:
        DeixisError: the set is not in the cache, there is no such cast, or no cut-out is left.
    """
    cutouts = config.cast if not isinstance(config.cast, str) else _cast(config.cast)
    chosen = tuple(cutout for cutout in cutouts if not config.nouns or cutout.noun in config.nouns)
    if not chosen:
        there = ", ".join(sorted({cutout.noun for cutout in cutouts})[:12])
        raise DeixisError(f"The cast holds none of the nouns {', '.join(config.nouns)}.", f"It holds: {there}...")
    return chosen


def _cast(name: str) -> tuple[Cutout, ...]:
    kind, _, style = name.partition("/")
    if name == "shapes":
        return tuple(
            Cutout(f"{noun}-{variant}", noun, Shape(noun, variant), "shape")
            for noun in SHAPES
            for variant in range(VARIANTS)
        )
    if name == "stamps":
        return tuple(cutouts_of(catalogue.read("stamps").samples))
    if kind == "emoji":
        samples = catalogue.read("emoji-styles" if style else "emoji").samples
        chosen = [sample for sample in samples if style in (sample.extra.get("style", ""), "all")]
        if chosen:
            return tuple(cutouts_of(chosen))
        styles = sorted({str(sample.extra["style"]) for sample in samples})
        raise DeixisError(f"There are no emoji in the style {style!r}.", f"There are: {', '.join(styles)}.")
    raise DeixisError(
        f"There is no cast called {name!r}.",
        "There are: stamps, emoji, emoji/STYLE, emoji/all, shapes; or give cut-outs.",
    )


def cutouts_of(samples: Iterable[Sample]) -> list[Cutout]:
    """The stamps and emoji that a plain noun names: captions such as `A red apple.`, `dog face` or `tiger`."""
    found = []
    for sample in samples:
        noun = _emoji_noun(sample) if "emoji" in sample.extra else _stamp_noun(sample)
        if noun and noun not in _NOT_NAMES:
            style = "emoji" if "emoji" in sample.extra else ("photo" if sample.extra.get("photo") else "drawing")
            found.append(Cutout(sample.id, noun, sample.picture, style, sample.groups))  # type: ignore[arg-type]
    return found


def _stamp_noun(sample: Sample) -> str:
    """The noun of a caption that says `A`, up to three words, and it; nothing else can be counted on."""
    caption, noun = sample.captions[0], head_noun(sample.captions[0])
    if sample.id.startswith(_LEFT_OUT) or sample.id in _TWINS or sample.extra.get("family"):
        return ""
    if not re.fullmatch(rf"An? (?:[\w’'-]+ ){{0,3}}{re.escape(noun)}[.!]?", caption) or " of " in caption:
        return ""
    pair = " ".join(re.findall(r"[\w’'-]+", caption.casefold())[-2:])
    return _SPELT.get(pair, pair if pair in _COMPOUNDS else noun)


def _emoji_noun(sample: Sample) -> str:
    """A label of one plain word in the singular, or an animal's face."""
    label = sample.captions[0]
    if sample.extra.get("group") not in _KINDS:
        return ""
    word = label.removesuffix(" face") if sample.extra.get("group") == "animals-nature" else label
    return word if re.fullmatch(r"[a-z]{2,}", word) and singular(word) == word else ""


# --- splits -----------------------------------------------------------------------------------------------------------


def part(cutouts: Sequence[Cutout], split: str, unseen: str) -> Cast:
    """The cut-outs of one split, by noun; the same whatever the seed of the scenes.

    Args:
        cutouts: of the whole cast.
        split: one of `SPLITS`.
        unseen: as `SceneConfig.unseen`.

    Raises:
        DeixisError: there is no such split, or nothing is left for it.
    """
    if split not in SPLITS:
        raise DeixisError(f"There is no split called {split!r}.", f"There are: {', '.join(SPLITS)}.")
    side = _sides(cutouts, unseen)
    chosen: dict[str, list[Cutout]] = collections.defaultdict(list)
    for cutout in sorted(cutouts, key=lambda cutout: cutout.name):
        if unseen == "nothing" or side[cutout.name] == split:
            chosen[cutout.noun].append(cutout)
    if not chosen:
        nouns = len({cutout.noun for cutout in cutouts})
        raise DeixisError(
            f"The {len(cutouts)} cut-outs of {nouns} nouns leave none for the split {split!r}.",
            "With unseen='stamp' a noun needs two cut-outs or more to be on both sides; try unseen='concept'.",
        )
    return {noun: tuple(members) for noun, members in sorted(chosen.items())}


def share(names: Iterable[str], split: str) -> tuple[str, ...]:
    """The names that belong to a split: 15 % each in `val` and `test`, by their hash, and at least one of three."""
    order = _shuffled(dict.fromkeys(names))
    return tuple(name for name, side in zip(order, _dealt(len(order)), strict=True) if side == split)


def _sides(cutouts: Sequence[Cutout], unseen: str) -> dict[str, str]:
    """Name of a cut-out -> its split."""
    if unseen == "concept":
        samples = [Sample(cutout.name, None, groups=(*cutout.groups, f"noun:{cutout.noun}")) for cutout in cutouts]
        groups = concept_groups(samples)
        first: dict[int, str] = {}
        for cutout, group in sorted(zip(cutouts, groups, strict=True), key=lambda pair: pair[0].name):
            first.setdefault(group, cutout.name)
        sides = dict(zip(_shuffled(first.values()), _dealt(len(first)), strict=True))
        return {cutout.name: sides[first[group]] for cutout, group in zip(cutouts, groups, strict=True)}
    by_noun: dict[str, list[str]] = collections.defaultdict(list)
    for cutout in cutouts:
        by_noun[cutout.noun].append(cutout.name)
    sides = {}
    for noun, names in by_noun.items():
        two = ["train", ("val", "test")[_hash(noun) % 2]]
        sides |= dict(zip(_shuffled(names), two if len(names) == 2 else _dealt(len(names)), strict=True))
    return sides


def _dealt(count: int) -> list[str]:
    """Splits for `count` things; one of each where there are three or more, all to train where there is one."""
    held = max(1, round(_HELD * count)) if count > 2 else count - 1
    return (
        ["test"] * held + ["val"] * (held if count > 2 else 0) + ["train"] * (count - (2 * held if count > 2 else held))
    )


def _shuffled(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (_hash(name), name))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def colours_for(noun: str, split: str, unseen: str) -> tuple[str, ...]:
    """The tints that things of a noun may have in a split."""
    if unseen != "pair":
        return tuple(COLOURS)
    order = sorted(COLOURS, key=lambda colour: _hash(f"{noun} {colour}"))
    held = {"test": order[:_HELD_COLOURS], "val": order[_HELD_COLOURS : 2 * _HELD_COLOURS]}
    return tuple(held.get(split, order[2 * _HELD_COLOURS :]))


def home(noun: str, backgrounds: Sequence[str]) -> int:
    """The number of the background that a noun is tied to where `rho` is above 0."""
    return _hash(f"home of {noun}") % len(backgrounds)
