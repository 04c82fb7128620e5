"""Names the class of each pixel of pictures: classes of any name without training, or those of a model."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.apps.common.options import ComputeSettings, Reading
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.predict.capable import Model, class_names, methods_offering, open_method
from deixis.apps.predict.known_words import require_known_words
from deixis.apps.predict.pictures import BatchPredictor, PictureView, predict, with_names
from deixis.apps.predict.settings import PredictOutput
from deixis.apps.predict.writing import predict_with
from deixis.apps.segment.class_list import checked_classes, checked_stuff
from deixis.apps.segment.run_words import segmenter_of_run
from deixis.apps.segment.settings import AUTO, AUTO_NAME, SegmentSettings
from deixis.data.loading.crops import on_picture
from deixis.engine.training.build import build
from deixis.engine.training.train import fit
from deixis.errors import DeixisError
from deixis.inputs.images import is_single
from deixis.methods import read
from deixis.nn.compute import current
from deixis.types import Segments
from deixis.types.protocols import HasFinish
from deixis.types.segments import BACKGROUND, UNSEEN

__all__ = ["default_segmenter", "free_methods", "segment", "segment_data", "segment_with"]

_BESIDE = ("-segments.png", "-labels.png", "-segments.json")
_CAPABILITY = "segment"


@takes_settings(compute=ComputeSettings)
def segment(
    images: Any,
    classes: str | Sequence[str] = (),
    *,
    model: Model = "",
    method: str = AUTO_NAME,
    sampler: str = "",
    stuff: str | Sequence[str] = (),
) -> Segments | list[Segments]:
    """Names the class of each pixel.

        out = deixis.segment("photo.jpg", ["a dog", "grass"])

    Args:
        images: one or several paths, Pillow images or arrays [H, W, 3].
        classes: names of the classes; none with a model that has its own.
        model: the folder of a run whose method offers `segment`, or such a method; or a run or index folder whose model
            reads the classes, with concepts that it was taught, such as `<my mug>`.
        method: by name, where no model is given: one that needs no training; `auto` is the best on generated scenes.
        sampler: support pictures of methods that learn classes from these.
        stuff: those of the classes that are no things (grass, sky): what surrounds them in support pictures is not
            learned as background; of such methods.

    Returns:
        One for a single picture, else a list.

    Raises:
        DeixisError: there is no class and no model; the model does not offer it (the message says which methods do); or
            a picture can't be read.
    """
    names = [classes] if isinstance(classes, str) else list(classes)
    named = model if isinstance(model, str) else "a method"
    places = (stuff,) if isinstance(stuff, str) and stuff else tuple(stuff)
    settings = SegmentSettings(model=named, method=method, sampler=sampler, stuff=places)
    ready = _ready(model, checked_classes(names, settings), settings)
    found: list[Segments] = list(predict(ready, with_names(images), segment_with(ready)))
    return found[0] if is_single(images) else found


def segment_data(
    data: str, classes: Sequence[str], settings: SegmentSettings, output: PredictOutput, reading: Reading
) -> None:
    """Segments the pictures of DATA, and prints or writes the classes.

    Raises:
        DeixisError: as `segment`, or the output can't be written.
    """
    names = checked_classes(classes, settings)
    with settings.active():
        ready = _ready(settings.model, names, settings)
        predict_with(ready, data, segment_with(ready), output, reading, beside=_BESIDE)


def _ready(model: Model, classes: Sequence[str], settings: SegmentSettings) -> Any:
    """What segments: the model, the words of a run, or a method for classes of any name."""
    if isinstance(model, str) and not model:
        return _free_method(classes, settings)
    return segmenter_of_run(model, classes, settings.method) if classes else open_method(model, _CAPABILITY)


def free_methods() -> list[str]:
    """Names of the methods that offer `segment` without training."""
    return [name for name in methods_offering(_CAPABILITY) if read(name).card.kind == "training-free"]


def default_segmenter(classes: Sequence[str], like: Any = None) -> Any:
    """The method that segments classes of any name where none is named.

    Args:
        classes: their names.
        like: a method whose parts are used again where it has them, such as the same method for other classes.

    Raises:
        DeixisError: what it is made of was not fetched.
    """
    if like is None:
        return _free_method(classes, SegmentSettings())
    known = [part.name for part in read(AUTO).card.parts if part.kind != "names" and hasattr(like, part.name)]
    parts = {name: getattr(like, name) for name in known}
    return build(AUTO, parts={**parts, "names": list(classes)}).eval().to(current().device)


def _free_method(classes: Sequence[str], settings: SegmentSettings) -> Any:
    """A method for classes of any name; what it builds from support pictures is built."""
    known, name = free_methods(), settings.method
    chosen = AUTO if name == AUTO_NAME else name
    if chosen not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise DeixisError(
            f"No method {name!r} segments classes of any name.", f"{hint}There are: auto, {', '.join(known)}."
        )
    _require_support(chosen, settings)
    stuff = checked_stuff(classes, settings.stuff)
    parts = {"names": list(classes), **({"sampler": settings.sampler} if settings.sampler else {})}
    method = build(chosen, overrides={"stuff": stuff} if stuff else {}, parts=parts).eval().to(current().device)
    require_known_words(method, classes)
    return fit(method, ()) if isinstance(method, HasFinish) else method


def _require_support(name: str, settings: SegmentSettings) -> None:
    """Refuses support pictures, or stuff, of a method that has no use for them."""
    takes = {part.name for part in read(name).card.parts} | {
        each.name for each in dataclasses.fields(read(name).config)
    }
    for setting, what in (("sampler", "support pictures"), ("stuff", "classes that are stuff")):
        if getattr(settings, setting) and setting not in takes:
            raise DeixisError(
                f"{name} takes no {what}.",
                f"Leave --{setting} out, or name a method that learns classes from pictures.",
            )


def segment_with(method: Any) -> BatchPredictor:
    """What calls the method on a batch."""

    def run(pixels: Float[Tensor, "B 3 H W"], shown: Sequence[PictureView]) -> list[Segments]:
        return [_placed(method, scores, each) for scores, each in zip(method.segment(pixels), shown, strict=True)]

    return run


def _placed(method: Any, scores: Float[Tensor, "C H W"], shown: PictureView) -> Segments:
    """Scores are stretched over the picture before the greatest is taken, so that edges are smooth."""
    maps = [on_picture(each.float().cpu(), shown.window, shown.picture.size) for each in scores]
    stretched, inside = torch.stack([values for values, _ in maps]), maps[0][1]
    names, labels = class_names(method, len(scores)), stretched.argmax(0)
    if names[0] != BACKGROUND:  # a model that knows no background leaves class 0 empty
        names, labels = (BACKGROUND, *names), labels + 1
        stretched = torch.cat([torch.full_like(stretched[:1], float(stretched.amin())), stretched])
    notes = tuple(getattr(method, "notes", ()))
    return Segments(
        torch.where(inside, labels, UNSEEN), names, stretched, shown.path, shown.size, shown.picture, notes=notes
    )
