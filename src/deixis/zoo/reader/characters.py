"""A small dual encoder for words: an image tower for lines, and a text tower that reads character by character.

Its vocabulary is what can be typed, so that a name says all of it: `characters:16x64:small`. Trained on pictures of
words with `clip`, its token states hold which character stands where, which those of CLIP hold in part.
"""

from __future__ import annotations

import re

import tokenizers
import torch
from tokenizers import Regex, models, pre_tokenizers, processors

from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.nn.reading.alphabet import ALPHABETS
from deixis.nn.reading.line_vit import LineTower, LineVitConfig
from deixis.zoo.scratch import MARKS, SIZES

__all__ = ["NAME", "character_tokenizer", "load"]

NAME = "characters"
"""What the names begin with."""

_FORM = re.compile(rf"{NAME}(?::(\d+)x(\d+))?(?::(\w+))?")
_PATCH = (4, 8)
_LENGTH = 48
_SCALE = 1 / 0.07


def load(name: str = NAME, seed: int = 0) -> DualEncoder:
    """New towers, in eval mode.

    Args:
        name: `characters`, and after colons height x width of the pictures and a size of `deixis.zoo.scratch`.
        seed: equal seeds give equal weights; the global generator of random numbers is left as it was.

    Raises:
        DeixisError: the name says something else, or the pictures can't be cut into patches of 4 by 8.
    """
    found = _FORM.fullmatch(name)
    size = found[3] or "small" if found else ""
    if found is None or size not in SIZES:
        raise DeixisError(
            f"There is no model {name!r}.",
            f"Say {NAME}, and after colons height x width and one of {', '.join(SIZES)}. Such as {NAME}:16x64:small.",
        )
    shape, sizes, tokenizer = (int(found[1] or 16), int(found[2] or 64)), SIZES[size], character_tokenizer()
    heads = max(1, sizes.width // 32)
    text = (tokenizer.vocabulary, _LENGTH, sizes.width, sizes.text_depth, heads, 4 * sizes.width, sizes.width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        image_tower = LineTower(LineVitConfig(shape, _PATCH, sizes.width, sizes.depth, heads), sizes.width)
        text_tower = TextTransformer(TextConfig(*text, pool="eos", end=MARKS.index("[END]")))
    return DualEncoder(
        image_tower,
        text_tower,
        tokenizer=tokenizer,
        preprocess=Preprocess(shape[0], mode="squash", width=shape[1], mean=(0.5,) * 3, std=(0.5,) * 3),
        traits=Traits(name, _LENGTH, scale=_SCALE, licence="none needed: random numbers"),
    ).eval()


def character_tokenizer() -> Tokenizer:
    """Each character of ASCII that shows, and the space, is a token; all others are one unknown character."""
    vocabulary = {token: number for number, token in enumerate([*MARKS, " ", *ALPHABETS["94"]])}
    rules = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=MARKS[3]))
    rules.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    rules.add_special_tokens(list(MARKS))
    rules.post_processor = processors.TemplateProcessing(
        single=f"{MARKS[1]} $A {MARKS[2]}", special_tokens=[(MARKS[1], 1), (MARKS[2], 2)]
    )
    return Tokenizer(rules)
