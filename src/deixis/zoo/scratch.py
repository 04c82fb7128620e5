"""New small dual encoders: random weights, and a vocabulary made of the words of the training texts.

They have no name that `zoo.load` could make them from, for it does not know the texts; a model folder holds them whole.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tokenizers
import torch
from tokenizers import models, normalizers, pre_tokenizers, processors
from torch import nn

from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.encoders import ImageHalf
from deixis.nn.language.bag_of_words import BagConfig, BagOfWords
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.nn.vision.modified_resnet import REDUCTION, ModifiedResNet, ModifiedResNetConfig
from deixis.nn.vision.vit import Vit, VitConfig

__all__ = [
    "MARKS",
    "NAME",
    "PATCH",
    "SIZES",
    "Size",
    "build",
    "described",
    "image_half",
    "is_new",
    "options",
    "rebuilt",
    "words_of",
]

MARKS = ("[PAD]", "[START]", "[END]", "[UNKNOWN]")
"""The first tokens, by number."""

PATCH = 8
"""Side of a patch, in pixels."""

NAME = "scratch"
"""What asks for a new encoder where a model is named."""

_SCALE = 1 / 0.07
_LICENCE = "none needed: random numbers"

_TEXTS = ("transformer", "bag")
_IMAGES = ("vit", "vit-mean", "resnet")


@dataclasses.dataclass(frozen=True)
class Size:
    """How large the towers are.

    Attributes:
        width: of both towers' states; a ResNet has an eighth of it as channels of its stem.
        depth: blocks of the image tower.
        text_depth: blocks of the text tower.
        out: width of the shared space (D).
        length: tokens of a text at the most.
    """

    width: int
    depth: int
    text_depth: int
    out: int
    length: int = 48


SIZES: Mapping[str, Size] = {
    "tiny": Size(32, 1, 1, 16),
    "small": Size(128, 4, 2, 64),
    "base": Size(192, 6, 4, 128),
}
"""Name -> size. `tiny` is for tests; `small` takes 2 (ResNet, 64 pixels) to 4 ms (ViT, 48 pixels) a pair on a core."""


def build(
    texts: Iterable[str],
    size: str = "small",
    image_size: int = 48,
    seed: int = 0,
    text: str = "transformer",
    image: str = "vit",
) -> DualEncoder:
    """An image tower and a text tower of random weights, in eval mode.

    Args:
        texts: whose words are the vocabulary; all other words are one unknown word.
        size: one of `SIZES`.
        image_size: side of the images, in pixels; they are squashed to it.
        seed: equal seeds give equal weights; the global generator of random numbers is left as it was.
        text: `transformer`, or `bag`: a bag of words.
        image: `vit`: a vision transformer, read at its class token; `vit-mean`: at the mean of its patches; or
            `resnet`: that of CLIP, which learns shapes from fewer images, for sides that are a multiple of 32.

    Raises:
        DeixisError: a size or tower that there isn't, images of a side it can't read, or texts without a word.
    """
    _require_known("text", text, _TEXTS)
    _require_image(size, image_size, image)
    tokenizer, sizes = words_of(texts), SIZES[size]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pictures, words = _image(sizes, image_size, image), _text(sizes, tokenizer, text)
    encoder = DualEncoder(
        pictures,
        words,
        tokenizer=tokenizer,
        preprocess=_preprocess(image_size),
        traits=Traits(f"scratch-{size}", sizes.length, scale=_SCALE, licence=_LICENCE),
    )
    return encoder.eval()


def image_half(size: str = "small", image_size: int = 64, image: str = "resnet", seed: int = 0) -> ImageHalf:
    """The image tower that `build` makes, by itself: it needs no texts. Equal seeds give equal weights.

    Args:
        size: one of `SIZES`.
        image_size: side of the images, in pixels.
        image: as for `build`.
        seed: the global generator of random numbers is left as it was.

    Raises:
        DeixisError: a size or tower that there isn't, or images of a side it can't read.
    """
    _require_image(size, image_size, image)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = _image(SIZES[size], image_size, image)
    return ImageHalf(tower, _preprocess(image_size), f"scratch-{size}", _LICENCE).eval()


def _preprocess(image_size: int) -> Preprocess:
    return Preprocess(image_size, mode="squash", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def _require_image(size: str, image_size: int, image: str) -> None:
    _require_known("size", size, tuple(SIZES))
    _require_known("image", image, _IMAGES)
    step = REDUCTION if image == "resnet" else PATCH
    if image_size < step or (image == "resnet" and image_size % step):
        raise DeixisError(f"Images of {image_size} pixels are requested.", f"Ask for {step}, or a multiple of it.")


def _require_known(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise DeixisError(f"There is no {what} {value!r}.", f"There are: {', '.join(known)}.")


def options(name: str) -> dict[str, Any] | None:
    """What a name asks `build` for: `scratch`, and after colons, in any order, an image tower, a text tower, a size and
    the side of the images. None where it asks for no new encoder.

    >>> options("scratch:vit:base:96"), options("starter")
    ({'image': 'vit', 'image_size': 96, 'size': 'base'}, None)

    Raises:
        DeixisError: a part of the name is none of these, or says again what another says.
    """
    first, *parts = name.split(":")
    if first != NAME:
        return None
    found: dict[str, Any] = {}
    for part in parts:
        kinds = {"image": part in _IMAGES, "text": part in _TEXTS, "size": part in SIZES, "image_size": part.isdigit()}
        kind = next((kind for kind, fits in kinds.items() if fits), "")
        if not kind or kind in found:
            raise DeixisError(
                f"There is no new model {name!r}: {part!r} " + ("is one too many." if kind else "is unknown."),
                f"Say {NAME}, and after colons any of: {', '.join(_IMAGES)}; {', '.join(_TEXTS)}; {', '.join(SIZES)}; "
                f"the side of the images in pixels. Such as {NAME}:resnet:base:96.",
            )
        found[kind] = int(part) if kind == "image_size" else part
    image = found.get("image", "resnet")
    return dict(sorted({"image": image, "image_size": 64 if image == "resnet" else 48, **found}.items()))


def is_new(encoder: DualEncoder) -> bool:
    """Whether `build` made it, so that no name leads to it."""
    return encoder.name.startswith(f"{NAME}-")


def described(encoder: DualEncoder) -> dict[str, Any]:
    """All of an encoder that `build` made but its weights, tokenizer and adapters, as plain values."""
    return {name: value for name, value in encoder.config.items() if not name.endswith("_adapter")}


def rebuilt(settings: Mapping[str, Any], tokenizer: Tokenizer) -> DualEncoder:
    """The encoder that was `described`, in eval mode, with weights that are still to be put in.

    Args:
        settings: what `described` gave.
        tokenizer: of the encoder.

    Raises:
        DeixisError: the settings are not those of such an encoder.
    """
    try:
        left = dict(settings)
        towers = [_tower(left.pop(f"{side}_tower")) for side in ("image", "text")]
        preprocess = Preprocess.from_dict(left.pop("preprocess"))
        return DualEncoder(*towers, tokenizer=tokenizer, preprocess=preprocess, traits=Traits(**left)).eval()
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DeixisError(f"These are no settings of a model made here: {error}.", "Train it again.") from error


_TOWERS: Mapping[str, tuple[type[nn.Module], type[Any]]] = {
    "Vit": (Vit, VitConfig),
    "ModifiedResNet": (ModifiedResNet, ModifiedResNetConfig),
    "TextTransformer": (TextTransformer, TextConfig),
    "BagOfWords": (BagOfWords, BagConfig),
}


def _tower(settings: Mapping[str, Any]) -> nn.Module:
    tower, config = _TOWERS[settings["kind"]]
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    return tower(config(**{name: value for name, value in plain.items() if name != "kind"}))


def _image(sizes: Size, side: int, image: str) -> nn.Module:
    if image == "resnet":
        channels = sizes.width // 8
        return ModifiedResNet(ModifiedResNetConfig(side, (1, 1, 1, 1), channels, channels // 2, sizes.out))
    shape = (side, PATCH, sizes.width, sizes.depth, max(1, sizes.width // 64), 4 * sizes.width, sizes.out)
    with_class = image == "vit"
    return Vit(VitConfig(*shape, pool="class" if with_class else "mean", class_token=with_class))


def _text(sizes: Size, tokenizer: Tokenizer, text: str) -> nn.Module:
    if text == "bag":
        return BagOfWords(BagConfig(tokenizer.vocabulary, sizes.width, sizes.out, (0, *tokenizer.marks)))
    shape = (tokenizer.vocabulary, sizes.length, sizes.width, sizes.text_depth, max(1, sizes.width // 64))
    return TextTransformer(TextConfig(*shape, 4 * sizes.width, sizes.out, pool="eos", end=MARKS.index("[END]")))


def words_of(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer of whole words, in lower case; numbers and punctuation marks are words of their own.

    The most frequent word comes first, equal ones in alphabetical order: the order of the texts makes no difference.

    Args:
        texts: whose words it knows.

    Raises:
        DeixisError: there is no word in them.
    """
    lower, split = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    counts: collections.Counter[str] = collections.Counter()
    for each in texts:
        clean = each.encode("utf-8", "replace").decode("utf-8")
        counts.update(word for word, _ in split.pre_tokenize_str(lower.normalize_str(clean)))
    if not counts:
        raise DeixisError("There are no words for a vocabulary.", "Give texts with words in them.")
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = {word: number for number, word in enumerate([*MARKS, *(w for w in ordered if w not in MARKS)])}
    rules = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=MARKS[3]))
    rules.normalizer, rules.pre_tokenizer = lower, split
    rules.add_special_tokens(list(MARKS))
    rules.post_processor = processors.TemplateProcessing(
        single=f"{MARKS[1]} $A {MARKS[2]}", special_tokens=[(MARKS[1], 1), (MARKS[2], 2)]
    )
    return Tokenizer(rules)
