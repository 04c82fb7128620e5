"""What texts of coarse classes buy: rows of `results/finer_words.jsonl`, on emoji labelled `bird` and the like.

    python -m bench.finer_words_rows desk-clip
    python -m bench.finer_words_rows starter

Each image's concept is known here, and kept from what learns. Two measures: of the images whose concept is among the
kinds that WordNet lists of their class, how many are matched with it (matching precision, beside chance); and how many
of the images of a kind a search by its word finds among its first ten (R@10), before tuning and after, on matched texts
and on the controls of GIST: the class name, and a random text of the class.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bench.rows import ROOT, environment
from deixis import zoo
from deixis.data import catalogue
from deixis.data.knowledge import wordnet
from deixis.engine.features.embedding import image_states
from deixis.engine.fewshot import few_shot
from deixis.engine.fewshot.shots import Shots
from deixis.inputs.images import picture_hash
from deixis.methods import gist
from deixis.nn.dual import DualEncoder
from deixis.ops.stats import cluster_bootstrap
from deixis.types import Sample

__all__ = ["main", "matching_precision", "search_recall"]

RESULTS = ROOT / "results" / "finer_words.jsonl"
SET = "emoji-styles/concepts"
COARSE = (
    "bird",
    "mammal",
    "arthropod",
    "fruit",
    "vegetable",
    "vehicle",
    "food",
    "garment",
    "building",
    "musical instrument",
)
SEEDS, FIRST = 3, 10


class Folder(NamedTuple):
    """Images with coarse labels, the texts of these, and the word that each image is of (empty: none of the texts)."""

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    words: tuple[str, ...]
    texts: Mapping[str, tuple[str, ...]]


def coarse_folder(net: wordnet.WordNet, samples: Sequence[Sample]) -> Folder:
    """Images of concepts that are kinds of a coarse class, each of the first class that it is of.

    Args:
        net: the nouns.
        samples: labelled with their concepts.
    """
    tops = {name: wordnet.lookup(net, name)[:1] for name in COARSE}
    texts = {name: tuple(wordnet.kinds(net, own[0])) for name, own in tops.items() if own}
    concepts: dict[str, tuple[str, str]] = {}
    for concept in sorted({str(sample.label) for sample in samples}):
        for sense in wordnet.lookup(net, concept)[:1]:
            coarse = next((name for name, own in tops.items() if own and own[0] in _above(net, sense)), "")
            word = net.lemmas[sense][0].replace("_", " ")
            if coarse:
                concepts[concept] = coarse, word if word in texts[coarse] else ""
    kept = tuple(sample for sample in samples if str(sample.label) in concepts)
    found = [concepts[str(sample.label)] for sample in kept]
    labels = tuple(coarse for coarse, _ in found)
    return Folder(kept, labels, tuple(word for _, word in found), {name: texts[name] for name in sorted(set(labels))})


def _above(net: wordnet.WordNet, synset: str) -> set[str]:
    found, todo = {synset}, [synset]
    while todo:
        fresh = [each for each in net.above.get(todo.pop(), ()) if each not in found]
        found.update(fresh)
        todo += fresh
    return found


def matching_precision(
    matched: Int64[Tensor, " N"], texts: Sequence[tuple[str, str]], labels: Sequence[str], words: Sequence[str]
) -> tuple[list[float], float]:
    """Of images whose word is among the texts: 1 where it is what they are matched with, else 0; and what chance gives.

    Args:
        matched: the place of each image's text among all.
        texts: (class, text) of all.
        labels: the class of each image.
        words: of each image; an empty one leaves the image out.
    """
    known = [place for place, word in enumerate(words) if word]
    counts = {label: sum(owner == label for owner, _ in texts) for label in labels}
    right = [float(texts[int(matched[place])][1] == words[place]) for place in known]
    return right, sum(1 / counts[labels[place]] for place in known) / len(known)


def search_recall(cosines: Float[Tensor, "Q N"], queries: Sequence[str], words: Sequence[str]) -> list[float]:
    """Of each query, the share of its images (of ten at the most) that are among the first ten.

    Args:
        cosines: of queries and images.
        queries: words.
        words: of the images.
    """
    first = cosines.topk(min(FIRST, len(words)), dim=1).indices.tolist()
    return [
        sum(words[place] == query for place in own) / min(FIRST, words.count(query))
        for query, own in zip(queries, first, strict=True)
    ]


def measure(encoder: DualEncoder) -> None:
    """All rows of a model.

    Args:
        encoder: that is tuned.
    """
    folder = coarse_folder(wordnet.wordnet(), catalogue.read(SET).samples)
    names = tuple(folder.texts)
    pictures = [sample.picture for sample in folder.samples]
    states = image_states(encoder, pictures, [picture_hash(each) for each in pictures])
    labels = torch.tensor([names.index(label) for label in folder.labels])
    shots = Shots(tuple(sample.id for sample in folder.samples), labels, states.embedding, states.features)
    texts = tuple((name, text) for name, own in folder.texts.items() for text in own)
    queries = sorted({word for word in folder.words if word})
    asked = encoder.encode_text([f"a photo of a {word}" for word in queries])
    first = {str(sample.label): place for place, sample in reversed(list(enumerate(folder.samples)))}
    ids = np.array([first[str(sample.label)] for sample in folder.samples])
    with torch.no_grad():
        plain = few_shot.build("gist", encoder, names, {"knowledge": texts})
        assert isinstance(plain, gist.Method)
        matched = gist.match_texts(states.embedding, labels, plain.text_rows(), plain.text_labels, 1)[:, 0]
    right, chance = matching_precision(matched, texts, folder.labels, folder.words)
    known = ids[[place for place, word in enumerate(folder.words) if word]]
    facts = {"images": len(folder.samples), "classes": len(names), "kinds": len(queries)}
    _write(encoder, "matching precision", "matched", right, known, {**facts, "chance": round(chance, 4)})
    _write(encoder, "R@10", "before", search_recall(asked @ states.embedding.T, queries, folder.words), None, facts)
    for pairs in ("matched", "random", "name"):
        found = []
        for seed in range(SEEDS):
            settings = {"knowledge": texts, "pairs": pairs}
            method = few_shot.learn("gist", encoder, names, shots, overrides=settings, seed=seed)
            assert isinstance(method, gist.Method)
            with torch.no_grad():
                images = method.adapted(states.embedding, states.features)
                found.append(search_recall(method.text_adapter(asked) @ images.T, queries, folder.words))
        _write(encoder, "R@10", pairs, [sum(own) / SEEDS for own in zip(*found, strict=True)], None, facts)


def _write(
    encoder: DualEncoder, metric: str, by: str, values: Sequence[float], groups: object, facts: Mapping[str, object]
) -> None:
    clusters = np.arange(len(values)) if groups is None else np.asarray(groups)
    value, low, high = cluster_bootstrap(np.array(values), clusters)
    row = {"model": encoder.name, "metric": metric, "by": by, "value": round(value, 4)}
    row |= {"low": round(low, 4), "high": round(high, 4), **facts}
    place = environment(torch.get_num_threads())
    with open(RESULTS, "a", encoding="utf-8") as file:
        file.write(json.dumps({**row, "commit": place["commit"], "date": place["date"]}) + "\n")
    print(row, flush=True)


def main(arguments: Sequence[str]) -> None:
    """Names of models."""
    torch.set_num_threads(1)
    for name in arguments or ("desk-clip",):
        measure(zoo.load(name).eval())


if __name__ == "__main__":
    main(sys.argv[1:])
