"""Where claims about classes without masks meet: nothing is trained, scenes of several shapes are segmented by names.

An arm builds what it needs from names alone, and names the class of each pixel of scenes; its curve is mIoU, with the
background, over the first so many scenes. All arms use the encoder of the task `masks`, which learned the names from
captions: as features, and to say what there is. Support pictures come from a procedural sampler: scenes of one thing,
of cut-outs that the segmented scenes do not have, on backgrounds that are tied to the thing as strongly as there.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, Literal

from deixis.data.samplers.scene_sampler import SceneSampler
from deixis.data.synthetic.scenes.object_bank import SPLITS
from deixis.engine.claims.claim_tasks import CurveResult, part_hash, require_least
from deixis.engine.claims.tasks import masks
from deixis.engine.evaluation.pixels.overlap import Overlap, overlap, total_overlap
from deixis.engine.evaluation.pixels.predicting import pixel_classes
from deixis.engine.training.build import build
from deixis.engine.training.train import fit
from deixis.methods import read
from deixis.nn.dual import DualEncoder
from deixis.nn.encoders import ImageHalf
from deixis.types import Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod, HasFinish

__all__ = ["TASK", "OpenVocabularyTask", "Options", "make"]

TASK = TaskCard(
    title="Scenes segmented by names alone, with support pictures from a procedural sampler",
    metrics=("miou",),
    axis="scenes segmented",
    own_networks=True,
    passes=("deixis.engine.claims.tasks.masks", "deixis.zoo.scratch", "deixis.nn.vision.fine_resnet"),
)

_POINTS = 4


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `open_vocabulary`; the first are those of `masks`.

    Attributes:
        cast: as in `deixis.data.synthetic.scenes.SceneConfig`, and so are `objects` and `scale`.
        nouns: the classes.
        objects: the fewest and the most things in a scene.
        scale: factor on the size of things.
        side: of the images, in pixels.
        captions: scenes of a single thing that the encoder learns from.
        steps: that it learns for, 64 scenes each.
        channels: of the stem of its image tower.
        rho: how strongly backgrounds hang on the first thing of a scene, and on that of support pictures.
    """

    cast: str = "shapes"
    nouns: tuple[str, ...] = ("arrow", "bar", "circle", "cross", "heart", "ring", "star", "triangle")
    objects: tuple[int, int] = (1, 3)
    scale: float = 1.5
    side: int = 64
    captions: int = 4000
    steps: int = 800
    channels: int = 8
    rho: float = 0.9


@dataclasses.dataclass(frozen=True)
class OpenVocabularyTask:
    """An encoder, and how arms are tried with it.

    Attributes:
        encoder: that learned the names.
        options: of the scenes.
        seed: of the encoder, the scenes and the support pictures.
    """

    encoder: DualEncoder
    options: Options
    seed: int

    def curve(
        self,
        method: str,
        settings: Mapping[str, Any],
        metric: str,
        split: Literal["validation", "test"],
        budget: int,
    ) -> CurveResult:
        """Scenes segmented and mIoU so far; and the seconds of the processor, building included.

        Args:
            method: by name; of the capability `segment`, without training.
            settings: that differ from its `desk` preset.
            metric: `miou`.
            split: of the scenes.
            budget: scenes; at least four.
        """
        source, start = self._source(split, max(budget, _POINTS)), time.process_time()
        count = len(self.options.nouns) + 1
        pairs = pixel_classes(self._built(method, settings), source.samples, self.options.nouns)
        total, points = total_overlap((), count), list[tuple[float, float]]()
        marks = {len(source.samples) * step // _POINTS for step in range(1, _POINTS + 1)}
        for number, pair in enumerate(pairs, start=1):
            total = total.plus(overlap(*pair, count))
            if number in marks:
                points.append((float(number), _miou(total)))
        ious = total.iou()
        values = tuple(ious[ious.isfinite()].tolist())
        return CurveResult(tuple(points), time.process_time() - start, values, None, part_hash(source))

    def longest(self, method: str, settings: Mapping[str, Any], metric: str, budget: int) -> float:
        """Seconds that a curve takes, from a tenth of the scenes."""
        some = max(_POINTS, budget // 10)
        start = time.process_time()
        self.curve(method, settings, metric, "validation", some)
        return (time.process_time() - start) * max(budget, some) / some

    def _source(self, split: str, count: int) -> Source:
        side = SPLITS[1] if split == "validation" else SPLITS[2]
        return masks.scene_source(_shared(self.options), side, count, self.seed, self.options.rho)

    def _built(self, method: str, settings: Mapping[str, Any]) -> AnyMethod:
        """The method on the encoder of the seed, with what it builds from names."""
        config = masks.scene_config(_shared(self.options), self.options.rho)
        ready: dict[str, Any] = {
            "names": list(self.options.nouns),
            "sampler": SceneSampler(config, self.options.side),
            "dual_encoder": self.encoder,
            "image_tower": ImageHalf.of(self.encoder),
        }
        parts = {
            part.name: (ready[part.kind],) if part.many else ready[part.kind]
            for part in read(method).card.parts
            if part.kind in ready
        }
        built = build(method, "desk", settings, parts, self.seed)
        return fit(built, (), seed=self.seed) if isinstance(built, HasFinish) else built


def _shared(options: Options) -> masks.Options:
    """Those of `masks`."""
    return masks.Options(**{name: value for name, value in vars(options).items() if name != "rho"})


def _miou(total: Overlap) -> float:
    return float(total.iou().nanmean())


def make(options: Options, seed: int) -> OpenVocabularyTask:
    """Makes the task; trains the encoder where the cache does not hold it: some three minutes.

    Args:
        options: see `Options`.
        seed: of the encoder and the scenes.

    Raises:
        DeixisError: a value is out of range, or the set that the scenes are made of is not in the cache.
    """
    require_least(options, captions=2, steps=0)
    return OpenVocabularyTask(masks.trained_encoder(_shared(options), seed), options, seed)
