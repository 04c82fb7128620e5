"""IMAGINATOR: a vector a word, from the words it keeps company with and from what its pictures look like.

1. Company: words are counted by image, each once; their association is positive pointwise mutual information with
   smoothed contexts, and its truncated SVD gives a vector a word.
2. Looks: the mean feature of a word's pictures passes through a network that is trained, by a triplet loss with the
   hardest other word of a batch, to come near the word's vector of 1.
3. Turns: both are rotated to the directions in which they vary together, and added, 6 parts company to 2 parts looks
   (arXiv 2305.10438).

The paper's formulas are not public; the losses and turns follow the authors' notebook as far as it can be read, the
rest the usual definitions (exponent 0.75, singular values to the power of a half).

What differs from the notebook, or is our reading of it:
* `margin="released"`: distances are means over coordinates, which are at most 4 / D between unit vectors, so that a
  margin of 0.1 is never met above a width of 40: the loss then only pulls and pushes, and the method warns. `proper`
  takes sums and 0.2; `scaled` is `proper` divided by D.
* Words are drawn with replacement there, and one that is drawn twice can become its own negative; here another word is
  what has another number.
* What an image looks like is the mean over crops of its boxes in the paper; here it is whatever features are given:
  those of whole images, in the claims and by default, or of crops (`deixis words --crops`, where data has boxes).
* Turns are a singular value decomposition of the covariance that is not centred, as in the notebook.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.types import Arm, Batch, Card, Claim, FieldSpec, Made, Part, Progress
from deixis.types.protocols import ImageEncoder

__all__ = [
    "CARD",
    "CLAIMS",
    "Config",
    "Method",
    "context_vectors",
    "cooccurrence",
    "hardest_other",
    "joint",
    "ppmi",
    "triplet",
    "turns",
]

CARD = Card(
    title="IMAGINATOR: Pre-Trained Image+Text Joint Embeddings using Word-Level Grounding of Images",
    year=2023,
    kind="fitted",
    needs=(
        FieldSpec("image_features", "B F", made=Made("encoder", "forward")),
        FieldSpec("tags", "B T", "long", ragged="T", values="class"),
    ),
    parts=(Part("encoder", "image_tower", frozen=True),),
    capabilities=("encode_image",),
    venue="ICON",
    arxiv="2305.10438",
    code="varunakk/IMAGINATOR",
    tags=("words", "tags", "images without text"),
)

Margin = Literal["released", "proper", "scaled"]
_MARGINS: dict[str, float] = {"released": 0.1, "proper": 0.2, "scaled": 0.2}
_WIDTH = 40
"""Above it two unit vectors are never as far apart, by the mean over coordinates, as the released margin."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of company, looks and turns.

    Attributes:
        encoder: the image tower whose features say what a word looks like.
        words: how many words there are; the data's tags are numbers below it.
        exponent: to which the frequencies of contexts are raised.
        width: of all vectors; at most the number of words.
        power: to which singular values are raised.
        hidden: width of the network's hidden layer.
        dropout: before the network's last layer.
        margin: see the module's docstring.
        rate: of Adam.
        batch: words in a step.
        steps: of training the network.
        rank: directions that turns keep; at most `width`, less than the number of words.
        weights: of company and of looks in their sum.
        seed: of weights, batches and dropout.
    """

    encoder: str = "starter"
    words: int = 1000
    exponent: float = 0.75
    width: int = 64
    power: float = 0.5
    hidden: int = 512
    dropout: float = 0.5
    margin: Literal["released", "proper", "scaled"] = "proper"
    rate: float = 2e-4
    batch: int = 64
    steps: int = 1000
    rank: int = 64
    weights: tuple[float, float] = (6.0, 2.0)
    seed: int = 0

    @classmethod
    def tiny(cls) -> Config:
        """For tests: five words, a few steps."""
        return cls(encoder="tiny", words=5, width=3, hidden=8, dropout=0.0, batch=4, steps=5, rate=1e-2, rank=2)

    @classmethod
    def desk(cls) -> Config:
        """For hundreds of words: width 64, the margin that can be met, a thousand steps."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """As in the authors' notebook: VGG19's features, width 512, rank 511, the margin that can't be met."""
        return cls(
            encoder="timm:vgg19",
            words=17_158,
            width=512,
            hidden=4096,
            margin="released",
            steps=3000,
            rank=511,
        )


def cooccurrence(tags: Int64[Tensor, "B T"], words: int) -> Float[Tensor, "V V"]:
    """How many images hold both of two different words.

    Args:
        tags: of each image the numbers of its words, each counted once; negative: no word.
        words: V of them.
    """
    held = torch.zeros(len(tags), words + 1, dtype=torch.float64, device=tags.device)
    held.scatter_(1, torch.where(tags < 0, words, tags), 1.0)
    held = held[:, :words]
    return (held.T @ held).fill_diagonal_(0)


def ppmi(counts: Float[Tensor, "V C"], exponent: float = 0.75) -> Float[Tensor, "V C"]:
    """max(0, log(P(a, b) / (P(a) Q(b)))), with Q(b) the frequency of a context to a power; 0 where nothing was counted.

    Args:
        counts: of a word with a context.
        exponent: of the contexts' frequencies.
    """
    total = counts.sum().clamp(min=1)
    word, context = counts.sum(1) / total, counts.sum(0) ** exponent
    context = context / context.sum().clamp(min=torch.finfo(counts.dtype).tiny)
    ratio = (counts / total) / (word[:, None] * context)
    return torch.where(counts > 0, ratio, 1.0).log().clamp(min=0)


def context_vectors(
    matrix: Float[Tensor, "V C"], width: int, power: float
) -> tuple[Float[Tensor, "V K"], Float[Tensor, " K"]]:
    """U S^power of the truncated singular value decomposition, and S.

    Args:
        matrix: association of words and contexts.
        width: K directions.
        power: of the singular values.
    """
    u, s, _ = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, :width] * s[:width] ** power, s[:width]


def hardest_other(
    anchors: Float[Tensor, "B D"], others: Float[Tensor, "B D"], words: Int64[Tensor, " B"]
) -> Int64[Tensor, " B"]:
    """Of each anchor the nearest row of the other side that is of another word.

    Args:
        anchors: one a word.
        others: the other side of each.
        words: the number of each row's word.
    """
    distance = torch.cdist(anchors, others, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.masked_fill(words[:, None] == words, torch.inf).argmin(1)


def triplet(
    anchors: Float[Tensor, "B D"],
    positives: Float[Tensor, "B D"],
    negatives: Float[Tensor, "B D"],
    form: Margin,
    margin: float | None = None,
) -> Float[Tensor, " B"]:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) of squared distances, summed or averaged over D.

    Args:
        anchors: rows of length 1.
        positives: what each is to be near to.
        negatives: what it is to be farther from.
        form: mean and 0.1; sum and 0.2; or mean and 0.2 / D.
        margin: another margin than the form's, before it is scaled.
    """
    width = anchors.shape[1]
    near, far = ((anchors - other).square().sum(1) for other in (positives, negatives))
    margin = _MARGINS[form] if margin is None else margin
    if form == "proper":
        return F.relu(near - far + margin)
    return F.relu((near - far) / width + (margin if form == "released" else margin / width))


def turns(
    looks: Float[Tensor, "V D"], company: Float[Tensor, "V D"], rank: int
) -> tuple[Float[Tensor, "D K"], Float[Tensor, "D K"], Float[Tensor, " K"]]:
    """The directions of each side in which both vary together, and their covariances: PLS-SVD, not centred.

    Args:
        looks: one row a word.
        company: the same of the other side.
        rank: K directions.
    """
    u, s, v = torch.linalg.svd(looks.T @ company, full_matrices=False)
    return u[:, :rank], v[:rank].T, s[:rank]


def joint(
    company: Float[Tensor, "V K"], looks: Float[Tensor, "V K"], weights: tuple[float, float]
) -> Float[Tensor, "V K"]:
    """The weighted mean of both.

    Args:
        company: turned.
        looks: turned.
        weights: of company, and of looks.
    """
    first, second = weights
    return (first * company + second * looks) / (first + second)


class _LooksNetwork(nn.Sequential):
    """Features -> a unit vector."""

    def __init__(self, features: int, config: Config) -> None:
        super().__init__(
            nn.Linear(features, config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.width),
            nn.BatchNorm1d(config.width),
        )

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B D"]:
        return F.normalize(super().forward(features), dim=1)


class Method(nn.Module):
    """Counts and features of words, and what is made of them."""

    counts: Tensor
    sums: Tensor
    images: Tensor
    company: Tensor
    looks: Tensor
    turn_company: Tensor
    turn_looks: Tensor

    def __init__(self, config: Config, *, encoder: ImageEncoder) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        words, width, rank = config.words, config.width, config.rank
        self.network = _LooksNetwork(encoder.width, config).requires_grad_(False)
        self.register_buffer("counts", torch.zeros(words, words, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(words, encoder.width, dtype=torch.float64))
        self.register_buffer("images", torch.zeros(words, dtype=torch.float64))
        self.register_buffer("company", torch.zeros(words, width))
        self.register_buffer("looks", torch.zeros(words, width))
        self.register_buffer("turn_company", torch.eye(width, rank))
        self.register_buffer("turn_looks", torch.eye(width, rank))

    def observe(self, batch: Batch, progress: Progress) -> None:
        """Counts the words of a batch, and adds up the features of their images."""
        tags = torch.where(batch.valid["T"], batch.extra["tags"], -1)
        self.counts += cooccurrence(tags, self.config.words)
        held = torch.zeros(len(tags), self.config.words + 1, dtype=torch.float64, device=tags.device)
        held.scatter_(1, torch.where(tags < 0, self.config.words, tags), 1.0)
        held = held[:, :-1]
        self.sums += held.T @ F.normalize(batch.extra["image_features"].double(), dim=1)
        self.images += held.sum(0)

    def finish(self, progress: Progress) -> None:
        """Makes the vectors of company, trains the network of looks, and turns both.

        Raises:
            ValueError: nothing was observed.
        """
        known = self.images > 0
        if not known.any():
            raise ValueError("nothing was observed")
        width = self.config.width
        if self.config.margin == "released" and width > _WIDTH:
            warnings.warn(
                f"The released margin of 0.1 can't be met at width {width}: between unit vectors the mean squared "
                f"difference is at most {4 / width:.4f}. Take margin='proper'.",
                stacklevel=2,
            )
        vectors, _ = context_vectors(ppmi(self.counts, self.config.exponent), width, self.config.power)
        self.company[:, : vectors.shape[1]] = F.normalize(vectors, dim=1).to(self.company)
        features = self._features()
        self._train(features, known & (self.company.norm(dim=1) > 0))
        self.looks.copy_(self.network(features) * known[:, None])
        left, right, _ = turns(self.looks, self.company, self.config.rank)
        self.turn_looks[:, : left.shape[1]] = left
        self.turn_company[:, : right.shape[1]] = right

    def _features(self) -> Float[Tensor, "V F"]:
        return (self.sums / self.images.clamp(min=1)[:, None]).to(self.looks)

    def _train(self, features: Float[Tensor, "V F"], known: Bool[Tensor, " V"]) -> None:
        words = known.nonzero()[:, 0]
        if len(words) < 2:
            self.network.eval()
            return
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(self.config.seed)
            for layer in self.network:
                if isinstance(layer, nn.Linear | nn.BatchNorm1d):
                    layer.reset_parameters()
            self.network.train().requires_grad_(True)
            optimizer = torch.optim.Adam(self.network.parameters(), self.config.rate)
            for chosen in _batches(words, self.config.batch, self.config.steps):
                anchors, company = self.network(features[chosen]), self.company[chosen]
                negatives = company[hardest_other(anchors.detach(), company, chosen)]
                losses = triplet(anchors, company, negatives, self.config.margin)
                optimizer.zero_grad()
                (losses.sum() if self.config.margin == "released" else losses.mean()).backward()
                optimizer.step()
        self.network.eval().requires_grad_(False)

    def word_vectors(self) -> Float[Tensor, "V K"]:
        """The joint vector of each word; 0 for words that were not seen."""
        return joint(self.company @ self.turn_company, self.looks @ self.turn_looks, self.config.weights)

    def encode_features(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """What images look like, turned as words are; rows of length 1.

        Args:
            features: of the encoder.
        """
        return F.normalize(self.network(F.normalize(features, dim=1)) @ self.turn_looks, dim=1)

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K"]:
        """The same of images."""
        return self.encode_features(self.encoder(images))


def _batches(words: Int64[Tensor, " N"], size: int, steps: int) -> Iterator[Int64[Tensor, " B"]]:
    """Epoch after epoch, each word once; an epoch's last words wait for the next where they are too few for a norm."""
    done = 0
    while done < steps:
        for chosen in words[torch.randperm(len(words))].split(size):
            if len(chosen) > 1 and done < steps:
                done += 1
                yield chosen


CLAIMS = (
    Claim(
        "Of a picture's tags one that is held back is found by company and looks together more often than by either, "
        "by the tags of the nearest pictures, or by plain counts.",
        arms={
            "joint": Arm("imaginator", metric="joint"),
            "company": Arm("imaginator", metric="company"),
            "looks": Arm("imaginator", metric="looks"),
            "nearest pictures": Arm("imaginator", metric="nearest"),
            "counts": Arm("imaginator", metric="cooccurrence"),
        },
        metric="joint",
        statistic="final",
        minimum_effect=0.02,
        data="tags",
        budget=1000,
        cheap="nearest pictures",
    ),
    Claim(
        "Where a tag was never seen beside the picture's others, looks help company to find it.",
        arms={
            "joint": Arm("imaginator", metric="unseen_joint"),
            "company": Arm("imaginator", metric="unseen_company"),
            "looks": Arm("imaginator", metric="unseen_looks"),
            "nearest pictures": Arm("imaginator", metric="unseen_nearest"),
        },
        metric="unseen_joint",
        statistic="final",
        minimum_effect=0.02,
        data="tags",
        budget=1000,
        primary=False,
        cheap="nearest pictures",
    ),
    Claim(
        "From a picture without tags the joint vectors find one of its tags more often than ridge regression does.",
        arms={
            "joint": Arm("imaginator", metric="image"),
            "looks": Arm("imaginator", metric="image_looks"),
            "ridge regression": Arm("imaginator", metric="image_ridge"),
        },
        metric="image",
        statistic="final",
        minimum_effect=0.02,
        data="tags",
        budget=1000,
        primary=False,
        cheap="ridge regression",
    ),
)
"""The paper's own evidence are benchmarks of word similarity and analogies. The plain counts and the nearest pictures
are what one would write first."""
