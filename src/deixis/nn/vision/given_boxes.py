"""Proposals that are given: the boxes that data have, as they are or moved, described by a network that knows more."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from deixis.inputs.preprocess import Preprocess
from deixis.ops.regions.boxes import box_jitter
from deixis.types.outputs import RegionProposals

__all__ = ["GivenBoxes"]


class GivenBoxes(nn.Module):
    """The boxes of the data; with `copies`, each of them also moved so many times, and as many random boxes as there
    are moved ones.

    Which boxes are drawn hangs on the seed and on the image's own boxes alone, hence not on the batch.

    Args:
        describer: proposals that also have `describe(images, boxes, valid)`, which says what is known of given boxes.
        copies: moved copies of each box.
        amount: how far they are moved, see `box_jitter`.
        seed: of the draws.
    """

    def __init__(self, describer: Any, *, copies: int = 0, amount: float = 0.3, seed: int = 0) -> None:
        super().__init__()
        self.describer = describer
        self.copies, self.amount, self.seed = copies, amount, seed

    @property
    def width(self) -> int:
        """Of a region's features."""
        return int(self.describer.width)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.describer.classes)

    @property
    def preprocess(self) -> Preprocess:
        """What images go through first."""
        found: Preprocess = self.describer.preprocess
        return found

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        settings = {"copies": self.copies, "amount": self.amount, "seed": self.seed}
        return {"kind": "GivenBoxes", **settings, "describer": self.describer.config}

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        boxes: Float[Tensor, "B T 4"],
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> RegionProposals:
        """The regions of each image: its own boxes in their order, then the moved ones, then the random ones.

        Args:
            images: as the describer takes them.
            boxes: of the data, from 0 to 1.
            valid: which are real; all by default.
        """
        real = torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device) if valid is None else valid
        boxes = boxes * real[..., None]
        if self.copies:
            drawn = [self._drawn(each[mask]) for each, mask in zip(boxes, real, strict=True)]
            boxes = torch.cat([boxes, pad_sequence(drawn, batch_first=True)], dim=1)
            counts = torch.tensor([len(each) for each in drawn], device=boxes.device)
            behind = torch.arange(boxes.shape[1] - real.shape[1], device=boxes.device) < counts[:, None]
            real = torch.cat([real, behind], dim=1)
        found: RegionProposals = self.describer.describe(images, boxes, real)
        return found

    def _drawn(self, boxes: Float[Tensor, "T 4"]) -> Float[Tensor, "N 4"]:
        """Copies of the boxes, moved, and as many boxes anywhere."""
        own = boxes.float().cpu()
        digest = hashlib.blake2b(own.numpy().tobytes(), digest_size=8, key=str(self.seed).encode()).digest()
        rng = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
        moved = box_jitter(own.repeat(self.copies, 1), self.amount, rng)
        anywhere = torch.rand(len(moved), 2, 2, generator=rng).sort(dim=1).values.flatten(1)
        return torch.cat([moved, anywhere]).to(boxes)
