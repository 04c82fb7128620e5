"""Where claims about one thing among many meet: scenes of several things, of which one is of the classes.

A seed draws disjoint sets of classes, and for each set scenes to learn from, to choose settings by and to report on, by
cut-outs that the three do not share. All else is as in `few_shot`: an arm learns anew from 2 and from 8 images a class,
of half of the classes, and both halves take turns in being learned.
"""

from __future__ import annotations

import dataclasses
import functools

from deixis import zoo
from deixis.data.synthetic.clutter import class_sets, clutter
from deixis.engine.claims.tasks.few_shot import FewShotTask
from deixis.engine.features.cells import image_cells
from deixis.engine.features.embedding import image_states
from deixis.engine.fewshot.benchmark import FewShotBenchmark
from deixis.engine.fewshot.draws import Labelled
from deixis.errors import DeixisError
from deixis.inputs.images import picture_hash
from deixis.nn.dual import DualEncoder
from deixis.types import Source
from deixis.types.cards import TaskCard

__all__ = ["TASK", "Options", "make"]

TASK = TaskCard(
    title="Scenes of three or four things, of which one is of the classes, with a frozen encoder",
    metrics=("accuracy", "base_accuracy", "new_accuracy", "harmonic_mean"),
    axis="images a class",
    passes=("deixis.zoo.desk_clip", "deixis.zoo.starter"),  # of models that are loaded by name
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `clutter`.

    Attributes:
        model: the frozen encoder.
        cast: as in `deixis.data.synthetic.scenes.SceneConfig`.
        tasks: disjoint sets of classes a seed, over which results are averaged.
        classes: nouns in each, of which half are learned and half are new.
        shots: images a class.
        validation: scenes of each class to choose settings by.
        test: scenes of each class to report on.
        objects: the fewest and the most things of a scene.
        side: of the images, in pixels.
    """

    model: str = "desk-clip"
    cast: str = "emoji/all"
    tasks: int = 3
    classes: int = 16
    shots: tuple[int, ...] = (2, 8)
    validation: int = 4
    test: int = 8
    objects: tuple[int, int] = (3, 4)
    side: int = 224


def make(options: Options, seed: int) -> FewShotTask:
    """Makes the task.

    Args:
        options: see `Options`.
        seed: of the classes, the scenes and the methods.

    Raises:
        DeixisError: `shots` is out of order, the cast has too few nouns, or it is not in the cache.
    """
    if len(options.shots) < 2 or list(options.shots) != sorted(set(options.shots)):
        raise DeixisError(f"shots is {options.shots}.", "Give at least two numbers, ascending.")
    each = {"train": options.shots[-1], "val": options.validation, "test": options.test}
    sources = [
        clutter(
            classes,
            others,
            each,
            options.tasks * seed + number,
            cast=options.cast,
            objects=options.objects,
            side=options.side,
        )
        for number, (classes, others) in enumerate(class_sets(options.cast, options.tasks, options.classes, seed))
    ]
    encoder = _encoder(options.model)
    return FewShotTask(tuple(_bench(encoder, source) for source in sources), options.shots, seed, exchanged=True)


@functools.cache
def _encoder(model: str) -> DualEncoder:
    return zoo.load(model)


def _bench(encoder: DualEncoder, source: Source) -> FewShotBenchmark:
    """Scenes as the encoder sees them, their cells among it; from the store where they are there."""
    pictures = [sample.picture for sample in source.samples]
    states = image_states(encoder, pictures, [picture_hash(picture) for picture in pictures])
    known = Labelled.of(source.samples, range(len(source.samples)))
    return FewShotBenchmark(encoder, known, states.embedding, states.features, image_cells(encoder, pictures))
