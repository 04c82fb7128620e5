"""SelfPatch: DINO, and each patch learns what the teacher says of the neighbours that are most like it.

    L = L_image + 0.1 L_patch,   L_patch = mean over crops and patches i of H(teacher of i's neighbours, student of i)

with H the centred cross-entropy of DINO. One head serves both: a learned query reads, by class attention, all patches
of a crop (L_image), or, on the teacher's side, the four of a patch's eight neighbours that are most like it, the patch
itself not among them (L_patch); the student's patch passes through the head's norm alone. Student and teacher see all
crops, and patches are compared within the same crop (arXiv 2206.07990, section 3).

What differs from the paper and its code, or is our reading of it:
* `wrap`: in the released code neighbours lie on a torus, so that patches at a border have the opposite border's as
  neighbours; `desk` leaves those out. The code knows grids of 6 x 6 and 14 x 14 alone; any will do here.
* The tower is one without class token and final norm in the paper; here it is any tower's map before pooling.
* `neighbours="self"` (the patch's own) and `selected=8` (all) are controls that the paper has not, or not published.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.methods.baselines import dino
from deixis.methods.baselines.dino import DinoHead, Teacher, moved_centre, require_two_crops, targets_and_logs
from deixis.nn.layers.class_attention import ClassAttentionPool, heads_within
from deixis.nn.layers.norms import share_batch_norms
from deixis.nn.modes import evaluating
from deixis.nn.vision.any_size import feature_map, parameters_before
from deixis.ops.collective import mean_count
from deixis.ops.similarity.grid_neighbours import grid_neighbours, most_similar
from deixis.types import (
    Arm,
    Augment,
    Batch,
    Card,
    Claim,
    Crop,
    FieldSpec,
    Losses,
    OptimSpec,
    Part,
    Progress,
    Stage,
    Trunk,
    ViewSpec,
)
from deixis.types.protocols import ImageEncoder

__all__ = ["CARD", "CLAIMS", "AggregationHead", "Config", "Method", "patch_cross_entropy"]

CARD = Card(
    title="Patch-level Representation Learning for Self-supervised Vision Transformers (SelfPatch)",
    year=2022,
    kind="trained",
    needs=(FieldSpec("views", "B V 3 H W"),),
    parts=(Part("encoder", "image_tower"),),
    capabilities=("encode_image", "image_tokens"),
    non_gradient_state=("teacher", "centre", "patch_centre"),
    skip_contract=("learned",),  # as DINO, of which it is a delta
    zero_gradient=("attention.key.bias",),
    venue="CVPR",
    arxiv="2206.07990",
    code="alinlab/SelfPatch",
    tags=("self-supervised", "images without text", "dense features"),
)


@dataclass(frozen=True)
class Config(dino.Config):
    """Settings of SelfPatch; those that DINO has are described there.

    Attributes:
        encoder: as in DINO.
        layers: as in DINO.
        hidden: as in DINO, of both heads.
        bottleneck: as in DINO, of both heads.
        prototypes: outputs of the head of whole crops.
        student_temperature: as in DINO.
        teacher_temperature: as in DINO.
        warm: as in DINO.
        epochs: as in DINO.
        centre_momentum: of both centres.
        momentum: as in DINO.
        held_steps: as in DINO, of both heads.
        drop_path: as in DINO.
        optim: as in DINO.
        view: as in DINO; the teacher sees the other groups, too.
        patch_prototypes: outputs of the head of patches.
        heads: of the class attention, at the most: the largest number up to it that divides the tower's width.
        depth: its blocks.
        neighbours: what stands for a patch on the teacher's side: the `around` ones, or `self`, the patch alone.
        selected: of the neighbours, those most like the patch that are read.
        wrap: whether the grid is a torus.
        patch_weight: of L_patch.
    """

    patch_prototypes: int = 4096
    heads: int = 6
    depth: int = 2
    neighbours: Literal["around", "self"] = "around"
    selected: int = 4
    wrap: bool = False
    patch_weight: float = 0.1

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny tower on grids of 3 x 3 and 2 x 2, few outputs."""
        return cls(
            encoder="tiny",
            hidden=16,
            bottleneck=8,
            prototypes=7,
            patch_prototypes=5,
            heads=2,
            depth=1,
            selected=3,
            held_steps=0,
            optim=OptimSpec(learning_rate=1e-2, weight_decay=0.0),
            view=ViewSpec(size=0, crops=(Crop(2, 24), Crop(1, 16))),
        )

    @classmethod
    def desk(cls) -> Config:
        """As DINO's, with 256 outputs for patches, and small crops of 3 x 3 cells of the starter; no torus."""
        return cls(
            layers="last",
            hidden=512,
            bottleneck=128,
            prototypes=512,
            momentum=0.99,
            held_steps=20,
            patch_prototypes=256,
            optim=OptimSpec(learning_rate=5e-4, weight_decay=1e-4, schedule="cosine", warmup=0.05),
            view=ViewSpec(
                size=0,
                crops=(
                    Crop(2, 128, Augment(scale=(0.3, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.5)),
                    Crop(2, 96, Augment(scale=(0.1, 0.3), jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.5)),
                ),
            ),
        )

    @classmethod
    def paper(cls) -> Config:
        """As released: ViT-S/16, 65,536 and 4,096 outputs, the torus."""
        return cls(encoder="timm:vit_small_patch16_224:untrained", drop_path=0.1, wrap=True)


class AggregationHead(nn.Module):
    """What a crop, a patch, or a patch's neighbours come to.

    Args:
        width: of the patches (D).
        heads: of the class attention.
        depth: its blocks.
        selected: neighbours that are read.
        wrap: whether the grid is a torus.
        neighbours: see `Config`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        depth: int = 2,
        *,
        selected: int = 4,
        wrap: bool = False,
        neighbours: str = "around",
    ) -> None:
        super().__init__()
        self.attention = ClassAttentionPool(width, heads, depth)
        self.selected, self.wrap, self.around = selected, wrap, neighbours == "around"

    def image(self, patches: Float[Tensor, "B N D"]) -> Float[Tensor, "B D"]:
        """What the query reads in all patches of a crop."""
        return self.attention(patches)

    def patches(self, patches: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """The student's side: each patch through the norm."""
        return self.attention.norm(patches)

    def neighbours(self, grid: tuple[int, int]) -> tuple[Int64[Tensor, "N M"], Bool[Tensor, "N M"]]:
        """The neighbours of each patch, see `grid_neighbours`.

        Args:
            grid: rows and columns.

        Raises:
            DeixisError: no patch of the grid has as many as are to be selected. Nothing would be selected then: a
                patch would stand for itself, or all neighbours for it, which are the controls.
        """
        numbers, exists = grid_neighbours(*grid, wrap=self.wrap)
        most = numbers.shape[1]
        if most < self.selected:
            fewer = f", or select at most {most} (selected)" if most else ""
            raise DeixisError(
                f"A crop comes to a grid of {grid[0]} x {grid[1]} patches: a patch has {most} neighbours there at the "
                f"most, and {self.selected} are to be selected.",
                f"Give larger crops (view.crops), or a tower with smaller patches{fewer}.",
            )
        return numbers, exists

    def targets(self, patches: Float[Tensor, "B N D"], grid: tuple[int, int]) -> Float[Tensor, "B N D"]:
        """The teacher's side: what the query reads in each patch's neighbours.

        Args:
            patches: of a crop, row by row.
            grid: rows and columns.

        Raises:
            DeixisError: no patch of the grid has as many neighbours as are to be selected.
        """
        batch, count = patches.shape[:2]
        if not self.around:
            return self.attention(patches.flatten(0, 1)[:, None]).unflatten(0, (batch, count))
        numbers, exists = self.neighbours(grid)
        chosen, mask = most_similar(patches, numbers.to(patches.device), exists.to(patches.device), self.selected)
        first = count * torch.arange(batch, device=patches.device)[:, None, None]
        sets = ((chosen + first).flatten(0, 1), mask.flatten(0, 1))
        return self.attention.of_sets(patches.flatten(0, 1), *sets).unflatten(0, (batch, count))


def patch_cross_entropy(
    student: Float[Tensor, "B N K"],
    teacher: Float[Tensor, "B N K"],
    centre: Float[Tensor, " K"],
    student_temperature: float,
    teacher_temperature: float,
) -> Float[Tensor, ""]:
    """H of each patch with what the teacher says of it, the mean over a crop's patches and the images of all ranks.

    Args:
        student: of one crop of each image of this rank.
        teacher: of the same crop; no gradient passes.
        centre: taken off the teacher's rows.
        student_temperature: that the student's rows are divided by.
        teacher_temperature: that the teacher's are divided by.
    """
    wanted, logs = targets_and_logs(student, teacher, centre, student_temperature, teacher_temperature)
    loss = -(wanted * logs).sum(dim=2).mean(dim=1).sum()
    return loss / mean_count(float(len(student))).to(loss)


class _Heads(nn.Module):
    """What stands behind the tower: the aggregation, and a head for crops and one for patches."""

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        heads = heads_within(width, config.heads)
        self.aggregation = AggregationHead(
            width,
            heads,
            config.depth,
            selected=config.selected,
            wrap=config.wrap,
            neighbours=config.neighbours,
        )
        self.crops = DinoHead(width, config.hidden, config.bottleneck, config.prototypes)
        self.cells = DinoHead(width, config.hidden, config.bottleneck, config.patch_prototypes)


class Method(dino.Method):
    """A tower, two heads behind one aggregation, their averages, and two centres."""

    patch_centre: Tensor

    def __init__(self, config: Config, *, encoder: ImageEncoder) -> None:
        nn.Module.__init__(self)
        assert isinstance(encoder, nn.Module)
        require_two_crops(config.view)
        self.config: Any = config
        self.encoder = share_batch_norms(encoder)
        self.head: Any = _Heads(config, encoder.token_width)
        self.teacher = Teacher(self.encoder, self.head)
        self._stays_whole = not dino.drop_paths(self.encoder, config.drop_path)
        self.register_buffer("centre", torch.zeros(config.prototypes))
        self.register_buffer("patch_centre", torch.zeros(config.patch_prototypes))
        self._trained = parameters_before(encoder, partial(feature_map), config.layers)

    def stages(self) -> tuple[Stage, ...]:
        """One stage, in which what lies behind the map rests.

        Raises:
            DeixisError: the tower's grid of some crop is too small for its neighbours.
        """
        if self.config.neighbours == "around":
            self._check_grids()
        return (Stage(trainable=(*(f"encoder.{name}" for name in self._trained), "head.")),)

    def _check_grids(self) -> None:
        """Before anything is trained; a run that is read alone is not asked."""
        first = next(iter(self.encoder.parameters()))
        with torch.no_grad(), evaluating(self.encoder):
            for side in sorted({crop.size or self.encoder.preprocess.size for crop in self.config.view.crops}):
                images = torch.zeros(1, 3, side, side, device=first.device, dtype=first.dtype)
                self.head.aggregation.neighbours(_rows(feature_map(self.encoder, images))[1])

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """Crop by crop on both sides; the teacher sees all."""
        views = [crop for group in batch.views for crop in group.unbind(1)]
        temperatures = self.temperatures(progress)
        student, teacher, patch_losses, seen, cells = [], [], [], [], []
        for view in views:
            rows, grid = _rows(feature_map(self.encoder, view))
            student.append(self.head.crops(self.head.aggregation.image(rows)))
            with torch.no_grad():
                behind: Any = self.teacher.behind.module
                targets, _ = _rows(feature_map(self.teacher.encoder.module, view))
                teacher.append(behind.crops(behind.aggregation.image(targets)))
                wanted = behind.cells(behind.aggregation.targets(targets, grid))
            own = self.head.cells(self.head.aggregation.patches(rows))
            patch_losses.append(patch_cross_entropy(own, wanted, self.patch_centre, *temperatures))
            seen.append(targets.mean(1))
            cells.append(wanted)
        crops = torch.stack(teacher)
        image = dino.centred_cross_entropy(torch.stack(student), crops[:2], self.centre, *temperatures)
        patch = self.config.patch_weight * torch.stack(patch_losses).mean()
        carry = {"teacher": crops.mean(0), "patches": torch.cat(cells, dim=1).mean(1)}
        gauges = {
            **self._gauges(torch.stack(seen, dim=1)),
            "trivial_patch_loss": math.log(self.config.patch_prototypes),
        }
        return Losses({"image": image, "patch": patch}, gauges, carry)

    def after_backward(self, progress: Progress) -> None:
        """Holds the last layers of both heads for the first steps."""
        if progress.step < self.config.held_steps:
            self.head.crops.directions.grad = self.head.cells.directions.grad = None

    @torch.no_grad()
    def after_step(self, progress: Progress, losses: Losses) -> None:
        """Teacher and centres move."""
        super().after_step(progress, losses)
        self.patch_centre.copy_(moved_centre(self.patch_centre, losses.carry["patches"], self.config.centre_momentum))

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """The mean of the teacher's cells, rows of length 1."""
        return F.normalize(feature_map(self.teacher.encoder.module, images).mean(dim=(2, 3)), dim=1)


def _rows(cells: Float[Tensor, "B D h w"]) -> tuple[Float[Tensor, "B N D"], tuple[int, int]]:
    return cells.flatten(2).transpose(1, 2), (cells.shape[2], cells.shape[3])


_CROPS = (
    Crop(2, 48, Augment(scale=(0.3, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.5, sigma=(0.1, 1.0))),
    Crop(2, 32, Augment(scale=(0.1, 0.3), jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=0.5, sigma=(0.1, 1.0))),
)
_DINO = {"layers": "all", "hidden": 256, "bottleneck": 64, "prototypes": 256, "view.crops": _CROPS}
_ON = {**_DINO, "held_steps": 5, "momentum": 0.9}  # the teacher, which is measured, has 40 steps to follow
_NEW = {**_ON, "patch_prototypes": 128, "depth": 1}
_GRID = {"learning_rate": (5e-4, 1e-3)}

CLAIMS = (
    Claim(
        "A tower that DINO trained tells a linear classifier more of what is where after it learned, patch by patch, "
        "what the teacher says of the most similar neighbours, than after as many more images of DINO, after each "
        "patch learned what the teacher says of itself, or of all neighbours.",
        arms={
            "selfpatch": Arm("selfpatch", _NEW, grid=_GRID),
            "DINO on": Arm("dino", _ON, grid=_GRID),
            "the patch itself": Arm("selfpatch", {**_NEW, "neighbours": "self"}, grid=_GRID),
            "all neighbours": Arm("selfpatch", {**_NEW, "selected": 8}, grid=_GRID),
        },
        metric="dense",
        statistic="final",
        minimum_effect=0.02,
        data="segments",
        budget=2_560,
        trial=0.5,
        options={"count": 2_000, "probe": 80, "held": 120},
        cheap="DINO on",
        trunk=Trunk("dino", {**_DINO, "learning_rate": 1e-3}, budget=44_800),
    ),
    Claim(
        "Gone on for eight times as many images, a tower that DINO trained tells a linear classifier more of what is "
        "where after it learned, patch by patch, what the teacher says of the most similar neighbours, than after as "
        "many more images of DINO, and than after each patch learned what the teacher says of itself.",
        arms={
            "selfpatch": Arm("selfpatch", {**_NEW, "momentum": 0.97}, grid=_GRID),
            "DINO on": Arm("dino", {**_ON, "momentum": 0.97}, grid=_GRID),
            "the patch itself": Arm("selfpatch", {**_NEW, "momentum": 0.97, "neighbours": "self"}, grid=_GRID),
        },
        metric="dense",
        statistic="final",
        minimum_effect=0.02,
        data="segments",
        budget=20_480,
        trial=0.25,
        options={"count": 2_000, "probe": 80, "held": 120},
        primary=False,
        cheap="DINO on",
        trunk=Trunk("dino", {**_DINO, "learning_rate": 1e-3}, budget=44_800),
        again="A tower that DINO trained tells a linear classifier more of what is where after it learned, patch by "
        "patch, what the teacher says of the most similar neighbours, than after as many more images of DINO, after "
        "each patch learned what the teacher says of itself, or of all neighbours.",
        first_seed=10,
    ),
)
"""The paper trains ViTs for 200 epochs of ImageNet and gains 1.3 points of box AP on COCO and 2.9 of mIoU on
ADE20K over DINO. Here one small ResNet with maps of 6 x 6 and 4 x 4 cells is trained by DINO, and every arm goes on
from it: the spread is that of five forks, and other trunks may come out otherwise. Expected: inconclusive."""
