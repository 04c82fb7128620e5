"""From a method and samples to what makes its batches: the card's fields, the config's views, the parts' own eyes."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from deixis.data.loading.collate import Collate
from deixis.engine.training.stages import Method, card_of
from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.types import SampleSpec, Source, Stage, ViewSpec

__all__ = ["collate_for", "encoder_of"]

T = TypeVar("T", ViewSpec, SampleSpec)


def encoder_of(method: Method) -> Any:
    """The first part that is a dual encoder; None where the method has none."""
    for part in card_of(method).parts:
        if part.kind == "dual_encoder" and not part.many and getattr(method, part.name, None) is not None:
            return getattr(method, part.name)
    return None


def collate_for(method: Method, source: Source, stage: Stage | None = None) -> Collate:
    """Makes batches of samples for a stage of a method.

    The fields are those that the stage or the card needs; views and captions are what a `ViewSpec` and a `SampleSpec`
    among the config's fields ask for; preprocessing and tokens are those of the method's parts.

    Args:
        method: that is fed.
        source: the samples.
        stage: which of the method's stages.

    Raises:
        DeixisError: the samples lack what a field is made from.
    """
    stage = stage or Stage()
    if stage.data:
        raise DeixisError(
            f"The stage {stage.name!r} draws from {stage.data!r}, beside DATA.", "That can't be told yet."
        )
    needs = card_of(method).needs if stage.needs is None else stage.needs
    encoder = encoder_of(method)
    sample = _asked(method, SampleSpec) or SampleSpec()
    reader = getattr(method, sample.tokenizer, None) or encoder
    length = getattr(reader, "context_length", sample.length)
    return Collate(
        source,
        needs,
        getattr(encoder, "preprocess", None) or Preprocess(size=ViewSpec().size),
        getattr(reader, "tokenizer", None),
        view=stage.view or _asked(method, ViewSpec),
        sample=dataclasses.replace(sample, length=min(sample.length, length)),
    )


def _asked(method: Method, kind: type[T]) -> T | None:
    """The first field of the config that is of this kind."""
    config = getattr(method, "config", None)
    values = [getattr(config, field.name) for field in dataclasses.fields(config)] if config is not None else []
    return next((value for value in values if isinstance(value, kind)), None)
