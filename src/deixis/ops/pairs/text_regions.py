"""Texts beside the regions of pictures: rows of all ranks, and which of them do not belong together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from deixis.ops.collective import gather, gather_ragged

__all__ = ["TextRegions", "content_keys", "exchange", "negative_rows", "own_rows", "phrase_alone"]

_EXACT = 2**48
"""Whole numbers below this are floats of double precision, too, which is how ranks exchange them."""


class TextRegions(NamedTuple):
    """Texts and the regions of pictures, row by row.

    Attributes:
        tokens: of the texts.
        words: which of them are real.
        boxes: of the regions, in shares of the picture.
        features: of the regions.
        regions: which of them are real.
    """

    tokens: Int64[Tensor, "B L"]
    words: Bool[Tensor, "B L"]
    boxes: Float[Tensor, "B T 4"]
    features: Float[Tensor, "B T F"]
    regions: Bool[Tensor, "B T"]

    def take(self, texts: Int64[Tensor, " N"], pictures: Int64[Tensor, " N"]) -> TextRegions:
        """Texts and pictures of other rows, by their numbers."""
        return TextRegions(
            self.tokens[texts], self.words[texts], self.boxes[pictures], self.features[pictures], self.regions[pictures]
        )

    def gathered(self) -> TextRegions:
        """Of all ranks."""
        tokens, words, regions = (gather_ragged(each.double()) for each in (self.tokens, self.words, self.regions))
        boxes, features = gather_ragged(self.boxes), gather_ragged(self.features)
        return TextRegions(tokens.long(), words > 0, boxes, features, regions > 0)


def content_keys(ids: Sequence[str], pairs: TextRegions) -> Int64[Tensor, "B 3"]:
    """Whole numbers for the id, the text and the picture of each row; equal contents have equal ones, whatever the
    padding.

    Args:
        ids: of the rows.
        pairs: the rows.
    """
    rows = []
    for row, name in enumerate(ids):
        text = pairs.tokens[row][pairs.words[row]].tolist()
        picture = pairs.features[row][pairs.regions[row]].detach().float().cpu().numpy().tobytes()
        rows.append(
            [_number(repr(each).encode() if not isinstance(each, bytes) else each) for each in (name, text, picture)]
        )
    return torch.tensor(rows, dtype=torch.long, device=pairs.tokens.device)


def _number(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little") % _EXACT


def negative_rows(
    keys: Int64[Tensor, "B 3"], everyone: Int64[Tensor, "G 3"], draws: Float[Tensor, " B"]
) -> Int64[Tensor, " B"]:
    """For each pair another row with another text and another picture, -1 where there is none.

    Rows are put in the order of their ids' keys first, so that which is drawn hangs on neither order nor rank.

    Args:
        keys: of id, text and picture of each pair.
        everyone: those of all ranks.
        draws: from 0 to 1.
    """
    order = everyone[:, 0].argsort(stable=True)
    others = everyone[order]
    allowed = (keys[:, None, 1:] != others[None, :, 1:]).all(-1)
    count = allowed.sum(1)
    place = (draws.to(keys.device) * count).long().clamp(max=(count - 1).clamp(min=0)) + 1
    found = (allowed.cumsum(1) == place[:, None]).to(torch.uint8).argmax(1)
    return torch.where(count > 0, order[found], -1)


def own_rows(keys: Int64[Tensor, "B 3"], everyone: Int64[Tensor, "G 3"]) -> Int64[Tensor, " B"]:
    """Where each pair stands among those of all ranks.

    Args:
        keys: of id, text and picture of each pair.
        everyone: those of all ranks.
    """
    return (everyone[None] == keys[:, None]).all(-1).to(torch.uint8).argmax(1)


def exchange(
    keys: Int64[Tensor, "B 3"], draws: Float[Tensor, "B 3"], share: float, texts: bool
) -> tuple[Int64[Tensor, " B"], Int64[Tensor, " B"], Bool[Tensor, " B"]]:
    """Rows of all ranks: whose text and whose picture each pair has, and which of them match.

    Args:
        keys: of id, text and picture of each pair.
        draws: from 0 to 1: of another row, whether the pair is to match, and of which side is another's.
        share: of the pairs that do not match, as far as there are others.
        texts: whether in half of them the text is another's; else always the picture.
    """
    everyone = gather(keys.double()).long()
    partner, own = negative_rows(keys, everyone, draws[:, 0]), own_rows(keys, everyone)
    matching = (draws[:, 1] >= share) | (partner < 0)
    other_text = (draws[:, 2] < 0.5) & texts
    text_rows = torch.where(~matching & other_text, partner, own)
    return text_rows, torch.where(~matching & ~other_text, partner, own), matching


def phrase_alone(
    tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"], spans: Int64[Tensor, "B S 2"]
) -> tuple[Int64[Tensor, "B M"], Bool[Tensor, "B M"]]:
    """The tokens of a phrase between the first and the last mark of the whole text, and which of them are real.

    Args:
        tokens: of the texts.
        mask: which of them are real.
        spans: of the phrase in each text.
    """
    rows = []
    for row, (real, own) in enumerate(zip(mask, spans.tolist(), strict=True)):
        ids = tokens[row][real]
        inside = torch.cat([ids[start:stop] for start, stop in own]) if own else ids[:0]
        rows.append(torch.cat([ids[:1], inside, ids[-1:]]))
    padded = pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(each) for each in rows], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]
