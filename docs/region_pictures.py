"""Draws what runs say of regions, right and wrong: which one an expression means and by what context, which one each
word means, and the pixels that an answer rests on. For your eyes; nothing of it is committed.

    python -m docs.region_pictures expressions DATA sheet.png RUN     24 expressions, with the weights of the context
    python -m docs.region_pictures words DATA sheet.png RUN           24 captions, with a table of words and boxes
    python -m docs.region_pictures answers DATA sheet.png RUN         24 questions, with the pixels of the answer

What is meant is framed in yellow; what a run says in green where it is right and in red where it is wrong; the context
of an expression in blue, the broader the more it weighs (of methods that have one, such as variational_context).
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from deixis.apps.common.dataset import read
from deixis.apps.explain.word_regions import align_words
from deixis.apps.ground.ground import ground
from deixis.apps.predict.capable import open_method
from deixis.data.grounding import answer_masks
from deixis.data.loading.crops import WHOLE, region_mask
from deixis.engine.evaluation.grounding import phrase_queries
from deixis.engine.evaluation.protocols.word_region import right_regions
from deixis.engine.features.region_pairs import RegionPairs
from deixis.engine.training.stages import name_of
from deixis.errors import DeixisError
from deixis.ops.regions.dense import mask_iou
from deixis.types import Detections, Region, Sample, Source
from docs.pictures import GAP, LINE, label_font, open_picture, write_sheet

__all__ = ["LookedAt", "answers", "expressions", "main", "right_and_wrong", "sheet", "words"]

SHOWN, TRIED, COLUMNS, SIDE, LINES, LETTERS = 24, 96, 4, 260, 22, 46
MEANT, RIGHT, WRONG, CONTEXT = "gold", "green", "red", "royalblue"
_HEAVY, _EXACT = 0.05, 0.5
_ARTICLES = ("a", "an", "the")


Frame = tuple[Sequence[float], str, int]
"""A box, its colour and its breadth."""


class LookedAt(NamedTuple):
    """One picture of a sheet: what is drawn, what stands below, and whether it is right."""

    picture: Image.Image
    lines: tuple[str, ...]
    right: bool


def expressions(source: Source, method: Any) -> Iterator[LookedAt]:
    """Of each expression the region chosen, what its context is, and the words that tell each.

    Args:
        source: samples whose regions have phrases.
        method: that offers `refer`.
    """
    pairs = RegionPairs(method)
    queries = _spread([each for each in phrase_queries(source.samples) if each.regions])
    for query in queries:
        sample = source.samples[query.picture]
        [batch] = pairs.batches([sample.picture], [query.phrase])
        terms = method.terms(batch) if hasattr(method, "terms") else None
        boxes = pairs.boxes(batch)[0].float()
        best = int(method.refer(batch)[0].argmax())
        right = bool(right_regions(boxes, query.regions)[best])
        weights = torch.zeros(len(boxes)) if terms is None else terms.posterior[0, best].float()
        frames: list[Frame] = [
            (boxes[n].tolist(), CONTEXT, 1 + round(6 * float(weights[n]))) for n in _heaviest(weights)
        ]
        frames += _frames(query.regions)
        frames += [(boxes[best].tolist(), RIGHT if right else WRONG, 2)]
        lines = [query.phrase, *(f"context {float(weights[n]):.0%}: {_place(boxes[n])}" for n in _heaviest(weights))]
        if terms is not None:
            lines += _cues(pairs, query.phrase, batch.valid["L"].shape[-1], terms.words[0])
        yield LookedAt(_framed(sample, frames), tuple(lines), right)


def _heaviest(weights: Float[Tensor, " T"], count: int = 3) -> list[int]:
    """The regions of most weight, those of hardly any left out."""
    order = weights.argsort(descending=True)[:count].tolist()
    return [each for each in order if float(weights[each]) >= _HEAVY]


def _cues(pairs: RegionPairs, text: str, length: int, weights: Float[Tensor, "K L"]) -> list[str]:
    """The words that tell each of the five cues most."""
    lines, places = [], pairs.tokenizer.words(text, length)
    for name, row in zip(("context", "its place", "thing", "its place", "alone"), weights, strict=True):
        shares = sorted(((float(row[first:last].sum()), text[a:b]) for a, b, first, last in places), reverse=True)
        lines.append(f"{name}: " + ", ".join(f"{word} {share:.0%}" for share, word in shares[:2]))
    return lines


def words(source: Source, method: Any) -> Iterator[LookedAt]:
    """Of each caption the region of each word; right where all words for things, articles apart, mean these.

    Args:
        source: samples whose regions have spans in the first caption.
        method: that offers `align`.
    """
    for sample in _spread([each for each in source.samples if any(region.spans for region in each.regions)]):
        caption, rights, at = sample.captions[0], list[bool](), 0
        lines, frames = [caption], _frames(region for region in sample.regions if region.spans)
        for each in align_words(method, sample.picture, [caption])[0]:
            at = caption.index(each.word, at)
            named = [r for r in sample.regions if any(a < at + len(each.word) and at < b for a, b in r.spans)]
            mark = ""
            if named and each.word.lower() not in _ARTICLES:
                rights.append(bool(right_regions(torch.tensor([each.box]), named).any()))
                mark = "right" if rights[-1] else "wrong"
                frames.append((each.box, RIGHT if rights[-1] else WRONG, 2))
            lines.append(f"{each.word}  {each.score:.2f}  {each.share:.0%}  {each.region + 1}/{each.regions}  {mark}")
            at += len(each.word)
        yield LookedAt(_framed(sample, frames), tuple(lines), all(rights))


def answers(source: Source, method: Any) -> Iterator[LookedAt]:
    """Of each question the pixels that the answer rests on; right from an IoU of 0.5 on.

    Args:
        source: samples with questions.
        method: that offers `answer_mask`.
    """
    for sample in _spread(answer_masks(source).samples):
        found = ground(sample.picture, sample.captions[0], model=method, best=True)
        assert isinstance(found, Detections)
        picture = open_picture(sample.picture)
        expected = _joined(sample.regions, picture.size)
        shown = torch.zeros_like(expected) if found.masks is None else found.masks.any(0)
        share = float(mask_iou(shown[None], expected[None])[0])
        tint = Image.new("RGB", picture.size, RIGHT if share >= _EXACT else WRONG)
        picture.paste(tint, mask=Image.fromarray((shown * 130).byte().numpy()))
        told = f"answer: {sample.extra['answer']} ({sample.extra['kind']})"
        frames = _frames(sample.regions)
        lines = (sample.captions[0], told, f"IoU {share:.2f}")
        yield LookedAt(_framed(picture, frames), lines, share >= _EXACT)


def _frames(regions: Iterable[Region]) -> list[Frame]:
    """Of what is meant."""
    return [(region.box, MEANT, 3) for region in regions]


def _joined(regions: Sequence[Region], size: tuple[int, int]) -> Bool[Tensor, "H W"]:
    found = torch.zeros(size[1], size[0], dtype=torch.bool)
    for region in regions:
        found |= region_mask(region, WHOLE, size[::-1])
    return found


# ---- sheets


def right_and_wrong(found: Sequence[LookedAt], count: int = SHOWN) -> list[LookedAt]:
    """As many that are right as that are wrong, as far as there are; the right ones first.

    Args:
        found: from which they are taken, in order.
        count: of them at the most.
    """
    right, wrong = ([each for each in found if each.right == kind] for kind in (True, False))
    good = right[: max(count // 2, count - len(wrong))]
    return good + wrong[: count - len(good)]


def sheet(found: Sequence[LookedAt]) -> Image.Image:
    """Pictures in rows of four, lines of text below each; long lines are broken."""
    texts = [[part for line in each.lines for part in textwrap.wrap(line, LETTERS)][:LINES] for each in found]
    width, height = SIDE + GAP, SIDE + max(map(len, texts), default=0) * LINE + GAP
    rows = -(-len(found) // COLUMNS)
    drawn = Image.new("RGB", (COLUMNS * width + GAP, max(1, rows) * height + GAP), "white")
    for number, (each, lines) in enumerate(zip(found, texts, strict=True)):
        x, y = GAP + number % COLUMNS * width, GAP + number // COLUMNS * height
        drawn.paste(each.picture, (x, y))
        for line, text in enumerate(lines):
            place = (x, y + each.picture.height + line * LINE)
            ImageDraw.Draw(drawn).text(place, text, fill="black", font=label_font())
    return drawn


def _framed(shown: Sample | Image.Image, frames: Sequence[Frame]) -> Image.Image:
    """A picture at the size of the sheet, with boxes."""
    image = shown if isinstance(shown, Image.Image) else open_picture(shown.picture)
    image = ImageOps.contain(image.convert("RGB"), (SIDE, SIDE))
    draw = ImageDraw.Draw(image)
    for box, ink, breadth in frames:
        xs = sorted(each * (image.width - 1) for each in box[::2])
        ys = sorted(each * (image.height - 1) for each in box[1::2])
        draw.rectangle((xs[0], ys[0], xs[1], ys[1]), outline=ink, width=breadth)
    return image


def _place(box: Float[Tensor, " 4"]) -> str:
    x, y = ((box[:2] + box[2:]) / 2).tolist()
    return f"at {x:.2f} {y:.2f}"


def _spread(each: Sequence[Any], count: int = TRIED) -> list[Any]:
    """Some from all over."""
    return [each[number * len(each) // count] for number in range(count)] if len(each) > count else list(each)


KINDS: dict[str, tuple[str, Callable[[Source, Any], Iterator[LookedAt]]]] = {
    "expressions": ("refer", expressions),
    "words": ("align", words),
    "answers": ("answer_mask", answers),
}


def main(arguments: Sequence[str]) -> None:
    """Writes the requested sheet."""
    if len(arguments) != 4 or arguments[0] not in KINDS:
        raise DeixisError("No sheet is named.", f"Write {' or '.join(KINDS)}, DATA, sheet.png and RUN.")
    capability, look = KINDS[arguments[0]]
    method = open_method(arguments[3], capability)
    with torch.no_grad():
        found = list(look(read(arguments[1]), method))
    if not found:
        raise DeixisError(f"{arguments[1]} has nothing to show {name_of(method)}.", "Give other data: set:scenes/test.")
    print(f"{sum(each.right for each in found)} of {len(found)} are right; {min(SHOWN, len(found))} are shown")
    write_sheet(Path(arguments[2]), sheet(right_and_wrong(found)))


if __name__ == "__main__":
    main(sys.argv[1:])
