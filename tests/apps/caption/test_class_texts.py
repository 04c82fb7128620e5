"""`deixis caption --classes` writes what classes are, and drops a text of which another class is nearer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from deixis import zoo
from deixis.apps.caption import class_writer
from deixis.apps.caption.class_texts import nearest_to_own
from deixis.apps.caption.class_writer import written_by_model
from deixis.apps.caption.command import run
from deixis.apps.caption.settings import CaptionSettings
from deixis.apps.common.console import Reporter
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


def test_what_is_no_csv_and_two_kinds_of_file_at_once_are_refused(tmp_path: Path) -> None:
    data = labelled(tmp_path / "pictures", 6)
    with pytest.raises(DeixisError, match="no csv, and texts of classes go into one"):
        write(data, tmp_path / "texts.txt", "templates")
    with pytest.raises(DeixisError, match="different files"):
        write(data, tmp_path / "texts.csv", "templates", sentences=True)


def test_a_language_model_is_asked_once_for_each_class_and_what_is_nearer_to_another_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    red, green = "qqqqqqqqqqqqqq", "ooo ooooo oooo"

    def answer(messages: Sequence[tuple[str, str]]) -> str:
        ((role, request),) = messages
        assert role == "user"
        asked.append(request)
        said = {red: f"A photo of a {red}. It is red.", green: f"It is a {red}! Or not"}
        return next((text for name, text in said.items() if name in request), "It never ends and")

    monkeypatch.setattr(class_writer, "_model", lambda: answer)
    with own_cache(tmp_path / "cache"):
        data = labelled(tmp_path / "pictures", 6)
        settings = CaptionSettings(model="tiny", classes=True, by="lm")
        run(str(data), settings, PredictOutput(str(tmp_path / "texts.csv")), Reading())
        assert read_texts(tmp_path / "texts.csv") == {red: (f"A photo of a {red}.",)}
        said = " ".join(" ".join(capsys.readouterr()).split())
        assert "4 of 6 classes have no text from smollm2" in said
        assert "1 text dropped, of which another class is nearer" in said
        assert len(asked) == 12
        monkeypatch.setattr(class_writer, "_model", None)
        write(data, tmp_path / "again.csv", "lm")
        assert (tmp_path / "again.csv").read_text() == (tmp_path / "texts.csv").read_text()


def test_a_language_model_that_says_nothing_or_is_not_there_is_said(tmp_path: Path) -> None:
    with own_cache(tmp_path / "cache"):
        with pytest.raises(DeixisError, match="smollm2 says nothing of any of 2 classes"):
            written_by_model(["heron", "tram"], Reporter(quiet=True), lambda: lambda messages: "")
        with pytest.raises(DeixisError, match="deixis data get smollm2"):
            written_by_model(["okapi"], Reporter(quiet=True))
