"""DPTR: the decoder of a recogniser is first trained on words alone, whose text states stand in for those of pictures.

    m  = [end; t_1 ... t_N]            pseudo memory: of the sentence about a word, by a frozen text tower
    m' = m + 0.1 f_i[j_1 ... j_N]      f_i: patch states of an unrelated photograph i, j drawn for the batch
    stage "text":   PARSeq's loss of the word, with the memory m'; only the decoder trains
    stage "image":  PARSeq's loss of the word, with the memory M(v(x)) of its picture x; all trains

with t_n the states of all tokens of the sentence, padding too, `end` that of the end of text in the space shared with
pictures, f the image states of the same dual encoder, v an image tower and M the mapper (FMU): learned queries attend
to the states of v once, q = q + attention(q, v), then q = q + MLP(norm(q)) (Zhao et al., 2024). Nothing is normalised.

What differs from the paper, or is not known of it:
* In the released code the queries of the mapper are whatever stood in memory; here they are drawn, as positions are.
* Which photographs disturb, and how many, is not known; here `bank` of the source `photographs`.
* Whether the image tower starts from anything is not known; `vision="encoder"` starts it from the dual encoder's own.
* Where the dual encoder is not as wide as the decoder, a linear map stands between; as published both are 512 wide.
* Text states are those behind the last norm where the tower has them in the width of the shared space, as released;
  else those in the shared space.
* What is not in the memory can't be read from it: where the tokenizer makes no difference between capitals and small
  letters, words of the stage "text" are learned in small letters, and the log says so.

Rivals, as settings: `pretrain="none"` (the decoder starts at random), `pretrain="empty"` (it learns the words without a
memory, as a language model), `perturbation` 0, `queries` 0 (no mapper).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.methods.baselines import parseq
from deixis.nn.dual import DualEncoder
from deixis.nn.language.text_transformer import TextTransformer
from deixis.nn.layers.attention import Attention
from deixis.nn.layers.transformer import Mlp
from deixis.nn.reading.line_vit import LineTower
from deixis.types import (
    Arm,
    Batch,
    Card,
    Claim,
    Features,
    FieldSpec,
    OptimSpec,
    Part,
    Progress,
    SampleSpec,
    Stage,
    Tokens,
    ViewSpec,
)

__all__ = ["CARD", "CLAIMS", "Config", "Method", "QueryMapper", "perturb", "pseudo_memory"]

_IMAGES = FieldSpec("images", "B 3 H W")
_WORDS = FieldSpec("captions", "B", "object")
_TOKENS = FieldSpec("tokens", "B K L", "long", ragged="L")

CARD = Card(
    title="Decoder Pre-Training with only Text for Scene Text Recognition (DPTR)",
    year=2024,
    kind="trained",
    needs=(_IMAGES, _WORDS, _TOKENS),
    parts=(Part("encoder", "dual_encoder", frozen=True),),
    capabilities=("read",),
    non_gradient_state=("bank",),
    zero_gradient=("attention.key.bias",),
    venue="ACM MM",
    arxiv="2408.05706",
    code="Topdu/OpenOCR",
    tags=("text recognition", "text-only pre-training"),
)

TEXT, IMAGE = "text", "image"


@dataclass(frozen=True, kw_only=True)
class Config(parseq.Config):
    """Settings of PARSeq, and of what comes before.

    Attributes:
        encoder: whose states stand in for those of pictures.
        pretrain: what the decoder learns first: words from their pseudo `memory`, words with an `empty` one, or `none`.
        share: of all steps that this takes; without it the other steps are as many as they were.
        perturbation: how much of the states of photographs is added.
        bank: photographs at the most.
        queries: of the mapper; 0: the decoder reads the states of all patches.
        vision: the image tower is `new`, or starts as the `encoder`'s.
        sample: the sentence about a word, and how many of its tokens make the memory.
    """

    encoder: str = "starter"
    pretrain: Literal["memory", "empty", "none"] = "memory"
    share: float = 0.5
    perturbation: float = 0.1
    bank: int = 64
    queries: int = 26
    vision: Literal["new", "encoder"] = "new"
    sample: SampleSpec = SampleSpec(length=77, template="a photo of a '{}'")

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder, images of 32 x 32."""
        return cls(
            encoder="tiny",
            alphabet="36",
            longest=16,
            width=24,
            depth=1,
            heads=2,
            patch=(8, 16),
            decoder_heads=2,
            permutations=2,
            queries=5,
            sample=SampleSpec(length=12, template="a photo of a '{}'"),
            optim=OptimSpec(learning_rate=1e-2, weight_decay=0.0),
            view=ViewSpec(size=32),
        )

    @classmethod
    def paper(cls) -> Config:
        """Of the released files: a decoder of 6 blocks, all 512 wide; the encoder is to be CLIP ViT-B/16."""
        return cls(
            width=512,
            depth=12,
            heads=8,
            decoder_layers=6,
            decoder_heads=8,
            optim=OptimSpec(learning_rate=1.485e-3, weight_decay=0.0, schedule="cosine", warmup=0.075, clip=20.0),
        )


def pseudo_memory(end: Float[Tensor, "B D"], states: Float[Tensor, "B L D"]) -> Float[Tensor, "B N D"]:
    """What stands in for the states of a picture: the end of the text, and all tokens.

    Args:
        end: in the space shared with pictures.
        states: of the tokens.
    """
    return torch.cat([end[:, None], states], dim=1)


def perturb(
    memory: Float[Tensor, "B N D"],
    bank: Float[Tensor, "G M D"],
    image: Int64[Tensor, " B"],
    token: Int64[Tensor, " N"],
    scale: float,
) -> Float[Tensor, "B N D"]:
    """Adds a little of the states of unrelated photographs.

    Args:
        memory: pseudo memories.
        bank: states of photographs.
        image: which photograph disturbs each.
        token: which of its states disturbs each position, the same in the whole batch.
        scale: how much of it.
    """
    return memory + scale * bank[image[:, None], token]


class QueryMapper(nn.Module):
    """The paper's feature merge unit: learned queries gather what a decoder is to read from the states of patches.

    Args:
        queries: how many.
        width: of the states (D).
        heads: of the attention.
        hidden: width inside the MLP.
    """

    def __init__(self, queries: int, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(queries, width))
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.perceptron = Mlp(width, hidden, "gelu")
        nn.init.trunc_normal_(self.query, std=0.02)

    def forward(self, states: Float[Tensor, "B N D"]) -> Float[Tensor, "B M D"]:
        """One state a query; neither the queries nor what they read is normed."""
        query = self.query.expand(len(states), -1, -1)
        query = query + self.attention(query, memory=states)
        return query + self.perceptron(self.norm(query))


class Method(parseq.Method):
    """A frozen dual encoder beside PARSeq, and a mapper between its halves."""

    config: Config

    def __init__(self, config: Config, *, encoder: DualEncoder) -> None:
        super().__init__(config)
        self.encoder = encoder
        width = config.width
        self.mapper = QueryMapper(config.queries, width, config.decoder_heads, 4 * width) if config.queries else None
        reads = config.pretrain == "memory"
        self.bridge = nn.Linear(encoder.width, width) if reads and encoder.width != width else None
        self.register_buffer("bank", torch.zeros(0, 1, encoder.width))
        self.bank: Tensor
        self._gathered: list[Tensor] = []
        rules = encoder.tokenizer.backend
        self.folds: bool = rules.encode("aB").ids == rules.encode("ab").ids
        if config.vision == "encoder":
            self._start_from(encoder.image_tower)

    def _start_from(self, tower: nn.Module) -> None:
        """Gives the image tower the weights of the encoder's."""
        own = self.vision.sizes
        if not isinstance(tower, LineTower) or tower.network.sizes != own:
            raise DeixisError(
                f"The image tower can't start from that of {self.encoder.name}: it is no tower of lines of {own}.",
                "Take an encoder such as characters:32x128 whose sizes are those of the settings, or vision=new.",
            )
        self.vision.load_state_dict(tower.network.state_dict())

    def stages(self) -> tuple[Stage, ...]:
        """Photographs are gathered, the decoder learns words, then all learns pictures of words."""
        config = self.config
        trained = ("decoder.", "vision.", *(("mapper.",) if self.mapper is not None else ()))
        image = Stage(IMAGE, trainable=trained, needs=(_IMAGES, _WORDS), steps=1 - config.share)
        if config.pretrain == "none":
            return (image,)
        needs = (_WORDS,) if config.pretrain == "empty" else (_WORDS, _TOKENS)
        text = Stage(TEXT, trainable=("decoder.", "bridge."), needs=needs, data="words", steps=config.share)
        if config.pretrain == "empty" or not config.perturbation:
            return (text, image)
        own = ViewSpec(size=0)  # as the encoder sees pictures
        return (Stage("bank", kind="fit", needs=(_IMAGES,), view=own, data="photographs"), text, image)

    @torch.no_grad()
    def observe(self, batch: Batch, progress: Progress) -> None:
        """Keeps the states of photographs: the whole, and each patch."""
        assert batch.images is not None
        room = self.config.bank - sum(map(len, self._gathered))
        if room > 0:
            images = batch.images[:room]
            whole = self.encoder.encode_image(images)[:, None]
            self._gathered.append(torch.cat([whole, self.encoder.image_tokens(images).states], dim=1))

    def finish(self, progress: Progress) -> None:
        """The bank is what was gathered.

        Raises:
            ValueError: nothing was observed.
        """
        if not self._gathered:
            raise ValueError("nothing was observed")
        self.bank, self._gathered = torch.cat(self._gathered), []

    def take_sizes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Makes room for a state that is about to be read.

        Args:
            shapes: of its tensors, by name.
        """
        self.bank = self.bank.new_zeros(shapes.get("bank", (0, 1, self.encoder.width)))

    def memory(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B S D"]:
        """What the decoder reads: the mapper's states, or those of the patches."""
        states: Tensor = self.vision(images)
        return states if self.mapper is None else self.mapper(states)

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """As PARSeq; in the stage of words with a memory made of their text."""
        if progress.stage != TEXT:
            return super().encode(batch, progress)
        if self.config.pretrain == "empty":
            memory = self.decoder.positions.new_zeros(len(batch), 1, self.config.width)
            return self.character_rows(memory, batch, progress)
        memory = self._disturbed(self.text_memory(batch.caption()), batch, progress)
        memory = memory if self.bridge is None else self.bridge(memory)
        return self.character_rows(memory, batch, progress, lower=self.folds)

    @torch.no_grad()
    def text_memory(self, tokens: Tokens) -> Float[Tensor, "B N D"]:
        """The pseudo memory of sentences, of as many tokens as the settings say, padding included."""
        length = min(self.config.sample.length, self.encoder.context_length)
        ids, mask = (F.pad(each[:, :length], (0, max(0, length - each.shape[1]))) for each in tokens)
        tower = self.encoder.text_tower
        if not isinstance(tower, TextTransformer):
            return pseudo_memory(self.encoder.encode_text(ids, mask=mask), self.encoder.text_tokens(ids, mask).states)
        words, ends = tower.embeddings(ids), tower.ends(ids, mask)
        states = tower.encode(words, mask)
        end = tower.projection(states[torch.arange(len(states), device=states.device), ends])
        return pseudo_memory(end, states if states.shape[-1] == tower.width else tower.projection(states))

    def _disturbed(self, memory: Float[Tensor, "B N D"], batch: Batch, progress: Progress) -> Float[Tensor, "B N D"]:
        """With what is drawn for the samples, and for the positions of all of them."""
        if not len(self.bank):  # without the stage that fills it
            return memory
        images, tokens = self.bank.shape[:2]
        image = (progress.uniform("photograph", batch.ids, 1)[:, 0] * images).long()
        token = torch.randint(tokens, (memory.shape[1],), generator=progress.rng("patches", shared=True))
        return perturb(memory, self.bank, image.to(memory.device), token.to(memory.device), self.config.perturbation)

    def warnings(self, values: Mapping[str, float], progress: Progress) -> Mapping[str, str]:
        """As PARSeq; and that capitals can't be learned from texts."""
        found = dict(super().warnings(values, progress))
        if progress.stage == TEXT and self.config.pretrain == "memory" and self.folds:
            found["capitals"] = (
                f"The tokenizer of {self.encoder.name} does not distinguish capitals: words are learned from their "
                "texts in small letters, and capitals from pictures alone."
            )
        return found


_SHAPE = {
    "alphabet": "36",
    "lower": True,
    "longest": 12,
    "width": 128,
    "depth": 4,
    "heads": 4,
    "decoder_heads": 4,
    "decoder_layers": 1,
    "permutations": 4,
    "queries": 16,
    "share": 0.4,
    "vision": "encoder",
    "view": {"size": 16, "width": 64, "augment": None},
    "sample": {"length": 16, "template": "{}"},
}
_GRID = {"learning_rate": (1e-3, 2e-3)}
_FEWER = "With 300 labelled pictures, a decoder that has learned to read words from their texts reads pictures better."

CLAIMS = (
    Claim(
        "A decoder that has learned to read words from disturbed states of their texts reads pictures of words better "
        "than one that starts at random, that has learned the words without a memory, or from undisturbed states.",
        arms={
            "texts, disturbed": Arm("dptr", _SHAPE, grid=_GRID),
            "random decoder": Arm("dptr", {**_SHAPE, "pretrain": "none"}, grid=_GRID),
            "language model": Arm("dptr", {**_SHAPE, "pretrain": "empty"}, grid=_GRID),
            "texts, undisturbed": Arm("dptr", {**_SHAPE, "perturbation": 0.0}, grid=_GRID),
        },
        metric="word_accuracy",
        statistic="final",
        minimum_effect=0.02,
        data="words",
        budget=51_200,
        trial=0.5,
        cheap="language model",
    ),
    Claim(
        "It also reads better than one that starts at random and sees pictures for as many steps as both stages have.",
        arms={
            "texts, disturbed": Arm("dptr", _SHAPE),
            "random decoder, more steps": Arm("dptr", {**_SHAPE, "pretrain": "none", "share": 0.0}),
        },
        metric="word_accuracy",
        statistic="final",
        minimum_effect=0.02,
        data="words",
        budget=51_200,
        primary=False,
        cheap="random decoder, more steps",
    ),
    Claim(
        "The mapper between image tower and decoder helps one that has learned from texts.",
        arms={
            "with mapper": Arm("dptr", _SHAPE),
            "without mapper": Arm("dptr", {**_SHAPE, "queries": 0}),
        },
        metric="word_accuracy",
        statistic="final",
        minimum_effect=0.02,
        data="words",
        budget=51_200,
        primary=False,
        cheap="without mapper",
    ),
    Claim(
        _FEWER,
        arms={
            "texts, disturbed": Arm("dptr", _SHAPE),
            "random decoder": Arm("dptr", {**_SHAPE, "pretrain": "none"}),
            "language model": Arm("dptr", {**_SHAPE, "pretrain": "empty"}),
        },
        metric="word_accuracy",
        statistic="final",
        minimum_effect=0.02,
        data="words",
        budget=51_200,
        primary=False,
        options={"count": 300},
        cheap="language model",
    ),
)
"""The abstract compares with and without pre-training, disturbance and mapper; the tables could not be read. Of the
images seen, 0.4 stand for words without pictures: all arms take equally many steps on pictures, but for the one that
takes more. What the texts teach beyond a language model is what is claimed; if the language model explains
all, that is the result."""
