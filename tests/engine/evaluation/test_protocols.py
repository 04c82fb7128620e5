"""Protocols: what their files declare, what they compute by hand, and that nothing is chosen by what is reported."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deixis import engine
from deixis.engine.evaluation.classify import name_logits, per_class_weights
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.groups import group_columns
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, QueryValues, difference
from deixis.engine.evaluation.probes import PENALTIES
from deixis.engine.evaluation.protocols import (
    knn,
    load_protocol,
    protocol_names,
    read_protocol,
)
from deixis.engine.evaluation.protocols.fairness import association_sets
from deixis.engine.evaluation.selection import require_capabilities, require_fields, select
from deixis.errors import DeixisError
from deixis.ops.metrics import retrieval as retrieved
from deixis.types import CAPABILITIES, Part, Sample, Source
from tests.planted import tiny
from tests.toys import carded

CLASSES = ("ant", "bee", "cow", "dog", "eel", "fox", "gnu")


class Silent:
    """Reports nothing."""

    def say(self, text: str) -> None: ...

    def step(self, name: str) -> Any:
        return self.bar(name)

    def bar(self, name: str) -> Any:
        return contextlib.nullcontext(lambda done, total: None)


@dataclasses.dataclass(frozen=True)
class Numbered:
    """A picture whose pixels say its number."""

    name: str
    number: int

    def draw(self) -> Any:
        return np.full((4, 4, 3), self.number, dtype=np.uint8)


class Reading:
    """Pixels as they are."""

    size = 4

    def read(self, pictures: Sequence[Any], threads: int = 1) -> Tensor:
        return torch.stack([torch.from_numpy(each.draw()).permute(2, 0, 1).float() for each in pictures])


VECTORS = F.normalize(torch.randn(200, 8, generator=torch.Generator().manual_seed(0)), dim=-1)


class Tower(nn.Module):
    """An image tower alone: a vector for each number, near to that of its class."""

    preprocess = Reading()

    def __init__(self, noise: float = 0.4) -> None:
        super().__init__()
        self.weight, self.noise = nn.Parameter(torch.ones(())), noise

    def forward(self, images: Tensor) -> Tensor:
        numbers = images[:, 0, 0, 0].long()
        return 3 * (VECTORS[numbers % len(CLASSES)] + self.noise * VECTORS[100 + numbers % 100]) * self.weight


def sample(number: int, **fields: Any) -> Sample:
    values = {"label": CLASSES[number % len(CLASSES)], "captions": (f"thing {'abcdefghij'[number // 10]}{number}x",)}
    return Sample(f"{number:03}", Numbered(f"{number}", number), **{**values, **fields})


def data_of(samples: Sequence[Sample]) -> EvalData:
    source = Source("made", Path("."), "labels", "made", tuple(samples))
    return EvalData(source, lambda some: EvalSet.of(some, [each.id for each in some.samples]))


SILENT = Silent()
OPTIONS = EvalOptions()
LABELLED = [sample(i, captions=()) for i in range(84)]


def run(name: str, model: EvalModel, data: EvalData, options: EvalOptions = OPTIONS) -> EvalOutput:
    protocol = load_protocol(name)
    output: EvalOutput = protocol.measure(protocol.prepare(data, options, SILENT), model, options, SILENT)
    return output


def mean(output: EvalOutput, metric: str, condition: str = "") -> float:
    return output.arms[""][Column(metric, condition)].estimate().value


# ---- what files declare


@pytest.mark.parametrize("name", protocol_names())
def test_a_protocol_file_declares_what_it_needs_and_reports_and_its_capabilities_name_it(name: str) -> None:
    protocol, module = read_protocol(name), load_protocol(name)
    assert protocol == module.PROTOCOL
    assert callable(module.prepare)
    assert callable(module.measure)
    metrics = [metric.name for metric in protocol.metrics]
    assert len(set(metrics)) == len(metrics) > 0
    assert set(protocol.plots) <= set(metrics)
    for capability in {each for some in protocol.capabilities for each in some}:
        assert name in (*CAPABILITIES[capability].protocols, *CAPABILITIES[capability].later)


@pytest.mark.parametrize("name", CAPABILITIES)
def test_a_capability_names_protocols_that_exist_and_need_it_or_are_marked_as_later(name: str) -> None:
    capability = CAPABILITIES[name]
    assert capability.protocols or capability.later
    for each in capability.protocols:
        assert name in {need for some in read_protocol(each).capabilities for need in some}


def test_an_unknown_protocol_is_answered_with_a_near_one() -> None:
    with pytest.raises(DeixisError, match="retrieval"):
        read_protocol("retrieve")


# ---- k nearest neighbours and the linear probe


def slow_votes(query: list[float], gallery: list[list[float]], labels: list[int], classes: int, k: int) -> list[float]:
    """The equation of DINO's protocol, one neighbour after the other."""

    def cosine(a: list[float], b: list[float]) -> float:
        lengths = [math.sqrt(sum(x * x for x in each)) for each in (a, b)]
        return sum(x * y for x, y in zip(a, b, strict=True)) / (lengths[0] * lengths[1])

    near = sorted(range(len(gallery)), key=lambda i: -cosine(query, gallery[i]))[:k]
    votes = [0.0] * classes
    for i in near:
        votes[labels[i]] += math.exp(cosine(query, gallery[i]) / 0.07)
    return votes


@pytest.mark.parametrize("k", [1, 5, 40])
def test_votes_of_neighbours_are_those_of_the_equation_up_to_their_scale(k: int) -> None:
    rng = torch.Generator().manual_seed(1)
    gallery, queries = torch.randn(30, 6, generator=rng), torch.randn(9, 6, generator=rng)
    labels = torch.arange(30) % 4
    found = knn.neighbour_scores(queries, gallery, labels, 4, k)
    slow = [slow_votes(query, gallery.tolist(), labels.tolist(), 4, k) for query in queries.tolist()]
    expected = torch.tensor(slow, dtype=torch.float64)
    assert torch.allclose(found / found.sum(1, keepdim=True), expected / expected.sum(1, keepdim=True), atol=1e-6)


def test_individuals_are_found_by_an_image_tower_that_knows_no_text() -> None:
    found = run("identity", EvalModel("tower", Tower(noise=0.05)), data_of(LABELLED))
    assert mean(found, "rank1") > 0.9


def test_knn_and_a_linear_probe_measure_an_image_tower_that_knows_no_text() -> None:
    model, data = EvalModel("tower", Tower()), data_of(LABELLED)
    options = EvalOptions(neighbours=(5, 1))
    found = run("knn", model, data, options)
    assert set(found.arms[""]) >= {Column("top1", "k=5"), Column("top1", "k=1"), Column("top5", "k=5")}
    assert 1 / 7 < mean(found, "top1", "k=1") <= mean(found, "top1", "k=5") + 0.3
    assert mean(run("linear", model, data), "top1") > 0.8
    with pytest.raises(DeixisError, match="no encode_text"):
        require_capabilities("retrieval", [model])


def test_labels_of_test_images_change_neither_the_penalty_nor_what_is_learned() -> None:
    """Sides are named, so that the parts stay the same; test images get the labels of others."""
    sides = ["train", "train", "val", "test"]
    honest = [sample(i, captions=(), split=sides[i // 7 % 4]) for i in range(84)]
    spoiled = [
        dataclasses.replace(each, label=CLASSES[(i + 3) % 7]) if each.split == "test" else each
        for i, each in enumerate(honest)
    ]
    model = EvalModel("tower", Tower(noise=0.8))
    first, second = (run("linear", model, data_of(samples)) for samples in (honest, spoiled))
    assert first.facts["penalty"] == second.facts["penalty"]
    assert first.facts["validation_loss"] == second.facts["validation_loss"]
    assert mean(first, "top1") > 0.7
    assert mean(second, "top1") < 0.2


def test_the_penalty_is_the_one_that_explains_validation_images_best() -> None:
    found = run("linear", EvalModel("tower", Tower(noise=1.5)), data_of(LABELLED))
    losses = found.facts["validation_loss"]
    assert losses[str(found.facts["penalty"])] == min(losses.values())
    assert set(map(float, losses)) == set(PENALTIES)


def test_groups_are_measured_apart_and_a_gap_is_stated_where_each_has_a_hundred_images() -> None:
    """The images of one region have noise that the tower does not see through; a third has too few to be compared."""
    regions = ["north" if i % 5 < 3 else "south" for i in range(700)]
    samples = [sample(i % 100, captions=(), extra={"region": regions[i]}) for i in range(700)]
    samples = [dataclasses.replace(each, id=f"{i:03}") for i, each in enumerate(samples)]
    samples[0] = dataclasses.replace(samples[0], extra={"region": "west"})
    found = run("fairness", EvalModel("tower", Tower(noise=0.8)), data_of(samples))
    rows = found.arms[""]
    total = sum(len(rows[Column("hit", f"region: {name}")].values) for name in set(regions))
    assert len(rows[Column("hit")].values) - total <= 1
    assert set(found.facts["gaps"]) == {"hit by region", "precision_at_1 by region"}
    assert any(note.startswith("label among the first 5, by region: ") for note in found.notes)
    few = run("fairness", EvalModel("tower", Tower()), data_of(samples[:140]))
    assert "No gap is stated by region: fewer than two groups have 100 images." in few.notes


def test_association_sets_of_a_json_are_reported_by_group_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    samples = [
        dataclasses.replace(sample(i % 5, captions=(), extra={"region": "we"[i % 2]}), id=f"{i:03}") for i in range(60)
    ]
    labels = sorted({str(each.label) for each in samples})
    file = tmp_path / "sets.json"
    file.write_text(json.dumps({"first": labels[:1], "all": labels}), encoding="utf-8")
    options = dataclasses.replace(OPTIONS, associations=str(file))
    rows = run("fairness", EvalModel("tower", Tower()), data_of(samples), options).arms[""]
    assert rows[Column("associated", "all")].values.mean() == 1.0
    own = [each.label == labels[0] for each in samples]
    assert 0 < rows[Column("associated", "first")].values.mean() < 1
    assert sum(own) == 12
    sizes = [len(rows[Column("associated", f"first; region: {name}")].values) for name in "ew"]
    assert sum(sizes) == len(rows[Column("associated", "first")].values)
    for text, said in (
        ("[1]", "holds no association sets"),
        ("{", "can't be read"),
        (json.dumps({"first": [f"{labels[0]}x"]}), f"which is no label.*Near labels: {labels[0]}"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(DeixisError, match=said):
            association_sets(str(file), labels)


class Embedding(Tower):
    """A tower that calls its vectors embeddings."""

    def encode_image(self, images: Tensor) -> Tensor:
        return self(images)


def test_a_picture_that_is_alone_only_answers_and_things_told_apart_by_groups_beat_their_labels() -> None:
    """Two pictures of each of ten things, of which the tower sees the same, and one of another."""
    pairs = [sample(i // 2, captions=(), label="all", groups=(f"thing {i // 2}",)) for i in range(20)]
    samples = [dataclasses.replace(each, id=f"{i:03}") for i, each in enumerate(pairs)]
    found = run("identity", EvalModel("tower", Embedding()), data_of([*samples, sample(50, groups=("alone",))]))
    values = found.arms[""][Column("rank1")]
    assert len(values.values) == 20
    assert values.values.all()
    assert mean(found, "mean_average_precision") == 1.0
    assert any("1 of 21 pictures are the only one of their thing" in note for note in found.notes)
    with pytest.raises(DeixisError, match="--group product_id"):
        run("identity", EvalModel("tower", Embedding()), data_of(samples[::2]))


def test_data_without_a_column_of_groups_or_with_one_group_are_refused() -> None:
    with pytest.raises(DeixisError, match=r"no demographics, which fairness needs.*gender, tone, region"):
        require_fields("fairness", data_of(LABELLED))
    alone = data_of([dataclasses.replace(each, extra={"region": "north"}) for each in LABELLED])
    assert not alone.has("demographics")


def test_incomes_are_put_into_three_levels_and_words_are_refused() -> None:
    samples = [sample(i, extra={"income": value}) for i, value in enumerate((50, "400", 4000.0, None))]
    assert group_columns(samples) == {"income": ("low", "medium", "high", "")}
    with pytest.raises(DeixisError, match="The income 'much' is no number"):
        group_columns([sample(0, extra={"income": "much"})])


def test_weights_of_the_mean_per_class_make_every_class_count_the_same() -> None:
    labels, right = torch.tensor([0, 0, 0, 1]), np.array([1.0, 1.0, 0.0, 0.0])
    assert (right * per_class_weights(labels)).mean() == pytest.approx((2 / 3 + 0) / 2)


# ---- images and text


class Pairing(nn.Module):
    """Compares images with captions by the product of two vectors that it keeps to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = tiny()

    def compare(self, images: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.encoder.encode_image(images) @ self.encoder.encode_text(tokens, mask=mask).T


PAIRING = carded(Pairing, capabilities=("compare",), parts=(Part("encoder", "dual_encoder"),))


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvalData:
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path))
    return data_of(
        [sample(i, captions=(f"thing {i % 5}", f"other {i}"), extra={"style": "xyz"[i % 3]}) for i in range(12)]
    )


def test_scores_of_pairs_and_products_of_embeddings_give_the_same_retrieval(pictures: EvalData) -> None:
    by_vectors = run("retrieval", EvalModel("tiny", tiny()), pictures)
    by_pairs = run("retrieval", EvalModel("pairs", PAIRING()), pictures)
    for _, column, values in by_vectors:
        assert np.array_equal(values.values, by_pairs.arms[""][column].values), column


def test_retrieval_of_one_caption_an_image_is_that_of_the_metrics(pictures: EvalData) -> None:
    one = data_of([dataclasses.replace(each, captions=each.captions[:1]) for each in pictures.source.samples])
    found, encoder = run("retrieval", EvalModel("tiny", tiny()), one), tiny()
    texts = [each.captions[0] for each in one.source.samples]
    images = encoder.encode_image(encoder.preprocess.read([each.picture for each in one.source.samples]))
    keys = torch.tensor([texts.index(text) for text in texts])
    expected = retrieved(images.detach(), encoder.encode_text(texts), keys)
    for name, values in expected.items():
        assert found.arms[""][Column(name)].values == pytest.approx(values.numpy()), name


def test_every_caption_of_an_image_is_a_query_of_its_own(pictures: EvalData) -> None:
    found = run("retrieval", EvalModel("tiny", tiny()), pictures)
    assert len(found.arms[""][Column("text_to_image_r1")].values) == 24
    assert len(found.arms[""][Column("image_to_text_r1")].values) == 12
    assert found.facts == {"images": 12, "captions": 17}


def test_captions_that_all_say_the_same_are_refused(pictures: EvalData) -> None:
    same = data_of([dataclasses.replace(each, captions=("a thing",)) for each in pictures.source.samples])
    with pytest.raises(DeixisError, match="nothing to retrieve"):
        run("retrieval", EvalModel("tiny", tiny()), same)


def test_class_vectors_are_means_over_templates_and_scores_of_pairs_are_averaged(pictures: EvalData) -> None:
    data, templates, encoder = pictures.labelled(), ("a {}.", "the {} there"), tiny()
    found = name_logits(EvalModel("tiny", encoder), data, CLASSES, templates, SILENT)
    rows = [encoder.encode_text([template.format(name) for template in templates]).mean(0) for name in CLASSES]
    images = encoder.encode_image(encoder.preprocess.read(data.pictures)).detach()
    assert torch.allclose(found, images @ F.normalize(torch.stack(rows), dim=-1).T, atol=1e-5)
    pairs = name_logits(EvalModel("pairs", PAIRING()), data, CLASSES, templates, SILENT)
    assert torch.allclose(pairs, images @ torch.stack(rows).T, atol=1e-5)
    with pytest.raises(DeixisError, match="has no"):
        name_logits(EvalModel("tiny", encoder), data, CLASSES, ("a thing",), SILENT)


def test_the_worst_style_is_the_one_with_the_lowest_value(pictures: EvalData) -> None:
    found = run("robustness", EvalModel("tiny", tiny()), pictures)
    styles = {style: mean(found, "style", style) for style in "xyz"}
    assert mean(found, "worst_style") == min(styles.values())
    assert mean(found, "all_styles") == pytest.approx(sum(styles.values()) / 3)
    captions = data_of([dataclasses.replace(each, label=None) for each in pictures.source.samples])
    by_caption = run("robustness", EvalModel("tiny", tiny()), captions)
    whole = run("retrieval", EvalModel("tiny", tiny()), captions)
    assert mean(by_caption, "all_styles") == pytest.approx(mean(whole, "mean_r1"))


class SketchesLookLikeAnother(Tower):
    """A tower to which what is numbered from 56 on looks like the next class."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images + (images >= 56))


def test_a_probe_of_one_style_is_tested_on_each_by_towers_without_text() -> None:
    drawn = [sample(i, captions=(), extra={"style": "photo" if i < 56 else "sketch"}) for i in range(98)]
    for tower, other in ((Tower(0.0), 1.0), (SketchesLookLikeAnother(0.0), 0.0)):
        found = run("style", EvalModel("tower", tower), data_of(drawn))
        assert mean(found, "own_style") == mean(found, "accuracy", "photo") == 1.0
        assert mean(found, "other_styles") == mean(found, "accuracy", "sketch") == other
    assert found.facts["style"] == "photo", "that with the most images"
    chosen = run("style", EvalModel("tower", Tower(0.0)), data_of(drawn), EvalOptions(style="sketch"))
    assert chosen.facts["style"] == "sketch"
    with pytest.raises(DeixisError, match="of the style 'oil'"):
        run("style", EvalModel("tower", Tower()), data_of(drawn), EvalOptions(style="oil"))
    few = [each for each in drawn if each.extra["style"] == "photo" or each.id in ("056", "057")]
    with pytest.raises(DeixisError, match="Too few images of the style 'sketch'"):
        run("style", EvalModel("tower", Tower()), data_of(few), EvalOptions(style="sketch"))


class Naming(Tower):
    """A classifier of all classes but the last, in an order of its own."""

    names = ("fox", "ant", "bee", "cow", "dog", "eel")

    def classify(self, images: Tensor) -> Tensor:
        return F.one_hot((images[:, 0, 0, 0].long() % 7 + 1) % 6, 6).float()


carded(Naming, capabilities=("classify",))


def test_a_classifier_is_asked_by_the_names_that_it_has_learned() -> None:
    known = data_of([each for each in LABELLED if each.label != "gnu"])
    assert mean(run("classification", EvalModel("naming", Naming()), known), "top1") == 1.0
    with pytest.raises(DeixisError, match="not trained on 1 of the 7 classes, such as 'gnu'"):
        run("classification", EvalModel("naming", Naming()), data_of(LABELLED))


# ---- choice and comparison


def test_protocols_are_chosen_by_capabilities_and_fields_and_the_rest_is_given_a_reason(pictures: EvalData) -> None:
    models = [EvalModel("tiny", tiny()), EvalModel("tower", Tower())]
    found = select(pictures, models)
    assert list(found.models) == ["retrieval", "zero-shot", "described", "robustness", "knn", "linear", "style"]
    assert found.reasons["fairness"] == "no demographics"
    assert [model.name for model in found.models["knn"]] == ["tiny", "tower"]
    assert [model.name for model in found.models["retrieval"]] == ["tiny"]
    assert found.reasons["retrieval"] == "tower has no encode_text: left out"
    assert found.reasons["saliency"] == "no boxes"
    assert "--protocol few-shot" in found.reasons["few-shot"]
    bare = select(data_of([sample(i, captions=()) for i in range(12)]), models[1:])
    assert list(bare.models) == ["knn", "linear"]
    assert bare.reasons["robustness"] == "no style"


def test_of_what_a_model_can_do_and_no_protocol_measures_the_report_says_so() -> None:
    model = EvalModel("focused", carded(type("Focused", (Tower,), {}), capabilities=("encode_about",))())
    assert select(data_of(LABELLED), [model]).reasons["aspects"] == "is not measured by this version"


def test_missing_fields_are_named_with_a_cure() -> None:
    with pytest.raises(DeixisError, match=r"made has no captions, which retrieval needs.*column `caption`"):
        require_fields("retrieval", data_of(LABELLED))


def test_a_model_differs_from_itself_by_nothing_and_pairs_are_of_the_same_queries() -> None:
    values, clusters = np.arange(6.0), np.array([0, 0, 1, 1, 2, 2])
    one = QueryValues(values, tuple("abcdef"), clusters)
    assert difference(one, one) == (0.0, 0.0, 0.0)
    more = dataclasses.replace(one, values=values + np.array([0, 0, 1, 1, 2, 2]))
    value, low, high = difference(more, one)
    assert value == 1.0
    assert low == 0.0
    assert high == 2.0
    others = dataclasses.replace(more, queries=tuple("ghijkl"))
    assert difference(others, one) == (1.0, None, None)
    assert QueryValues(values, one.queries, np.zeros(6, dtype=np.int64)).estimate().low is None


# ---- methods of each kind


@pytest.mark.parametrize(
    ("method", "able", "unable"),
    [
        ("clip", ("retrieval", "zero-shot", "knn"), "classification"),
        ("filip", ("retrieval", "zero-shot", "robustness"), "knn"),
        ("residual", ("retrieval", "linear"), "classification"),
        ("zero_shot", ("classification",), "retrieval"),
    ],
)
def test_a_method_is_measured_by_what_its_card_offers(
    method: str, able: tuple[str, ...], unable: str, pictures: EvalData
) -> None:
    config = {"names": CLASSES} if method == "zero_shot" else {}
    model = EvalModel(method, engine.build(method, "tiny", config))
    for name in able:
        require_capabilities(name, [model])
    output = run(able[0], model, pictures)
    assert all(np.isfinite(values.values).all() for _, _, values in output)
    assert len(model.fingerprint) == 64
    with pytest.raises(DeixisError, match=f"can't be measured by {unable}"):
        require_capabilities(unable, [model])


def test_corrections_of_a_frozen_encoder_are_part_of_what_is_measured(pictures: EvalData) -> None:
    method = engine.build("residual", "tiny")
    for adapter in method.adapters():
        for parameter in [] if adapter is None else adapter.parameters():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    plain, corrected = EvalModel("plain", tiny()), EvalModel("corrected", method)
    data = pictures.captioned()
    embeddings = corrected.image_embeddings(data, SILENT)
    assert not torch.allclose(plain.image_embeddings(data, SILENT), embeddings, atol=1e-3)
    encoder = tiny().with_adapters(*method.adapters()).eval()
    assert torch.allclose(encoder.encode_image(encoder.preprocess.read(data.pictures)), embeddings, atol=1e-5)
