"""The protocols of words and of expressions: right is the region of the thing that is meant."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deixis import engine, zoo
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.grounding import PhraseAnswer
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column
from deixis.engine.evaluation.protocols import refer, word_region
from deixis.engine.features.region_pairs import RegionPairs
from deixis.errors import DeixisError
from deixis.inputs.images import shown_size
from deixis.types import Phrase, Region
from deixis.zoo.tiny import load as tiny
from tests.engine.evaluation.test_protocols import data_of, mean, run, sample

CAPTION = "a bird on a boat"
BIRD, BOAT = (0.0, 0.0, 0.2, 0.2), (0.4, 0.4, 1.0, 1.0)
SPANS = {"bird": ((2, 6),), "boat": ((12, 16),)}


class Words:
    """The words of a caption are its tokens; what each means is told."""

    def words(self, text: str, length: int) -> list[tuple[int, int, int, int]]:
        found, start = [], 0
        for place, word in enumerate(text.split()[:length]):
            start = text.index(word, start)
            found.append((start, start + len(word), place, place + 1))
            start += len(word)
        return found


class Told(RegionPairs):
    """Regions of a detector, and a method that gives each word the region that is told."""

    def __init__(self, method: Any) -> None:
        self.method = method

    @property
    def tokenizer(self) -> Any:
        return Words()

    def batches(self, pictures: Any, texts: Sequence[str]) -> list[Any]:
        count, length = len(texts), max(len(text.split()) for text in texts)
        valid = {"T": torch.ones(count, 3, dtype=torch.bool), "L": torch.ones(count, 1, length, dtype=torch.bool)}
        valid["T"][:, 2] = False
        boxes = torch.tensor([BIRD, BOAT, (0.0, 0.0, 1.0, 1.0)]).expand(count, -1, -1)
        batch = SimpleNamespace(boxes=boxes, valid=valid, texts=texts)
        batch.to = lambda device: batch
        return [batch]

    def boxes(self, batch: Any) -> torch.Tensor:
        found: torch.Tensor = batch.boxes
        return found


class Pointer(torch.nn.Module):
    """Gives each word a region."""

    def __init__(self, means: dict[str, int]) -> None:
        super().__init__()
        self.means = means

    def align(self, batch: Any) -> torch.Tensor:
        scores = torch.zeros(len(batch.texts), max(len(text.split()) for text in batch.texts), 3)
        for row, text in enumerate(batch.texts):
            for place, word in enumerate(text.split()):
                scores[row, place, self.means.get(word, 2)] = 1.0
        return scores

    def refer(self, batch: Any) -> torch.Tensor:
        scores = torch.zeros(len(batch.texts), 3)
        for row, text in enumerate(batch.texts):
            scores[row, self.means.get(text.split()[-1], 2)] = 1.0
        return scores


def told(monkeypatch: pytest.MonkeyPatch, **means: int) -> EvalModel:
    for protocol in (word_region, refer):
        monkeypatch.setattr(protocol, "RegionPairs", Told)
    model = EvalModel("toy", tiny())
    model.model = Pointer(means)
    return model


def spoken(*names: str) -> EvalData:
    boxes = {"bird": BIRD, "boat": BOAT}
    regions = tuple(Region(boxes[name], name, spans=SPANS[name]) for name in names)
    return data_of([sample(i, captions=(CAPTION,), regions=regions) for i in range(4)])


def test_words_are_right_where_their_region_is_and_padding_is_no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    right = run("word-region", told(monkeypatch, bird=0, boat=1), spoken("bird", "boat"))
    assert [mean(right, name) for name in ("words", "largest", "first", "chance", "could")] == [1.0, 0.5, 0.5, 0.5, 1.0]
    assert right.facts == {"images": 4, "things": 8, "cut": 0}
    exchanged = run("word-region", told(monkeypatch, bird=1, boat=0), spoken("bird", "boat"))
    assert mean(exchanged, "words") == 0.0
    assert len(exchanged.arms[""][Column("words")].queries) == 8


def test_words_that_the_model_does_not_read_are_counted_as_missed_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Words, "words", lambda self, text, length: [(0, 1, 0, 1)])
    cut = run("word-region", told(monkeypatch, bird=0), spoken("bird"))
    assert mean(cut, "words") == 0.0
    assert cut.facts["cut"] == 4
    assert cut.notes == ("The words of 4 things are cut off by the length of the model's texts.",)


def test_captions_that_do_not_say_where_they_speak_of_a_thing_are_refused() -> None:
    regions = (Region(BIRD, "bird"),)
    with pytest.raises(DeixisError, match=r"No caption of made says where .* set:scenes"):
        run("word-region", EvalModel("toy", tiny()), data_of([sample(i, regions=regions) for i in range(4)]))


def test_an_expression_is_right_where_it_chooses_a_region_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    regions = (
        Region(BIRD, "bird", phrases=(Phrase("a bird"),)),
        Region(BOAT, "boat", phrases=(Phrase("the red boat"), Phrase("the whale"))),
    )
    data = data_of([sample(i, regions=regions) for i in range(4)])
    found = run("refer", told(monkeypatch, bird=0, boat=1, whale=0), data)
    assert mean(found, "accuracy") == pytest.approx(2 / 3)
    assert mean(found, "accuracy", "colour") == 1.0
    assert mean(found, "accuracy", "noun") == 0.5
    assert mean(found, "largest") == pytest.approx(2 / 3)
    assert mean(found, "first") == pytest.approx(1 / 3)
    assert found.facts == {"images": 4, "phrases": 12}


def test_a_picture_without_regions_counts_as_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = Told.batches

    def none(self: Told, pictures: Any, texts: list[str]) -> list[Any]:
        [batch] = batches(self, pictures, texts)
        batch.valid["T"][:] = False
        return [batch]

    model = told(monkeypatch, bird=0)
    monkeypatch.setattr(Told, "batches", none)
    assert mean(run("word-region", model, spoken("bird")), "words") == 0.0
    phrases = (Region(BIRD, "bird", phrases=(Phrase("a bird"),)),)
    found = run("refer", model, data_of([sample(i, regions=phrases) for i in range(4)]))
    assert [mean(found, name) for name in ("accuracy", "could")] == [0.0, 0.0]


def test_a_method_without_training_chooses_among_the_same_regions_and_stands_beside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its best box is the whole picture, which is none of them; the next is."""
    regions = (Region(BIRD, "bird", phrases=(Phrase("a bird"),)), Region(BOAT, "boat", phrases=(Phrase("a boat"),)))
    data = data_of([sample(i, regions=regions) for i in range(4)])
    model = told(monkeypatch, bird=0, boat=1)
    answer = PhraseAnswer(torch.tensor([(0.0, 0.0, 1.0, 1.0), BIRD, BOAT]), torch.tensor([0.9, 0.8, 0.1]))
    monkeypatch.setattr(refer, "answer_by_method", lambda method, data, queries, bar, boxes: [answer] * len(queries))
    alone = run("refer", model, data)
    assert list(alone.arms) == [""]
    assert alone.notes[-1].startswith("detect_match is left out: The regions are no detector's")
    model.model.proposals = zoo.load_part("proposals", "tiny")
    found = run("refer", model, data)
    assert mean(found, "accuracy") == 1.0
    beside = found.arms["detect_match"]
    assert [beside[Column("accuracy", family)].values.mean() for family in ("", "noun")] == [0.5, 0.5]
    assert beside[Column("accuracy")].queries == found.arms[""][Column("accuracy")].queries
    assert found.notes[-1] == "Beside detect_match: +50.0 points (+50.0 to +50.0)."


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), [("uniter", {"head": "refer"}), ("variational_context", {})])
def test_a_run_is_measured_beside_detect_match_on_the_boxes_of_its_detector(
    name: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = engine.build(name, "tiny", settings).eval()
    model = EvalModel("toy", method)
    pictures = scenes(3, 4, side=64, config=SceneConfig(cast="shapes", unseen="nothing"))
    data = EvalData(pictures, lambda some: EvalSet.of(some, [each.id for each in some.samples]))
    monkeypatch.setattr(zoo, "load", lambda name: tiny())
    found = run("refer", model, data, EvalOptions(methods=("detect_match",)))
    assert found.arms["detect_match"][Column("accuracy")].queries == found.arms[""][Column("accuracy")].queries
    with pytest.raises(DeixisError, match="zero_shot does not locate phrases"):
        run("refer", model, data, EvalOptions(methods=("zero_shot",)))


def test_a_run_whose_regions_are_columns_of_its_data_is_refused_in_words() -> None:
    method = engine.build("variational_context", "tiny", {"proposals": "", "features": 24}).eval()
    regions = (Region(BIRD, "bird", phrases=(Phrase("a bird"),)),)
    with pytest.raises(DeixisError, match="Variational Context are columns of its data, and pictures alone have none"):
        run("refer", EvalModel("toy", method), data_of([sample(0, regions=regions)]))


def test_inclusive_pixels_count_the_last_pixel_of_a_box_so_that_small_boxes_overlap_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    side = shown_size(sample(0).picture)[0]
    near = (1 / side, 0.0, 4 / side, 2 / side)  # 3 x 2 pixels where the region has 2 x 2, of which they share 1 x 2
    boxes = torch.tensor([(0.0, 0.0, 2 / side, 2 / side)])
    things = [Region(near, "bird")]
    assert not word_region.right_regions(boxes, things).any()  # 2 of 8
    monkeypatch.setattr(word_region, "IOU", 6 / 15)  # 2 x 3 of 9 + 12 - 6 with the last pixels
    assert not word_region.right_regions(boxes, things).any()
    assert word_region.right_regions(boxes, things, (side, side)).all()
    sizes = []

    def noted(boxes: torch.Tensor, things: Any, size: Any) -> torch.Tensor:
        sizes.append(size)
        return torch.zeros(len(boxes), dtype=torch.bool)

    monkeypatch.setattr(refer, "right_regions", noted)
    data = data_of([sample(0, regions=(Region(BIRD, "bird", phrases=(Phrase("a bird"),)),))])
    for inclusive in (False, True):
        run("refer", told(monkeypatch, bird=0), data, EvalOptions(inclusive_pixels=inclusive))
    assert sizes == [None, (side, side)]
