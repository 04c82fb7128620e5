"""Variational Context computes what the equations say, in both forms; its rivals are what they are called."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import deixis
from deixis import engine
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.errors import DeixisError
from deixis.methods import variational_context
from deixis.methods.variational_context import (
    Config,
    CueAttention,
    VariationalContext,
    WordStates,
    context,
    match,
    posterior,
    supervised,
    unsupervised,
)
from deixis.ops.regions.candidates import geometry5
from deixis.types import Batch, Detections, Progress
from tests.commands import own_cache
from tests.support import Recorded, load_golden

CUES = ("c1", "c2", "r1", "r2", "g")
MATCHES = ("context_unary", "context_pair", "referent_unary", "referent_pair", "generic_unary")
GRADED = ("region_visual", "word_states", "word_embeddings")


# --- golden vectors ---------------------------------------------------------------------------------------------------


def stored_state(golden: dict[str, Tensor], prefix: str = "param", suffix: str = "") -> dict[str, Tensor]:
    """Our tensors, out of those that are stored one by one."""
    attention = [
        [golden[f"{prefix}.word_attention.{cue}.{kind}{suffix}"] for cue in CUES] for kind in ("weight", "bias")
    ]
    state = {
        f"attention.score.{kind}": torch.stack(each) for kind, each in zip(("weight", "bias"), attention, strict=True)
    }
    for name in MATCHES:
        for part in ("embed.weight", "embed.bias"):
            state[f"{name}.{part}"] = golden[f"{prefix}.{name}.{part}{suffix}"]
        state[f"{name}.score.weight"] = golden[f"{prefix}.{name}.score.weight{suffix}"][None]
        state[f"{name}.score.bias"] = golden[f"{prefix}.{name}.score.bias{suffix}"][None]
    state["scale"] = torch.stack([golden[f"{prefix}.scale.{each}{suffix}"] for each in ("a1", "a2", "b1", "b2")])
    return state


def stored_model(golden: dict[str, Tensor], form: str) -> VariationalContext:
    config = dataclasses.replace(Config.tiny(), form=form)
    model = VariationalContext(9, 10, 8, config).double()
    model.load_state_dict(stored_state(golden))
    return model


@pytest.mark.golden
def test_terms_losses_and_gradients_of_both_forms_and_both_losses_are_the_stored_ones() -> None:
    golden = Recorded(load_golden("variational_context"))
    size = torch.tensor([golden["cfg.image_width"], golden["cfg.image_height"]] * 2)
    spatial = geometry5(golden["in.boxes_xyxy"] / size)
    real, right = torch.ones(3, 5, dtype=torch.bool), F.one_hot(golden["in.target"], 5).bool()
    config = Config.tiny()
    assert (float(golden["cfg.prob_floor"]), float(golden["cfg.weight_decay"])) == (config.floor, config.weight_penalty)
    assert float(golden["cfg.norm_eps"]) == variational_context.NORM_EPS**2
    for form, suffix in (("paper", ""), ("released", "_released")):
        model = stored_model(golden, form)
        visual, states, embeddings = given = [golden[f"in.{name}"].clone().requires_grad_() for name in GRADED]
        regions = torch.cat([visual, spatial], dim=-1).expand(3, -1, -1)
        terms = model(regions, real, states, embeddings, golden["in.word_mask"])
        losses = {
            "loss_supervised": supervised(terms.scores, right, real).mean(),
            "loss_unsupervised": unsupervised(terms.scores, real, config.floor).mean(),
        }
        prediction = terms.scores.argmax(-1)
        found = {"scores": terms.scores, "posterior": terms.posterior, "prediction": prediction, **losses}
        if form == "paper":
            found |= {f"cue_attention_{cue}": terms.words[:, row] for row, cue in enumerate(CUES)}
            found |= {"encoder_term": terms.encoder, "decoder_term": terms.decoder, "prior_term": terms.prior}
            found |= {"context": context(terms.posterior, regions), "spatial": spatial}
            found["weight_penalty"] = config.weight_penalty * model.penalty()
            parameters = dict(model.named_parameters())
            for name, ending in (("loss_supervised", ""), ("loss_unsupervised", "_unsupervised")):
                grads = torch.autograd.grad(losses[name], [*given, *parameters.values()], retain_graph=True)
                wanted = [golden[f"grad.in.{each}{ending}"] for each in GRADED]
                wanted += [stored_state(golden, "grad.param", ending)[each] for each in parameters]
                for grad, stored in zip(grads, wanted, strict=True):
                    torch.testing.assert_close(grad, stored, rtol=1e-9, atol=1e-12)
        for name, value in found.items():
            stored = golden[f"out.{name}{suffix}"]
            torch.testing.assert_close(value, stored, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")
    assert golden.read == set(golden)


# --- the equations, by loops ------------------------------------------------------------------------------------------

G = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=G, dtype=torch.float64)


@torch.no_grad()
def test_a_cue_is_the_mean_of_embeddings_weighed_by_a_softmax_of_states_over_the_real_words() -> None:
    attention = CueAttention(4, 2).double()
    states, embeddings = drawn(1, 3, 4), drawn(1, 3, 2)
    real = torch.tensor([[False, True, True]])  # padded in front
    cues, weights = attention(states, embeddings, real)
    for cue in range(2):
        scores = [math.exp(float(attention.score.weight[cue] @ states[0, word])) for word in (1, 2)]
        shares = [0.0, *(each / sum(scores) for each in scores)]
        torch.testing.assert_close(weights[0, cue], torch.tensor(shares, dtype=torch.float64))
        torch.testing.assert_close(cues[0, cue], sum(s * embeddings[0, w] for w, s in enumerate(shares)))
    nothing, none = attention(states, embeddings, torch.zeros_like(real))
    assert not nothing.any()
    assert not none.any()


@torch.no_grad()
def test_a_match_weighs_the_unit_vector_of_the_elementwise_product() -> None:
    embed, score = torch.nn.Linear(3, 2).double(), torch.nn.Linear(2, 1).double()
    regions, cue = drawn(1, 1, 3), drawn(1, 2)
    product = [float(embed.weight[row] @ regions[0, 0] + embed.bias[row]) * float(cue[0, row]) for row in range(2)]
    unit = [each / math.hypot(*product) for each in product]
    slow = sum(w * each for w, each in zip(score.weight[0].tolist(), unit, strict=True)) + float(score.bias)
    assert float(match(regions, cue, embed, score).detach()) == pytest.approx(slow, rel=1e-12)


def test_the_posterior_is_a_softmax_over_contexts_and_in_the_released_form_the_unary_term_cancels() -> None:
    unary, pair, real = drawn(1, 3), drawn(1, 3, 3), torch.tensor([[True, True, False]])
    q, released = posterior(unary, pair, real), posterior(unary, pair, real, "released")
    for i in range(3):
        weights = [math.exp(float(unary[0, j] + pair[0, i, j])) for j in range(2)]
        without = [math.exp(float(pair[0, i, j])) for j in range(2)]
        assert q[0, i].tolist() == pytest.approx([*(w / sum(weights) for w in weights), 0.0])
        assert released[0, i].tolist() == pytest.approx([*(w / sum(without) for w in without), 0.0])
    regions = drawn(1, 3, 2)
    mean = context(q, regions)[0, 0]
    torch.testing.assert_close(mean, float(q[0, 0, 0]) * regions[0, 0] + float(q[0, 0, 1]) * regions[0, 1])


def test_of_several_right_candidates_the_chances_are_added_and_the_surest_choice_costs_least_without_labels() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.5, 9.0]])
    real = torch.tensor([[True, True, True, False]])
    chances = [math.exp(each) for each in (1.0, 2.0, 0.5)]
    two = supervised(scores, torch.tensor([[True, False, True, False]]), real)
    assert float(two) == pytest.approx(-math.log((chances[0] + chances[2]) / sum(chances)), rel=1e-6)
    assert float(unsupervised(scores, real, 1e-5)) == pytest.approx(-math.log(chances[1] / sum(chances)), rel=1e-6)


def model(**changes: Any) -> VariationalContext:
    torch.manual_seed(5)
    return VariationalContext(3, 4, 6, dataclasses.replace(Config.tiny(), **changes)).double()


INPUTS = (drawn(2, 4, 8), torch.arange(4) < torch.tensor([[4], [3]]), drawn(2, 5, 4), drawn(2, 5, 6))
WORDS = torch.arange(5) < torch.tensor([[5], [3]])


@torch.no_grad()
@pytest.mark.parametrize(("context_", "joined"), [("pairs", "sum"), ("best pair", "max")])
def test_the_rivals_score_all_pairs_of_the_same_terms_and_join_them(context_: Any, joined: str) -> None:
    each = model(context=context_)
    regions, real, states, embeddings = INPUTS
    terms = each(regions, real, states, embeddings, WORDS)
    cues, _ = each.attention(states, embeddings, WORDS)
    (a1, a2, b1, b2), row = each.scale.tolist(), 1  # of three real regions

    def m(matches: Any, seen: Tensor, cue: int) -> float:
        return float(matches(seen[None, None], cues[row : row + 1, cue]))

    for i in range(3):
        one, scores = regions[row, i], []
        for j in range(3):
            other = regions[row, j]
            both = torch.cat([one[-5:], other[-5:]])
            unary = a1 * m(each.context_unary, other, 0)
            scores.append(unary + a2 * m(each.context_pair, both, 1) + b2 * m(each.referent_pair, both, 3))
        partner = max(scores) if joined == "max" else math.log(sum(map(math.exp, scores)))
        slow = partner + b1 * m(each.referent_unary, one, 2) + m(each.generic_unary, one, 4)
        assert float(terms.scores[row, i]) == pytest.approx(slow, rel=1e-9)


def test_without_context_the_score_is_the_prior_term_alone_and_with_a_shared_one_all_candidates_have_the_same() -> None:
    full, none, shared = (model(context=each)(*INPUTS, WORDS) for each in ("own", "none", "shared"))
    assert torch.equal(none.scores, none.prior)
    assert torch.equal(none.scores, full.prior)
    assert torch.equal(shared.posterior, shared.posterior[:, :1].expand_as(shared.posterior))
    assert not torch.allclose(full.posterior, full.posterior[:, :1].expand_as(full.posterior))
    torch.testing.assert_close(full.scores, full.decoder - full.encoder + full.prior)
    half = model(encoder_term=False, prior_term=False)(*INPUTS, WORDS)
    assert torch.equal(half.scores, half.decoder)


def test_more_padding_of_words_in_front_or_behind_and_of_regions_gives_the_same_numbers() -> None:
    each, states = model(), WordStates(6, 3, 2).double()
    regions, real, _, embeddings = INPUTS
    each.attention = CueAttention(states.width, 5).double()
    plain = each(regions, real, states(embeddings, WORDS), embeddings, WORDS)
    front = F.pad(embeddings, (0, 0, 3, 0), value=7.0), F.pad(WORDS, (3, 0))
    behind = F.pad(embeddings, (0, 0, 0, 2), value=7.0), F.pad(WORDS, (0, 2))
    more = F.pad(regions, (0, 0, 0, 3), value=7.0), F.pad(real, (0, 3))
    for words, mask in (front, behind):
        other = each(*more, states(words, mask), words, mask)
        torch.testing.assert_close(other.scores[:, :4], plain.scores)
        assert not other.posterior[:, :4, 4:].any()


# --- the method -------------------------------------------------------------------------------------------------------


def built(**overrides: Any) -> variational_context.Method:
    method: variational_context.Method = engine.build("variational_context", "tiny", overrides, seed=3)
    return method.eval()


def given(candidates: int, same: bool = False) -> Batch:
    """A batch whose candidates are columns of the data; the first is meant."""
    needs = built(proposals="", features=24).stages()[0].needs
    assert needs is not None
    batch = Batch.synthetic(needs, size=3, L=6, T=max(1, candidates), F=24, Q=1)
    columns = {name: value for name, value in batch.extra.items() if name != "targets"}
    if same:
        columns = {name: value[:, :1].expand_as(value) for name, value in columns.items()}
    columns = {name: value[:, :candidates] for name, value in columns.items()}
    targets = batch.extra["region_boxes"][:, :1] if candidates else batch.extra["targets"]
    real = {"T": torch.ones(3, candidates, dtype=torch.bool), "Q": torch.ones(3, 1, dtype=torch.bool)}
    return dataclasses.replace(batch, extra={**columns, "targets": targets}, valid={**batch.valid, **real})


@pytest.mark.parametrize(
    ("candidates", "same"), [(0, False), (1, False), (100, False), (4, True)], ids=["none", "one", "100", "all alike"]
)
@pytest.mark.parametrize("context_", ["own", "best pair"])
def test_any_number_of_candidates_is_scored(candidates: int, same: bool, context_: str) -> None:
    method, batch = built(proposals="", features=24, context=context_), given(candidates, same)
    scores, losses = method.refer(batch), method(batch, Progress())
    assert scores.shape == (3, candidates)
    assert torch.isfinite(scores).all()
    assert torch.isfinite(losses.total)
    if same:
        torch.testing.assert_close(scores, scores[:, :1].expand_as(scores))


def test_an_expression_of_which_no_candidate_is_right_teaches_nothing() -> None:
    method, batch = built(proposals="", features=24), given(4)
    far = torch.tensor([[2.0, 2.0, 3.0, 3.0]])
    targets = torch.stack([batch.extra["targets"][0], far, far])
    some = dataclasses.replace(batch, extra={**batch.extra, "targets": targets})
    alone, whole = (method(each, Progress()).parts["choice"] for each in (some.take([0]), some))
    torch.testing.assert_close(alone, whole)
    assert not method(some.take([1, 2]), Progress()).parts["choice"].any()


def test_each_phrase_of_a_sentence_is_read_alone_and_chances_sum_to_one() -> None:
    method, pixels = built(), torch.rand(2, 3, 32, 32, generator=G)
    tokens = torch.randint(10, 90, (2, 9), generator=G)
    spans = torch.tensor([[[[0, 3]], [[4, 8]]]]).expand(2, 2, 1, 2)
    both = method.ground(pixels, tokens, torch.ones_like(tokens, dtype=torch.bool), spans)
    second = tokens[:, 4:8]
    alone = method.ground(pixels, second, torch.ones_like(second, dtype=torch.bool))
    torch.testing.assert_close(both.scores[:, 1:], alone.scores)
    torch.testing.assert_close(both.scores.sum(-1), torch.ones(2, 2))


@torch.no_grad()
def test_among_given_boxes_only_these_are_chosen_and_more_of_them_change_no_order() -> None:
    """Without a context, what is said of a box does not hang on the others, up to the sum that makes chances of it."""
    method, pixels = built(context="none", difference=False), torch.rand(1, 3, 32, 32, generator=G)
    tokens = torch.randint(10, 90, (1, 4), generator=G)
    real = torch.ones_like(tokens, dtype=torch.bool)
    boxes = torch.tensor([[[0.1, 0.1, 0.4, 0.5], [0.5, 0.2, 0.9, 0.9], [0.0, 0.5, 0.3, 1.0]]])
    three, two = (method.ground(pixels, tokens, real, boxes=each) for each in (boxes, boxes[:, :2]))
    torch.testing.assert_close(three.boxes, boxes)
    torch.testing.assert_close(three.scores[..., :2] / three.scores[..., :2].sum(), two.scores)


def test_marks_around_a_text_are_no_words() -> None:
    method = built()
    tokens = torch.tensor([[1, 40, 50, 2]])
    with torch.no_grad():
        regions, real = torch.rand(1, 3, 17, generator=G), torch.ones(1, 3, dtype=torch.bool)
        marked = method._terms(regions, real, tokens, tokens > 0)
        bare = method._terms(regions, real, tokens[:, 1:3], tokens[:, 1:3] > 0)
    torch.testing.assert_close(marked.scores, bare.scores)


def test_the_gradient_of_each_tensor_is_held_to_a_norm_of_its_own() -> None:
    method = built(tensor_clip=1.0).train()
    for number, each in enumerate(method.cues.parameters()):
        each.grad = torch.full_like(each, float(10 * (number % 2)))
    method.after_backward(Progress())
    norms = [float(each.grad.norm()) for each in method.cues.parameters() if each.grad is not None]
    assert norms == pytest.approx([number % 2 for number in range(len(norms))], abs=1e-4)


@pytest.mark.parametrize("overrides", [{"proposals": ""}, {"proposals": "", "features": 24}], ids=["width", "picture"])
def test_what_columns_cannot_give_is_refused(overrides: dict[str, Any]) -> None:
    with pytest.raises(DeixisError, match=r"columns of the data|regions that the data gave"):
        built(**overrides).ground(torch.rand(1, 3, 32, 32), torch.ones(1, 2).long(), torch.ones(1, 2).bool())


@pytest.mark.slow
def test_a_run_learns_from_expressions_one_by_one_and_is_asked_by_name(tmp_path: Path) -> None:
    pictures = scenes(1, 8, side=64, config=SceneConfig(cast="shapes", unseen="nothing"))
    settings = TrainSettings(config="tiny", steps=4, batch_size=4, held_out=0.0, workers=0, precision="float32")
    with own_cache(tmp_path / "cache"):
        train("variational_context", pictures, tmp_path / "run", settings, quiet=True)
        picture = pictures.samples[0].picture.draw()  # type: ignore[union-attr]
        found = deixis.ground(picture, "the star next to a ring", model=tmp_path / "run", best=True)
    assert isinstance(found, Detections)
    assert found.phrases == ("the star next to a ring",)
