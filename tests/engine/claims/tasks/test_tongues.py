"""The task of claims about text towers: entries with negatives, parts that share no headword, and what counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deixis.data.datasets import tongues
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.tasks import tongues as task_of
from deixis.engine.training.build import build
from deixis.errors import DeixisError

SMALL = {"entries": 40, "held": 10, "gallery": 30, "teacher": "tiny", "first": 2, "nearest": 2, "farthest": 12}


@pytest.fixture(scope="module")
def task() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tongues, "translations", lambda language: entries(language))
        yield task_of.make(task_of.Options(**SMALL, languages=("de", "nl"), negatives=3), 0)  # type: ignore[arg-type]


def entries(language: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(f"{language}wort{number}", (f"word {number}", "thing")) for number in range(50)]


def test_each_entry_has_its_english_and_negatives_that_say_something_else(task: TrainingTask) -> None:
    doubtful = int(task.train.notes[0].split()[0])
    assert len(task.train.samples) == 40 - doubtful > 4
    for sample in task.train.samples:
        answer, *negatives = sample.extra["passages"]
        assert answer == sample.extra["english"]
        assert len(set(negatives) - {answer}) == 3
    parts = [{sample.captions[0] for sample in part.samples} for part in (task.train, task.validation, task.test)]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert {sample.extra["task"] for sample in task.test.samples} == {"de", "nl"}
    assert "doubtful entries are left out" in task.train.notes[0]


def test_a_tower_that_reads_the_english_finds_it_and_one_that_knows_nothing_hardly(task: TrainingTask) -> None:
    method: Any = build("kalm", "tiny", {"encoder": "tiny", "teacher": "tiny"})
    by_chance = float(task.measures["recall_at_1"](method, task.test).mean())
    english = {sample.captions[0]: sample.extra["english"] for sample in task.test.samples}

    def read(tokens: Tensor, mask: Tensor) -> Tensor:
        word = "".join(method.encoder.tokenizer.pieces(tokens[0][mask[0]].tolist()))
        text = next(value for key, value in english.items() if key in word)
        ids, real = method.encoder.tokenizer([text], 64)
        return method.teacher(ids, real)

    method.encode_text = read
    assert float(task.measures["recall_at_1"](method, task.test).mean()) > 0.9
    assert by_chance < 0.5
    assert task.measures["recall_at_1_cut"](method, task.test).shape == (10,)
    assert task.measures["recall_at_1_pca"](method, task.test).shape == (10,)


def test_more_entries_than_a_dictionary_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tongues, "translations", entries)
    with pytest.raises(DeixisError, match="has 50 entries, and 60 are requested"):
        task_of.make(task_of.Options(**SMALL), 0)  # type: ignore[arg-type]


def test_the_loss_of_a_batch_of_the_task_is_finite(task: TrainingTask) -> None:
    from deixis.engine.training.batching import collate_for
    from deixis.types import Progress
    from deixis.types.batch import concatenate

    method: Any = build("kalm", "tiny", {"group": 4, "mix_pairs": True, "mix_list": True, "pairs": 0.0})
    encode: Any = collate_for(method, task.train)
    batch = concatenate([encode(sample) for sample in task.train.samples[:6]])
    assert torch.isfinite(method(batch, Progress(stage="hard")).total)
