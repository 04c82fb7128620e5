"""The models of `deixis eval`: by name or folder, out of a run with its method, or an image tower alone."""

from __future__ import annotations

import json
from pathlib import Path

from deixis import zoo
from deixis.apps.common.loading import is_image_tower, method_folder
from deixis.apps.few_shot.classifier import load_classifier
from deixis.apps.train.method_runs import STATE, load_method
from deixis.engine.evaluation.data import EvalData
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.training.build import build
from deixis.methods import list_methods, read

__all__ = ["load_model", "was_trained_on"]


def load_model(name: str) -> EvalModel:
    """A model to be measured. Of a run the method itself is taken, so that it is measured by what it can do: a method
    that scores pairs by its scores, a classifier by its classes.

    Args:
        name: what `deixis.load` takes, an image tower such as `timm:resnet18`, or a method that needs no training.

    Raises:
        DeixisError: there is no such model, or its weights can't be had.
    """
    if (Path(name) / "classifier.json").is_file():
        return EvalModel(name, load_classifier(name).method_)
    if (folder := method_folder(name)) is not None or (Path(name) / STATE).is_file():
        return EvalModel(name, load_method(folder or name))
    if name in list_methods() and read(name).card.kind == "training-free":
        return EvalModel(name, build(name).eval())
    if is_image_tower(name):
        return EvalModel(name, zoo.load_part("image_tower", name))
    return EvalModel(name, zoo.load(name))


def was_trained_on(name: str, data: EvalData) -> bool:
    """Whether a run was made from some data: by their fingerprint, or by their name and the number of samples.

    Args:
        name: of a model; what is no run was trained on none of it.
        data: whose fingerprints are known once protocols have requested samples.
    """
    try:
        trained_on = json.loads((Path(name) / "result.json").read_text(encoding="utf-8"))["data"]
        named = (trained_on.get("name"), trained_on.get("samples"))
        here = (data.source.name, len(data.source.samples))
        return trained_on.get("fingerprint") in data.fingerprints or named == here
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
