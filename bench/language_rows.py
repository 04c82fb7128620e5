"""Searches of stamps in other languages: rows of `results/languages.jsonl`.

    python -m bench.language_rows de fr     or without a language: all that there are dictionaries for

Each stamp is looked for by its caption in the language, among all that have one: as the starter reads it, word by word
by the dictionary, by a text tower that was trained on the dictionary and on names of emoji, and by both; beside them
the English captions of the same stamps. The tower never saw a caption. A language whose dictionary can't be had has a
row that says so.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bench.rows import ROOT, environment
from deixis import zoo
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import encode_source
from deixis.apps.languages.look_up import dictionary_for
from deixis.apps.languages.readers import reading_of, vectors_by
from deixis.apps.languages.settings import WAYS
from deixis.apps.languages.trained import RECIPE, train_language
from deixis.data import catalogue
from deixis.data.datasets import tongues
from deixis.data.datasets.sources import fetch
from deixis.data.splits import concept_groups
from deixis.engine.features.embedding import vectors
from deixis.engine.features.store import FeatureStore
from deixis.engine.language_tower import TowerReader, english_ranks
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.ops.metrics import recall_at
from deixis.ops.stats import cluster_bootstrap
from deixis.types import Source

__all__ = ["main"]

RESULTS = ROOT / "results" / "languages.jsonl"
FIRST = 10


def rows_of(language: str) -> Iterator[dict[str, Any]]:
    """The rows of a language: one for each way."""
    try:
        fetch.get(f"language-{language}")
        names = catalogue.read(f"emoji-names/{language}")
    except DeixisError as error:
        yield {"language": language, "way": "missing", "why": str(error)}
        return
    encoder, stamps = zoo.load("starter").eval(), catalogue.read(f"stamps/{language}")
    tower, facts = train_language(language, encoder, names, RECIPE)
    texts, reader = [sample.captions[0] for sample in stamps.samples], TowerReader(tower, encoder)
    dictionary = dictionary_for(language, encoder)
    readings = [reading_of(text, dictionary) for text in texts]
    english = {sample.id: sample.captions[0] for sample in catalogue.read("stamps").samples}
    queries = {
        "english": encoder.encode_text([english[sample.id] for sample in stamps.samples]),
        "before": encoder.encode_text(texts),
        **{way: vectors_by(way, texts, readings, encoder, reader, language) for way in WAYS},
    }
    images, groups = _images(encoder, stamps), np.array(concept_groups(stamps.samples))
    for way, each in queries.items():
        found = recall_at(english_ranks(each, images, torch.arange(len(images))), FIRST)
        value, low, high = cluster_bootstrap(found.numpy(), groups)
        yield {
            **{"language": language, "way": way, "metric": f"recall_at_{FIRST}"},
            **{"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)},
            **{"queries": len(found), "concepts": len(set(groups.tolist())), "taken": facts.way == way},
            **{"names": facts.recall.get(way), "entries": len(tongues.translations(language))},
            **{"pairs": facts.pairs, "seconds": facts.seconds},
        }


def _images(encoder: DualEncoder, source: Source) -> Float[Tensor, "N D"]:
    with contextlib.closing(FeatureStore()) as store:
        kept, hashes = encode_source(encoder, source, store, Reporter(quiet=True))
        assert len(kept.samples) == len(source.samples), "all stamps can be read"
        return vectors(encoder, hashes, store)


def main(arguments: Sequence[str]) -> None:
    """Languages, or all."""
    torch.set_num_threads(1)
    for language in arguments or tongues.LANGUAGES:
        place = environment(torch.get_num_threads())
        for row in rows_of(language):
            with open(RESULTS, "a", encoding="utf-8") as file:
                file.write(json.dumps({**row, "commit": place["commit"], "date": place["date"]}) + "\n")
            print(row, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
