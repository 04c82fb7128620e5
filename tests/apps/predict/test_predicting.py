"""The verbs over capabilities, on toy methods whose answers are known: pictures of draw_classes squares."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

import deixis
from deixis.apps.predict import capable
from deixis.apps.predict.texts import PictureText
from deixis.apps.predict.writing import saving
from deixis.apps.segment.segment import default_segmenter
from deixis.apps.train import method_runs
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.engine.training.build import build
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.methods import list_methods, read
from deixis.types import Detections, Segments
from deixis.zoo import scratch
from tests.capable import Answerer, AnswerShower, Captioner, Grounder, Reader, Segmenter, SureGrounder
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
        monkeypatch.setattr(method_runs, "load_method", lambda folder: toy())
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / method_runs.STATE).touch()
        return command(verb, data, *words, "--model", tmp_path / "run", *more)

    return call


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_questions_on_the_command_line_are_drawn_and_not_cut_into_phrases(
    run: Callable[..., Answer], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOYS, "ground", (AnswerShower, ("is it red?",)))
    answer = run("ground", photo, "--out", tmp_path / "answer.png")
    assert answer.code == 0, answer.err
    assert "is it red?: 0.6" in answer.out
    shown = np.asarray(Image.open(tmp_path / "answer.png").convert("RGB")).astype(int)
    assert shown.shape[1] >= 80


# From Python


def test_a_box_lies_where_the_phrase_is_in_the_whole_picture() -> None:
    """The picture is no square, so what the model sees is not where it is."""
    found = deixis.ground(squares(red=(50, 10), blue=(10, 20)), ["red", "blue"], model=Grounder())
    assert isinstance(found, Detections)
    assert found.phrases == ("red", "blue")
    assert found.size == (80, 40)
    for each, corner in zip(found, ((50, 10), (10, 20)), strict=True):
        wanted = (corner[0], corner[1], corner[0] + 20, corner[1] + 20)
        assert each.pixels[0].tolist() == pytest.approx(wanted, abs=5)
        assert float(each.scores[0]) == pytest.approx(0.9)
        assert each.masks is not None
        assert each.masks[0, corner[1] + 10, corner[0] + 10]
        assert not each.masks[0, 2, 2]


def test_as_many_boxes_come_as_there_are_and_as_are_wanted_best_first() -> None:
    picture = squares(red=(50, 10), blue=(10, 20))
    for count, there in ((1, 1), (2, 2), (5, 2)):
        [found] = deixis.ground([picture], "red", count=count, model=Grounder())
        assert len(found) == there
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


@pytest.mark.parametrize(
    ("phrase", "boxes"), [("a red", 1), ("two reds", 2), ("reds", 2), ("three reds", 2), ("a red and a blue", 2)]
)
def test_as_many_boxes_come_as_the_phrase_says(phrase: str, boxes: int) -> None:
    """Of a method that knows which candidates are no answer; here all are one."""
    found = deixis.ground(squares(red=(50, 10), blue=(10, 20)), phrase, model=SureGrounder(threshold=0.0))
    assert isinstance(found, Detections)
    assert len(found) == boxes
    assert found.missing == ()
    assert all(found.text[slice(*span)] == each for span, each in zip(found.spans, found.phrases, strict=True))


def test_nothing_found_is_an_answer_that_says_what_came_nearest() -> None:
    found = deixis.ground(squares(red=(50, 10)), ["reds", "a giraffe"], model=SureGrounder(threshold=0.5))
    assert isinstance(found, Detections)
    assert found.phrases == ("reds",)
    assert [str(each) for each in found.missing] == ["nothing here is a giraffe (nearest: 0.1, thing 0)"]
    assert found.text[slice(*found.missing[0].span)] == "a giraffe"
    best = deixis.ground(squares(red=(50, 10)), "a giraffe", model=SureGrounder(threshold=0.5), best=True)
    assert isinstance(best, Detections)
    assert best.phrases == ("a giraffe",)
    assert len(best.missing) == 1


def test_a_model_of_answers_shows_the_pixels_that_they_rest_on_and_says_where_there_are_none() -> None:
    questions = ["what is red?", "what is blue?"]
    found = deixis.ground(squares(red=(50, 10)), questions, model=AnswerShower())
    assert isinstance(found, Detections)
    assert found.phrases == ("what is red?",)
    assert found.text[slice(*found.spans[0])] == "what is red?"
    assert found.pixels[0].tolist() == pytest.approx((50, 10, 70, 30), abs=5)
    assert found.masks is not None
    assert found.masks[0, 20, 60]
    assert not found.masks[0, 2, 2]
    assert [str(each) for each in found.missing] == ["nothing here is an answer to 'what is blue?' (nearest: 0.1)"]
    best = deixis.ground(squares(red=(50, 10)), "what is blue?", model=AnswerShower(), best=True)
    assert isinstance(best, Detections)
    assert len(best) == 1


def test_a_text_of_which_the_model_knows_no_word_is_refused() -> None:
    toy = AnswerShower()
    toy.encoder = scratch.build(("what is red",), "tiny", 32)
    with pytest.raises(DeixisError, match="No word of 'xyzzy plugh'"):
        deixis.ground(squares(red=(50, 10)), ["what is red?", "xyzzy plugh"], model=toy)
    assert deixis.ground(squares(red=(50, 10)), "xyzzy red", model=toy)


def test_classes_are_those_of_the_pixels_with_the_names_of_the_method() -> None:
    found = deixis.segment(squares(red=(50, 10), blue=(10, 20)), model=Segmenter())
    assert isinstance(found, Segments)
    assert found.names == ("background", "red", "green", "blue")
    assert found.labels.shape == (40, 80)
    assert found.names[found.labels[20, 60]] == "red"
    assert found.names[found.labels[30, 20]] == "blue"
    assert found.missing == ("green",)
    shares = found.shares()
    assert next(iter(shares)) == "background"
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["red"] == pytest.approx(400 / 3200, abs=0.04)
    labels = np.asarray(found.label_map())
    assert (labels[20, 60], labels[30, 20]) == (1, 3)


def test_other_classes_are_segmented_by_the_models_that_are_loaded_already() -> None:
    first = build("outlined_boxes", "tiny")
    other = default_segmenter(["a cat", "grass"], like=first)
    assert list(other.names) == ["a cat", "grass"]
    assert (other.proposals, other.encoder) == (first.proposals, first.encoder)


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
    if verb in ("ground", "segment"):
        getattr(deixis, verb)(squares(red=(50, 10)), *words, model=method)
    else:
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
def test_a_single_picture_is_answered_on_the_terminal_and_boxes_are_drawn(
    verb: str, line: str, run: Callable[..., Answer], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1 + (verb in ("ground", "segment"))):  # files of its own names are replaced
        found = run(verb, photo)
        assert found.code == 0, found.err
        assert found.out.startswith(f"{photo}: {line}")
    written = {
        "ground": {"photo-grounded.png", "photo-grounded.json"},
        "segment": {"photo-segments.png", "photo-labels.png", "photo-segments.json"},
    }
    assert {each.name for each in tmp_path.iterdir()} == {"photo.png", "run", *written.get(verb, set())}


def test_boxes_of_a_folder_become_cocos_json_and_are_read_as_data(
    run: Callable[..., Answer], folder: Path, tmp_path: Path
) -> None:
    from deixis.apps.common.dataset import read as read_data

    found = run("ground", folder, "--out", tmp_path / "boxes.json")
    assert found.code == 0, found.err
    content = json.loads((tmp_path / "boxes.json").read_text(encoding="utf-8"))
    assert [(each["width"], each["height"]) for each in content["images"]] == [(80, 40), (80, 40)]
    assert content["annotations"][0]["bbox"] == pytest.approx([10, 10, 20, 20], abs=5)
    assert [each.phrases for each in Detections.from_coco(content)] == [("red",), ("red",)]
    samples = read_data(str(tmp_path / "boxes.json")).samples
    assert [sample.regions[0].category for sample in samples] == ["red", "red"]
    refused = run("caption", folder, "--out", tmp_path / "captions.json")
    assert (refused.code, "would hold boxes" in refused.err) == (2, True)
    assert not (tmp_path / "captions.json").exists()


@pytest.mark.parametrize(
    ("phrase", "why"),
    [("the left one", "names no thing"), ("\N{DOG FACE}", "has no words"), ("a dog, " * 100, "names 100 things")],
)
def test_a_phrase_that_names_nothing_is_refused_before_anything_is_loaded(phrase: str, why: str, photo: Path) -> None:
    found = command("ground", photo, phrase)
    assert (found.code, found.out) == (2, "")
    assert why in found.err


def test_without_the_detector_one_message_says_how_to_get_it(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deixis.apps.ground.ground", None)  # what imports torch is not reached
    found = command("ground", photo, "a dog")
    assert (found.code, found.out) == (2, "")
    assert found.err.count("\n") <= 2
    assert f"not in {cache_dir('detector')}" in found.err.replace("\n", " ")
    assert "deixis data get detector" in found.err


@pytest.mark.parametrize("size", [(1, 1), (3000, 3), (2, 900)])
def test_a_picture_of_any_shape_has_boxes_inside_of_it(size: tuple[int, int]) -> None:
    found = deixis.ground(Image.new("RGB", size, RED), "red", model=Grounder())
    assert isinstance(found, Detections)
    assert found.size == size
    assert ((found.boxes >= 0) & (found.boxes <= 1)).all()


def test_a_text_that_is_longer_than_the_model_reads_is_refused() -> None:
    with pytest.raises(DeixisError, match="longer than the model reads"):
        deixis.ground(squares(red=(0, 0)), ", ".join(["a red"] * 20), model=SureGrounder(threshold=0.5))


def test_boxes_of_a_turned_picture_are_those_of_what_is_shown(tmp_path: Path) -> None:
    turned = squares(red=(50, 10)).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    found = deixis.ground(tmp_path / "turned.png", "red", model=Grounder())
    assert isinstance(found, Detections)
    assert found.size == (80, 40)
    assert found.pixels[0].tolist() == pytest.approx((50, 10, 70, 30), abs=5)


COLUMNS = {
    "ground": ["phrase", "x0", "y0", "x1", "y1", "score", "source", "label"],
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


def test_what_a_model_says_is_no_formula_in_the_csv_and_is_read_back_as_it_was(photo: Path, tmp_path: Path) -> None:
    from deixis.apps.common.dataset import read as read_data

    out = tmp_path / "captions.csv"
    with saving(str(out), 1) as save:
        save(PictureText(str(photo), squares(red=(50, 10)), "caption", ("=HYPERLINK(A1)",)))
        save(PictureText(str(photo), squares(red=(50, 10)), "caption", ("-5",)))
    assert [row["caption"] for row in table(out)] == ["'=HYPERLINK(A1)", "-5"]  # a number stays one
    assert read_data(str(out)).samples[0].captions == ("=HYPERLINK(A1)", "-5")


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


@pytest.mark.parametrize("verb", few(TOYS, "caption", "read"))
def test_without_a_model_that_can_it_is_said_which_methods_can(verb: str, photo: Path, tmp_path: Path) -> None:
    words = TOYS[verb][1]
    for more in ((), ("--model", "tiny"))[verb in ("ground", "read", "segment") :]:  # which need no model
        found = command(verb, photo, *words, *more)
        assert (found.code, found.out) == (2, "")
        able = [name for name in list_methods() if verb in read(name).card.capabilities]
        if able:
            assert f"It is offered by {', '.join(able)}. Get one: deixis train" in found.err
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
            deixis.ground(squares(red=(0, 0)), words, model=Grounder())
    with pytest.raises(DeixisError, match="-1 boxes"):
        deixis.ground(squares(red=(0, 0)), "red", count=-1, model=Grounder())


def test_a_method_that_can_something_else_is_refused_with_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeixisError, match="'Toy' offers caption, and not `ground`"):
        deixis.ground(squares(red=(0, 0)), "red", model=Captioner())
    with pytest.raises(DeixisError, match="A Linear is no method"):
        deixis.caption(nn.Linear(2, 2), squares(red=(0, 0)))
    monkeypatch.setattr(capable, "methods_offering", lambda capability: ["detect_match", "clip"])
    with pytest.raises(DeixisError, match=r"offered by detect_match, clip. Get one: deixis train clip --data DATA"):
        deixis.caption("", squares(red=(0, 0)))
