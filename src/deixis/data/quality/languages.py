"""Which captions are not English, judged by their letters and their function words; no dictionary, no model.

A text mostly in other letters than Latin ones goes by its script. In Latin letters, the small words that nearly every
sentence holds vote for their language, letters that English lacks count as well, and small words of English vote
against. A caption of a word or two without any of these ("Leuchtturm") can't be distinguished from English, so the
count is a lower bound: of the captions of the Tux Paint stamps, 3 or 4 words long, 44 % of those in the languages below
are recognised, of longer texts 61 %, and of what is in other letters nearly all. Neighbours (Danish and Norwegian,
Spanish and Catalan) are taken for one another at times: the name is a guess, while "not English" hardly ever errs.
"""

from __future__ import annotations

import collections
import functools
import re
import unicodedata

__all__ = ["language"]

OTHER = "another language"

_READ = 1000
_WORD = re.compile(r"(?<![\w.@/'\u2019-])[^\W\d_]+(?:['\u2019`_-][^\W\d_]+)*(?![\w@/]|\.\w)")
_LOUD, _ACCENT, _SOFT = 3, 2, 1
_ENOUGH, _ACCENTS = 3, 2

_ENGLISH = frozenset(
    "the of with and are this that these those from by its their there they it you your his who which while into "
    "behind front next some three to have not or one but if".split()
)

_WORDS: dict[str, tuple[str, str]] = {
    "German": (
        "ein eine einen einem einer eines und das mit auf ist nicht von zur zum für wird werden kein keine konnte sind "
        "oder aus auch bei über ihr ihre sein dieser diese",
        "der die den dem des im zu vor nach wie als er es hat am an in",
    ),
    "French": (
        "une avec dans les qui est aux cette elle deux très être leur leurs vous nous",
        "un la le du et en au par plus ne ce se sont de des sur pas pour",
    ),
    "Spanish": (
        "una unos unas muy también está puede desde hacia sobre pero cuando ninguna",
        "un el la los las de en por que y del se al para su no como con hay",
    ),
    "Portuguese": (
        "uma não são está umas uns pelo pela muito você também foi seu sua ou",
        "um de do da dos das em na no para que os as ao se por com",
    ),
    "Italian": (
        "una della delle degli dei che nella nel gli alla questo questa dello sulla anche può impossibile",
        "un uno il di la le lo da per con non si del al ed in sono",
    ),
    "Catalan": ("amb els unes dels això també aquest aquesta", "un una uns les la de en el per que no es és"),
    "Dutch": (
        "een het voor naar niet zijn deze wordt ook aan bij uit heeft worden",
        "de en met van in te dat is om door er je op kan",
    ),
    "Swedish": ("ett och på för inte som från kunde eller är", "en av med det att den om de kan till"),
    "Danish or Norwegian": (
        "og på ikke som fra eller ei eit et være kunne ikkje",
        "en er af av med det den for de kan til",
    ),
    "Polish": ("jest się nie jako przez oraz dla przy które która który można być lub", "na do od po to"),
    "Czech or Slovak": (
        "je není při nebo lze která který alebo pri nie už sú být byť",
        "na se po do za jako sa ako pro pre aby",
    ),
    "Croatian or Slovenian": ("nije koji koja koje ili nema sa jedan za pri ali lahko kot", "je iz na se da do ni"),
    "Turkish": ("bir için ile değil olarak olan daha çok gibi değer", "ve da de bu yok en"),
    "Indonesian or Malay": (
        "dengan untuk dari sebuah seekor dalam adalah tidak pada sedang dapat",
        "di ke itu ada yang ini atas",
    ),
    "Finnish": ("ja että kun joka mutta ei sekä ovat käytä", "on se ole kuin voi tai"),
    "Hungarian": ("egy és az nem hogy vagy csak", "is ez el van meg"),
    "Romanian": ("și este cu pentru din sau în într sunt", "un o de se ca fi la nu pe"),
    "Vietnamese": ("không một của và có trong với được cái những", "con cho khi là các"),
    "Esperanto": ("kaj estas por kun aŭ kiu", "la de en al ne el"),
}  # fmt: skip

_SCRIPTS = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}


def language(caption: str) -> str:
    """The language or script of a caption that is not English; empty where it is English or can't be determined.

    Args:
        caption: any text; its first 1,000 characters are looked at.

    Returns:
        `German`, `Cyrillic`, `Chinese`...; `another language` where it is surely not English, but no more is sure.
    """
    text = unicodedata.normalize("NFKC", caption[:_READ])
    if text.isascii():
        return _latin(text)
    scripts = collections.Counter(_script(letter) for letter in text if letter.isalpha())
    foreign = {name: count for name, count in scripts.items() if name not in ("LATIN", "MODIFIER", "?")}
    if not foreign or 2 * sum(foreign.values()) < scripts.total():
        return _latin(text)
    if foreign.keys() & {"HIRAGANA", "KATAKANA"}:
        return "Japanese"
    most = max(foreign, key=foreign.__getitem__)
    return _SCRIPTS.get(most, most.capitalize())


@functools.lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    """The first word of a letter's name in Unicode: LATIN, CYRILLIC, CJK."""
    return unicodedata.name(letter, "?").split()[0]


def _latin(text: str) -> str:
    """The language of a text in Latin letters that is not English, or nothing."""
    words = {word.casefold() for word in _WORD.findall(text) if not (word.isupper() and len(word) > 1)}
    votes: collections.Counter[str] = collections.Counter()
    for word in words:
        for name, weight in _votes().get(word, ()):
            votes[name] += weight
    best, most = max(votes.items(), key=lambda item: item[1], default=("", 0))
    accented = sum(not word.replace("\u2019", "").isascii() for word in words)
    against = sum(word in _ENGLISH for word in words)
    spoken = most + _ACCENT * min(accented, _ACCENTS)
    if spoken < _ENOUGH or spoken <= _LOUD * against or (not best and 2 * accented < len(words)):
        return ""
    return best if most >= _ENOUGH else OTHER


@functools.cache
def _votes() -> dict[str, list[tuple[str, int]]]:
    """For each small word, the languages it speaks for and how loud: less where English texts hold it as well."""
    found: dict[str, list[tuple[str, int]]] = collections.defaultdict(list)
    for name, (loud, soft) in _WORDS.items():
        for weight, words in ((_LOUD, loud), (_SOFT, soft)):
            for word in words.split():
                found[word].append((name, min(weight, len(word.encode()))))  # two plain letters may be anything
    return dict(found)
