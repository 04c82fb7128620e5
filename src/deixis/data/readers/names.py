"""What file names say: captions where the user requests it, and which images belong together."""

from __future__ import annotations

import collections
import dataclasses
import functools
import posixpath
import re
from collections.abc import Sequence

from deixis.types.samples import Sample

__all__ = ["MAX_GROUP", "caption_of", "guess_groups", "prefix_of", "split_of", "split_of_file"]

MAX_GROUP = 12
"""Images that may share a name prefix and still be taken for views of one thing."""

MAX_SHARE = 0.9
"""Share of all images from which a common prefix says nothing."""

_MACHINE_MADE = frozenset(
    "cimg coco dcim dji download dsc dscf dsci dscm dscn fb fbimg fig figure file frame gopr hpim image images img "
    "imgp item kif mvimg p page pano photo photos pic pict picture pictures pxl received sam sample scan screen "
    "screenshot signal slide snap snapchat snapshot stp telegram temp tmp unnamed unsplash untitled vid vlcsnap "
    "wechat whatsapp wp".split()
)
"""First words of names that cameras, phones and programs give; they say nothing about the content."""

_SUFFIX = re.compile(r"^(.*?)(?:[\s_\-.]*\(?\d+\)?|[\s_\-.]+\(?[A-Za-z]\)?)$", re.DOTALL)


_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "testa", "testb"), "test"),
}


def split_of(word: str) -> str:
    """`train`, `val` or `test` for a word that means one of them, such as `validation` or `train2017`; else empty."""
    return _SPLITS.get(word.strip().casefold().rstrip("0123456789_-"), "")


def split_of_file(stem: str) -> str:
    """The split that the name of a shard or a table says: the first or last word of `train-00000-of-00010` or
    `cc3m-validation-0042`, numbers left aside; else empty."""
    words = [word for word in re.split(r"[\W_]+", stem) if word and word != "of" and not word.isdigit()]
    return next(filter(None, map(split_of, [*words[:1], *words[-1:]])), "")


def _letters(text: str) -> int:
    return sum(character.isalpha() for character in text)


def _machine_made(stem: str) -> bool:
    first = re.match(r"[^\W\d_]*", stem)
    return first is not None and first.group().casefold() in _MACHINE_MADE


def prefix_of(stem: str) -> str | None:
    """The part of a file name before a number or a single letter at its end: `mug-blue` of `mug-blue_2`; None where
    there is no such ending, fewer than three letters before it, or a camera's name."""
    match = _SUFFIX.match(stem)
    prefix = match.group(1).rstrip(" _-.(") if match else ""
    return prefix if _letters(prefix) >= 3 and not _machine_made(prefix) else None


def caption_of(stem: str) -> str:
    """A file name as words, without a trailing number: `red bird` of `red-bird_02`; empty for a camera's name."""
    if _machine_made(stem) and not re.search(r"[^\W\d_]{3,}", re.sub(r"^[^\W\d_]*", "", stem)):
        return ""
    words = re.sub(r"[\s_\-.+]+", " ", stem).strip()
    shorter = re.sub(r"(?:\s*\(?\d+\)?)+$", "", words).strip()
    words = shorter if _letters(shorter) >= 3 else words
    return words if _letters(words) >= 2 else ""


def _by_prefix(samples: Sequence[Sample]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = collections.defaultdict(list)
    bare: dict[str, list[int]] = collections.defaultdict(list)
    for index, sample in enumerate(samples):
        folder, name = posixpath.split(sample.id)
        stem = name[:dot] if 0 < (dot := name.rfind(".")) < len(name) - 1 else name
        prefix = prefix_of(stem)
        if prefix is None:
            bare[posixpath.join(folder, stem)].append(index)
        elif sample.label is None or _plain(prefix) != _plain(sample.label):
            groups[posixpath.join(folder, prefix)].append(index)
    for key in groups.keys() & bare.keys():
        groups[key] += bare[key]
    return groups


@functools.lru_cache(1024)
def _plain(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def guess_groups(samples: Sequence[Sample]) -> tuple[tuple[Sample, ...], str]:
    """Groups images whose names share a prefix before a number or letter: `mug-blue_1.jpg`, `mug-blue_2.jpg`.

    A prefix is believed if 2 to `MAX_GROUP` images in one folder share it, and fewer than 90 % of all images, and if
    it isn't a camera's (`IMG_0001`) or simply the class. Too many small groups cost little; a group torn apart would
    put one thing on both sides of a split.

    Args:
        samples: without groups.

    Returns:
        The samples with groups where they were found, and a remark for the user; empty where nothing was found.
    """
    whole = collections.Counter(sample.label for sample in samples if sample.label is not None)
    believed = {}
    for prefix, members in sorted(_by_prefix(samples).items()):
        labels = {samples[index].label for index in members}
        label = labels.pop() if len(labels) == 1 else None
        is_class = label is not None and whole[label] == len(members)
        if 2 <= len(members) <= MAX_GROUP and len(members) < MAX_SHARE * len(samples) and not is_class:
            believed[prefix] = sorted(members)
    if not believed:
        return tuple(samples), ""
    grouped = list(samples)
    for prefix, members in believed.items():
        for index in members:
            grouped[index] = dataclasses.replace(samples[index], groups=(f"name:{prefix}",))
    first = next(iter(believed.values()))
    names = ", ".join(samples[index].id for index in first[:2])
    images = sum(map(len, believed.values()))
    count = f"{len(believed)} groups" if len(believed) > 1 else "One group"
    return tuple(grouped), (
        f"{count} ({images} images that seem to show the same things) guessed from name prefixes such as {names}; "
        "a table with a group column (--group COLUMN) overrides the guess."
    )
