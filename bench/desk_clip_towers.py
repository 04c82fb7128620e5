"""The towers of `desk-clip` behind what their parts at rest made of all pictures and texts: for training.

Pictures and texts come as numbers: of a picture or class among those encoded, of a text among those read. The modules
that train are those of the whole model, not copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.dual import DualEncoder
from deixis.nn.layers.pooling import masked_mean
from deixis.types.outputs import ImageStates, TokenStates

__all__ = ["CachedImages", "CachedTexts", "read_texts", "start"]


_TOGETHER = 24
"""Texts that are padded to one length."""


class CachedImages(nn.Module):
    """The image tower.

    Args:
        last: block of the trunk, which trains; None: the whole trunk is at rest.
        project: into the shared space.
        features: of all pictures behind the trunk at rest, and behind them those of classes.
        maps: of the pictures, before the last block.
        dropout: share of the features that is dropped in training.
    """

    def __init__(
        self, last: nn.Module | None, project: nn.Linear, features: Tensor, maps: np.ndarray, dropout: float
    ) -> None:
        super().__init__()
        self.register_module("last", last)
        self.project, self.dropout = project, nn.Dropout(dropout)
        self.width, self.feature_width = project.out_features, project.in_features
        self._features, self._maps = features, maps

    def forward(self, images: Tensor) -> ImageStates:
        """Of numbers [B, 1, 1, 1]."""
        numbers = images.flatten().long()
        features = self._features[numbers]
        if self.last is not None:
            pictures = (numbers < len(self._maps)).nonzero()[:, 0]
            maps = torch.from_numpy(self._maps[numbers[pictures].numpy()]).float()
            maps = maps.contiguous(memory_format=torch.channels_last)
            features = features.index_copy(0, pictures, self.last(maps).mean(dim=(2, 3)))
        features = self.dropout(features)
        return ImageStates(F.normalize(self.project(features), dim=-1), features, features.new_ones(len(features)))

    def tokens(self, images: Tensor) -> TokenStates:
        """None are cached."""
        raise NotImplementedError


class CachedTexts(nn.Module):
    """The text tower.

    Args:
        layers: the last ones, which train.
        project: into the shared space.
        states: of the tokens of all texts, before these layers.
    """

    def __init__(self, layers: nn.ModuleList, project: nn.Module, states: Sequence[Tensor]) -> None:
        super().__init__()
        self.layers, self.project, self._states = layers, project, states
        self.width = getattr(project, "out_features", states[0].shape[1])

    def means(self, numbers: Tensor) -> Tensor:
        """The mean states of texts behind the layers; texts of about one length go through them together."""
        lengths = torch.tensor([len(self._states[number]) for number in numbers.tolist()])
        order = lengths.argsort(stable=True)
        found = [self._together(some) for some in numbers[order].split(_TOGETHER)]
        return torch.cat(found)[order.argsort()]

    def _together(self, numbers: Tensor) -> Tensor:
        rows = [self._states[number] for number in numbers.tolist()]
        states = nn.utils.rnn.pad_sequence(rows, batch_first=True).float()
        mask = torch.arange(states.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        for layer in self.layers:
            states = layer(states, mask[:, None, :])
        return masked_mean(states, mask)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Of numbers [B, 1]."""
        return F.normalize(self.project(self.means(tokens[:, 0])), dim=-1)

    def tokens(self, tokens: Tensor, mask: Tensor | None = None) -> TokenStates:
        """None are cached."""
        raise NotImplementedError


@torch.no_grad()
def read_texts(model: DualEncoder, texts: Sequence[str], layers: int) -> list[Tensor]:
    """The states of the tokens of each text before the last `layers` layers, in 16 bits."""
    bert: Any = model.text_tower.encoder.network.bert  # type: ignore[union-attr]
    order, found = sorted(range(len(texts)), key=lambda i: len(texts[i])), [torch.empty(0)] * len(texts)
    for begin in range(0, len(order), 64):
        some = order[begin : begin + 64]
        ids, mask = model.tokenize([texts[i] for i in some])
        places = bert.positions.weight[: ids.shape[1]] + bert.kinds.weight[0]
        states = bert.norm(bert.words(ids) + places)
        for layer in bert.layers[: len(bert.layers) - layers]:
            states = layer(states, mask[:, None, :])
        for i, row, real in zip(some, states, mask, strict=True):
            found[i] = row[real].half()
    return found


@torch.no_grad()
def start(model: DualEncoder, features: Tensor, means: Tensor, penalty: float) -> None:
    """Sets the projections to where training starts: the texts' principal directions, and the ridge regression of the
    pictures' features onto their texts in these.

    Args:
        model: the whole one.
        features: of pictures and classes.
        means: of the states of a text of each.
        penalty: of the regression, over the mean of the features' second moments.
    """
    image, text = model.image_tower, model.text_tower
    texts = F.normalize(means, dim=-1)
    directions = torch.linalg.svd(texts - texts.mean(0), full_matrices=False).Vh[: model.width]
    features, wanted = F.normalize(features, dim=-1), F.normalize(texts @ directions.T, dim=-1)
    moments = features.T @ features
    ridge = penalty * moments.diagonal().mean() * torch.eye(len(moments))
    weight = torch.linalg.solve(moments + ridge, features.T @ wanted).T
    image.project.weight.copy_(weight / weight.std() * weight.shape[1] ** -0.5)  # type: ignore[union-attr, operator]
    text.project.weight.copy_(directions)  # type: ignore[union-attr, operator]
