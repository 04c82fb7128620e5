"""A detector that reads text with the image: one encoder for both, a decoder of queries, heads.

    encoder: [cells of the image; tokens of the text],   decoder: queries, learned or from regions

As of MDETR (Kamath et al. 2021, section 2.2), whose layers are DETR's.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.layers.answer_heads import AnswerHeads
from deixis.nn.layers.pooled_pair import PooledPair
from deixis.nn.layers.query_decoder import PositionedEncoder, QueryDecoder
from deixis.nn.layers.sine_grid import sine_grid
from deixis.ops.regions.boxes import box_convert

__all__ = ["DetectorConfig", "DetectorInputs", "FusedDetector"]


@dataclasses.dataclass(frozen=True)
class DetectorConfig:
    """Sizes of a detector, and which heads it has.

    Attributes:
        width: of the states (D).
        heads: of each attention.
        hidden: width inside each perceptron.
        layers: of the encoder, and of the decoder (R).
        dropout: in both.
        count: learned queries (Q).
        slots: of tokens; one more says "no object" (C).
        alignment_width: of the vectors by which queries and tokens are compared (P).
        final: whether queries say if they are what a whole expression means.
        questions: kinds of questions and the answers of each.
        contrast: whether there are vectors of image and text as wholes: above 0.
        meeting: what meets in encoder and decoder: image and text, `joint`; or cells cells, tokens tokens, and queries
            cells, `dot`; or so that each token stays alone besides, `words`.
    """

    width: int
    heads: int
    hidden: int
    layers: int
    dropout: float
    count: int
    slots: int
    alignment_width: int
    final: bool = False
    questions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    contrast: float = 0.0
    meeting: Literal["joint", "dot", "words"] = "joint"


class DetectorInputs(NamedTuple):
    """What a detector reads: cells of the image and which are real, tokens likewise, perhaps regions likewise."""

    cells: Float[Tensor, "B F H W"]
    real_cells: Bool[Tensor, "B H W"]
    words: Float[Tensor, "B L G"]
    real_words: Bool[Tensor, "B L"]
    regions: tuple[Float[Tensor, "B Q 4"], Float[Tensor, "B Q E"]] | None = None
    real_regions: Bool[Tensor, "B Q"] | None = None


class FusedDetector(nn.Module):
    """Joint encoder, decoder of queries, heads.

    Args:
        config: sizes.
        channels: of the image's map.
        words: width of the token states.
        regions: width of what is known of a region; 0 where queries are learned.
    """

    def __init__(self, config: DetectorConfig, channels: int, words: int, regions: int = 0) -> None:
        super().__init__()
        width, sizes = config.width, (config.layers, config.width, config.heads, config.hidden, config.dropout)
        self.image_projection = nn.Conv2d(channels, width, 1)
        self.text_projection, self.text_norm = nn.Linear(words, width), nn.LayerNorm(width, eps=1e-12)
        self.encoder, self.decoder = PositionedEncoder(*sizes), QueryDecoder(*sizes)
        self.drop, self.asked, self.meeting = nn.Dropout(config.dropout), len(config.questions), config.meeting
        self.class_head = nn.Linear(width, config.slots + 1)
        self.box_head = _perceptron(width, width, width, 4)
        self.query_projection = nn.Linear(width, config.alignment_width)
        self.token_projection = nn.Linear(width, config.alignment_width)
        self.query_embedding = None if regions else nn.Parameter(torch.randn(config.count, width))
        if regions:
            self.region_projection, self.place = nn.Linear(regions, width), _perceptron(4, width, width)
            for parameter in self.box_head[-1].parameters():  # the boxes are those of the regions at first
                nn.init.zeros_(parameter)
        if config.final:
            self.final_head = nn.Linear(width, 1)
        if config.questions:
            self.question_embedding = nn.Parameter(torch.randn(1 + self.asked, width))
            self.answer_heads = AnswerHeads(width, [answers for _, answers in config.questions])
        if config.contrast:
            self.pair = PooledPair(width, config.alignment_width)

    def forward(self, inputs: DetectorInputs) -> dict[str, Tensor]:
        """Rows: `logits` [B, R, Q, C], `boxes` [B, R, Q, 4] by centre and size, `queries` [B, R, Q, P], `tokens`
        [B, L, P], `states` [B, Q, D] of the last layer, `memory` [B, N + L, D] with the image first, `real` [B, Q];
        `final`, `answers` and both sides of the contrast where the config asks for them."""
        cells = self.image_projection(inputs.cells).flatten(2).transpose(1, 2)
        words = self.drop(self.text_norm(self.text_projection(inputs.words)))
        place = sine_grid(inputs.real_cells, cells.shape[2]).to(cells)
        states = torch.cat([cells, words], dim=1)
        positions = torch.cat([place.flatten(2).transpose(1, 2), torch.zeros_like(words)], dim=1)
        real = torch.cat([inputs.real_cells.flatten(1), inputs.real_words], dim=1)
        of_text = torch.arange(states.shape[1], device=states.device) >= states.shape[1] - words.shape[1]
        met, seen = self._meeting(real, of_text)
        memory = self.encoder(states, positions, met)
        start, queries, shown, reference = self._queries(inputs, states)
        found = self.decoder(start, queries, (memory, positions), shown, seen)
        count = queries.shape[1] - (1 + self.asked if self.asked else 0)
        layers, rest = found[:, :, :count], found[:, -1, count:]
        rows = {
            "logits": self.class_head(layers),
            "boxes": (self.box_head(layers) + reference[:, None]).sigmoid(),
            "queries": F.normalize(self.query_projection(layers), dim=-1),
            "tokens": F.normalize(self.token_projection(memory[:, of_text]), dim=-1),
            "states": layers[:, -1],
            "memory": memory,
            "real": shown[:, :count],
        }
        if hasattr(self, "final_head"):
            rows["final"] = self.final_head(layers)[..., 0]
        if self.asked:
            rows |= {f"answer {number}": said for number, said in enumerate(self.answer_heads(rest))}
        if hasattr(self, "pair"):
            rows["image"], rows["caption"] = self.pair(
                (cells, inputs.real_cells.flatten(1)), (words, inputs.real_words)
            )
        return rows

    def _meeting(
        self, real: Bool[Tensor, "B N"], of_text: Bool[Tensor, " N"]
    ) -> tuple[Bool[Tensor, "B _ N"], Bool[Tensor, "B N"]]:
        """What the encoder's positions attend to, and what the decoder's queries do."""
        if self.meeting == "joint":
            return real[:, None], real
        same = of_text[:, None] == of_text
        if self.meeting == "words":
            same = same & (~of_text | torch.eye(len(of_text), dtype=torch.bool, device=of_text.device))
        return real[:, None] & same, real & ~of_text

    def _queries(self, inputs: DetectorInputs, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the decoder starts from, positions, which are real, and the logits of boxes that are refined."""
        batch = len(like)
        if inputs.regions is None:
            assert self.query_embedding is not None
            queries = self.query_embedding.expand(batch, -1, -1)
            start, reference = torch.zeros_like(queries), like.new_zeros(batch, 1, 4)
            shown = torch.ones(queries.shape[:2], dtype=torch.bool, device=like.device)
        else:
            assert inputs.real_regions is not None
            boxes = box_convert(inputs.regions[0], "xyxy", "cxcywh")
            start, queries = self.region_projection(inputs.regions[1]), self.place(boxes)
            shown, reference = inputs.real_regions, boxes.clamp(1e-3, 1 - 1e-3).logit()
        if self.asked:
            more = self.question_embedding.expand(batch, -1, -1)
            start, queries = torch.cat([start, torch.zeros_like(more)], dim=1), torch.cat([queries, more], dim=1)
            shown = F.pad(shown, [0, more.shape[1]], value=True)
        return start, queries, shown, reference


def _perceptron(*widths: int) -> nn.Sequential:
    layers = [layer for pair in itertools.pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])
