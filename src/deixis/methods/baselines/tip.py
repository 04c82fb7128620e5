"""Tip-Adapter, without training: the labelled images are kept, and the nearer a new one is to them, the more they say.

    logits = s f W' + alpha exp(-beta (1 - f K')) Y

with f the image, W the class vectors of zero-shot classification (`zero_shot`), K the embeddings of the kept images,
all of length 1, Y their labels as rows of one 1, and s the encoder's scale.

alpha says how much the kept images count, beta how near they must be. One value of each is taken as it is. Of several,
`finish` takes the pair that explains the kept images best (mean cross-entropy) when each is judged by all others: no
images beyond the few are needed. Views of one image, whose ids are equal up to a `#`, are left out together. Where a
class has a single image nothing could speak for it, and the first pair is taken.

What differs from the authors' code: they average ten crops of an image into one row, here each row that is shown
counts; they choose alpha and beta on validation images. The defaults 1 and 5.5 are ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.methods.baselines.zero_shot import class_vectors
from deixis.nn.dual import DualEncoder
from deixis.types import Batch, Card, FieldSpec, Made, Part, Progress

__all__ = ["CARD", "CLAIMS", "Config", "Method", "votes"]

_JUDGED = 10_000
"""Kept images above which none is judged by all others, and the first pair is taken."""

CARD = Card(
    title="Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification",
    year=2022,
    kind="fitted",
    role="baseline",
    needs=(
        FieldSpec("image_embedding", "B D", values="unit", made=Made("encoder", "encode_image")),
        FieldSpec("labels", "B", "long", values="class"),
    ),
    parts=(Part("encoder", "dual_encoder", frozen=True), Part("names", "names")),
    capabilities=("classify",),
    non_gradient_state=("classes", "keys", "labels", "alpha", "beta"),
    venue="ECCV",
    arxiv="2207.09519",
    code="gaopengcuhk/Tip-Adapter",
    tags=("few-shot", "classification", "nearest neighbours"),
)


@dataclass(frozen=True)
class Config:
    """Settings of Tip-Adapter.

    Attributes:
        encoder: the model whose space is used.
        names: the classes, in the order of the labels.
        templates: sentences around a name, `{}` where it goes.
        alphas: weights of the kept images; of several the best is chosen.
        betas: how fast their say falls with distance; of several the best is chosen.
    """

    encoder: str = "starter"
    names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ("a photo of a {}.",)
    alphas: tuple[float, ...] = (1.0,)
    betas: tuple[float, ...] = (5.5,)

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder and five classes."""
        return cls(encoder="tiny", names=("a", "b", "c", "d", "e"), alphas=(1.0, 0.3, 3.0), betas=(5.5, 2.0))

    @classmethod
    def desk(cls) -> Config:
        """Several weights and ranges, of which the best is chosen."""
        return cls(names=("cat", "dog"), alphas=(1.0, 0.3, 3.0, 10.0), betas=(5.5, 2.0, 15.0))

    @classmethod
    def paper(cls) -> Config:
        """One weight and one range."""
        return cls(names=("cat", "dog"))


def votes(
    image: Float[Tensor, "B D"], keys: Float[Tensor, "N D"], labels: Int64[Tensor, " N"], classes: int, beta: float
) -> Float[Tensor, "B C"]:
    """What the kept images say, exp(-beta (1 - f K')) Y: for each class the sum over its images.

    Args:
        image: new ones, of length 1.
        keys: kept ones, of length 1.
        labels: of the kept ones.
        classes: their number (C).
        beta: how fast a say falls with distance.
    """
    return _summed((-beta * (1 - image @ keys.T)).exp(), labels, classes)


def _summed(says: Float[Tensor, "B N"], labels: Int64[Tensor, " N"], classes: int) -> Float[Tensor, "B C"]:
    return says.new_zeros(len(says), classes).index_add_(1, labels, says)


class Method(nn.Module):
    """An encoder, the vectors of the classes, and the images that were shown."""

    classes: Tensor
    keys: Tensor
    labels: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, config: Config, *, encoder: DualEncoder, names: Sequence[str]) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.names = tuple(names)
        self.register_buffer("classes", torch.zeros(len(self.names), encoder.width))
        self.register_buffer("keys", torch.zeros(0, encoder.width))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.long))
        self.register_buffer("alpha", torch.tensor(config.alphas[0]))
        self.register_buffer("beta", torch.tensor(config.betas[0]))
        self._seen: list[tuple[tuple[str, ...], Tensor, Tensor]] = []

    def observe(self, batch: Batch, progress: Progress) -> None:
        """Keeps the embeddings and labels of a batch."""
        assert batch.labels is not None
        self._seen.append((batch.ids, F.normalize(batch.extra["image_embedding"], dim=-1), batch.labels))

    def finish(self, progress: Progress) -> None:
        """Embeds the classes, sorts what was kept by id, and chooses among the weights and ranges."""
        if not self._seen:
            raise ValueError("nothing was observed")
        self.classes.copy_(class_vectors(self.encoder, self.names, self.config.templates))
        ids = [name for names, _, _ in self._seen for name in names]
        order = torch.tensor(sorted(range(len(ids)), key=ids.__getitem__))
        self.keys = torch.cat([keys for _, keys, _ in self._seen])[order.to(self.keys.device)]
        self.labels = torch.cat([labels for _, _, labels in self._seen])[order.to(self.keys.device)]
        images = [ids[i].rpartition("#")[0] or ids[i] for i in order.tolist()]
        self._choose(images)
        self._seen.clear()

    def take_sizes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Makes room for a state that is about to be read.

        Args:
            shapes: of its tensors, by name.
        """
        self.keys = self.keys.new_zeros(shapes.get("keys", (0, self.encoder.width)))
        self.labels = self.labels.new_zeros(shapes.get("labels", (0,)))

    def _choose(self, images: Sequence[str]) -> None:
        """Sets the weight and range under which the kept images explain one another best."""
        pairs = list(itertools.product(self.config.alphas, self.config.betas))
        number = {name: i for i, name in enumerate(dict.fromkeys(images))}
        which = torch.tensor([number[name] for name in images], device=self.keys.device)
        best = pairs[0]
        if len(pairs) > 1 and self._can_judge(which):
            losses = torch.stack([self._left_out(alpha, beta, which[:, None] == which) for alpha, beta in pairs])
            best = pairs[int(losses.argmin())]
        self.alpha.fill_(best[0])
        self.beta.fill_(best[1])

    def _can_judge(self, which: Int64[Tensor, " N"]) -> bool:
        """Whether each class that was shown has two images or more, and all pairs of images fit into memory."""
        if len(which) > _JUDGED:
            return False
        images = [len(which[self.labels == label].unique()) for label in self.labels.unique()]
        return min(images) > 1

    def _left_out(self, alpha: float, beta: float, same: Bool[Tensor, "N N"]) -> Float[Tensor, ""]:
        """The mean cross-entropy of the kept images, none having a say about itself."""
        says = (-beta * (1 - self.keys @ self.keys.T)).exp().masked_fill(same, 0)
        logits = self._zero_shot(self.keys) + alpha * _summed(says, self.labels, len(self.names))
        return F.cross_entropy(logits, self.labels)

    def _zero_shot(self, image: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        return self.encoder.scale * image @ self.classes.T

    def scores(self, image: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Logits from embeddings that the encoder gave."""
        image = F.normalize(image, dim=-1)
        said = votes(image, self.keys, self.labels, len(self.names), float(self.beta))
        return self._zero_shot(image) + self.alpha * said

    def classify(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Logits of the classes."""
        return self.scores(self.encoder.encode_image(images))


CLAIMS = ()
