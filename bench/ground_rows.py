"""Where `detect_match` points: rows of `results/ground.jsonl`, and the curves and thresholds of its Config.

    python -m bench.ground_rows fit       prints the curves and thresholds, from scenes of the fit seeds
    python -m bench.ground_rows report    adds rows, from scenes of other seeds and from set:photos-boxes/test
    python -m bench.ground_rows blind     adds rows, from set:photos-boxes/blind, by which nothing may be chosen

Scenes are of photographic stamps: of the nouns among the detector's kinds (few cut-outs each, so that seeds share
them), and, for nouns that it does not know, of all others: one half of these nouns to fit on, the other to report.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.rows import ROOT, environment
from deixis.data import catalogue
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.config import BACKGROUNDS
from deixis.data.synthetic.scenes.object_bank import cutouts_of
from deixis.data.synthetic.scenes.wording import article
from deixis.engine.training.build import build
from deixis.inputs.phrases import parse_phrase
from deixis.methods.baselines.detect_match import Config, Method, kind_logits
from deixis.ops.regions.boxes import pairwise_iou
from deixis.types import Sample
from deixis.zoo.word_kinds import kinds_of

__all__ = ["main"]

RESULTS = ROOT / "results" / "ground.jsonl"
FIT_SEED, REPORT_SEED, SCENES, ABSENT = 100, 200, 80, 2
_FALSE_ANSWERS, _RIGHT, _FIRST = 0.05, 0.5, (10, 20)


class Query(NamedTuple):
    """A phrase, and the boxes that it names; none where the thing is not there."""

    phrase: str
    family: str
    boxes: Tensor


def known_scenes(seed: int, tinted: float) -> tuple[Sample, ...]:
    """Scenes of the nouns that are kinds of the detector."""
    return _scenes(seed, tinted, lambda noun: kinds_of(noun) == (noun,))


def unknown_scenes(seed: int, half: int) -> tuple[Sample, ...]:
    """Scenes of one half of the nouns that name no kind."""
    return _scenes(seed, 0.0, lambda noun: not kinds_of(noun) and _half(noun) == half)


def _half(noun: str) -> int:
    return hashlib.sha256(noun.encode()).digest()[0] % 2


def _scenes(seed: int, tinted: float, chosen: Any) -> tuple[Sample, ...]:
    every = cutouts_of(catalogue.read("stamps").samples)
    cast = tuple(each for each in every if each.style == "photo" and chosen(each.noun))
    backgrounds = (*BACKGROUNDS, *["photo"] * len(BACKGROUNDS))
    config = SceneConfig(cast=cast, unseen="nothing", tinted=tinted, backgrounds=backgrounds, masks=False, questions=0)
    return scenes(seed, SCENES, side=256, config=config).samples


def queries(sample: Sample, nouns: Sequence[str]) -> Iterator[Query]:
    """Plain nouns, what is said of one thing alone, and nouns of what is not there."""
    boxes = torch.tensor([region.box for region in sample.regions])
    names = [region.category for region in sample.regions]
    for noun in dict.fromkeys(names):
        yield Query(f"{article(noun)} {noun}", "plain", boxes[[name == noun for name in names]])
    for place, region in enumerate(sample.regions):
        for phrase, family in zip(region.phrases, region.attributes["families"], strict=True):
            yield Query(phrase.text, family, boxes[place, None])
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(sample.id.encode()).digest()[:4], "big"))
    missing = sorted(set(nouns) - set(names))
    for noun in rng.permutation(missing)[:ABSENT].tolist():
        yield Query(f"{article(noun)} {noun}", "absent", boxes[:0])


def photo_queries(sample: Sample) -> Iterator[Query]:
    """The phrases of set:photos-boxes."""
    boxes = torch.tensor([region.box for region in sample.regions])
    places: dict[str, list[int]] = {}
    for place, region in enumerate(sample.regions):
        for phrase in region.phrases:
            places.setdefault(phrase.text, []).append(place)
    for text, found in places.items():
        yield Query(text, "plain" if parse_phrase(text).is_plain else "described", boxes[found])
    for text in sample.extra["absent"]:
        yield Query(text, "absent", boxes[:0])


def answers(method: Method, samples: Iterable[Sample], asked: Any) -> Iterator[tuple[Query, Any, int]]:
    """Each query of each picture with the output of `ground`; pictures come one by one."""
    for sample in samples:
        pixels = method.proposals.preprocess.batch([sample.picture])
        for query in asked(sample):
            output = method.ground(pixels, *method.encoder.tokenize([query.phrase]))
            yield query, output, 0


def measured(method: Method, samples: Iterable[Sample], asked: Any) -> list[dict[str, Any]]:
    """Of each query: whether the centre of its best box, and the box itself, are right; its chance; the source."""
    rows = []
    for query, output, row in answers(method, samples, asked):
        scores = output.scores[row, 0].masked_fill(~output.valid[row], -1)
        best = int(scores.argmax())
        box = output.boxes[row, best, None]
        x, y = (box[0, :2] + box[0, 2:]).tolist()
        inside = any(x0 <= x / 2 <= x1 and y0 <= y / 2 <= y1 for x0, y0, x1, y1 in query.boxes.tolist())
        rows.append(
            {
                "phrase": query.phrase,
                "family": query.family,
                "source": output.sources[row][0],
                "pointing": inside,
                "accuracy": bool(len(query.boxes)) and float(pairwise_iou(box, query.boxes).amax()) >= _RIGHT,
                "chance": float(scores[best]),
                "answered": float(scores[best]) >= float(output.thresholds[row, 0]),
            }
        )
    return rows


def _nouns(samples: Sequence[Sample]) -> list[str]:
    return sorted({region.category for sample in samples for region in sample.regions})


class Boxes(NamedTuple):
    """What a curve weighs of each box of all queries, whether it is right, and the number of its query, negative where
    the thing is not there."""

    features: Tensor
    right: Tensor
    query: Tensor


def boxes_of(method: Method, samples: Sequence[Sample], curve: str) -> Boxes:
    """The boxes of plain nouns, there and absent, as the curve of kinds or of crops sees them."""
    found, nouns = [], _nouns(samples)

    def asked(sample: Sample) -> Iterator[Query]:
        return (each for each in queries(sample, nouns) if each.family in ("plain", "absent"))

    for number, (query, output, row) in enumerate(answers(method, samples, asked), start=1):
        words, regions = parse_phrase(query.phrase).words, method.regions_of_last()
        places = output.valid[row][:-1].nonzero().flatten().tolist()
        if not places:
            continue
        if curve == "crop":
            places = [*places, len(output.valid[row]) - 1]
            values = method.crop_features(regions, row, words)[places]
        else:
            values = method.kind_features(regions, row, method.proposals.classes.index(words), places)
        right, sign = torch.zeros(len(places)), -1
        if len(query.boxes):
            right, sign = (pairwise_iou(output.boxes[row][places], query.boxes) >= _RIGHT).any(1), 1
        found.append(Boxes(values.double(), right.double(), torch.full((len(places),), sign * number)))
    return Boxes(*(torch.cat(column) for column in zip(*found, strict=True)))


def logistic(features: Tensor, right: Tensor) -> Tensor:
    """The weights of a logistic curve, by Newton's method, nearly without a penalty."""
    weights = features.new_zeros(features.shape[1])
    for _ in range(30):
        chances = torch.sigmoid(features @ weights)
        slope = features.T @ (right - chances) - 1e-3 * weights
        curvature = (features * (chances * (1 - chances))[:, None]).T @ features + 1e-3 * torch.eye(len(weights))
        weights = weights + torch.linalg.solve(curvature, slope)
    return weights


def fit(method: Method) -> None:
    """Prints the curves and thresholds."""
    known = boxes_of(method, known_scenes(FIT_SEED, 0.0), "kind")
    _print_curve("kind", known)
    _print_curve("group", known._replace(features=known.features[:, [0, 3]]))
    unknown = boxes_of(method, unknown_scenes(FIT_SEED, 0), "crop")
    _print_curve("crop", unknown)
    _print_sure(unknown)


def _print_curve(name: str, boxes: Boxes) -> None:
    weights = logistic(boxes.features, boxes.right)
    groups = [(int(each), boxes.features[boxes.query == each]) for each in boxes.query.unique()]
    share = Config().crop_share
    logits = {query: kind_logits(x, weights.tolist(), share) if name == "kind" else x @ weights for query, x in groups}
    best = {query: float(torch.sigmoid(values).amax()) for query, values in logits.items()}
    absent = [value for each, value in best.items() if each < 0]
    threshold = float(np.quantile(absent, 1 - _FALSE_ANSWERS))
    there = [value >= threshold for each, value in best.items() if each > 0]
    print(f"{name}_curve {tuple(round(each, 2) for each in weights.tolist())}, {name}_threshold {threshold:.2f}")
    print(
        f"  found: {np.mean(there):.2f} of {len(there)} that are there, 0.05 of {len(absent)} that are not", flush=True
    )


def _print_sure(boxes: Boxes) -> None:
    """How sure the first box of the crops' curve is, by its cosine and margin."""
    order = boxes.features @ logistic(boxes.features, boxes.right)
    places = [(boxes.query == each).nonzero().flatten() for each in boxes.query.unique()]
    firsts = torch.stack([each[order[each].argmax()] for each in places])
    features, there = boxes.features[firsts][:, [0, 1, 3]], boxes.query[firsts] > 0
    weights = logistic(features, boxes.right[firsts])
    chances = torch.sigmoid(features @ weights)
    threshold = float(chances[~there].quantile(1 - _FALSE_ANSWERS))
    answered = float((chances[there] >= threshold).double().mean())
    print(f"crop_sure {tuple(round(each, 2) for each in weights.tolist())}, crop_threshold {threshold:.2f}")
    print(f"  found: {answered:.2f} of {int(there.sum())} that are there", flush=True)


Report = Mapping[str, tuple[Sequence[Sample], Callable[[Sample], Iterator[Query]]]]


def open_sets() -> Report:
    """What the method may be compared on: scenes of seeds that it was not fitted on, and photographs."""
    known = {tinted: known_scenes(REPORT_SEED, tinted) for tinted in (0.0, 1.0)}
    unknown = unknown_scenes(REPORT_SEED, 1)
    return {
        "scenes of known kinds": (known[0.0], lambda each: queries(each, _nouns(known[0.0]))),
        "the same, tinted": (known[1.0], lambda each: queries(each, _nouns(known[1.0]))),
        "scenes of other nouns": (unknown, lambda each: queries(each, _nouns(unknown))),
        **photographs("test"),
    }


def photographs(part: str) -> Report:
    """A part of set:photos-boxes."""
    name = f"photos-boxes/{part}"
    return {name: (catalogue.read(name).samples, photo_queries)}


def report(method: Method, sets: Report) -> None:
    """Adds rows."""
    place = environment(torch.get_num_threads())
    for name, (samples, asked) in sets.items():
        rows = measured(method, samples, asked)
        for family in dict.fromkeys(row["family"] for row in rows):
            for source in ("", *dict.fromkeys(row["source"] for row in rows)):
                group = [r for r in rows if r["family"] == family and source in ("", r["source"])]
                if group:
                    keys = ("pointing", "accuracy", "answered")
                    _write(name, family, source or "all", {key: [row[key] for row in group] for key in keys}, place)
        for count in _FIRST:
            _write(name, "proposals", f"first {count}", {"accuracy": found_among(method, samples, count)}, place)


@torch.inference_mode()
def found_among(method: Method, samples: Iterable[Sample], count: int) -> list[bool]:
    """Of each thing in each picture, whether one of the detector's likeliest boxes overlaps it by half."""
    found: list[bool] = []
    for sample in samples:
        given = method.proposals(method.proposals.preprocess.batch([sample.picture]))
        boxes = given.boxes[0][given.valid[0]][:count]
        wanted = torch.tensor([region.box for region in sample.regions])
        best = pairwise_iou(wanted, boxes).amax(1) if len(boxes) else torch.zeros(len(wanted))
        found += (best >= _RIGHT).tolist()
    return found


def _write(name: str, family: str, source: str, group: Mapping[str, Sequence[bool]], place: dict[str, Any]) -> None:
    means = {key: round(float(np.mean(values)), 4) for key, values in group.items()}
    count = len(next(iter(group.values())))
    row = {"method": "detect_match", "data": name, "family": family, "source": source, "queries": count, **means}
    with open(RESULTS, "a", encoding="utf-8") as file:
        file.write(json.dumps({**row, "commit": place["commit"], "date": place["date"]}) + "\n")
    print(f"{name:24} {family:11} {source:13} {count:5} {means}")


def main(arguments: Sequence[str]) -> None:
    """`fit`, `report` or `blind`."""
    torch.set_num_threads(1)
    method: Any = build("detect_match").eval()
    if arguments[0] == "fit":
        fit(method)
    else:
        report(method, {"report": open_sets, "blind": lambda: photographs("blind")}[arguments[0]]())


if __name__ == "__main__":
    main(sys.argv[1:])
