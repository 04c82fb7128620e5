"""What a frozen part gives for an image, a text or both, as rows that can be stored: one call, many samples."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.nn.compute import autocast, current
from deixis.nn.dual import DualEncoder
from deixis.nn.fingerprint import fingerprint
from deixis.nn.modes import evaluating
from deixis.types import ImageStates, Picture, Tokens, ViewSpec

if TYPE_CHECKING:
    from deixis.engine.export.image_graph import ImageGraph

__all__ = ["BoxCorners", "EncodeItem", "Inputs", "PartCall"]

Row = Float32[np.ndarray, "_"]

BoxCorners: TypeAlias = tuple[float, float, float, float]
"""x0 y0 x1 y1, in shares of the whole image."""


class Inputs(NamedTuple):
    """What a call is made of for one sample.

    Attributes:
        digest: of the image's content; empty where none is read.
        text: the caption; empty where none is read.
        flip: whether the image is mirrored.
        boxes: of its regions; none where they are not read.
    """

    digest: str = ""
    text: str = ""
    flip: bool = False
    boxes: tuple[BoxCorners, ...] = ()


class EncodeItem(NamedTuple):
    """What one sample gives a call.

    Attributes:
        picture: its image, where the call is made of images.
        text: its caption, where the call is made of texts.
        boxes: of its regions, where the call is made of these.
    """

    picture: Picture | None = None
    text: str = ""
    boxes: tuple[BoxCorners, ...] = ()

    def inputs(self, digest: str, of: Container[str]) -> Inputs:
        """What of it a call is made of.

        Args:
            digest: of the image's content.
            of: see `Made`.
        """
        return Inputs(digest, self.text if "text" in of else "", boxes=self.boxes if "boxes" in of else ())


class PartCall:
    """A method of a frozen part, its results as float32 rows by content.

    The states of a dual encoder's image tower are one row an image, which all users of a model share, whatever adapters
    stand on it: so `encode_image` costs nothing where `image_states` was called. Of any other call each output is a row
    of its own, its shape in front.

    Args:
        part: on the device where it computes.
        name: of its method.
        outputs: the attributes, or the places, of the result that are wanted; an empty string for the result itself.
        of: what it is called with, see `Made`.
        graph: what computes in the part's place, whose rows are others than the part's; of states alone.
    """

    def __init__(
        self,
        part: Any,
        name: str,
        outputs: Sequence[str] = ("",),
        of: Sequence[str] = ("image",),
        graph: ImageGraph | None = None,
    ) -> None:
        self.part, self.name = part, self.stored_as(part, name)
        self.outputs, self.of = tuple(dict.fromkeys(outputs)), tuple(of)
        self.is_states = isinstance(part, DualEncoder) and self.name == "image_states"
        plain = not self.is_states or (part.image_adapter is None and part.text_adapter is None)
        precision = current().precision
        # Of a lower precision come other numbers, which must not stand for those of full precision.
        self._mark = fingerprint(part if plain else part.with_adapters(None, None)) + (
            f"/{current().facts['precision']}" if precision else ""
        )
        self._mark += "" if graph is None else f"/{graph.mark}"
        self._graph = graph

    @staticmethod
    def stored_as(part: Any, name: str) -> str:
        """The call whose rows serve a method of a part."""
        return "image_states" if isinstance(part, DualEncoder) and name == "encode_image" else name

    @classmethod
    def states(cls, encoder: DualEncoder | PartCall, graph: ImageGraph | None = None) -> PartCall:
        """The states of the image tower of an encoder.

        Args:
            encoder: the model; such a call is given back as it is.
            graph: of its image tower, which computes in its place.
        """
        return encoder if isinstance(encoder, PartCall) else cls(encoder, "image_states", graph=graph)

    @property
    def engine(self) -> str:
        """What computes in place of torch, such as `onnxruntime 1.32.0`; empty where nothing does."""
        return "" if self._graph is None else self._graph.engine

    @property
    def preprocess(self) -> Preprocess:
        """How the part takes images."""
        return getattr(self.part, "preprocess", None) or Preprocess(size=ViewSpec().size)

    def keys(self, inputs: Inputs) -> list[str]:
        """Under which names the rows for these inputs are stored."""
        digest, text, flip, boxes = inputs
        if self.is_states:
            return [f"{self._mark}/{digest}/{int(flip)}"]
        words = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if "text" in self.of else ""
        # Without boxes the key is what it was before there were any.
        places = f"/{hashlib.sha256(repr(boxes).encode()).hexdigest()}" if "boxes" in self.of else ""
        return [f"{self._mark}/{self.name}.{output}/{digest}/{words}/{int(flip)}{places}" for output in self.outputs]

    def is_sound(self, row: Row) -> bool:
        """Whether a stored row can be one of this call's."""
        if not np.isfinite(row).all():
            return False
        if self.is_states:
            return row.size == self.part.width + self.part.feature_width + 1
        return row.size > 0 and row.size == 1 + int(row[0]) + int(np.prod(_shape(row)))

    @torch.inference_mode()
    def rows(
        self,
        images: Float[Tensor, "B 3 H W"] | None,
        texts: Sequence[str],
        boxes: Sequence[Sequence[BoxCorners]] = (),
    ) -> list[list[Row]]:
        """Calls the part, in eval mode: what is stored must not depend on the caller's. One list a sample, in the order
        of `keys`.

        Args:
            images: as the part takes them, mirrored where they are to be.
            texts: one a sample; none are read where the call is not made of texts.
            boxes: those of each sample; none are read where the call is not made of boxes.

        Raises:
            DeixisError: a number is not finite.
        """
        if self._graph is not None and images is not None:
            return _sound(_packed_states(self._graph.states(images)), self.of)
        device = _device(self.part)
        given: dict[str, Callable[[], tuple[Any, ...]]] = {
            "image": lambda: (images if images is None else images.to(device),),
            "text": lambda: self._tokens(texts, device),
            "boxes": lambda: _padded_boxes(boxes, device),
        }
        module = self.part if isinstance(self.part, nn.Module) else nn.Module()
        with evaluating(module), autocast(device):
            result = getattr(self.part, self.name)(*(value for each in self.of for value in given[each]()))
        return _sound(_packed_states(result) if self.is_states else _packed(result, self.outputs), self.of)

    def _tokens(self, texts: Sequence[str], device: torch.device) -> tuple[Any, ...]:
        """As one argument where the part itself makes tokens, and as two of a text encoder, which takes them so."""
        if hasattr(self.part, "tokenize"):
            return (self.part.tokenize(list(texts)),)
        tokens: Tokens = self.part.tokenizer(list(texts), self.part.context_length).to(device)
        return tuple(tokens)

    def values(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Output -> its value for one sample, from the rows of `keys`."""
        if not self.is_states:
            return {
                output: torch.from_numpy(row[1 + int(row[0]) :].reshape(_shape(row)).copy())
                for output, row in zip(self.outputs, rows, strict=True)
            }
        states = self.unpacked(rows[0][None])
        single = {field.name: getattr(states, field.name)[0] for field in dataclasses.fields(states)}
        return {"": self.embedding(states)[0], **single} if "" in self.outputs else single

    def unpacked(self, rows: Float32[np.ndarray, "B C"]) -> ImageStates:
        """Stored states, as the image tower gave them."""
        packed, width = torch.from_numpy(np.array(rows)), self.part.width
        return ImageStates(packed[:, :width], packed[:, width:-1], packed[:, -1])

    @torch.no_grad()
    def embedding(self, states: ImageStates) -> Float[Tensor, "B D"]:
        """What `encode_image` makes of stored states; in eval mode and on the processor."""
        if self.part.image_adapter is None:
            return states.embedding
        moved = (value.to(self.part.device) for value in (states.embedding, states.features, states.doubt))
        with evaluating(self.part.image_adapter):
            return self.part.adapted(ImageStates(*moved)).cpu()


def _padded_boxes(boxes: Sequence[Sequence[BoxCorners]], device: torch.device) -> tuple[Tensor, Tensor]:
    """[B, T, 4], and which of them are real."""
    rows = [torch.tensor(each, dtype=torch.float32).reshape(-1, 4) for each in boxes]
    counts = torch.tensor([len(each) for each in rows])
    padded = pad_sequence(rows, batch_first=True)
    return padded.to(device), (torch.arange(padded.shape[1]) < counts[:, None]).to(device)


def _device(part: Any) -> torch.device:
    parameters = part.parameters() if isinstance(part, nn.Module) else iter(())
    first = next(parameters, None)
    return torch.device("cpu") if first is None else first.device


def _shape(row: Row) -> tuple[int, ...]:
    return tuple(int(size) for size in row[1 : 1 + int(row[0])])


def _sound(found: list[list[Row]], of: Sequence[str]) -> list[list[Row]]:
    if not all(np.isfinite(row).all() for rows in found for row in rows):
        raise DeixisError(
            f"The model gives numbers that are not finite for one of the samples ({' and '.join(of)}).",
            "Check its weights.",
        )
    return found


def _packed_states(states: ImageStates) -> list[list[Row]]:
    packed = torch.cat([states.embedding, states.features, states.doubt[:, None]], dim=1).float().cpu().numpy()
    return [[row] for row in packed]


def _packed(result: Any, outputs: Sequence[str]) -> list[list[Row]]:
    """For each sample, a row for each output: the number of axes, their sizes, the values."""
    columns = [_per_sample(result, output) for output in outputs]
    return [[_row(value) for value in values] for values in zip(*columns, strict=True)]


def _per_sample(result: Any, output: str) -> list[Tensor]:
    if output.isdecimal():
        result, output = result[int(output)], ""
    value = getattr(result, output) if output else result
    mask = getattr(result, "mask", getattr(result, "valid", None))
    ragged = isinstance(value, Tensor) and isinstance(mask, Tensor) and value.shape[:2] == mask.shape
    return [value[i][mask[i]] for i in range(len(value))] if ragged and mask is not None else list(value)


def _row(value: Tensor) -> Row:
    found = np.asarray(value.detach().float().cpu().numpy())
    return np.concatenate([np.array([found.ndim, *found.shape], np.float32), found.ravel()]).astype(np.float32)
