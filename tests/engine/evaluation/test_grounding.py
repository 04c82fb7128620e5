"""Phrases about pictures: what they are measured by, by hand and against slow loops, and who answers them."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deixis import zoo
from deixis.data.loading.crops import Window
from deixis.engine.evaluation.average_precision import BoxRow, average_precision
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.grounders import CONTROLS, answer_by_method, control
from deixis.engine.evaluation.grounding import (
    PhraseAnswer,
    PhraseQuery,
    grounding_values,
    phrase_family,
    phrase_queries,
)
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, QueryValues
from deixis.engine.evaluation.protocols import answer as answer_protocol
from deixis.engine.evaluation.protocols import detection, grounding
from deixis.errors import DeixisError
from deixis.types import GroundOutput, Mask, Part, Phrase, Question, Region, Sample, Source
from tests.capable import COLOURS, Answerer, Grounder
from tests.engine.evaluation.test_protocols import SILENT
from tests.toys import carded

SIDE = 32


@dataclasses.dataclass(frozen=True)
class Coloured:
    """A grey picture with a rectangle of each colour that is given a box, in pixels of `SIDE`."""

    name: str
    boxes: tuple[tuple[str, int, int, int, int], ...]

    def draw(self) -> Any:
        image = np.full((SIDE, SIDE, 3), 128, dtype=np.uint8)
        for colour, x0, y0, x1, y1 in self.boxes:
            image[y0:y1, x0:x1] = [255 if colour == each else 0 for each in COLOURS]
        return image


def coloured(name: str, *boxes: tuple[str, int, int, int, int]) -> Sample:
    """A picture with the phrase "a red thing" for its red rectangle, and so on; what it does not show is absent."""
    regions = tuple(
        Region((x0 / SIDE, y0 / SIDE, x1 / SIDE, y1 / SIDE), colour, (Phrase(f"a {colour} thing"),))
        for colour, x0, y0, x1, y1 in boxes
    )
    absent = tuple(f"a {each} thing" for each in COLOURS if each not in {box[0] for box in boxes})
    return Sample(name, Coloured(name, boxes), regions=regions, extra={"absent": absent})


PICTURES = (
    coloured("a", ("red", 2, 2, 12, 12), ("green", 20, 20, 30, 30)),
    coloured("b", ("blue", 8, 4, 24, 28)),
    coloured("c", ("green", 0, 0, 8, 32), ("blue", 12, 2, 30, 10)),
)


def data_of(samples: Sequence[Sample]) -> EvalData:
    source = Source("made", Path("."), "images", "made", tuple(samples))
    return EvalData(source, lambda some: EvalSet.of(some, [each.id for each in some.samples]))


def region(*box: float, mask: Mask | None = None) -> Region:
    return Region((box[0], box[1], box[2], box[3]), "thing", mask=mask)


def answer(*boxes: Sequence[float], score: float = 0.5, **fields: Any) -> PhraseAnswer:
    scores = torch.tensor([score - 0.01 * place for place in range(len(boxes))])
    return PhraseAnswer(given(*boxes), scores, **fields)


def given(*boxes: Sequence[float]) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def values(*pairs: tuple[PhraseQuery, PhraseAnswer]) -> dict[Column, QueryValues]:
    data = data_of([Sample(name, Path(name), regions=(region(0.0, 0.0, 1.0, 1.0),)) for name in "abc"]).boxed()
    return grounding_values(data, [query for query, _ in pairs], [said for _, said in pairs])


LEFT, RIGHT = (0.0, 0.0, 0.4, 1.0), (0.6, 0.0, 1.0, 1.0)
ONE = PhraseQuery(0, "a thing", "noun", (region(*LEFT),))
BOTH = PhraseQuery(1, "two things", "plural", (region(*LEFT), region(*RIGHT)))
NONE = PhraseQuery(2, "a unicorn", "noun", ())


# ---- which phrases there are


def test_a_phrase_of_several_regions_is_one_query_for_all_of_them_and_absent_phrases_are_queries_for_none() -> None:
    two, first = Phrase("two dogs"), Phrase("the dog left of the other", (1,))
    regions = (Region((0.0, 0.0, 0.4, 1.0), "dog", (two, first)), Region((0.5, 0.0, 1.0, 1.0), "dog", (two,)))
    sample = Sample("a", None, regions=regions, extra={"absent": ("a cat",)})
    found = [(each.phrase, each.family, len(each.regions)) for each in phrase_queries([sample])]
    assert found == [("two dogs", "plural", 2), ("the dog left of the other", "relation", 1), ("a cat", "noun", 0)]


@pytest.mark.parametrize(
    ("phrase", "family"),
    [
        ("the largest cow", "size"),
        ("the cow on the right", "place"),
        ("the white horse", "colour"),
        ("the dog in front of the bicycle", "relation"),
        ("the left one", "other"),
        ("an owl", "noun"),
    ],
)
def test_the_family_of_a_phrase_is_what_tells_its_thing_from_others(phrase: str, family: str) -> None:
    assert phrase_family(phrase) == family


# ---- one value a phrase


def test_recall_counts_the_first_boxes_and_any_of_the_things_named() -> None:
    wrong = (0.0, 0.0, 0.1, 0.1)
    found = values((ONE, answer(wrong, wrong, LEFT)), (BOTH, answer(RIGHT)))
    assert found[Column("any_r1")].values.tolist() == [0, 1]
    assert found[Column("any_r5")].values.tolist() == [1, 1]


def test_a_merged_box_is_around_all_things_named() -> None:
    found = values((BOTH, answer(RIGHT, (0.0, 0.0, 1.0, 1.0))))
    assert found[Column("merged_r1")].values.tolist() == [0]
    assert found[Column("merged_r5")].values.tolist() == [1]


def test_accuracy_is_of_phrases_that_name_one_thing_and_giou_is_stricter() -> None:
    inside, beside = (0.0, 0.0, 0.4, 0.52), (0.08, 0.15, 0.48, 1.15)  # IoU 0.52 both; of one the hull is larger
    found = values((ONE, answer(inside)), (ONE, answer(beside)), (BOTH, answer(LEFT)))
    assert found[Column("accuracy")].values.tolist() == [1, 1]
    assert found[Column("accuracy_giou")].values.tolist() == [1, 0]


def test_pointing_asks_where_the_middle_of_the_best_box_lies() -> None:
    found = values((ONE, answer((0.0, 0.0, 0.7, 1.0))), (BOTH, answer((0.0, 0.0, 1.0, 1.0))), (ONE, answer()))
    assert found[Column("pointing")].values.tolist() == [1, 0, 0]


def test_a_point_is_measured_by_pointing_alone() -> None:
    found = values((ONE, answer((0.2, 0.5, 0.2, 0.5))))
    assert {column.metric for column in found} == {"pointing"}


def test_of_several_things_each_is_found_once_and_boxes_too_many_cost() -> None:
    again = (0.0, 0.0, 0.4, 0.9)
    every = (LEFT, RIGHT), (LEFT, again), (LEFT, again, RIGHT), ()
    found = values(*((BOTH, answer(LEFT, given=given(*each))) for each in every))
    np.testing.assert_allclose(found[Column("several_f1")].values, [1, 2 / 4, 4 / 5, 0])


def test_absent_phrases_are_told_apart_by_the_best_score_and_half_counts_for_a_tie() -> None:
    low, high = answer(LEFT, score=0.2, given=given()), answer(LEFT, score=0.9, given=given(LEFT))
    found = values((ONE, high), (ONE, low), (NONE, low), (NONE, answer(score=0.0, given=given())))
    assert found[Column("auroc")].values.tolist() == [1, 0.75]
    assert found[Column("false_answers")].values.tolist() == [0, 0]
    assert found[Column("answered")].values.tolist() == [1, 0]


def test_a_score_counts_as_a_multiple_of_what_the_phrase_needs() -> None:
    described, plain = answer(LEFT, score=0.3, threshold=0.2), answer(LEFT, score=0.5, threshold=0.6)
    assert values((ONE, described), (NONE, plain))[Column("auroc")].values.tolist() == [1]


def test_auroc_is_the_chance_that_a_phrase_of_something_there_scores_higher() -> None:
    rng = random.Random(0)
    there, gone = ([rng.choice((0.1, 0.2, 0.3, 0.4)) for _ in range(20)] for _ in range(2))
    pairs = [(ONE, answer(LEFT, score=s)) for s in there] + [(NONE, answer(LEFT, score=s)) for s in gone]
    slow = np.mean([(a > b) + 0.5 * (a == b) for a in there for b in gone])
    assert values(*pairs)[Column("auroc")].values.mean() == pytest.approx(slow)


def test_what_is_found_at_five_per_cent_beats_all_but_one_in_twenty_absent_phrases() -> None:
    gone = [(NONE, answer(LEFT, score=place / 20)) for place in range(20)]
    there = [(ONE, answer(box, score=score)) for box, score in ((LEFT, 0.91), (LEFT, 0.89), (RIGHT, 0.96))]
    assert values(*there, *gone)[Column("found_at_5")].values.tolist() == [1, 0, 0]


def test_values_stand_by_family_size_and_source_and_pictures_are_the_clusters() -> None:
    small = PhraseQuery(0, "the red thing", "colour", (region(0.0, 0.0, 0.1, 0.1),))
    found = values((ONE, answer(LEFT, source="kind")), (small, answer(LEFT, source="crop")), (BOTH, answer(RIGHT)))
    conditions = {
        column.condition: each.values.tolist() for column, each in found.items() if column.metric == "pointing"
    }
    assert conditions == {
        "": [1, 0, 1],
        "family colour": [0],
        "family noun": [1],
        "family plural": [1],
        "size small": [0],
        "size large": [1, 1],
        "source crop": [0],
        "source kind": [1],
    }
    assert found[Column("pointing")].clusters.tolist() == [0, 0, 1]


def test_masks_are_compared_where_the_model_sees_the_picture() -> None:
    left = Mask(8, 8, polygons=((0.0, 0.0, 4.0, 0.0, 4.0, 8.0, 0.0, 8.0),))
    query = PhraseQuery(0, "a thing", "noun", (region(*LEFT, mask=left),))
    pixels = torch.zeros(4, 4, dtype=torch.bool)
    pixels[:, :2] = True
    whole = values((query, answer(LEFT, mask=pixels)))
    assert whole[Column("mask_iou")].values.tolist() == [1]
    half = values((query, answer(LEFT, mask=torch.ones_like(pixels))), (query, answer(LEFT, mask=pixels)))
    assert half[Column("mask_iou")].values.tolist() == [0.5, 1]
    assert half[Column("mask_overall")].values.mean() == pytest.approx(16 / 24)
    padded = values((query, answer(LEFT, mask=pixels, window=Window(-1.0, 0.0, 1.0, 1.0))))
    assert padded[Column("mask_iou")].values.tolist() == [0], "the left half of what it saw was padding"


# ---- who answers


def test_a_method_that_is_right_is_right_about_everything() -> None:
    plan = grounding.prepare(data_of(PICTURES), EvalOptions(), SILENT)
    output = grounding.measure(plan, EvalModel("toy", Grounder()), EvalOptions(methods=("middle",)), SILENT)
    right = {metric: output.arms[""][Column(metric)].estimate().value for metric in ("any_r1", "accuracy", "pointing")}
    assert right == {"any_r1": 1, "accuracy": 1, "pointing": 1}
    assert output.arms["middle"][Column("pointing")].estimate().value < 1
    assert output.facts == {"images": 3, "phrases": 5, "absent": 4}


def test_boxes_of_a_model_that_sees_a_part_lie_on_the_whole_picture() -> None:
    wide = dataclasses.replace(PICTURES[0], image=Wide())
    data = data_of([wide]).boxed(phrases=True)
    queries = [each for each in phrase_queries(data.samples) if each.phrase == "a red thing"]
    model = Grounder()
    assert model.encoder.preprocess.mode != "squash"
    (found,) = answer_by_method(model, data, queries, lambda done, total: None)
    torch.testing.assert_close(found.boxes[0], torch.tensor([0.45, 0.25, 0.55, 0.75]), atol=0.03, rtol=0)


@dataclasses.dataclass(frozen=True)
class Wide:
    """Twice as wide as high, a red rectangle in the middle."""

    name: str = "wide"

    def draw(self) -> Any:
        image = np.full((100, 200, 3), 128, dtype=np.uint8)
        image[25:75, 90:110] = (255, 0, 0)
        return image


class Careful(Grounder):
    """Says of colours that are not there that nothing is, and how it came to know."""

    def ground(self, *args: Any, **kwargs: Any) -> GroundOutput:
        output = super().ground(*args, **kwargs)
        thresholds = torch.full(output.scores.shape[:2], 0.5)
        return dataclasses.replace(output, thresholds=thresholds, sources=(("pixels",),) * len(thresholds))


carded(
    Careful,
    kind="training-free",
    needs=(),
    parts=(Part("encoder", "dual_encoder", frozen=True),),
    capabilities=("ground",),
)


def test_what_reaches_the_threshold_is_the_answer_and_its_source_is_a_condition() -> None:
    plan = grounding.prepare(data_of(PICTURES), EvalOptions(), SILENT)
    output = grounding.measure(plan, EvalModel("toy", Careful()), EvalOptions(methods=("middle",)), SILENT)
    found = {column: each.estimate().value for column, each in output.arms[""].items()}
    assert (found[Column("answered")], found[Column("false_answers")], found[Column("auroc")]) == (1, 0, 1)
    assert found[Column("pointing", "source pixels")] == 1
    assert Column("answered") not in output.arms["middle"]


@pytest.mark.parametrize("name", [*CONTROLS, "windows"])
def test_every_control_answers_every_phrase_inside_the_picture(name: str) -> None:
    data = data_of(PICTURES).boxed(phrases=True)
    queries = phrase_queries(data.samples)
    found = control(name, data, queries, zoo.load("tiny"), zoo.load_part("proposals", "tiny"))
    assert len(found) == len(queries)
    for each in found:
        assert each.boxes.ge(0).all()
        assert each.boxes.le(1).all()
        assert each.scores.tolist() == sorted(each.scores.tolist(), reverse=True)


def test_what_an_unknown_control_is_answered_with_names_those_there_are() -> None:
    with pytest.raises(DeixisError, match="middle, largest, crops, normgrad"):
        control("mist", data_of(PICTURES).boxed(), [], zoo.load("tiny"), None)
    with pytest.raises(DeixisError, match="deixis data get detector"):
        control("largest", data_of(PICTURES).boxed(), [], zoo.load("tiny"), None)


def test_without_a_detector_its_controls_are_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = grounding.prepare(data_of(PICTURES), EvalOptions(), SILENT)
    monkeypatch.setattr(grounding, "PROTOCOL", dataclasses.replace(grounding.PROTOCOL, methods=("middle", "crops")))
    output = grounding.measure(plan, EvalModel("toy", Grounder()), EvalOptions(), SILENT)
    assert list(output.arms) == ["", "middle"]
    assert any(note.startswith("crops is left out: ") and "detector" in note for note in output.notes)


# ---- average precision


def slow_precision(truth: Sequence[BoxRow], predicted: Sequence[BoxRow], category: int, least: float) -> float:
    """The definition: boxes by score, each matched to the best free one of its picture; the mean over 101 recalls of
    the highest precision from there on."""
    wanted = [each for each in truth if each.category == category]
    free, hits, points = set(range(len(wanted))), 0, []
    mine = sorted((each for each in predicted if each.category == category), key=lambda each: -each.score)
    for count, each in enumerate(mine, 1):
        near = [(overlap(each.box, wanted[i].box), i) for i in free if wanted[i].picture == each.picture]
        best, place = max(near, default=(0.0, -1))
        if best >= least:
            free.remove(place)
            hits += 1
        points.append((hits / len(wanted), hits / count))
    levels = [max((p for r, p in points if r >= level - 1e-12), default=0.0) for level in np.linspace(0, 1, 101)]
    return float(np.mean(levels))


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    inside = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return inside / (sum(area) - inside)


def random_boxes(rng: random.Random) -> tuple[list[BoxRow], list[BoxRow]]:
    truth, predicted = [], []
    for picture in range(6):
        for _ in range(rng.randint(1, 5)):
            x, y, w, h = (rng.uniform(0, 60), rng.uniform(0, 60), rng.uniform(5, 120), rng.uniform(5, 120))
            category = rng.randrange(3)
            truth.append(BoxRow(picture, category, (x, y, x + w, y + h)))
            for _ in range(rng.randint(0, 3)):
                moved = (x + rng.gauss(0, 4), y + rng.gauss(0, 4))
                box = (*moved, moved[0] + w * rng.uniform(0.8, 1.2), moved[1] + h * rng.uniform(0.8, 1.2))
                predicted.append(BoxRow(picture, category, (box[0], box[1], box[2], box[3]), rng.random()))
    return truth, predicted


def test_average_precision_is_that_of_a_slow_loop() -> None:
    pytest.importorskip("faster_coco_eval")
    truth, predicted = random_boxes(random.Random(1))
    found = average_precision([(200, 200)] * 6, 4, truth, predicted)
    for name, least in (("ap50", 0.5), ("ap75", 0.75)):
        slow = [slow_precision(truth, predicted, category, least) for category in range(3)]
        np.testing.assert_allclose(found[name][:3], slow, atol=1e-9)
    assert np.isnan(found["ap"][3]), "no box is of the last category"
    assert average_precision([(200, 200)] * 6, 3, truth, [])["ap"].tolist() == [0, 0, 0]


def test_average_precision_is_that_of_pycocotools() -> None:
    pytest.importorskip("faster_coco_eval")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    coco = pytest.importorskip("pycocotools.coco")
    from deixis.engine.evaluation.average_precision import _annotations, _row

    truth, predicted = random_boxes(random.Random(2))
    sizes = [(200, 200)] * 6
    with contextlib.redirect_stdout(None):
        wanted = coco.COCO()
        wanted.dataset = _annotations(sizes, 3, truth)
        wanted.createIndex()
        given = wanted.loadRes([{**_row(each), "score": each.score} for each in predicted])
        theirs = cocoeval.COCOeval(wanted, given, "bbox")
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    ours = average_precision(sizes, 3, truth, predicted)
    means = [float(np.nanmean(ours[name])) for name in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")]
    np.testing.assert_allclose(means, theirs.stats[:6], atol=1e-9)
    assert np.nanmean(ours["ar"]) == pytest.approx(theirs.stats[8])


def test_a_detector_of_all_categories_has_an_average_precision_of_one() -> None:
    pytest.importorskip("faster_coco_eval")
    plan = detection.prepare(data_of(PICTURES), EvalOptions(), SILENT)
    assert plan.categories == ("blue", "green", "red")
    output = detection.measure(plan, EvalModel("toy", Grounder()), EvalOptions(), SILENT)
    ap = output.arms[""][Column("ap50")]
    assert ap.queries == plan.categories
    assert ap.estimate() == (1.0, None, None)


def test_without_the_package_average_precision_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faster_coco_eval", None)
    with pytest.raises(DeixisError, match=r"pip install 'deixis\[eval\]'"):
        detection.prepare(data_of(PICTURES), EvalOptions(), SILENT)


# ---- answers


def test_answers_are_compared_without_capitals_and_by_kind_beside_the_commonest_answer() -> None:
    def questions(picture: Sample) -> tuple[Question, ...]:
        there = {region.category for region in picture.regions}
        return tuple(Question(f"is it {each}?", "Yes" if each in there else "no", f"about {each}") for each in COLOURS)

    samples = [dataclasses.replace(each, questions=questions(each)) for each in PICTURES]
    plan = answer_protocol.prepare(data_of(samples), EvalOptions(), SILENT)
    output = answer_protocol.measure(plan, EvalModel("toy", Answerer()), EvalOptions(), SILENT)
    found = {column: each.estimate().value for column, each in output.arms[""].items()}
    assert {value for column, value in found.items() if column.metric == "accuracy"} == {1.0}
    assert found[Column("commonest", "about red")] == pytest.approx(2 / 3)
    assert output.facts == {"images": 3, "questions": 9}
