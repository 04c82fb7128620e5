"""`deixis eval --protocol saliency`: tables, charts and rows of one measurement, or nothing at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deixis.apps.eval.evaluate import evaluate
from deixis.apps.eval.settings import EvalSettings
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.errors import DeixisError
from deixis.types import Sample, Source

SHAPES = SceneConfig(cast="shapes", unseen="nothing", objects=(2, 2), repeats=1, phrases=0, questions=0)
SETTINGS = EvalSettings(protocol=("saliency",), model=("tiny",), methods=("norm_grad",), limit=3)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eval") / "run"
    evaluate(scenes(0, 3, side=48, config=SHAPES), folder, SETTINGS, quiet=True)
    return folder


@pytest.mark.slow
def test_the_folder_holds_the_table_in_each_form_and_the_pictures(out: Path) -> None:
    names = sorted(path.name for path in out.iterdir())
    assert names == ["plot-maps.png", "plot.png", "result.json", "rows.jsonl", "table.html", "table.txt"]
    for name in ("plot.png", "plot-maps.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 100


@pytest.mark.slow
def test_each_row_is_told_in_the_result_the_rows_and_the_page(out: Path) -> None:
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    page = (out / "table.html").read_text()
    assert result["rows"] == rows
    assert [row["method"] for row in rows] == ["centre", "edges", "random", *["norm_grad"] * 3, "norm_grad + step"]
    assert result["pictures"] == 3
    assert result["questions"] == 6
    for row in rows:
        assert row["method"] in page
        value, low, high = (row["metrics"]["pointing"][key] for key in ("value", "low", "high"))
        assert low <= value <= high
        assert f"{value:.2f} [{low:.2f}, {high:.2f}]" in page
        assert bool(row["cascade"]) == row["method"].startswith("norm_grad")


def test_data_without_boxes_and_methods_that_are_none_leave_nothing(tmp_path: Path) -> None:
    bare = Source("bare", Path("."), "captions", "made", (Sample("a", None, captions=("a star",)),))
    with pytest.raises(DeixisError, match="with boxes"):
        evaluate(bare, tmp_path / "run", SETTINGS, quiet=True)
    other = EvalSettings(protocol=("saliency",), model=("tiny",), methods=("guess",))
    with pytest.raises(DeixisError, match="no map called 'guess'"):
        evaluate(scenes(0, 2, side=48, config=SHAPES), tmp_path / "run", other, quiet=True)
    assert list(tmp_path.iterdir()) == []
