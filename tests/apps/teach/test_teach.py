"""A run is taught a word by some pictures: it can then be searched by it, with words beside, and forgets it again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import deixis
from deixis.apps.common.concepts import FILE, concept_names, read_concepts, spoken
from deixis.apps.explain.explain import Explainer
from deixis.apps.index.index import index
from deixis.apps.search.query import Query
from deixis.apps.search.searcher import Searcher
from deixis.apps.segment.class_list import checked_classes
from deixis.apps.segment.run_words import segmenter_of_run
from deixis.apps.segment.settings import SegmentSettings
from deixis.apps.serve.batched_search import BatchedSearch, Encoding
from deixis.apps.serve.models import segmenter
from deixis.apps.teach.boxes import read_boxes
from deixis.apps.teach.settings import TeachSettings
from deixis.apps.teach.teach import forget_concept, teach, teach_pictures
from deixis.errors import DeixisError
from deixis.indexing.compose import compose
from deixis.types import Segments
from tests.capable import Segmenter


def textured(seed: int, mug: bool) -> Image.Image:
    """Noise of one colour; a mug is red in its middle."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 120, (32, 32, 3), np.uint8) + rng.integers(0, 100, 3).astype(np.uint8)
    if mug:
        pixels[6:26, 6:26] = (230, 30, 20)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 30 pictures, and three of a mug."""
    base = tmp_path_factory.mktemp("teach")
    for kind, count in (("photos", 30), ("mug", 3)):
        (base / kind).mkdir()
        for i in range(count):
            textured(100 * len(kind) + i, kind == "mug").save(base / kind / f"{i}.png")
    index(base / "photos", base / "run", model="tiny", quiet=True)
    return base


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """The run, which was taught the mug."""
    teach(folder / "run", "my mug", folder / "mug", folds=2, epochs=2)
    return folder / "run"


def test_what_was_taught_is_in_the_run_with_the_hashes_of_its_pictures_and_how_often_it_is_found(run: Path) -> None:
    (facts,) = read_concepts(run).values()
    assert len(facts["pictures"]) == 3
    assert set(facts["found"]) == {"name", "mean", "learned"}
    assert facts["found"][facts["kept"]] == max(facts["found"].values()), "the best is kept"
    np.testing.assert_allclose(np.linalg.norm(facts["vector"]), 1, rtol=1e-4)


def test_a_concept_and_words_are_summed_as_words_and_pictures_of_a_query_are(run: Path) -> None:
    searcher = Searcher(run)
    concept = np.array(read_concepts(run)["my mug"]["vector"], np.float32)
    words = searcher.encoder.encode_text(["in the snow"])[0].numpy()
    found = searcher.vector(Query(texts=("<My  mug> in the snow",)))
    np.testing.assert_allclose(found, compose(words, concept), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(searcher.vector(Query(texts=("<my mug>",))), concept, rtol=1e-4, atol=1e-5)
    assert not Query(texts=("<my mug>",)).plain, "chances are measured for words alone"


def test_the_page_searches_by_a_concept_as_the_command_does_and_only_the_wrong_query_fails(run: Path) -> None:
    searcher = Searcher(run)
    works = [Encoding((text,), None) for text in ("<my mug> in the snow", "<nobody>", "a tree")]
    good, wrong, plain = BatchedSearch(searcher, lambda: searcher.index)(works)
    np.testing.assert_allclose(good[0], searcher.vector(Query(texts=(works[0].texts[0],))), rtol=1e-4, atol=1e-5)
    assert isinstance(wrong, DeixisError)
    np.testing.assert_allclose(plain[0], searcher.vector(Query(texts=("a tree",))), rtol=1e-4, atol=1e-5)


def test_a_concept_is_explained_on_a_picture(run: Path, folder: Path) -> None:
    explainer = Explainer(run, method="grad_cam", tower="image")
    found = explainer(folder / "mug" / "0.png", ["<my mug>", "my mug"])
    direction = np.array(read_concepts(run)["my mug"]["vector"], np.float32)
    picture = Searcher(run).encoder.encode_image([folder / "mug" / "0.png"])[0].numpy()
    np.testing.assert_allclose(float(found.scores[0, 0]), direction @ picture, rtol=1e-3, atol=1e-4)
    assert float((found.scores[0, 0] - found.scores[0, 1]).abs()) > 1e-4


def test_a_concept_is_segmented_beside_classes_of_any_name(run: Path, folder: Path) -> None:
    concept = torch.tensor(read_concepts(run)["my mug"]["vector"])
    method = segmenter_of_run(str(run), ["<my mug>", "grass", "<my mug> in the snow"], "auto")
    texts, _ = method.texts()
    torch.testing.assert_close(texts[0], concept, rtol=1e-4, atol=1e-5)
    expected = Searcher(run).vector(Query(texts=("<my mug> in the snow",)))
    np.testing.assert_allclose(texts[2], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(texts[1], method.encoder.encode_text("a photo of a grass")[0])
    found = deixis.segment(folder / "mug" / "0.png", ["<my mug>", "grass"], model=str(run))
    assert found.names == ("background", "<my mug>", "grass")
    with pytest.raises(DeixisError, match=r"no concept <my mugg>.*Did you mean <my mug>\?"):
        deixis.segment(folder / "mug" / "0.png", ["<my mugg>"], model=str(run))
    with pytest.raises(DeixisError, match=r"'<my mug>' is a concept that a run was taught, and no run is named"):
        checked_classes(["<my mug>"], SegmentSettings())


def test_the_page_segments_what_a_run_was_taught_and_takes_other_brackets_for_words(
    run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmenter, "default_segmenter", lambda names, like: Segmenter(names))
    picture, searcher = Image.open(folder / "mug" / "0.png"), Searcher(run)
    expected = deixis.segment(picture, ["<my mug>", "grass"], model=str(run))
    found = segmenter.segmented(None, picture, ["<My  mug>", "grass"], searcher)
    assert found.names == ("background", "<My mug>", "grass")
    assert isinstance(expected, Segments)
    torch.testing.assert_close(found.labels, expected.labels)
    assert segmenter.segmented(None, picture, ["red", "a <b>dog</b>"], searcher).names[2] == "a <b>dog</b>"


def test_an_unknown_name_is_an_error_that_names_near_ones(run: Path) -> None:
    with pytest.raises(DeixisError, match=r"no concept <my mugg>.*Did you mean <my mug>\?"):
        Searcher(run).search("<my mugg> in the snow")
    with pytest.raises(DeixisError, match=r"no concept <Zoë>; there are: <my mug>.*deixis teach"):
        Searcher(run).search("<Zoë>")


def test_names_and_words_of_a_text_are_told_apart() -> None:
    assert concept_names("<my  mug> and <hat>, 3 < 4") == ("my mug", "hat")
    assert spoken("<my mug> in the snow") == "in the snow"
    assert spoken("<my mug>") == "my mug"
    assert spoken("3 < 4") == "3 < 4"


def test_a_run_forgets_and_the_file_goes_with_the_last_concept(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    index(folder / "photos", run, model="tiny", quiet=True)
    settings = TeachSettings(folds=2, epochs=2)
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("path,x0,y0,x1,y1\n0.png,6,6,26,26\n1.png,6,6,26,26\n")
    teach_pictures(str(run), "my mug", [str(folder / "mug")], settings, boxes=str(boxes))
    assert "each held out once, a search finds among its first 10" in (shown := capsys.readouterr().out)
    assert "deixis search" in shown
    assert json.loads((run / FILE).read_text())["concepts"]["my mug"]["boxes"] == 2
    teach_pictures(str(run), "my mug", (), settings, forget=True)
    assert not (run / FILE).exists()
    with pytest.raises(DeixisError, match="was taught no concept <my mug>"):
        forget_concept(run, "my mug")


def test_one_picture_teaches_nothing_that_could_be_tested(run: Path, folder: Path) -> None:
    with pytest.raises(DeixisError, match=r"one picture: with nothing held out.*deixis search"):
        teach(run, "hat", [folder / "mug" / "0.png"])
    assert "hat" not in read_concepts(run)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("9.png,1,1,5,5\n", "a box of '9.png', which is none of the pictures"),
        ("0.png,5,1,5,5\n", "has no area"),
        ("0.png,1,1,50,5\n", "reaches beyond .*32 x 32 pixels"),
        ("0.png,1,1,5,5\n0.png,9,9,20,20\n", "two boxes of .* contradict each other"),
        ("0.png,1,a,5,5\n", "is no number"),
    ],
)
def test_boxes_that_contradict_the_pictures_or_each_other_are_refused(
    folder: Path, tmp_path: Path, rows: str, message: str
) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text(f"path,x0,y0,x1,y1\n{rows}")
    with pytest.raises(DeixisError, match=message):
        read_boxes(table, [folder / "mug" / "0.png"])


@pytest.mark.parametrize("name", ["", "<>", "a<b"])
def test_a_name_has_no_brackets_inside(run: Path, name: str) -> None:
    with pytest.raises(DeixisError, match="is no name of a concept"):
        teach(run, name, ["a.jpg", "b.jpg"])
