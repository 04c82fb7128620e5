"""PRIOR weighs each target by the reference's probability of this very target, and gives the losses of a slow loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.engine.training.train import train
from deixis.errors import DeixisError
from deixis.methods import prior
from deixis.methods.prior import ScoreCache, image_effect, rescale, shuffled, token_weights, weighted_loss
from deixis.nn.language.sequences import continuation_loss, ended, words_of
from deixis.types import Batch, Progress
from deixis.types.outputs import Tokens
from deixis.zoo import load_part
from tests.support import Recorded, load_golden, texts

FORMS = {"per_sequence": "caption", "batch": "batch", "none": "none"}


def picked(logits: Tensor, targets: Tensor) -> Tensor:
    return logits[:, : targets.shape[1]].gather(2, targets[..., None])[..., 0]


@pytest.mark.golden
def test_probabilities_weights_losses_and_gradients_are_those_of_the_paper_s_equations() -> None:
    golden = Recorded(load_golden("prior_loss"))
    logits, ignored, alpha = (
        golden["in.logits"].requires_grad_(),
        golden["cfg.ignore_index"],
        float(golden["cfg.alpha"]),
    )
    labels, floor = golden["in.labels"][:, 1:], float(golden["cfg.weight_floor"])
    real, targets = labels != ignored, labels.clamp(min=0)
    loss = -picked(logits.log_softmax(-1), targets)

    # The captions alone, each target moved to the column that predicts it behind the image.
    text, image = golden["in.text_ids"], int(golden["cfg.num_image_tokens"])
    alone = picked(golden["in.ref_logits"].softmax(-1), text[:, 1:])
    prob = torch.zeros_like(loss).scatter(1, torch.arange(alone.shape[1]).expand_as(alone) + image, alone) * real
    assert torch.equal(real.sum(1), golden["in.caption_length"])
    torch.testing.assert_close(prob, golden["out.ref_prob"], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(loss * real, golden["out.token_ce"], rtol=1e-8, atol=1e-12)

    for name, form in FORMS.items():
        weights = token_weights(prob, real, alpha, floor, form)
        torch.testing.assert_close(weights, golden[f"out.weights_{name}"], rtol=1e-8, atol=1e-12)
        sums, counts = golden[f"out.loss_per_caption_{name}"], real.sum(1)
        torch.testing.assert_close((weights * loss).sum(1), sums, rtol=1e-8, atol=0)
        means = {kind: weighted_loss(loss, weights, real, kind) for kind in ("captions", "tokens")}
        torch.testing.assert_close(means["captions"], golden[f"out.loss_caption_mean_{name}"], rtol=1e-8, atol=0)
        torch.testing.assert_close(means["tokens"], golden[f"out.loss_token_mean_{name}"], rtol=1e-8, atol=0)
        torch.testing.assert_close((sums / counts).mean(), means["captions"], rtol=1e-8, atol=0)
        if name != "batch":
            mean = means["captions" if name == "per_sequence" else "tokens"]
            (gradient,) = torch.autograd.grad(mean, logits, retain_graph=True)
            torch.testing.assert_close(gradient, golden[f"grad.in.logits_{name}"], rtol=1e-8, atol=1e-12)
    for other in (0.0, 2.0):
        weights = token_weights(prob, real, other, floor)
        torch.testing.assert_close(weights, golden[f"out.weights_alpha{other:.0f}"], rtol=1e-8, atol=1e-12)
        mean = weighted_loss(loss, weights, real)
        torch.testing.assert_close(mean, golden[f"out.loss_caption_mean_alpha{other:.0f}"], rtol=1e-8, atol=0)

    # The rival: its code averages over one row of all columns, those without a target included.
    whole = (1, -1)
    pair = (picked(each, targets).reshape(whole) for each in (logits, golden["in.logits_without_image"]))
    limits = (float(golden["cfg.cal_min"]), float(golden["cfg.cal_max"]))
    everywhere = torch.ones_like(targets, dtype=torch.bool).reshape(whole)
    effect = image_effect(*pair, everywhere, limits, int(golden["cfg.cal_window"])).reshape(targets.shape)
    torch.testing.assert_close(effect, golden["out.cal_weights"], rtol=1e-8, atol=1e-12)
    mean, mass = weighted_loss(loss, rescale(effect, real, "batch"), real, "tokens"), (effect * real).sum()
    mean = mean * mass / (mass + golden["cfg.cal_eps"])
    torch.testing.assert_close(mean, golden["out.cal_loss"], rtol=1e-8, atol=0)
    (gradient,) = torch.autograd.grad(mean, logits)
    torch.testing.assert_close(gradient, golden["grad.in.logits_cal"], rtol=1e-8, atol=1e-12)

    # Without rescaling, the best model of a context is the data's distribution times the weight.
    data, reference = golden["in.optimum_data_prob"], golden["in.optimum_ref_prob"]
    weight = token_weights(reference[None], torch.ones(1, 4, dtype=torch.bool), alpha, floor, "none")[0]
    torch.testing.assert_close(
        data * weight / (data * weight).sum(), golden["out.optimum_model_prob"], rtol=1e-8, atol=0
    )
    tokens = {f"cfg.{name}" for name in ("image_token_id", "pad_id", "bos_id", "eos_id")} | {"in.token_ids"}
    assert (golden["in.token_ids"][:, 1:] == targets)[real].all()
    assert set(golden) - golden.read <= tokens, "every stored value is compared"


PRETRAIN, REFERENCE = Progress(stage="pretrain"), Progress(stage="reference")
CAPTIONS = ("a red cup", "a blue hat on a cup", "cup")


def built(name: str = "prior", **overrides: object) -> prior.Method:
    """With words as tokens."""
    own = {"reference_lm": "scratch:tiny"} if name == "prior" else {}
    source = texts(*CAPTIONS)
    method = engine.build(name, "tiny", {"lm": "scratch:tiny", **own, **overrides}, seed=1, source=source)
    return method  # type: ignore[return-value]


def batch(method: prior.Method) -> Batch:
    tokens, mask = method.lm.tokenizer(CAPTIONS, 12)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return Batch(("a", "b", "c"), images, tokens=tokens[:, None], valid={"L": mask[:, None]})


def target(method: prior.Method) -> Tokens:
    return ended(method.lm, words_of(method.lm, *batch(method).caption()))


def test_with_an_exponent_of_0_the_loss_is_that_of_the_parent() -> None:
    method, parent = built(alpha=0.0), built("prefix")
    with torch.no_grad():
        torch.testing.assert_close(method(batch(method), PRETRAIN).total, parent(batch(parent), Progress()).total)


def test_the_weights_of_each_caption_are_1_on_average_also_where_all_of_it_is_foretold() -> None:
    real = torch.arange(4) < torch.tensor([[4], [2], [3]])
    prob = torch.tensor([[0.9, 0.1, 0.5, 1.0], [1.0, 1.0, 0.0, 0.0], [0.2, 0.2, 0.2, 0.7]])
    weights = token_weights(prob, real, 1.0, 1e-3)
    torch.testing.assert_close(weights.sum(1), real.sum(1).float())
    assert not weights[~real].any()
    torch.testing.assert_close(weights[1, :2], torch.ones(2))


def test_each_target_is_weighed_by_the_probability_of_this_very_target_in_its_text() -> None:
    method = built()
    with torch.no_grad():
        rows = method.encode(batch(method), PRETRAIN).rows
        for row, caption in enumerate(CAPTIONS):
            words = method.lm.tokenizer([caption], 12)[0][0, 1:-1].tolist()
            expected, said = [], [method.lm.start]
            for word in (*words, method.lm.end):
                scores = method.reference_lm(torch.tensor([said]), torch.ones(1, len(said), dtype=torch.bool))  # type: ignore[operator,misc]
                expected.append(float(scores[0, -1].softmax(-1)[word]))
                said.append(word)
            assert rows["score"][row, : len(expected)].tolist() == pytest.approx(expected, rel=1e-4)
            assert int(rows["real"][row].sum()) == len(expected)


def test_scores_are_remembered_bit_by_bit_and_forgotten_when_the_reference_changes() -> None:
    method, cache = built(), ScoreCache()
    lm, whole = method.reference_lm, target(method)
    assert lm is not None
    first = cache(lm, whole, None)
    alone = cache(lm, Tokens(whole.ids[2:, :2], whole.mask[2:, :2]), None)
    assert torch.equal(alone, first[2:, :2])
    with torch.no_grad():
        fresh = (-continuation_loss(lm, None, whole)).exp() * whole.mask
        torch.testing.assert_close(first, fresh)
        lm.words.weight.mul_(3.0)  # type: ignore[union-attr,operator]
    assert not torch.allclose(cache(lm, whole, None), first)


def test_the_reference_learns_before_the_model_and_no_image_reaches_it() -> None:
    method, rows = built(), batch(built())
    other = torch.rand_like(rows.images)  # type: ignore[arg-type]
    reference, pretrain = method.stages()
    train(method, iter([rows] * 2), 2, stage=reference)
    with torch.no_grad():
        scores = [
            method.encode(Batch(rows.ids, each, tokens=rows.tokens, valid=rows.valid), PRETRAIN).rows
            for each in (rows.images, other)
        ]
    assert torch.equal(scores[0]["score"], scores[1]["score"])
    assert not torch.equal(scores[0]["loss"], scores[1]["loss"])
    assert [need.name for need in reference.needs or ()] == ["tokens"]
    assert not any(name.startswith("reference_lm") for name in engine.enter(method, pretrain))


def test_shuffled_weights_stay_in_their_caption() -> None:
    weights = torch.tensor([[1.0, 2.0, 3.0, 0.0], [4.0, 5.0, 0.0, 0.0]])
    real = weights > 0
    moved = shuffled(weights, real, torch.tensor([[0.9, 0.5, 0.1, 0.0], [0.2, 0.1, 0.0, 0.0]]))
    assert moved.tolist() == [[3.0, 2.0, 1.0, 0.0], [5.0, 4.0, 0.0, 0.0]]


@pytest.mark.parametrize("scorer", ["shuffled", "self_focal", "cal"])
def test_each_rival_scorer_gives_other_weights_than_the_reference(scorer: str) -> None:
    usual, rival = built(), built(scorer=scorer)
    with torch.no_grad():
        losses = [method(batch(method), PRETRAIN).total for method in (usual, rival)]
    assert torch.isfinite(losses[1])
    assert not torch.equal(losses[0], losses[1])


def test_other_tokens_and_a_missing_reference_are_refused() -> None:
    with pytest.raises(DeixisError, match="other tokens"):
        engine.build("prior", "tiny", parts={"reference_lm": load_part("lm", "scratch:tiny", source=texts("a b"))})
    with pytest.raises(DeixisError, match="no reference_lm is named"):
        built(reference_lm="")
    assert len(built(reference_lm="", scorer="self_focal").stages()) == 1
    with pytest.raises(DeixisError, match="reference_share is 1"):
        built(reference_share=1.0)
