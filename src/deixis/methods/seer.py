"""SEER: a tower from unlabelled photos, by SwAV: crops of an image must predict the cluster of its other crops.

With z the projections of the crops of an image, scaled to length 1, and C the prototypes [K, D], rows of length 1:

    S_v = z_v C'                                 scores of crop v of each image of the batch
    Q_a = Sinkhorn(S_a / epsilon)                each image on prototypes, all of which get their part; a in {0, 1}
    L   = mean over a, mean over v != a of  - mean over images of sum_k Q_a log softmax(S_v / tau)_k

No gradient passes through Q. Without the equal parts all images would end on one prototype. SEER is this loss on a
plain convolutional network, with a head without batch norm, for a billion photos that nobody chose (Goyal et al.,
2022).

What differs from the paper and its code (vissl), or is our reading of it:
* Sinkhorn is computed with logarithms, which gives the same numbers and can't overflow.
* The queue holds the rows of all ranks, in rank order, and is the same on all; vissl has one for each rank. It is used
  once it is full.
* What has one axis is neither decayed nor scaled by LARS, as timm has it.
* `encode_image` gives the pooled features before the head, scaled to length 1; the head is left out after training.
* `desk()` begins with a trained tower and trains its last blocks, batch norms keeping their statistics: a few thousand
  images can't train a tower anew, and a start that knows something leaves the trivial loss sooner.

The loss begins at about ln K, where every prototype is as likely as any other; a run that stays there has learned
nothing. A larger epsilon, or more prototypes than the images have kinds, keep it there for longer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.collapse import collapse_warnings, copies_found, share_used, unit_deviation
from deixis.nn.layers.heads import ProjectionHead
from deixis.nn.layers.norms import share_batch_norms
from deixis.nn.layers.queue import RowQueue
from deixis.nn.vision.any_size import parameters_before, pooled, pooled_crops, tokens
from deixis.ops.collective import mean_count, rank, world_size
from deixis.ops.effective_rank import effective_rank
from deixis.ops.precision import to_float32
from deixis.ops.transport import one_hot_rows, power_law, sinkhorn
from deixis.types import (
    Arm,
    Augment,
    Batch,
    Card,
    Claim,
    Crop,
    Features,
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

__all__ = ["CARD", "CLAIMS", "Config", "Method", "Prototypes", "assign", "swav_loss"]

CARD = Card(
    title="Vision Models Are More Robust And Fair When Pretrained On Uncurated Images Without Supervision (SEER)",
    year=2022,
    kind="trained",
    needs=(FieldSpec("views", "B V 3 H W"),),
    parts=(Part("encoder", "image_tower"),),
    capabilities=("encode_image", "image_tokens"),
    min_batch=2,
    non_gradient_state=("queues",),
    zero_gradient=("attention.key.bias",),
    arxiv="2202.08360",
    code="facebookresearch/vissl",
    tags=("self-supervised", "images without text", "clustering", "copies"),
)


@dataclass(frozen=True)
class Config:
    """Settings of SEER.

    Attributes:
        encoder: the image tower that is trained.
        layers: which of its weights train: `all`, or `last` (the last block and what lies behind it).
        statistics: batch norms of the tower take the statistics of the batch and go on learning the running ones.
        hidden: widths of the hidden layers of the head.
        width: of the projections that are compared (D).
        norm: whether the head has batch norms; SwAV's has, SEER's has none.
        prototypes: how many there are (K).
        power: exponent of a power law by which prototypes get unequal parts; 0: equal ones.
        assigning: the first crops of each image, whose assignments the others predict.
        temperature: that scores are divided by in the loss (tau).
        epsilon: that scores are divided by in the assignment.
        rounds: of Sinkhorn.
        hard_steps: steps from the start in which each image is assigned to one prototype alone.
        held_steps: steps from the start in which the prototypes do not move.
        queue: projections of earlier batches that take part in the assignment, for each assigning crop; 0: none.
        queue_from: the step from which on they do.
        optim: how it is optimised.
        view: the crops; the first group holds those that assign.
    """

    encoder: str = "starter"
    layers: Literal["all", "last"] = "all"
    statistics: bool = True
    hidden: tuple[int, ...] = (8192, 8192)
    width: int = 256
    norm: bool = False
    prototypes: int = 16_000
    power: float = 0.0
    assigning: int = 2
    temperature: float = 0.1
    epsilon: float = 0.03
    rounds: int = 10
    hard_steps: int = 0
    held_steps: int = 313
    queue: int = 0
    queue_from: int = 0
    optim: OptimSpec = OptimSpec(
        "lars", learning_rate=0.3 * 7936 / 256, weight_decay=1e-5, schedule="cosine", warmup=0.043648, floor=1e-3
    )
    view: ViewSpec = ViewSpec(
        size=0,
        crops=(
            Crop(
                2,
                160,
                Augment(scale=(0.14, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), grey=0.2, blur=0.5, sigma=(0.1, 2.0)),
            ),
            Crop(
                4,
                96,
                Augment(scale=(0.05, 0.14), jitter=(0.8, 0.8, 0.8, 0.2), grey=0.2, blur=0.5, sigma=(0.1, 2.0)),
            ),
        ),
    )

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny tower, six prototypes, a queue of one batch."""
        return cls(
            encoder="tiny",
            hidden=(16,),
            width=8,
            prototypes=6,
            rounds=3,
            held_steps=0,
            queue=6,
            optim=OptimSpec(learning_rate=1e-2, weight_decay=0.0),
            view=ViewSpec(size=0, crops=(Crop(2, 16), Crop(1, 8))),
        )

    @classmethod
    def desk(cls) -> Config:
        """For some hundred to thousand photos on two cores: the last blocks of a trained tower, few prototypes."""
        return cls(
            layers="last",
            statistics=False,
            hidden=(512,),
            width=128,
            prototypes=64,
            rounds=5,
            held_steps=20,
            optim=OptimSpec(learning_rate=5e-4, weight_decay=1e-4, schedule="cosine", warmup=0.05),
            view=ViewSpec(
                size=0,
                crops=(
                    Crop(2, 128, Augment(scale=(0.3, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), grey=0.2, blur=0.5)),
                    Crop(2, 64, Augment(scale=(0.1, 0.4), jitter=(0.4, 0.4, 0.4, 0.1), grey=0.2, blur=0.5)),
                ),
            ),
        )

    @classmethod
    def paper(cls) -> Config:
        """As published for 10 billion weights: batches of 7,936, once through a billion photos."""
        return cls(encoder="regnety:27:1744:620.83:2.52:1010:untrained")


def assign(
    scores: Float[Tensor, "B K"],
    *,
    epsilon: float,
    rounds: int,
    queue: Float[Tensor, "G K"] | None = None,
    marginal: Float[Tensor, " K"] | None = None,
    hard: bool = False,
) -> Float[Tensor, "B K"]:
    """Which prototypes each image belongs to, such that all prototypes get their part of the images of all ranks.

    Args:
        scores: of one crop of each image of this rank with each prototype.
        epsilon: see `sinkhorn`.
        rounds: see `sinkhorn`.
        queue: scores of earlier images, the same on all ranks, which count when prototypes get their parts.
        marginal: parts of the prototypes; None: equal ones.
        hard: whether each image is assigned to its likeliest prototype alone.
    """
    scores = scores.detach()
    # Each rank brings a share of the queue, so that its rows count once.
    all_scores = scores if queue is None else torch.cat([scores, queue.detach()[rank() :: world_size()]])
    shares = sinkhorn(all_scores, epsilon, rounds, marginal)[: len(scores)]
    return one_hot_rows(shares) if hard else shares


def swav_loss(
    scores: Float[Tensor, "V B K"], assignments: Float[Tensor, "A B K"], temperature: float
) -> Float[Tensor, ""]:
    """Cross-entropy of each assignment with what every other crop predicts, over the images of all ranks.

    Args:
        scores: of each crop of each image of this rank with each prototype.
        assignments: of the first A crops.
        temperature: that scores are divided by (tau).
    """
    logs = to_float32(scores / temperature).log_softmax(dim=2)
    count, images = len(assignments), scores.shape[1]
    others = logs.sum(dim=0) - logs[:count]  # of the crops that are not the assigning one itself
    total = -(assignments * others).sum() / (count * (len(scores) - 1))
    return total / mean_count(float(images)).to(total)


_PATIENCE, _STUCK = 0.1, 0.98
"""Share of the steps before a loss is called stuck, and the share of ln K above which it is."""


class Prototypes(nn.Module):
    """Directions that images are assigned to, rows of length 1 after each `normalise`.

    Args:
        count: how many (K).
        width: of each (D).
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, width))
        self.normalise()

    def forward(self, rows: Float[Tensor, "... D"]) -> Float[Tensor, "... K"]:
        """Scores, in float32 at least, also under autocast."""
        with torch.autocast(rows.device.type, enabled=False):
            return to_float32(rows) @ self.weight.T

    @torch.no_grad()
    def normalise(self) -> None:
        """Scales each row to length 1."""
        self.weight.copy_(F.normalize(self.weight, dim=1))


def _check(config: Config) -> None:
    crops = [crop.count for crop in config.view.crops]
    if not 1 <= config.assigning <= sum(crops) or sum(crops) < 2:
        raise DeixisError(
            f"There are {sum(crops)} crops an image, and {config.assigning} of them assign.",
            "Give at least two crops (view.crops), of which one or more assign and at least one other predicts.",
        )
    if min(config.epsilon, config.temperature) <= 0:
        raise DeixisError(f"epsilon is {config.epsilon} and temperature {config.temperature}.", "Give numbers above 0.")


class Method(nn.Module):
    """A tower, a head, and prototypes."""

    def __init__(self, config: Config, *, encoder: ImageEncoder) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        _check(config)
        self.config, self.encoder = config, share_batch_norms(encoder)
        self.head = ProjectionHead((encoder.width, *config.hidden, config.width), norm=config.norm)
        self.prototypes = Prototypes(config.prototypes, config.width)
        queues = (RowQueue(config.queue, config.width) for _ in range(config.assigning if config.queue else 0))
        self.queues = nn.ModuleList(queues)
        self._trained = parameters_before(encoder, pooled, config.layers)

    def stages(self) -> tuple[Stage, ...]:
        """One stage, in which what lies behind the pooled features rests."""
        names = [f"encoder.{name}" for name in self._trained]
        return (
            Stage(
                trainable=(*names, "head.", "prototypes."),
                evaluate=() if self.config.statistics else ("encoder",),
            ),
        )

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Projections of all crops of each image, not normalised: the row `crops` [B, V, D]. Crops of one size go
        through the tower together, first crops first."""
        features = pooled_crops(self.encoder, batch.views)
        return Features({"crops": self.head(features.flatten(0, 1)).unflatten(0, features.shape[:2])})

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """Cross-entropy of assignments and predictions over the images of all ranks."""
        rows = F.normalize(features.rows["crops"], dim=2).transpose(0, 1)  # [V, B, D]
        scores = self.prototypes(rows)
        assignments = torch.stack([self._assigned(scores, i, progress) for i in range(self.config.assigning)])
        loss = swav_loss(scores, assignments, self.config.temperature)
        first = rows[0].detach()
        metrics: dict[str, Tensor | float] = {
            "trivial_loss": math.log(self.config.prototypes),
            "deviation": unit_deviation(first),
            "effective_rank": effective_rank(first),
            "copies_found": copies_found(first, rows[1].detach()),
            "prototypes_used": share_used(scores[0].detach().argmax(dim=1), self.config.prototypes),
        }
        carry = {"assigning": rows[: self.config.assigning].transpose(0, 1).detach()} if self.queues else {}
        return Losses({"swav": loss}, metrics, carry)

    def _assigned(self, scores: Float[Tensor, "V B K"], crop: int, progress: Progress) -> Float[Tensor, "B K"]:
        config, queued = self.config, None
        if self.queues and progress.step >= config.queue_from:
            queue = self.queues[crop]
            assert isinstance(queue, RowQueue)
            queued = self.prototypes(queue.rows).detach() if queue.is_full else None
        marginal = power_law(config.prototypes, config.power).to(scores) if config.power else None
        return assign(
            scores[crop],
            epsilon=config.epsilon,
            rounds=config.rounds,
            queue=queued,
            marginal=marginal,
            hard=progress.step < config.hard_steps,
        )

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """`encode`, then `loss`."""
        return self.loss(self.encode(batch, progress), batch, progress)

    def after_backward(self, progress: Progress) -> None:
        """Holds the prototypes for the first steps."""
        if progress.step < self.config.held_steps:
            self.prototypes.weight.grad = None

    @torch.no_grad()
    def after_step(self, progress: Progress, losses: Losses) -> None:
        """Prototypes are scaled to length 1, and the queues take what the crops gave."""
        self.prototypes.normalise()
        for number, queue in enumerate(self.queues):
            assert isinstance(queue, RowQueue)
            queue.push(losses.carry["assigning"][:, number])

    def warnings(self, values: Mapping[str, float], progress: Progress) -> dict[str, str]:
        """Of a collapse, of a loss that is stuck at ln K, and of too few images."""
        config, found = self.config, collapse_warnings(values)
        trivial = values["trivial_loss"]
        if progress.step > max(config.held_steps, _PATIENCE * progress.total) and values["loss"] > _STUCK * trivial:
            found["stuck at ln K"] = (
                f"The loss, {values['loss']:.3f}, is stuck at ln K, {trivial:.3f}, where all prototypes fit alike. "
                f"Take fewer prototypes than {config.prototypes}, an epsilon below {config.epsilon}, or more steps."
            )
        if values["samples"] < config.prototypes:
            found["few images"] = (
                f"There are {values['samples']:.0f} images and {config.prototypes} prototypes, which can't all be "
                "used. Take fewer prototypes."
            )
        if values["samples"] < config.queue:
            found["long queue"] = (
                f"The queue of {config.queue} is longer than the {values['samples']:.0f} images: it holds some twice. "
                "Take a shorter queue."
            )
        return found

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Pooled features before the head, rows of length 1."""
        return F.normalize(pooled(self.encoder, images), dim=1)

    def prototype_scores(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K"]:
        """Cosines of whole images with the prototypes."""
        return self.prototypes(F.normalize(self.head(pooled(self.encoder, images)), dim=1))

    def image_tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """One state a cell of the map that is pooled, of images of any size."""
        return tokens(self.encoder, images)


_VARIED = Augment(scale=(0.3, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), grey=0.2, blur=0.5, sigma=(0.1, 1.0))
_VIEWS = {"view.crops": (Crop(2, 28, _VARIED), Crop(2, 16, _VARIED))}
_NEW = {**_VIEWS, "layers": "all", "statistics": True, "hidden": (256,), "width": 64}
_CLOTHES = ("ankle boot", "bag", "coat", "dress", "pullover", "sandal", "shirt", "sneaker", "t-shirt", "trousers")
_LABELS = {**_VIEWS, "names": _CLOTHES}
_CHOSEN = {"pictures": "curated"}
_ANY = {"pictures": "uncurated"}
_GRID = {"learning_rate": (1e-3, 3e-3), "prototypes": (32, 64)}
# what the first claim chose for uncurated pictures: the other arms of the claims beside it take theirs from there, too
_CHOSEN_THERE = {**_NEW, "learning_rate": 3e-3, "prototypes": 32}

CLAIMS = (
    Claim(
        "Trained on pictures that nobody chose or labelled, a tower knows things in styles that it never saw better "
        "than one that was trained on labels of chosen pictures, or without labels on the chosen pictures.",
        arms={
            "uncurated": Arm("seer", _NEW, _ANY, _GRID),
            "supervised, curated": Arm(
                "supervised", _LABELS, _CHOSEN, {"learning_rate": (1e-3, 3e-3), "weight_decay": (0.01, 0.1)}
            ),
            "curated": Arm("seer", _NEW, _CHOSEN, _GRID),
        },
        metric="unseen_styles",
        statistic="final",
        minimum_effect=0.03,
        data="styles",
        budget=48_000,
        trial=0.5,
        cheap="supervised, curated",
    ),
    Claim(
        "It is what the pictures hold and not how many there are: as few uncurated pictures as curated ones do better.",
        arms={
            "uncurated, as few": Arm("seer", _CHOSEN_THERE, {**_ANY, "count": 5_000}),
            "uncurated": Arm("seer", _NEW, _ANY),
            "curated": Arm("seer", _NEW, _CHOSEN),
        },
        metric="unseen_styles",
        statistic="final",
        minimum_effect=0.03,
        data="styles",
        budget=48_000,
        primary=False,
        cheap="curated",
    ),
    Claim(
        "Uncurated pictures in the styles of the test help more than those in other styles.",
        arms={
            "uncurated, exposed": Arm("seer", _CHOSEN_THERE, {**_ANY, "exposed": True}),
            "uncurated": Arm("seer", _NEW, _ANY),
        },
        metric="unseen_styles",
        statistic="final",
        minimum_effect=0.03,
        data="styles",
        budget=48_000,
        primary=False,
        cheap="uncurated",
    ),
    Claim(
        "In the style that it knows least, too, a tower trained on uncurated pictures is ahead.",
        arms={
            "uncurated": Arm("seer", _NEW, _ANY),
            "supervised, curated": Arm("supervised", _LABELS, _CHOSEN),
            "curated": Arm("seer", _NEW, _CHOSEN),
        },
        metric="worst_style",
        statistic="final",
        minimum_effect=0.03,
        data="styles",
        budget=48_000,
        primary=False,
        cheap="supervised, curated",
    ),
)
"""The paper holds the network and changes the data: SwAV on ImageNet against SwAV on a billion photos gains 8 to 16
points on other styles of ImageNet's classes; there the uncurated photos are also 800 times as many. Of 48,000 pictures
that each arm sees, the curated ones come ten times and the uncurated ones less than once. A pilot with half as many was
at a tie at best (supervised 0.38, curated 0.37, uncurated 0.35, untrained 0.30), and the uncurated arm still rising."""
