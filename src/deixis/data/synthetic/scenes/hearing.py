"""What a caption says of a scene: things with their looks and numbers, how they lie to one another, and the background.

The phrases are read by the rules of `deixis.inputs.phrases`; what is added are the sentences that captions of scenes
are made of. Texts of a language model that never learned to speak well are read as far as they can be.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator

from deixis.data.synthetic.scenes.backgrounds import words_for
from deixis.data.synthetic.scenes.config import COLOURS, PATTERNS, SHADES, SIZES
from deixis.data.synthetic.scenes.expressions import RELATIONS
from deixis.data.synthetic.scenes.wording import NUMBERS, article, plural, size_word
from deixis.errors import DeixisError
from deixis.inputs.phrases import NounPhrase, noun_phrases, parse_phrase, singular
from deixis.inputs.sentences import split_sentences

__all__ = ["CaptionContent", "Mention", "heard", "well_formed"]

_GROUNDS = {
    words: f"{pattern} {colour}".strip() if pattern != "photo" else "photo"
    for pattern, colour in itertools.product(PATTERNS, SHADES)
    for words in words_for(f"{pattern} {colour}" if pattern != "photo" else "photo")
}
"""What is said of a background -> its name."""

_GROUND = re.compile(
    r"\s*\bon (" + "|".join(re.escape(words) for words in sorted(_GROUNDS, key=len, reverse=True)) + r")\b", re.I
)
_FRAME = re.compile(r"^\s*(?:(?:a|an|the)\s+)?(?:picture of|image with|scene that shows)\s+", re.I)
_ABOUT = re.compile(r"^\s*(one of the|the) ((?:[\w-]+ )*?[\w-]+) is ((?:[\w-]+)(?: and [\w-]+)?)\b,?(.*)$", re.I)
_SPACED = re.compile(r"\s+([.,])|(?<=\w)\s+(-)\s+(?=\w)")
_AT = re.compile(r"\s+(?:is|are)\s+(?=(?:on|at|in) the (?:left|right|top|bottom|middle)\b)", re.I)
_ONE_OF = re.compile(r"^\s*one of the ([\w-]+)", re.I)
_LOOKS = {**{size_word(size): size for size in SIZES}, **{colour: colour for colour in COLOURS}}


@dataclasses.dataclass(frozen=True)
class Mention:
    """One mention of one or several alike things.

    Attributes:
        noun: what they are, in the singular.
        colour: their tint; empty where nothing is said of it.
        size: `small`, `medium`, `large`, or empty.
        count: how many; 0: an unknown number.
        place: `left`, `top right`, `centre`..., or empty.
    """

    noun: str
    colour: str = ""
    size: str = ""
    count: int = 1
    place: str = ""


@dataclasses.dataclass(frozen=True)
class CaptionContent:
    """What a caption says.

    Attributes:
        mentions: of things, in order; a thing that is spoken of twice is mentioned twice.
        relations: (relation, one mention, another): the first is `left`, `right`, `above` or `below` of the second.
        ground: the background, as in `SceneConfig.backgrounds`; empty where nothing is said of it.
    """

    mentions: tuple[Mention, ...] = ()
    relations: tuple[tuple[str, int, int], ...] = ()
    ground: str = ""


def heard(text: str) -> CaptionContent:
    """What a caption says of a scene.

    Args:
        text: one sentence or several.

    >>> heard("A red circle left of two small stars on a dotted blue background.").ground
    'dots blue'
    """
    mentions: list[Mention] = []
    relations: list[tuple[str, int, int]] = []
    ground = ""
    for sentence in split_sentences(_joined(text)):
        found = _GROUND.search(sentence)
        if found:
            ground = ground or _GROUNDS[found[1].lower()]
            sentence = sentence[: found.start()] + sentence[found.end() :]
        for phrase in _phrases(_plain(sentence)):
            here: NounPhrase | None = phrase
            while here is not None:
                mentions.append(_mention(here))
                if here.anchor is not None and here.relation in RELATIONS:
                    relations.append((here.relation, len(mentions) - 1, len(mentions)))
                here = here.anchor
    return CaptionContent(tuple(mentions), tuple(relations), ground)


def _joined(text: str) -> str:
    """Signs put where they belong, as tokenizers that cut at signs leave spaces around them."""
    return _SPACED.sub(lambda found: found[1] or found[2], text)


def _plain(sentence: str) -> str:
    """Without its frame; `One of the stars is small and red, on the left` as `a small red star on the left`."""
    sentence = _AT.sub(" ", _FRAME.sub("", sentence))
    about = _ABOUT.match(sentence)
    words = about[3].lower().split(" and ") if about else []
    if about is None or not all(word in _LOOKS for word in words):
        return _ONE_OF.sub(lambda found: f"the {singular(found[1])}", sentence)
    noun = singular(about[2]) if about[1].lower() != "the" else about[2]
    return f"the {' '.join(words)} {noun} {about[4]}"


def _phrases(text: str) -> Iterator[NounPhrase]:
    """Those that name something; one that does not takes no other with it."""
    try:
        yield from noun_phrases(text)
        return
    except DeixisError:
        pieces = re.split(r"[.,;]|\band\b", text)
    for piece in pieces:
        try:
            yield parse_phrase(piece)
        except DeixisError:
            continue


def _mention(phrase: NounPhrase) -> Mention:
    rows = [side for side in phrase.sides if side in ("top", "bottom")]
    columns = [side for side in phrase.sides if side in ("left", "right")]
    place = " ".join((*rows[:1], *columns[:1])) or ("centre" if "middle" in phrase.sides else "")
    return Mention(phrase.words, next(iter(phrase.colours), ""), phrase.size, phrase.count, place)


# --- grammar ----------------------------------------------------------------------------------------------------------

_SIZE = "|".join(map(size_word, SIZES))
_COLOUR = "|".join(COLOURS)
_OTHERS = "a an the is are on of at in and there it they than to above below left right higher lower that".split()
_KNOWN = "|".join([*map(size_word, SIZES), *COLOURS, *NUMBERS, *_OTHERS])
_WORD = rf"(?!(?:{_KNOWN})\b)[a-z][\w'-]*"
_NOUN = rf"(?:{_WORD}(?: {_WORD})?|oranges?\b)"
_DESCRIBED = rf"(?:(?:{_SIZE}) )?(?:(?:{_COLOUR}) )?(?:{_NOUN})"
_THINGS = rf"(?:an?|{'|'.join(NUMBERS[1:])}) {_DESCRIBED}"
_HOW = "|".join(words for ways in RELATIONS.values() for words in ways)
_PLACE = r"(?:on the (?:left|right)|at the (?:top|bottom)(?: left| right)?|in the middle)"
_BEHIND = "on (?:" + "|".join(re.escape(words) for words in sorted(_GROUNDS, key=len, reverse=True)) + ")"
_LOOK = rf"(?:{_SIZE}|{_COLOUR})"
_SENTENCES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?:a picture of |an image with |a scene that shows )?"
        rf"(?:{_THINGS}(?:(?:, {_THINGS})* and {_THINGS})?|{_THINGS} (?:{_HOW}) {_THINGS})(?: {_BEHIND})?",
        rf"there (?:is|are) {_THINGS}(?:(?:, {_THINGS})* and {_THINGS})?(?: {_PLACE})?",
        rf"the {_DESCRIBED} is (?:{_PLACE}|(?:{_HOW}) the {_DESCRIBED})",
        rf"one of the {_NOUN} is (?:{_LOOK}(?: and {_LOOK})?(?:, {_PLACE})?|{_PLACE})",
        rf"(?:it is|they are) {_BEHIND}",
    )
)
_COUNTED = re.compile(rf"\b(an?|{'|'.join(NUMBERS[1:])}) ((?:(?:{_SIZE}) )?(?:(?:{_COLOUR}) )?)({_NOUN})\b")


def well_formed(text: str) -> bool:
    """Whether every sentence is one that captions of scenes are made of, with articles and plurals that agree.

    Args:
        text: one sentence or several.

    >>> well_formed("A red circle and two stars."), well_formed("White background there is blue.")
    (True, False)
    """
    sentences = [sentence.lower().rstrip(" .") for sentence in split_sentences(_joined(text))]
    return bool(sentences) and all(map(_is_sentence, sentences))


def _is_sentence(sentence: str) -> bool:
    things = _GROUND.sub("", sentence)
    things = _FRAME.sub("", things)
    return any(each.fullmatch(sentence) for each in _SENTENCES) and all(
        _agrees(found[1], found[2], found[3]) for found in _COUNTED.finditer(things)
    )


def _agrees(number: str, looks: str, noun: str) -> bool:
    if number in ("a", "an"):
        return number == article(looks + noun) and singular(noun) == noun
    return noun == (singular(noun) if number == "one" else plural(singular(noun)))
