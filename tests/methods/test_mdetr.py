"""MDETR computes what its authors' code does; its losses are those of the equations; our own forms do as they say."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import deixis
from deixis import engine, zoo
from deixis.apps.train.method_runs import load_method
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.data.grounding import referring, with_questions
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.errors import DeixisError
from deixis.methods import mdetr
from deixis.methods.mdetr import (
    Config,
    alignment,
    box_losses,
    mask_losses,
    matching,
    matching_cost,
    positive_map,
    soft_tokens,
)
from deixis.nn.regions import fused_detector
from deixis.nn.regions.fused_detector import DetectorConfig, DetectorInputs, FusedDetector
from deixis.ops.regions.matching import of_owner, owners
from deixis.ops.spans import token_span
from deixis.types import Batch, Progress
from tests.commands import own_cache
from tests.support import few, load_golden

BOTH = pytest.mark.parametrize("form", ["", "_multi_hot"])


# --- the authors' code ------------------------------------------------------------------------------------------------


def padded(flat: Tensor, image: Tensor, images: int = 3) -> Tensor:
    """Rows of all images one after the other -> [B, T, ...]."""
    most = int(image.bincount(minlength=images).max())
    found = flat.new_zeros(images, most, *flat.shape[1:])
    for number in range(images):
        mine = flat[image == number]
        found[number, : len(mine)] = mine
    return found


def real(image: Tensor) -> Tensor:
    return padded(torch.ones_like(image, dtype=torch.bool), image)


def stored_match(golden: dict[str, Tensor], form: str = "") -> Tensor:
    match = torch.full(real(golden["in.target_image_index"]).shape, -1)
    match[golden[f"in.match_image{form}"], golden[f"in.match_target{form}"]] = golden[f"in.match_query{form}"]
    return match


def everything(golden: dict[str, Tensor]) -> Tensor:
    return torch.ones(golden["in.pred_logits"].shape[:2], dtype=torch.bool)


@pytest.mark.golden
@BOTH
def test_costs_and_matches_are_the_authors(form: str) -> None:
    golden = load_golden("mdetr_matching")
    index = golden["in.target_image_index"]
    weights = tuple(float(golden[f"cfg.cost_{name}"]) for name in ("class", "box_l1", "giou"))
    cost = matching_cost(
        golden["in.pred_logits"],
        golden["in.pred_boxes"],
        padded(golden[f"in.positive_map{form}"], index),
        padded(golden["in.target_boxes"], index),
        weights,
    )
    wanted = padded(golden[f"out.cost{form}"].T, index).transpose(1, 2)
    torch.testing.assert_close(cost * real(index)[:, None], wanted, rtol=1e-11, atol=1e-11)
    match = matching(cost, real(index), everything(golden))
    rows = sorted((image, int(match[image, target]), target) for image, target in real(index).nonzero().tolist())
    stored = zip(*(golden[f"out.match_{name}{form}"].tolist() for name in ("image", "query", "target")), strict=True)
    assert rows == list(stored)


@pytest.mark.golden
@BOTH
def test_losses_and_their_gradients_are_the_authors(form: str) -> None:
    golden = load_golden("mdetr_losses")
    index = golden["in.target_image_index"]
    names = ("pred_logits", "pred_boxes", "proj_queries", "proj_tokens")
    logits, boxes, queries, tokens = given = [golden[f"in.{name}"].requires_grad_() for name in names]
    match, slots = stored_match(golden, form), padded(golden[f"in.positive_map{form}"], index)
    owner = owners(match, logits.shape[1])
    positive = of_owner(padded(golden["in.token_map"].bool(), index), owner) & (owner >= 0)[..., None]
    similarity = queries @ tokens.transpose(1, 2) / float(golden["cfg.temperature"])
    apart, overlap = box_losses(boxes, padded(golden["in.target_boxes"], index), match)
    found = {
        "ce": soft_tokens(logits, slots, match, float(golden["cfg.no_object_weight"]), everything(golden)),
        "bbox": apart,
        "giou": overlap,
        "contrastive_align": alignment(similarity, positive, torch.ones_like(positive)),
    }
    found = {name: loss / len(index) for name, loss in found.items()}
    for name, loss in found.items():
        torch.testing.assert_close(loss, golden[f"out.loss_{name}{form}"], rtol=1e-6, atol=0)
    weights = ("ce", "box_l1", "giou", "contrastive")
    total = sum(float(golden[f"cfg.weight_{n}"]) * loss for n, loss in zip(weights, found.values(), strict=True))
    torch.testing.assert_close(total, golden[f"out.loss{form}"], rtol=1e-6, atol=0)
    grads = torch.autograd.grad(total, given)
    for name, grad in zip(names, grads, strict=True):
        torch.testing.assert_close(grad, golden[f"grad.in.{name}{form}"], rtol=1e-6, atol=1e-8)
    assert {f"grad.in.{name}" for name in names} == {k for k in golden if k.startswith("grad.") and "multi" not in k}


@pytest.mark.golden
def test_mask_losses_and_their_gradient_are_the_authors() -> None:
    golden = load_golden("mdetr_mask_losses")
    index, masks = golden["in.target_image_index"], golden["in.pred_masks"].requires_grad_()
    config = Config(focal_alpha=float(golden["cfg.alpha"]), focal_gamma=float(golden["cfg.gamma"]))
    targets = padded(golden["in.target_masks"], index) > 0
    focal, dice = (loss / len(index) for loss in mask_losses(masks, targets, stored_match(golden), config))
    torch.testing.assert_close(focal, golden["out.loss_mask"], rtol=1e-11, atol=0)
    torch.testing.assert_close(dice, golden["out.loss_dice"], rtol=1e-11, atol=0)
    [grad] = torch.autograd.grad(focal + dice, [masks])
    torch.testing.assert_close(grad, golden["grad.in.pred_masks"], rtol=1e-10, atol=1e-13)


@pytest.mark.golden
def test_the_positive_map_is_the_authors() -> None:
    golden = load_golden("mdetr_positive_map")
    places = [[None if token < 0 else token for token in row] for row in golden["in.char_to_token"].tolist()]
    found: list[list[tuple[int, int]]] = [[] for _ in golden["in.box_image"]]
    for (begin, end), box in zip(golden["in.span_begin_end"].tolist(), golden["in.span_box"].tolist(), strict=True):
        span = token_span(places[int(golden["in.box_image"][box])], begin, end)
        assert span is not None
        found[box].append(span)
    most = max(map(len, found))
    spans = torch.tensor([[*each, *[(0, 0)] * (most - len(each))] for each in found])
    wanted = golden["out.positive_map"]
    torch.testing.assert_close(positive_map(spans[None], int(golden["cfg.num_slots"]) - 1)[0], wanted)


LINEAR = {
    **{"attention.query": "self_attn.qkv", "attention.key": "self_attn.qkv", "attention.value": "self_attn.qkv"},
    **{f"cross_attention.{each}": "cross_attn.qkv" for each in ("query", "key", "value")},
    **{"attention.out": "self_attn.out", "cross_attention.out": "cross_attn.out"},
    **{"perceptron.0": "ffn_in", "perceptron.3": "ffn_out", "attention_norm": "norm1"},
}
NAMES = {
    **{"decoder.norm": "dec_norm", "text_projection": "text_resize", "text_norm": "text_resize_norm"},
    **{"image_projection": "image_proj", "box_head.0": "box_head.0", "box_head.2": "box_head.1"},
    **{"box_head.4": "box_head.2", "class_head": "class_head", "query_projection": "query_projection"},
    "token_projection": "token_projection",
}


def theirs(name: str) -> str:
    """The stored name of one of our parameters."""
    if name == "query_embedding":
        return name
    place, kind = name.rsplit(".", 1)
    if place in NAMES:
        return f"{NAMES[place]}.{kind}"
    side, *_, number, layer = [*place.replace("decoder.blocks", "decoder").split(".", 2)]
    norms = {"encoder": {"norm": "norm2"}, "decoder": {"cross_norm": "norm3", "norm": "norm4"}}[side]
    return f"{side[:3]}.{number}.{ {**LINEAR, **norms}[layer] }.{kind}"


def third(name: str, stored: Tensor) -> Tensor:
    """Queries, keys and values lie in one stored tensor."""
    part = name.rsplit(".", 1)[0].rpartition(".")[2]
    return stored.chunk(3)[("query", "key", "value").index(part)] if part in ("query", "key", "value") else stored


@pytest.mark.golden
def test_encoder_decoder_and_heads_give_the_authors_values_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    golden = load_golden("mdetr_transformer")
    config = DetectorConfig(
        width=24,
        heads=int(golden["cfg.num_heads"]),
        hidden=48,
        layers=int(golden["cfg.num_decoder_layers"]),
        count=int(golden["cfg.num_queries"]),
        slots=golden["param.class_head.weight"].shape[0] - 1,
        alignment_width=12,
        dropout=0.0,
    )
    detector = FusedDetector(config, channels=10, words=20).double()
    detector.load_state_dict({name: third(name, golden[f"param.{theirs(name)}"]) for name in detector.state_dict()})
    monkeypatch.setattr(fused_detector, "sine_grid", lambda valid, width: golden["in.pos_embed"])
    cells, words = golden["in.image_features"].requires_grad_(), golden["in.text_states"].requires_grad_()
    rows = detector(
        DetectorInputs(cells, ~golden["in.image_pad_mask"].bool(), words, ~golden["in.text_pad_mask"].bool())
    )
    found = {
        "text_resized": detector.text_norm(detector.text_projection(words)),
        "memory": rows["memory"],
        "proj_tokens": rows["tokens"],
    }
    for row, name in (("logits", "pred_logits"), ("boxes", "pred_boxes"), ("queries", "proj_queries")):
        found |= {name: rows[row][:, 1], f"aux0_{name}": rows[row][:, 0]}
    loss = sum((found[n] * golden[f"in.cotangent_{n}"]).sum() for n in found if f"in.cotangent_{n}" in golden)
    found["loss"] = loss
    assert {f"out.{name}" for name in found} == {key for key in golden if key.startswith("out.")}
    for name, value in found.items():
        torch.testing.assert_close(value, golden[f"out.{name}"], rtol=1e-10, atol=1e-12, msg=lambda m, n=name: n + m)
    loss.backward()
    grads = {"in.image_features": cells.grad, "in.text_states": words.grad}
    joined: dict[str, list[Tensor]] = {}
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        joined.setdefault(f"param.{theirs(name)}", []).append(parameter.grad)
    grads |= {name: torch.cat(pieces) for name, pieces in joined.items()}
    assert {f"grad.{name}" for name in grads} == {key for key in golden if key.startswith("grad.")}
    for name, grad in grads.items():
        torch.testing.assert_close(grad, golden[f"grad.{name}"], rtol=1e-9, atol=1e-11, msg=lambda m, n=name: n + m)


# --- the equations ----------------------------------------------------------------------------------------------------

G = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 4, 6, generator=G, dtype=torch.float64)
SLOTS = positive_map(torch.tensor([[[[0, 2], [3, 4]], [[1, 2], [0, 0]]], [[[4, 5], [0, 0]], [[0, 0], [0, 0]]]]), 5)
MATCH = torch.tensor([[2, 0], [3, -1]])
REAL = torch.tensor([[True] * 4, [True, True, False, True]])


def test_soft_tokens_equal_a_loop_over_queries_and_slots() -> None:
    slow = 0.0
    for image, query in itertools.product(range(2), range(4)):
        if not REAL[image, query]:
            continue
        boxes = [box for box in range(2) if MATCH[image, box] == query]
        wanted = SLOTS[image, boxes[0]].tolist() if boxes else [0, 0, 0, 0, 0, 1]
        likely = LOGITS[image, query].softmax(-1).tolist()
        entropy = -sum(share * math.log(p) for share, p in zip(wanted, likely, strict=True))
        slow += entropy * (1.0 if boxes else 0.1)
    assert float(soft_tokens(LOGITS, SLOTS.double(), MATCH, 0.1, REAL)) == pytest.approx(slow, rel=1e-6)


@pytest.mark.parametrize("padding", [True, False])
def test_alignment_equals_a_loop_over_pairs(padding: bool) -> None:
    similarity = torch.randn(2, 4, 5, generator=G, dtype=torch.float64)
    positive = torch.rand(2, 4, 5, generator=G) < 0.3
    words = torch.arange(5) < torch.tensor([[5], [3]])
    positive &= words[:, None]
    allowed = torch.ones_like(positive) if padding else words[:, None].expand(2, 4, 5)
    slow = 0.0
    for image in range(2):
        for query in range(4):
            meant = [t for t in range(5) if positive[image, query, t]]
            whole = sum(math.exp(float(similarity[image, query, t])) for t in range(5) if allowed[image, query, t])
            slow += sum(math.log(whole) - float(similarity[image, query, t]) for t in meant) / max(1, len(meant))
        for token in range(5):
            meant = [q for q in range(4) if positive[image, q, token]]
            whole = sum(math.exp(float(similarity[image, q, token])) for q in range(4))
            slow += sum(math.log(whole) - float(similarity[image, q, token]) for q in meant) / max(1, len(meant))
    assert float(alignment(similarity, positive, allowed)) == pytest.approx(slow / 2, rel=1e-5)


def test_a_query_that_is_padding_is_matched_with_nothing() -> None:
    cost = torch.rand(1, 3, 3, generator=G)
    cost[0, 1] = -9.0
    match = matching(cost, torch.ones(1, 3, dtype=torch.bool), torch.tensor([[True, False, True]]))
    assert sorted(match[0].tolist()) == [-1, 0, 2]


# --- the method -------------------------------------------------------------------------------------------------------


def built(**overrides: Any) -> mdetr.Method:
    method: mdetr.Method = engine.build("mdetr", "tiny", overrides, seed=3)
    return method.eval()


WORDS = torch.randint(3, 60, (8, 9), generator=G)
MASK = torch.arange(9) < torch.randint(3, 10, (8, 1), generator=G)
PIXELS = torch.randn(8, 3, 32, 32, generator=G)
SPANS = torch.tensor([[[[1, 3]], [[0, 1]]]]).expand(8, 2, 1, 2)
WITH_REGIONS = {"queries": "proposals", "proposals": "tiny", "thaw": (), "thaw_text": (), "masks": False}


@pytest.mark.parametrize("overrides", [{}, WITH_REGIONS, {"score": "alignment"}], ids=["learned", "regions", "aligned"])
def test_eight_pictures_at_once_are_eight_pictures_one_by_one(overrides: dict[str, Any]) -> None:
    method = built(**overrides)
    with torch.no_grad():
        whole = method.ground(PIXELS, WORDS * MASK, MASK, SPANS)
        for row in range(8):
            length = int(MASK[row].sum())
            one = slice(row, row + 1)
            alone = method.ground(PIXELS[one], WORDS[one, :length], MASK[one, :length], SPANS[one])
            torch.testing.assert_close(alone.boxes[0], whole.boxes[row], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(alone.scores[0], whole.scores[row], rtol=1e-4, atol=1e-5)
            assert (alone.masks is None) == (whole.masks is None) == (not method.config.masks)


def test_a_phrase_scores_its_likeliest_token_and_a_sentence_what_is_not_no_object() -> None:
    method = built()
    with torch.no_grad():
        rows = method._seen(PIXELS, WORDS * MASK, MASK)
        shares = rows["logits"][:, -1].softmax(-1)
        phrases, sentence = method.ground(PIXELS, WORDS * MASK, MASK, SPANS), method.ground(PIXELS, WORDS * MASK, MASK)
    torch.testing.assert_close(phrases.scores[:, 0], shares[..., 1:3].amax(-1))
    torch.testing.assert_close(phrases.scores[:, 1], shares[..., 0])
    torch.testing.assert_close(sentence.scores[:, 0], 1 - shares[..., -1])


def test_words_change_what_is_found_and_the_image_changes_the_words() -> None:
    method, real = built(), torch.ones_like(WORDS, dtype=torch.bool)
    with torch.no_grad():
        one, other, seen = (
            method._seen(*each, real) for each in ((PIXELS, WORDS), (PIXELS, WORDS.flip(1)), (-PIXELS, WORDS))
        )
    assert not torch.equal(one["queries"], other["queries"])
    assert not torch.equal(one["tokens"], seen["tokens"])


@pytest.mark.parametrize("meeting", ["dot", "words"])
def test_words_that_meet_the_image_in_a_dot_product_change_no_box_and_the_image_no_word(meeting: str) -> None:
    method = built(meeting=meeting, score="alignment")
    with torch.no_grad():
        one, seen = (method._seen(each, WORDS * MASK, MASK) for each in (PIXELS, -PIXELS))
        other = method._seen(PIXELS, WORDS.flip(1), torch.ones_like(MASK))
    assert torch.equal(one["queries"], other["queries"])
    assert torch.equal(one["boxes"], other["boxes"])
    assert torch.equal(one["tokens"][MASK], seen["tokens"][MASK])
    assert not torch.equal(one["boxes"], seen["boxes"])


def test_a_word_alone_is_the_same_wherever_it_stands_and_in_context_it_is_not() -> None:
    real = torch.ones_like(MASK)
    for meeting, same in (("words", True), ("dot", False)):
        method = built(meeting=meeting, score="alignment")
        with torch.no_grad():
            one, other = (method._seen(PIXELS, each, real)["tokens"] for each in (WORDS, WORDS.flip(1)))
        assert torch.allclose(one, other.flip(1), atol=1e-6) == same


def test_words_alone_are_multiplied() -> None:
    method = built(meeting="words", score="alignment", **WITH_REGIONS)
    with torch.no_grad():
        rows = method._seen(PIXELS, WORDS, MASK)
        found = method.ground(PIXELS, WORDS, MASK).scores[:, 0]
    similarity = rows["queries"][:, -1] @ rows["tokens"].transpose(1, 2) / method.config.temperature
    shares = similarity.softmax(dim=1)
    for row in range(8):
        count = int(MASK[row].sum())
        torch.testing.assert_close(found[row], shares[row, :, :count].prod(1) ** (1 / count), rtol=1e-4, atol=1e-6)


def test_all_ways_of_meeting_have_the_same_parameters() -> None:
    shapes = [
        {n: p.shape for n, p in built(meeting=each, score="alignment", **WITH_REGIONS).detector.named_parameters()}
        for each in ("joint", "dot", "words")
    ]
    assert shapes[0] == shapes[1] == shapes[2]


def test_queries_that_read_no_text_are_not_asked_for_its_tokens() -> None:
    with pytest.raises(DeixisError, match="Use --score alignment"):
        built(meeting="dot")


def test_a_new_decoder_gives_back_the_regions_that_it_starts_from() -> None:
    method = built(**WITH_REGIONS)
    with torch.no_grad():
        found = method.ground(PIXELS, WORDS * MASK, MASK)
    inside = method.regions.of_frame(PIXELS).boxes.clamp(1e-3, 1 - 1e-3)
    assert found.boxes.shape == (8, 9, 4)
    torch.testing.assert_close(found.boxes, inside, rtol=0, atol=3e-3)


def test_queries_from_proposals_need_a_part_that_proposes() -> None:
    with pytest.raises(DeixisError, match="Name one: --proposals"):
        built(queries="proposals")


def test_no_box_in_a_batch_still_trains_what_says_no_object() -> None:
    method = built(masks=False)
    needs = method.stages()[0].needs
    batch = Batch.synthetic(needs, sample=method.config.sample, size=2)
    batch = dataclasses.replace(batch, valid={**batch.valid, "T": torch.zeros_like(batch.valid["T"])})
    parts = {name: float(part.detach()) for name, part in method(batch, Progress(stage="boxes")).parts.items()}
    assert parts["l1"] == parts["giou"] == parts["align"] == parts["final"] == 0
    assert parts["token"] > 0


def test_only_the_head_of_the_kind_that_is_asked_learns_from_a_question() -> None:
    method = built(masks=False)
    batch = Batch.synthetic(method.stages()[0].needs, sample=method.config.sample, size=3)
    kinds = {"question_kind": torch.tensor([1, 1, -1]), "question_answer": torch.tensor([2, 0, 1])}
    batch = dataclasses.replace(batch, extra={**batch.extra, **kinds})
    method.train()
    method(batch, Progress(stage="boxes")).total.backward()
    kind, yes, colour = (bool(head.weight.grad.any()) for head in method.detector.answer_heads.heads)
    assert (kind, yes, colour) == (True, False, True)


def test_answers_are_among_those_of_the_config_and_none_are_given_without_any() -> None:
    method = built()
    with torch.no_grad():
        answers = method.answer(PIXELS, WORDS * MASK, MASK)
    assert set(answers) <= {answer for _, kind in method.config.questions for answer in kind}
    with pytest.raises(DeixisError, match="learned to answer no questions"):
        built(questions=()).answer(PIXELS, WORDS)


def test_phrases_are_found_with_the_average_of_the_weights() -> None:
    method = built()
    before = method.ground(PIXELS, WORDS * MASK, MASK).scores
    with torch.no_grad():
        method.detector.class_head.bias[-1] += 5.0
        assert torch.equal(method.ground(PIXELS, WORDS * MASK, MASK).scores, before)
        method.after_step(Progress(), method(Batch.synthetic(method.stages()[0].needs), Progress(stage="boxes")))
        assert bool((method.ground(PIXELS, WORDS * MASK, MASK).scores < before).all())


def test_the_norms_of_the_tower_rest() -> None:
    tower = zoo.load_part("image_tower", "timm:resnet18:untrained:64")
    method = engine.build("mdetr", "tiny", {"thaw": ("layer4",), "stride": 32}, parts={"tower": tower})
    trained = engine.enter(method, method.stages()[0])
    assert any(name.startswith("tower.network.layer4") for name in trained)
    assert not any(".bn" in name or "layer1" in name for name in trained)
    norms = [module for module in method.tower.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)


def test_a_box_whose_words_were_cut_off_is_learned_without_them_and_is_no_missing_object() -> None:
    """Its query is pulled to its place, to no token and not to "no object"; the other box trains as it would alone."""
    slots = positive_map(torch.tensor([[[[1, 3]], [[0, 0]]]]), 4)
    assert slots[0, 0].tolist() == pytest.approx([0, 0.5, 0.5, 0, 0])
    assert not slots[0, 1].any()
    logits = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    match, real = torch.tensor([[2, 0]]), torch.ones(1, 3, dtype=torch.bool)
    soft_tokens(logits, slots, match, 0.1, real).backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum(-1).gt(0).tolist() == [[False, True, True]]
    apart, overlap = box_losses(torch.full((1, 3, 4), 0.5), torch.full((1, 2, 4), 0.3), match)
    assert float(apart) == pytest.approx(2 * 4 * 0.2)
    assert float(overlap) > 0


# --- a run ------------------------------------------------------------------------------------------------------------

KINDS = (("yes/no", ("no", "yes")), ("count", ("0", "1", "2", "3")))
RUNS: dict[str, dict[str, Any]] = {
    "whole": {"questions": KINDS, "final": False},
    "at rest": {**WITH_REGIONS, "questions": (), "final": False, "contrast": 0.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", few(RUNS, "at rest"))
def test_a_run_is_trained_from_scenes_loaded_and_finds_phrases_as_its_method_does(kind: str, tmp_path: Path) -> None:
    pictures = scenes(count=6, side=48, config=SceneConfig(cast="shapes", objects=(2, 2)))
    data = with_questions(pictures, KINDS) if kind == "whole" else referring(pictures)
    method: Any = engine.build("mdetr", "tiny", RUNS[kind])
    settings = TrainSettings(
        config="tiny",
        set=tuple(f"{n}={v if isinstance(v, str) else json.dumps(v)}" for n, v in RUNS[kind].items()),
        steps=4,
        batch_size=4,
        held_out=0.0,
        workers=0,
        precision="float32",
    )
    with own_cache(tmp_path / "cache"):
        train("mdetr", data, tmp_path / "run", settings, quiet=True)
        method = load_method(tmp_path / "run")
        assert method.config == dataclasses.replace(Config.tiny(), **RUNS[kind])
        picture = data.samples[0].picture.draw()
        found = deixis.ground(picture, "the star", model=tmp_path / "run")
        text = method.text.tokenizer(["the star"], 12)
        with torch.no_grad():
            wanted = method.ground(method.tower.preprocess.batch([picture]), *text)
    boxes, scores = wanted.best()
    torch.testing.assert_close(found.boxes, boxes[0, 0], rtol=0, atol=1e-4)
    torch.testing.assert_close(found.scores, scores[0, 0], rtol=1e-4, atol=0)
    assert found.phrases == ("the star",)
