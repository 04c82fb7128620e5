"""Heads that tell what was hidden of words and regions, and whether a text and a picture belong together; and what they
are measured by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from deixis.nn.regions.single_stream import PredictionHead, SingleStream
from deixis.ops.collective import mean_count

__all__ = ["GapHeads", "HiddenVectors", "mean_loss", "share_right", "small_start"]

_SPREAD = 0.02


class GapHeads(nn.Module):
    """What tells hidden words, hidden regions and whether a pair matches, from the states of a stream.

    Args:
        stream: whose tables and maps are tied.
        tasks: which are told: `mlm`, `mrfr`, `mrc`, `mrckl`, `itm`.
        features: width of the regions' features (F).
        classes: of the detector (C).
    """

    def __init__(self, stream: SingleStream, tasks: Sequence[str], features: int, classes: int) -> None:
        super().__init__()
        width = stream.config.width
        if "mlm" in tasks:
            self.word, self.word_bias = PredictionHead(width), nn.Parameter(torch.zeros(stream.config.vocabulary))
        if "mrfr" in tasks:
            self.feature, self.feature_bias = PredictionHead(width), nn.Parameter(torch.zeros(features))
        if {"mrc", "mrckl"} & set(tasks):
            self.kind = nn.Sequential(PredictionHead(width), nn.Linear(width, classes))
        self.match = nn.Linear(width, 2)

    def words(self, states: Float[Tensor, "M D"], table: Float[Tensor, "V D"]) -> Float[Tensor, "M V"]:
        """Logits of all words, by the table that words are embedded with."""
        return self.word(states) @ table.T + self.word_bias

    def features(self, states: Float[Tensor, "M D"], weight: Float[Tensor, "D F"]) -> Float[Tensor, "M F"]:
        """Features, by the map that they are embedded with."""
        return self.feature(states) @ weight + self.feature_bias

    def classes(self, states: Float[Tensor, "M D"]) -> Float[Tensor, "M C"]:
        """Logits of the detector's classes."""
        return self.kind(states)


class HiddenVectors(nn.Module):
    """What stands in place of a hidden word and of a hidden region's features.

    Args:
        width: of the states (D).
        features: of the regions (F).
    """

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.word = nn.Parameter(torch.randn(width) * _SPREAD)
        self.region = nn.Parameter(torch.randn(features) * _SPREAD)


def small_start(module: nn.Module) -> None:
    """The start of new linear maps and tables, as BERT's; for `apply`.

    Args:
        module: any.
    """
    if isinstance(module, nn.Linear | nn.Embedding) and module.weight.requires_grad:
        nn.init.normal_(module.weight, std=_SPREAD)
    if isinstance(module, nn.Linear) and module.bias is not None and module.bias.requires_grad:
        nn.init.zeros_(module.bias)


def mean_loss(losses: Float[Tensor, "*M"], count: int, by_row: bool = False) -> Float[Tensor, ""]:
    """The mean over the rows of all ranks, and over the numbers of a row unless these are summed.

    Args:
        losses: of this rank's rows.
        count: of these rows.
        by_row: whether the numbers of a row are summed.
    """
    width = 1 if by_row or losses.dim() == 1 else losses.shape[1]
    return losses.sum() / (mean_count(float(count)).clamp(min=1e-6).to(losses) * width)


def share_right(logits: Float[Tensor, "M C"], targets: Int64[Tensor, " M"]) -> Float[Tensor, ""]:
    """The share of rows whose highest logit is that of the target; 0 where there are none.

    Args:
        logits: of each row.
        targets: a class each.
    """
    return (logits.detach().argmax(1) == targets).float().mean() if len(logits) else logits.new_zeros(())
