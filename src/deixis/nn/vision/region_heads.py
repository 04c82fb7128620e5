"""Proposals of torchvision's two-stage detectors: what their second stage says of each region."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.inputs.preprocess import Preprocess
from deixis.ops.regions.boxes import box_clip, nms
from deixis.types.outputs import RegionProposals

__all__ = ["RegionHeadProposals"]

_OVERLAP = 0.6


class RegionHeadProposals(nn.Module):
    """Proposals of a Faster R-CNN.

    Args:
        network: of torchvision, with `transform`, `backbone`, `rpn` and `roi_heads`.
        classes: names; the network's class 0 is the background and has none, and one without a name (`N/A`) counts as
            none.
        preprocess: of its images, which are from 0 to 1.
        count: regions of an image at the most.
    """

    def __init__(self, network: Any, classes: tuple[str, ...], preprocess: Preprocess, *, count: int) -> None:
        super().__init__()
        self.network, self.preprocess, self.count = network, preprocess, count
        places = [place for place, name in enumerate(classes) if place and name != "N/A"]
        self.classes = tuple(classes[place] for place in places)
        self._places = places
        self.width = int(network.roi_heads.box_predictor.cls_score.in_features)

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"kind": "RegionHeadProposals", "classes": list(self.classes), "count": self.count}

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> RegionProposals:
        """The regions of each image, the likeliest first."""
        heads = self.network.roi_heads
        scaled, _ = self.network.transform(list(images))
        maps = self.network.backbone(scaled.tensors)
        maps = {"0": maps} if isinstance(maps, Tensor) else maps
        proposals, _ = self.network.rpn(scaled, maps)
        states = heads.box_head(heads.box_roi_pool(maps, proposals, scaled.image_sizes))
        logits, deltas = heads.box_predictor(states)
        boxes = heads.box_coder.decode(deltas, proposals)  # [N, C, 4]
        chances = logits.softmax(-1)[:, self._places]
        best = chances.argmax(-1)
        boxes = boxes[torch.arange(len(boxes)), torch.tensor(self._places, device=best.device)[best]]
        sizes = [len(each) for each in proposals]
        rows = zip(boxes.split(sizes), chances.split(sizes), states.split(sizes), scaled.image_sizes, strict=True)
        return RegionProposals.padded(*zip(*(self._kept(*row) for row in rows), strict=True))

    def _kept(
        self, boxes: Tensor, chances: Tensor, states: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        boxes = box_clip(boxes / boxes.new_tensor([size[1], size[0]] * 2))
        scores = chances.amax(-1) * (boxes[:, 2:] > boxes[:, :2]).all(-1)
        kept = nms(boxes, scores, _OVERLAP)[: self.count]
        kept = kept[scores[kept] > 0]
        return boxes[kept], scores[kept], states[kept], chances[kept] / chances[kept].sum(-1, keepdim=True)
