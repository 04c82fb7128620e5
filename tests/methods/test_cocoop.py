"""CoCoOp gives the shifts, logits and gradients of the authors' code, and is CoOp where the shift is nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from deixis import engine, zoo
from deixis.errors import DeixisError
from deixis.methods import cocoop
from deixis.nn.dual import DualEncoder
from deixis.types import Progress
from tests.prompting import NAMES, clip_like, few_images, golden_batch, golden_method
from tests.support import few, load_golden


def built(encoder: DualEncoder, **settings: Any) -> cocoop.Method:
    return engine.build("cocoop", "tiny", {"names": NAMES, **settings}, {"encoder": encoder}, seed=1)


@pytest.mark.golden
def test_shifts_prompts_logits_loss_and_gradients_are_those_of_the_authors() -> None:
    golden = load_golden("cocoop_prompt")
    method = golden_method("cocoop", golden, reduction=int(golden["cfg.meta_reduction"]))
    method.context.data = golden["param.ctx"].double()[None]
    weights = {f"narrow.{k}": golden[f"param.meta.fc1.{k}"].double() for k in ("weight", "bias")}
    weights |= {f"widen.{k}": golden[f"param.meta.fc2.{k}"].double() for k in ("weight", "bias")}
    method.meta.load_state_dict(weights)
    batch, image = golden_batch(golden)
    shift = method.meta(torch.nn.functional.normalize(image, dim=-1))
    torch.testing.assert_close(shift, golden["out.meta_bias"], rtol=1e-10, atol=1e-12)
    prompts = method.texts.assemble(method.encoder.text_tower, method.prompt()[None] + shift[:1, None, None])[0]
    expected = golden["out.prompts_first_image"][:, : prompts.shape[1]]
    torch.testing.assert_close(prompts, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(method.scores(image), golden["out.logits"], rtol=1e-9, atol=1e-10)
    loss = method(batch, Progress()).total
    torch.testing.assert_close(loss, golden["out.loss"], rtol=1e-10, atol=0)
    names = {"ctx": method.context, "image_features": image}
    names |= {f"meta.fc1.{k}": getattr(method.meta.narrow, k) for k in ("weight", "bias")}
    names |= {f"meta.fc2.{k}": getattr(method.meta.widen, k) for k in ("weight", "bias")}
    assert {f"grad.{name}" for name in names} == {key for key in golden if key.startswith("grad.")}
    for name, found in zip(names, torch.autograd.grad(loss, list(names.values())), strict=True):
        found = found[0] if name == "ctx" else found
        torch.testing.assert_close(found, golden[f"grad.{name}"], rtol=1e-7, atol=1e-12, msg=name)


def test_each_image_has_the_classes_that_its_own_shift_makes() -> None:
    """A loop over images: CoOp whose vectors were shifted by hand."""
    method, batch = built(clip_like()), few_images(7)
    parent = engine.build("coop", "tiny", {"names": NAMES, "vectors": 2}, {"encoder": method.encoder})
    rows = []
    for image in batch.extra["image_embedding"]:
        shift = method.meta.widen(torch.relu(method.meta.narrow(image[None])))[0]
        parent.context.data = method.context.data + shift.detach()
        rows.append(parent.scores(image[None])[0])
    torch.testing.assert_close(method.scores(batch.extra["image_embedding"]), torch.stack(rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [clip_like, lambda: zoo.load("tiny")], ids=["causal", "mean of all states"])
@pytest.mark.parametrize("chunk", few([1, 4, 100], 4))
def test_the_pieces_change_neither_loss_nor_gradients(make: Any, chunk: int) -> None:
    found = []
    for size in (chunk, 1000):
        method = built(make(), chunk=size)
        loss = method(few_images(7), Progress()).total
        found.append([loss, *torch.autograd.grad(loss, [method.context, *method.meta.parameters()])])
    for ours, whole in zip(*found, strict=True):
        torch.testing.assert_close(ours, whole, rtol=1e-4, atol=1e-5)


def test_without_a_shift_it_is_coop() -> None:
    method = built(clip_like())
    for parameter in method.meta.widen.parameters():
        parameter.data.zero_()
    parent = engine.build("coop", "tiny", {"names": NAMES, "vectors": 2}, {"encoder": method.encoder})
    parent.context.data = method.context.data
    batch = few_images()
    torch.testing.assert_close(method(batch, Progress()).total, parent(batch, Progress()).total)


def test_other_classes_can_be_asked_for_and_class_vectors_not() -> None:
    method, images = built(clip_like()), few_images().extra["image_embedding"]
    assert method.scores_of(images, ("tram", "bus", "car")).shape == (12, 3)
    torch.testing.assert_close(method.scores_of(images, NAMES), method.scores(images))
    with pytest.raises(DeixisError, match="hang on the image"):
        method.class_vectors()


@pytest.mark.parametrize("settings", [{"position": "front"}, {"shared": False}])
def test_what_it_has_no_meaning_for_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(DeixisError, match="CoCoOp has the class name at the end"):
        built(clip_like(), **settings)
