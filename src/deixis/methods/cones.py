"""ConES: what a text tower would have said of a concept is learned itself, and the tower is not called again (Concept
Embedding Search).

    E [C, L, D],     E_c = the text feature of c's name at the start (or random),     trained by the consumer's loss

All else is frozen. What reads E decides the loss:

    classify    p(c | x) = softmax_c(s max_l cos(f(x), E_cl)),             loss = -log p(y | x)
    pictures    q(x | c) = softmax over x and all pictures not of c,       loss = -log q(x | y), for search
    cells       m_c(F) = max_l cos(F, E_cl) of a cell F,       loss = BCE(sigmoid(s (m_c - b)), c covers F)
    condition   x + attention(x; E_c): a sequence in place of a text's,    loss of the frozen network

With `offset` E is a frozen start and what is added to it, which begins at zero (GLIP's language prompt): the same steps
under plain gradient descent. A second stage may train named layers from the embeddings that were found.

This is a reconstruction: of the paper only the abstract could be verified, and there is no public code. Ours are L, the
start, the optimiser, `pictures`, the bias b of cells, and the second stage's only layer: since the encoder's output is
computed once, the layers that can still be trained stand behind it (`adapter`, a linear map that starts at zero). No
number of `paper()` is known to be the authors'. The rival `where="before"` has CoOp's vectors of each class in front of
the frozen tower, which is then called at every step, and all else alike.

With one vector a class, `classify` is a linear probe on joint embeddings that starts at the class names, as `delta` is
one on two kinds of features. Relations: `coop` learns in front of the tower what this learns behind it; a class that
was not learned has no row here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.methods.baselines.zero_shot import class_vectors
from deixis.nn.adaptation.prompts import ClassTexts, embedding_tower, start_vectors
from deixis.nn.dual import DualEncoder
from deixis.ops.collective import gather, mean_count
from deixis.types import Arm, Batch, Card, Claim, Features, FieldSpec, Losses, Made, OptimSpec, Part, Progress, Stage

__all__ = [
    "CARD",
    "CLAIMS",
    "ConceptTable",
    "Config",
    "Method",
    "PromptTable",
    "cell_loss",
    "cell_scores",
    "picture_loss",
]

CARD = Card(
    title="ConES: Concept Embedding Search for Parameter Efficient Tuning Large Vision Language Models",
    year=2023,
    kind="trained",
    needs=(
        FieldSpec("image_embedding", "B D", values="unit", made=Made("encoder", "encode_image")),
        FieldSpec("labels", "B", "long", values="class"),
    ),
    parts=(Part("encoder", "dual_encoder", frozen=True), Part("names", "names")),
    capabilities=("classify", "segment"),
    arxiv="2305.18993",
    tags=("few-shot", "classification", "concepts", "reconstructed"),
)


@dataclass(frozen=True)
class Config:
    """Settings of ConES.

    Attributes:
        encoder: the model whose text features are replaced.
        names: the classes, in the order of the labels.
        templates: sentences around a name for the start, `{}` where it goes.
        vectors: vectors a concept (L); those beside the first start near it.
        where: what is learned stands `behind` the text tower, or `before` it as in CoOp, to compare with.
        words: what vectors before the tower start from, one for each token.
        start: at the text features of the `names`, or `random`.
        spread: standard deviation of a random start, and of what tells the vectors of a concept apart.
        offset: what is learned is added to a frozen start; behind the tower alone.
        reads: `classify` compares the classes of a picture, `pictures` the pictures of a class; `cells` decides of each
            class by itself, for rows that are cells of pictures.
        none: of `cells`, the name of the class that stands for no class: its rows are of none of the others.
        second: names of the layers that train in a second stage; empty: there is none.
        second_share: of the steps that the second stage takes.
        scale: that cosines are multiplied by; 0 is the encoder's own.
        optim: how it is optimised.
        epochs: over the labelled images.
    """

    encoder: str = "starter"
    names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ("a photo of a {}.",)
    vectors: int = 1
    where: Literal["behind", "before"] = "behind"
    words: str = "a photo of a"
    start: Literal["names", "random"] = "names"
    spread: float = 0.02
    offset: bool = False
    reads: Literal["classify", "pictures", "cells"] = "classify"
    none: str = ""
    second: tuple[str, ...] = ()
    second_share: float = 0.5
    scale: float = 0.0
    optim: OptimSpec = OptimSpec(learning_rate=0.002, weight_decay=0.0, schedule="cosine")
    epochs: int = 50

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder, five classes of two vectors, and both stages."""
        return cls(
            encoder="tiny",
            names=("a", "bee", "c d", "deer", "e"),
            vectors=2,
            second=("adapter",),
            optim=OptimSpec(learning_rate=0.05, weight_decay=0.0),
        )

    @classmethod
    def desk(cls) -> Config:
        """Two classes, to be replaced by one's own."""
        return cls(names=("cat", "dog"))

    @classmethod
    def paper(cls) -> Config:
        """What the abstract says: the embeddings alone are tuned, then the model; the numbers are ours."""
        return cls(names=("cat", "dog"), second=("adapter",))


class ConceptTable(nn.Module):
    """The vectors that stand in place of what a text tower would give.

    Args:
        start: [C, L, D], where they begin.
        offset: learn what is added to the start, which stays.
    """

    start: Tensor

    def __init__(self, start: Float[Tensor, "C L D"], offset: bool = False) -> None:
        super().__init__()
        self.offset = offset
        if offset:
            self.register_buffer("start", start.clone())
        self.vectors = nn.Parameter(torch.zeros_like(start) if offset else start.clone())

    def forward(self) -> Float[Tensor, "C L D"]:
        """The vectors as they are now, not normalised."""
        return self.start + self.vectors if self.offset else self.vectors

    def sequence(self, concept: int) -> tuple[Float[Tensor, "1 L D"], Bool[Tensor, "1 L"]]:
        """One concept as a network with cross-attention takes a text: its states, and a mask of ones.

        Args:
            concept: its number.
        """
        states = self()[concept][None]
        return states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)


class PromptTable(nn.Module):
    """The rival of the table: vectors in front of the names, from which the frozen text tower makes one of each class.

    Args:
        encoder: of the tower, which is none of this module's own.
        names: the classes.
        words: what the vectors start from.
    """

    def __init__(self, encoder: DualEncoder, names: Sequence[str], words: str) -> None:
        super().__init__()
        first = start_vectors(embedding_tower(encoder.text_tower, encoder.name), encoder.tokenizer, words)
        self.vectors = nn.Parameter(first.repeat(len(names), 1, 1))
        longest = encoder.context_length
        self.texts = ClassTexts(encoder.tokenizer, names, len(first), longest=longest).to(encoder.device)
        self._encoder = (encoder,)

    def forward(self) -> Float[Tensor, "C 1 D"]:
        """The vectors of the classes as the tower gives them now."""
        (encoder,) = self._encoder
        found = self.texts(embedding_tower(encoder.text_tower), self.vectors[None])[0]
        return (found if encoder.text_adapter is None else encoder.text_adapter(found))[:, None]


def cell_scores(cells: Float[Tensor, "B N D"], table: Float[Tensor, "C L D"]) -> Float[Tensor, "B C N"]:
    """The largest cosine of each cell with the vectors of each concept.

    Args:
        cells: of images.
        table: the concepts.
    """
    cosines = torch.einsum("bnd,cld->bcnl", F.normalize(cells, dim=-1), F.normalize(table, dim=-1))
    return cosines.amax(dim=-1)


def cell_loss(logits: Float[Tensor, "B C"], labels: Int64[Tensor, " B"], none: int) -> Float[Tensor, ""]:
    """Binary cross-entropy of cells that are and are not of each class, summed over cells, its mean over classes.

    Args:
        logits: of cells, s (m - b); what stands in the column `none` has no say.
        labels: the class whose mask or box covers the cell.
        none: the class that stands for no class; -1: there is none.
    """
    wanted = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    columns = [column for column in range(logits.shape[1]) if column != none]
    losses = F.binary_cross_entropy_with_logits(logits[:, columns], wanted[:, columns], reduction="none")
    return losses.mean(dim=1).sum()


def picture_loss(
    logits: Float[Tensor, "B C"],
    others: Float[Tensor, "N C"],
    labels: Int64[Tensor, " B"],
    all_labels: Int64[Tensor, " N"],
) -> Float[Tensor, ""]:
    """Cross-entropy of each picture, for its class, among itself and all pictures of other classes; summed.

    Args:
        logits: of this rank's pictures.
        others: of all pictures.
        labels: of this rank's.
        all_labels: of all.
    """
    own = logits.gather(1, labels[:, None])
    rivals = others.T[labels].masked_fill(all_labels[None] == labels[:, None], -torch.inf)
    return (torch.cat([own, rivals], dim=1).logsumexp(dim=1) - own[:, 0]).sum()


class Method(nn.Module):
    """A frozen encoder, the table of concepts, and what of the encoder's output a second stage may change."""

    def __init__(self, config: Config, *, encoder: DualEncoder, names: Sequence[str]) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.names = tuple(names)
        self.table: ConceptTable | PromptTable
        if config.where == "before":
            self.table = PromptTable(encoder, self.names, config.words)
        else:
            self.table = ConceptTable(self._start(), config.offset)
        self.scale = config.scale or encoder.scale
        self.none = self.names.index(config.none) if config.none in self.names else -1
        if config.reads == "cells":
            self.bias = nn.Parameter(torch.tensor(0.0))
        if config.second:
            self.adapter = nn.Linear(encoder.width, encoder.width)
            nn.init.zeros_(self.adapter.weight)
            nn.init.zeros_(self.adapter.bias)

    def _start(self) -> Float[Tensor, "C L D"]:
        config, shape = self.config, (len(self.names), self.config.vectors, self.encoder.width)
        noise = config.spread * torch.randn(shape)
        if config.start == "random":
            return noise
        with torch.device("cpu"):  # whatever the method is built on: the frozen tower has real weights
            first = class_vectors(self.encoder, self.names, config.templates).cpu()
        noise[:, 0] = 0
        return noise + first.to(noise.device)[:, None]

    def stages(self) -> tuple[Stage, ...]:
        """The embeddings alone; then, where layers are named, these from there on."""
        share, second = self.config.second_share, self.config.second
        first = ("table.", "bias")
        if not second:
            return (Stage("concepts", trainable=first),)
        return (Stage("concepts", trainable=first, steps=1 - share), Stage("layers", trainable=second, steps=share))

    def images(self, image: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Embeddings, or cells, of length 1 as the second stage left them."""
        image = F.normalize(image, dim=-1)
        return F.normalize(image + self.adapter(image), dim=-1) if self.config.second else image

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Rows `image` [B, D] of length 1 and, shared by all, the `table` [C, L, D]."""
        return Features({"image": self.images(batch.extra["image_embedding"])}, {"table": self.table()})

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """The loss of what reads the table."""
        labels, image, table = batch.labels, features.rows["image"], features.shared["table"]
        assert labels is not None
        logits, count = self._logits(image, table), mean_count(float(len(labels)))
        right = (logits.detach().argmax(dim=1) == labels).float().mean()
        if self.config.reads == "classify":
            total = F.cross_entropy(logits, labels, reduction="sum")
        elif self.config.reads == "cells":
            total = cell_loss(logits, labels, self.none)
        else:
            others = self._logits(gather(image), table)
            total = picture_loss(logits, others, labels, gather(labels.float()).long())
        return Losses({self.config.reads: total / count}, metrics={"accuracy": right})

    def _logits(self, image: Float[Tensor, "B D"], table: Float[Tensor, "C L D"]) -> Float[Tensor, "B C"]:
        """Scaled cosines; of cells less their bias, so that no class at all has 0."""
        cosines = cell_scores(image[:, None], table)[..., 0]
        if self.config.reads != "cells":
            return self.scale * cosines
        logits = self.scale * (cosines - self.bias)
        return logits if self.none < 0 else logits.index_fill(1, torch.tensor(self.none, device=logits.device), 0.0)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """`encode`, then `loss`."""
        return self.loss(self.encode(batch, progress), batch, progress)

    def class_vectors(self) -> Float[Tensor, "C D"]:
        """One direction of length 1 a concept, for searches: the mean of those of its vectors."""
        return F.normalize(F.normalize(self.table(), dim=-1).mean(dim=1), dim=-1)

    def scores(self, image: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Logits of the classes, from embeddings that the encoder gave."""
        return self._logits(self.images(image), self.table())

    def classify(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Logits of the classes."""
        return self.scores(self.encoder.encode_image(images))

    def segment(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C H W"]:
        """Scores of the classes at each pixel: those of the cells, between which they are interpolated.

        Args:
            images: of a model whose cells lie on a grid.
        """
        cells = self.encoder.image_tokens(images)
        assert cells.grid is not None, "cells without a grid have no place"
        scores = self.scale * cell_scores(self.images(cells.states), self.table())
        return F.interpolate(scores.unflatten(-1, cells.grid), images.shape[-2:], mode="bilinear", align_corners=False)


_RATES = {"learning_rate": (0.002, 0.008)}
_RIVALS = {
    "cones": Arm("cones", {"epochs": 16}, grid=_RATES),
    "coop": Arm("coop", {"epochs": 16}, grid=_RATES),
    "delta": Arm("delta", grid={"penalty": (1e-3, 1e-2)}),
    "offset": Arm("cones", {"epochs": 16, "offset": True}, grid=_RATES),
}
_CELLS = {"epochs": 8, "reads": "cells", "none": "nothing"}
_TABLES = {"learning_rate": (0.002, 0.008), "vectors": (1, 4)}
_PROMPTS = {"learning_rate": (0.0005, 0.002, 0.008, 0.03)}
_NAMES = (
    ("a photo of a {}.",),
    ("a picture of a {}.",),
    ("{}",),
    ("a photo of a {}.", "a drawing of a {}.", "a picture of a {}.", "{}"),
)

CLAIMS = (
    Claim(
        "With 16 labelled images of each class, vectors behind the text tower tell classes apart better than vectors "
        "in front of it.",
        arms=_RIVALS,
        metric="accuracy",
        statistic="final",
        minimum_effect=0.01,
        data="few_shot",
        budget=16,
        options={"shots": (4, 16), "model": "desk-clip"},
        seeds=8,
        first_seed=100,
        cheap="delta",
    ),
    Claim(
        "The same of a model whose towers never met in training: the starter.",
        arms=_RIVALS,
        metric="accuracy",
        statistic="final",
        minimum_effect=0.01,
        data="few_shot",
        budget=16,
        primary=False,
        options={"shots": (4, 16)},
        seeds=8,
        first_seed=100,
        cheap="delta",
    ),
    Claim(
        "With 16 labelled images of each class, a vector of each class behind the text tower tells classes apart "
        "better than vectors of each class in front of it, and than names alone.",
        arms={
            "cones": Arm("cones", {"epochs": 16}, grid=_RATES),
            "before the tower": Arm("cones", {"epochs": 16, "where": "before"}, grid=_RATES),
            "names": Arm("zero_shot", grid={"templates": (("a photo of a {}.",), ("{}",))}),
        },
        metric="accuracy",
        statistic="final",
        minimum_effect=0.01,
        data="few_shot",
        budget=16,
        primary=False,
        options={"shots": (4, 16), "model": "desk-clip"},
        seeds=8,
        first_seed=100,
        cheap="names",
    ),
    Claim(
        "Marked in four scenes each, concepts of nouns that were in no training are pointed at in further scenes more "
        "often by vectors behind the text tower than by vectors in front of it, by their names, and by the mean of the "
        "marked cells.",
        arms={
            "cones": Arm("cones", _CELLS, grid=_TABLES),
            "before the tower": Arm("cones", {**_CELLS, "where": "before"}, grid=_PROMPTS),
            "names": Arm("zero_shot", grid={"templates": _NAMES}),
            "mean of the marked cells": Arm("class_mean", grid={"named": (0.0, 0.25, 0.5, 0.75)}),
        },
        metric="pointing",
        statistic="final",
        minimum_effect=0.03,
        data="marked",
        budget=4,
        primary=False,
        seeds=8,
        first_seed=100,
        cheap="names",
    ),
    Claim(
        "What is added to a frozen start points at marked concepts less often than the start itself that is trained.",
        arms={
            "cones": Arm("cones", _CELLS, grid=_TABLES),
            "offset": Arm("cones", {**_CELLS, "offset": True}, grid=_TABLES),
        },
        metric="pointing",
        statistic="final",
        minimum_effect=0.03,
        data="marked",
        budget=4,
        primary=False,
        seeds=8,
        first_seed=100,
        cheap="offset",
    ),
)
"""CoOp has one set of vectors for all classes, and ConES a vector for each. Another claim has vectors of each class in
CoOp's place: there the place is all that differs. Ties are expected with `offset` (the same steps but for what AdamW
makes of them) and with `delta`, a near relation; where they are, the gain over CoOp is none of ConES's."""
