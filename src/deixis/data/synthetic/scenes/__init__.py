"""Generated scenes of real cut-outs: of each thing, box, mask, look and place are known, and what can be said of it.

`scenes(seed=0, count=1000)` gives a `Source`. Nothing is drawn before it is looked at: a sample's image is a `Drawing`.
The scene of an index hangs on the seed, the split, the side and the settings alone, not on the others.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deixis.data import catalogue
from deixis.data.synthetic.scenes import captions
from deixis.data.synthetic.scenes.changes import Change, changes
from deixis.data.synthetic.scenes.config import SIDES, SceneConfig
from deixis.data.synthetic.scenes.cutouts import Cutout
from deixis.data.synthetic.scenes.drawing import Scene
from deixis.data.synthetic.scenes.expressions import GroundTruth, expressions, position
from deixis.data.synthetic.scenes.layout import SceneStage, arrange, ground_for, plan
from deixis.data.synthetic.scenes.movement import moved_scene, next_frame
from deixis.data.synthetic.scenes.object_bank import assemble, home, part, share
from deixis.data.synthetic.scenes.questions import questions
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.inputs.masks import encode_mask
from deixis.types import Region, Sample, Source

__all__ = ["Change", "Cutout", "Scene", "SceneConfig", "scenes"]


def scenes(
    seed: int = 0, count: int = 1000, *, split: str = "train", side: int = 224, config: SceneConfig | None = None
) -> Source:
    """Generates scenes.

    A sample's caption names things, and the regions' `spans` tell where; its label is the noun that the scene is about
    (the one that may be there several times, and to which `rho` ties the background). A region's `attributes` hold
    `size`, `colour` (empty: its own), `position`, `style`, `count` (how many of its noun there are), `visible` (the
    share that nothing covers), `extent` (its box were it not covered), `layer` (how many things lie below), `flipped`,
    `cutout`, and `families` (of its phrases: `unary`, `comparison`, `relation`). The sample's `extra` holds
    `background`, `at_home` (whether it is the noun's own), `sentences` (a long caption: text, regions named, whether
    true), `noisy` (how the caption was spoilt, or empty), `true_caption`, `swapped` (a caption that is wrong since the
    colours of two nouns are exchanged; empty where it names no two), and, where the config wants any, `changes` (a
    `Change` each: the scene with one thing in another tint, or one thing more, and the words for it), and, where the
    config moves things, `next_frame`: a `Sample` of the same scene with its things moved, whose regions are those of
    this one in the same order.

    Args:
        seed: same seed, same scenes; any seed draws from the cut-outs of its split.
        count: how many.
        split: `train`, `val` or `test`.
        side: of the images, in pixels: 48 to 256.
        config: what they hold.

    Raises:
        DeixisError: the cast or the photographs are not in the cache, or a setting is out of range.
    """
    config = config or SceneConfig()
    if not SIDES[0] <= side <= SIDES[1]:
        raise DeixisError(f"Scenes with a side of {side} pixels are requested.", f"Ask for {SIDES[0]} to {SIDES[1]}.")
    if seed < 0 or count < 0:
        raise DeixisError(f"The seed is {seed} and the count {count}.", "Neither can be negative.")
    stage = SceneStage(part(assemble(config), split, config.unseen), split, side, config, _photos(config, split))
    samples = tuple(_sample(stage, seed, index) for index in range(count))
    cast = config.cast if isinstance(config.cast, str) else "cut-outs"
    nouns, cutouts = len(stage.cast), sum(map(len, stage.cast.values()))
    notes = (f"{cutouts} cut-outs of {nouns} nouns are in the split {split}",)
    return Source("scenes", cache_dir("sets"), "captions", f"generated from {cast}", samples, notes=notes)


def _photos(config: SceneConfig, split: str) -> tuple[Path, ...]:
    """The photographs that backgrounds of this split are cut from."""
    if "photo" not in config.backgrounds:
        return ()
    found = {s.id: s.picture for s in catalogue.read("photos/photographs").samples if isinstance(s.picture, Path)}
    return tuple(found[name] for name in sorted(share(found, split)))


def _rng(stage: SceneStage, seed: int, index: int, purpose: str) -> np.random.Generator:
    """Draws that hang on the purpose, so that a setting of the words leaves the picture as it is."""
    key = (seed, index, zlib.crc32(f"{stage.split} {purpose}".encode()))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def _scene(stage: SceneStage, seed: int, index: int) -> tuple[Scene, GroundTruth]:
    rng = _rng(stage, seed, index, "picture")
    plans = plan(rng, stage)
    ground = ground_for(_rng(stage, seed, index, "ground"), plans[0].cutout.noun, stage)
    scene, facts = arrange(rng, plans, ground, f"scene {stage.split} {seed}-{index}", stage)
    return scene, GroundTruth(facts)


def _short(stage: SceneStage, seed: int, index: int, scene: Scene, truth: GroundTruth) -> captions.Text:
    rng = _rng(stage, seed, index, "caption")
    return captions.short_caption(rng, truth, scene.ground.name, stage.config.named)


def _sample(stage: SceneStage, seed: int, index: int) -> Sample:
    scene, truth = _scene(stage, seed, index)
    text = _short(stage, seed, index, scene, truth)
    caption, kind = _spoilt(stage, seed, index, text.text)
    label, names = truth.facts[0].noun, stage.config.backgrounds
    extra = {
        "background": scene.ground.name,
        "at_home": scene.ground.name == names[home(label, names)],
        "sentences": _sentences(stage, seed, index, scene, truth),
        "noisy": kind,
        "true_caption": text.text,
        "swapped": captions.swapped(_rng(stage, seed, index, "swap"), text, truth.facts),
    }
    if stage.config.changes:
        extra["changes"] = changes(_rng(stage, seed, index, "changes"), scene, truth.facts, stage)
    sample = Sample(
        id=f"{stage.split}/{seed}/{index:06d}",
        image=scene,
        captions=(caption,),
        label=label,
        groups=(f"noun:{label}",),
        extra=extra,
        split=stage.split,
        regions=_regions(
            _rng(stage, seed, index, "expressions"), stage.config, scene, truth, {} if kind else text.spans
        ),
        questions=tuple(questions(_rng(stage, seed, index, "questions"), truth, stage)),
    )
    if not stage.config.moved:
        return sample
    later = moved_scene(_rng(stage, seed, index, "moved"), scene, stage.config.moved, stage.config.overlap)
    second = next_frame(sample, later, truth.facts, stage.config.masks)
    return dataclasses.replace(sample, extra={**extra, "next_frame": second})


def _spoilt(stage: SceneStage, seed: int, index: int, caption: str) -> tuple[str, str]:
    rng = _rng(stage, seed, index, "noise")
    if rng.random() >= stage.config.noise:
        return caption, ""
    another = index + 1 + int(rng.integers(997))
    return captions.noisy(rng, caption, _short(stage, seed, another, *_scene(stage, seed, another)).text)


def _sentences(stage: SceneStage, seed: int, index: int, scene: Scene, truth: GroundTruth) -> list[dict[str, Any]]:
    there = {fact.noun for fact in truth.facts}
    absent = [noun for noun in stage.nouns if noun not in there] if stage.config.invented else []
    rng = _rng(stage, seed, index, "sentences")
    return captions.long_caption(rng, truth, scene.ground.name, stage.config.invented, absent)


def _regions(
    rng: np.random.Generator,
    config: SceneConfig,
    scene: Scene,
    truth: GroundTruth,
    spans: Mapping[int, list[tuple[int, int]]],
) -> tuple[Region, ...]:
    layers = scene.layers() if config.masks else None
    nouns = [fact.noun for fact in truth.facts]
    regions = []
    for number, fact in enumerate(truth.facts):
        said = expressions(rng, truth, number, config.phrases)
        attributes = {
            "size": fact.size,
            "colour": fact.colour,
            "position": position(fact),
            "style": fact.cutout.style,
            "count": nouns.count(fact.noun),
            "visible": fact.visible,
            "extent": fact.extent,
            "layer": fact.layer,
            "flipped": fact.flip,
            "cutout": fact.cutout.name,
            "families": tuple(family for _, family in said),
        }
        mask = None if layers is None else encode_mask(torch.from_numpy(layers == fact.layer))
        phrases = tuple(phrase for phrase, _ in said)
        regions.append(Region(fact.box, fact.noun, phrases, tuple(spans.get(number, ())), mask, attributes))
    return tuple(regions)
