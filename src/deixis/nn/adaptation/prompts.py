"""Texts of classes with places left open for learned vectors, and their embeddings, without any work done twice.

Cutting texts where the longest ends is exact wherever padding is not read. In a causal tower no token knows what comes
behind it: what stands before the first difference between the classes (the start of the text and, mostly, the learned
vectors) is computed once for all of them. Classes go through the tower in pieces, of which only one is kept in memory
for the gradient: it is computed once more when the gradient comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from deixis.errors import DeixisError
from deixis.inputs.tokenizer import Tokenizer

__all__ = ["ClassTexts", "EmbeddingTower", "Place", "embedding_tower", "nearest", "place", "start_vectors"]

Place: TypeAlias = Literal["end", "middle", "front"]
"""Where the class name stands: behind the vectors, between their halves, or before them."""


@runtime_checkable
class EmbeddingTower(Protocol):
    """A text tower that takes embeddings in place of token numbers; a causal one has `kv_cache`, too.

    Attributes:
        width: of the shared space (D).
        causal: whether a token sees only itself and those before it.
    """

    width: int
    causal: bool

    def embeddings(self, tokens: Int64[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """Those of token numbers, before positions are added."""
        ...

    def from_embeddings(self, words: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """Text embeddings of length 1; `mask` is true from the first token of a text to its last."""
        ...


def embedding_tower(tower: nn.Module, name: str = "this model") -> EmbeddingTower:
    """The tower itself, if it can be prompted with vectors.

    Args:
        tower: of text.
        name: of the model, for the message.

    Raises:
        DeixisError: it takes token numbers alone.
    """
    if not isinstance(tower, EmbeddingTower):
        raise DeixisError(
            f"Prompts can't be learned for {name}: its text tower ({type(tower).__name__}) takes token numbers alone, "
            "and a learned vector has none.",
            "Take a model with a transformer over words, or a method that uses images only: linear, tip.",
        )
    return tower


def place(
    words: Float[Tensor, "C L F"], vectors: Float[Tensor, "G c M F"], slots: Int64[Tensor, "C M"]
) -> Float[Tensor, "G C L F"]:
    """The texts of C classes with vectors put into their slots, once for each of G groups of vectors.

    Args:
        words: embeddings of the texts; what they hold in the slots is dropped.
        vectors: M a group, for each class or for all.
        slots: positions in the text.
    """
    groups, (classes, count) = len(vectors), slots.shape
    where = (
        torch.arange(groups, device=slots.device)[:, None, None],
        torch.arange(classes, device=slots.device)[:, None],
        slots,
    )
    values = vectors.expand(groups, classes, count, -1)
    return words.expand(groups, *words.shape).index_put(where, values)


class ClassTexts(nn.Module):
    """The texts of C classes, each with M open places: `[start] v1 .. vM name . [end]` for names at the end.

    It holds token numbers and no weight; the tower is an argument.

    Args:
        tokenizer: that of the tower.
        names: C class names; a `_` is a space.
        vectors: open places in each text (M).
        position: of the name.
        longest: tokens that a text may have.
        chunk: texts that go through the tower together.

    Raises:
        DeixisError: no names, one of which no token is left, two that are one to the tokenizer, or one that is too
            long.
    """

    tokens: Tensor
    slots: Tensor
    mask: Tensor
    order: Tensor
    back: Tensor

    def __init__(
        self,
        tokenizer: Tokenizer,
        names: Sequence[str],
        vectors: int,
        position: Place = "end",
        *,
        longest: int,
        chunk: int = 256,
    ) -> None:
        if not names:
            raise DeixisError("There are no classes.", "Give at least two class names.")
        with torch.device("cpu"):  # whatever the method around it is built on: these numbers are read
            _refuse_books(names, longest)
            found = [_row(tokenizer, name) for name in names]
        rows = [row for row, _, _ in found]
        _refuse_twins(names, rows)
        _refuse_long(names, rows, vectors, longest)
        self._build(rows, found[0][1], [length for _, _, length in found], vectors, position, chunk)

    @classmethod
    def from_rows(
        cls,
        rows: Sequence[Sequence[int]],
        start: int,
        name_lengths: Sequence[int],
        vectors: int,
        position: Place = "end",
        *,
        chunk: int = 256,
    ) -> ClassTexts:
        """From token numbers: those that stand around a text among them, without room for vectors and without padding.

        Args:
            rows: one text a class.
            start: tokens before each name.
            name_lengths: tokens of each name.
            vectors: open places in each text (M).
            position: of the name.
            chunk: texts that go through the tower together.
        """
        new = cls.__new__(cls)
        new._build(rows, start, name_lengths, vectors, position, chunk)
        return new

    def _build(
        self,
        rows: Sequence[Sequence[int]],
        start: int,
        name_lengths: Sequence[int],
        vectors: int,
        position: Place,
        chunk: int,
    ) -> None:
        super().__init__()
        if vectors < 1 or chunk < 1:
            raise ValueError(f"at least one vector and one text at a time: got {vectors} and {chunk}")
        early = {"end": vectors, "middle": vectors // 2, "front": 0}[position]
        slots = [[start + m + (0 if m < early else length) for m in range(vectors)] for length in name_lengths]
        texts = [_with_room(row, places) for row, places in zip(rows, slots, strict=True)]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        self.start, self.early, self.chunk = start, early, chunk
        self.lengths = [len(texts[i]) for i in order]
        longest = self.lengths[-1]
        with torch.device("cpu"):
            padded = [texts[i] + [0] * (longest - len(texts[i])) for i in order]
            self.register_buffer("tokens", torch.tensor(padded), persistent=False)
            self.register_buffer("slots", torch.tensor([slots[i] for i in order]), persistent=False)
            mask = torch.arange(longest) < torch.tensor(self.lengths)[:, None]
            self.register_buffer("mask", mask, persistent=False)
            self.register_buffer("order", torch.tensor(order), persistent=False)
            self.register_buffer("back", torch.tensor(order).argsort(), persistent=False)

    def __len__(self) -> int:
        return len(self.lengths)

    def assemble(self, tower: EmbeddingTower, vectors: Float[Tensor, "G c M F"]) -> Float[Tensor, "G C L F"]:
        """The whole texts, in the order of the names, with the vectors in their places."""
        words = tower.embeddings(self.tokens[self.back])
        return place(words, vectors, self.slots[self.back])

    def forward(self, tower: EmbeddingTower, vectors: Float[Tensor, "G c M F"]) -> Float[Tensor, "G C D"]:
        """Embeddings of length 1 of all classes, once for each of G groups of vectors.

        Args:
            tower: of the tokenizer that made the texts.
            vectors: M a group, for all classes or for each.
        """
        own = vectors.shape[1] > 1
        vectors = vectors[:, self.order] if own else vectors
        shared, taken = (self.start, 0) if own else (self.start + self.early, self.early)
        shared, taken = (shared, taken) if tower.causal else (0, 0)
        found = [self._group(tower, group, shared, taken) for group in vectors.split(self.chunk)]
        return torch.cat(found)[:, self.back]

    def _group(
        self, tower: EmbeddingTower, vectors: Float[Tensor, "G c M F"], shared: int, taken: int
    ) -> Float[Tensor, "G C D"]:
        """As `forward`, for as many groups as may go through the tower together, and in the order of lengths.

        Args:
            tower: as for `forward`.
            vectors: as for `forward`.
            shared: positions that all classes have in common.
            taken: vectors among them.
        """
        kv_cache: Any = None
        if shared:
            first = place(tower.embeddings(self.tokens[:1]), vectors[:, :1], self.slots[:1])
            kv_cache = cast(Any, tower).kv_cache(first[:, 0, :shared])
        size = max(1, self.chunk // len(vectors))
        pieces = [slice(i, i + size) for i in range(0, len(self), size)]
        found = []
        for piece in pieces:
            arguments = (tower, piece, vectors, kv_cache, shared, taken)
            if len(pieces) > 1 and torch.is_grad_enabled():
                found.append(checkpoint(self._piece, *arguments, use_reentrant=False, preserve_rng_state=False))
            else:
                found.append(self._piece(*arguments))
        return torch.cat(found, dim=1)

    def _piece(
        self,
        tower: EmbeddingTower,
        piece: slice,
        vectors: Float[Tensor, "G c M F"],
        kv_cache: Any,
        shared: int,
        taken: int,
    ) -> Float[Tensor, "G C D"]:
        """The classes of one piece, after what all have in common and cut where the longest of them ends."""
        longest = max(self.lengths[piece])
        words, mask = tower.embeddings(self.tokens[piece, shared:longest]), self.mask[piece, shared:longest]
        own = vectors[:, piece] if vectors.shape[1] > 1 else vectors
        texts = place(words, own[:, :, taken:], self.slots[piece, taken:] - shared)
        masks = mask.expand(len(texts), *mask.shape).flatten(0, 1)
        more = {} if kv_cache is None else {"kv_cache": kv_cache}
        return tower.from_embeddings(texts.flatten(0, 1), masks, **more).unflatten(0, texts.shape[:2])


def _with_room(row: Sequence[int], slots: Sequence[int]) -> list[int]:
    """The row with a 0 in each slot."""
    rest, taken = iter(row), set(slots)
    return [0 if position in taken else next(rest) for position in range(len(row) + len(slots))]


_WHOLE = 10**7
"""Tokens, more than any text has: nothing is cut unseen."""


def _row(tokenizer: Tokenizer, name: str) -> tuple[list[int], int, int]:
    """The tokens of `name.` with what stands around them, how many stand before the name, and how many are the name's.

    Raises:
        DeixisError: nothing of the name is left.
    """
    clean = " ".join(name.replace("_", " ").split())
    whole, stop = f"{clean}.", len(clean)
    found, dot = tokenizer.encode_spans(whole, [(0, stop), (stop, stop + 1)], _WHOLE)
    if found is None:
        raise DeixisError(f"Nothing of the class name {_short(name)} can be read by the model.", "Name it in words.")
    start, behind = found
    length = (behind if dot is None else max(behind, dot[1])) + tokenizer.around - start
    return tokenizer([whole], _WHOLE).ids[0, :length].tolist(), start, behind - start


def _refuse_books(names: Sequence[str], longest: int) -> None:
    """What can't be short enough is not tokenised at all, which could take long."""
    for name in names:
        if len(name) > 100 * longest:
            raise DeixisError(
                f"The class name {_short(name)} has {len(name)} characters, and the model reads {longest} tokens.",
                "Shorten the name.",
            )


def _refuse_twins(names: Sequence[str], rows: Sequence[Sequence[int]]) -> None:
    seen: dict[tuple[int, ...], str] = {}
    for name, row in zip(names, rows, strict=True):
        if tuple(row) in seen:
            twins = f"{_short(seen[tuple(row)])} and {_short(name)}"
            raise DeixisError(
                f"The classes {twins} have one name, as far as the model can read.",
                "Give them different names, or make them one class.",
            )
        seen[tuple(row)] = name


def _refuse_long(names: Sequence[str], rows: Sequence[Sequence[int]], vectors: int, longest: int) -> None:
    for name, row in zip(names, rows, strict=True):
        if len(row) + vectors > longest:
            raise DeixisError(
                f"The class name {_short(name)} makes a text of {len(row)} tokens, {vectors} vectors go with it, "
                f"and the model reads {longest} in all.",
                "Shorten the name, or learn fewer vectors.",
            )


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:37]}...")


def start_vectors(tower: EmbeddingTower, tokenizer: Tokenizer, words: str) -> Float[Tensor, "M F"]:
    """The embeddings of words, one a token, as a start for learned vectors.

    Args:
        tower: whose embeddings are taken; a copy, without gradient.
        tokenizer: that of the tower.
        words: such as `a photo of a`.

    Raises:
        DeixisError: nothing of them can be read.
    """
    found = tokenizer.encode_spans(words, [(0, len(words))], _WHOLE)[0]
    if found is None:
        raise DeixisError(f"Nothing of the words {_short(words)} can be read by the model.", "Take others.")
    with torch.device("cpu"):
        tokens = tokenizer([words], _WHOLE).ids[:, slice(*found)]
    with torch.no_grad():
        device = next(cast(nn.Module, tower).parameters()).device
        return tower.embeddings(tokens.to(device))[0].clone()


def nearest(
    vectors: Float[Tensor, "M F"], words: Float[Tensor, "N F"], count: int = 1
) -> tuple[Int64[Tensor, "M K"], Float[Tensor, "M K"]]:
    """The words nearest to each vector, by Euclidean distance: their numbers, and how far they are.

    Args:
        vectors: that were learned.
        words: the embeddings of a whole vocabulary.
        count: words for each vector.
    """
    distances, numbers = torch.cdist(vectors, words).topk(count, largest=False)
    return numbers, distances
