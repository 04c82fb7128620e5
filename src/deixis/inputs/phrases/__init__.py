"""English phrases by rule: the noun that a caption is about, and what a phrase says of the things that it names."""

from __future__ import annotations

from deixis.inputs.phrases.nouns import head_noun, singular
from deixis.inputs.phrases.parsing import NounPhrase, noun_phrases, noun_phrases_of, parse_phrase

__all__ = ["NounPhrase", "head_noun", "noun_phrases", "noun_phrases_of", "parse_phrase", "singular"]
