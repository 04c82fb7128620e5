"""PRE: CoOp's learned vectors pass through a small network before they stand in the prompt, which regularises them.

    P' = E(P) + P,    E = a bidirectional LSTM over the M vectors, as wide as they are

A delta on CoOp (`coop`): P is learned as there, and E beside it; the rest of the prompt, the towers and the loss are
CoOp's. E reads no image, so that once it is trained nothing of it is left to compute.

The encoders that the paper compares: `bilstm` (its own), `bilstm2` (two layers), `mlp` (linear - ReLU - linear) and
`mlp2` (two of these), each with and without the residual, for all vectors or one for each of them (`separate`).

What differs from the authors' code:
* Their `mlp2` holds the same layers twice and so is `mlp`; here the second has its own weights.
* Their separate encoders stand in a plain dictionary and are neither trained nor saved; here they are.
* A single vector makes their residual fail; here it is a sequence of one.
* Their transformer can't be built (a name is missing) and is left out.
* Their step runs under mixed precision alone; this one in any precision.
* Weight decay falls on the network as well as on the vectors, as theirs does.

To know before comparing: E is not small at the start (for vectors at random its output is as long as they are), so that
training does not start at the words that the vectors come from; and for how many epochs the authors trained CoOp is
unknown, as the paper does not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.methods import coop
from deixis.nn.dual import DualEncoder
from deixis.types import Arm, Card, Claim, FieldSpec, Made, OptimSpec, Part

__all__ = ["CARD", "CLAIMS", "Config", "Method", "PromptBottleneck", "Recurrent", "prompt_encoder"]

CARD = Card(
    title="Vision-Language Prompt Learning with Reparameterization Encoder (PRE)",
    year=2023,
    kind="trained",
    needs=(
        FieldSpec("image_embedding", "B D", values="unit", made=Made("encoder", "encode_image")),
        FieldSpec("labels", "B", "long", values="class"),
    ),
    parts=(Part("encoder", "dual_encoder", frozen=True), Part("names", "names")),
    capabilities=("classify",),
    arxiv="2309.07760",
    code="minhanh151/PRE",
    tags=("few-shot", "prompts", "classification", "unseen classes"),
)


@dataclass(frozen=True)
class Config(coop.Config):
    """Settings of PRE: CoOp's, and what the vectors pass through.

    Attributes:
        network: `bilstm`, `bilstm2`, `mlp` or `mlp2`.
        residual: whether the vectors are added to what comes out.
        separate: whether each vector has a network of its own.
        bottleneck: width inside an `mlp`.
    """

    network: Literal["bilstm", "bilstm2", "mlp", "mlp2"] = "bilstm"
    residual: bool = True
    separate: bool = False
    bottleneck: int = 64

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder, five classes and three vectors."""
        return cls(
            encoder="tiny",
            names=("a", "bee", "c d", "deer", "e"),
            vectors=3,
            chunk=2,
            optim=OptimSpec("adamw", learning_rate=0.02, weight_decay=5e-4, decay_1d=True),
        )

    @classmethod
    def paper(cls) -> Config:
        """As published: four vectors from words, 50 epochs of batches of 32.

        The encoder is to be replaced by CLIP's ViT-B/16, and the names by the classes.
        """
        return cls(names=("cat", "dog"), words="a photo of a")


class Recurrent(nn.Module):
    """An LSTM that reads the vectors in both directions and gives as many, as wide.

    Args:
        width: of the vectors (F), even.
        layers: one over the other.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"two directions of equal width do not make {width}")
        self.lstm = nn.LSTM(width, width // 2, layers, batch_first=True, bidirectional=True)

    def forward(self, vectors: Float[Tensor, "c M F"]) -> Float[Tensor, "c M F"]:
        """What both directions say, side by side."""
        return self.lstm(vectors)[0]


class PromptBottleneck(nn.Module):
    """Linear - ReLU - linear, each vector on its own.

    Args:
        width: of the vectors (F).
        hidden: width between.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.narrow, self.widen = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, vectors: Float[Tensor, "c M F"]) -> Float[Tensor, "c M F"]:
        """The vectors, mapped."""
        return self.widen(F.relu(self.narrow(vectors)))


def prompt_encoder(network: str, width: int, bottleneck: int) -> nn.Module:
    """What vectors pass through, new.

    Args:
        network: `bilstm`, `bilstm2`, `mlp` or `mlp2`.
        width: of the vectors.
        bottleneck: width inside an `mlp`.
    """
    if network.startswith("bilstm"):
        return Recurrent(width, 2 if network == "bilstm2" else 1)
    blocks = [PromptBottleneck(width, bottleneck) for _ in range(2 if network == "mlp2" else 1)]
    return nn.Sequential(*blocks)


class Method(coop.Method):
    """CoOp with vectors that a network makes.

    Attributes:
        networks: one for all vectors, or one for each.
    """

    config: Config

    def __init__(self, config: Config, *, encoder: DualEncoder, names: Sequence[str]) -> None:
        super().__init__(config, encoder=encoder, names=names)
        count, width = self.context.shape[1:]
        made = [
            prompt_encoder(config.network, width, config.bottleneck) for _ in range(count if config.separate else 1)
        ]
        self.networks = nn.ModuleList(made)

    def prompt(self) -> Float[Tensor, "c M F"]:
        """P' = E(P) + P, or E(P) alone."""
        pieces = self.context.split(1, dim=1) if self.config.separate else (self.context,)
        made = torch.cat([network(piece) for network, piece in zip(self.networks, pieces, strict=True)], dim=1)
        return made + self.context if self.config.residual else made


_SETTINGS = {"epochs": 24}
_GRID = {"learning_rate": (0.002, 0.004, 0.008, 0.016)}
_SETS = {"sets": ("stamps", "art4apps", "fashion"), "shots": (4, 16)}
_EXCHANGED = {**_SETS, "exchanged": True}
_ARMS = {"pre": Arm("pre", _SETTINGS, grid=_GRID), "coop": Arm("coop", _SETTINGS, grid=_GRID)}

CLAIMS = (
    Claim(
        "With vectors that pass through a small recurrent network, prompts that were learned on some classes tell "
        "other classes apart better than CoOp's.",
        arms={"pre": Arm("pre", _SETTINGS, grid=_GRID), "coop": Arm("coop", _SETTINGS, grid=_GRID)},
        metric="new_accuracy",
        statistic="final",
        minimum_effect=0.01,
        data="few_shot",
        budget=16,
        options=_SETS,
        cheap="coop",
    ),
    Claim(
        "With vectors that pass through a small recurrent network, the harmonic mean of the accuracies on learned and "
        "on other classes is higher than CoOp's.",
        arms={"pre": Arm("pre", _SETTINGS, grid=_GRID), "coop": Arm("coop", _SETTINGS, grid=_GRID)},
        metric="harmonic_mean",
        statistic="final",
        minimum_effect=0.006,
        data="few_shot",
        budget=16,
        primary=False,
        options=_SETS,
        cheap="coop",
    ),
    # Again, with 20 seeds whose halves both are the new one: which half that is decided more than the method did.
    Claim(
        "Over 20 draws whose halves are exchanged, prompts that pass through a small recurrent network tell classes "
        "apart that were not learned better than CoOp's.",
        arms=_ARMS,
        metric="new_accuracy",
        statistic="final",
        minimum_effect=0.01,
        data="few_shot",
        budget=16,
        primary=False,
        options=_EXCHANGED,
        again="With vectors that pass through a small recurrent network, prompts that were learned on some classes "
        "tell other classes apart better than CoOp's.",
        seeds=20,
        first_seed=5,
        cheap="coop",
    ),
    Claim(
        "Over 20 draws whose halves are exchanged, the harmonic mean of the accuracies on learned and on other classes "
        "is higher with prompts that pass through a small recurrent network than with CoOp's.",
        arms=_ARMS,
        metric="harmonic_mean",
        statistic="final",
        minimum_effect=0.006,
        data="few_shot",
        budget=16,
        primary=False,
        options=_EXCHANGED,
        again="With vectors that pass through a small recurrent network, the harmonic mean of the accuracies on "
        "learned and on other classes is higher than CoOp's.",
        seeds=20,
        first_seed=5,
        cheap="coop",
    ),
    Claim(
        "The same of a model whose towers were trained together on images and texts, as the paper's were: prompts that "
        "pass through a small recurrent network tell classes apart that were not learned better than CoOp's.",
        arms=_ARMS,
        metric="new_accuracy",
        statistic="final",
        minimum_effect=0.01,
        data="few_shot",
        budget=16,
        primary=False,
        options={**_EXCHANGED, "model": "desk-clip"},
        seeds=20,
        first_seed=25,
        cheap="coop",
    ),
)
"""The paper gains some 5 points on new classes and 3 in the harmonic mean; a fifth of each is what would still be worth
having. Both arms start from the same four words and have equal epochs and learning rates to choose from, which is not
known of the authors' comparison; settings are chosen by the classes that are learned. A seed draws which half of the
classes that is. The harmonic mean is that of each set, and then averaged."""
