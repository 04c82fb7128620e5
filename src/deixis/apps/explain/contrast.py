"""What a text is held against where nobody names something else, and whether a map depends on its text at all."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.data.synthetic.scenes.wording import article
from deixis.nn.dual import DualEncoder
from deixis.ops.maps import spearman
from deixis.types.outputs import Maps

__all__ = ["COUNTERS", "EVERYDAY", "EverydayContrast", "split_counters"]

EVERYDAY = tuple(
    """person man woman child face hand dog cat bird horse cow sheep elephant bear fish butterfly insect snake frog car
    truck bus bicycle motorcycle train airplane boat ship tree flower leaf lawn mountain sky cloud sea beach river road
    street bridge house building tower door window wall chair table sofa bed lamp clock book newspaper pen phone
    computer keyboard television camera bottle cup glass plate bowl knife fork spoon pot bread cake fruit apple banana
    orange vegetable pizza egg shirt dress coat hat shoe bag umbrella watch ring ball toy doll guitar piano drum hammer
    key box basket candle flag sign letter coin fire stone shell crown heart star circle""".split()
)
"""Nouns of common things, of many kinds; no list of a benchmark."""

COUNTERS = 3
"""Unrelated texts with whose maps a map is compared."""

_SAME = 0.8
"""Rank correlation from which two maps are one to a person's eye. Those of NormGrad for two things of a scene have 0.9.
"""


class EverydayContrast:
    """The embeddings of everyday things, as captions.

    Args:
        encoder: whose texts they are.
        stride: takes each so many-th only, where a few are enough.
    """

    def __init__(self, encoder: DualEncoder, stride: int = 1) -> None:
        texts = [f"a picture of {article(noun)} {noun}" for noun in EVERYDAY[::stride]]
        with torch.no_grad():
            self.texts = encoder.encode_text(texts)

    def counters(self, directions: Float[Tensor, "T D"]) -> Float[Tensor, "K D"]:
        """`COUNTERS` things, each the least like all of T texts and like those before it.

        Args:
            directions: embeddings of the texts.
        """
        known = directions.to(self.texts)
        for _ in range(COUNTERS):
            farthest = (self.texts @ known.T).amax(dim=1).argmin()
            known = torch.cat([known, self.texts[farthest][None]])
        return known[len(directions) :]


def split_counters(maps: Maps) -> tuple[Maps, tuple[tuple[bool, ...], ...]]:
    """The maps without the last `COUNTERS` of each image, which belong to unrelated texts; and which of them are nearly
    those, all of them.

    Args:
        maps: [B, T + K, H, W].
    """
    images, counters = maps.image[:, :-COUNTERS], maps.image[:, -COUNTERS:]
    pairs = (
        images[:, :, None].expand(-1, -1, COUNTERS, -1, -1),
        counters[:, None].expand(-1, images.shape[1], -1, -1, -1),
    )
    alike = (spearman(*(each.flatten(0, 2) for each in pairs)) > _SAME).reshape(*images.shape[:2], COUNTERS).all(-1)
    raw = {name: each[:, :-COUNTERS] for name, each in maps.raw.items()}
    return dataclasses.replace(maps, image=images, raw=raw), tuple(tuple(row) for row in alike.tolist())
