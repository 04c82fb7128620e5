"""The verbs over capabilities, on toy methods whose answers are known: pictures of draw_classes squares."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

import deixis
from deixis.apps.predict import capable
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.errors import DeixisError
from deixis.methods import list_methods, read
from tests.capable import Answerer, Captioner, Grounder, Reader, Segmenter
from tests.commands import Answer
from tests.commands import deixis as command
from tests.pictures import captioned
from tests.support import few

RED, BLUE = (220, 20, 20), (20, 20, 220)
TOYS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "ground": (Grounder, ("red",)),
    "segment": (Segmenter, ()),
    "caption": (Captioner, ()),
    "answer": (Answerer, ("is there anything red?",)),
    "read": (Reader, ()),
}


def squares(*, red: tuple[int, int], blue: tuple[int, int] | None = None) -> Image.Image:
    """Grey, 80 x 40, with squares of 20 pixels at these corners."""
    picture = Image.new("RGB", (80, 40), (128, 128, 128))
    for corner, colour in ((red, RED), (blue, BLUE)):
        if corner is not None:
            picture.paste(colour, (*corner, corner[0] + 20, corner[1] + 20))
    return picture


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    squares(red=(50, 10)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of one name, and one that is damaged."""
    for name, picture in (("a/one.png", squares(red=(10, 10))), ("b/one.png", squares(red=(50, 10), blue=(10, 20)))):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        picture.save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "bad.png").write_bytes(b"no picture")
    return tmp_path / "photos"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """A command with a toy as the method of its run."""

    def call(verb: str, data: Path, *more: object) -> Answer:
        toy, words = TOYS[verb]
        monkeypatch.setattr(capable, "load_method", lambda folder: toy())
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / capable.STATE).touch()
        return command(verb, data, *words, "--model", tmp_path / "run", *more)

    return call


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# From Python


def test_a_box_lies_where_the_phrase_is_in_the_whole_picture() -> None:
    """The picture is no square, so what the model sees is not where it is."""
    [found] = deixis.ground(Grounder(), squares(red=(50, 10), blue=(10, 20)), ["red", "blue"])
    assert [each.phrase for each in found.regions] == ["red", "blue"]
    for mark, corner in zip(found.regions, ((50, 10), (10, 20)), strict=True):
        wanted = (corner[0] / 80, corner[1] / 40, (corner[0] + 20) / 80, (corner[1] + 20) / 40)
        assert mark.box == pytest.approx(wanted, abs=0.07)
        assert mark.score == pytest.approx(0.9)
        assert mark.mask[corner[1] + 10, corner[0] + 10]
        assert not mark.mask[2, 2]


def test_as_many_boxes_come_as_there_are_and_as_are_wanted_best_first() -> None:
    picture = squares(red=(50, 10), blue=(10, 20))
    for count, there in ((1, 1), (2, 2), (5, 2)):
        [found] = deixis.ground(Grounder(), [picture], "red", count=count)
        scores = [each.score for each in found.regions]
        assert len(scores) == there
        assert scores == sorted(scores, reverse=True)


def test_classes_are_those_of_the_pixels_with_the_names_of_the_method() -> None:
    [found] = deixis.segment(Segmenter(), squares(red=(50, 10), blue=(10, 20)))
    assert found.names == ("background", "red", "green", "blue")
    assert found.classes.shape == (40, 80)
    assert found.names[found.classes[20, 60]] == "red"
    assert found.names[found.classes[30, 20]] == "blue"
    shares = found.shares()
    assert next(iter(shares)) == "background"
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["red"] == pytest.approx(400 / 3200, abs=0.04)
    labels = np.asarray(found.label_map())
    assert (labels[20, 60], labels[30, 20]) == (1, 3)


def test_captions_and_readings_come_in_the_order_of_the_pictures() -> None:
    """Also of more pictures than a batch holds."""
    pictures = [squares(red=(50, 10)), Image.new("RGB", (30, 30), (20, 20, 220))] * 9
    assert deixis.caption(Captioner(), pictures) == ["mostly red", "mostly blue"] * 9
    assert deixis.read(Reader(), pictures[:2]) == ["RED", "BLUE"]


def test_each_question_is_put_to_each_picture() -> None:
    pictures = [squares(red=(50, 10)), squares(red=(50, 10), blue=(10, 20))]
    assert deixis.answer(Answerer(), pictures, "is there anything blue?") == ["no", "yes"]
    found = deixis.answer(Answerer(), pictures, ["is there anything red?", "is there anything blue?"])
    assert found == [("yes", "no"), ("yes", "yes")]


def test_a_question_comes_with_a_mask_of_its_own_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    method, questions = Answerer(), ["red?", "is there anything red in the picture?"]
    lengths = []

    def answer(images: Tensor, tokens: Tensor, mask: Tensor) -> list[str]:
        assert mask.shape == tokens.shape
        lengths.append(int(mask.sum()))
        return ["yes"] * len(images)

    monkeypatch.setattr(method, "answer", answer)
    assert deixis.answer(method, squares(red=(50, 10)), questions) == [("yes", "yes")]
    assert lengths == [int(method.encoder.tokenize([text])[1].sum()) for text in questions]
    assert lengths[0] < lengths[1]


@pytest.mark.parametrize("verb", few(TOYS, "ground", "answer"))
def test_mode_and_weights_are_afterwards_as_before(verb: str) -> None:
    toy, words = TOYS[verb]
    method = toy().train()
    before = [each.clone() for each in method.state_dict().values()]
    getattr(deixis, verb)(method, squares(red=(50, 10)), *words)
    assert method.training
    assert all((old == new).all() for old, new in zip(before, method.state_dict().values(), strict=True))


# On the command line


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("ground", "red: 0."),
        ("segment", "background"),
        ("caption", "mostly red"),
        ("answer", "is there anything red? yes"),
        ("read", "RED"),
    ],
)
def test_a_single_picture_is_answered_on_the_terminal_and_nothing_is_written(
    verb: str, line: str, run: Callable[..., Answer], photo: Path, tmp_path: Path
) -> None:
    found = run(verb, photo)
    assert found.code == 0, found.err
    assert found.out.startswith(f"{photo}: {line}".replace("\\n", ""))
    assert {each.name for each in tmp_path.iterdir()} == {"photo.png", "run"}


COLUMNS = {
    "ground": ["phrase", "x0", "y0", "x1", "y1", "score"],
    "segment": ["class", "share"],
    "caption": ["caption"],
    "answer": ["question", "answer"],
    "read": ["text"],
}


@pytest.mark.parametrize("verb", few(TOYS, "ground", "caption"))
def test_a_folder_becomes_a_csv_and_a_picture_of_each_and_what_is_damaged_is_named(
    verb: str, run: Callable[..., Answer], folder: Path, tmp_path: Path
) -> None:
    found = run(verb, folder, "--out", tmp_path / "out")
    assert found.code == 0, found.err
    assert "1 of 3 pictures can't be read" in found.err
    assert "bad.png" in found.err
    rows = table(tmp_path / "out" / "predictions.csv")
    assert list(rows[0]) == ["path", *COLUMNS[verb], "picture"]
    assert {row["path"] for row in rows} == {str(folder / "a/one.png"), str(folder / "b/one.png")}
    pictures = [picture for _, picture in dict.fromkeys((row["path"], row["picture"]) for row in rows)]
    assert pictures == ["pictures/one.png", "pictures/one-2.png"]
    for picture in pictures:
        with Image.open(tmp_path / "out" / picture) as drawn:
            assert drawn.size[0] >= 80
    again = run(verb, folder, "--out", tmp_path / "out")
    assert again.code == 2
    assert "--overwrite" in again.err
    assert run(verb, folder, "--out", tmp_path / "out", "--overwrite", "--quiet") == (0, "", "")


def test_the_csv_of_captions_can_be_learned_from(run: Callable[..., Answer], folder: Path, tmp_path: Path) -> None:
    from deixis.apps.common.dataset import read as read_data

    assert run("caption", folder, "--out", tmp_path / "captions.csv", "--quiet").code == 0
    samples = read_data(str(tmp_path / "captions.csv")).samples
    assert [sample.captions for sample in samples] == [(row["caption"],) for row in table(tmp_path / "captions.csv")]
    assert samples[0].captions == ("mostly red",)


def test_boxes_are_drawn_in_colour_on_one_picture(run: Callable[..., Answer], photo: Path, tmp_path: Path) -> None:
    assert run("ground", photo, "--out", tmp_path / "drawn.png").code == 0
    drawn = np.asarray(Image.open(tmp_path / "drawn.png").convert("RGB"), int)
    grey = np.ptp(drawn, axis=2) < 10
    assert grey[2, 2]
    assert not grey[10:30, 48:52].all(), "a line beside the square"


def test_what_can_not_be_written_or_read_is_said_before_the_work(
    run: Callable[..., Answer], folder: Path, photo: Path, tmp_path: Path
) -> None:
    assert "is one picture, and DATA has 3" in run("caption", folder, "--out", tmp_path / "a.png").err
    (tmp_path / "a.csv").touch()
    assert "Choose another --out" in run("caption", photo, "--out", tmp_path / "a.csv").err
    photo.write_bytes(b"x")
    assert run("caption", photo, "--out", tmp_path / "b.csv").code == 2
    assert not (tmp_path / "b.csv").exists()


# Without a model that can


@pytest.mark.parametrize("verb", few(TOYS, "ground", "read"))
def test_without_a_model_that_can_it_is_said_which_methods_can(verb: str, photo: Path, tmp_path: Path) -> None:
    words = TOYS[verb][1]
    for more in ((), ("--model", "tiny")):
        found = command(verb, photo, *words, *more)
        assert (found.code, found.out) == (2, "")
        able = [name for name in list_methods() if verb in read(name).card.capabilities]
        if able:
            assert f"deixis train {able[0]} --data DATA" in found.err
        else:
            assert f"No method here offers `{verb}` yet" in found.err


@pytest.mark.slow
def test_the_run_of_a_method_that_can_not_is_opened_and_refused(photo: Path, tmp_path: Path) -> None:
    settings = TrainSettings(config="tiny", workers=0, steps=1, held_out=0.0, batch_size=4, precision="float32")
    train("clip", str(captioned(tmp_path / "pictures", 8)), tmp_path / "run", settings, quiet=True)
    found = command("ground", photo, "red", "--model", tmp_path / "run")
    assert found.code == 2
    assert "offers encode_image, encode_text, image_tokens, text_tokens, and not `ground`" in found.err


def test_a_phrase_of_nothing_is_refused() -> None:
    for words in ([], " ", ["red", ""]):
        with pytest.raises(DeixisError, match="There is no text, or an empty one"):
            deixis.ground(Grounder(), squares(red=(0, 0)), words)
    with pytest.raises(DeixisError, match="0 boxes"):
        deixis.ground(Grounder(), squares(red=(0, 0)), "red", count=0)


def test_a_method_that_can_something_else_is_refused_with_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeixisError, match="'Toy' offers caption, and not `ground`"):
        deixis.ground(Captioner(), squares(red=(0, 0)), "red")
    with pytest.raises(DeixisError, match="A Linear is no method"):
        deixis.caption(nn.Linear(2, 2), squares(red=(0, 0)))
    monkeypatch.setattr(capable, "methods_offering", lambda capability: ["toy_a", "toy_b"])
    with pytest.raises(DeixisError, match=r"offered by toy_a, toy_b. Get one: deixis train toy_a --data DATA"):
        deixis.caption("", squares(red=(0, 0)))
