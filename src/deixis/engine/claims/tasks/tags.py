"""Where claims about vectors of words meet: drawings with tags, one of which is held back and to be found again.

A query is a picture, its tags but one, and what it looks like to the starter; the held-back tag counts as found among
the first five suggestions. The mean is over tags, so that rare ones count as much as common ones. All arms learn from
the same pictures; pictures of one concept are on one side. A curve runs over pictures that are asked about.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis import zoo
from deixis.data import catalogue
from deixis.data.splits import split as divide
from deixis.engine.claims.claim_tasks import CurveResult, require_least
from deixis.engine.claims.tasks.few_shot import bench_of
from deixis.engine.fewshot.recipe import fingerprint
from deixis.engine.tag_suggestions import TaggedPictures, TagSuggester, hold_back, is_in
from deixis.errors import DeixisError
from deixis.nn.compute import on_threads
from deixis.nn.dual import DualEncoder
from deixis.types.cards import TaskCard

__all__ = ["TASK", "Options", "TagsTask", "make"]

TASK = TaskCard(
    title="Drawings with tags, one of which is held back: found again among the first five",
    metrics=(
        *("joint", "company", "looks", "nearest", "cooccurrence", "image", "image_looks", "image_ridge"),
        *("unseen_joint", "unseen_company", "unseen_looks", "unseen_nearest"),
    ),
    axis="pictures asked about",
    passes=("deixis.zoo.starter", "deixis.engine.tag_suggestions", "deixis.data.splits"),
)

_FIRST, _POINTS, _LEAST_PICTURES = 5, 4, 8
_UNSEEN, _RIDGE = "unseen_", "image_ridge"
_PENALTY = 1.0


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `tags`.

    Attributes:
        sets: with tags, in the cache; their pictures and tags are put together.
        least: pictures that a tag must have.
        model: the frozen encoder.
        train: share of the pictures to learn from; of the others one half chooses, one reports.
    """

    sets: tuple[str, ...] = ("clipart", "emoji")
    least: int = 5
    model: str = "starter"
    train: float = 0.6


class _Queries(NamedTuple):
    """Pictures that have two tags or more."""

    tags: Int64[Tensor, "M T"]
    features: Float[Tensor, "M F"]
    wanted: Int64[Tensor, " M"]

    def take(self, chosen: Tensor) -> _Queries:
        return _Queries(*(each[chosen] for each in self))


@dataclasses.dataclass(frozen=True)
class TagsTask:
    """Pictures to learn from and to be asked about.

    Attributes:
        encoder: whose features say what pictures look like.
        words: how many tags there are.
        learned: the pictures that all arms learn from.
        held: part -> what is asked.
        seed: of the arms.
    """

    encoder: DualEncoder
    words: int
    learned: TaggedPictures
    held: Mapping[str, _Queries]
    seed: int

    def curve(
        self, method: str, settings: Mapping[str, Any], metric: str, split: Literal["validation", "test"], budget: int
    ) -> CurveResult:
        """Pictures asked about and the mean of the metric over the tags of these; and the seconds that it took.

        Args:
            method: by name, which learns vectors of words by their company and looks.
            settings: that differ from its `desk` preset.
            metric: one of the task's.
            split: of the pictures.
            budget: pictures that are asked about; at least eight.

        Raises:
            DeixisError: there is no such metric, or no tag that was not seen beside the others.
        """
        if metric not in TASK.metrics:
            raise DeixisError(f"There is no metric {metric!r}.", f"There are: {', '.join(TASK.metrics)}.")
        start, queries = time.process_time(), self._asked(metric, split, budget)
        found = (
            self._scores(method, settings, metric, queries).topk(_FIRST, dim=1).indices == queries.wanted[:, None]
        ).any(1)
        seconds = time.process_time() - start
        counts = sorted({max(1, len(found) * step // _POINTS) for step in range(1, _POINTS + 1)})
        points = tuple((float(count), float(_by_tag(found[:count], queries.wanted[:count]).mean())) for count in counts)
        values = tuple(_by_tag(found, queries.wanted).tolist())
        part = fingerprint([queries.wanted.tolist(), queries.tags.tolist()])
        return CurveResult(points, seconds, values, _FIRST / self.words, part)

    def longest(self, method: str, settings: Mapping[str, Any], metric: str, budget: int) -> float:
        """Seconds that a curve takes: learning takes nearly all."""
        start = time.process_time()
        self.curve(method, settings, metric, "validation", _LEAST_PICTURES)
        return 1.5 * (time.process_time() - start)

    def _asked(self, metric: str, split: str, budget: int) -> _Queries:
        queries = self.held[split]
        if metric.startswith(_UNSEEN):
            queries = queries.take(self._unseen(queries))
        if not len(queries.wanted):
            raise DeixisError(
                "Every tag was seen beside the others of its picture.", "Take fewer pictures to learn from."
            )
        return queries.take(torch.arange(min(len(queries.wanted), max(budget, _LEAST_PICTURES))))

    def _unseen(self, queries: _Queries) -> Bool[Tensor, " M"]:
        """Where the held-back tag never stands beside any that is left."""
        known = is_in(self.learned.tags, self.words)
        beside = is_in(queries.tags, self.words) @ (known.T @ known)
        return beside.gather(1, queries.wanted[:, None])[:, 0] == 0

    def _scores(self, method: str, settings: Mapping[str, Any], metric: str, queries: _Queries) -> Float[Tensor, "M V"]:
        if metric == _RIDGE:
            return self._ridge(queries.features)
        with on_threads(1):
            suggester = TagSuggester(method, self.encoder, self.words, self.learned, {"seed": self.seed, **settings})
        if not metric.startswith("image"):
            return suggester.scores(metric.removeprefix(_UNSEEN), queries.tags, queries.features)
        none = torch.full_like(queries.tags[:, :1], -1)  # nothing is known of the picture but what it looks like
        return suggester.scores("looks" if metric == "image_looks" else "image", none, queries.features)

    def _ridge(self, features: Float[Tensor, "M F"]) -> Float[Tensor, "M V"]:
        """Linear regression of tags on looks, with the penalty of a unit vector."""
        known, wanted = (
            F.normalize(self.learned.features, dim=1).double(),
            is_in(self.learned.tags, self.words).double(),
        )
        mean, target = known.mean(0), wanted.mean(0)
        known = known - mean
        gram = known.T @ known + _PENALTY * torch.eye(known.shape[1], dtype=torch.float64)
        weight = torch.linalg.solve(gram, known.T @ (wanted - target))
        return ((F.normalize(features, dim=1).double() - mean) @ weight + target).float()


def make(options: Options, seed: int) -> TagsTask:
    """Makes the task; the features of the pictures take minutes once, and are then in the store.

    Args:
        options: see `Options`.
        seed: of which pictures are where, of the tags that are held back, and of the arms.

    Raises:
        DeixisError: a value is out of range, or a set or the starter is not in the cache.
    """
    require_least(options, least=2)
    encoder, tags, features, groups = _pictures(options)
    parts = divide(groups, seed, options.train)
    halves = divide([groups[place] for place in parts.test], seed, 0.5, minimum=2)
    places = {"validation": halves.train, "test": halves.test}
    left, taken = hold_back(tags, seed)
    held = {}
    for name, chosen in places.items():
        rows = torch.tensor([parts.test[place] for place in chosen])
        rows = rows[taken[rows] >= 0]
        rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
        held[name] = _Queries(left[rows], features[rows], taken[rows])
    learned = torch.tensor(parts.train)
    return TagsTask(encoder, int(tags.max()) + 1, TaggedPictures(tags[learned], features[learned]), held, seed)


@functools.lru_cache(maxsize=1)
def _pictures(options: Options) -> tuple[DualEncoder, Int64[Tensor, "N T"], Float[Tensor, "N F"], tuple[int, ...]]:
    """Tags as numbers, the commonest first, features, and which pictures belong together, of all sets."""
    encoder: DualEncoder = zoo.load(options.model)
    rows, features, groups = list[list[str]](), list[Tensor](), list[int]()
    for name in options.sets:
        source = catalogue.read(name)
        bench = bench_of(encoder, source)
        start = max(groups, default=-1) + 1
        groups += [start + group for group in bench.data.groups]
        rows += [sorted({str(tag).lower() for tag in sample.extra.get("tags", ())}) for sample in source.samples]
        features.append(bench.features)
    counts = collections.Counter(itertools.chain.from_iterable(rows))
    words = sorted(
        (word for word, count in counts.items() if count >= options.least), key=lambda word: (-counts[word], word)
    )
    numbers = {word: number for number, word in enumerate(words)}
    known = [[numbers[word] for word in row if word in numbers] for row in rows]
    width = max(map(len, known))
    return encoder, torch.tensor([row + [-1] * (width - len(row)) for row in known]), torch.cat(features), tuple(groups)


def _by_tag(found: Bool[Tensor, " M"], wanted: Int64[Tensor, " M"]) -> Float[Tensor, " W"]:
    """How often each tag was found that was held back at all."""
    names, own = wanted.unique(return_inverse=True)
    sums = torch.zeros(len(names)).index_add_(0, own, found.float())
    return sums / torch.bincount(own, minlength=len(names))
