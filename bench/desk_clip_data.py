"""What `desk-clip` is trained on, and what it is never trained on; and what its trunks at rest make of each, once.

The concepts of the emoji are divided by a hash: a third is never trained on in any style, and a tenth of the others is
what settings are chosen on. `results/desk_clip_concepts.txt` lists both, and a picture or class whose words name one of
them is left out, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.rows import RESULTS
from deixis.data import catalogue
from deixis.data.splits import concept_groups, normalise
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.object_bank import cutouts_of
from deixis.files import atomic_path, cache_dir
from deixis.inputs.contents import contents
from deixis.nn.dual import DualEncoder
from deixis.types import Sample
from deixis.zoo.starter import class_prompts

__all__ = ["CONCEPTS", "EXCLUDED_STYLE", "EncodedImages", "Pair", "concepts", "encode", "pairs", "row_pairs", "write"]

CONCEPTS = RESULTS.with_name("desk_clip_concepts.txt")
EXCLUDED_STYLE = "openmoji"
UNSEEN, CHOSEN_ON = 3, 10  # one in so many
SCENES, TAGS, BLOCK = 600, 5, 256

Part = str
"""`train`, `choice` or `unseen`."""


class Pair(NamedTuple):
    """A picture, or a class of the classifier (its number), with the texts of which one is drawn at a time.

    Attributes:
        key: equal for pairs of one concept, of which a batch holds one.
        sample: the picture; None for a class.
        row: of the classifier, for a class.
        texts: what it may be called.
    """

    key: str
    sample: Sample | None
    row: int
    texts: tuple[str, ...]


# --- concepts ---------------------------------------------------------------------------------------------------------


def emoji_samples() -> list[Sample]:
    """Of the sets `emoji` and `emoji-styles`."""
    return [*catalogue.read("emoji").samples, *catalogue.read("emoji-styles").samples]


def concept_codes(samples: Sequence[Sample]) -> list[str]:
    """For each emoji the first of the code points of its concept, the same in every style."""
    groups, first = concept_groups(samples), dict[int, str]()
    for sample, group in zip(samples, groups, strict=True):
        first[group] = min(sample.groups[1], first.get(group, sample.groups[1]))
    return [first[group] for group in groups]


def divide(codes: Sequence[str]) -> dict[str, Part]:
    """Code -> part, by the hash of the code."""
    order = sorted(set(codes), key=lambda code: hashlib.sha256(code.encode()).hexdigest())
    unseen = len(order) // UNSEEN
    choice = unseen + (len(order) - unseen) // CHOSEN_ON
    return {code: "unseen" if i < unseen else "choice" if i < choice else "train" for i, code in enumerate(order)}


def write(path: Path = CONCEPTS) -> None:
    """Writes the concepts that are not in `train`, a line each: part and code points."""
    parts = divide(concept_codes(emoji_samples()))
    lines = sorted(f"{part} {code.removeprefix('code:')}" for code, part in parts.items() if part != "train")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def concepts(path: Path = CONCEPTS) -> dict[str, Part]:
    """Code -> part, of the concepts that are listed."""
    lines = [line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    return {f"code:{code}": part for part, code in lines}


def _named(texts: Sequence[str], labels: frozenset[str]) -> bool:
    """Whether one of the labels stands in one of the texts, as words."""
    words = [normalise(text).split() for text in texts]
    longest = max(len(label.split()) for label in labels)
    return any(
        " ".join(each[i : i + n]) in labels for each in words for n in range(1, longest + 1) for i in range(len(each))
    )


# --- pairs ------------------------------------------------------------------------------------------------------------


def pairs(choosing: bool) -> tuple[list[Pair], list[Pair]]:
    """What is trained on, and what settings are chosen on: pictures of concepts that were then left out.

    Args:
        choosing: leave out the concepts that settings are chosen on.
    """
    samples, listed = emoji_samples(), concepts()
    parts = {sample.id: listed.get(code, "train") for sample, code in zip(samples, concept_codes(samples), strict=True)}
    keys = dict(zip([sample.id for sample in samples], concept_codes(samples), strict=True))
    out = {"unseen", "choice"} if choosing else {"unseen"}
    own = [s for s in samples if s.extra.get("style") != EXCLUDED_STYLE]
    trained = [s for s in own if parts[s.id] not in out]
    chosen_on = [s for s in own if parts[s.id] == "choice" and "style" in s.extra]
    labels = frozenset(normalise(s.captions[0]) for s in samples if parts[s.id] in out)
    clipart = [s for s in catalogue.read("clipart").samples if not _named(s.captions, labels)]
    config = SceneConfig(cast=tuple(cutouts_of(trained)), masks=False, phrases=0, questions=0)
    drawn = scenes(0, SCENES, config=config).samples
    train = [_pair(s, keys.get(s.id, normalise(s.captions[0]))) for s in (*trained, *clipart, *drawn)]
    return train, [_pair(s, keys[s.id]) for s in chosen_on]


def _pair(sample: Sample, key: str) -> Pair:
    tags = sample.extra.get("tags", ()) if "emoji" in sample.extra else ()
    tagged = (", ".join((sample.captions[0], *tags[:TAGS])),) if tags else ()
    return Pair(key, sample, -1, (*sample.captions, *tagged))


def row_pairs(choosing: bool) -> list[Pair]:
    """The classes of the classifier, without those named as a concept that is left out: their names, and names with
    the definition."""
    samples, listed = emoji_samples(), concepts()
    out = {"unseen", "choice"} if choosing else {"unseen"}
    codes = concept_codes(samples)
    labels = {normalise(s.captions[0]) for s, c in zip(samples, codes, strict=True) if listed.get(c) in out}
    found = []
    for row, (names, text) in enumerate(zip(class_prompts("lemmas"), class_prompts(), strict=True)):
        own = names.split(", ")
        if not labels & {normalise(name) for name in own}:
            found.append(Pair(f"class:{row}", None, row, (own[0], names, text)))
    return found


# --- what the trunk at rest makes of pictures -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class EncodedImages:
    """Pictures behind the part of the image trunk that never trains.

    Attributes:
        maps: of each picture, before the last block.
        features: what the pool finds behind the whole trunk as it is.
        hashes: of the contents.
        seconds: of the processor that all of it took, whenever that was.
    """

    maps: np.ndarray
    features: Tensor
    hashes: tuple[str, ...]
    seconds: float


def encode(model: DualEncoder, samples: Sequence[Sample]) -> EncodedImages:
    """Encodes pictures a block at a time; blocks lie in the cache, so that a build that was stopped goes on.

    Args:
        model: the starter.
        samples: of pictures.
    """
    blocks = [_block(model, samples[start : start + BLOCK]) for start in range(0, len(samples), BLOCK)]
    hashes = tuple(str(each) for block in blocks for each in block["hashes"])
    features = torch.from_numpy(np.concatenate([block["features"] for block in blocks]))
    maps = np.concatenate([block["maps"] for block in blocks])
    return EncodedImages(maps, features, hashes, sum(float(block["seconds"]) for block in blocks))


def _block(model: DualEncoder, samples: Sequence[Sample]) -> dict[str, Any]:
    key = hashlib.sha256("\n".join(_name(sample) for sample in samples).encode()).hexdigest()[:24]
    path = cache_dir("desk-clip") / f"{key}.npz"
    with contextlib.suppress(OSError, ValueError, KeyError), np.load(path) as file:
        return {name: file[name] for name in ("maps", "features", "hashes", "seconds")}
    begun = time.process_time()
    found = list(_encoded(model, samples))
    path.parent.mkdir(parents=True, exist_ok=True)
    block = {
        "maps": np.concatenate([maps.half().contiguous().numpy() for maps, _ in found]),
        "features": np.concatenate([features.numpy() for _, features in found]),
        "hashes": np.array([contents(sample.picture).hash for sample in samples]),
        "seconds": np.array(time.process_time() - begun),
    }
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **block)
    return block


def _name(sample: Sample) -> str:
    """Of a picture by what it is: a file's name and size, or the name of a drawing."""
    picture = sample.picture
    return f"{picture} {picture.stat().st_size}" if isinstance(picture, Path) else f"{picture.name} {sample.captions}"


@torch.no_grad()
def _encoded(model: DualEncoder, samples: Sequence[Sample]) -> Iterator[tuple[Tensor, Tensor]]:
    trunk = model.image_tower.backbone
    for start in range(0, len(samples), 32):
        images = model.read_images([sample.picture for sample in samples[start : start + 32]])
        maps = trunk.bn1(trunk.conv_stem(images.contiguous(memory_format=torch.channels_last)))
        for stage in trunk.blocks[:-1]:
            maps = stage(maps)
        yield maps, trunk.bn2(trunk.conv_head(trunk.blocks[-1](maps))).mean(dim=(2, 3))
