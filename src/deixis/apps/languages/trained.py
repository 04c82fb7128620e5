"""A text tower for a language in the cache: trained, measured beside the dictionary, and read again.

languages/de/tower.json           what it was measured as, and for which text tower it is
languages/de/tower.safetensors    its weights
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from deixis import zoo
from deixis.apps.common.console import Reporter
from deixis.apps.languages.look_up import dictionary_for
from deixis.apps.languages.readers import reading_of, vectors_by
from deixis.apps.languages.settings import TRAINS, WAYS, LanguageWay
from deixis.data import catalogue
from deixis.data.datasets import tongues
from deixis.data.datasets.sources import fetch
from deixis.data.dictionaries import LANGUAGE_NAMES, without_articles
from deixis.data.splits import concept_groups, split
from deixis.data.translation_pairs import translation_pairs
from deixis.engine.language_tower import (
    TowerReader,
    TowerRecipe,
    english_ranks,
    load_tower,
    save_tower,
    teacher_digest,
    train_tower,
)
from deixis.errors import DeixisError
from deixis.files import atomic_folder, cache_dir, write_json
from deixis.nn.dual import DualEncoder
from deixis.nn.language.ngrams import NgramText
from deixis.types import Source

__all__ = ["LanguageTower", "learn_language", "read_tower", "train_language"]

RECIPE = TowerRecipe(TRAINS)
_FORMAT, _LEARNED = 1, 2 / 3
_FACTS, _WEIGHTS = "tower.json", "tower.safetensors"


@dataclasses.dataclass(frozen=True)
class LanguageTower:
    """What is known of a trained tower.

    Attributes:
        language: by its code.
        teacher: digest of the text tower that it stands in for.
        way: the best on held-out names.
        recall: of each way, and of the English model alone (`before`), how many of the held-out names find their
            English first.
        names: held-out names of emoji.
        english: texts among which they find it.
        pairs: words with their English that it learned from.
        seconds: that the processor worked, reading the English included.
    """

    language: str
    teacher: str
    way: LanguageWay
    recall: Mapping[str, float]
    names: int
    english: int
    pairs: int
    seconds: float

    @property
    def sentence(self) -> str:
        """For a person."""
        shares = {way: f"{100 * share:.0f}" for way, share in self.recall.items()}
        told = {
            "before": f"{shares['before']} as the model reads it",
            "dictionary": f"{shares['dictionary']} by the dictionary",
            "tower": f"{shares['tower']} by the trained tower",
            "both": f"{shares['both']} by both",
        }
        return (
            f"{LANGUAGE_NAMES[self.language]}: of 100 held-out names of emoji so many find their English first among "
            f"{self.english:,}: {', '.join(told.values())}. Taken: {self.way}."
        )


def learn_language(language: str, talk: Reporter) -> None:
    """Trains the tower of a language whose dictionary is in the cache, unless it is there.

    Where names of emoji can't be had nothing can be compared, and the dictionary stays alone, which is said.

    Args:
        language: one of `deixis.data.datasets.tongues.LANGUAGES`.
        talk: receives progress, and how well each way reads.

    Raises:
        DeixisError: the dictionary or the starter can't be had.
    """
    folder = cache_dir("languages", language)
    fetch.get("starter", talk.say)
    encoder = zoo.load("starter").text_side()
    known = read_tower(language, encoder)
    if known is not None:
        talk.result(known[0].sentence)
        return
    try:
        fetch.get("emoji-names", talk.say)
    except DeixisError as error:
        talk.result(f"The dictionary alone reads {LANGUAGE_NAMES[language]}, as nothing could be compared: {error}")
        return
    names = catalogue.read(f"emoji-names/{language}")
    with talk.step("language", f"train a text tower for {LANGUAGE_NAMES[language]}, some minutes"):
        tower, facts = train_language(language, encoder, names, RECIPE)
    with atomic_folder(folder) as part:
        save_tower(tower, part / _WEIGHTS)
        write_json(part / _FACTS, {"format": _FORMAT, **dataclasses.asdict(facts)})
    talk.result(facts.sentence)


def train_language(
    language: str, encoder: DualEncoder, names: Source, recipe: TowerRecipe
) -> tuple[NgramText, LanguageTower]:
    """A tower that learned from the dictionary and two thirds of the names, and how each way reads the other third.

    Args:
        language: of the dictionary.
        encoder: that reads the English; it is frozen here.
        names: texts of the language, with their `english`.
        recipe: of training.
    """
    begun = time.process_time()
    parts = split(concept_groups(names.samples), recipe.seed, _LEARNED)
    pairs = [(without_articles(s.captions[0], language), s.extra["english"][0]) for s in names.samples]
    own = [pairs[i] for i in parts.train]
    learned = translation_pairs(tongues.translations(language), language, recipe.pairs) + own
    tower = train_tower(encoder, learned, recipe)
    seconds = time.process_time() - begun
    recall = _measured(language, encoder, tower, names, parts.test)
    way = max(WAYS, key=lambda each: recall[each])
    english = len({each for _, each in pairs})
    counts = (len(parts.test), english, len(learned), round(seconds, 1))
    return tower, LanguageTower(language, teacher_digest(encoder), way, recall, *counts)


def _measured(
    language: str, encoder: DualEncoder, tower: NgramText, names: Source, held: tuple[int, ...]
) -> dict[str, float]:
    """Which share of the held-out names finds its English first, by each way."""
    english = [str(sample.extra["english"][0]) for sample in names.samples]
    different = list(dict.fromkeys(english))
    right = torch.tensor([different.index(english[i]) for i in held])
    texts = [names.samples[i].captions[0] for i in held]
    dictionary = dictionary_for(language, encoder)
    readings = [reading_of(text, dictionary) for text in texts]
    reader, vectors = TowerReader(tower, encoder), encoder.encode_text(different)
    rows = {"before": encoder.encode_text(texts)}
    rows |= {way: vectors_by(way, texts, readings, encoder, reader, language) for way in WAYS}
    return {
        way: round(float((english_ranks(each, vectors, right) == 1).double().mean()), 4) for way, each in rows.items()
    }


def read_tower(language: str, encoder: DualEncoder) -> tuple[LanguageTower, NgramText] | None:
    """The tower in the cache that stands in for a model's text tower, and what is known of it; None where there is
    none, or one for another text tower.

    Args:
        language: by its code.
        encoder: the model, or its text side.

    Raises:
        DeixisError: what is there is damaged.
    """
    folder = cache_dir("languages", language)
    if not (folder / _FACTS).is_file():
        return None
    facts = _facts(folder / _FACTS)
    if facts.teacher != teacher_digest(encoder):
        return None
    return facts, load_tower(folder / _WEIGHTS)


def _facts(path: Path) -> LanguageTower:
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if read.pop("format") == _FORMAT and read["way"] in WAYS:
            return LanguageTower(**read)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, repr(error)) from error
    raise _damaged(path, "it is of another version")


def _damaged(path: Path, why: str) -> DeixisError:
    cure = f"Remove {path.parent}, then run: deixis data get language-{path.parent.name}"
    return DeixisError(f"{path} can't be read: {why}.", cure)
