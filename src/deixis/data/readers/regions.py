"""Images with boxes, masks and expressions, gathered from the forms that annotations come in."""

from __future__ import annotations

import collections
import dataclasses
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from deixis.data.readers.captions import NOT_UTF8, Tally, excerpt, is_text
from deixis.data.readers.rows import NOT_TEXT, cell, kind_of
from deixis.errors import DeixisError
from deixis.inputs.opening import MAX_PIXELS
from deixis.types.samples import Mask, Phrase, Picture, Question, Region, Sample, Skipped, Source

__all__ = ["PARTS", "Draft", "Gathering", "key_of", "list_of"]

LARGE = 1e15
"""Beyond this, a number is no place in an image."""

BEYOND = 2.0
"""A fraction of an image beyond which a number is taken for pixels."""

MAX_ANSWER = 100_000
"""Characters of a question or an answer that are retained."""

PARTS = {
    "box is not four numbers": "A bbox is x, y, width, height in pixels; a box is x0, y0, x1, y1 from 0 to 1.",
    "box has no area": "Those boxes were skipped, their images were not.",
    "box is not from 0 to 1": "Divide by the image's width and height, or call it bbox: x, y, width, height in pixels.",
    "box is in another unit": "Boxes of one table are all in pixels, or all from 0 to 1.",
    "image has no width and height": "Boxes in pixels need them: put width and height beside the image's name.",
    "image is of another shape than given": "Its boxes were skipped; width and height are as shown, EXIF applied.",
    "mask can't be read": "The boxes are used without it. A mask is polygons, or run lengths of the image's size.",
    "span outside the caption": "A span is a start and an end in characters of the first caption.",
    "region is not an object": "Each region is an object with a box.",
    "question without words": "A question and its answer are texts.",
}
"""Why a part of a sample was left out, and the cure; the sample itself is there."""

_PHRASES = ("phrases", "phrase", "sentence", "sentences", "expression", "caption")
_OWN = frozenset(
    {*_PHRASES, *"id image_id box bbox category label spans tokens_positive mask segmentation attributes".split()}
)


@dataclasses.dataclass
class Draft:
    """A sample in the making.

    Attributes:
        id: the path of its image.
        image: where it lies, if there is one.
        size: width and height of the image in pixels, where they are given.
        extra: further columns.
        split: `train`, `val`, `test` or empty.
        own: whether its caption has spans, so that nothing else may be put to it.
        captions: cleaned.
        regions: the things in it.
        questions: about it.
        groups: keys of concepts.
        label: its class.
        places: what became of the places between characters of the first caption.
    """

    id: str
    image: Picture | None
    size: tuple[float, float] | None
    extra: Mapping[str, Any]
    split: str = ""
    own: bool = False
    captions: list[str] = dataclasses.field(default_factory=list)
    regions: list[Region] = dataclasses.field(default_factory=list)
    questions: list[Question] = dataclasses.field(default_factory=list)
    groups: tuple[str, ...] = ()
    label: str | None = None
    places: list[int] = dataclasses.field(default_factory=list)


class Gathering:
    """Collects samples from annotations; several entries of one image are put together where that can be done."""

    def __init__(self) -> None:
        self.skipped: list[Skipped] = []
        self.notes: list[str] = []
        self._tally = Tally()
        self._drafts: dict[str, list[Draft]] = collections.defaultdict(list)

    def draft(self, name: str, image: Picture | None, entry: Mapping[str, Any], split: str, own: bool) -> Draft:
        """The sample to which an entry of an image belongs: a new one if the entry has a caption of its `own`, or if
        the image occurs in another split."""
        size = _size(entry)
        for earlier in () if own else self._drafts[name]:
            if not earlier.own and (not split or earlier.split in ("", split)):
                earlier.split, earlier.size = earlier.split or split, earlier.size or size
                earlier.extra = {**entry, **earlier.extra}
                return earlier
        made = Draft(name, image, size, entry, split, own)
        self._drafts[name].append(made)
        return made

    def caption(self, draft: Draft, text: Any) -> None:
        """Adds a caption, if it is one."""
        if not isinstance(text, str) or not is_text(text):
            self.skipped.append(Skipped(draft.id, NOT_UTF8 if isinstance(text, str) else NOT_TEXT, excerpt(repr(text))))
        elif draft.own and not draft.captions:
            clean, draft.places = self._tally.traced(text, draft.id)
            draft.captions += [clean] if clean else []
        else:
            draft.captions += self._tally.clean([text], draft.id)

    def regions(self, draft: Draft, entries: Sequence[Any], categories: Mapping[Any, str]) -> None:
        """Adds things in the image; what is wrong with one is counted. Its caption, if it has spans, comes before."""
        if any(isinstance(each, dict) and "bbox" in each and "box" not in each for each in entries):
            shape = _other_shape(draft)
            if shape:
                self.skipped.append(Skipped(draft.id, "image is of another shape than given", shape))
                return
        retained: dict[int, Region] = {}
        for index, entry in enumerate(entries):
            region = self._region(draft, entry, categories)
            if region is not None:
                retained[index] = region
        place = {old: len(draft.regions) + new for new, old in enumerate(retained)}
        draft.regions += [_moved(region, place) for region in retained.values()]

    def questions(self, draft: Draft, entries: Iterable[Any]) -> None:
        """Adds questions with their answers."""
        for entry in entries:
            fields = entry if isinstance(entry, dict) else {}
            question, answer, kind = (_text(fields.get(key, "")) for key in ("question", "answer", "kind"))
            if not question or answer is None or kind is None:
                self.skipped.append(Skipped(draft.id, "question without words", excerpt(repr(entry))))
                continue
            rests = (index for index in list_of(fields.get("regions")) if type(index) is int)
            rest = tuple(index for index in rests if 0 <= index < len(draft.regions))
            draft.questions.append(Question(question, answer, kind, rest))

    def source(self, path: Path, name: str, layout: str) -> Source:
        """All that was gathered."""
        samples = [
            _settled(draft, number, len(drafts))
            for drafts in self._drafts.values()
            for number, draft in enumerate(drafts, 1)
        ]
        regions = [region for sample in samples for region in sample.regions]
        notes = [*dict.fromkeys(self.notes), *self._tally.notes()]
        if regions:
            classes = collections.Counter(region.category for region in regions if region.category)
            some = ", ".join(excerpt(each, 30) for each, _ in classes.most_common(5))
            more = f" of {len(classes)} categories: {some}{', ...' if len(classes) > 5 else ''}" if classes else ""
            notes.append(f"{len(regions)} boxes in {sum(bool(s.regions) for s in samples)} images{more}.")
        kind = kind_of(samples) if samples else "images"
        return Source(name, path, kind, layout, tuple(samples), tuple(self.skipped), tuple(notes))

    def _region(self, draft: Draft, entry: Any, categories: Mapping[Any, str]) -> Region | None:
        if not isinstance(entry, dict):
            self.skipped.append(Skipped(draft.id, "region is not an object", excerpt(repr(entry))))
            return None
        box = _box(entry, draft.size)
        if isinstance(box, str):
            self.skipped.append(Skipped(draft.id, box, excerpt(repr(entry.get("box", entry.get("bbox"))))))
            return None
        spans, mask = self._spans(draft, entry), None
        try:
            mask = _mask(entry.get("mask") or entry.get("segmentation"), draft.size)
        except (DeixisError, ValueError, TypeError, OverflowError) as error:
            self.skipped.append(Skipped(draft.id, "mask can't be read", excerpt(str(error), 160)))
        category = (
            cell(entry, "category") or cell(entry, "label") or categories.get(key_of(entry.get("category_id")), "")
        )
        further = {key: value for key, value in entry.items() if key not in _OWN}
        own = entry.get("attributes")
        attributes = {**further, **own} if isinstance(own, dict) else further
        return Region(box, category, self._phrases(draft, entry), spans, mask, attributes)

    def _spans(self, draft: Draft, entry: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
        found = []
        for span in list_of(entry.get("spans", entry.get("tokens_positive"))):
            ok = isinstance(span, list | tuple) and len(span) == 2 and all(type(at) is int for at in span)
            start, end = span if ok else (0, 0)
            if 0 <= start < end < len(draft.places) and draft.places[start] < draft.places[end]:
                found.append((draft.places[start], draft.places[end]))
            else:
                self.skipped.append(Skipped(draft.id, "span outside the caption", excerpt(repr(span))))
        return tuple(found)

    def _phrases(self, draft: Draft, entry: Mapping[str, Any]) -> tuple[Phrase, ...]:
        given = next((entry[key] for key in _PHRASES if key in entry), None)
        phrases = []
        for item in [given] if isinstance(given, str | dict) else list_of(given):
            text = item.get("text", item.get("sent", item.get("raw"))) if isinstance(item, dict) else item
            if not isinstance(text, str) or not is_text(text):
                self.skipped.append(Skipped(draft.id, NOT_UTF8 if isinstance(text, str) else NOT_TEXT, "of a region"))
                continue
            relates = list_of(item.get("relates")) if isinstance(item, dict) else []
            rest = tuple(index for index in relates if type(index) is int)
            phrases += [Phrase(words, rest) for words in self._tally.clean([text], draft.id)]
        return tuple(phrases)


def list_of(value: Any) -> Sequence[Any]:
    """A value if it is a list; else none."""
    return value if isinstance(value, list | tuple) else ()


def _settled(draft: Draft, number: int, of: int) -> Sample:
    return Sample(
        id=draft.id if number == 1 else f"{draft.id}#{number}",
        image=draft.image,
        captions=tuple(dict.fromkeys(draft.captions)),
        label=draft.label,
        groups=draft.groups if of == 1 or draft.image is None else (*draft.groups, f"file:{draft.id}"),
        extra=draft.extra,
        split=draft.split,
        regions=tuple(draft.regions),
        questions=tuple(draft.questions),
    )


def _moved(region: Region, place: Mapping[int, int]) -> Region:
    if not any(phrase.relates for phrase in region.phrases):
        return region
    phrases = (
        dataclasses.replace(phrase, relates=tuple(place[index] for index in phrase.relates if index in place))
        for phrase in region.phrases
    )
    return dataclasses.replace(region, phrases=tuple(phrases))


def key_of(value: Any) -> Any:
    """A value by which annotations name an image or a category: a number or a word; None if it is neither."""
    return value if isinstance(value, int | str) else None


def _text(value: Any) -> str | None:
    """The words of a question or an answer, lines and all; None where it isn't text."""
    if not isinstance(value, str) or not is_text(value):
        return None
    return "".join(c for c in value[:MAX_ANSWER] if unicodedata.category(c) != "Cc" or c.isspace()).strip()


def _number(value: Any) -> TypeGuard[int | float]:
    return type(value) in (int, float) and -LARGE < value < LARGE


def _numbers(values: Sequence[Any]) -> bool:
    return set(map(type, values)) <= {int, float} and min(values) > -LARGE and max(values) < LARGE


def _size(entry: Mapping[str, Any]) -> tuple[float, float] | None:
    width, height = entry.get("width"), entry.get("height")
    if not _number(width) or not _number(height) or width <= 0 or height <= 0:
        return None
    return float(width), float(height)


def _box(entry: Mapping[str, Any], size: tuple[float, float] | None) -> tuple[float, float, float, float] | str:
    """A region's box from 0 to 1, or why there is none: its own `box`, or COCO's `bbox`."""
    values = list_of(entry.get("box", entry.get("bbox")))
    if len(values) != 4 or not all(map(_number, values)):
        return "box is not four numbers"
    left, top, right, bottom = map(float, values)
    if "box" not in entry:
        if size is None:
            return "image has no width and height"
        left, top, right, bottom = left / size[0], top / size[1], (left + right) / size[0], (top + bottom) / size[1]
    elif max(map(abs, values)) > BEYOND:
        return "box is not from 0 to 1"
    return (left, top, right, bottom) if right > left and bottom > top else "box has no area"


def _other_shape(draft: Draft) -> str:
    """What an image is and what it is said to be, where no resizing makes one of the other; of its header alone."""
    if draft.size is None or draft.image is None:
        return ""
    from deixis.inputs.images import shown_size  # only those who have boxes in pixels import torch

    try:
        (width, height), (wide, high) = shown_size(draft.image), draft.size
    except DeixisError:  # reported where the image is read
        return ""
    if abs(width * high - height * wide) <= max(width, height) + max(wide, high):  # each side is rounded
        return ""
    return f"{width} x {height}, and {wide:g} x {high:g} is given"


def _mask(value: Any, size: tuple[float, float] | None) -> Mask | None:
    """A mask as polygons or as run lengths, also COCO's packed ones; ValueError where it is neither."""
    if not value:
        return None
    given = value if isinstance(value, dict) else {"polygons": value}
    width, height = _mask_size(given, size)
    outlines, counts = given.get("polygons"), given.get("counts")
    if outlines:
        polygons = [outlines] if _numbers(outlines) else outlines
        if not all(len(p) >= 6 and len(p) % 2 == 0 and _numbers(p) for p in polygons):
            raise ValueError("A polygon takes x and y of three corners or more.")
        return Mask(width, height, polygons=tuple(tuple(map(float, polygon)) for polygon in polygons))
    if isinstance(counts, str):
        from deixis.inputs.masks import run_lengths

        counts = run_lengths(counts)
    runs = tuple(list_of(counts))
    if set(map(type, runs)) != {int} or min(runs) < 0 or sum(runs) != width * height:
        raise ValueError(f"The run lengths are not those of {width} x {height} pixels.")
    return Mask(width, height, counts=runs)


def _mask_size(given: Mapping[str, Any], size: tuple[float, float] | None) -> tuple[int, int]:
    """Width and height of a mask; those of its image, where both are given."""
    height, width = list_of(given.get("size")) or (given.get("height"), given.get("width"))
    own = _size({"width": width, "height": height}) or size
    if own is None or size not in (None, own):
        raise ValueError("The mask is of another size than its image, or of unknown size.")
    if own[0] * own[1] > MAX_PIXELS:
        raise ValueError(f"A mask of {own[0]:,.0f} x {own[1]:,.0f} is larger than any image that is read.")
    return int(own[0]), int(own[1])
