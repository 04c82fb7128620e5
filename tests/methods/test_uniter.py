"""UNITER against its golden vectors, each function against a loop, and what is the paper's own."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deixis import engine, zoo
from deixis.errors import DeixisError
from deixis.methods import uniter
from deixis.methods.uniter import Config, Method
from deixis.nn.language.bert import BertConfig
from deixis.nn.regions.gap_heads import mean_loss
from deixis.nn.regions.hiding import hide_words
from deixis.nn.regions.picture_pair import PicturePair
from deixis.nn.regions.single_stream import PredictionHead, SingleStream, pack
from deixis.ops.pairs.text_regions import TextRegions, content_keys, exchange, negative_rows
from deixis.ops.regions.choosing import margin_loss, pick_negative, refer_loss
from deixis.types import Batch, Progress
from tests.contract import Subject
from tests.support import load_golden

# ---- golden


def filled(module: nn.Module, golden: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, nn.Parameter]:
    """The module's parameters by the names that the golden file has for them, holding its values."""
    parameters = dict(module.named_parameters())
    named = {}
    for name, parameter in parameters.items():
        key = name
        for own, theirs in names.items():
            key = key.replace(own, theirs)
        if f"param.{key}" in golden:
            named[key] = parameter
    with torch.no_grad():
        for key, parameter in named.items():
            value = golden[f"param.{key}"]
            parameter.data = value.clone() if value.shape == parameter.shape else parameter.data
            parameter.copy_(value)
    return named


def check(golden: dict[str, Tensor], values: Mapping[str, Tensor], leaves: Mapping[str, Any]) -> None:
    """Every stored output and gradient, each once."""
    for name, value in values.items():
        torch.testing.assert_close(value.double(), golden.pop(f"out.{name}").double(), rtol=1e-6, atol=1e-10, msg=name)
    for name, leaf in leaves.items():
        torch.testing.assert_close(leaf.grad, golden.pop(f"grad.{name}"), rtol=1e-6, atol=1e-10, msg=name)
    left = [name for name in golden if name.startswith(("out.", "grad."))]
    assert not left, left


def method_of(golden: Mapping[str, Tensor], tasks: tuple[tuple[str, int], ...]) -> Method:
    """A method whose heads have the sizes of a golden file."""
    width = golden["in.states"].shape[2]
    config = dataclasses.replace(Config.tiny(), width=width, tasks=tasks, head="")
    return engine.build("uniter", "tiny", {f.name: getattr(config, f.name) for f in dataclasses.fields(config)})  # type: ignore[return-value]


STREAM = {
    "words.weight": "word_embedding",
    "positions.weight": "position_embedding",
    "kinds.weight": "type_embedding",
    "regions.feature_norm": "region_norm",
    "regions.place_norm": "geometry_norm",
    "regions.norm": "image_norm",
    "regions.feature": "region_linear",
    "regions.place": "geometry_linear",
    "attention_norm": "attn_norm",
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.out": "attn_out",
    "widen": "ffn_in",
    "narrow": "ffn_out",
}


@pytest.mark.golden
def test_the_stream_equals_the_golden_encoder_layer_by_layer() -> None:
    golden = load_golden("uniter_encoder")
    sizes = BertConfig(41, 32, int(golden["cfg.num_layers"]), int(golden["cfg.num_heads"]), 48, positions=20)
    stream, pooler = SingleStream(sizes, 20).double(), nn.Linear(32, 32).double()
    names = {**STREAM}
    named = filled(stream, golden, names)
    for number, layer in enumerate(stream.layers):
        named |= {f"layers.{number}.ffn_norm.{kind}": getattr(layer.norm, kind) for kind in ("weight", "bias")}
    named |= {f"text_norm.{kind}": getattr(stream.norm, kind) for kind in ("weight", "bias")}
    named |= {f"pooler.{kind}": getattr(pooler, kind) for kind in ("weight", "bias")}
    for key, parameter in named.items():
        parameter.data = golden[f"param.{key}"].clone()
    mask_vector = golden["param.region_mask_embedding"].clone().requires_grad_()
    features, places = (
        golden[f"in.{name}"].clone().requires_grad_() for name in ("region_features", "region_geometry")
    )
    text = stream.embed_words(golden["in.input_ids"])
    image = stream.embed_regions(features + golden["in.region_mask"][..., None] * mask_vector[1], places)
    whole = torch.cat([text, image], dim=1)
    index = golden["in.gather_index"][..., None].expand(-1, -1, 32)
    states = [whole.gather(1, index)]
    for layer in stream.layers:
        states.append(layer(states[-1], golden["in.attention_mask"].bool()[:, None]))
    pooled = torch.tanh(pooler(states[-1][:, 0]))
    loss = (states[-1] * golden["in.cotangent_states"]).sum() + (pooled * golden["in.cotangent_pooled"]).sum()
    loss.backward()
    values = {"text_embedding": text, "image_embedding": image, "packed_embedding": states[0], "pooled": pooled}
    values |= {f"layer_{number}": each for number, each in enumerate(states[1:])} | {"loss": loss}
    leaves = {f"param.{key}": parameter for key, parameter in named.items()}
    leaves |= {"param.region_mask_embedding": mask_vector, "in.region_features": features, "in.region_geometry": places}
    check(golden, values, leaves)

    words, regions = (
        torch.arange(size) < golden[f"in.{name}"][:, None] for name, size in (("text_len", 12), ("region_len", 8))
    )
    again = torch.cat(stream(text, words, image, regions), dim=1)
    real = golden["in.attention_mask"].bool()
    packed = pack(again, torch.cat([words, regions], dim=1))
    torch.testing.assert_close(packed.states[packed.mask], states[-1][real])


def heads(golden: Mapping[str, Tensor], prefix: str) -> tuple[PredictionHead, dict[str, nn.Parameter]]:
    head = PredictionHead(32).double()
    named = {f"{prefix}_{name}": parameter for name, parameter in head.named_parameters()}
    for key, parameter in named.items():
        parameter.data = golden[f"param.{key}"].clone()
    return head, named


def with_head(method: Method, name: str, head: nn.Module) -> Method:
    setattr(method.heads, name, head)
    return method.double()


@pytest.mark.golden
def test_hidden_words_are_told_as_in_the_golden_file() -> None:
    golden = load_golden("uniter_mlm")
    method = method_of(golden, (("mlm", 1),))
    head, named = heads(golden, "mlm")
    table, bias = (golden[f"param.{name}"].clone().requires_grad_() for name in ("word_embedding", "mlm_bias"))
    with_head(method, "word", head).heads.word_bias = nn.Parameter(bias.detach())
    labels, states = golden["in.labels"], golden["in.states"].clone().requires_grad_()
    chosen = labels != golden["cfg.ignore_index"]
    logits = method.heads.words(states[:, : labels.shape[1]][chosen], table)
    losses = F.cross_entropy(logits, labels[chosen], reduction="none")
    loss = mean_loss(losses, len(losses))
    loss.backward()
    named |= {"mlm_bias": method.heads.word_bias}
    leaves = {f"param.{name}": each for name, each in named.items()}
    check(
        golden,
        {"logits": logits, "loss_per_token": losses, "loss": loss},
        {**leaves, "param.word_embedding": table, "in.states": states},
    )


@pytest.mark.golden
def test_features_of_hidden_regions_are_told_as_in_the_golden_file() -> None:
    golden = load_golden("uniter_mrfr")
    method = method_of(golden, (("mrfr", 1),))
    head, named = heads(golden, "mrfr")
    with_head(method, "feature", head).heads.feature_bias = nn.Parameter(golden["param.mrfr_bias"].clone())
    weight, states = (
        golden["param.region_linear.weight"].clone().requires_grad_(),
        golden["in.states"].clone().requires_grad_(),
    )
    found = method.heads.features(states[golden["in.target_positions"]], weight)
    squares = (found - golden["in.target_features"]).square()
    loss, printed = (mean_loss(squares, len(squares), by_row) for by_row in (False, True))
    loss.backward(retain_graph=True)
    named |= {"mrfr_bias": method.heads.feature_bias, "region_linear.weight": weight}  # type: ignore[dict-item]
    check(
        golden,
        {
            "prediction": found,
            "loss_elementwise": squares,
            "loss": loss,
            "loss_sum_of_squared_norms": printed * len(squares),
        },
        {**{f"param.{name}": each for name, each in named.items()}, "in.states": states},
    )


@pytest.mark.golden
def test_classes_of_hidden_regions_are_told_as_in_the_golden_file() -> None:
    golden = load_golden("uniter_mrckl")
    method = method_of(golden, (("mrckl", 1),))
    head, named = heads(golden, "mrc")
    out = nn.Linear(32, 13)
    out.weight.data, out.bias.data = golden["param.mrc_out.weight"].clone(), golden["param.mrc_out.bias"].clone()
    with_head(method, "kind", nn.Sequential(head, out))
    states, target = golden["in.states"].clone().requires_grad_(), golden["in.target_distribution"]
    logits = method.heads.classes(states[golden["in.target_positions"]])
    terms = uniter.class_divergence(logits, target)
    loss, printed = (mean_loss(terms, len(terms), by_row) for by_row in (False, True))
    hard = F.cross_entropy(logits, uniter.hard_class(target, background=True), reduction="none")
    loss.backward()
    named |= {f"mrc_out.{name}": parameter for name, parameter in out.named_parameters()}
    check(
        golden,
        {
            "logits": logits,
            "kl_elementwise": terms,
            "loss": loss,
            "loss_kl_per_region_mean": printed,
            "mrc_hard_loss_per_region": hard,
        },
        {**{f"param.{name}": each for name, each in named.items()}, "in.states": states},
    )


@pytest.mark.golden
def test_matching_and_transport_are_as_in_the_golden_file() -> None:
    golden = load_golden("uniter_itm")
    method = method_of(golden, (("itm", 1),))
    config = dataclasses.replace(
        method.config, transport_beta=float(golden["cfg.beta"]), transport_steps=int(golden["cfg.iterations"])
    )
    method.config = config
    named = {f"pooler.{name}": each for name, each in method.pooler.named_parameters()}
    named |= {f"itm_out.{name}": each for name, each in method.heads.match.named_parameters()}
    for key, parameter in named.items():
        parameter.data = golden[f"param.{key}"].clone()
    states, targets = golden["in.states"].clone().requires_grad_(), golden["in.targets"]
    logits = method.heads.match(method._pooled(states))
    losses = F.cross_entropy(logits, targets, reduction="none")
    counts = [golden[f"in.{name}"] for name in ("text_len", "region_len")]
    sizes = [int(golden[f"cfg.max_{name}_len"]) for name in ("text", "region")]
    masks = [torch.arange(size) < count[:, None] for size, count in zip(sizes, counts, strict=True)]
    words = states[:, : sizes[0]]
    place = (counts[0][:, None] + torch.arange(sizes[1])).clamp(max=states.shape[1] - 1)
    regions = states.gather(1, place[..., None].expand(-1, -1, states.shape[2]))
    pairs = TextRegions(words, masks[0], regions, regions, masks[1])
    cost, plan = method._plan(pairs, words, regions)
    distance, matching = (plan * cost).sum((1, 2)), targets == 1
    transport = uniter.transport_loss(distance, matching)
    loss = mean_loss(losses, len(losses)) + float(golden["cfg.ot_weight"]) * transport
    loss.backward()
    assert int(golden["cfg.inner_iterations"]) == 1
    check(
        golden,
        {
            "logits": logits,
            "itm_loss_per_pair": losses,
            "ot_distance_positive": distance[matching],
            "ot_distance_negative": distance[~matching],
            "ot_loss": transport,
            "loss": loss,
        },
        {**{f"param.{name}": each for name, each in named.items()}, "in.states": states},
    )


# ---- each function


def test_of_the_printed_transport_only_matching_pairs_count() -> None:
    distance, matching = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([True, False, True])
    assert float(uniter.transport_loss(distance, matching)) == pytest.approx((1 - 2 + 4) / 3)
    assert float(uniter.transport_loss(distance, matching, "paper")) == pytest.approx((1 + 4) / 3)


def test_the_loss_of_a_phrase_is_cross_entropy_and_several_right_regions_share_it() -> None:
    scores, valid = torch.randn(3, 4), torch.tensor([[True] * 4, [True, True, True, False], [True] * 4])
    right = torch.tensor([[False, True, False, False], [True, False, True, False], [False] * 4])
    one = -scores[0].log_softmax(0)[1]
    two = -(scores[1, :3].softmax(0)[0] + scores[1, :3].softmax(0)[2]).log()
    torch.testing.assert_close(refer_loss(scores, right, valid), (one + two) / 2)
    assert refer_loss(scores[:, :0], right[:, :0], valid[:, :0]) == 0
    assert refer_loss(scores[2:], right[2:], valid[2:]) == 0


def test_a_negative_is_the_best_of_the_wrong_ones_or_any_of_them() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.3]]).expand(400, -1)
    wrong = torch.tensor([[True, False, True, True]]).expand(400, -1)
    draws = torch.rand(400, 2)
    found = pick_negative(scores, wrong, draws, hard=0.3)
    hard = draws[:, 0] < 0.3
    assert (found[hard] == 2).all()
    counts = torch.bincount(found[~hard], minlength=4)
    assert counts[1] == 0
    assert (counts[[0, 2, 3]] > 50).all()


def test_the_margin_is_between_sigmoids_and_only_counted_pairs_are_in_its_mean() -> None:
    good, bad = torch.tensor([2.0, 0.0, -1.0]), torch.tensor([0.0, 0.5, 3.0])
    each = [max(0.0, 0.2 + float(b.sigmoid() - g.sigmoid())) for g, b in zip(good, bad, strict=True)]
    assert float(margin_loss(good, bad, 0.2)) == pytest.approx(sum(each) / 3)
    counted = torch.tensor([True, True, False])
    assert float(margin_loss(good, bad, 0.2, counted)) == pytest.approx(sum(each[:2]) / 2)


def test_a_negative_row_has_another_text_and_another_picture_in_whatever_order_rows_stand() -> None:
    rng = torch.Generator().manual_seed(0)
    everyone = torch.stack([torch.randperm(12, generator=rng), *(torch.randint(4, (2, 12), generator=rng))], dim=1)
    draws = torch.rand(12, generator=rng)
    found = negative_rows(everyone, everyone, draws)
    for row in range(12):
        allowed = [g for g in everyone[:, 0].argsort().tolist() if (everyone[g, 1:] != everyone[row, 1:]).all()]
        expected = allowed[min(int(draws[row] * len(allowed)), len(allowed) - 1)] if allowed else -1
        assert int(found[row]) == expected
    order = torch.randperm(12, generator=rng)
    shuffled = negative_rows(everyone[order], everyone[order], draws[order])
    assert torch.equal(everyone[order][shuffled, 0], everyone[found[order], 0])
    alike = torch.tensor([[1, 5, 7], [2, 5, 7]])
    assert negative_rows(alike, alike, torch.rand(2)).tolist() == [-1, -1]


# ---- the method


def built(**changes: Any) -> Method:
    return engine.build("uniter", "tiny", changes)  # type: ignore[return-value]


def batch_of(method: Method, size: int = 6, stage: int = 0, seed: int = 0) -> Batch:
    subject = Subject(lambda: method, uniter.CARD)
    return subject.batch(size, seed, engine.stages(method)[stage])


def progress_of(method: Method, task: str) -> Progress:
    return next(p for p in (Progress(n, stage="pretrain") for n in range(20)) if p.turn(method.config.tasks) == task)


def test_two_equal_pairs_are_never_taken_for_a_pair_that_does_not_match() -> None:
    method = built(negative_share=1.0)
    twice = batch_of(method, 2).take([0, 0])
    batch = dataclasses.replace(twice, ids=("one", "other"))
    keys = content_keys(batch.ids, method._pairs(batch))
    texts, pictures, matching = exchange(keys, torch.zeros(2, 3), 1.0, texts=True)
    assert matching.all()
    assert texts.tolist() == pictures.tolist()


def test_as_released_only_pictures_are_exchanged_and_as_printed_texts_are_too() -> None:
    method = built()
    batch = batch_of(method, 8)
    keys, draws = content_keys(batch.ids, method._pairs(batch)), torch.rand(8, 3)
    own = torch.arange(8)
    texts, pictures, matching = exchange(keys, draws, 1.0, texts=False)
    assert not matching.any()
    assert torch.equal(texts, own)
    assert (pictures != own).all()
    texts, pictures, _ = exchange(keys, draws, 1.0, texts=True)
    assert torch.equal(texts != own, draws[:, 2] < 0.5)
    assert ((texts != own) ^ (pictures != own)).all()


def test_conditional_masking_leaves_the_other_side_complete_and_joint_tells_as_many_targets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, tuple[int, int, int]] = {}
    for masking in ("conditional", "joint"):
        method = built(masking=masking, tasks=(("mlm", 1),), mask_share=0.4)
        batch, told = batch_of(method), []
        states = Method._states

        def spy(self: Method, pairs: Any, hidden: Any = None, covered: Any = None) -> Any:
            told.append((int(hidden.sum()), int(covered.sum())))  # noqa: B023
            return states(self, pairs, hidden, covered)  # noqa: B023

        monkeypatch.setattr(Method, "_states", spy)
        progress = Progress(stage="pretrain")
        chosen = hide_words(method._pairs(batch), batch.ids, 0.4, method._words, progress)[0]
        method(batch, Progress(stage="pretrain"))
        monkeypatch.setattr(Method, "_states", states)
        seen[masking] = (int(chosen.sum()), *told[0])
    assert seen["conditional"][:2] == seen["joint"][:2]
    assert seen["conditional"][2] == 0
    assert seen["joint"][2] > 0


def test_the_projection_of_features_and_the_table_of_words_are_tied_to_their_heads() -> None:
    method = built(tasks=(("mrfr", 1),))
    before = copy.deepcopy(method.stream.regions.feature.weight)
    batch = batch_of(method)
    loss = method(batch, Progress(stage="pretrain")).total
    [gradient] = torch.autograd.grad(loss, method.stream.regions.feature.weight)
    assert torch.equal(before, method.stream.regions.feature.weight)
    found = method.heads.features(torch.eye(16), method.stream.regions.feature.weight)
    expected = method.heads.feature(torch.eye(16)) @ before + method.heads.feature_bias
    torch.testing.assert_close(found, expected)
    assert gradient.abs().sum() > 0
    assert not [name for name, _ in method.heads.named_parameters() if "decoder" in name]


def test_a_hidden_word_is_told_from_the_others_and_a_run_that_never_learned_to_says_so() -> None:
    method = built().eval()
    batch = batch_of(method)
    assert batch.tokens is not None
    hidden = torch.zeros(batch.tokens[:, 0].shape, dtype=torch.bool)
    hidden[:, 1] = True
    changed = batch.tokens.clone()
    changed[:, :, 1] = 3
    others = dataclasses.replace(batch, tokens=changed)
    told = method.tell_words(batch, hidden)
    assert torch.equal(told[:, 1], method.tell_words(others, hidden)[:, 1])
    assert torch.equal(told[~hidden], batch.tokens[:, 0][~hidden])
    with torch.no_grad():  # the bias of a word lifts it above all others
        method.heads.word_bias[7] = 1e4
    assert (method.tell_words(batch, hidden)[:, 1] == 7).all()
    with pytest.raises(DeixisError, match="did not learn to tell hidden words"):
        built(tasks=(("itm", 1),)).tell_words(batch, hidden)


@pytest.mark.parametrize("features", ["map", "crop", "names"])
def test_each_kind_of_features_gives_regions_of_its_width(features: str) -> None:
    tower = "tiny" if features == "crop" else ""
    method = built(features=features, tower=tower)
    output = method.eval().ground(
        torch.rand(2, 3, 32, 32), torch.randint(1, 20, (2, 5)), torch.ones(2, 5, dtype=torch.bool)
    )
    assert output.scores.shape == (2, 1, 9)
    assert torch.isfinite(output.scores).all()


def test_a_phrase_is_scored_as_if_it_were_the_whole_text() -> None:
    method = built().eval()
    images, tokens = torch.rand(1, 3, 32, 32), torch.tensor([[5, 6, 7, 8, 9]])
    spans = torch.tensor([[[[1, 3]], [[3, 4]]]])
    mask = torch.ones(1, 5, dtype=torch.bool)
    both = method.ground(images, tokens, mask, spans).scores
    for number, own in enumerate(([5, 6, 7, 9], [5, 8, 9])):
        alone = method.ground(images, torch.tensor([own]), torch.ones(1, len(own), dtype=torch.bool)).scores
        torch.testing.assert_close(both[:, number], alone[:, 0])


@pytest.mark.parametrize("count", [0, 1, 100])
def test_no_candidate_one_and_a_hundred_are_scored_and_trained_on(count: int) -> None:
    method = built(tasks=(("itm", 1), ("mlm", 1), ("mrfr", 1), ("mrckl", 1)))
    whole = batch_of(method, 3, stage=1)
    boxes = torch.rand(3, count, 2, 2).sort(dim=2).values.flatten(2)
    more = {
        "region_features": torch.randn(3, count, method.regions.width),
        "region_classes": torch.randn(3, count, len(method.proposals.classes)).softmax(-1),
    }
    batch = dataclasses.replace(
        whole,
        boxes=boxes,
        valid={**whole.valid, "T": torch.ones(3, count, dtype=torch.bool)},
        extra={**whole.extra, **more},
        specs={**whole.specs, "region_classes": uniter.CLASSES},
    )
    for stage, step in [*(("pretrain", n) for n in range(4)), ("refer", 0)]:
        assert torch.isfinite(method(batch, Progress(step, stage=stage)).total)
    assert torch.isfinite(method.match(batch)).all()
    assert method.align(batch).shape == (3, 8, count)
    assert torch.isfinite(method.refer(batch)).all()


HEADS: tuple[dict[str, Any], ...] = (
    {"head": "answer", "answers": ("yes", "no", "red")},
    {"head": "rank"},
    {"head": "pictures"},
    {"head": "refer", "refer_loss": "margin", "refer_layers": 1},
)


@pytest.mark.slow
@pytest.mark.parametrize("changes", HEADS)
def test_each_head_learns_a_fixed_batch(changes: dict[str, Any]) -> None:
    method = built(pretrain=False, **changes)
    [stage] = engine.stages(method)
    batch = batch_of(method, 6)
    if "answer" in batch.extra:
        batch = dataclasses.replace(batch, extra={**batch.extra, "answer": torch.tensor([0, 1, 2, -1, 0, 1])})
    if batch.labels is not None:
        batch = dataclasses.replace(batch, labels=torch.tensor([0, 1, 0, 1, 1, 0]))
    chosen = engine.enter(method, stage)
    optimiser = torch.optim.Adam(chosen.values(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = method(batch, Progress(stage=stage.name, draw=0)).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert all(parameter.grad is not None for parameter in chosen.values())
    assert losses[-1] < 0.9 * losses[0]


def test_two_pictures_exchanged_under_exchanged_maps_give_exchanged_pools() -> None:
    pair = PicturePair(8, 2)
    states, others = torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    mask, other = torch.ones(2, 5, dtype=torch.bool), torch.tensor([[True] * 3, [True, True, False]])
    found = pair(states, mask, others, other)
    longer = pair(F.pad(states, (0, 0, 0, 2)), F.pad(mask, (0, 2)), F.pad(others, (0, 0, 0, 1)), F.pad(other, (0, 1)))
    torch.testing.assert_close(found, longer)
    turned = copy.deepcopy(pair)
    turned.first, turned.second = pair.second, pair.first
    with torch.no_grad():
        turned.out.weight.copy_(torch.cat(pair.out.weight.chunk(2, dim=1)[::-1], dim=1))
    torch.testing.assert_close(turned(others, other, states, mask), found)


def test_what_means_nothing_is_refused_before_any_work() -> None:
    with pytest.raises(DeixisError, match="Random word vectors"):
        built(train_words=False)
    with pytest.raises(DeixisError, match="no answers to choose from"):
        built(head="answer")
    with pytest.raises(DeixisError, match="need an image tower"):
        built(features="crop")


@pytest.mark.slow
def test_two_layers_of_minilm_are_the_start_and_its_words_rest(fetched: Callable[[str], Path]) -> None:
    fetched("starter")
    method = engine.build("uniter", "desk", {"proposals": "tiny"})
    bert = zoo.load_part("text_encoder", "minilm").network.bert
    state, own = bert.state_dict(), method.stream.state_dict()
    assert torch.equal(own["words.weight"], state["words.weight"])
    for name in ("attention.query.weight", "narrow.bias", "norm.weight"):
        assert torch.equal(own[f"layers.1.{name}"], state[f"layers.1.{name}"])
    assert len(method.stream.layers) == 2
    assert not method.stream.words.weight.requires_grad
    mask = method.encoder.tokenizer.backend.token_to_id("[MASK]")
    assert torch.equal(method.hidden.word, state["words.weight"][mask])
