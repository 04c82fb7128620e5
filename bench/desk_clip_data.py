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
from collections.abc import Iterator, Mapping, Sequence, Set
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
from deixis.inputs.preprocess import Preprocess
from deixis.nn.vision.conse import ClassifierTower
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
        choice: whether it shows or is called as a concept that settings are chosen on.
    """

    key: str
    sample: Sample | None
    row: int
    texts: tuple[str, ...]
    choice: bool


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


def _named(texts: Sequence[str], labels: Set[str]) -> bool:
    """Whether one of the labels stands in one of the texts, as words."""
    words = [normalise(text).split() for text in texts]
    longest = max(len(label.split()) for label in labels)
    return any(
        " ".join(each[i : i + n]) in labels for each in words for n in range(1, longest + 1) for i in range(len(each))
    )


# --- pairs ------------------------------------------------------------------------------------------------------------


def pairs() -> list[Pair]:
    """The pictures that are trained on; scenes hold no concept that settings are chosen on."""
    samples, listed = emoji_samples(), concepts()
    codes = dict(zip([sample.id for sample in samples], concept_codes(samples), strict=True))
    part = {name: listed.get(code, "train") for name, code in codes.items()}
    trained = [s for s in samples if s.extra.get("style") != EXCLUDED_STYLE and part[s.id] != "unseen"]
    labels = {each: _labels(samples, codes, listed, each) for each in ("unseen", "choice")}
    clipart = [s for s in catalogue.read("clipart").samples if not _named(s.captions, labels["unseen"])]
    cast = tuple(cutouts_of([s for s in trained if part[s.id] == "train"]))
    drawn = scenes(0, SCENES, config=SceneConfig(cast=cast, masks=False, phrases=0, questions=0)).samples
    return [
        *(_pair(s, codes[s.id], part[s.id] == "choice") for s in trained),
        *(_pair(s, normalise(s.captions[0]), _named(s.captions, labels["choice"])) for s in (*clipart, *drawn)),
    ]


def _labels(samples: Sequence[Sample], codes: Mapping[str, str], listed: Mapping[str, Part], part: Part) -> set[str]:
    """What the emoji of a part are called."""
    return {normalise(sample.captions[0]) for sample in samples if listed.get(codes[sample.id]) == part}


def _pair(sample: Sample, key: str, choice: bool) -> Pair:
    tags = sample.extra.get("tags", ()) if "emoji" in sample.extra else ()
    tagged = (", ".join((sample.captions[0], *tags[:TAGS])),) if tags else ()
    return Pair(key, sample, -1, (*sample.captions, *tagged), choice)


def row_pairs() -> list[Pair]:
    """The classes of the classifier but those called as an unseen concept: by name, and by names with definition."""
    samples, listed = emoji_samples(), concepts()
    codes = dict(zip([sample.id for sample in samples], concept_codes(samples), strict=True))
    labels = {each: _labels(samples, codes, listed, each) for each in ("unseen", "choice")}
    found = []
    for row, (names, text) in enumerate(zip(class_prompts("lemmas"), class_prompts(), strict=True)):
        own = {normalise(name) for name in names.split(", ")}
        if not own & labels["unseen"]:
            texts = (names.split(", ")[0], names, text)
            found.append(Pair(f"class:{row}", None, row, texts, bool(own & labels["choice"])))
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


def encode(tower: ClassifierTower, preprocess: Preprocess, samples: Sequence[Sample]) -> EncodedImages:
    """Encodes pictures a block at a time; blocks lie in the cache, so that a build that was stopped goes on.

    Args:
        tower: the starter's.
        preprocess: of its images.
        samples: of pictures.
    """
    blocks = [_block(tower, preprocess, samples[start : start + BLOCK]) for start in range(0, len(samples), BLOCK)]
    hashes = tuple(str(each) for block in blocks for each in block["hashes"])
    features = torch.from_numpy(np.concatenate([block["features"] for block in blocks]))
    maps = np.concatenate([block["maps"] for block in blocks])
    return EncodedImages(maps, features, hashes, sum(float(block["seconds"]) for block in blocks))


def _block(tower: ClassifierTower, preprocess: Preprocess, samples: Sequence[Sample]) -> dict[str, Any]:
    key = hashlib.sha256("\n".join(_name(sample) for sample in samples).encode()).hexdigest()[:24]
    path = cache_dir("desk-clip") / f"{key}.npz"
    with contextlib.suppress(OSError, ValueError, KeyError), np.load(path) as file:
        return {name: file[name] for name in ("maps", "features", "hashes", "seconds")}
    begun = time.process_time()
    found = list(_encoded(tower, preprocess, samples))
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
def _encoded(
    tower: ClassifierTower, preprocess: Preprocess, samples: Sequence[Sample]
) -> Iterator[tuple[Tensor, Tensor]]:
    trunk: Any = tower.backbone
    for start in range(0, len(samples), 32):
        images = preprocess.read([sample.picture for sample in samples[start : start + 32]])
        maps = trunk.bn1(trunk.conv_stem(images.contiguous(memory_format=torch.channels_last)))
        for stage in trunk.blocks[:-1]:
            maps = stage(maps)
        yield maps, trunk.bn2(trunk.conv_head(trunk.blocks[-1](maps))).mean(dim=(2, 3))
