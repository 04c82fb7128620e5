"""Which method `deixis segment` takes by itself: rows of `results/segment.jsonl`, on scenes of photographic stamps.

    python -m bench.segment_rows boxes       with the boxes of the things as they are: what is inside of them
    python -m bench.segment_rows detected    with the boxes that the detector finds, all nouns of the scenes as classes

Scenes are of the nouns that stand for one kind of the detector, half of them on photographs out of focus.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.rows import ROOT, environment
from deixis.data import catalogue
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.config import BACKGROUNDS
from deixis.data.synthetic.scenes.object_bank import cutouts_of
from deixis.engine.evaluation.pixels.overlap import total_overlap
from deixis.engine.evaluation.pixels.predicting import pixel_classes
from deixis.engine.training.build import build
from deixis.inputs.masks import decode_mask
from deixis.inputs.preprocess import Preprocess
from deixis.methods.baselines.filled_boxes import ClassBox
from deixis.ops.regions.dense import mask_iou
from deixis.types import Sample
from deixis.zoo.detector import CLASSES
from deixis.zoo.word_kinds import kinds_of

__all__ = ["main"]

RESULTS = ROOT / "results" / "segment.jsonl"
SEED, BOXES, DETECTED = 200, 40, 12
METHODS = ("filled_boxes", "outlined_boxes", "score_map")


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
    """Stands for a detector: images of 256 pixels, from 0 to 1."""

    preprocess = Preprocess(256, mode="squash", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def boxes() -> None:
    """The mean IoU of things, their boxes given: filled, and outlined."""
    part, parts = _Whole(), {"names": ["thing"], "encoder": "tiny", "proposals": "tiny"}
    found: dict[str, list[Tensor]] = {}
    for name in ("filled_boxes", "outlined_boxes"):
        method: Any = build(name, parts=parts)
        method.proposals = part
        for sample in stamp_scenes(BOXES):
            image = part.preprocess.read([sample.picture])[0]
            for region in sample.regions:
                assert region.mask is not None
                pixels = method.pixels(image, ClassBox(region.box, 1.0, 0, "kind"))
                found.setdefault(name, []).append(mask_iou(pixels[None], decode_mask(region.mask)[None]))
    for name, values in found.items():
        _write(
            name, "boxes as they are", {"things": len(values), "thing_iou": round(float(torch.cat(values).mean()), 4)}
        )


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
