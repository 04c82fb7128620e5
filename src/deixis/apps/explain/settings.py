"""Settings of `deixis explain`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses
from typing import Literal

from deixis.apps.common.options import ComputeSettings

__all__ = ["DEFAULT", "SAYS", "WORDS", "WRITER", "ExplainSettings", "ReasonForm", "WordScores"]

DEFAULT = {"pairs": "windows", "classes": "normgrad"}
"""The method that explains where none is named: of a model of images and texts, and of a classifier."""

WORDS = "align"
"""What shows the region that each word means, by a run whose method offers it, in place of a map."""

SAYS = "verbalise"
"""The method that says the reason in a sentence."""

WRITER = "smollm2"
"""The language model, a part `lm`, in whose words it is said where that is wanted."""

WordScores = Literal["auto", "relevance", "gradient_x_input", "integrated_gradients"]
"""Where the shares of words come from."""

ReasonForm = Literal["sentence", "paper"]
"""Of the sentence on why: with the score and shares, or as published."""


@dataclasses.dataclass(frozen=True)
class ExplainSettings(ComputeSettings):
    """How a score is explained.

    Attributes:
        method: method that explains, such as `windows`, `normgrad`, `grad_cam` or `relevance`; `deixis list` shows
            which methods offer `attribute`, docs/explaining.md all names. By default `windows` for a model of images
            and texts, whose gradient maps hardly depend on the text, and `normgrad` for a classifier or where
            `layers`, `combine` or `rate` are given. `align` shows the region that each word means, by a run whose
            method offers that, or the patch that each word is nearest to, where it compares words with patches.
        layers: names of layers of the image tower; by default the method's own choice.
        combine: how the maps of several layers become one: `sum`, `product` (geometric mean) or `plain_product`.
        others: texts to contrast with: the mean of their similarities is subtracted from the score. By default the map
            of `windows`, not the score, is contrasted with a hundred everyday things.
        tower: `image` for maps only, `text` for the shares of words only, or `both`.
        rules: name of the propagation rules of `relevance`; by default `epsilon_plus`, for transformers `attention`.
        say: `template`: the reason in a sentence, too: the words that hold most of the score, and where in the picture
            the map is highest; `lm`: the same in the words of a small language model (`deixis data get smollm2`),
            where it quotes words and numbers rightly; or `none`.
        form: of the template: `sentence` names the score and what part of it the words hold, `paper` is as published.
        word_scores: what is said of words: `relevance` (propagated through the text tower), `gradient_x_input`, or
            `integrated_gradients` (on the way from padding to the words, which sum to what the words change in the
            score). By default the method's own scores of words, where it has some, else relevance.
        rate: learning rate of NormGrad's meta step: one gradient descent step of the weights on this image; 0: none.
    """

    method: str = ""
    layers: tuple[str, ...] = ()
    combine: Literal["sum", "product", "plain_product"] = "product"
    others: tuple[str, ...] = ()
    tower: Literal["both", "image", "text"] = "both"
    rules: str = ""
    say: Literal["template", "lm", "none"] = "template"
    form: ReasonForm = "sentence"
    word_scores: WordScores = "auto"
    rate: float = 0.0
