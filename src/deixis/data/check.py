"""A look at a source before anything is learned from it: what is broken, doubled, missing, too long or lopsided."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from deixis.data.captions import shown
from deixis.data.duplicates import alike
from deixis.data.verdict import MIN_PAIRS, CheckReport, verdict
from deixis.errors import DeixisError
from deixis.inputs.duplicates import perceptual_hash
from deixis.inputs.images import load_image, picture_hash, probe
from deixis.types.samples import Sample, Skipped, Source, place

__all__ = ["MIN_PAIRS", "CheckReport", "check"]

_THUMBNAIL = 8
_DECODED = 256

Overflow = Callable[[Sequence[str]], Sequence[bool]]


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What one look at an image gave."""

    hash: str = ""
    format: str = ""
    size: tuple[int, int] = (0, 0)
    code: int = 0
    thumbnail: NDArray[np.uint8] | None = None
    skipped: Skipped | None = None


def check(
    source: Source,
    *,
    context_length_overflow: Overflow | None = None,
    progress: Callable[[int, int], None] | None = None,
    threads: int = 2,
) -> CheckReport:
    """Decodes every image of a source once, and reports what is wrong with it.

    Near-duplicates are images whose perceptual hashes differ in at most `NEAR_DUPLICATE_BITS` bits and whose thumbnails
    agree too, since the hashes of blank or nearly blank images agree by themselves; they are linked transitively.

    Args:
        source: what `sources.read` gave.
        context_length_overflow: tells of each caption whether the text tower would cut it; None: not measured.
        progress: called with (images done, images in all).
        threads: decoding threads.
    """
    seen = _look_at_all(source.samples, threads, progress)
    good = [index for index, found in enumerate(seen) if found.skipped is None]
    samples, found = [source.samples[index] for index in good], [seen[index] for index in good]
    hashes = tuple(item.hash for item in found)
    exact, same = _duplicates(found)
    captions, examples = _caption_figures(samples, context_length_overflow)
    for item in reversed(source.skipped):
        examples[f"skipped: {item.reason}"] = shown(f"{item.path}: {item.detail}" if item.detail else item.path, 160)
    labels = dict(collections.Counter(sample.label for sample in samples if sample.label is not None))
    report = CheckReport(
        images=len(source.samples),
        kind=source.kind,
        formats=dict(collections.Counter(item.format for item in found).most_common()),
        sizes=_sizes([item.size for item in found]),
        unreadable=tuple(item.skipped for item in seen if item.skipped is not None),
        skipped=dict(collections.Counter(item.reason for item in source.skipped).most_common()),
        exact=tuple(tuple(samples[index].id for index in group) for group in exact),
        near=tuple(
            tuple(samples[index].id for index in group) for group in same if len({hashes[index] for index in group}) > 1
        ),
        captions=captions,
        examples=examples,
        labels=labels,
        status=0,
        reason="",
        cure="",
        hashes=hashes,
        same=same,
        fingerprint=_fingerprint(samples, hashes),
    )
    status, reason, cure = verdict(report)
    return dataclasses.replace(report, status=status, reason=reason, cure=cure)


def _look_at_all(samples: Sequence[Sample], threads: int, progress: Callable[[int, int], None] | None) -> list[_Seen]:
    seen: list[_Seen] = []
    pool = concurrent.futures.ThreadPoolExecutor(max(1, threads))
    try:
        for found in pool.map(_look_at, samples):
            seen.append(found)
            if progress is not None:
                progress(len(seen), len(samples))
    finally:
        pool.shutdown(cancel_futures=True)
    return seen


def _look_at(sample: Sample) -> _Seen:
    try:
        info = probe(sample.picture)
        image = load_image(sample.picture, smallest=_DECODED)
        digest = picture_hash(sample.picture)
    except DeixisError as error:
        detail = str(error).replace(place(sample.picture), sample.id)
        return _Seen(skipped=Skipped(sample.id, getattr(error, "reason", "can't be decoded"), shown(detail, 300)))
    except (OSError, MemoryError) as error:
        reason = "not enough memory" if isinstance(error, MemoryError) else "can't be read"
        return _Seen(skipped=Skipped(sample.id, reason, shown(str(error), 300)))
    return _Seen(digest, info.format, (info.width, info.height), perceptual_hash(image), _small(image))


def _small(image: UInt8[Tensor, "3 H W"]) -> NDArray[np.uint8]:
    step = max(1, min(image.shape[1:]) // (8 * _THUMBNAIL))
    small = torch.nn.functional.adaptive_avg_pool2d(image[:, ::step, ::step].float(), _THUMBNAIL)
    return small.round().to(torch.uint8).flatten().numpy()


def _sizes(sizes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return (ordered[0], ordered[len(ordered) // 2], ordered[-1]) if ordered else ()


def _fingerprint(samples: Sequence[Sample], hashes: Sequence[str]) -> str:
    rows = sorted(
        json.dumps([digest, sample.label, sample.captions]) for sample, digest in zip(samples, hashes, strict=True)
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


# Duplicates


def _duplicates(found: Sequence[_Seen]) -> tuple[list[list[int]], tuple[tuple[int, ...], ...]]:
    """Index groups with equal bytes, and index groups that are equal or look alike."""
    by_hash: dict[str, list[int]] = collections.defaultdict(list)
    for index, item in enumerate(found):
        by_hash[item.hash].append(index)
    copies = list(by_hash.values())
    first = [found[group[0]] for group in copies]
    codes = np.array([item.code for item in first], dtype=np.uint64)
    thumbnails = np.array([item.thumbnail for item in first], dtype=np.uint8).reshape(len(first), 3 * _THUMBNAIL**2)
    linked: dict[int, list[int]] = collections.defaultdict(list)
    for group, member_of in zip(copies, alike(codes, thumbnails), strict=True):
        linked[int(member_of)] += group
    exact = [group for group in copies if len(group) > 1]
    return exact, tuple(tuple(sorted(group)) for group in linked.values() if len(group) > 1)


# Words


def _caption_figures(
    samples: Sequence[Sample], overflow: Overflow | None
) -> tuple[dict[str, int | None], dict[str, str]]:
    counts = collections.Counter(caption for sample in samples for caption in sample.captions)
    distinct = list(counts)
    missing = [sample.id for sample in samples if not sample.captions]
    wordless = [caption for caption in distinct if not any(character.isalpha() for character in caption)]
    cut = None
    if overflow is not None:
        cut = [text for part in _parts(distinct, 1000) for text, over in zip(part, overflow(part), strict=True) if over]
    repeated, times = counts.most_common(1)[0] if counts else ("", 0)
    examples = {"repeated": f"{times} times: {shown(repeated)}" if times > 1 else ""}
    for name, cases in (("distinct", distinct), ("missing", missing), ("wordless", wordless), ("cut", cut or [])):
        examples[name] = shown(cases[0]) if cases else ""
    figures: dict[str, int | None] = {
        "distinct": len(distinct),
        "missing": len(missing),
        "repeated": sum(counts.values()) - len(distinct),
        "wordless": len(wordless),
        "cut": None if cut is None else len(cut),
    }
    return figures, {name: example for name, example in examples.items() if example}


def _parts(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
