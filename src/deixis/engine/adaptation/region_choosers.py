"""Methods that are trained to choose among regions, on the divisions in which a ranker of boxes is judged.

Which of several learners a division takes is chosen from the others, by their values on phrases that it does not hold
out, as settings are (`engine.adaptation.select`); so no choice is judged by what it was made on.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from deixis.engine.adaptation.adapt import AdaptationArm, SplitResult
from deixis.engine.adaptation.boxes import answer_values
from deixis.engine.adaptation.evaluate import TEST_STATISTIC
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.grounding import PhraseAnswer, PhraseQuery
from deixis.engine.features.columns import WithColumns
from deixis.engine.training.batching import collate_for
from deixis.engine.training.stages import stages
from deixis.engine.training.train import batches, train
from deixis.types import Batch, Sample
from deixis.types.batch import concatenate

__all__ = ["STEPS", "best_learner", "chooser_arm", "learned", "phrase_batch"]

STEPS, _BATCH = 300, 32


def phrase_batch(method: Any, data: EvalSet, queries: Sequence[PhraseQuery]) -> Batch:
    """All phrases as one batch of a method that chooses among regions; what its parts make of pictures is made once.

    Args:
        method: whose fields are filled.
        data: the pictures.
        queries: phrases about them, with the boxes that they name.
    """
    samples = tuple(
        Sample(
            str(number),
            data.samples[query.picture].image,
            captions=(query.phrase,),
            extra={"targets": tuple(region.box for region in query.regions)},
            regions=data.samples[query.picture].regions,
        )
        for number, query in enumerate(queries)
    )
    source = dataclasses.replace(data.source, samples=samples)
    encode = collate_for(method, source, stages(method)[0])
    if isinstance(encode, WithColumns):
        encode.make(source)
    return concatenate([encode(sample) for sample in samples])


def learned(method: Any, batch: Batch, index: Sequence[int], seed: int, steps: int = STEPS) -> Any:
    """A copy of a method, trained on some phrases.

    Args:
        method: as it was built.
        batch: all phrases.
        index: those to learn from.
        seed: of the order.
        steps: of the optimiser.
    """
    own = copy.deepcopy(method)
    pieces = (piece.to(next(own.parameters()).device) for piece in batches(batch.take(index), _BATCH, seed))
    return train(own, pieces, steps, stage=stages(own)[0], seed=seed).eval()


@torch.no_grad()
def _values(method: Any, batch: Batch, queries: Sequence[PhraseQuery]) -> dict[str, Float[np.ndarray, " N"]]:
    """Of each phrase, see `answer_values`."""
    output = method.ground_batch(batch.to(next(method.parameters()).device), sentence=True)
    rows = zip(output.boxes.float().cpu(), output.scores.float().cpu(), output.valid.cpu(), strict=True)
    answers = [PhraseAnswer(boxes[real], scores[0, real]) for boxes, scores, real in rows]
    return answer_values(answers, queries)


def chooser_arm(
    method: Any,
    data: EvalSet,
    queries: Sequence[PhraseQuery],
    judged: AdaptationArm,
    *,
    seed: int,
    steps: int = STEPS,
    progress: Callable[[int, int], None] | None = None,
) -> AdaptationArm:
    """Values of phrases after learning from the others, in the divisions of an arm that was judged before.

    Args:
        method: as it was built.
        data: the pictures.
        queries: phrases about them.
        judged: gives the divisions, and the values before.
        seed: of the training.
        steps: of the optimiser.
        progress: receives how many divisions are done.
    """
    batch, results = phrase_batch(method, data, queries), list[SplitResult]()
    for each in judged.results:
        held = list(each.queries)
        taught = learned(method, batch, sorted({*range(len(queries))} - {*held}), seed, steps)
        after = _values(taught, batch.take(held), [queries[place] for place in held])
        results.append(dataclasses.replace(each, after=after))
        if progress is not None:
            progress(len(results), len(judged.results))
    return AdaptationArm(tuple(results), judged.groups)


def best_learner(arms: Mapping[str, AdaptationArm]) -> tuple[AdaptationArm, tuple[str, ...], str]:
    """One arm whose divisions each take the learner that is best in the others, which learners these are, and the one
    that is best in all; of equal ones the first.

    Args:
        arms: name of the learner -> its arm; all have the same divisions.
    """
    first = next(iter(arms.values()))
    taken = tuple(
        max(arms, key=lambda name: _score(arms[name], set(each.queries), skip=place))
        for place, each in enumerate(first.results)
    )
    results = tuple(arms[name].results[place] for place, name in enumerate(taken))
    best = max(arms, key=lambda name: _score(arms[name], set()))
    return AdaptationArm(results, first.groups), taken, best


def _score(arm: AdaptationArm, held: set[int], skip: int = -1) -> float:
    """The sum of the test statistic over phrases that are not held out there."""
    total = 0.0
    for place, each in enumerate(arm.results):
        if place != skip:
            some = [number for number, query in enumerate(each.queries) if query not in held]
            total += float(each.after[TEST_STATISTIC][some].sum())
    return total
