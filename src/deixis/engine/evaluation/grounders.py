"""Who answers phrases about pictures: a method that grounds them, and what it has to beat: the middle of the picture,
its largest proposal, crops of proposals, and the highest pixel of a map that explains a dual encoder."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.data.loading.crops import Window, visible_window
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.grounding import PhraseAnswer, PhraseQuery
from deixis.engine.evaluation.saliency import PROMPT, SaliencyQueries, build_explainer, explain
from deixis.engine.evaluation.saliency_checks import compared
from deixis.engine.training.batching import preprocess_of, tokenized
from deixis.errors import DeixisError
from deixis.inputs.images import load_image, open_image, shown_size
from deixis.inputs.phrases import parse_phrase
from deixis.inputs.preprocess import Preprocess
from deixis.nn.compute import autocast, batch_size
from deixis.nn.dual import DualEncoder
from deixis.nn.modes import evaluating
from deixis.ops.maps import highest
from deixis.ops.regions.boxes import box_area, nms
from deixis.types import GroundOutput, Picture
from deixis.types.protocols import Proposals

__all__ = ["BOXES", "CONTROLS", "TextRow", "answer_by_method", "control", "run_on_texts"]

CONTROLS = ("middle", "largest", "crops")
"""What is compared with a method beside the maps that explain."""

BOXES = 10
"""Of each phrase: as many as recall is measured with."""

_BATCH, _SAME = 16, 0.5
_MIDDLE = (0.5,) * 4


def answer_by_method(
    method: Any,
    data: EvalSet,
    queries: Sequence[PhraseQuery],
    progress: Callable[[int, int], None],
    boxes: int = BOXES,
) -> list[PhraseAnswer]:
    """What a method that offers `ground` says; each phrase is a sentence of its own.

    Args:
        method: in whose eyes.
        data: the pictures.
        queries: phrases about them.
        progress: receives how many are done.
        boxes: of each phrase at the most.
    """

    def run(pixels: Tensor, tokens: Tensor, real: Tensor, rows: Sequence[TextRow]) -> Iterable[PhraseAnswer]:
        output = method.ground(pixels, tokens, real)
        return _answers(output, [row.window for row in rows], [row.text for row in rows], boxes)

    return run_on_texts(method, data, [(query.picture, query.phrase) for query in queries], run, progress)


class TextRow(NamedTuple):
    """A text about a picture, and which part of the picture is seen."""

    text: str
    window: Window


Found = TypeVar("Found")


def run_on_texts(
    method: Any,
    data: EvalSet,
    pairs: Sequence[tuple[int, str]],
    run: Callable[[Tensor, Tensor, Tensor, Sequence[TextRow]], Iterable[Found]],
    progress: Callable[[int, int], None],
    column: str = "",
) -> list[Found]:
    """What a method says of texts about pictures, each text a sentence of its own.

    Args:
        method: that reads pictures and texts.
        data: the pictures.
        pairs: a picture, by its place, and a text.
        run: calls the method on pictures, tokens and which of them are real; one result a row.
        progress: receives how many are done.
        column: of data in which such texts stand; by default they are read as captions are.
    """
    preprocess, texts = preprocess_of(method), dict.fromkeys(text for _, text in pairs)
    rows = dict(zip(texts, tokenized(method, list(texts), column), strict=True))
    device = next((each.device for each in method.parameters()), torch.device("cpu"))
    of_picture: dict[int, list[int]] = collections.defaultdict(list)
    for place, (picture, _) in enumerate(pairs):
        of_picture[picture].append(place)
    pictures = sorted(of_picture, key=lambda picture: len(of_picture[picture]))  # alike in number, few calls are idle
    found: dict[int, Found] = {}
    with evaluating(method), torch.no_grad(), autocast(device):
        for start in range(0, len(pictures), size := batch_size(_BATCH)):
            some = pictures[start : start + size]
            images, windows = _shown([data.samples[picture].picture for picture in some], preprocess)
            pixels = images.to(device)  # one tensor for all texts: methods remember what they know of it
            for number in range(len(of_picture[some[-1]])):
                places = [of_picture[picture][min(number, len(of_picture[picture]) - 1)] for picture in some]
                shown = [TextRow(pairs[place][1], window) for place, window in zip(places, windows, strict=True)]
                tokens, real = _padded([rows[row.text] for row in shown])
                found.update(zip(places, run(pixels, tokens.to(device), real.to(device), shown), strict=True))
            progress(len(found), len(pairs))
    return [found[place] for place in range(len(pairs))]


def _shown(pictures: Sequence[Picture], preprocess: Preprocess) -> tuple[Float[Tensor, "B 3 H W"], list[Window]]:
    """Pictures as a model sees them, and which part of each that is."""
    images = preprocess.read(pictures, threads=min(os.cpu_count() or 1, 8))
    return images, [visible_window(preprocess, *shown_size(picture)) for picture in pictures]


def _padded(rows: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Token numbers and which of them are real, as wide as the longest."""
    width = max(tokens.shape[1] for tokens, _ in rows)
    tokens, real = zip(*((F.pad(t, (0, width - t.shape[1])), F.pad(m, (0, width - m.shape[1]))) for t, m in rows))  # noqa: B905
    return torch.cat(tokens), torch.cat(real)


def _answers(
    output: GroundOutput, windows: Sequence[Window], phrases: Sequence[str], count: int
) -> Iterator[PhraseAnswer]:
    """Of a batch with one phrase a row; boxes in padding are none."""
    for row, (window, phrase) in enumerate(zip(windows, phrases, strict=True)):
        scores = output.scores[row, 0].float().masked_fill(~output.valid[row], -torch.inf).cpu()
        values, places = scores.sort(descending=True, stable=True)
        places = places[values > -torch.inf]
        boxes = _on_picture(output.boxes[row].float().cpu()[places], window)
        inside = box_area(boxes) > 0
        places, boxes = places[inside], boxes[inside]
        mask = None if output.masks is None or not len(places) else output.masks[row, places[0]].float().cpu() > 0.5
        threshold = None if output.thresholds is None else float(output.thresholds[row, 0])
        given = None if threshold is None else _given(boxes, scores[places], threshold, phrase)
        source = output.sources[row][0] if output.sources else ""
        yield PhraseAnswer(boxes[:count], scores[places][:count], given, threshold or 1.0, source, mask, window)


def _given(boxes: Tensor, scores: Tensor, threshold: float, phrase: str) -> Float[Tensor, "M 4"]:
    """What `deixis ground` answers: the boxes that reach the threshold, one of those that overlap, as many as the
    phrase says."""
    try:
        most = parse_phrase(phrase).count or len(boxes)
    except DeixisError:  # it names nothing
        most = 1
    order = nms(boxes, scores, _SAME)
    return boxes[order[scores[order] >= threshold][:most]]


def _on_picture(boxes: Float[Tensor, "K 4"], window: Window) -> Float[Tensor, "K 4"]:
    """Boxes of what a model sees, in shares of the whole picture."""
    start, extent = boxes.new_tensor(window[:2] * 2), boxes.new_tensor([window.x1 - window.x0, window.y1 - window.y0])
    return (start + boxes * extent.repeat(2)).clamp(0.0, 1.0)


# --- what a method has to beat ----------------------------------------------------------------------------------------


def control(
    name: str, data: EvalSet, queries: Sequence[PhraseQuery], encoder: DualEncoder, proposals: Proposals | None
) -> list[PhraseAnswer]:
    """The answers of something that was not made to ground phrases.

    Args:
        name: one of `CONTROLS`, or a map that explains, by the name of its variant.
        data: the pictures.
        queries: phrases about them.
        encoder: that crops are scored by, and that is explained.
        proposals: regions that may be things.

    Raises:
        DeixisError: there is no such map, or no proposals for what needs them.
    """
    if name == "middle":
        return [PhraseAnswer(torch.tensor([_MIDDLE]), torch.zeros(1)) for _ in queries]
    if name not in CONTROLS:
        return _by_map(name, data, queries, encoder)
    if proposals is None:
        raise DeixisError(f"{name!r} needs proposals.", "Run: deixis data get detector")
    regions = _regions(data, queries, proposals)
    if name == "largest":
        return [_largest(regions[query.picture]) for query in queries]
    return _by_crops(data, queries, encoder, regions)


def _regions(data: EvalSet, queries: Sequence[PhraseQuery], proposals: Proposals) -> Mapping[int, Float[Tensor, "K 4"]]:
    """The proposals of each picture, the likeliest first."""
    pictures, found = sorted({query.picture for query in queries}), {}
    with torch.no_grad():
        for start in range(0, len(pictures), _BATCH):
            some = pictures[start : start + _BATCH]
            images = proposals.preprocess.batch([load_image(data.samples[i].picture) for i in some])
            regions = proposals(images)
            found.update({i: regions.boxes[row][regions.valid[row]] for row, i in enumerate(some)})
    return found


def _largest(boxes: Float[Tensor, "K 4"]) -> PhraseAnswer:
    areas = box_area(boxes)
    order = areas.argsort(descending=True, stable=True)[:BOXES]
    return PhraseAnswer(boxes[order], areas[order])


def _by_crops(
    data: EvalSet, queries: Sequence[PhraseQuery], encoder: DualEncoder, regions: Mapping[int, Float[Tensor, "K 4"]]
) -> list[PhraseAnswer]:
    """The cosine of a phrase with each proposal's crop, read as a picture of its own."""
    crops: dict[int, Tensor] = {}
    with evaluating(encoder), torch.no_grad():
        texts = _texts(encoder, queries)
        for picture, boxes in regions.items():
            image = open_image(data.samples[picture].picture)
            sides = boxes * boxes.new_tensor([image.width, image.height] * 2)
            cut = [image.crop((int(x0), int(y0), int(x1) + 1, int(y1) + 1)) for x0, y0, x1, y1 in sides.tolist()]
            crops[picture] = encoder.encode_image(encoder.read_images(cut)) if cut else texts[:0]
    found = []
    for query, text in zip(queries, texts, strict=True):
        scores, order = (crops[query.picture] @ text).sort(descending=True, stable=True)
        found.append(PhraseAnswer(regions[query.picture][order][:BOXES], scores[:BOXES]))
    return found


def _texts(encoder: DualEncoder, queries: Sequence[PhraseQuery]) -> Float[Tensor, "Q D"]:
    return encoder.encode_text([PROMPT.format(query.phrase) for query in queries])


def _by_map(name: str, data: EvalSet, queries: Sequence[PhraseQuery], encoder: DualEncoder) -> list[PhraseAnswer]:
    """The highest pixel of the phrase's map, as a box of no size; its score is the phrase's with the whole picture."""
    if name not in (known := compared()):
        raise DeixisError(f"There is no map called {name!r}.", f"Compare some of {', '.join((*CONTROLS, *known))}.")
    method, variant = known[name]
    explainer = build_explainer(method, variant.settings, encoder)
    pictures = list(dict.fromkeys(query.picture for query in queries))
    images, windows = _shown([data.samples[picture].picture for picture in pictures], encoder.preprocess)
    with evaluating(encoder), torch.no_grad():
        texts = _texts(encoder, queries)
        whole = torch.cat([encoder.encode_image(part) for part in images.split(_BATCH)])
    place = torch.tensor([pictures.index(query.picture) for query in queries])
    nothing = torch.zeros(len(queries), *images.shape[-2:], dtype=torch.bool)
    asked = SaliencyQueries(
        images,
        tuple(query.phrase for query in queries),
        encoder.scale * texts,
        place,
        torch.arange(len(queries)),
        nothing,
        torch.zeros(len(queries), dtype=torch.bool),
    )
    maps, scores = explain(explainer, asked), (whole[place] * texts).sum(1)
    return [
        PhraseAnswer(_on_picture(_point(each), windows[row]), score[None])
        for each, score, row in zip(maps, scores, place.tolist(), strict=True)
    ]


def _point(values: Float[Tensor, "H W"]) -> Float[Tensor, "1 4"]:
    """The middle of the highest pixel."""
    height, width = values.shape
    x, y = highest(values[None])[0].tolist()
    return torch.tensor([[(x + 0.5) / width, (y + 0.5) / height] * 2])
