"""Settings of protocols. Does not import torch: the command line reads them for its flags."""

from __future__ import annotations

import dataclasses

__all__ = ["EvalOptions"]


@dataclasses.dataclass(frozen=True)
class EvalOptions:
    """Settings of protocols; each protocol reads the ones that apply to it.

    Attributes:
        methods: methods that few-shot, base-to-new, cross-style and saliency compare on each model; by default the
            protocol's own choice.
        shots: labelled images per class in few-shot; base-to-new and cross-style take the largest number.
        seeds: number of repeated draws of the labelled images.
        limit: maximum number of images to read; 0: all, or the protocol's own number.
        style: the style that cross-style and style train on; by default the one with the most images.
        templates: prompts for a class name, which replaces {}; their embeddings are averaged.
        knowledge: what described is told of the classes, and methods that read texts in few-shot, base-to-new and
            cross-style: wordnet, glosses, captions:DATA or a csv (class, text); described by default reads the files
            about.txt of class folders, or a csv in the folder of the data or beside it.
        neighbours: numbers of nearest neighbours for knn; the first gives the main result.
        associations: json of sets of labels that images should not be associated with, as {"animal": ["cat", "dog"]};
            fairness reports by group how many images are.
        labels: labelled images of each class that fine-tune learns; below 1: share of them.
        draws: of these labelled images, in fine-tune.
        inclusive_pixels: refer counts the last pixel of a box as part of it, as published numbers of referring
            expressions do; small boxes overlap more then.
    """

    methods: tuple[str, ...] = ()
    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    seeds: int = 3
    limit: int = 0
    style: str = ""
    templates: tuple[str, ...] = ("a photo of a {}.",)
    knowledge: str = ""
    neighbours: tuple[int, ...] = (20,)
    associations: str = ""
    labels: tuple[float | int, ...] = (5, 20, 100)
    draws: int = 5
    inclusive_pixels: bool = False
