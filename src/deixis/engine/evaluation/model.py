"""A model as protocols call it, whatever it is: a dual encoder, a method of any kind, or an image tower alone."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.output import EvalReporter
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.features.embedding import encode_images, fitting, vectors
from deixis.engine.features.store import FeatureStore
from deixis.engine.training.batching import encoder_of
from deixis.engine.training.stages import card_of
from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.nn import compute
from deixis.nn.dual import DualEncoder
from deixis.nn.fingerprint import fingerprint
from deixis.types.protocols import OffersEncodeImage, OffersImageTokens

__all__ = ["EvalModel", "PairScores", "preprocess_of"]

_TEXTS, _ROWS, _THREADS = 256, 1024, 8
_TIMED = 16
"""Images that an encoder is timed on."""


@dataclasses.dataclass(frozen=True)
class PairScores:
    """Scores of N images with M texts: as vectors, or as a table where a model scores pairs.

    Attributes:
        image: vectors of length 1.
        text: vectors of length 1.
        table: of all pairs.
    """

    image: Float[Tensor, "N D"] | None = None
    text: Float[Tensor, "M D"] | None = None
    table: Float[Tensor, "N M"] | None = None

    def by_image(self) -> Iterator[Float[Tensor, "n M"]]:
        """Pieces of the table, images as rows."""
        if self.table is not None:
            yield from self.table.split(_ROWS)
        elif self.image is not None and self.text is not None:
            yield from (rows.double() @ self.text.double().T for rows in self.image.split(_ROWS))

    def by_text(self) -> Iterator[Float[Tensor, "m N"]]:
        """Pieces of the table, texts as rows."""
        turned = PairScores(self.text, self.image, None if self.table is None else self.table.T)
        yield from turned.by_image()


def preprocess_of(name: str, model: Any) -> Any:
    """How the images of a model are prepared: as it says itself, or the first of its parts that does.

    Raises:
        DeixisError: none does.
    """
    for part in (model, *model.children()):
        if hasattr(part, "preprocess"):
            return part.preprocess
    raise DeixisError(f"{name} does not say how images are prepared.", "Give a model with an encoder.")


class EvalModel:
    """Calls a model in eval mode and without gradients; what images gave is remembered, so that protocols share it.

    Args:
        name: in tables.
        model: a `DualEncoder`, a method, or an image tower with its preprocessing.

    Attributes:
        capabilities: what it can do, by the names of `CAPABILITIES`.
        encoder: the dual encoder that it is or is built on, with the corrections that it makes; None without one.
    """

    def __init__(self, name: str, model: Any) -> None:
        self.name, self.model = name, model
        self.encoder: DualEncoder | None = model if isinstance(model, DualEncoder) else None
        self.capabilities = frozenset({"encode_image", "encode_text"} if self.encoder is not None else {"encode_image"})
        if self.encoder is not None or hasattr(model, "cells"):
            self.capabilities |= {"image_tokens"}
        self._rows: dict[tuple[str, str], Tensor] = {}
        if hasattr(sys.modules[type(model).__module__], "CARD"):
            self.capabilities = frozenset(card_of(model).capabilities)
            self.encoder = encoder_of(model)
            if "adapters" in self.capabilities and self.encoder is not None:
                self.encoder = self.model = self.encoder.with_adapters(*model.adapters())
                self.capabilities |= {"encode_image", "encode_text", "image_tokens"}

    @property
    def fingerprint(self) -> str:
        """Of its weights and settings."""
        return fingerprint(self.model)

    def lacks(self, capabilities: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """What it lacks of the nearest of some sets of capabilities; nothing where it has one of them."""
        return min((tuple(c for c in each if c not in self.capabilities) for each in capabilities), key=len)

    def require_encoder(self) -> DualEncoder:
        """The dual encoder.

        Raises:
            DeixisError: it has none.
        """
        if self.encoder is None:
            raise DeixisError(f"{self.name} has no dual encoder that could be measured.", "Give a model that has one.")
        return self.encoder

    def states(self, data: EvalSet, talk: EvalReporter) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N F"]]:
        """Embeddings and features of the dual encoder, from the store where it has them.

        Raises:
            DeixisError: there is no dual encoder, or an image can't be read.
        """
        encoder = self.require_encoder()
        with contextlib.closing(FeatureStore()) as store, talk.step("encode"), talk.bar("encode images") as bar:
            views = encode_images(encoder, data.pictures, data.hashes, store, mirrored=False, progress=bar)
            return vectors(encoder, data.hashes, store).clone(), views[1][0].clone()

    def image_features(self, data: EvalSet, talk: EvalReporter) -> Float[Tensor, "N F"]:
        """What the image tower gives before any projection into a space shared with text; what the model gives for an
        image where it has no such tower."""
        if self.encoder is not None:
            return self.states(data, talk)[1]
        return self._called("image", data, self._image_call(), talk)

    def image_embeddings(self, data: EvalSet, talk: EvalReporter) -> Float[Tensor, "N D"]:
        """Of length 1, in the space shared with text; of a tower without text its features."""
        if isinstance(self.model, DualEncoder):
            return self.states(data, talk)[0]
        return F.normalize(self._called("image", data, self._image_call(), talk), dim=-1)

    def _image_call(self) -> Any:
        return self.model.encode_image if isinstance(self.model, OffersEncodeImage) else self.model

    def image_maps(self, data: EvalSet, talk: EvalReporter) -> Float[Tensor, "N D h w"]:
        """The map before pooling of each image. Images are squashed to the square of the tower, so that all encoders
        see the whole of them.

        Raises:
            DeixisError: the model has no map.
        """
        preprocess = self._preprocess()
        if isinstance(preprocess, Preprocess):
            preprocess = dataclasses.replace(preprocess, mode="squash")
        return self._called("map", data, self._map, talk, preprocess)

    def _map(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        inside: Any = self.model if self.encoder is None else self.encoder.image_tower
        if hasattr(inside, "cells"):
            found: Tensor = inside.cells(images)
            return found
        offered = self.encoder if self.encoder is not None else self.model
        states = offered.image_tokens(images) if isinstance(offered, OffersImageTokens) else None
        if states is None or states.grid is None:
            raise DeixisError(
                f"{self.name} gives no map of features.", "Name an encoder with a map: see `deixis list`."
            )
        return states.states.transpose(1, 2).unflatten(2, states.grid)

    def seconds_per_image(self, data: EvalSet) -> float:
        """How long it takes to read an image and to encode it, on the device and with the threads that hold here; on a
        few images of the data, after one that is not counted.

        Args:
            data: at least one image.
        """
        preprocess = self._preprocess()
        call = self._image_call()
        pictures = [data.pictures[i * len(data.pictures) // _TIMED] for i in range(_TIMED)]
        with self._computing():
            device = compute.current().device
            for some in (pictures[:1], pictures):
                began = time.perf_counter()
                call(preprocess.read(some, threads=1).to(device)).float().cpu()
        return (time.perf_counter() - began) / len(pictures)

    def text_embeddings(self, texts: Sequence[str]) -> Float[Tensor, "M D"]:
        """Of length 1, in the space shared with images."""
        encoder, found = self.require_encoder(), []
        with self._computing():
            for start in range(0, len(texts), _TEXTS):
                tokens = encoder.tokenize(list(texts[start : start + _TEXTS]))
                rows = self.model.encode_text(tokens.ids, mask=tokens.mask)
                found.append(F.normalize(rows.float(), dim=-1).cpu())
        return torch.cat(found)

    def pair_scores(self, data: EvalSet, texts: Sequence[str], talk: EvalReporter) -> PairScores:
        """How well each text fits each image: by `compare` where the model offers it, else by its vectors."""
        if "compare" not in self.capabilities:
            return PairScores(self.image_embeddings(data, talk), self.text_embeddings(texts))
        encoder = self.require_encoder()
        blocks = [encoder.tokenize(list(texts[start : start + _TEXTS])) for start in range(0, len(texts), _TEXTS)]

        def compare(images: Tensor) -> Tensor:
            here = [some.to(images.device) for some in blocks]
            return torch.cat([self.model.compare(images, *some) for some in here], dim=1)

        return PairScores(table=self._called("", data, compare, talk))

    def class_logits(self, data: EvalSet, talk: EvalReporter) -> Float[Tensor, "N C"]:
        """What `classify` gives."""
        return self._called("classes", data, self.model.classify, talk)

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        """In eval mode, without gradients, on the device and in the precision that hold here."""
        with compute.placed(self.model), eval_without_grad(self.model), compute.autocast(compute.current().device):
            yield

    def _preprocess(self) -> Any:
        return preprocess_of(self.name, self.model if self.encoder is None else self.encoder)

    def _called(
        self, name: str, data: EvalSet, call: Callable[[Tensor], Tensor], talk: EvalReporter, preprocess: Any = None
    ) -> Float[Tensor, "N ..."]:
        """What a call gives for images, a block at a time; remembered by content under a name."""
        preprocess = preprocess or self._preprocess()
        size = compute.batch_size(fitting(preprocess.size))
        rows = self._rows if name else {}
        todo = {h: i for i, h in reversed(list(enumerate(data.hashes))) if (name, h) not in rows}
        places = sorted(todo.values())
        with talk.step("encode"), talk.bar("encode images") as bar, self._computing():
            device = compute.current().device
            for start in range(0, len(places), size):
                some = places[start : start + size]
                pictures = [data.samples[i].picture for i in some]
                images = preprocess.read(pictures, threads=min(os.cpu_count() or 1, _THREADS)).to(device)
                found = call(images).float().cpu()
                rows.update({(name, data.hashes[i]): row for i, row in zip(some, found, strict=True)})
                bar(min(start + size, len(places)), len(places))
        return torch.stack([rows[name, digest] for digest in data.hashes])
