"""What a user can set of protocols. No torch here: the command line reads it for its flags."""

from __future__ import annotations

import dataclasses

__all__ = ["EvalOptions"]


@dataclasses.dataclass(frozen=True)
class EvalOptions:
    """Settings of protocols; each reads those that mean something to it.

    Attributes:
        methods: what is compared on each model, by few-shot, base-to-new, cross-style and saliency; empty takes the
            protocol's own choice.
        shots: labelled images a class, for the few-shot protocols; base-to-new and cross-style take the largest.
        seeds: draws of images that are repeated.
        limit: the most images that are read; 0: all, or as many as the protocol takes by itself.
        style: for cross-style, the one that is learned; empty: the one with the most images.
        templates: sentences around a class name, {} where it goes; their embeddings are averaged.
        neighbours: numbers of nearest neighbours, for knn; the first is the main one.
    """

    methods: tuple[str, ...] = ()
    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    seeds: int = 3
    limit: int = 0
    style: str = ""
    templates: tuple[str, ...] = ("a photo of a {}.",)
    neighbours: tuple[int, ...] = (20,)
