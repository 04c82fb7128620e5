"""How good captions are: one value a picture for each measure."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from deixis.data.synthetic.scenes.caption_facts import caption_facts, has_looks
from deixis.data.synthetic.scenes.hearing import well_formed
from deixis.engine.evaluation.captions.sources import words_in
from deixis.inputs.phrases import head_noun
from deixis.ops.text.cider import cider_d
from deixis.types import Sample

__all__ = ["caption_values", "names_same_thing"]


def names_same_thing(text: str, references: Sequence[str]) -> bool:
    """Whether a caption is about what one of the references is about, by their head nouns."""
    noun = head_noun(text)
    return bool(noun) and any(noun == head_noun(each) for each in references)


def caption_values(
    texts: Sequence[str], samples: Sequence[Sample], references: Sequence[Sequence[str]]
) -> Mapping[str, Float[np.ndarray, " Q"]]:
    """Measures by name: `cider`, `head_noun`, `different` (its mean is the share of different captions), and of
    generated scenes `facts`, `invented`, `missed` and `well_formed`.

    Args:
        texts: one caption a picture.
        samples: the pictures.
        references: the captions that each is compared with.
    """
    often = collections.Counter(texts)
    split = [[words_in(each) for each in some] for some in references]
    found = {
        "cider": cider_d([words_in(text) for text in texts], split).numpy(),
        "head_noun": np.array(
            [float(names_same_thing(text, some)) for text, some in zip(texts, references, strict=True)]
        ),
        "different": np.array([1 / often[text] for text in texts]),
    }
    if all(has_looks(sample.regions) for sample in samples):
        facts = [caption_facts(text, sample.regions) for text, sample in zip(texts, samples, strict=True)]
        found |= {
            name: np.array(column)
            for name, column in zip(("facts", "invented", "missed"), zip(*facts, strict=True), strict=True)
        }
        found["well_formed"] = np.array([float(well_formed(text)) for text in texts])
    return found
