"""The task `told`: texts without pictures, what is cached, and measures of what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from deixis.engine.claims.claim_tasks import make_task
from deixis.engine.claims.tasks import told
from deixis.errors import DeixisError
from deixis.types import Source
from tests.capable import Answerer, Captioner

SMALL = {"count": 6, "encoder_scenes": 4, "encoder_pairs": 64, "language_texts": 4, "held": 3, "pairs": 2}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path))


def task(**options: Any) -> Any:
    return make_task("told", {**SMALL, "batch_size": 2, **options}, 0)


def test_texts_come_without_pictures_and_questions_one_by_one() -> None:
    texts, asked = task().train.samples, task(learn="questions", text="long").train.samples
    assert all(each.image is None and len(each.captions) == 1 for each in texts)
    assert len(texts) == 6 < len(asked)
    assert {"question", "answer"} <= set(asked[0].extra)
    pictures = task(learn="pictures").train.samples
    assert [each.captions for each in pictures] == [each.captions for each in texts]
    assert all(each.image is not None for each in pictures)


def test_a_share_of_the_texts_is_left_and_made_up_names_are_said() -> None:
    assert len(task(share=0.5).train.samples) == 3
    named = task(named=1.0).train.samples
    assert all("It is called " in each.captions[0] for each in named)
    with pytest.raises(DeixisError, match="shares"):
        task(share=0.0)


def test_a_share_of_the_questions_about_the_pictures_is_a_source_of_its_own() -> None:
    every, some = (task(learn="pictures", asked=share).sources["questions"].samples for share in (1.0, 0.25))
    assert [each.id for each in some] == [each.id for each in every[: len(some)]]
    assert len(some) == round(len(every) / 4)
    assert all(each.image is not None and each.extra["question"] and len(each.captions) == 1 for each in every)
    assert "questions" not in task(learn="pictures").sources


def test_what_is_said_is_measured_scene_by_scene() -> None:
    source: Source = task().test
    teller: Any = Captioner()
    teller.caption = lambda images: [each.captions[0] for each in source.samples]
    measures = told._MEASURES
    assert measures["facts"](Captioner(), source).tolist() == [0.0] * 3
    assert measures["true_nouns"](teller, source).tolist() == [1.0] * 3
    assert measures["well_formed"](teller, source).tolist() == [1.0] * 3
    answers = measures["answers"](Answerer(), source)
    assert len(answers) == sum(len(each.questions) for each in source.samples)
    with pytest.raises(DeixisError, match="describes no pictures"):
        measures["facts"](Answerer(), source)


@pytest.mark.slow
def test_encoder_and_language_model_of_a_seed_are_learned_once() -> None:
    made = task()
    first, again = made.encoder(0), task().encoder(7)
    assert first.fingerprint() == again.fingerprint()
    lm, other = made.parts["lm"](0), task().parts["lm"](7)
    assert all(
        torch.equal(one, two) for one, two in zip(lm.state_dict().values(), other.state_dict().values(), strict=True)
    )
