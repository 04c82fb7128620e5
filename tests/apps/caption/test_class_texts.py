"""`deixis caption --classes` writes what classes are, and drops a text of which another class is nearer."""

from __future__ import annotations

from pathlib import Path

import pytest

from deixis import zoo
from deixis.apps.caption.class_texts import nearest_to_own
from deixis.apps.caption.command import run
from deixis.apps.caption.settings import CaptionSettings
from deixis.apps.common.options import Reading
from deixis.apps.predict.settings import PredictOutput
from deixis.data.knowledge.texts import read_texts
from deixis.errors import DeixisError
from tests.commands import own_cache
from tests.pictures import labelled


def write(data: Path, out: Path, by: str, **more: bool) -> None:
    settings = CaptionSettings(model="tiny", classes=True, by=by)
    run(str(data), settings, PredictOutput(str(out), quiet=True), Reading(), **more)


def test_texts_stay_that_are_nearest_to_their_own_class_and_the_others_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with own_cache(tmp_path / "cache"):
        data, out = labelled(tmp_path / "pictures", 6), tmp_path / "texts.csv"
        red, green = "qqqqqqqqqqqqqq", "ooo ooooo oooo"
        given = tmp_path / "given.csv"
        given.write_text(f"class,text\n{red},a photo of a {red}.\n{green},a photo of a {red}!\n")
        settings = CaptionSettings(model="tiny", classes=True, by=str(given))
        run(str(data), settings, PredictOutput(str(out)), Reading())
        assert read_texts(out) == {red: (f"a photo of a {red}.",)}
        said = " ".join(capsys.readouterr().out.split())
        assert "1 text of 1 of 6 classes" in said
        assert "1 text dropped, of which another class is nearer" in said
        with pytest.raises(DeixisError, match="already"):
            write(data, out, str(given))


def test_templates_are_nearest_to_the_names_that_they_are_made_of() -> None:
    names = ("heron", "ice cream")
    pairs = [(name, f"a photo of a {name}.") for name in names]
    assert nearest_to_own(zoo.load("tiny"), names, [*pairs, ("heron", "a photo of a ice cream.")]) == pairs


def test_what_is_no_csv_and_a_language_model_that_is_not_there_are_refused(tmp_path: Path) -> None:
    data = labelled(tmp_path / "pictures", 6)
    with pytest.raises(DeixisError, match="no csv, and texts of classes go into one"):
        write(data, tmp_path / "texts.txt", "templates")
    with pytest.raises(DeixisError, match="different files"):
        write(data, tmp_path / "texts.csv", "templates", sentences=True)
    with pytest.raises(DeixisError, match="come with a language model, and there is none"):
        write(data, tmp_path / "texts.csv", "lm")
