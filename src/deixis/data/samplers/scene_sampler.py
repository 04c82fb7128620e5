"""Generated scenes of a single thing, on backgrounds that hang on its noun: pictures of a class in its surroundings.

A procedural stand-in for a model that makes images from text: what is tied to a class, and how strongly, is known.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from deixis.data.samplers.class_nouns import class_noun
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.object_bank import SPLITS, assemble, part
from deixis.inputs.masks import decode_mask
from deixis.types.outputs import SampledImages

__all__ = ["SceneSampler"]


class SceneSampler:
    """A scene a picture; the pixels of the thing are due to the text.

    Args:
        config: what scenes hold, `rho` among it: how strongly the background hangs on the noun.
        size: side of the images, in pixels.
        split: whose cut-outs are shown.
    """

    def __init__(self, config: SceneConfig, size: int = 224, split: str = SPLITS[0]) -> None:
        self._config, self.size, self._split = config, size, split
        self._nouns = frozenset(part(assemble(config), split, config.unseen))

    def __call__(self, text: str, count: int, rng: torch.Generator) -> SampledImages:
        """`count` scenes of what a text says, or none where the cast lacks it.

        Args:
            text: a class, such as `a dog`.
            count: of scenes.
            rng: on the CPU.
        """
        noun, size = class_noun(text), self.size
        if noun not in self._nouns:
            return SampledImages(torch.zeros(0, 3, size, size, dtype=torch.uint8), torch.zeros(0, size, size))
        config = dataclasses.replace(
            self._config, nouns=(noun,), objects=(1, 1), repeats=1, phrases=0, questions=0, masks=True
        )
        seed = int(torch.randint(2**31, (1,), generator=rng))
        samples = scenes(seed, count, split=self._split, side=size, config=config).samples
        drawn = np.stack([sample.image.draw() for sample in samples])  # type: ignore[union-attr]
        masks = [decode_mask(sample.regions[0].mask) for sample in samples]  # type: ignore[arg-type]
        return SampledImages(torch.from_numpy(drawn).permute(0, 3, 1, 2), torch.stack(masks).float())

    @classmethod
    def of(cls, name: str) -> SceneSampler:
        """By name: `scenes`, or `scenes:CAST`; nine of ten scenes lie on the background of their noun.

        Args:
            name: the cast is one of `SceneConfig`.

        Raises:
            DeixisError: there is no such cast, or it is not in the cache.
        """
        cast = name.partition(":")[2] or "stamps"
        return cls(SceneConfig(cast=cast, unseen="nothing", tinted=0.0, rho=0.9, scale=2.0))
