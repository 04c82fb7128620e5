"""Methods that read the cells of images, always or with some settings: cells reach them, and are missed where there
are none."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis.engine.fewshot import few_shot
from deixis.engine.fewshot.benchmark import FewShotBenchmark, named
from deixis.engine.fewshot.draws import Labelled
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from tests.prompting import clip_like

NAMES = ("heron", "ice cream", "bee", "moon")
HEAD = {"context": "off", "most_phrases": 0, "head": True}
FAST = {"epochs": 12, "learning_rate": 0.05}


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    return clip_like()


@pytest.fixture(scope="module")
def bench(encoder: DualEncoder) -> FewShotBenchmark:
    """Images that are alike as wholes: one cell of nine tells the class, by a direction that the names do not know."""
    rng, labels = torch.Generator().manual_seed(0), torch.arange(24) % len(NAMES)

    def noise(*shape: int) -> Tensor:
        return F.normalize(torch.randn(*shape, generator=rng), dim=-1)

    cells = noise(24, 9, encoder.width)
    cells[torch.arange(24), torch.arange(24) % 9] = 3 * noise(len(NAMES), encoder.width)[labels]
    whole = F.normalize(torch.ones(24, encoder.width) + 0.01 * noise(24, encoder.width), dim=-1)
    data = Labelled(tuple(map(str, range(24))), tuple(NAMES[i] for i in labels), tuple(range(24)), (), ())
    return FewShotBenchmark(encoder, data, whole, torch.zeros(24, encoder.feature_width), cells)


def right(bench: FewShotBenchmark, method: str, settings: dict[str, Any]) -> float:
    found = bench.evaluate(method, settings, range(12), NAMES, [(range(12, 24), NAMES)], 0)
    return float(found.right[0].mean())


def test_whether_cells_are_read_hangs_on_the_settings(encoder: DualEncoder) -> None:
    assert not few_shot.reads_cells("kapt", encoder, NAMES, {"head": False})
    assert few_shot.reads_cells("kapt", encoder, NAMES, HEAD)
    assert few_shot.reads_cells("best_cell", encoder, NAMES)
    assert few_shot.reads_cells("mutual_prompt", encoder, NAMES)
    assert not any(few_shot.reads_cells(name, encoder, NAMES) for name in ("auto", "linear", "gist"))


@pytest.mark.slow
def test_the_head_of_kapt_finds_in_the_cells_what_the_whole_does_not_tell(bench: FewShotBenchmark) -> None:
    assert right(bench, "kapt", {**HEAD, **FAST}) > right(bench, "kapt", {**HEAD, **FAST, "head": False}) + 0.2


def test_the_head_reads_the_cells_of_images_of_new_classes_too(bench: FewShotBenchmark) -> None:
    shots = bench.shots(range(12), NAMES)
    method = few_shot.learn("kapt", bench.encoder, NAMES, shots, overrides={**HEAD, "epochs": 1})
    given = bench.embedding, bench.features, bench.cells
    turned = named(method, NAMES[::-1], *given)
    torch.testing.assert_close(turned.flip(1), few_shot.logits(method, *given), rtol=1e-4, atol=1e-4)


def test_without_cells_the_method_that_reads_them_is_named(bench: FewShotBenchmark) -> None:
    method = few_shot.build("kapt", bench.encoder, NAMES, HEAD)
    with pytest.raises(DeixisError, match="kapt reads the cells of images, and none were computed"):
        few_shot.logits(method, bench.embedding, bench.features)


class Whole(torch.nn.Module):
    """An image tower that tells of images as wholes alone."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower, self.width, self.feature_width = tower, tower.width, tower.feature_width

    def forward(self, images: Tensor) -> Any:
        return self.tower(images)


def changed(encoder: DualEncoder, tower: torch.nn.Module | None = None, **traits: Any) -> DualEncoder:
    return DualEncoder(
        tower or encoder.image_tower,
        encoder.text_tower,
        tokenizer=encoder.tokenizer,
        preprocess=encoder.preprocess,
        traits=dataclasses.replace(encoder.traits, **traits),
    ).eval()


def test_a_model_without_cells_is_refused_where_they_are_read_and_learns_all_the_same_otherwise(
    bench: FewShotBenchmark,
) -> None:
    whole = changed(bench.encoder, Whole(bench.encoder.image_tower))
    for method, settings in (("best_cell", {}), ("kapt", HEAD)):
        with pytest.raises(DeixisError, match=rf"{method} .* reads the cells .* gives none.*zero_shot, delta"):
            few_shot.reads_cells(method, whole, NAMES, settings)
    assert not few_shot.reads_cells("tip", whole, NAMES)
    assert 0 <= right(dataclasses.replace(bench, encoder=whole, cells=None), "tip", {}) <= 1


def test_a_model_without_embeddings_learns_no_classes(bench: FewShotBenchmark) -> None:
    pairs = changed(bench.encoder, similarity="none")
    with pytest.raises(DeixisError, match="can't learn classes by zero_shot: its training compared no embeddings"):
        few_shot.learn("zero_shot", pairs, NAMES, bench.shots(range(4), NAMES))


def test_of_a_model_that_compares_tokens_names_and_texts_are_the_means_of_theirs(bench: FewShotBenchmark) -> None:
    tokens = changed(bench.encoder, similarity="tokens")
    shots = bench.shots(range(4), NAMES)
    templates = {"templates": ("a photo of a {}.",)}
    for method in ("zero_shot", "described", "best_cell"):
        learned = few_shot.learn(method, tokens, NAMES, shots, overrides=templates)
        row = tokens.text_tokens(tokens.tokenize([f"a photo of a {NAMES[0]}."]))
        mean = F.normalize(F.normalize(row.states, dim=-1).mean(dim=1), dim=-1)
        torch.testing.assert_close(learned.classes[:1], mean, rtol=1e-4, atol=1e-5)
    for method, settings in (("linear", {"penalty": 0.1}), ("coop", {"epochs": 1}), ("mutual_prompt", {"epochs": 1})):
        learned = few_shot.learn(method, tokens, NAMES, shots, overrides=settings)
        found = few_shot.logits(learned, bench.embedding, bench.features, bench.cells)
        assert found.isfinite().all()
