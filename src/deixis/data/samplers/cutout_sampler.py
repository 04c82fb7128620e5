"""Pictures of a set whose words name a text, cut-outs among them pasted on backgrounds, with the pixels they cover."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from deixis.data import catalogue
from deixis.data.readers import sources
from deixis.data.samplers.class_nouns import class_noun
from deixis.data.synthetic.scenes.backgrounds import Ground
from deixis.data.synthetic.scenes.config import BACKGROUNDS
from deixis.errors import DeixisError
from deixis.inputs.cutouts import is_cut_out, load_cutout
from deixis.inputs.images import load_image
from deixis.inputs.phrases import head_noun, singular
from deixis.types import Sample
from deixis.types.outputs import SampledImages

__all__ = ["SIZE", "CutoutSampler"]

SIZE = 224
"""Side of the images, in pixels."""

_SMALLEST, _LARGEST = 0.45, 0.9
"""Longer side of a cut-out, as a share of the image's."""


class CutoutSampler:
    """A text's pictures among those of a set: those whose caption is about its noun; where there are none, those whose
    words hold it. They are drawn evenly; of fewer than are wanted, some come again, at another place.

    A picture without transparency is shown whole, and all of it counts as due to the text: a method that knows better
    may say where.

    Args:
        samples: pictures with captions or labels.
        size: side of the images, in pixels.
    """

    def __init__(self, samples: Sequence[Sample], size: int = SIZE) -> None:
        self.size = size
        self._samples = [sample for sample in samples if sample.image is not None and sample.words]
        self._photos = _photographs()

    @classmethod
    def of(cls, name: str) -> CutoutSampler:
        """Of a set by its name, or of a folder or table with captions.

        Args:
            name: `set:NAME`, or a path.

        Raises:
            DeixisError: there is no such set, or it can't be read; or it has no words.
        """
        source = catalogue.read(name[4:]) if name.startswith("set:") else sources.read(name)
        sampler = cls(source.samples)
        if not sampler._samples:
            raise DeixisError(f"The pictures of {name} have no words.", "Give pictures with captions or labels.")
        return sampler

    def __call__(self, text: str, count: int, rng: torch.Generator) -> SampledImages:
        """`count` pictures of what a text says, or none.

        Args:
            text: a class, such as `a dog`.
            count: of pictures.
            rng: on the CPU.
        """
        found = self.matching(text)
        count = count if found else 0
        images = torch.zeros(count, 3, self.size, self.size, dtype=torch.uint8)
        maps = torch.zeros(count, self.size, self.size)
        rounds = [torch.randperm(len(found), generator=rng).tolist() for _ in range(-(-count // max(1, len(found))))]
        for row, place in enumerate(itertools.islice(itertools.chain(*rounds), count)):
            seed = int(torch.randint(2**31, (1,), generator=rng))
            drawn, covered = self._drawn(found[place], np.random.Generator(np.random.PCG64(seed)))
            images[row], maps[row] = torch.from_numpy(drawn).permute(2, 0, 1), torch.from_numpy(covered)
        return SampledImages(images, maps)

    def matching(self, text: str) -> list[Sample]:
        """The samples whose words name a text, in their order."""
        noun = class_noun(text)
        about = [sample for sample in self._samples if any(head_noun(words) == noun for words in sample.words)]
        return about or [sample for sample in self._samples if any(_holds(words, noun) for words in sample.words)]

    def _drawn(self, sample: Sample, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """An image [H, W, 3], and how much of each pixel the picture covers."""
        longest = round(self.size * rng.uniform(_SMALLEST, _LARGEST))
        if not is_cut_out(load_cutout(sample.picture, crop=False)):
            plain = load_image(sample.picture, smallest=self.size).permute(1, 2, 0).numpy()
            whole = Image.fromarray(np.ascontiguousarray(plain)).resize((self.size, self.size))
            return np.array(whole), np.ones((self.size, self.size), np.float32)
        pixels = load_cutout(sample.picture, side=longest)
        canvas = Image.fromarray(self._ground(rng).draw(self.size))
        height, width = pixels.shape[:2]
        x, y = (int(rng.integers(0, self.size - side + 1)) for side in (width, height))
        alpha = np.zeros((self.size, self.size), np.float32)
        alpha[y : y + height, x : x + width] = pixels[..., 3] / 255
        canvas.paste(Image.fromarray(np.ascontiguousarray(pixels[..., :3])), (x, y), Image.fromarray(pixels[..., 3]))
        return np.array(canvas), alpha

    def _ground(self, rng: np.random.Generator) -> Ground:
        """A photograph out of focus where there are some, or a pattern."""
        seed = int(rng.integers(2**31))
        if self._photos:
            return Ground("photo", "", seed, self._photos[int(rng.integers(len(self._photos)))])
        pattern, _, colour = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))].partition(" ")
        return Ground(pattern, colour, seed)


def _holds(words: str, noun: str) -> bool:
    """Whether words hold all words of a noun, in the singular."""
    there = {singular(word) for word in re.findall(r"[\w’'-]+", words.casefold())}
    return set(noun.split()) <= there


def _photographs() -> tuple[Path, ...]:
    """Those of the set `photos`, if it is in the cache."""
    try:
        samples = catalogue.read("photos/photographs").samples
    except DeixisError:
        return ()
    return tuple(sample.picture for sample in samples if isinstance(sample.picture, Path))
