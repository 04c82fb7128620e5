"""PARSeq: a recogniser of words whose decoder has learned to predict the characters in many orders.

    L = sum over orders r, n_r CE_r / sum over r of n_r,    CE_r = - mean over t of log p(y_t | those before t in r, x)

An image tower gives one state a patch; a decoder of two streams (`deixis.nn.reading.two_stream`) predicts each
character from them and from the characters that come before it in an order. Orders are forward, backward, and mirrored
pairs drawn anew in each step; n_r counts targets, and behind the second order the ends of words are no targets. Reading
is greedy from left to right, and then each character is read once more, given all others (Bautista and Atienza, 2022).

What differs from the paper:
* All words of a step have the orders of words of the greatest length, whose further positions are padding. The authors'
  have the length of the longest word in the batch.
* Dropout is that of embeddings and of what blocks add, not of attention weights.
* In the second reading the content stream is causal, as the paper has it; the authors' code changes one mask in place,
  so that it sees what the query stream sees (`released`). It makes a difference beyond one block of the decoder.
* Of the authors' augmentation (RandAugment without what hurts text, blur, noise) crops, colours and blur are here.
* With one order (`permutations` 1) it is a recogniser from left to right.

Words that are too long, empty, or hold signs outside the alphabet are left out of the loss, and counted in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.reading.alphabet import Alphabet
from deixis.nn.reading.line_vit import LineVit, LineVitConfig
from deixis.nn.reading.orders import permutation_masks, permutations
from deixis.nn.reading.two_stream import TwoStreamDecoder
from deixis.ops.collective import mean_count
from deixis.types import Augment, Batch, Card, Features, FieldSpec, Losses, OptimSpec, Progress, ViewSpec

__all__ = ["CARD", "CLAIMS", "CharacterLosses", "Config", "Method", "character_losses", "permuted_loss"]

CARD = Card(
    title="Scene Text Recognition with Permuted Autoregressive Sequence Models (PARSeq)",
    year=2022,
    kind="trained",
    role="ancestor",
    needs=(FieldSpec("images", "B 3 H W"), FieldSpec("captions", "B", "object")),
    capabilities=("read",),
    zero_gradient=("attention.key.bias",),
    venue="ECCV",
    arxiv="2207.06966",
    code="baudm/parseq",
    tags=("text recognition",),
)

_WITH_ENDS = 2  # orders of which the ends of words are targets


@dataclass(frozen=True)
class Config:
    """Settings of PARSeq.

    Attributes:
        alphabet: characters that can be read, each once; or `94`, `62` (letters and digits) or `36` (no capitals).
        longest: characters of a word at the most.
        lower: capitals are learned as small letters.
        width: of all states.
        depth: blocks of the image tower.
        heads: of each attention in it.
        patch: height and width of a patch, in pixels.
        decoder_layers: blocks of the decoder.
        decoder_heads: of each attention in it.
        dropout: in the decoder.
        permutations: orders of a step; 1 is from left to right alone.
        refinements: how often what was read is read once more.
        released: the second reading masks as the authors' code does.
        optim: how it is optimised.
        view: size of the images, and how they are varied.
    """

    alphabet: str = "94"
    longest: int = 25
    lower: bool = False
    width: int = 192
    depth: int = 6
    heads: int = 3
    patch: tuple[int, int] = (4, 8)
    decoder_layers: int = 1
    decoder_heads: int = 6
    dropout: float = 0.1
    permutations: int = 6
    refinements: int = 1
    released: bool = False
    optim: OptimSpec = OptimSpec(learning_rate=1e-3, weight_decay=0.0, schedule="cosine", warmup=0.075, clip=20.0)
    view: ViewSpec = ViewSpec(
        size=32,
        width=128,
        augment=Augment(
            scale=(0.8, 1.0), shape="image", flip=0.0, jitter=(0.3, 0.3, 0.3, 0.05), blur=0.2, sigma=(0.1, 1.0)
        ),
    )

    @classmethod
    def tiny(cls) -> Config:
        """For tests: images of 32 x 32."""
        return cls(
            alphabet="36",
            longest=16,
            width=16,
            depth=1,
            heads=2,
            patch=(8, 16),
            decoder_heads=2,
            permutations=4,
            optim=OptimSpec(learning_rate=1e-2, weight_decay=0.0),
            view=ViewSpec(size=32),
        )

    @classmethod
    def desk(cls) -> Config:
        """The widths of the authors' smallest variant, half its depth."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """PARSeq-S as released: 7e-4 at a batch of 256, hence 1.05e-3 at 384; there OneCycle, over 20 epochs."""
        return cls(
            width=384,
            depth=12,
            heads=6,
            decoder_heads=12,
            optim=OptimSpec(learning_rate=1.05e-3, weight_decay=0.0, schedule="cosine", warmup=0.075, clip=20.0),
        )


class CharacterLosses(NamedTuple):
    """Of each character of a word in each order.

    Attributes:
        loss: cross-entropy; 0 where nothing is to be predicted.
        real: whether it counts.
    """

    loss: Float[Tensor, "B P L"]
    real: Bool[Tensor, "B P L"]


def character_losses(
    decoder: TwoStreamDecoder,
    memory: Float[Tensor, "B S D"],
    ids: Int64[Tensor, "B M"],
    orders: Int64[Tensor, "P M"],
) -> CharacterLosses:
    """What each character costs in each order; behind the second order the ends of words are no targets.

    Args:
        decoder: that predicts.
        memory: what is read.
        ids: start, characters, end and padding, as `Alphabet.encode` gives them.
        orders: of the positions, as `permutations` gives them.
    """
    masks = [torch.stack(each) for each in zip(*map(permutation_masks, orders), strict=True)]
    known, wanted = ids[:, :-1], ids[:, 1:]
    real = (known != decoder.padding) & (known != 0)
    states = decoder.states(known, memory, masks[0], masks[1], real)
    counted = (wanted != decoder.padding)[:, None].repeat(1, len(orders), 1)
    counted[:, _WITH_ENDS:] &= (wanted != 0)[:, None]
    logits = decoder.head(states).movedim(-1, 1)
    targets = torch.where(wanted == decoder.padding, 0, wanted)[:, None].expand(counted.shape)
    loss = F.cross_entropy(logits, targets, reduction="none")
    return CharacterLosses(loss * counted, counted)


def permuted_loss(losses: CharacterLosses) -> Float[Tensor, ""]:
    """The mean over all characters that count, over all orders and ranks."""
    count = losses.real.sum()
    return losses.loss.sum() / mean_count(count.double()).to(losses.loss).clamp(min=1)


class Method(nn.Module):
    """An image tower and a decoder."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.alphabet = Alphabet(config.alphabet, config.longest)
        size = (config.view.size, config.view.width or config.view.size)
        self.vision = LineVit(LineVitConfig(size, config.patch, config.width, config.depth, config.heads))
        self.decoder = TwoStreamDecoder(
            len(self.alphabet.characters),
            config.longest,
            config.width,
            config.decoder_heads,
            config.decoder_layers,
            4 * config.width,
            config.dropout,
        )

    def memory(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B S D"]:
        """What the decoder reads."""
        found: Tensor = self.vision(images)
        return found

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Rows `loss` and `real` [B, P, L] of each character in each order; and `too_long` and `unknown` [B], which say
        why a word is left out."""
        assert batch.images is not None
        return self.character_rows(self.memory(batch.images), batch, progress)

    def character_rows(
        self, memory: Float[Tensor, "B S D"], batch: Batch, progress: Progress, *, lower: bool = False
    ) -> Features:
        """What `encode` gives, of a memory that may come from anywhere.

        Args:
            memory: what the decoder reads.
            batch: whose words are to be predicted.
            progress: what the orders hang on.
            lower: capitals are learned as small letters, whatever the settings say.
        """
        assert batch.captions is not None
        lower = lower or self.config.lower
        coded = [self.alphabet.encode([each[0] if each else ""], lower) for each in batch.captions]
        ids = torch.cat([rows for rows, *_ in coded]).to(memory.device)
        rng = progress.rng("orders", shared=True)
        orders = permutations(self.config.longest, self.config.permutations, rng).to(memory.device)
        losses = character_losses(self.decoder, memory, ids, orders)
        wrong = torch.tensor([(length, outside) for _, length, outside in coded], device=memory.device)
        return Features(
            {"loss": losses.loss, "real": losses.real, "too_long": wrong[:, 0], "unknown": wrong[:, 1]},
        )

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """The mean over characters; and how many words of the batch are left out."""
        rows = features.rows
        found = permuted_loss(CharacterLosses(rows["loss"], rows["real"]))
        left_out = {name: rows[name].sum().float() for name in ("too_long", "unknown")}
        return Losses({"permuted": found}, metrics=left_out)

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """`encode`, then `loss`."""
        return self.loss(self.encode(batch, progress), batch, progress)

    def warnings(self, values: Mapping[str, float], progress: Progress) -> Mapping[str, str]:
        """Words that can't be learned."""
        found = {}
        if values.get("too_long"):
            found["too_long"] = (
                f"Words of more than {self.config.longest} characters, or without any, are left out: set longest."
            )
        if values.get("unknown"):
            found["unknown"] = "Words with signs outside the alphabet are left out: set alphabet."
        return found

    def read(self, images: Float[Tensor, "B 3 H W"]) -> list[str]:
        """One word an image."""
        return self.read_with_chances(images)[0]

    @torch.no_grad()
    def read_with_chances(self, images: Float[Tensor, "B 3 H W"]) -> tuple[list[str], list[float]]:
        """One word an image, and how sure it is of each: the product of the chances of its characters."""
        memory = self.memory(images)
        logits = self.decoder.greedy(memory)
        for _ in range(self.config.refinements):
            logits = self.decoder.refined(logits, memory, released=self.config.released)
        return self.alphabet.decode(logits)


CLAIMS = ()
