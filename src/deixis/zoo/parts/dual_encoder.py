"""An image tower and a text tower that meet in one space."""

from __future__ import annotations

from typing import Any

from deixis import zoo
from deixis.nn.dual import DualEncoder
from deixis.types import PartKind, PartSource, Source
from deixis.zoo import scratch
from deixis.zoo.parts import texts_of
from deixis.zoo.reader import characters

__all__ = ["PART", "load"]

PART = PartKind(
    gives="an image tower and a text tower with a shared embedding space, with preprocessing and tokenizer",
    protocol="DualEncoder",
    sources=(
        PartSource(
            "starter",
            "starter",
            "EfficientNet-Lite0 and MiniLM-L6 joined without training",
            "101 MB once, by `deixis data get starter`",
        ),
        PartSource(
            "desk-clip",
            "desk-clip",
            "the starter's towers, trained jointly on drawings",
            "101 MB once, by `deixis data get desk-clip`: the starter; what training changed is part of the package",
        ),
        PartSource("tiny", "tiny", "random weights, for tests"),
        PartSource("tiny-vit", "tiny-vit", "the same with a vision transformer"),
        PartSource("FOLDER", "my-run", "what `deixis adapt` or `deixis train` wrote, or a folder of another program"),
        PartSource("FILE.pt", "ViT-B-32.pt", "a CLIP as OpenAI published it"),
        PartSource(
            "ARCHITECTURE/TAG",
            "ViT-B-32/laion2b_s34b_b79k",
            "a checkpoint by open_clip's names, see `deixis list models`",
            "once, from the Hugging Face hub: `deixis list models` has the sizes",
        ),
        PartSource(
            "hf-hub:ORGANISATION/NAME",
            "hf-hub:timm/ViT-B-16-SigLIP",
            "an image-text model of the Hugging Face hub, for open_clip or transformers",
            "once, as large as the repository's weights: 600 to 800 MB for a ViT-B",
        ),
        PartSource(
            "characters[:HxW][:SIZE]",
            "characters:16x64",
            "new weights for pictures of words, H x W pixels, and texts character by character",
        ),
        PartSource("scratch:OPTIONS", "scratch:resnet:base:96", "new weights, and the words of the training texts"),
    ),
)


def load(name: Any, *, source: Source | None = None, seed: int = 0, **options: Any) -> DualEncoder:
    """The encoder called `name`; one that exists already is given back.

    Args:
        name: see `PART`.
        source: whose words a new encoder knows.
        seed: of a new encoder's weights.
        **options: what `zoo.load` takes.

    Raises:
        DeixisError: as `zoo.load`; or the source of a new encoder has no words.
    """
    if not isinstance(name, str):
        return name
    new = scratch.options(name)
    if name.partition(":")[0] == characters.NAME:
        return characters.load(name, seed)
    if new is None or source is None:
        return zoo.load(name, **options)
    return scratch.build(texts_of(source), seed=seed, **new)
