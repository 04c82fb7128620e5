"""Which patches of a picture each word of a caption finds, as a model sees it that compares them token by token.

from deixis.apps.explain.word_patch_alignment import draw_alignment

draw_alignment("my-run", "photo.jpg", "a red bird and a boat").save("words.png")
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F

from deixis import zoo
from deixis.apps.common.formatting import MINUS
from deixis.apps.explain.overlays import Panel, sheet
from deixis.apps.predict.capable import open_method
from deixis.engine.features.region_pairs import text_tokenizer
from deixis.engine.training.batching import preprocess_of, tokenized
from deixis.errors import DeixisError
from deixis.inputs.images import ImageSource
from deixis.inputs.preprocess import Preprocess
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.dual import DualEncoder
from deixis.nn.modes import evaluating
from deixis.types import Tokens, TokenStates
from deixis.types.protocols import OffersTokens

__all__ = ["Alignment", "align_words", "draw", "draw_alignment"]

Model = str | os.PathLike[str] | nn.Module

_SIDE, _COLUMNS, _INK = 320, 4, (216, 28, 36)


@dataclasses.dataclass(frozen=True)
class Alignment:
    """The words of a caption (L) and the patches of a picture, compared.

    Attributes:
        seen: the part of the picture that the model is given.
        words: of the caption, in order; those beyond the model's context are left out.
        similarity: cosine of each word with each patch, the mean over the word's tokens.
        chosen_by: patches to which a token of this word is the nearest of all tokens, those around the text included.
    """

    seen: UInt8[np.ndarray, "S S 3"]
    words: tuple[str, ...]
    similarity: Float[Tensor, "L h w"]
    chosen_by: Bool[Tensor, "L h w"]

    def choices(self) -> list[tuple[int, int]]:
        """Row and column of the patch that each word finds most similar."""
        columns = self.similarity.shape[2]
        return [divmod(int(place), columns) for place in self.similarity.flatten(1).argmax(1)]


def align_words(model: Model, image: ImageSource, caption: str) -> Alignment:
    """Compares each word with each patch.

    Args:
        model: a name, a model or run folder, a `DualEncoder`, or a method that is built on one, such as FILIP, or that
            offers `image_tokens` and `text_tokens`.
        image: a path, the content of a file, or a Pillow image.
        caption: one text.

    Raises:
        DeixisError: the model has no patches or no words to compare, the caption has no words, or the image can't be
            read.
    """
    reader = _reader(model)
    ids = reader.tokens(caption)
    spans = reader.tokenizer.words(caption, max(ids.ids.shape[1], reader.tokenizer.around + 1))
    if not spans:
        raise DeixisError(f"The caption {caption!r} has no words.", "Give one that describes the picture.")
    with evaluating(reader.model), torch.no_grad():
        pixels = reader.preprocess.read([image]).to(ids.ids.device)
        patches, tokens = reader.model.image_tokens(pixels), reader.words(ids)
    if patches.grid is None:
        raise DeixisError("The patches of this image tower do not form a grid.", "Give a model with a ViT or a ResNet.")
    cosines = F.normalize(tokens.states[0], dim=-1) @ F.normalize(patches.states[0], dim=-1).T
    nearest = cosines.masked_fill(~tokens.mask[0][:, None], -torch.inf).argmax(0)
    similarity = torch.stack([cosines[begin:end].mean(0) for _, _, begin, end in spans])
    chosen_by = torch.stack([(begin <= nearest) & (nearest < end) for _, _, begin, end in spans])
    shape = (len(spans), *patches.grid)
    words = tuple(caption[start:stop] for start, stop, _, _ in spans)
    seen = _shown(reader.preprocess, pixels[0])
    return Alignment(seen, words, similarity.view(shape).cpu(), chosen_by.view(shape).cpu())


def draw_alignment(model: Model, image: ImageSource, caption: str) -> Image.Image:
    """A sheet: the picture, then once for each word. In colour are the patches that are nearest to this word among all
    words; framed is the one that the word itself finds most similar, with the cosine below. Signs have no cell.

    Args:
        model: as for `align_words`.
        image: likewise.
        caption: likewise.

    Raises:
        DeixisError: as `align_words`.
    """
    return draw(align_words(model, image, caption), caption)


def draw(found: Alignment, caption: str) -> Image.Image:
    """The sheet of `draw_alignment`.

    Args:
        found: the words and the patches.
        caption: that stands above the picture.
    """
    panels = [Panel(Image.fromarray(found.seen).resize((_SIDE, _SIDE)), caption)]
    for number, (word, place) in enumerate(zip(found.words, found.choices(), strict=True)):
        if not any(sign.isalnum() for sign in word):
            continue
        cosine = f"{float(found.similarity[number][place]):.2f}".replace("-", MINUS)
        panels.append(Panel(_cell(found, number, place), f"{word}: {cosine}"))
    return sheet([panels[start : start + _COLUMNS] for start in range(0, len(panels), _COLUMNS)])


class _Reader(NamedTuple):
    """What reads pictures and captions, whatever kind of model it is.

    Attributes:
        model: a dual encoder, or a method that offers both kinds of tokens.
        preprocess: of its pictures.
        tokenizer: of its texts.
        tokens: token numbers of a caption.
        words: one state a token.
    """

    model: Any
    preprocess: Preprocess
    tokenizer: Tokenizer
    tokens: Callable[[str], Tokens]
    words: Callable[[Tokens], TokenStates]


def _reader(model: Model) -> _Reader:
    if isinstance(model, str | os.PathLike):
        of_method = (Path(model) / zoo.METHOD).is_file() and not (Path(model) / "model").is_dir()
        model = open_method(model, "text_tokens") if of_method else zoo.load(model)
    found = getattr(model, "encoder", model)
    if isinstance(found, DualEncoder):
        return _Reader(found, found.preprocess, found.tokenizer, lambda text: found.tokenize([text]), found.text_tokens)
    if not isinstance(model, OffersTokens):
        raise DeixisError(
            f"A {type(model).__name__} has no words and patches.", "Give a model of images and texts, or its folder."
        )
    method: Any = model
    device = next(iter(method.parameters())).device
    return _Reader(
        method,
        preprocess_of(method),
        text_tokenizer(method),
        lambda text: Tokens(*tokenized(method, [text])[0]).to(device),
        lambda tokens: method.text_tokens(*tokens),
    )


def _shown(preprocess: Preprocess, pixels: Float[Tensor, "3 S S"]) -> UInt8[np.ndarray, "S S 3"]:
    """The pixels as they were before they were normalised."""
    mean, std = (torch.tensor(each)[:, None, None] for each in (preprocess.mean, preprocess.std))
    values = (pixels.cpu() * std + mean).clamp(0, 1) * 255
    return values.round().byte().permute(1, 2, 0).contiguous().numpy()


def _cell(found: Alignment, number: int, place: tuple[int, int]) -> Image.Image:
    """The picture in pale grey, in colour where its patches are nearest to the word; a frame around the word's own."""
    image = Image.fromarray(found.seen).resize((_SIDE, _SIDE))
    pale = image.convert("L").point(lambda value: 150 + value * 2 // 5).convert("RGB")
    mask = Image.fromarray(found.chosen_by[number].numpy().astype(np.uint8) * 255)
    pale.paste(image, mask=mask.resize((_SIDE, _SIDE), Image.Resampling.NEAREST))
    rows, columns = found.similarity.shape[1:]
    (y0, y1), (x0, x1) = (
        (at * _SIDE // count, (at + 1) * _SIDE // count) for at, count in zip(place, (rows, columns), strict=True)
    )
    ImageDraw.Draw(pale).rectangle((x0, y0, x1 - 1, y1 - 1), outline=_INK, width=3)
    return pale
