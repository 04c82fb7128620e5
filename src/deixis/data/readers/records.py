"""A sample as JSON can hold it, and back: what a shard knows of an image beyond its pixels."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Mapping
from typing import Any

from deixis.data.readers.captions import MAX_CAPTION, Tally, is_text
from deixis.inputs.opening import MAX_PIXELS
from deixis.types.samples import Mask, Member, Phrase, Question, Region, Sample

__all__ = ["VERSION", "from_record", "plain_sample", "to_record"]

VERSION = 1
"""Of the form, as it stands under `deixis` in a record."""

_PLAIN = {"deixis", "id", "image", "captions", "label", "groups", "split", "extra"}
_NOTHING: dict[str, Any] = {}  # one for all samples
_NONE: list[str] = []
_LARGE = 1e300
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")


# To JSON


def to_record(sample: Sample, image: str | None) -> dict[str, Any]:
    """A sample without its image and without files among its `extra`; what is empty is left out.

    What JSON has no form for becomes text, and what is not a number becomes null.

    Args:
        sample: any.
        image: the field under which the shard holds the image, such as `jpg`; None: words alone.
    """
    extra = {name: value for name, value in sample.extra.items() if not isinstance(value, Member)}
    record = {
        "deixis": VERSION,
        "id": sample.id,
        "image": image,
        "captions": list(sample.captions),
        "label": sample.label,
        "groups": list(sample.groups),
        "split": sample.split,
        "extra": _plain(extra),
        "regions": [_of_region(region) for region in sample.regions],
        "questions": [_full(dataclasses.asdict(question)) for question in sample.questions],
    }
    empty = {"image": (), "label": (None,)}
    return {name: value for name, value in record.items() if value not in empty.get(name, (None, "", [], {}))}


def _of_region(region: Region) -> dict[str, Any]:
    return _full(
        {
            "box": region.box,
            "category": region.category,
            "phrases": [_full(dataclasses.asdict(phrase)) for phrase in region.phrases],
            "spans": region.spans,
            "mask": None if region.mask is None else _full(dataclasses.asdict(region.mask)),
            "attributes": _plain(region.attributes),
        }
    )


def _full(value: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(each) for name, each in value.items() if each not in (None, "", (), [], {})}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return _plain(value.item()) if type(value).__module__ == "numpy" and value.ndim == 0 else str(value)


# And back


def from_record(record: Mapping[str, Any], tally: Tally) -> Sample:
    """The sample of a record, without its image. Captions are left as they are, unless they hold control characters or
    are too long; the places of words in such a one are dropped.

    Raises:
        ValueError: the record has not the form; the message says where.
    """
    if record.get("deixis") != VERSION:
        raise ValueError(f"form {record.get('deixis')!r}, and {VERSION} is understood")
    raw = _list(record, "captions", _text)
    own = _text(record["id"]) if "id" in record else ""
    captions = tuple(_bounded(text, tally, own) for text in raw)
    regions = _list(record, "regions", _region)
    if captions[:1] != raw[:1]:
        regions = tuple(dataclasses.replace(region, spans=()) for region in regions)
    questions = _list(record, "questions", _question)
    known = range(len(regions))
    for of in [phrase.relates for region in regions for phrase in region.phrases] + [q.regions for q in questions]:
        if any(index not in known for index in of):
            raise ValueError(f"a region {max(of)} of {len(regions)}")
    return Sample(
        id=own,
        image=None,
        captions=captions,
        label=_text(record["label"]) if "label" in record else None,
        groups=_list(record, "groups", _text),
        extra=_mapping(record, "extra"),
        split=_text(record.get("split", "")),
        regions=regions,
        questions=questions,
    )


def plain_sample(record: Mapping[str, Any], shard: str, name: str, image: Member | None, split: str) -> Sample | None:
    """The sample of a record without regions and questions, made in a fifth of the time; None where anything is out of
    the common, of which `from_record` says what it is.

    Args:
        record: as JSON holds it.
        shard: what the id begins with.
        name: the id where the record has none.
        image: the file.
        split: where the record names none.
    """
    if not record.keys() <= _PLAIN or record.get("deixis") != VERSION:
        return None
    own, label, told = record.get("id", ""), record.get("label", ""), record.get("split", "")
    if type(own) is not str or type(label) is not str or type(told) is not str:
        return None
    captions, groups, extra = record.get("captions", _NONE), record.get("groups", _NONE), record.get("extra", _NOTHING)
    if type(captions) is not list or type(groups) is not list or type(extra) is not dict:
        return None
    for text in captions:  # a plain loop: with two generators in its place a sample takes a third longer
        if type(text) is not str or len(text) > MAX_CAPTION or _CONTROL.search(text):
            return None
    if groups and {*map(type, groups)} != {str}:
        return None
    return Sample(
        f"{shard}/{own}" if own else name,
        image,
        tuple(captions),
        sys.intern(label) if "label" in record else None,  # of a million samples, few have another
        tuple(map(sys.intern, groups)) if groups else (),
        extra,
        sys.intern(told or split),
    )


def _bounded(text: str, tally: Tally, of: str) -> str:
    if len(text) <= MAX_CAPTION and not _CONTROL.search(text):
        return text
    return next(iter(tally.clean([text], of)), "")


def _list(record: Mapping[str, Any], name: str, read: Any) -> tuple[Any, ...]:
    values = record.get(name, [])
    if not isinstance(values, list):
        raise ValueError(f"{name!r} is no list")
    return tuple(read(value) for value in values)


def _mapping(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = record.get(name, {})
    if not isinstance(value, dict):
        raise ValueError(f"{name!r} is no object")
    return value


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.40} is no object")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not is_text(value):
        raise ValueError(f"{value!r:.40} is no text")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not -_LARGE < value < _LARGE:
        raise ValueError(f"{value!r:.40} is no number")
    return float(value)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r:.40} is no count")
    return value


def _numbers(value: Any, count: int | None = None) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != (len(value) if count is None else count):
        raise ValueError(f"{value!r:.40} is no list of {count or ''} numbers")
    return tuple(map(_number, value))


def _span(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{value!r:.40} is no span")
    return _count(value[0]), _count(value[1])


def _region(value: Any) -> Region:
    region = _object(value)
    left, top, right, bottom = _numbers(region.get("box"), 4)
    return Region(
        box=(left, top, right, bottom),
        category=_text(region.get("category", "")),
        phrases=_list(region, "phrases", _phrase),
        spans=_list(region, "spans", _span),
        mask=_mask(region["mask"]) if "mask" in region else None,
        attributes=_mapping(region, "attributes"),
    )


def _phrase(value: Any) -> Phrase:
    phrase = _object(value)
    return Phrase(_text(phrase.get("text", "")), _list(phrase, "relates", _count))


def _mask(value: Any) -> Mask:
    mask = _object(value)
    polygons, counts = _list(mask, "polygons", _numbers), _list(mask, "counts", _count)
    width, height = _count(mask.get("width", 0)), _count(mask.get("height", 0))
    if width * height > MAX_PIXELS:
        raise ValueError(f"a mask of {width:,} x {height:,} is no mask of any image that is read")
    return Mask(width, height, polygons, counts)


def _question(value: Any) -> Question:
    question = _object(value)
    words, answer, kind = (_text(question.get(name, "")) for name in ("question", "answer", "kind"))
    return Question(words, answer, kind, _list(question, "regions", _count))
