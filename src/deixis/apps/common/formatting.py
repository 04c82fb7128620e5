"""How numbers and measures are put into words: points, signs, ranges, durations, and what each measure means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = [
    "CONTROLS",
    "EN_DASH",
    "MEASURES",
    "METRICS",
    "MINUS",
    "Metric",
    "Number",
    "control_meaning",
    "count",
    "counted",
    "duration",
    "flat",
    "memory",
    "metric",
    "one_line",
    "plain",
    "points",
    "signed",
    "signed_span",
    "spaced",
    "span",
]

Number = int | float
MINUS = "\u2212"
EN_DASH = "\u2013"


class Metric(NamedTuple):
    """A measure as a reader meets it.

    Attributes:
        key: its key in `result.json`.
        group: the heading it stands under.
        short: its name under that heading.
        full: its name where it stands alone.
    """

    key: str
    group: str
    short: str
    full: str


_DIRECTIONS = {
    "image_to_text": ("Picture to words (image to text)", "picture to words"),
    "text_to_image": ("Words to picture (text to image)", "words to picture"),
    "mean": ("Both directions (their mean)", "both directions"),
}
_SHORT = {"r1": "R@1", "r5": "R@5", "r10": "R@10", "mrr": "MRR"}

METRICS: dict[str, Metric] = {
    f"{direction}_{suffix}": Metric(f"{direction}_{suffix}", title, short, f"{short}, {tail}")
    for direction, (title, tail) in _DIRECTIONS.items()
    for suffix, short in _SHORT.items()
} | {
    "accuracy": Metric("accuracy", "Classes", "Accuracy", "Accuracy"),
    "mrr": Metric("mrr", "Classes", "MRR", "MRR of the class"),
}

MEASURES: dict[str, str] = {
    "R@1": "Of 100 searches, in how many the right answer comes first.",
    "R@5": "Of 100 searches, in how many the right answer is among the first five.",
    "R@10": "Of 100 searches, in how many the right answer is among the first ten.",
    "MRR": "Mean reciprocal rank: a search scores 100 if the correct result is first, 50 if it is second, 33 if third, "
    "and so on; this is the mean.",
    "Accuracy": "Of 100 pictures, for how many the class that the model puts first is the right one.",
}

CONTROLS: dict[str, str] = {
    "shuffled captions": "The captions were shuffled at random: there is nothing to learn, so a gain here would mean "
    "that the measurement itself is wrong.",
    "mean shift": "Pictures and texts were only moved to a common centre: shows the gain without learning "
    "anything about these pictures.",
    "naive recipe": "The same adapter, trained long and without selection: shows what selection on validation "
    "data prevents.",
    "ridge": "A linear map in closed form, from picture features to text: shows what the simplest fit to the same "
    "pairs would do.",
}


def metric(key: str) -> Metric:
    """The measure behind a key; a key that is not known gets a name made from itself."""
    name = spaced(key)
    return METRICS.get(key) or Metric(key, "Other measures", name, name)


def spaced(key: str) -> str:
    """A key as words: `near_duplicates` becomes `near duplicates`."""
    return key.replace("_", " ").strip()


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted names, those inside of others too; empty ones are left out."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{name}": each for name, each in flat(value).items()}
        elif value not in (None, "", (), []):
            found[key] = value
    return found


def control_meaning(name: str) -> str:
    """What a control proves, in one line."""
    words = spaced(name).lower().replace("-", " ")
    found = next((text for key, text in CONTROLS.items() if key.split()[0] in words), "")
    return found or "Another way to the same end, under the same splits: the gain should be weighed against it."


def points(share: Number, digits: int = 1) -> str:
    """A share in 0..1 as points, with one decimal by default: 0.592 becomes `59.2`."""
    text = f"{100 * share:.{digits}f}"
    return text.replace("-", "" if float(text) == 0 else MINUS)


def signed(share: Number, digits: int = 1) -> str:
    """A difference of shares as points with its sign: `+8.8`, `−1.2`, `0.0`."""
    text = points(share, digits)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def span(low: Number, high: Number) -> str:
    """An interval of shares as points: `55.1–63.0`."""
    return f"{points(low)}{EN_DASH}{points(high)}"


def signed_span(low: Number, high: Number) -> str:
    """An interval of differences as points; `to` stands between, since a dash beside a minus misleads."""
    return f"{signed(low)} to {signed(high)}"


def count(number: Number) -> str:
    """A number with commas between thousands; fractions keep up to four digits."""
    text = f"{number:,}" if isinstance(number, int) else f"{number:,.4g}"
    return text.replace("-", MINUS) if "e" not in text else text


def counted(number: Number, noun: str) -> str:
    """A number of things.

    >>> counted(1, "image"), counted(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{count(number)} {noun}{'s' * (number != 1)}"


def one_line(text: str) -> str:
    """A name as one line, each line break or tab in it as an arrow, as on the page of `serve`."""
    return re.sub(r"[\n\r\t]", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", text)


def duration(seconds: Number) -> str:
    """Seconds in words: `0.4 s`, `38 s`, `3 min 42 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def memory(megabytes: Number) -> str:
    """Megabytes in words: `512 MB`, `1.3 GB`."""
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"


def plain(value: Any) -> str:
    """Any value of a result as a reader would write it."""
    if value is None:
        return EN_DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return count(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{spaced(str(key))} {plain(item)}" for key, item in value.items()) or EN_DASH
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or EN_DASH
    return str(value)
