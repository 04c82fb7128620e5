"""A classifier that reads captions while it learns, beside the same training without: the better one is kept."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from deixis import engine
from deixis.apps.train import control_comparison
from deixis.apps.train.captions import caption_notes, cut_notes, with_classes, with_texts
from deixis.apps.train.method_runs import load_method
from deixis.apps.train.train import train
from deixis.errors import DeixisError
from deixis.types import Sample, Source
from tests.pictures import COLOURS, picture

METHOD = "gpt4image"


def classes(folder: Path, captions: bool = True, each: int = 12) -> Path:
    """Two classes of coloured pictures, with captions beside them where that is wished."""
    rng = random.Random(0)
    for kind, (name, colour) in zip(("warm", "cold"), list(COLOURS.items())[:2], strict=True):
        for i in range(each):
            path = folder / kind / f"{i:02}.png"
            picture(path, colour, rng)
            if captions:
                path.with_suffix(".txt").write_text(f"a {name} square, number {i}\n", encoding="utf-8")
    return folder


def source(*samples: Sample) -> Source:
    return Source("toys", Path(), "labels", "by hand", samples)


def test_sub_folders_with_captions_beside_the_pictures_are_classes_for_what_reads_labels() -> None:
    named = source(Sample("a/1.png", None, ("one",)), Sample("b/1.png", None, ("two",)))
    assert [each.label for each in with_classes(METHOD, named).samples] == ["a", "b"]
    assert [each.label for each in with_classes("coop", named).samples] == ["a", "b"]
    assert [each.label for each in with_classes("clip", named).samples] == [None, None]
    flat = source(Sample("1.png", None, ("one",)), Sample("b/1.png", None, ("two",)))
    assert with_classes(METHOD, flat) is flat


def test_captions_are_counted_and_class_names_are_said_to_be_the_control() -> None:
    half = source(Sample("1", None, ("a bird",), "a"), Sample("2", None, ("a bird",), "a"), Sample("3", None, (), "b"))
    assert caption_notes(METHOD, half, {}) == [
        "1 picture of 3 have no caption: they teach the classes alone.",
        "1 caption of 2 is equal to another one.",
    ]
    names = source(Sample("1", None, ("Blue tit.",), "blue_tit"), Sample("2", None, ("robin",), "robin"))
    assert "that is the control" in caption_notes(METHOD, names, {})[0]
    assert caption_notes(METHOD, names, {"weight": 0.0}) == []
    assert caption_notes("clip", names, {}) == []


def test_captions_that_are_longer_than_is_read_are_counted() -> None:
    method = engine.build(METHOD, "tiny")
    long = source(Sample("1", None, ("word " * 500,), "a"), Sample("2", None, ("short",), "b"))
    assert len(cut_notes(method, long)) == 1
    assert cut_notes(method, long)[0].startswith("1 caption is longer than the ")
    assert cut_notes(method, source(Sample("2", None, ("short",), "b"))) == []


def test_no_captions_at_all_are_refused_with_the_way_to_give_some() -> None:
    with pytest.raises(DeixisError, match=r"None of the 1 picture of 'toys' has a caption.*--texts texts\.csv"):
        caption_notes(METHOD, source(Sample("1", None, (), "a")), {})


def test_texts_of_a_csv_replace_captions_and_those_that_are_missing_are_counted(tmp_path: Path) -> None:
    folder = classes(tmp_path / "data", captions=False, each=2)
    paths = sorted(folder.rglob("*.png"))
    table = tmp_path / "texts.csv"
    rows = "".join(f"{path},text {number}\n" for number, path in enumerate(paths[:3]))
    table.write_text(f"path,caption\n{rows}", encoding="utf-8")
    given = source(*(Sample(path.name, path, ("old",), path.parent.name) for path in paths))
    found = with_texts(given, str(table))
    assert [each.captions[0] for each in found.samples] == ["text 0", "text 1", "text 2", "old"]
    assert found.notes == (f"1 picture of 4 have no text in {table}.",)
    others = dataclasses.replace(given, samples=(Sample("x", tmp_path / "x.png"),))
    with pytest.raises(DeixisError, match="has no text for any of the 1 picture of 'toys'"):
        with_texts(others, str(table))


def test_drafts_are_no_texts_and_the_way_to_accept_them_is_told(tmp_path: Path) -> None:
    paths = sorted(classes(tmp_path / "data", captions=False, each=2).rglob("*.png"))
    given = source(*(Sample(path.name, path, (), path.parent.name) for path in paths))
    table = tmp_path / "texts.csv"
    rows = "".join(f"{path},,a draft,0.9\n" for path in paths)
    table.write_text(f"path,caption,draft,sure\n{rows}", encoding="utf-8")
    with pytest.raises(DeixisError, match=r"4 drafts in it are no caption yet: put into the column `caption`"):
        with_texts(given, str(table))
    table.write_text(f"path,caption,draft\n{paths[0]},'-5 degrees outside,\n", encoding="utf-8")
    assert with_texts(given, str(table)).samples[0].captions == ("-5 degrees outside",)
    table.write_text("path,caption\n" + "".join(f"{path},\n" for path in paths), encoding="utf-8")
    with pytest.raises(DeixisError, match="deixis caption DATA --model RUN --out"):
        with_texts(given, str(table))


SETTINGS = {"config": "tiny", "steps": 2, "batch_size": 4, "held_out": 0.4, "workers": 0}


@pytest.mark.slow
@pytest.mark.parametrize("better", ["with", "without"])
def test_both_are_trained_and_the_better_on_validation_is_kept_and_reads_pictures_alone(
    tmp_path: Path, better: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = control_comparison._right

    def planted(method: Any, samples: list[Sample]) -> Any:
        """Which of the two names more."""
        return 0 * right(method, samples) + float((method.config.weight > 0) == (better == "with"))

    monkeypatch.setattr(control_comparison, "_right", planted)
    out = tmp_path / "run"
    found: Mapping[str, Any] = train(METHOD, str(classes(tmp_path / "data")), out, **SETTINGS, quiet=True)
    assert found["comparison"]["kept"] == better
    assert f"Kept: the training {better} captions" in found["sentence"]
    assert json.loads((out / "result.json").read_text(encoding="utf-8"))["comparison"] == found["comparison"]
    method: Any = load_method(out)
    assert isinstance(method, nn.Module)
    assert (method.config.weight > 0) == (better == "with")
    again = train(METHOD, str(tmp_path / "data"), out, **SETTINGS, quiet=True)
    assert again["comparison"] == found["comparison"]
