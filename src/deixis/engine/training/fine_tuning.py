"""A tower and a new classifier on it learn a few labels together: fine-tuning, in claims and in `deixis eval`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FineTuning", "fine_tune", "fresh_head", "renew"]


class FineTuning(NamedTuple):
    """How a tower is fine-tuned.

    Attributes:
        rate: learning rate at the start; it falls to zero by half a cosine.
        decay: weight decay of AdamW.
        steps: their number.
        batch: images a step, drawn with replacement.
        shift: by which images of a step are shifted at the most, in pixels.
    """

    rate: float
    decay: float
    steps: int
    batch: int = 64
    shift: int = 2


def fresh_head(width: int, classes: int) -> nn.Linear:
    """A linear classifier whose weights are zero: it favours no class, whatever its seed.

    Args:
        width: of the features.
        classes: their number.
    """
    head = nn.Linear(width, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def fine_tune(
    tower: nn.Module,
    head: nn.Linear,
    features: Callable[[Float[Tensor, "B 3 H W"]], Float[Tensor, "B F"]],
    images: Callable[[Int64[Tensor, " B"]], Float[Tensor, "B 3 H W"]],
    labels: Int64[Tensor, " N"],
    how: FineTuning,
    seed: int,
) -> None:
    """Tower and head learn the labels of images that are shifted and mirrored at random. Call `renew` afterwards.

    Args:
        tower: all of whose weights train; it stays in training mode.
        head: that reads its features.
        features: what the tower gives for images.
        images: those of some places among the N.
        labels: of all N.
        how: rate, decay and length.
        seed: of the order, the shifts and the mirrors.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = [*tower.requires_grad_(True).parameters(), *head.parameters()]
    optim = torch.optim.AdamW(parameters, lr=how.rate, weight_decay=how.decay)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optim, how.steps)
    tower.train()
    for _ in range(how.steps):
        rows = torch.randint(len(labels), (how.batch,), generator=generator)
        found = head(features(_varied(images(rows), how.shift, generator)))
        loss = F.cross_entropy(found, labels[rows].to(found.device))
        optim.zero_grad()
        loss.backward()
        optim.step()
        fall.step()


def renew(
    tower: nn.Module,
    features: Callable[[Float[Tensor, "B 3 H W"]], Float[Tensor, "B F"]],
    batches: Iterable[Float[Tensor, "B 3 H W"]],
) -> None:
    """Batch norms take the statistics of these images by the weights as they are at last; those that they followed are
    of weights that went on moving, and at first of what the tower saw before.

    Args:
        tower: in training mode.
        features: what it gives for images.
        batches: of all images, of nearly one size.
    """
    norms = [each for each in tower.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for images in batches if norms else ():
            features(images)


def _varied(images: Float[Tensor, "B 3 H W"], shift: int, generator: torch.Generator) -> Float[Tensor, "B 3 H W"]:
    """All shifted alike, half of them mirrored."""
    down, right = (torch.randint(-shift, shift + 1, (2,), generator=generator)).tolist()
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    shifted = images.roll((down, right), (2, 3))
    return torch.where(mirrored.to(shifted.device), shifted.flip(3), shifted)
