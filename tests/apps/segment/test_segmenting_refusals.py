"""What a stranger types to `deixis segment`, or gives it: answered where that can be, else refused before any work."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

import deixis
from deixis.apps.adapt.pixels import taught
from deixis.apps.common.dataset import read
from deixis.apps.segment import segment as segmenting
from deixis.apps.segment.run_words import segmenter_of_run
from deixis.engine.evaluation.protocols.miou import _shown
from deixis.engine.training.build import build
from deixis.engine.training.train import fit
from deixis.errors import DeixisError
from deixis.types import Segments
from deixis.zoo import scratch
from tests.commands import deixis as command
from tests.pictures import picture


def windowed() -> Any:
    """Classes by cosines, from windows of 16 pixels of the 32 that it sees."""
    return build("score_map", "tiny", {"crops": (16,), "stride": 8}).eval()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (40, 30), (200, 40, 40)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


# Classes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "There is no class. Name one or several: deixis segment photo.jpg"),
        ([f"class {number}" for number in range(200)], "200 classes are requested, and 100 is the most"),
        (["a dog", "grass", "A  Dog"], "The class 'a dog' comes twice"),
        (["a dog", "?!"], "The class '?!' has no words"),
        (["a dog", " "], "The class '' has no words"),
        (["a dog", "--stuff", "grass"], "'grass' is stuff, and no class. The classes are: a dog."),
        (["--model", "my-run", "--stuff", "grass"], "--stuff is for methods that learn classes from pictures of them"),
        (["--model", "my-run", "--sampler", "scenes"], "--sampler is for methods that learn classes from pictures of"),
    ],
)
def test_classes_that_can_not_be_are_refused_before_anything_is_loaded(
    words: list[str], said: str, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deixis.apps.segment.segment", None)  # what imports torch is not reached
    found = command("segment", photo, *words)
    assert (found.code, found.out) == (2, "")
    assert said in " ".join(found.err.split())
    assert {each.name for each in photo.parent.iterdir()} == {"photo.png"}


def test_a_class_of_which_the_model_of_a_run_knows_no_word_is_refused() -> None:
    encoder = scratch.build(("a red lid",), "tiny", 32)
    with pytest.raises(DeixisError, match="No word of 'xyzzy plugh' is one that the model knows"):
        segmenter_of_run("my-run", ["red lid", "xyzzy plugh"], "score_map", encoder)
    assert segmenter_of_run("my-run", ["red lid", "xyzzy red"], "score_map", encoder)


@pytest.mark.parametrize("setting", [{"sampler": "scenes"}, {"stuff": ["grass"]}])
def test_support_pictures_and_stuff_are_refused_where_no_class_is_learned_from_pictures(
    setting: dict[str, Any], photo: Path
) -> None:
    with pytest.raises(DeixisError, match=r"score_map takes no (support pictures|classes that are stuff)"):
        deixis.segment(photo, ["a dog", "grass"], method="score_map", **setting)


# Pictures


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (200, 10), (10, 200), (400, 20)])
def test_a_picture_smaller_than_a_window_or_twenty_times_as_wide_as_high_has_a_class_at_each_pixel_seen(
    size: tuple[int, int],
) -> None:
    found = deixis.segment(Image.new("RGB", size, (200, 40, 40)), model=windowed())
    assert isinstance(found, Segments)
    assert (found.size, found.label_map().size) == (size, size)
    assert found.scores is not None
    assert found.scores.isfinite().all()
    assert sum(found.shares().values()) == pytest.approx(1)


def test_a_grey_picture_is_the_same_in_one_channel_and_in_three() -> None:
    grey = Image.linear_gradient("L").resize((40, 30))
    one, three = (deixis.segment(each, model=windowed()) for each in (grey, grey.convert("RGB")))
    assert isinstance(one, Segments)
    assert isinstance(three, Segments)
    assert torch.equal(one.labels, three.labels)


# Masks


def annotated(folder: Path, *things: dict[str, Any]) -> Path:
    """A picture of 40 x 30 pixels, and things in it as COCO's json has them."""
    Image.new("RGB", (40, 30), (128, 128, 128)).save(folder / "a.png")
    entries = [{"id": number, "image_id": 1, "bbox": [4, 4, 20, 20], **each} for number, each in enumerate(things)]
    categories = [{"id": 1, "name": "lid"}, {"id": 2, "name": "knob"}]
    images = [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}]
    path = folder / "masks.json"
    path.write_text(json.dumps({"images": images, "annotations": entries, "categories": categories}))
    return path


def square(x: int, y: int, side: int) -> list[list[int]]:
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


EMPTY = {"size": [30, 40], "counts": [1200]}


def test_where_masks_overlap_the_smaller_thing_lies_on_top_and_an_empty_one_is_nowhere(tmp_path: Path) -> None:
    path = annotated(
        tmp_path,
        {"category_id": 2, "segmentation": square(10, 10, 6)},
        {"category_id": 1, "segmentation": square(4, 4, 20)},
        {"category_id": 2, "segmentation": EMPTY},
    )
    teaching = taught(read(str(path)))
    assert (teaching.names, teaching.supervision) == (("knob", "lid"), "masks")
    shown = _shown(teaching.source.samples[0], teaching.names)
    assert (int(shown[12, 12]), int(shown[6, 6]), int(shown[28, 38])) == (1, 2, 0)
    assert int((shown == 1).sum()) < 60  # the empty one adds nothing


def test_a_mask_of_another_size_than_its_picture_is_not_used_and_counted(tmp_path: Path) -> None:
    wrong = {"size": [40, 30], "counts": [600, 600]}
    source = read(str(annotated(tmp_path, {"category_id": 1, "segmentation": wrong})))
    assert taught(source).supervision == "boxes"
    assert [each.reason for each in source.skipped] == ["mask can't be read"]


def test_labels_beyond_the_classes_are_counted_and_teach_nothing(tmp_path: Path) -> None:
    known, beyond = ({"category_id": number, "segmentation": square(4, 4, 20)} for number in (1, 99))
    source = read(str(annotated(tmp_path, known, beyond)))
    assert "1 annotations of masks.json are of a category that it does not list, such as 99" in "".join(source.notes)
    assert taught(source).names == ("lid",)
    with pytest.raises(DeixisError, match="A pixel is of class 3, and there are 2 names"):
        Segments(torch.full((2, 2), 3), ("background", "lid"))


# Support pictures


@pytest.fixture
def tiny_support(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Methods are built small; a folder with cut-outs of a cat and of grass."""
    monkeypatch.setattr(
        segmenting, "build", lambda name, overrides, parts: build(name, "tiny", {"filtered": False, **overrides}, parts)
    )
    folder = tmp_path / "support"
    folder.mkdir()
    for word, colour in (("a cat", (200, 40, 40, 255)), ("grass", (40, 160, 40, 255))):
        cut = Image.new("RGBA", (40, 40))
        ImageDraw.Draw(cut).ellipse((4, 4, 36, 36), fill=colour)
        cut.save(folder / f"{word}.png")
        (folder / f"{word}.txt").write_text(f"{word}\n", encoding="utf-8")
    return folder


def test_a_class_without_support_pictures_is_named_and_left_out(tiny_support: Path, photo: Path) -> None:
    found = deixis.segment(photo, ["a cat", "a walrus"], method="ovdiff", sampler=str(tiny_support))
    assert isinstance(found, Segments)
    assert found.notes == ("no support pictures of a walrus: left out",)
    assert "a walrus" in found.missing
    with pytest.raises(DeixisError, match=r"No support picture shows a walrus, an emu\. Name another --sampler"):
        deixis.segment(photo, ["a walrus", "an emu"], method="ovdiff", sampler=str(tiny_support))


def test_stuff_owns_no_surroundings(tiny_support: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Any] = []

    def fit_and_keep(method: Any, batches: Any) -> Any:
        built.append(fit(method, batches))
        return built[-1]

    monkeypatch.setattr(segmenting, "fit", fit_and_keep)
    for stuff in ((), "Grass"):
        deixis.segment(photo, ["a cat", "grass"], method="ovdiff", sampler=str(tiny_support), stuff=stuff)
    owners = [set(method._bank(0).owner[method._bank(0).label == 0].tolist()) for method in built]
    assert owners == [{0, 1}, {0}]
    assert built[1].config.stuff == ("grass",)


def test_where_no_pixel_is_known_to_be_due_to_a_class_it_is_no_empty_class(tiny_support: Path, photo: Path) -> None:
    """Pictures without transparency: the encoder's cells say what is due to the name."""
    for path in tiny_support.glob("*.png"):
        picture(path, (200, 40, 40), random.Random(path.name))
    found = deixis.segment(photo, ["a cat", "grass"], method="ovdiff", sampler=str(tiny_support))
    assert isinstance(found, Segments)
    assert found.scores is not None
    assert found.scores.isfinite().all()


def test_a_sampler_that_draws_by_diffusion_is_refused_with_what_takes_its_place(photo: Path) -> None:
    found = command("segment", photo, "a dog", "--method", "ovdiff", "--sampler", "diffusers:my-weights")
    assert (found.code, found.out) == (2, "")
    assert "draws by diffusion" in found.err
    assert "Give a folder of pictures with captions" in " ".join(found.err.split())
