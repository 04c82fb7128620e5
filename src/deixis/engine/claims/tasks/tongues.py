"""Where claims about text towers meet: words of other languages that are to find their English, by a dictionary.

A query is a headword that was held out; it finds its English among all that is known, whose vectors are those of a
frozen tower for English. What is trained on has hard negatives, mined by a tower of the same kind after a first stage
with negatives of the batch alone; doubtful entries are left out, for all arms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis import zoo
from deixis.data.datasets import tongues
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.mining import distinct, mine, read_texts
from deixis.engine.training.batching import tokenized
from deixis.engine.training.stages import offers
from deixis.errors import DeixisError
from deixis.nn.compute import on_threads
from deixis.nn.dual import DualEncoder
from deixis.nn.language.ngrams import NgramText
from deixis.ops.metrics import ranks_of_scores, recall_at
from deixis.ops.pairs.passages import Ranking, ranking_loss
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.mining import MiningRule
from deixis.types.protocols import AnyMethod, OffersEncodeText, TextEncoder

__all__ = ["TASK", "Options", "make"]

TASK = TaskCard(
    title="Words of another language that find their English in a dictionary",
    metrics=("recall_at_1", "recall_at_1_cut", "recall_at_1_pca"),
    passes=("deixis.engine.mining", "deixis.zoo.starter", "deixis.data.datasets.tongues"),
)

_CUT, _BLOCK, _LONG = 64, 256, 3
_TEMPERATURE, _RATE = 0.05, 3e-3


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `tongues`.

    Attributes:
        languages: whose dictionaries are read, each in equal parts.
        entries: that are trained on.
        held: entries to tune on, and as many to report on.
        gallery: English texts among which a query finds its own.
        teacher: the frozen tower that reads English, as a part `text_encoder`.
        first: steps of the first stage, after which negatives are mined.
        nearest: rank of the nearest negative that may be drawn.
        farthest: rank of the farthest.
        negatives: of each entry.
        batch_size: entries a step.
    """

    languages: tuple[str, ...] = ("de",)
    entries: int = 20_000
    held: int = 1000
    gallery: int = 20_000
    teacher: str = "minilm"
    first: int = 300
    nearest: int = 50
    farthest: int = 100
    negatives: int = 7
    batch_size: int = 256


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task; the first stage and the vectors of the English take a minute or two.

    Args:
        options: see `Options`.
        seed: of which entries are where, of the first stage and of the negatives.

    Raises:
        DeixisError: a value is out of range, a dictionary or the starter is not in the cache, or too small.
    """
    require_least(options, entries=20, held=2, gallery=2, first=1, batch_size=2)
    rule = MiningRule(options.nearest, options.farthest, options.negatives)
    train, validation, test = _parts(options, seed)
    teacher: TextEncoder = zoo.load_part("text_encoder", options.teacher)
    words, answers = distinct([_english(sample) for sample in (*train, *validation, *test)])
    with on_threads(1):
        vectors = _read(teacher, words)
        places = torch.tensor(answers[: len(train)])
        queries = _first_stage([sample.captions[0] for sample in train], vectors[places], options.first, seed)
    known = places.unique()
    own = torch.searchsorted(known, places)
    mined = mine(queries, vectors[known], own, known, rule, seed)
    kept = [sample for sample, each in zip(train, mined.kept.tolist(), strict=True) if each]
    samples = [
        dataclasses.replace(sample, extra={**sample.extra, "passages": (_english(sample), *(words[i] for i in rows))})
        for sample, rows in zip(kept, known[mined.rows].tolist(), strict=True)
    ]
    note = f"{mined.doubtful} doubtful entries are left out"
    measures = {name: _measure(name, words, vectors, options.gallery) for name in TASK.metrics}
    sources = (_source(samples, note), _source(validation), _source(test))
    return TrainingTask(*sources, _no_encoder, options.batch_size, measures=measures)


def _no_encoder(number: int) -> DualEncoder:
    """No arm is built on one."""
    return zoo.load("tiny", seed=number)


def _source(samples: Sequence[Sample], *notes: str) -> Source:
    return Source("tongues", Path(), "text", "dictionaries", tuple(samples), notes=notes)


def _parts(options: Options, seed: int) -> list[list[Sample]]:
    """Entries to train on, to tune on and to report on, of all languages; a headword is in one part alone."""
    counts = (options.entries, options.held, options.held)
    found: list[list[Sample]] = [[], [], []]
    for language in options.languages:
        entries = {
            word.casefold(): senses[0]
            for word, senses in reversed(tongues.translations(language))
            if len(word.split()) <= _LONG
        }
        shares = [count // len(options.languages) for count in counts]
        if len(entries) < sum(shares):
            raise DeixisError(
                f"The dictionary of {language!r} has {len(entries)} entries, and {sum(shares)} are requested.",
                "Request fewer.",
            )
        names = sorted(entries)
        order = np.random.Generator(np.random.PCG64((seed, 17))).permutation(len(names))
        start = 0
        for part, share in zip(found, shares, strict=True):
            for place in order[start : start + share]:
                word = names[place]
                extra = {"english": entries[word], "task": language}
                part.append(Sample(f"{language}/{word}", None, (word,), extra=extra))
            start += share
    return found


def _english(sample: Sample) -> str:
    return str(sample.extra["english"])


def _read(encoder: TextEncoder, texts: Sequence[str]) -> Float[Tensor, "N D"]:
    """Vectors of length 1."""
    assert isinstance(encoder, nn.Module)

    def read(some: Sequence[str]) -> Tensor:
        tokens = encoder.tokenizer(list(some), encoder.context_length)
        return F.normalize(encoder(tokens.ids, tokens.mask), dim=-1)

    with eval_without_grad(encoder):
        return read_texts(read, texts)


def _first_stage(words: Sequence[str], vectors: Float[Tensor, "N D"], steps: int, seed: int) -> Float[Tensor, "N D"]:
    """What a tower says of words after it learned from them with negatives of the batch alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower, how = NgramText(vectors.shape[1]).train(), Ranking(_TEMPERATURE, negatives="in-batch")
        optimiser = torch.optim.AdamW(tower.parameters(), lr=_RATE)
        for _ in range(steps):
            rows = torch.randint(len(words), (min(_BLOCK, len(words)),))
            tokens = tower.tokenizer([words[row] for row in rows.tolist()], tower.context_length)
            loss = ranking_loss(tower(tokens.ids, tokens.mask), vectors[rows][:, None], how)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return _read(tower.eval(), words)


def _measure(
    name: str, words: Sequence[str], vectors: Float[Tensor, "N D"], gallery: int
) -> Callable[[AnyMethod, Source], Float[Tensor, " Q"]]:
    """Whether each query finds its English: by whole vectors, by their first 64 numbers, or by 64 directions."""
    place = {word: number for number, word in enumerate(words)}

    def measured(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
        own = list(dict.fromkeys(place[_english(sample)] for sample in source.samples))
        others = [number for number in range(len(words)) if number not in set(own)]
        there = torch.tensor([*own, *others[: max(0, gallery - len(own))]])
        queries, english = _reduced(name, _queries(method, source), vectors[there])
        wanted = torch.tensor([own.index(place[_english(sample)]) for sample in source.samples])
        return recall_at(_ranks(queries @ english.T, wanted), 1)

    return measured


def _queries(method: AnyMethod, source: Source) -> Float[Tensor, "Q D"]:
    texts = tokenized(method, [sample.captions[0] for sample in source.samples])
    with eval_without_grad(method):
        if not offers(method, OffersEncodeText):
            raise DeixisError("The method gives no vectors of texts.", "Take one that offers encode_text.")
        return torch.cat([method.encode_text(*each) for each in texts]).float()


def _ranks(scores: Float[Tensor, "Q G"], wanted: Tensor) -> Tensor:
    right = F.one_hot(wanted, scores.shape[1]).bool()
    return ranks_of_scores(scores, right)


def _reduced(name: str, queries: Tensor, english: Tensor) -> tuple[Tensor, Tensor]:
    if name == "recall_at_1":
        return queries, english
    if name == "recall_at_1_cut":
        return F.normalize(queries[:, :_CUT], dim=1), F.normalize(english[:, :_CUT], dim=1)
    directions = torch.linalg.svd(english.double(), full_matrices=False)[2][:_CUT].T.float()
    return F.normalize(queries @ directions, dim=1), F.normalize(english @ directions, dim=1)
