"""Recall before and after the first images of a caption are scored again as pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deixis.engine.evaluation.data import EvalData
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.output import Column
from deixis.engine.evaluation.protocols import pair_retrieval
from deixis.engine.evaluation.protocols.pair_retrieval import RerankedModel
from deixis.engine.evaluation.selection import require_capabilities
from deixis.errors import DeixisError
from deixis.zoo.tiny import load as tiny
from tests.commands import deixis
from tests.engine.evaluation.test_protocols import data_of, run, sample


class Numbers:
    """Knows which picture a caption means: the one whose number it says. Or says the same of all."""

    def __init__(self, method: Any) -> None:
        self.knows = method

    def match(self, pictures: list[Any], texts: list[str]) -> Tensor:
        return torch.tensor(
            [float(self.knows and text == f"other {each.number}") for each, text in zip(pictures, texts, strict=True)]
        )


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvalData:
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path))
    monkeypatch.setattr(pair_retrieval, "RegionPairs", Numbers)
    return data_of([sample(i, captions=(f"other {i}",)) for i in range(12)])


def test_a_model_that_knows_all_pairs_finds_each_picture_first_and_one_that_knows_nothing_none(
    pictures: EvalData,
) -> None:
    plain = run("retrieval", EvalModel("tiny", tiny()), pictures).arms[""]
    for knows in (True, False):
        found = run("pair-retrieval", RerankedModel("tiny", tiny(), "pairs", knows), pictures).arms[""]
        for k in (1, 5, 10):
            before = found[Column(f"before_r{k}")].values
            assert (before == plain[Column(f"text_to_image_r{k}")].values).all()
        assert found[Column("after_r1")].values.mean() == float(knows)
        assert (found[Column("seconds")].values >= 0).all()


def test_a_picture_behind_those_that_are_scored_again_stays_where_it_is(
    pictures: EvalData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_retrieval, "FIRST", 3)
    found = run("pair-retrieval", RerankedModel("tiny", tiny(), "pairs", True), pictures).arms[""]
    plain = run("retrieval", EvalModel("tiny", tiny()), pictures).arms[""]
    inside = plain[Column("text_to_image_mrr")].values >= 1 / 3
    assert (found[Column("after_r1")].values == inside).all()


def test_without_a_run_that_scores_pairs_it_is_refused_before_any_data_is_read(tmp_path: Path) -> None:
    done = deixis("eval", tmp_path, "--protocol", "pair-retrieval")
    assert done.code == 2
    assert "--rerank RUN" in done.err
    with pytest.raises(DeixisError, match="match"):
        require_capabilities("pair-retrieval", [EvalModel("tiny", tiny())])
