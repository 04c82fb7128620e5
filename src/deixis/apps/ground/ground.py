"""Locates in pictures what phrases name, by a method that offers `ground`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.apps.common.options import ComputeSettings, Reading
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.ground.answer_masks import ANSWERS, answers_with
from deixis.apps.ground.own_boxes import OwnBoxes, read_boxes
from deixis.apps.ground.settings import GroundSettings
from deixis.apps.predict.capable import Model, open_or_default
from deixis.apps.predict.known_words import require_known_words
from deixis.apps.predict.pictures import BatchPredictor, PictureView, predict, with_names
from deixis.apps.predict.settings import PredictOutput
from deixis.apps.predict.writing import predict_with
from deixis.data.loading.crops import Window, on_picture
from deixis.engine.training.batching import phrase_spans, tokenized
from deixis.engine.training.stages import card_of
from deixis.errors import DeixisError
from deixis.inputs.images import is_single
from deixis.inputs.phrases import NounPhrase, noun_phrases_of
from deixis.nn.compute import current
from deixis.ops.regions.boxes import nms
from deixis.types import Detections, GroundOutput
from deixis.types.detections import MissingPhrase

__all__ = ["ground", "ground_data", "ground_with", "locate_with"]

_SAME = 0.5
"""IoU from which two boxes of a phrase are one thing."""

_FURTHER = 1 / 3
"""Of the threshold, what the further things of a number need once one is found."""

_BESIDE = ("-grounded.png", "-grounded.json")


@takes_settings(compute=ComputeSettings)
def ground(
    images: Any, phrases: str | Sequence[str], *, model: Model = "", count: int = 0, best: bool = False
) -> Detections | list[Detections]:
    """Locates what phrases name.

        out = deixis.ground("photo.jpg", "the red car on the left")
        out.boxes, out.scores, out.missing

    Args:
        images: one or several paths, Pillow images or arrays [H, W, 3].
        phrases: a text, whose noun phrases are located ("a cat and two dogs"), or several.
        model: the folder of a run whose method offers `ground`, or such a method; by default the detector and the
            starter. With one that offers `answer_mask`, phrases are questions, and masks show what the answers rest on.
        count: boxes a phrase at the most; 0: what the phrase says ("a dog": the best, "two dogs": two, "dogs": all).
        best: whether the nearest box is given also where nothing is found.

    Returns:
        `Detections` of one picture; a list of them of a list of pictures.

    Raises:
        DeixisError: there is no detector (the message says how to get it), the model does not offer this, a phrase
            names nothing, or a picture can't be read.
    """
    several = [phrases] if isinstance(phrases, str) else list(phrases)
    method = open_or_default(model, "ground", (ANSWERS,))
    found: list[Detections] = list(predict(method, with_names(images), locate_with(method, several, count, best)))
    return found[0] if is_single(images) else found


def ground_data(
    data: str, phrases: Sequence[str], settings: GroundSettings, output: PredictOutput, reading: Reading
) -> None:
    """Locates phrases in the pictures of DATA, and prints or writes the boxes.

    Raises:
        DeixisError: as `ground`, or the output can't be written.
    """
    with settings.active():
        method = open_or_default(settings.model, "ground", (ANSWERS,))
        boxes = read_boxes(settings.boxes, method) if settings.boxes else None
        run = locate_with(method, phrases, settings.count, settings.best, boxes)
        predict_with(method, data, run, output, reading, beside=_BESIDE)


def locate_with(
    method: Any, phrases: Sequence[str], count: int = 0, best: bool = False, boxes: OwnBoxes | None = None
) -> BatchPredictor:
    """Calls a method that locates phrases, or one that shows where the answers to questions lie.

    Args:
        method: of either kind.
        phrases: or questions.
        count: as of `ground_with`.
        best: as of `ground_with`.
        boxes: as of `ground_with`; a method that shows where answers lie takes none.

    Raises:
        DeixisError: as `ground_with` and `answers_with`; or no word is one that the method knows.
    """
    grounds = "ground" in card_of(method).capabilities
    if grounds:
        noun_phrases_of(phrases)  # what is too long is refused before it is split into tokens, which takes a second
    require_known_words(method, phrases)
    return ground_with(method, phrases, count, best, boxes) if grounds else answers_with(method, phrases, best)


def ground_with(
    method: Any, phrases: Sequence[str], count: int = 0, best: bool = False, boxes: OwnBoxes | None = None
) -> BatchPredictor:
    """Calls the method, batch by batch, with each text and the noun phrases in it.

    Args:
        method: that locates.
        phrases: texts.
        count: boxes a phrase at the most; 0: what the phrase says.
        best: whether the nearest box is given also where nothing is found.
        boxes: of the pictures, among which the method chooses; by default it proposes them.

    Raises:
        DeixisError: there is no phrase, an empty one, one that names nothing, or fewer than 0 boxes are wanted.
    """
    if count < 0:
        raise DeixisError(f"{count} boxes per phrase are requested.", "Give 1 or more, or 0 for what the phrase says.")
    requests, text = noun_phrases_of(phrases), ", ".join(phrases)
    rows = tokenized(method, phrases)
    spans = [
        phrase_spans(method, each, [(n.start, n.stop) for n in nouns]) if len(nouns) > 1 else None
        for each, nouns in zip(phrases, requests, strict=True)
    ]
    starts = [sum(len(each) + 2 for each in phrases[:number]) for number in range(len(phrases))]

    def run(pixels: Float[Tensor, "B 3 H W"], shown: Sequence[PictureView]) -> list[Detections]:
        # Maps of one picture stay in the cache; and each has as many boxes of its own as it has.
        one_by_one = (pixels.device.type == "cpu" and not current().batch) or boxes is not None
        size = 1 if one_by_one else len(pixels)
        places = range(0, len(pixels), size)
        return [found for at in places for found in located(pixels[at : at + size], shown[at : at + size])]

    def located(pixels: Float[Tensor, "B 3 H W"], shown: Sequence[PictureView]) -> list[Detections]:
        chosen: list[list[_Choice]] = [[] for _ in shown]
        own = {} if boxes is None else {"boxes": _boxes_of(boxes, shown[0])[None].to(pixels)}
        for (tokens, mask), places, nouns, start in zip(rows, spans, requests, starts, strict=True):
            wide = (len(pixels), -1)
            given = None if places is None else places.to(pixels.device).expand(len(pixels), -1, -1, -1)
            output = method.ground(
                pixels, tokens.to(pixels.device).expand(wide), mask.to(pixels.device).expand(wide), given, **own
            )
            for picture, view in enumerate(shown):
                for number, noun in enumerate(nouns):
                    chosen[picture].append(_choose(output, (picture, number), view, noun, start, (count, best)))
        return [_joined(each, text, view) for each, view in zip(chosen, shown, strict=True)]

    return run


def _boxes_of(boxes: OwnBoxes, view: PictureView) -> Float[Tensor, "K 4"]:
    name = Path(view.path).name
    if name not in boxes:
        raise DeixisError(f"--boxes has no box of {name}.", f"It has boxes of {', '.join(list(boxes)[:3])}.")
    return boxes[name]


@dataclasses.dataclass(frozen=True)
class _Choice:
    """The boxes of one phrase in one picture, in shares of it."""

    phrase: str
    span: tuple[int, int]
    boxes: list[tuple[float, float, float, float]]
    scores: list[float]
    labels: list[str]
    source: str
    masks: list[Tensor]
    missing: MissingPhrase | None = None


def _choose(
    output: GroundOutput,
    place: tuple[int, int],
    view: PictureView,
    noun: NounPhrase,
    start: int,
    wanted: tuple[int, bool],
) -> _Choice:
    """The best boxes of one phrase; what lies beside the picture, in padding, is no box of it."""
    picture, number = place
    scores = output.scores[picture, number].float().cpu()
    boxes = torch.tensor([_on_picture(each, view.window) for each in output.boxes[picture].tolist()]).reshape(-1, 4)
    real = output.valid[picture].cpu() & (boxes[:, 2:] > boxes[:, :2]).all(1)
    candidates = real.nonzero().flatten()
    order = candidates[nms(boxes[candidates], scores[candidates], _SAME)]
    threshold = -torch.inf if output.thresholds is None else float(output.thresholds[picture, number])
    most = wanted[0] or noun.count or (len(order) if output.thresholds is not None else 1)
    kept = [each for each in order.tolist() if float(scores[each]) >= threshold][:most]
    if kept and noun.count > 1:  # "two dogs": where there is one, the second may be less sure
        kept = [each for each in order.tolist() if float(scores[each]) >= threshold * _FURTHER][:most]
    labels = output.labels[picture] if output.labels else ("",) * len(scores)
    span = (start + noun.start, start + noun.stop)
    missing = None
    if not kept and len(order):
        near = int(order[0])
        missing = MissingPhrase(noun.text, span, float(scores[near]), labels[near], _corners(boxes[near]), threshold)
        kept = [near] if wanted[1] else []
    masks = [] if output.masks is None else [_mask(output.masks[picture, each], view) for each in kept]
    source = output.sources[picture][number] if output.sources else ""
    return _Choice(
        noun.text,
        span,
        [_corners(boxes[each]) for each in kept],
        [float(scores[each]) for each in kept],
        [labels[each] for each in kept],
        source,
        masks,
        missing,
    )


def _corners(box: Tensor) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box.tolist()
    return x0, y0, x1, y1


def _mask(mask: Tensor, view: PictureView) -> Tensor:
    return on_picture(mask.float().cpu(), view.window, view.picture.size)[0] > 0.5


def _joined(choices: Sequence[_Choice], text: str, view: PictureView) -> Detections:
    """The boxes of all phrases in one picture."""
    counts = [(each, len(each.boxes)) for each in choices]
    masks = [mask for each in choices for mask in each.masks]
    return Detections(
        torch.tensor([box for each in choices for box in each.boxes]).reshape(-1, 4),
        torch.tensor([score for each in choices for score in each.scores]),
        tuple(each.phrase for each, count in counts for _ in range(count)),
        tuple(each.span for each, count in counts for _ in range(count)),
        tuple(label for each in choices for label in each.labels),
        tuple(each.source for each, count in counts for _ in range(count)),
        text,
        view.path,
        view.size,
        torch.stack(masks) if masks else None,
        tuple(each.missing for each in choices if each.missing is not None),
        view.picture,
    )


def _on_picture(box: Sequence[float], window: Window) -> tuple[float, float, float, float]:
    """A box of what the model sees, in shares of the whole picture."""
    xs = sorted(min(1.0, max(0.0, window.x0 + x * (window.x1 - window.x0))) for x in (box[0], box[2]))
    ys = sorted(min(1.0, max(0.0, window.y0 + y * (window.y1 - window.y0))) for y in (box[1], box[3]))
    return xs[0], ys[0], xs[1], ys[1]
