"""The dual encoder: an image tower and a text tower that meet in one space. Everything else takes this one object."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, TypeAlias, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.inputs.images import ImageSource, pictures_in
from deixis.inputs.preprocess import Preprocess
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.compute import autocast
from deixis.nn.fingerprint import digest_of
from deixis.nn.modes import evaluating
from deixis.types.outputs import ImageStates, Tokens, TokenStates

__all__ = ["DualEncoder", "ImageTower", "Similarity", "TextTower", "Traits"]

Similarity: TypeAlias = Literal["embeddings", "tokens", "none"]
"""What a model's loss compares: one embedding a side; or all tokens of one side with all of the other, of which the
embeddings are the normalised mean; or neither, such as the likelihood of a caption, so that embeddings mean nothing."""


@dataclasses.dataclass(frozen=True)
class Traits:
    """What is known of a dual encoder besides its parts.

    Attributes:
        name: of the model.
        context_length: tokens per text at the most.
        scale: that cosines are multiplied by to make scores (the inverse of a softmax's temperature).
        bias: that is added to scores, for models trained with a sigmoid loss.
        licence: of the weights.
        similarity: what is compared, see `Similarity`.
    """

    name: str
    context_length: int
    scale: float
    bias: float | None = None
    licence: str = ""
    similarity: Similarity = "embeddings"


@runtime_checkable
class ImageTower(Protocol):
    """What a `DualEncoder` asks of its image tower; a property `config` may tell what the weights do not.

    Attributes:
        width: of the shared space (D).
        feature_width: of the pooled features (F).
    """

    width: int
    feature_width: int

    def __call__(self, images: Float[Tensor, "B 3 H W"]) -> ImageStates:
        """Embeddings of length 1, features and doubt."""
        ...

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """One state a patch, in the shared space."""
        ...


@runtime_checkable
class TextTower(Protocol):
    """What a `DualEncoder` asks of its text tower; a property `config` may tell what the weights do not.

    Attributes:
        width: of the shared space (D).
    """

    width: int

    def __call__(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B D"]:
        """Embeddings of length 1; the mask says which tokens are real, by default all of them."""
        ...

    def tokens(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> TokenStates:
        """One state a token, in the shared space; the mask as in a call."""
        ...


class DualEncoder(nn.Module):
    """Two towers, the tokenizer and preprocessing that belong to them, and perhaps an adapter on top of each.

    `encode_image` and `encode_text` give rows of length 1 whose products are cosines. Given tensors they are plain
    modules, with gradients, in the mode that is set; given files, pictures or strings they load, cut into batches and
    run in eval mode without gradients.

    Args:
        image_tower: an `ImageTower`.
        text_tower: a `TextTower` of the same width.
        tokenizer: strings to the text tower's tokens.
        preprocess: decoded pictures to the image tower's input.
        traits: name, context length, scale, bias and licence; each can be read from the encoder, too.
    """

    image_adapter: nn.Module | None
    text_adapter: nn.Module | None

    def __init__(
        self,
        image_tower: nn.Module,
        text_tower: nn.Module,
        *,
        tokenizer: Tokenizer,
        preprocess: Preprocess,
        traits: Traits,
    ) -> None:
        super().__init__()
        if image_tower.width != text_tower.width:
            raise ValueError(f"the image tower is {image_tower.width} wide, and the text tower {text_tower.width}")
        self.image_tower, self.text_tower = image_tower, text_tower
        self.register_module("image_adapter", None)
        self.register_module("text_adapter", None)
        self.tokenizer, self.preprocess, self.traits = tokenizer, preprocess, traits
        self._known: tuple[Any, str] | None = None

    @property
    def name(self) -> str:
        """Of the model."""
        return self.traits.name

    @property
    def context_length(self) -> int:
        """Tokens per text at the most."""
        return self.traits.context_length

    @property
    def scale(self) -> float:
        """What cosines are multiplied by to make scores."""
        return self.traits.scale

    @property
    def bias(self) -> float | None:
        """What is added to scores, if anything."""
        return self.traits.bias

    @property
    def licence(self) -> str:
        """Of the weights."""
        return self.traits.licence

    @property
    def reads_text(self) -> bool:
        """Whether it can encode text; a model of images alone (`deixis.nn.image_only`) can't."""
        return self.traits.context_length > 0

    @property
    def width(self) -> int:
        """Of the shared space (D)."""
        return cast(ImageTower, self.image_tower).width

    @property
    def feature_width(self) -> int:
        """Of the image tower's pooled features (F)."""
        return cast(ImageTower, self.image_tower).feature_width

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def with_adapters(self, image: nn.Module | None, text: nn.Module | None) -> DualEncoder:
        """A new encoder on the same towers (shared, not copied), with these adapters in place of any there are.

        Args:
            image: `ImageStates` -> embeddings [B, D] of length 1.
            text: embeddings [B, D] -> embeddings [B, D] of length 1.
        """
        new = DualEncoder(
            self.image_tower,
            self.text_tower,
            tokenizer=self.tokenizer,
            preprocess=self.preprocess,
            traits=self.traits,
        )
        new.training = self.training
        new.image_adapter, new.text_adapter = image, text
        return new

    def text_side(self) -> DualEncoder:
        """A new encoder of the text tower and its adapter alone (shared, not copied), which can't encode images. Its
        fingerprint is that of the text side."""
        side = DualEncoder(
            _LeftOut(self.width, self.feature_width),
            self.text_tower,
            tokenizer=self.tokenizer,
            preprocess=self.preprocess,
            traits=self.traits,
        )
        side.training = self.training
        side.text_adapter = self.text_adapter
        return side

    @classmethod
    def of_text(
        cls, text_tower: nn.Module, *, tokenizer: Tokenizer, preprocess: Preprocess, traits: Traits
    ) -> DualEncoder:
        """An encoder that can't encode images, as `text_side` gives, of a text tower alone."""
        left_out = _LeftOut(cast(TextTower, text_tower).width, 0)
        return cls(left_out, text_tower, tokenizer=tokenizer, preprocess=preprocess, traits=traits)

    def image_states(self, images: Float[Tensor, "B 3 H W"]) -> ImageStates:
        """What the image tower says, before any adapter."""
        states: ImageStates = self.image_tower(images)
        if self.traits.similarity == "tokens":
            return dataclasses.replace(states, embedding=_pooled(self.image_tokens(images)))
        return states

    def require_embeddings(self, what: str) -> None:
        """Refuses where no embedding of this model was trained.

        Args:
            what: is to be done, for the message, such as `index pictures`.

        Raises:
            DeixisError: the model compares nothing but pairs, by scores of the method that trained it.
        """
        if self.traits.similarity == "none":
            raise DeixisError(
                f"{self.name} can't {what}: its training compared no embeddings, so they are meaningless.",
                "Measure it with `deixis eval`, or train a method that offers encode_image: see `deixis list`.",
            )

    def adapted(self, states: ImageStates) -> Float[Tensor, "B D"]:
        """Embeddings of images whose states are known: through the adapter, where there is one."""
        embedding: Tensor = states.embedding if self.image_adapter is None else self.image_adapter(states)
        return embedding

    def image_tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """One state a patch, before any adapter."""
        return cast(ImageTower, self.image_tower).tokens(images)

    def text_tokens(
        self, tokens: Int64[Tensor, "B L"] | Tokens, mask: Bool[Tensor, "B L"] | None = None
    ) -> TokenStates:
        """One state a token, before any adapter; what the mask says is padding is none."""
        ids, mask = tokens if isinstance(tokens, Tokens) else (tokens, mask)
        return cast(TextTower, self.text_tower).tokens(ids, mask)

    def encode_image(
        self, images: Float[Tensor, "B 3 H W"] | ImageSource | Sequence[ImageSource], batch_size: int = 32
    ) -> Float[Tensor, "B D"]:
        """Embeddings of length 1.

        Args:
            images: a preprocessed batch of floats; or one or several paths, file contents (bytes), Pillow images,
                arrays [H, W, 3] or tensors [3, H, W], of uint8 or of floats from 0 to 1.
            batch_size: how many files are in memory at a time.

        Raises:
            ImageError: a file is no image that can be read.
            DeixisError: there is none, or a picture is in no form that is known.
        """
        if isinstance(images, Tensor) and images.ndim == 4 and images.is_floating_point():
            return self.adapted(self.image_states(images))
        images = pictures_in(images)
        rows = [torch.empty(0, self.width, device=self.device)]
        with self._inference():
            for start in range(0, len(images), batch_size):
                rows.append(self.encode_image(self.read_images(images[start : start + batch_size])).float())
        return torch.cat(rows)

    def encode_text(
        self,
        texts: Int64[Tensor, "B L"] | Tokens | str | Sequence[str],
        batch_size: int = 32,
        *,
        mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B D"]:
        """Embeddings of length 1.

        Args:
            texts: token numbers, as `tokenize` gives them or a tensor of them; or one or several strings.
            batch_size: how many strings are encoded at a time.
            mask: for a tensor, true where a token is real; by default all are.
        """
        if isinstance(texts, Tokens):
            texts, mask = texts
        if isinstance(texts, Tensor):
            tokenwise = self.traits.similarity == "tokens"
            embedding: Tensor = _pooled(self.text_tokens(texts, mask)) if tokenwise else self.text_tower(texts, mask)
            return embedding if self.text_adapter is None else self.text_adapter(embedding)
        if isinstance(texts, str):
            texts = [texts]
        rows = [torch.empty(0, self.width, device=self.device)]
        with self._inference():
            for start in range(0, len(texts), batch_size):
                rows.append(self.encode_text(self.tokenize(texts[start : start + batch_size])).float())
        return torch.cat(rows)

    def read_images(self, images: Sequence[ImageSource]) -> Float[Tensor, "B 3 H W"]:
        """Decodes (in threads, order kept) and preprocesses; large JPEGs at a reduced scale, as `preprocess.reduce`
        allows. On the model's device.

        Raises:
            ImageError: a file is no image that can be read.
        """
        return self.preprocess.read(images, threads=min(os.cpu_count() or 1, 8)).to(self.device)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Token numbers on the model's device, cut to the context length and padded to the longest, with their mask."""
        return self.tokenizer(texts, self.context_length).to(self.device)

    def similarity(self, image: Float[Tensor, "N D"], text: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
        """Scores of every image with every text: `scale` times the cosine, plus `bias`."""
        return self.scale * image @ text.T + (self.bias or 0.0)

    @contextlib.contextmanager
    def _inference(self) -> Iterator[None]:
        """No gradients, and eval mode; every module gets back the mode it had. In the precision that holds here."""
        with evaluating(self), torch.no_grad(), autocast(self.device):
            yield

    @property
    def config(self) -> dict[str, Any]:
        """All that decides the embeddings and is no weight, as plain values."""
        names = ("image_tower", "text_tower", "image_adapter", "text_adapter")
        parts = {name: getattr(self, name) for name in names}
        traits = dataclasses.asdict(self.traits)
        if self.traits.similarity == "embeddings":  # what was written before there was another has no such entry
            del traits["similarity"]
        return {
            **traits,
            "preprocess": self.preprocess.to_dict(),
            **{name: getattr(part, "config", {}) for name, part in parts.items() if part is not None},
        }

    def fingerprint(self) -> str:
        """SHA-256 over config, tokenizer and all weights, in hexadecimal: equal models have equal ones.

        It is computed once, and again after a weight was replaced or changed in place (changes through `.data` go
        unseen).
        """
        weights = {name: value.detach() for name, value in self.state_dict(keep_vars=True).items()}
        state = (self.config, [(name, value.data_ptr(), value._version) for name, value in weights.items()])
        if self._known is None or self._known[0] != state:
            self._known = (state, self._digest(weights))
        return self._known[1]

    def _digest(self, weights: dict[str, Tensor]) -> str:
        settings = {**self.config, "tokenizer": self.tokenizer.to_dict()}
        for each in ("name", "licence"):  # a folder that was moved holds the same model
            del settings[each]
        return digest_of(settings, weights)

    def __repr__(self) -> str:
        count = sum(value.numel() for value in self.parameters())
        adapters = [side for side in ("image", "text") if getattr(self, f"{side}_adapter") is not None]
        lines = [
            f"DualEncoder {self.name!r}: {count / 1e6:.1f} million parameters, width {self.width}",
            f"  image: {_named(self.image_tower)}, {self.preprocess.size} pixels, {self.preprocess.mode}, "
            f"features {self.feature_width}",
            f"  text:  {_named(self.text_tower)}, at most {self.context_length} tokens",
            f"  scale {self.scale:g}" + ("" if self.bias is None else f", bias {self.bias:g}"),
            *([] if self.traits.similarity == "embeddings" else [f"  compares: {self.traits.similarity}"]),
            f"  adapters: {' and '.join(adapters) or 'none'}",
            f"  licence: {self.licence or 'not told'}",
        ]
        return "\n".join(lines)


class _LeftOut(nn.Module):
    """Stands where the image tower was left on disk."""

    def __init__(self, width: int, feature_width: int) -> None:
        super().__init__()
        self.width, self.feature_width = width, feature_width

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> ImageStates:
        raise DeixisError("Only the text side of this model was loaded.", "Load the whole of it: deixis.load(...)")

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        raise DeixisError("Only the text side of this model was loaded.", "Load the whole of it: deixis.load(...)")


def _pooled(tokens: TokenStates) -> Float[Tensor, "B D"]:
    """The direction of the mean of the real tokens' directions [B, D]."""
    states = F.normalize(tokens.states, dim=-1) * tokens.mask[..., None]
    return F.normalize(states.sum(dim=1), dim=-1)


def _named(tower: nn.Module) -> str:
    """The tower's class, with its activation where the config tells one."""
    activation = getattr(tower, "config", {}).get("activation")
    return f"{type(tower).__name__} ({activation})" if activation else type(tower).__name__
