"""The sheet of answers: what is right is green, what is wrong red, with what is there in yellow."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from deixis.apps.common.console import Reporter
from deixis.apps.eval.comparison import SHEET, write_page
from deixis.apps.eval.details import write_detail
from deixis.engine.evaluation.grounding import GroundingResult, PhraseAnswer, phrase_queries
from tests.engine.evaluation.test_grounding import PICTURES, data_of


def colours(path: Path) -> tuple[int, int]:
    """How many pixels are clearly green, and how many red."""
    with Image.open(path) as sheet:
        red, green, _ = np.asarray(sheet.convert("RGB")).astype(int).transpose(2, 0, 1)
    return int((green - red > 60).sum()), int((red - green > 60).sum())


def test_right_answers_are_green_and_a_wrong_one_is_red(tmp_path: Path) -> None:
    grey = [dataclasses.replace(each, image=Path(f"{tmp_path}/{each.id}.png")) for each in PICTURES]
    for sample in grey:
        Image.new("RGB", (64, 64), (128, 128, 128)).save(Path(str(sample.image)))
    data = data_of(grey).boxed(phrases=True)
    queries = phrase_queries(data.samples)
    nothing = torch.zeros(0, 4)
    right = [PhraseAnswer(q.boxes, torch.ones(len(q.boxes)), q.boxes if q.regions else nothing) for q in queries]
    assert write_detail(GroundingResult(data, queries, right), tmp_path, Reporter(quiet=True)) is None
    green, red = colours(tmp_path / "answers.jpg")
    assert green > 0
    assert red == 0
    box = torch.tensor([[0.1, 0.1, 0.9, 0.9]])
    wrong = [*right[:-1], PhraseAnswer(box, torch.ones(1), box)]  # of a thing that is not there
    write_detail(GroundingResult(data, queries, wrong), tmp_path, Reporter(quiet=True))
    fewer, some = colours(tmp_path / "answers.jpg")
    assert fewer < green
    assert some > 0


def test_the_page_shows_the_sheets_of_answers_that_lie_beside_it(tmp_path: Path) -> None:
    page = tmp_path / "table.html"
    write_page(tmp_path, "grounding", "", [], [], {})
    assert "<img" not in page.read_text(encoding="utf-8")
    for place in ("", "model-2"):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / SHEET).write_bytes(b"")
    write_page(tmp_path, "grounding", "", [], [], {})
    text = page.read_text(encoding="utf-8")
    assert text.count('alt="Pictures with what was answered') == 2
    for sheet in (SHEET, f"model-2/{SHEET}"):
        assert f'<img src="{sheet}"' in text
    assert "Answers, model-2" in text
