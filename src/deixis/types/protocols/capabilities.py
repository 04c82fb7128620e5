"""What a method can do for a user: the capabilities of `CAPABILITIES`, with the same arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis.types.batch import Batch
from deixis.types.outputs import GroundOutput, TokenStates

__all__ = [
    "OffersAdapters",
    "OffersAlign",
    "OffersAnswer",
    "OffersAnswerMask",
    "OffersAttribute",
    "OffersCaption",
    "OffersClassify",
    "OffersCompare",
    "OffersEncodeAbout",
    "OffersEncodeImage",
    "OffersEncodeText",
    "OffersGround",
    "OffersImageTokens",
    "OffersMatch",
    "OffersRead",
    "OffersRefer",
    "OffersSegment",
    "OffersTextTokens",
    "OffersTokens",
    "OffersVectors",
    "OffersVerbalise",
]


@runtime_checkable
class OffersEncodeImage(Protocol):
    """One vector an image."""

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Of length 1."""


@runtime_checkable
class OffersEncodeText(Protocol):
    """One vector a text."""

    def encode_text(
        self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Of length 1; `mask` is true where a token is real, without one all are."""


@runtime_checkable
class OffersEncodeAbout(Protocol):
    """One vector an image in one respect, to be compared with others in the same respect, and with values in words."""

    def encode_about(self, images: Float[Tensor, "B 3 H W"], instructions: Sequence[str]) -> Float[Tensor, "B D"]:
        """Of length 1; an instruction an image, such as `the colour`."""


@runtime_checkable
class OffersImageTokens(Protocol):
    """One vector a patch."""

    def image_tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """In the space shared with text, not normalised."""


@runtime_checkable
class OffersTextTokens(Protocol):
    """One vector a token."""

    def text_tokens(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> TokenStates:
        """In the space shared with images, not normalised."""


@runtime_checkable
class OffersCompare(Protocol):
    """Scores pairs in a way that no two vectors could."""

    def compare(
        self, images: Float[Tensor, "B 3 H W"], tokens: Int64[Tensor, "G L"], mask: Bool[Tensor, "G L"] | None = None
    ) -> Float[Tensor, "B G"]:
        """Of every image with every text; more fits better."""


@runtime_checkable
class OffersAdapters(Protocol):
    """Corrections on top of a frozen encoder."""

    def adapters(self) -> tuple[nn.Module | None, nn.Module | None]:
        """Of the image's side and of the text's, as `DualEncoder.with_adapters` takes them."""


@runtime_checkable
class OffersClassify(Protocol):
    """Names classes."""

    def classify(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Logits of the classes."""


@runtime_checkable
class OffersAttribute(Protocol):
    """Explains a score by the pixels that it hangs on."""

    def attribute(
        self, images: Float[Tensor, "B 3 H W"], score: Callable[[Any], Float[Tensor, "*B"]]
    ) -> Float[Tensor, "*B H W"]:
        """Maps at the images' size; `score` takes the encoder's output, and may give several numbers an image."""


@runtime_checkable
class OffersGround(Protocol):
    """Finds what phrases mean."""

    def ground(
        self,
        images: Float[Tensor, "B 3 H W"],
        tokens: Int64[Tensor, "B L"],
        mask: Bool[Tensor, "B L"],
        spans: Int64[Tensor, "B T S 2"] | None = None,
    ) -> GroundOutput:
        """Boxes for each phrase of a sentence, or for the sentence as one phrase."""


@runtime_checkable
class OffersRefer(Protocol):
    """Chooses among given regions."""

    def refer(self, batch: Batch) -> Float[Tensor, "B T"]:
        """How well the text fits each region."""


@runtime_checkable
class OffersMatch(Protocol):
    """Scores the pairs of a batch."""

    def match(self, batch: Batch) -> Float[Tensor, " B"]:
        """How well each sample's text fits its image."""


@runtime_checkable
class OffersAlign(Protocol):
    """Joins words with regions."""

    def align(self, batch: Batch) -> Float[Tensor, "B L T"]:
        """How much each word means each region."""


@runtime_checkable
class OffersSegment(Protocol):
    """Names the class of each pixel."""

    def segment(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C H W"]:
        """Scores of the classes, the background being one where the method knows it."""


@runtime_checkable
class OffersCaption(Protocol):
    """Describes images."""

    def caption(self, images: Float[Tensor, "B 3 H W"]) -> list[str]:
        """One sentence an image."""


@runtime_checkable
class OffersAnswer(Protocol):
    """Answers questions about images."""

    def answer(
        self, images: Float[Tensor, "B 3 H W"], tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None
    ) -> list[str]:
        """One answer an image and question; `mask` is true where a token is real, without one all are."""


@runtime_checkable
class OffersAnswerMask(Protocol):
    """Shows where the answers to questions about images lie."""

    def answer_mask(
        self, images: Float[Tensor, "B 3 H W"], tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B H W"]:
        """How likely each pixel is one that the answer rests on, from 0 to 1."""


@runtime_checkable
class OffersRead(Protocol):
    """Reads what is written in images."""

    def read(self, images: Float[Tensor, "B 3 H W"]) -> list[str]:
        """One text an image."""


@runtime_checkable
class OffersVerbalise(Protocol):
    """Says an explanation in words."""

    def verbalise(
        self,
        words: Sequence[str],
        scores: Float[Tensor, " N"],
        writer: Callable[[Sequence[tuple[str, str]]], str] | None = None,
    ) -> str:
        """A sentence about the words that carry most of the score; in the words of `writer`, which answers a
        conversation (role and text of each message), where these hold."""


@runtime_checkable
class OffersVectors(OffersEncodeImage, OffersEncodeText, Protocol):
    """One vector an image and one a text, to be compared by their cosine."""


@runtime_checkable
class OffersTokens(OffersImageTokens, OffersTextTokens, Protocol):
    """One vector a patch and one a token, to be compared one by one."""
