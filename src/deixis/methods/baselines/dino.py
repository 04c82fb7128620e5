"""DINO: a tower learns to say of small crops what its own moving average says of large ones.

    L = mean over a, v != a of - sum_k softmax((t_a - c) / tau_t)_k log softmax(s_v / tau_s)_k

with a the two crops of the teacher and v all of the student, t and s what head and tower, or their moving averages,
give, and c the moving average of the teacher's rows, which keeps one direction from winning everywhere (Caron et al.,
Emerging Properties in Self-Supervised Vision Transformers, 2021, section 3.1). The loss takes the centre of the step
before.

The weight decay rises by half a cosine (`optim.final_weight_decay`), and blocks are left out at random in the student
alone (`drop_path`). What differs from the authors' code: the temperature of the teacher, and the decay with it, is
counted in the run, of which a temperature holds for an `epochs`-th.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.collapse import collapse_warnings, copies_found, unit_deviation
from deixis.nn.ema import MovingAverage, momentum_at
from deixis.nn.layers.norms import share_batch_norms
from deixis.nn.vision.any_size import parameters_before, pooled, pooled_crops, tokens
from deixis.ops.collective import mean_count, total
from deixis.ops.precision import to_float32
from deixis.types import (
    Augment,
    Batch,
    Card,
    Crop,
    FieldSpec,
    Losses,
    OptimSpec,
    Part,
    Progress,
    Stage,
    TokenStates,
    ViewSpec,
)
from deixis.types.protocols import ImageEncoder

__all__ = [
    "CARD",
    "CLAIMS",
    "Config",
    "DinoHead",
    "Method",
    "centred_cross_entropy",
    "drop_paths",
    "moved_centre",
    "targets_and_logs",
    "temperatures",
]

CARD = Card(
    title="Emerging Properties in Self-Supervised Vision Transformers (DINO)",
    year=2021,
    kind="trained",
    role="ancestor",
    needs=(FieldSpec("views", "B V 3 H W"),),
    parts=(Part("encoder", "image_tower"),),
    capabilities=("encode_image", "image_tokens"),
    non_gradient_state=("teacher", "centre"),
    skip_contract=("learned",),  # the centre makes what is wanted harder as it moves: the loss rises first
    zero_gradient=("attention.key.bias",),
    venue="ICCV",
    arxiv="2104.14294",
    code="facebookresearch/dino",
    tags=("self-supervised", "images without text"),
)


_DROP_PATHS = ("drop_path", "drop_path1", "drop_path2")
"""Names of the places, in timm's blocks, where one may be left out."""


@dataclass(frozen=True)
class Config:
    """Settings of DINO.

    Attributes:
        encoder: the image tower that is trained.
        layers: which of its weights train: `all`, or `last` (the last block and what lies behind it).
        hidden: width of the head's hidden layers.
        bottleneck: width of the unit vector in front of the last layer.
        prototypes: outputs of the head (K).
        student_temperature: tau_s.
        teacher_temperature: tau_t at the start and at the end.
        warm: epochs in which it rises.
        epochs: parts of the run by which it is counted.
        centre_momentum: share of the centre that stays.
        momentum: of the teacher at the start; it rises to 1 by half a cosine.
        held_steps: steps from the start in which the head's last layer does not move.
        drop_path: how often the student's last block is left out for an image, and the ones before it the less often
            the earlier they are; the teacher has all. 0: the tower stays as it is.
        optim: how it is optimised.
        view: the crops; the first group are the two that the teacher sees.
    """

    encoder: str = "starter"
    layers: Literal["all", "last"] = "all"
    hidden: int = 2048
    bottleneck: int = 256
    prototypes: int = 65_536
    student_temperature: float = 0.1
    teacher_temperature: tuple[float, float] = (0.04, 0.04)
    warm: int = 30
    epochs: int = 300
    centre_momentum: float = 0.9
    momentum: float = 0.996
    held_steps: int = 1252
    drop_path: float = 0.0
    optim: OptimSpec = OptimSpec(
        learning_rate=5e-4 * 1024 / 256,
        weight_decay=0.04,
        final_weight_decay=0.4,
        schedule="cosine",
        warmup=10 / 300,
        floor=1e-6 / 2e-3,
        clip=3.0,
    )
    view: ViewSpec = ViewSpec(
        size=0,
        crops=(
            Crop(2, 224, Augment(scale=(0.25, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.5, solarise=0.1)),
            Crop(8, 96, Augment(scale=(0.05, 0.25), jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.5)),
        ),
    )

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny tower, seven outputs."""
        return cls(
            encoder="tiny",
            hidden=16,
            bottleneck=8,
            prototypes=7,
            held_steps=0,
            optim=OptimSpec(learning_rate=1e-2, weight_decay=0.0),
            view=ViewSpec(size=0, crops=(Crop(2, 16), Crop(1, 8))),
        )

    @classmethod
    def desk(cls) -> Config:
        """For some hundred to thousand photos on two cores: the last block of a trained tower, few outputs."""
        return cls(
            layers="last",
            hidden=512,
            bottleneck=128,
            prototypes=512,
            momentum=0.99,
            held_steps=20,
            optim=OptimSpec(learning_rate=5e-4, weight_decay=1e-4, schedule="cosine", warmup=0.05),
            view=ViewSpec(
                size=0,
                crops=(
                    Crop(2, 128, Augment(scale=(0.3, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.5)),
                    Crop(2, 64, Augment(scale=(0.1, 0.3), jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.5)),
                ),
            ),
        )

    @classmethod
    def paper(cls) -> Config:
        """A ViT-S/16 of timm, batches of 1,024, 300 epochs of ImageNet."""
        return cls(encoder="timm:vit_small_patch16_224:untrained", drop_path=0.1)


class DinoHead(nn.Module):
    """Three linear maps with GELU between them, a unit vector, and its cosines with learned directions.

    Args:
        width: of what comes in.
        hidden: of the hidden layers.
        bottleneck: of the unit vector.
        outputs: directions (K).
    """

    def __init__(self, width: int, hidden: int, bottleneck: int, outputs: int) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.directions = nn.Parameter(torch.randn(outputs, bottleneck))

    def forward(self, rows: Float[Tensor, "... D"]) -> Float[Tensor, "... K"]:
        """Cosines, whatever the length of the directions."""
        return F.normalize(self.maps(rows), dim=-1) @ F.normalize(self.directions, dim=1).T


def temperatures(start: float, end: float, warm: int, epochs: int) -> Float[Tensor, " E"]:
    """The teacher's temperature in each epoch: from `start` to `end` in the first `warm` ones, then `end`."""
    rising = torch.linspace(start, end, warm, dtype=torch.float64)
    return torch.cat([rising, rising.new_full((max(0, epochs - warm),), end)])[:epochs]


def targets_and_logs(
    student: Float[Tensor, "... K"],
    teacher: Float[Tensor, "... K"],
    centre: Float[Tensor, " K"],
    student_temperature: float,
    teacher_temperature: float,
) -> tuple[Float[Tensor, "... K"], Float[Tensor, "... K"]]:
    """What the teacher says, less the centre, as a distribution without a gradient; and the student's log softmax."""
    wanted = to_float32((teacher.detach() - centre) / teacher_temperature).softmax(dim=-1)
    return wanted, to_float32(student / student_temperature).log_softmax(dim=-1)


def centred_cross_entropy(
    student: Float[Tensor, "V B K"],
    teacher: Float[Tensor, "A B K"],
    centre: Float[Tensor, " K"],
    student_temperature: float,
    teacher_temperature: float,
) -> Float[Tensor, ""]:
    """The mean over all pairs of a teacher crop and another student crop, and over the images of all ranks.

    Args:
        student: of each crop of each image of this rank.
        teacher: of the first A crops; no gradient passes.
        centre: taken off the teacher's rows.
        student_temperature: that the student's rows are divided by.
        teacher_temperature: that the teacher's are divided by.
    """
    wanted, logs = targets_and_logs(student, teacher, centre, student_temperature, teacher_temperature)
    count = len(wanted)
    others = logs.sum(dim=0) - logs[:count]  # of the crops that are not the teacher's own
    loss = -(wanted * others).sum() / (count * (len(logs) - 1))
    return loss / mean_count(float(student.shape[1])).to(loss)


def moved_centre(centre: Float[Tensor, " K"], rows: Float[Tensor, "B K"], momentum: float) -> Float[Tensor, " K"]:
    """The centre, moved towards the mean of the rows of all ranks.

    Args:
        centre: of before.
        rows: of this rank.
        momentum: share of the centre that stays.
    """
    count = total(torch.tensor(float(len(rows)), dtype=rows.dtype, device=rows.device))
    return momentum * centre + (1 - momentum) * (total(rows.sum(0)) / count).to(centre)


class Teacher(nn.Module):
    """Moving averages of a tower and of what stands behind it.

    Args:
        tower: that is followed.
        behind: that is followed, too.
    """

    def __init__(self, tower: nn.Module, behind: nn.Module) -> None:
        super().__init__()
        self.encoder, self.behind = MovingAverage(tower), MovingAverage(behind)

    def update(self, tower: nn.Module, behind: nn.Module, momentum: float) -> None:
        """Moves both, see `MovingAverage`."""
        self.encoder.update(tower, momentum)
        self.behind.update(behind, momentum)


def drop_paths(tower: nn.Module, rate: float) -> int:
    """Lets a tower leave out blocks at random in training, for each image by itself: the last one with a probability of
    `rate`, the first never, and those between by equal steps, as timm has it.

    Args:
        tower: it is changed where its blocks have a place for it, as those of timm's transformers do.
        rate: of the last block; 0: nothing is changed.

    Returns:
        How many blocks have such a place.

    Raises:
        DeixisError: the rate is no probability.
    """
    if not 0 <= rate < 1:
        raise DeixisError(f"drop_path is {rate}.", "Give a probability, from 0 to below 1.")
    places = {block: [name for name, _ in block.named_children() if name in _DROP_PATHS] for block in tower.modules()}
    blocks = [block for block, names in places.items() if names]
    if rate and blocks:
        from timm.layers.drop import DropPath

        for number, block in enumerate(blocks):
            for name in places[block]:
                setattr(block, name, DropPath(rate * number / max(1, len(blocks) - 1)))
    return len(blocks)


def require_two_crops(view: ViewSpec) -> None:
    """Makes sure that the teacher has two crops.

    Raises:
        DeixisError: the first group has another number.
    """
    counts = [crop.count for crop in view.crops]
    if not counts or counts[0] != 2:
        raise DeixisError(f"The groups of crops have {counts} crops.", "The teacher sees the first group: give it two.")


class Method(nn.Module):
    """A tower, a head, their averages, and a centre."""

    centre: Tensor

    def __init__(self, config: Config, *, encoder: ImageEncoder) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        require_two_crops(config.view)
        self.config = config
        self.encoder: Any = share_batch_norms(encoder)
        self.head = DinoHead(encoder.width, config.hidden, config.bottleneck, config.prototypes)
        self.teacher = Teacher(self.encoder, self.head)
        self._stays_whole = not drop_paths(self.encoder, config.drop_path)
        self.register_buffer("centre", torch.zeros(config.prototypes))
        self._trained = parameters_before(encoder, pooled, config.layers)

    def stages(self) -> tuple[Stage, ...]:
        """One stage, in which what lies behind the pooled features rests."""
        return (Stage(trainable=(*(f"encoder.{name}" for name in self._trained), "head.")),)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """Batch norms of a tower mix the samples of a batch, so there is no `encode` of a part of it."""
        student = self.head(pooled_crops(self.encoder, batch.views)).transpose(0, 1)
        with torch.no_grad():
            seen = pooled_crops(self.teacher.encoder.module, batch.views[:1])
            teacher = self.teacher.behind(seen).transpose(0, 1)
        loss = centred_cross_entropy(student, teacher, self.centre, *self.temperatures(progress))
        return Losses({"dino": loss}, self._gauges(seen), {"teacher": teacher.mean(0)})

    def temperatures(self, progress: Progress) -> tuple[float, float]:
        """Of student and teacher."""
        config = self.config
        epoch = min(config.epochs - 1, progress.step * config.epochs // max(1, progress.total))
        return config.student_temperature, float(
            temperatures(*config.teacher_temperature, config.warm, config.epochs)[epoch]
        )

    def _gauges(self, seen: Float[Tensor, "B V F"]) -> dict[str, Tensor | float]:
        return {
            "trivial_loss": math.log(self.config.prototypes),
            "deviation": unit_deviation(seen[:, 0]),
            "copies_found": copies_found(seen[:, 0], seen[:, 1]),
        }

    def after_backward(self, progress: Progress) -> None:
        """Holds the head's last layer for the first steps."""
        if progress.step < self.config.held_steps:
            self.head.directions.grad = None

    @torch.no_grad()
    def after_step(self, progress: Progress, losses: Losses) -> None:
        """Teacher and centre move."""
        self.teacher.update(self.encoder, self.head, momentum_at(progress.step, progress.total, self.config.momentum))
        self.centre.copy_(moved_centre(self.centre, losses.carry["teacher"], self.config.centre_momentum))

    def warnings(self, values: Mapping[str, float], progress: Progress) -> dict[str, str]:
        """Of a collapse, and of a tower that has all its blocks where some were to be left out."""
        found, rate = collapse_warnings(values), self.config.drop_path
        if rate and self._stays_whole:
            found["whole"] = (
                f"drop_path is {rate}, and no block of this tower can be left out: give a transformer of timm, such as "
                "timm:vit_small_patch16_224:untrained, or set drop_path to 0."
            )
        return found

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Pooled features of the teacher, rows of length 1."""
        return F.normalize(pooled(self.teacher.encoder.module, images), dim=1)

    def image_tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """The cells of the teacher."""
        return tokens(self.teacher.encoder.module, images)


CLAIMS = ()
