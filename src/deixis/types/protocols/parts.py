"""What the parts of a method offer, kind by kind.

A dual encoder is a class of its own, `deixis.nn.dual.DualEncoder`. All other kinds are Protocols: any module with these
members will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from deixis.types.outputs import RegionProposals, SampledImages, Tokens, TokenStates

__all__ = [
    "DecodingTokenizer",
    "ImageEncoder",
    "ImagePreprocessing",
    "LanguageModel",
    "Names",
    "Proposals",
    "Sampler",
    "TextEncoder",
    "TextReader",
    "TextTokenizer",
]


@runtime_checkable
class ImagePreprocessing(Protocol):
    """How images become a part's input; `deixis.inputs.preprocess.Preprocess` is one."""

    @property
    def size(self) -> int:
        """Side of the square images, in pixels."""
        ...

    def batch(self, images: Sequence[UInt8[Tensor, "3 _H _W"]]) -> Float[Tensor, "B 3 S S"]:
        """Images of any sizes, resized and normalised."""
        ...


@runtime_checkable
class TextTokenizer(Protocol):
    """How texts become token numbers; `deixis.inputs.tokenizer.Tokenizer` is one."""

    @property
    def vocabulary(self) -> int:
        """How many different tokens there are."""
        ...

    def __call__(self, texts: Sequence[str], length: int) -> Tokens:
        """At most `length` numbers a text, padded to the longest, and which of them are real."""
        ...


@runtime_checkable
class DecodingTokenizer(TextTokenizer, Protocol):
    """A tokenizer that also knows the way back, as a language model needs it."""

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of tokens in a row."""
        ...


@runtime_checkable
class ImageEncoder(Protocol):
    """The kind `image_tower`: images to one vector, to a vector a cell, and to maps of several strides.

    A map of stride s has one cell for each s x s pixels. Nothing is scaled to length 1 and nothing projected into a
    space shared with text.
    """

    @property
    def width(self) -> int:
        """Of the pooled features (F)."""
        ...

    @property
    def token_width(self) -> int:
        """Of the dense tokens (D)."""
        ...

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each feature map, from the finest to the coarsest."""
        ...

    @property
    def strides(self) -> tuple[int, ...]:
        """Of each feature map, in pixels of the image."""
        ...

    @property
    def preprocess(self) -> ImagePreprocessing:
        """What its images go through first."""
        ...

    def __call__(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F"]:
        """Pooled features."""
        ...

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """One state a cell of the last grid, row by row."""
        ...

    def feature_maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B C h w"]]:
        """One map a stride."""
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """The kind `text_encoder`: token numbers to one vector a text, and to one a token."""

    @property
    def width(self) -> int:
        """Of the pooled vectors (D)."""
        ...

    @property
    def token_width(self) -> int:
        """Of embeddings and states of tokens (F)."""
        ...

    @property
    def context_length(self) -> int:
        """Tokens per text at the most."""
        ...

    @property
    def tokenizer(self) -> TextTokenizer:
        """Strings to its token numbers."""
        ...

    def __call__(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """One vector of length 1 a text; `mask` is true where a token is real."""
        ...

    def tokens(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> TokenStates:
        """States of the last layer; what stands where `mask` is false means nothing."""
        ...

    def embeddings(self, tokens: Int64[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """What the first layer is given, before positions are added."""
        ...

    def encode(self, embeddings: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """States of the last layer, from embeddings that may come from anywhere."""
        ...


@runtime_checkable
class LanguageModel(Protocol):
    """The kind `lm`: what comes next in a text, which may stand behind vectors that are no words.

    `deixis.nn.language.generation` makes texts with it.
    """

    @property
    def width(self) -> int:
        """Of embeddings and states (F)."""
        ...

    @property
    def context_length(self) -> int:
        """Positions at the most, those of prefixes included."""
        ...

    @property
    def tokenizer(self) -> DecodingTokenizer:
        """Strings to its token numbers, and back."""
        ...

    @property
    def start(self) -> int:
        """The token that a text begins with."""
        ...

    @property
    def end(self) -> int:
        """The token that ends a text."""
        ...

    @property
    def marks(self) -> tuple[int, ...]:
        """Tokens that stand around texts and are no words; start and end are among them."""
        ...

    def embed(self, tokens: Int64[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """What the first layer is given, before positions are added."""
        ...

    def states(
        self, inputs: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"], past: Any | None = None
    ) -> Float[Tensor, "B L F"]:
        """States of the last layer; each position sees only itself and those before it where `mask` is true, and what
        was read with `past`, a `deixis.nn.language.kv_cache.KvCache` that grows."""
        ...

    def logits(self, states: Float[Tensor, "*B F"]) -> Float[Tensor, "*B C"]:
        """Scores of every token of the vocabulary as the next one."""
        ...

    def token_loss(
        self, states: Float[Tensor, "B L F"], targets: Int64[Tensor, "B L"], real: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B L"]:
        """-log p of the token that follows each state; 0 where `real` is false."""
        ...


@runtime_checkable
class Proposals(Protocol):
    """The kind `proposals`: regions of an image that may be things."""

    @property
    def width(self) -> int:
        """Of a region's features (F)."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that regions are told apart by."""
        ...

    @property
    def preprocess(self) -> ImagePreprocessing:
        """What its images go through first."""
        ...

    def __call__(self, images: Float[Tensor, "B 3 H W"]) -> RegionProposals:
        """The regions of each image, the likeliest first."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """The kind `sampler`: images made from text, and where in them the text is."""

    @property
    def size(self) -> int:
        """Side of the images, in pixels."""
        ...

    def __call__(self, text: str, count: int, rng: torch.Generator) -> SampledImages:
        """`count` images of what `text` says."""
        ...


@runtime_checkable
class Names(Protocol):
    """The kind `names`: class names in order; a tokenizer reads each name as one token."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...

    @property
    def tokenizer(self) -> TextTokenizer:
        """The name number n is the token n + 1; 0 is padding."""
        ...


@runtime_checkable
class TextReader(Protocol):
    """The kind `reader`: finds lines of text in pictures of any size and reads them."""

    @property
    def preprocess(self) -> ImagePreprocessing:
        """How a picture of a line becomes one of a batch."""
        ...

    def find(self, picture: Any) -> list[Any]:
        """Lines of text in reading order, as `deixis.nn.reading.text_boxes.TextBox`.

        Args:
            picture: a Pillow image.
        """
        ...

    def crops(self, picture: Any, boxes: Sequence[Any]) -> list[Any]:
        """What the boxes show, straightened, as Pillow images."""
        ...

    def recognise(self, pictures: Sequence[Any]) -> list[tuple[str, float]]:
        """What is written in pictures of single lines, and how sure it is of each, from 0 to 1."""
        ...
