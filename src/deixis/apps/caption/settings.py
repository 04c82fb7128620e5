"""Settings of `deixis caption`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses

from deixis.apps.predict.settings import PredictSettings

__all__ = ["CaptionSettings"]


@dataclasses.dataclass(frozen=True)
class CaptionSettings(PredictSettings):
    """The model, drafts, and texts of classes in place of captions.

    Attributes:
        model: run folder whose method offers what is requested; `deixis list` lists the methods. With --classes: the
            image-text model that chooses among senses and checks the texts, by default the starter.
        method: write drafts, by `nearest` (the caption of the nearest captioned picture), `bank`, `names` (the classes
            of the model), `run` (its descriptions), `close` (learned from 200 captions or more) or `auto`: whatever
            names the right thing most often on captioned pictures held back, of equals the simplest.
        bank: csv of terms that drafts are chosen from, such as a thesaurus.
        classes: write texts of the classes of the data, a csv (class, text), in place of captions of pictures.
        by: with --classes: where the texts are from: wordnet, kinds, glosses, emoji, templates, captions:DATA, about,
            a csv, or lm (two sentences by SmolLM2, after `deixis data get smollm2`).
    """

    method: str = ""
    bank: str = ""
    classes: bool = False
    by: str = "wordnet"
