"""ALIGN gives the loss and gradients of its equations; queries of a picture and words are sums of unit vectors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from deixis import engine
from deixis.engine.training.train import train
from deixis.methods import align
from deixis.types import Batch, Features, Progress
from tests.support import load_golden


def built(**overrides: Any) -> align.Method:
    return engine.build("align", "tiny", overrides, seed=3)


@pytest.mark.golden
@pytest.mark.parametrize("variant", ["smoothed", "unsmoothed", "initial_temperature"])
def test_loss_and_gradients_are_those_of_the_equations(variant: str) -> None:
    golden = load_golden("align_loss")
    smoothing = 0.0 if variant == "unsmoothed" else float(golden["cfg.label_smoothing"])
    method = built(smoothing=smoothing).double()
    start = golden["param.temperature"] if variant != "initial_temperature" else torch.ones(())
    method.temperature.data.copy_(start)
    leaves = {name: golden[f"in.{name}"].double().requires_grad_() for name in ("image_features", "text_features")}
    image, text = (normalize(leaf, dim=-1) for leaf in leaves.values())
    batch = Batch(ids=tuple(map(str, range(len(image)))))
    loss = method.loss(Features({"image": image, "text": text}), batch, Progress()).total
    torch.testing.assert_close(loss, golden[f"out.{variant}.loss"], rtol=1e-8, atol=0)
    found = torch.autograd.grad(loss, [*leaves.values(), method.temperature])
    for name, gradient in zip([*leaves, "temperature"], found, strict=True):
        torch.testing.assert_close(gradient, golden[f"grad.{variant}.{name}"], rtol=1e-8, atol=1e-12)


@pytest.mark.golden
def test_composed_queries_scores_and_answers_are_those_of_the_equations() -> None:
    golden = load_golden("align_compose")
    gallery = normalize(golden["in.index_features"].double(), dim=-1)
    image, text = (golden[f"in.query_{side}_features"].double() for side in ("image", "text"))
    for i, weights in enumerate(golden["cfg.weights"].tolist()):
        query = align.compose(image, text, tuple(weights))
        torch.testing.assert_close(query, golden["out.query"][i], rtol=1e-12, atol=1e-14)
        scores = query @ gallery.T
        torch.testing.assert_close(scores, golden["out.scores"][i], rtol=1e-12, atol=1e-14)
        assert torch.equal(scores.topk(int(golden["cfg.top_k"])).indices, golden["out.top_k"][i])


def test_how_long_the_parts_of_a_query_are_does_not_matter() -> None:
    image, text = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(align.compose(9 * image, text, (1.0, -0.5)), align.compose(image, text / 3, (1.0, -0.5)))
    torch.testing.assert_close(align.compose(image, text, (1.0, 0.0)), normalize(image, dim=-1))


def test_the_temperature_is_held_above_its_lowest() -> None:
    """Below 0 all signs would turn."""
    method = built(temperature=0.02, lowest=0.015, learning_rate=1.0)
    batch = Batch.synthetic(align.CARD.needs, size=4)
    train(method, iter([batch] * 3), 3)
    assert float(method.temperature.detach()) >= 0.015 - 1e-9
    assert method.scale == pytest.approx(1 / float(method.temperature.detach()))


def test_without_smoothing_the_loss_is_twice_that_of_clip() -> None:
    rows = {
        name: normalize(torch.randn(5, 16, generator=torch.Generator().manual_seed(i)), dim=-1)
        for i, name in enumerate(("image", "text"))
    }
    batch = Batch(ids=tuple("abcde"))
    ours = built(smoothing=0.0, temperature=0.05).loss(Features(rows), batch, Progress()).total
    clip = engine.build("clip", "tiny", {"share_repeats": False, "scale": 20.0})
    theirs = clip.loss(Features({**rows, "caption": torch.zeros(5, 1).long()}), batch, Progress()).total
    torch.testing.assert_close(ours, 2 * theirs)


def test_lamb_is_what_the_paper_asks_for_and_it_trains() -> None:
    assert align.Config.paper().optim.optimiser == "lamb"
    method = built(optimiser="lamb", learning_rate=0.02)
    batch = Batch.synthetic(align.CARD.needs, size=6)
    seen: list[float] = []
    train(method, iter([batch] * 15), 15, on_step=lambda _, losses: seen.append(float(losses.total.detach())))
    assert seen[-1] < seen[0] - 0.05
