"""An image classifier joined to a text tower without training: a picture lies where the names of its classes lie.

Norouzi et al. 2014, "Zero-shot learning by convex combination of semantic embeddings" (ConSE), arXiv 1312.5650.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.vision.pyramid import Level, feature_maps, levels_of
from deixis.types.outputs import ImageStates, TokenStates

__all__ = ["ClassifierTower", "ConSE"]


class ConSE(nn.Module):
    """Class scores to a point among the texts: the mean of the likeliest classes' text embeddings (equation 2).

    The weights are the softmax of the k highest scores at a temperature, which equals the softmax over all classes cut
    to its k largest values and scaled to sum 1. Gradients pass through the weights; the choice of the k does not move.

    Args:
        prototypes: one text embedding a class, constant.
        k: classes that are mixed; all where there are fewer.
        temperature: that the scores are divided by.
    """

    prototypes: Tensor

    def __init__(self, prototypes: Float[Tensor, "C D"], k: int, temperature: float) -> None:
        super().__init__()
        self.register_buffer("prototypes", prototypes)
        self.k, self.temperature = min(k, len(prototypes)), temperature

    def forward(self, scores: Float[Tensor, "... C"]) -> Float[Tensor, "... D"]:
        """The mixed embeddings, scaled to length 1."""
        return F.normalize(self.mix(scores), dim=-1)

    def mix(self, scores: Float[Tensor, "... C"]) -> Float[Tensor, "... D"]:
        """The mixed embeddings as they come: the shorter, the less the classes agree."""
        top = scores.topk(self.k, dim=-1)
        weights = torch.zeros_like(scores).scatter(-1, top.indices, (top.values / self.temperature).softmax(dim=-1))
        return weights @ self.prototypes

    def extra_repr(self) -> str:
        """The sizes, for `print`."""
        classes, width = self.prototypes.shape
        return f"classes={classes}, width={width}, k={self.k}, temperature={self.temperature}"


class ClassifierTower(nn.Module):
    """An image tower out of a classifier: map of features -> mean -> class scores -> ConSE.

    Args:
        backbone: images [B, 3, H, W] -> map of features [B, F, h, w].
        classifier: features -> class scores.
        head: class scores -> embedding.
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Linear, head: ConSE) -> None:
        super().__init__()
        # two to three times faster on a CPU; the numbers are the same up to rounding
        self.backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.classifier, self.head = classifier, head
        self.width = head.prototypes.shape[1]
        self.feature_width = classifier.in_features

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"head": "conse", "k": self.head.k, "temperature": self.head.temperature}

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F h w"]:
        """The map that the classifier reads."""
        return self.backbone(images.contiguous(memory_format=torch.channels_last))

    @property
    def levels(self) -> tuple[Level, ...]:
        """Of the maps that `feature_maps` gives."""
        return levels_of(self.backbone, self.feature_width)

    def feature_maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B c h w"]]:
        """One map a stride, from within the backbone."""
        return feature_maps(self.backbone, images.contiguous(memory_format=torch.channels_last))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> ImageStates:
        """Embedding, pooled features, and as doubt 1 minus the largest class probability."""
        features = F.adaptive_avg_pool2d(self.cells(images), 1).flatten(1)
        scores = self.classifier(features)
        return ImageStates(self.head(scores), features, 1 - scores.softmax(dim=-1).amax(dim=-1))

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """What each cell of the map would be alone: the classifier and ConSE applied to it; not normalised."""
        cells = self.cells(images)
        states = self.head.mix(self.classifier(cells.flatten(2).transpose(1, 2)))
        everywhere = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        return TokenStates(states, everywhere, (cells.shape[2], cells.shape[3]))
