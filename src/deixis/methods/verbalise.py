"""Saliency Map Verbalization: the words that hold most of a score, in a sentence.

Of the words whose score is not 0, divided by the largest, sets are candidates that a window covers: with gaps (two or
more of its places), or without (centred runs), wherever the mean of what is covered is above a threshold. The sets and
the single words that hold most of the positive score are united, and neighbours become runs; those in the upper
quartile go into the sentence, the first as the most important (arXiv 2210.07222, section 3.1).

It reads no image and trains nothing: words and their scores are what another method gives.

What differs from the paper and its code, or is our reading of it:
* The released `coverage` leaves out the last word of a set, so that a single word always holds 0, and measures sets
  with gaps over their whole range; here it is the sum over the set, as the paper defines it.
* The released windows stop one place early, so that no window reaches the last word; here they do.
* Equal coverages share a rank there and overwrite each other; here the earlier run comes first.
* Windows of three words have no sets with gaps: on short texts only runs and single words are candidates.
* `form="sentence"` names the score in place of the prediction, and says what part of it a run holds, negative scores
  being counted by their magnitude: ours.
* A language model that phrases the reason (the paper's GPT-3.5) is not part of it: `verbalise` takes one, and gives it
  the prompt of `instruction`, in our words, behind an example. What it answers is read by `is_faithful`, ours; an
  answer that does not pass gives way to the sentence of the search.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis.ops.text.quotations import places_of, quotations
from deixis.types import Arm, Card, Claim

__all__ = [
    "CARD",
    "CLAIMS",
    "Config",
    "Method",
    "Run",
    "candidates",
    "coverage",
    "coverage_at",
    "instruction",
    "is_faithful",
    "limit_of",
    "merged",
    "phrase",
    "salient_runs",
    "salient_words",
    "scaled",
    "strongest",
    "window_masks",
]

CARD = Card(
    title="Saliency Map Verbalization: Comparing Feature Importance Representations from Model-free and "
    "Instruction-based Methods",
    year=2022,
    kind="training-free",
    capabilities=("verbalise",),
    venue="NLRSE at ACL",
    arxiv="2210.07222",
    code="DFKI-NLP/SMV",
    tags=("explanation", "text", "saliency"),
)

_QUARTILE = 0.75
_TASK, _LABEL = "model that compares texts with pictures", "match"
_EXAMPLE = (("an", "old", "boat", "at", "sea"), (0.02, 0.17, 0.52, 0.04, 0.25))
_EXAMPLE_ANSWER = 'The word "boat" (0.52) was most important, then "sea" (0.25).'
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(\s?%)?")
_LONGEST, _REPEATED, _TIMES = 60, 3, 3
"""Words of a brief answer; as many words as often are a loop."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the search and of the sentence.

    Attributes:
        length: words that a window covers; odd.
        metric: of the threshold: the mean of the largest scores, `value` being the share of them; or `value` times
            their standard deviation (`quantile`), or variance.
        value: see `metric`.
        sign: `+`: no score in a set may be negative; `none`: any may.
        top: sets of each kind, by their coverage, whose words are salient.
        search: `all`: the words of all three kinds of sets; `compare`: those that windows with gaps and without both
            find; `total`: the single words that hold most.
        form: `paper`: as published; `sentence`: of the score, with shares and full stops.
    """

    length: int = 5
    metric: Literal["mean", "quantile", "variance"] = "mean"
    value: float = 0.4
    sign: Literal["+", "none"] = "+"
    top: int = 5
    search: Literal["all", "compare", "total"] = "all"
    form: Literal["paper", "sentence"] = "paper"

    @classmethod
    def tiny(cls) -> Config:
        """For tests."""
        return cls()

    @classmethod
    def desk(cls) -> Config:
        """For captions and queries: the single words that hold most, which short texts leave room for."""
        return cls(search="total", top=2, form="sentence")

    @classmethod
    def paper(cls) -> Config:
        """As published."""
        return cls()


class Run(NamedTuple):
    """Neighbouring words of a text that are salient, the last one included."""

    first: int
    last: int
    coverage: float


def scaled(scores: Float[Tensor, " N"]) -> Float[Tensor, " K"]:
    """The scores that are not 0, divided by the magnitude of the largest (not by the largest magnitude)."""
    kept = scores[scores != 0]
    return kept / kept.max().abs() if len(kept) else kept


def limit_of(scores: Float[Tensor, " N"], metric: str, value: float) -> float:
    """What the mean of a set must exceed, see `Config.metric`; the largest score counts where `value` leaves none."""
    if metric == "mean":
        return float(scores.topk(max(1, int(len(scores) * value))).values.mean())
    deviation = scores.var(correction=0)
    return value * float(deviation.sqrt() if metric == "quantile" else deviation)


def window_masks(length: int) -> tuple[Bool[Tensor, "M L"], Bool[Tensor, "P L"]]:
    """Which places of a window a set takes: 2 to `length` - 2 of them, in any arrangement; and centred runs.

    Args:
        length: of the window, odd, at least 3.
    """
    rows = [
        tuple(place in chosen for place in range(length))
        for count in range(2, length - 1)
        for chosen in sorted(itertools.combinations(range(length), count), reverse=True)
    ]
    spans = [tuple(abs(place - length // 2) <= half for place in range(length)) for half in range(1, length // 2 + 1)]
    gaps = torch.tensor(rows, dtype=torch.bool).reshape(-1, length)
    return gaps, torch.tensor(spans, dtype=torch.bool).reshape(-1, length)


def candidates(scores: Float[Tensor, " N"], masks: Bool[Tensor, "M L"], limit: float, sign: str) -> Bool[Tensor, "G N"]:
    """The sets of words that a mask at some place covers, and whose mean score is above the limit.

    Args:
        scores: of the words.
        masks: see `window_masks`.
        limit: that the mean exceeds.
        sign: see `Config.sign`.

    Returns:
        Each set once, in the order of their lists of words.
    """
    words, length = len(scores), masks.shape[1]
    if words < length or not len(masks):
        return torch.zeros(0, words, dtype=torch.bool)
    windows = scores.unfold(0, length, 1)
    means = (windows @ masks.to(scores).T) / masks.sum(1)
    fits = means > limit
    if sign == "+":
        fits &= ~((windows < 0)[:, None] & masks).any(2)
    found = {tuple((masks[mask].nonzero()[:, 0] + start).tolist()) for start, mask in fits.nonzero().tolist()}
    sets = torch.zeros(len(found), words, dtype=torch.bool)
    for row, chosen in zip(sets, sorted(found), strict=True):
        row[list(chosen)] = True
    return sets


def coverage(sets: Bool[Tensor, "G N"], scores: Float[Tensor, " N"]) -> Float[Tensor, " G"]:
    """What part of the positive score each set holds; 0 where it holds none, or there is none."""
    positive = scores.clamp(min=0).sum()
    return (sets.to(scores) @ scores).clamp(min=0) / positive.clamp(min=torch.finfo(scores.dtype).tiny)


def strongest(sets: Bool[Tensor, "G N"], scores: Float[Tensor, " N"], top: int) -> Int64[Tensor, " K"]:
    """The numbers of the sets that hold most, the earlier of equal ones first."""
    return coverage(sets, scores).argsort(descending=True, stable=True)[:top]


def salient_words(scores: Float[Tensor, " N"], config: Config) -> Bool[Tensor, " N"]:
    """Which words belong to one of the strongest sets.

    Args:
        scores: see `scaled`.
        config: search, threshold and number of sets.
    """
    single = torch.eye(len(scores), dtype=torch.bool)
    alone = single[strongest(single, scores, config.top)].any(0)
    if config.search == "total":
        return alone & (scores > 0)
    limit = limit_of(scores, config.metric, config.value)
    found = []
    for masks in window_masks(config.length):
        sets = candidates(scores, masks, limit, config.sign)
        found.append(sets[strongest(sets, scores, config.top)].any(0))
    return found[0] & found[1] if config.search == "compare" else found[0] | found[1] | alone


def merged(chosen: Bool[Tensor, " N"]) -> list[tuple[int, int]]:
    """First and last of each run of neighbours that are chosen."""
    runs: list[tuple[int, int]] = []
    for place in chosen.nonzero()[:, 0].tolist():
        if runs and runs[-1][1] == place - 1:
            runs[-1] = (runs[-1][0], place)
        else:
            runs.append((place, place))
    return runs


def salient_runs(scores: Float[Tensor, " N"], config: Config) -> list[Run]:
    """The runs of words that go into the sentence, that which holds most first.

    Args:
        scores: see `scaled`.
        config: search, threshold and number of sets.

    Returns:
        Those whose coverage reaches the upper quartile of all runs; with `total` all of them.
    """
    if not len(scores):
        return []
    ends = merged(salient_words(scores, config))
    sets = torch.zeros(len(ends), len(scores), dtype=torch.bool)
    for row, (first, last) in zip(sets, ends, strict=True):
        row[first : last + 1] = True
    held = coverage(sets, scores)
    least = held.quantile(_QUARTILE) if len(ends) and config.search != "total" else held.new_zeros(())
    order = held.argsort(descending=True, stable=True).tolist()
    return [Run(ends[each][0], ends[each][1], float(held[each])) for each in order if held[each] >= least]


def coverage_at(scores: Float[Tensor, " N"], runs: Sequence[Run], count: int) -> float:
    """What part of the positive score those of the `count` largest words hold that a sentence quotes.

    Args:
        scores: see `scaled`.
        runs: see `salient_runs`.
        count: words.
    """
    quoted = torch.zeros(len(scores), dtype=torch.bool)
    for run in runs:
        quoted[run.first : run.last + 1] = True
    largest = torch.zeros_like(quoted)
    largest[scores.argsort(descending=True, stable=True)[:count]] = True
    return float(coverage((quoted & largest & (scores > 0))[None], scores))


def phrase(words: Sequence[str], rank: int, of: str = "prediction") -> str:
    """What is said of a run of words.

    Args:
        words: of the run.
        rank: 0: it holds most.
        of: what the words are important for.
    """
    text = " ".join(words)
    kind = "word" if len(words) == 1 else "span" if "." in text else "phrase"
    return f"The {kind} » {text} « " + ("is also salient" if rank else f"is most important for the {of}")


def instruction(
    words: Sequence[str],
    scores: Float[Tensor, " N"],
    label: str,
    task: str,
    wanted: Literal["explanation", "words"] = "explanation",
) -> str:
    """The prompt for a language model: the text, a score behind each word, and what is asked for.

    Args:
        words: of the text.
        scores: one a word.
        label: that was predicted.
        task: kind of the model, such as `sentiment classifier`.
        wanted: a brief explanation, or the most important words.
    """
    text = " ".join(f"{word} ({score:.2f})" for word, score in zip(words, scores.tolist(), strict=True))
    asked = {
        "explanation": "Based on these scores, explain briefly why it predicted this label.",
        "words": "Based on these scores, say briefly which words were most important for it.",
    }[wanted]
    return (
        f"{text}\n\nA {task} predicted the label '{label}' for this text. The number in parentheses behind each word "
        "is its importance for that prediction. The numbers were computed after the prediction and are not what it was "
        f"made from. {asked}"
    )


def is_faithful(answer: str, words: Sequence[str], scores: Float[Tensor, " N"]) -> bool:
    """Whether what a language model says of the scores holds. Ours.

    It quotes words of the text, the first of them a word of the largest score; a number behind a quotation is the score
    of these words, to two digits or in whole percent; and it comes to an end, without a loop.

    Args:
        answer: of the model.
        words: of the text.
        scores: one a word.
    """
    said = answer.split()
    if not said or len(said) > _LONGEST or not answer.rstrip().endswith((".", "!", "?")) or _loops(said):
        return False
    quotes = quotations(answer)
    ends = [*(start for start, *_ in quotes[1:]), len(answer)]
    if not quotes or _NUMBER.search(answer[: quotes[0][0]]):
        return False
    largest = float(scores.max())
    for number, ((_, start, run), end) in enumerate(zip(quotes, ends, strict=True)):
        held = [scores[first:last] for first, last in places_of(run, words)]
        if not held or (number == 0 and all(float(each.max()) < largest for each in held)):
            return False
        if not all(_is_of(found, held) for found in _NUMBER.finditer(answer[start:end])):
            return False
    return True


def _loops(said: Sequence[str]) -> bool:
    runs = [tuple(said[place : place + _REPEATED]) for place in range(len(said) - _REPEATED + 1)]
    return any(runs.count(run) >= _TIMES for run in set(runs))


def _is_of(number: re.Match[str], held: Sequence[Float[Tensor, " R"]]) -> bool:
    """Whether a number is the sum of the scores at one of the places, or one of them."""
    scale, slack = (100, 0.5) if number[1] else (1, 0.005)
    value = float(number[0].removesuffix(number[1] or ""))
    scores = [score for each in held for score in (float(each.sum()), *each.tolist())]
    return any(abs(scale * score - value) <= slack + 1e-6 for score in scores)


class Method(nn.Module):
    """Words and their scores -> a sentence.

    Args:
        config: search and form.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def verbalise(
        self,
        words: Sequence[str],
        scores: Float[Tensor, " N"],
        writer: Callable[[Sequence[tuple[str, str]]], str] | None = None,
    ) -> str:
        """A sentence about the words that hold most of the score; empty where no word speaks for it.

        Args:
            words: of the text.
            scores: one a word.
            writer: a language model: it is given a conversation (role and text of each message), and answers. Without
                one, and where `is_faithful` does not pass what it says, the sentence is that of the search.
        """
        if writer is not None and bool((scores > 0).any()):
            answer = " ".join(writer(_conversation(words, scores)).split())
            if is_faithful(answer, words, scores):
                return answer
        return self._searched(words, scores)

    def _searched(self, words: Sequence[str], scores: Float[Tensor, " N"]) -> str:
        kept = [word for word, score in zip(words, scores.tolist(), strict=True) if score]
        runs = salient_runs(scaled(scores), self.config)
        if self.config.form == "paper":
            return " ".join(phrase(kept[run.first : run.last + 1], rank) for rank, run in enumerate(runs))
        held = [float(scaled(scores)[run.first : run.last + 1].sum() / scaled(scores).abs().sum()) for run in runs]
        return " ".join(
            f"{phrase(kept[run.first : run.last + 1], rank, 'score')} ({100 * share:.0f} %)."
            for rank, (run, share) in enumerate(zip(runs, held, strict=True))
        )


def _conversation(words: Sequence[str], scores: Float[Tensor, " N"]) -> list[tuple[str, str]]:
    """An example with its answer, and the question."""
    example = instruction(_EXAMPLE[0], torch.tensor(_EXAMPLE[1]), _LABEL, _TASK, "words")
    question = instruction(words, scores, _LABEL, _TASK, "words")
    return [("user", example), ("assistant", _EXAMPLE_ANSWER), ("user", question)]


_SEARCH = {"search": "all", "top": 5, "form": "paper"}

CLAIMS = (
    Claim(
        "The words that the search quotes hold more of the score than as many first words, and than runs of the same "
        "lengths elsewhere.",
        arms={
            "search": Arm("verbalise", _SEARCH, metric="coverage_at_5"),
            "first words": Arm("verbalise", _SEARCH, metric="first_words"),
            "random runs": Arm("verbalise", _SEARCH, metric="random_runs"),
        },
        metric="coverage_at_5",
        statistic="final",
        minimum_effect=0.05,
        data="reasons",
        budget=100,
        cheap="first words",
    ),
    Claim(
        "The search for single words quotes more of the score than a small language model whose words are taken where "
        "they hold.",
        arms={
            "single words": Arm("verbalise", {}, metric="coverage_at_5"),
            "language model": Arm("verbalise", {}, metric="language_model"),
        },
        metric="coverage_at_5",
        statistic="final",
        minimum_effect=0.05,
        data="reasons",
        budget=12,
        primary=False,
        cheap="language model",
    ),
)
"""As many words with the largest scores (`top_words` of the task) hold most that can be held: a ceiling that is shown,
no rival. The paper's own evidence is what people prefer to read."""
