"""The protocol `corruption`: a classifier of clean images, or copies that look for their originals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deixis.data.quality.corruptions import KINDS, STRENGTHS
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput
from deixis.engine.evaluation.protocols import corruption
from deixis.errors import DeixisError
from deixis.types import Sample, Source
from tests.engine.evaluation.test_copies import Blind
from tests.engine.evaluation.test_protocols import SILENT


def data_of(folder: Path, labels: bool) -> EvalData:
    """Dark and bright images with a few patches."""
    rng, samples = np.random.default_rng(0), []
    for number in range(10 if labels else 4):
        rough = rng.integers(0, 60, (3, 3, 3), dtype=np.uint8) + np.uint8(150 * (number % 2))
        Image.fromarray(rough).resize((16, 16)).save(folder / f"{number}.png")
        label = "bright" if number % 2 else "dark"
        samples.append(Sample(str(number), folder / f"{number}.png", label=label if labels else None))
    source = Source("made", folder, "labels" if labels else "images", "made", tuple(samples))
    return EvalData(source, lambda some: EvalSet.of(some, [each.id for each in some.samples]))


class Colours(Blind):
    """The colours, not centred."""

    def forward(self, images):  # type: ignore[no-untyped-def]
        return images.float().flatten(1) - 100


def run(data: EvalData, model: Blind) -> EvalOutput:
    plan = corruption.prepare(data, EvalOptions(), SILENT)
    return corruption.measure(plan, EvalModel("model", model), EvalOptions(), SILENT)


def test_a_classifier_of_clean_images_is_asked_about_worse_ones(tmp_path: Path) -> None:
    found = run(data_of(tmp_path, True), Colours(True))
    columns = found.arms[""]
    kinds = [f"strength {each}" for each in STRENGTHS]
    assert [column.condition for column in columns if column.metric == "corrupted"] == ["all kinds", *KINDS, *kinds]
    assert columns[Column("clean")].values.all()
    mean = {name: columns[Column("corrupted", name)].estimate().value for name in ("all kinds", *KINDS, *kinds)}
    assert mean["jpeg"] == 1.0
    assert mean["brightness"] < 1.0, "dark images become bright ones"
    assert mean["all kinds"] == pytest.approx(np.mean([mean[kind] for kind in KINDS]))
    assert mean["all kinds"] == pytest.approx(np.mean([mean[kind] for kind in kinds]))


def test_without_labels_images_that_got_worse_look_for_their_originals(tmp_path: Path) -> None:
    data = data_of(tmp_path, False)
    seeing, blind = (run(data, Blind(sees)).arms[""] for sees in (True, False))
    assert seeing[Column("clean")].values.all()
    assert seeing[Column("corrupted", "brightness")].estimate().value > 0.5
    assert not blind[Column("corrupted", "all kinds")].values.any()
    one = dataclasses.replace(data.source, samples=data.source.samples[:1])
    with pytest.raises(DeixisError, match="All images are near-duplicates"):
        corruption.prepare(EvalData(one, lambda some: EvalSet.of(some, ["a"])), EvalOptions(), SILENT)
