"""Which method `deixis segment` takes by itself: rows of `results/segment.jsonl`, on scenes of photographic stamps.

    python -m bench.segment_rows boxes       with the boxes of the things as they are: which pixels inside are of them
    python -m bench.segment_rows detected    with the boxes that the detector finds, all nouns of the scenes as classes

Scenes are of the nouns that stand for one kind of the detector, half of them on photographs out of focus. Inside of a
box a thing is all of it; what differs from its surroundings; where the cosine with its name is above that with other
nouns; or where the nearest prototype is one of its class, from pictures of sets that the scenes are not made of. The
latter two are refined at edges like the second, and likewise fill a box of which they leave little or nearly all.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.rows import ROOT, environment
from deixis import zoo
from deixis.data import catalogue
from deixis.data.samplers.cutout_sampler import CutoutSampler
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.config import BACKGROUNDS
from deixis.data.synthetic.scenes.object_bank import cutouts_of
from deixis.engine.evaluation.pixels.overlap import total_overlap
from deixis.engine.evaluation.pixels.predicting import pixel_classes
from deixis.engine.training.build import build
from deixis.engine.training.train import fit
from deixis.inputs.masks import decode_mask
from deixis.inputs.preprocess import Preprocess
from deixis.methods.baselines import outlined_boxes
from deixis.methods.baselines.filled_boxes import ClassBox
from deixis.nn.dual import DualEncoder
from deixis.ops.dense.affinity import refine_scores
from deixis.ops.maps import resize
from deixis.ops.regions.dense import mask_iou
from deixis.types import Region, Sample
from deixis.zoo.detector import CLASSES
from deixis.zoo.word_kinds import kinds_of

__all__ = ["main"]

RESULTS = ROOT / "results" / "segment.jsonl"
SEED, BOXES, DETECTED = 200, 40, 12
METHODS = ("filled_boxes", "outlined_boxes", "score_map")
SUPPORT = ("art4apps", "gcompris", "clipart")
"""Sets that the scenes show nothing of: prototypes are made from their pictures."""

_SIDE, _STEPS, _DILATIONS = 448, 5, (1, 2, 4)
Cut = Callable[[Tensor, Tensor, Region], Tensor]
"""An image [3, H, W] of 256 pixels, the same of 448, and a thing with its box -> its pixels [H, W]."""


def stamp_scenes(count: int) -> tuple[Sample, ...]:
    """Scenes of photographic stamps that the detector has a kind for."""
    every = cutouts_of(catalogue.read("stamps").samples)
    cast = tuple(each for each in every if each.style == "photo" and _known(each.noun))
    backgrounds = (*BACKGROUNDS, *["photo"] * len(BACKGROUNDS))
    config = SceneConfig(cast=cast, unseen="nothing", tinted=0.0, backgrounds=backgrounds, phrases=0, questions=0)
    return scenes(SEED, count, side=256, config=config).samples


def _known(noun: str) -> bool:
    kinds = kinds_of(noun) or (noun,)
    return len(kinds) == 1 and kinds[0] in CLASSES


class _Whole(nn.Module):
    """Stands for a detector: images from 0 to 1, by default as large as the scenes."""

    def __init__(self, side: int = 256) -> None:
        super().__init__()
        self.preprocess = Preprocess(side, mode="squash", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def boxes() -> None:
    """The mean IoU of things, their boxes given, by each way to tell which pixels are of them."""
    cuts = candidates()
    found: dict[str, list[Tensor]] = {name: [] for name in cuts}
    for sample in stamp_scenes(BOXES):
        image, large = (each.preprocess.read([sample.picture])[0] for each in (_Whole(), _Whole(_SIDE)))
        for region in sample.regions:
            assert region.mask is not None
            mask = decode_mask(region.mask)[None]
            for name, cut in cuts.items():
                found[name].append(mask_iou(cut(image, large, region)[None], mask))
    for name, values in found.items():
        _write(
            name, "boxes as they are", {"things": len(values), "thing_iou": round(float(torch.cat(values).mean()), 4)}
        )


def candidates() -> dict[str, Cut]:
    """What `auto` is chosen from inside of boxes, by the name of the method that does so."""
    encoder = zoo.load("starter")
    found: dict[str, Cut] = {name: _by_boxes(name) for name in ("filled_boxes", "outlined_boxes")}
    return {**found, "score_map": _by_map(_score_map(encoder)), "ovdiff": _by_map(_prototypes(encoder))}


def _by_boxes(name: str) -> Cut:
    """A method that finds the pixels of boxes itself."""
    method: Any = build(name, parts={"names": ["thing"], "encoder": "tiny", "proposals": "tiny"})
    method.proposals = _Whole()
    return lambda image, large, region: method.pixels(image, ClassBox(region.box, 1.0, 0, "kind"))


def _by_map(scores_of: Callable[[str, Tensor], Tensor | None]) -> Cut:
    """Where, in the box, a class has a higher score than everything else; all of it where that is little or most."""
    whole, limits = _by_boxes("filled_boxes"), outlined_boxes.Config()

    def cut(image: Tensor, large: Tensor, region: Region) -> Tensor:
        filled, scores = whole(image, large, region), scores_of(region.category, large)
        if scores is None:
            return filled
        refined = refine_scores(large[None], (scores[1] - scores[0])[None, None], _STEPS, _DILATIONS)[0]
        inside = (resize(refined, (image.shape[1], image.shape[2]))[0] > 0) & filled
        return inside if limits.least <= float(inside.sum() / filled.sum()) <= limits.most else filled

    return cut


def _score_map(encoder: DualEncoder) -> Callable[[str, Tensor], Tensor]:
    """Scores [2, H, W] of everything else and of a noun by the cosines of cells."""

    @functools.cache
    def method(noun: str) -> Any:
        return build("score_map", parts={"names": [noun], "encoder": encoder}).eval()

    return lambda noun, large: method(noun).of_plain(large[None])[0]


def _prototypes(encoder: DualEncoder) -> Callable[[str, Tensor], Tensor | None]:
    """The same by prototypes of pictures; None of a noun that no picture shows."""
    sampler = CutoutSampler([sample for name in SUPPORT for sample in catalogue.read(name).samples])
    tower = zoo.load_part("image_tower", "starter")
    parts = {"sampler": sampler, "encoder": encoder, "extractors": (tower,)}

    @functools.cache
    def method(noun: str) -> Any:
        return fit(build("ovdiff", overrides={"filtered": False}, parts={**parts, "names": [noun]}).eval(), ())

    def scores(noun: str, large: Tensor) -> Tensor | None:
        if not sampler.matching(noun):
            return None
        mean, std = (torch.tensor(getattr(tower.preprocess, each))[:, None, None] for each in ("mean", "std"))
        found: Tensor = method(noun).segment(((large - mean) / std)[None])[0]
        return found

    return scores


def detected() -> None:
    """mIoU of all nouns that the scenes show, and of the background, over all scenes."""
    samples = stamp_scenes(DETECTED)
    nouns = tuple(sorted({region.category for sample in samples for region in sample.regions}))
    for name in METHODS:
        method = build(name, parts={"names": list(nouns)}).eval()
        ious = total_overlap(pixel_classes(method, samples, nouns), len(nouns) + 1).iou()
        facts = {"scenes": len(samples), "classes": len(nouns) + 1, "miou": round(float(ious.nanmean()), 4)}
        _write(name, "boxes of the detector", facts)


def _write(method: str, data: str, facts: dict[str, Any]) -> None:
    place = environment(torch.get_num_threads())
    row = {"method": method, "data": f"scenes of photographic stamps, {data}", **facts}
    with open(RESULTS, "a", encoding="utf-8") as file:
        file.write(json.dumps({**row, "commit": place["commit"], "date": place["date"]}) + "\n")
    print(row, flush=True)


def main(arguments: Sequence[str]) -> None:
    """`boxes` or `detected`."""
    torch.set_num_threads(1)
    {"boxes": boxes, "detected": detected}[arguments[0]]()


if __name__ == "__main__":
    main(sys.argv[1:])
