"""What can be set of `deixis eval`: the fields are its flags. No torch here."""

from __future__ import annotations

import dataclasses

__all__ = ["EvalSettings"]


@dataclasses.dataclass(frozen=True)
class EvalSettings:
    """What is measured, of which model.

    Attributes:
        protocol: few-shot, base-to-new, cross-style or saliency.
        model: what is measured: a name (`starter`) or the model folder of a run.
        methods: which are compared; empty takes the protocol's own choice.
        shots: labelled images a class, for the few-shot protocols; base-to-new and cross-style take the largest.
        seeds: draws of images that are repeated.
        limit: the most images that are read; 0: all, or as many as the protocol takes by itself.
        style: for cross-style, the one that is learned; empty: the one with the most images.
    """

    protocol: str = "few-shot"
    model: str = "starter"
    methods: tuple[str, ...] = ()
    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    seeds: int = 3
    limit: int = 0
    style: str = ""
