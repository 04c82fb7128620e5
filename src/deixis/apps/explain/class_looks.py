"""Where each class looked: the attention of the classes that a run has learned, over the cells of a picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from deixis.apps.explain.explanations import Explanation
from deixis.apps.explain.inputs import model_inputs
from deixis.apps.explain.settings import ExplainSettings
from deixis.apps.train.method_runs import load_method
from deixis.engine.training.batching import require_encoder
from deixis.errors import DeixisError
from deixis.nn.compute import autocast, current
from deixis.nn.modes import evaluating
from deixis.types.protocols import HasClassLooks, HasNames, OffersClassify

__all__ = ["explain_classes"]

_MOST = 8
"""Classes that are shown, the likeliest first."""


def explain_classes(model: str | os.PathLike[str], photo: Any, settings: ExplainSettings | None = None) -> Explanation:
    """Where the likeliest classes of a run looked in a picture, with their scores.

    A map is a class's weights over the cells, divided by the largest.

    Args:
        model: the folder of a run whose method has classes that look at images.
        photo: a path, a Pillow image or an array [H, W, 3].
        settings: the device.

    Raises:
        DeixisError: no run, or classes that look at no image: texts are needed then.
    """
    if not Path(model).is_dir():
        raise DeixisError(f"There is no text to explain {photo} by.", 'Give one: deixis explain photo.jpg "a red bird"')
    with (settings or ExplainSettings()).active():
        method = load_method(model)
        if not (isinstance(method, HasClassLooks) and isinstance(method, HasNames)):
            raise DeixisError(
                f"The classes of {model} do not look at the cells of a picture.",
                "Give texts, or the run of a method whose classes do, such as mutual_prompt (docs/few_shot.md).",
            )
        assert isinstance(method, OffersClassify)
        assert isinstance(method, torch.nn.Module)
        encoder = require_encoder(method.to(current().device))
        inputs = model_inputs([photo], encoder.preprocess)
        with evaluating(method), torch.no_grad(), autocast(encoder.device):
            pixels = inputs.pixels.to(encoder.device)
            scores, tokens = method.classify(pixels)[0], encoder.image_tokens(pixels)
            looks = method.class_looks(tokens.states, encoder.encode_image(pixels))[0]
    best = scores.argsort(descending=True)[:_MOST]
    assert tokens.grid is not None, "cells of images lie on a grid"
    coarse = looks[best].unflatten(-1, tokens.grid).float().cpu()
    coarse = coarse / coarse.amax(dim=(1, 2), keepdim=True)
    maps = F.interpolate(coarse[None], pixels.shape[-2:], mode="bilinear", align_corners=False)
    names = tuple(method.names[i] for i in best.tolist())
    raw = {"cells": coarse[None]}
    return Explanation(
        "attention of each class",
        (names,),
        scores[best][None].float().cpu(),
        maps,
        raw,
        pictures=inputs.pictures,
        windows=inputs.windows,
    )
