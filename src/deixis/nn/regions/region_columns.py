"""Regions as columns of a batch: a detector's boxes or one's own, and of each one vector that a method reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torchvision.ops import roi_align

from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.types.outputs import RegionProposals
from deixis.types.protocols import ImageEncoder, Proposals, TextEncoder

__all__ = ["RegionColumns", "RegionFeatures", "name_vectors"]

RegionFeatures = Literal["map", "crop", "names"]
"""What a region's vector is: the detector's features; those of an image tower that sees its crop; or the mean of the
vectors of the classes' names, each as likely as the detector says."""


class RegionColumns(nn.Module):
    """Gives boxes, scores, classes and features of the regions of images, for fields with `made`.

    Args:
        proposals: the detector, or what describes given boxes.
        features: see `RegionFeatures`.
        tower: sees crops; for `crop`.
        names: a vector for each of the detector's classes; for `names`.

    Raises:
        DeixisError: what the features are made with is missing.
    """

    names: Tensor | None

    def __init__(
        self,
        proposals: Proposals,
        features: RegionFeatures = "map",
        *,
        tower: ImageEncoder | None = None,
        names: Float[Tensor, "C D"] | None = None,
    ) -> None:
        super().__init__()
        if (features == "crop" and tower is None) or (features == "names" and names is None):
            lacking = "an image tower" if features == "crop" else "vectors of the class names"
            raise DeixisError(f"Features of regions by {features!r} need {lacking}.", "Use features of the map.")
        self.proposals, self.features = proposals, features
        self.tower = tower if features == "crop" else None
        self.register_buffer("names", names if features == "names" else None)

    @property
    def width(self) -> int:
        """Of a region's vector."""
        if self.tower is not None:
            return self.tower.width
        return self.proposals.width if self.names is None else self.names.shape[1]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the detector's classes."""
        return self.proposals.classes

    @property
    def preprocess(self) -> Preprocess:
        """Of the detector."""
        own = self.proposals.preprocess
        assert isinstance(own, Preprocess)
        return own

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {
            "kind": "RegionColumns",
            "features": self.features,
            "proposals": getattr(self.proposals, "config", {}),
            "tower": getattr(self.tower, "config", {}),
            "crops": self.tower.preprocess.to_dict() if self.tower is not None else {},  # type: ignore[attr-defined]
        }

    def regions(
        self,
        images: Float[Tensor, "B 3 H W"],
        boxes: Float[Tensor, "B T 4"] | None = None,
        valid: Bool[Tensor, "B T"] | None = None,
    ) -> RegionProposals:
        """The regions of images as the detector takes them.

        Args:
            images: prepared by `preprocess`.
            boxes: that are given; by default the detector proposes them.
            valid: which of them are real; all by default.

        Raises:
            DeixisError: boxes are given, and the detector can't describe them; or none are, and it proposes none.
        """
        found = self._found(images, boxes, valid)
        if self.features == "map":
            return found
        vectors = found.classes @ self.names if self.names is not None else self._crops(images, found)
        return RegionProposals(
            found.boxes, found.valid, found.scores, vectors * found.valid[..., None], found.classes, found.masks
        )

    def _found(self, images: Tensor, boxes: Tensor | None, valid: Tensor | None) -> RegionProposals:
        given: Any = self.proposals
        describer = getattr(given, "describer", None)
        if boxes is None:
            if describer is not None:
                raise DeixisError(
                    "These proposals are the boxes of the data, and none are given.", "Give them: --boxes."
                )
            found: RegionProposals = given(images)
            return found
        real = torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device) if valid is None else valid
        if describer is None and not hasattr(given, "describe"):
            raise DeixisError("The detector can't describe boxes that are given.", "Use centernet.")
        found = given.describe(images, boxes, real) if describer is None else given(images, boxes, real)
        return found

    def _crops(self, images: Tensor, found: RegionProposals) -> Float[Tensor, "B T F"]:
        """What the tower says of each box as a picture of its own."""
        assert self.tower is not None
        own, seen = self.preprocess, self.tower.preprocess
        assert isinstance(seen, Preprocess)
        mean, std = (images.new_tensor(getattr(own, each))[:, None, None] for each in ("mean", "std"))
        size = images.new_tensor([images.shape[3], images.shape[2]] * 2)
        corners = list((found.boxes.to(images) * size).unbind(0))
        crops = roi_align(images * std + mean, corners, seen.size, sampling_ratio=2, aligned=True)
        mean, std = (images.new_tensor(getattr(seen, each))[:, None, None] for each in ("mean", "std"))
        rows = self.tower((crops - mean) / std)
        return rows.unflatten(0, found.boxes.shape[:2])


@torch.no_grad()
def name_vectors(encoder: TextEncoder, names: Sequence[str]) -> Float[Tensor, "C D"]:
    """The mean of the word vectors of each name: what the first layer of an encoder is given for it, before positions.

    Args:
        encoder: that has vectors of words.
        names: of classes.
    """
    with torch.device("cpu"):
        marks = encoder.tokenizer([""], encoder.context_length)
        tokens = encoder.tokenizer(list(names), encoder.context_length)
        own = tokens.mask & ~torch.isin(tokens.ids, marks.ids[marks.mask])
        share = own / own.sum(1, keepdim=True).clamp(min=1)
    where = next((each.device for each in getattr(encoder, "parameters", lambda: iter(()))()), torch.device("cpu"))
    rows = encoder.embeddings(tokens.ids.to(where)).cpu()
    return (share[..., None] * rows).sum(1)
