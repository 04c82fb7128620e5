"""CLOSE: stored values and gradients of adapters and prefix, and that an image can take a text's place."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deixis import engine
from deixis.engine.training.train import train
from deixis.errors import DeixisError
from deixis.methods import close
from deixis.types import Batch, OptimSpec, Progress
from tests.support import load_golden, texts

STATISTICS = {
    "mean_difference": "difference",
    "covariance_difference": "covariance",
    "cholesky": "cholesky",
    "linear_coef": "weight",
    "linear_bias": "bias",
}


@pytest.mark.golden
def test_every_stored_value_and_gradient_is_met() -> None:
    golden = load_golden("close_adapter")
    text = golden["in.text"].requires_grad_()
    noise, more, scale = golden["in.noise"], golden["in.noise_cov"], float(golden["cfg.noise_scale"])
    width = text.shape[1]
    pairs = close.fit_pairs(golden["in.pair_image"], golden["in.pair_text"])
    gap = close.modality_gap(golden["in.pair_image"], golden["in.pair_text"])
    norm, factor = scale * width**0.5, float(golden["cfg.shift_scale"])

    def adapted(adapter: close.Noise, training: bool = True) -> Tensor:
        adapter.double().fit(pairs)
        return adapter.train(training)(text, noise, more)

    prefix = nn.Linear(width, len(golden["param.prefix.bias"])).double()
    prefix.load_state_dict({name: golden[f"param.prefix.{name}"] for name in ("weight", "bias")})
    gaussian = adapted(close.Noise(width, norm))
    vectors = prefix(gaussian).unflatten(1, (int(golden["cfg.prefix_tokens"]), -1))
    (vectors * golden["in.cotangent_prefix"]).sum().backward()
    released = close.Covariance(width, norm, released=True)
    assert float(golden["cfg.released_cov_factor"]) == close._RELEASED_FACTOR
    found = {
        **{f"out.{name}": getattr(pairs, own) for name, own in STATISTICS.items()},
        "out.mean_paired_cosine": gap.cosine,
        "out.relative_norm_from_cosine": gap.relative_norm,
        "out.noise_scale_from_cosine": close.Noise(width, gap.relative_norm).scale,
        "out.gap_of_means": gap.of_means,
        "out.unit": adapted(close.Noise(width, norm), training=False),
        "out.gaussian": gaussian,
        "out.gaussian_not_renormalised": adapted(close.Noise(width, norm, "no")),
        "out.mean_shift_eval": adapted(close.Shift(width, norm, factor=factor), training=False),
        "out.mean_shift": adapted(close.Shift(width, norm, factor=factor)),
        "out.mean_shift_renorm": adapted(close.Shift(width, norm, "both", factor)),
        "out.linear_eval": adapted(close.Linear(width, norm), training=False),
        "out.linear": adapted(close.Linear(width, norm)),
        "out.linear_renorm": adapted(close.Linear(width, norm, "both")),
        "out.covariance": adapted(close.Covariance(width, norm)),
        "out.covariance_released": adapted(released),
        "out.segment_mean": close.segment_means(golden["in.multi_text"], golden["in.segment"]),
        "out.segment_unit": close.caption_means(golden["in.multi_text"], golden["in.segment"]),
        "out.prefix": vectors,
        "grad.in.text": text.grad,
        **{f"grad.param.prefix.{name}": value.grad for name, value in prefix.named_parameters()},
    }
    for name, value in found.items():
        torch.testing.assert_close(
            torch.as_tensor(value, dtype=torch.float64), golden[name], rtol=1e-8, atol=1e-8, msg=name
        )
    assert {name for name in golden if name.startswith(("out.", "grad."))} == set(found)
    torch.testing.assert_close(adapted(released, training=False), golden["out.unit"])


SOURCE = texts("a red cup", "a blue hat", "which colour is it", "red", "blue", "a green tree")


def built(**settings: Any) -> close.Method:
    fast = {"lm": "scratch:tiny", "optim": dataclasses.asdict(OptimSpec(learning_rate=1e-2, weight_decay=0.0))}
    return engine.build("close", "tiny", {**fast, **settings}, seed=1, source=SOURCE)


def batch(method: close.Method, said: Sequence[Sequence[str]], asked: Sequence[tuple[str, str]] = ()) -> Batch:
    """Of captions, all images having equally many, and of a question and its answer."""
    rows = torch.stack([method.encoder.encode_text(list(each)) for each in said]).clone()
    tokens, mask = method.lm.tokenizer([text for each in said for text in each], 12)
    shape = (len(said), len(said[0]), -1)
    fields = {"text_embedding": rows}
    valid = {"L": mask.reshape(shape)}
    for number, (name, letter) in enumerate((("question_tokens", "M"), ("answer_tokens", "N")) if asked else ()):
        ids, real = method.lm.tokenizer([each[number] for each in asked], 12)
        fields[name], valid[letter] = ids[:, None], real[:, None]
    specs = {"text_embedding": close.TEXT, "question_tokens": close.QUESTION, "answer_tokens": close.ANSWER}
    names = tuple(map(str, range(len(said))))
    return Batch(names, tokens=tokens.reshape(shape), valid=valid, extra=fields, specs={k: specs[k] for k in fields})


class AsImages(nn.Module):
    """An encoder whose images are texts: what an aligned encoder would give."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = rows

    def encode_image(self, images: Tensor) -> Tensor:
        return self.rows[images[:, 0, 0, 0].long()]


def numbered(count: int) -> Tensor:
    return torch.arange(count).float()[:, None, None, None].expand(count, 3, 4, 4)


def test_what_learned_from_texts_describes_images_whose_embeddings_take_the_texts_place() -> None:
    said = [["a red cup"], ["a blue hat"]]
    method = built(relative_norm=0.1)
    learned = batch(method, said)
    train(method, iter([learned] * 30), 30)
    rows = learned.extra["text_embedding"][:, 0]
    method.eval().encoder = AsImages(rows)  # type: ignore[assignment]
    assert method.caption(numbered(2)) == ["a red cup", "a blue hat"]


@pytest.mark.slow
def test_the_answer_depends_on_the_embedding_and_a_closed_list_is_scored() -> None:
    method = built(task="answer", relative_norm=0.1, sample={"captions": 2, "tokenizer": "lm", "length": 12})
    said = [["a red cup", "a red cup"], ["a blue hat", "a blue hat"]]
    learned = batch(method, said, [("which colour is it", "red"), ("which colour is it", "blue")])
    train(method, iter([learned] * 40), 40)
    rows = learned.extra["text_embedding"][:, 0]
    method.eval().encoder = AsImages(rows)  # type: ignore[assignment]
    tokens, mask = learned.extra["question_tokens"][:, 0], learned.valid["M"][:, 0]
    assert method.answer(numbered(2), tokens, mask) == ["red", "blue"]
    scores = method.answer_scores(numbered(2), tokens, mask, ("red", "blue", "a green tree"))
    assert scores.argmax(1).tolist() == [0, 1]
    assert (scores.exp().sum(1) <= 1 + 1e-5).all()


def test_one_caption_is_read_and_the_others_of_its_image_are_the_targets() -> None:
    method = built(target="others", adapter="none", sample={"captions": 3, "tokenizer": "lm", "length": 12}).eval()
    three = batch(method, [["a red cup", "a blue hat", "a green tree"]])
    pairs = [batch(method, [["a red cup", each]]) for each in ("a blue hat", "a green tree")]
    two = built(target="others", adapter="none", sample={"captions": 2, "tokenizer": "lm", "length": 12}).eval()
    expected = torch.stack([two(each, Progress()).total for each in pairs]).mean()
    torch.testing.assert_close(method(three, Progress()).total, expected)


def test_noise_has_its_relative_norm_and_a_noisy_text_the_cosine_that_the_rule_promises() -> None:
    rng = torch.Generator().manual_seed(0)
    text, noise = (torch.randn(400, 256, generator=rng) for _ in range(2))
    for cosine in (0.3, 0.7):
        adapter = close.Noise(256, close.relative_norm_from_cosine(cosine))
        found = adapter(text, noise, noise)
        assert float(nn.functional.cosine_similarity(found, text).mean()) == pytest.approx(cosine, abs=0.01)
        assert torch.equal(adapter.eval()(text, noise, noise), nn.functional.normalize(text, dim=-1))
    assert close.relative_norm_from_cosine(0.0) == float("inf")


def test_draws_of_the_covariance_adapter_have_mean_and_covariance_of_the_pairs() -> None:
    rng = torch.Generator().manual_seed(0)
    image, text, more = (torch.randn(n, 6, generator=rng).double() for n in (50, 50, 40_000))
    pairs = close.fit_pairs(image, text)
    adapter = close.Covariance(6, 2.2).double()
    adapter.fit(pairs)
    drawn = adapter.drawn(more, more)
    torch.testing.assert_close(drawn.mean(0), pairs.difference, atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), pairs.covariance, atol=0.02, rtol=0)


def test_pairs_fit_the_adapter_before_texts_are_learned_and_set_the_norm_of_the_noise() -> None:
    method = built(adapter="shift", rule="cosine", relative_norm=1.0)
    assert next((stage.name, stage.kind, stage.data) for stage in method.stages()) == ("pairs", "fit", "pairs")
    rng = torch.Generator().manual_seed(0)
    text = nn.functional.normalize(torch.randn(24, 16, generator=rng), dim=-1)
    image = nn.functional.normalize(text + 0.5, dim=-1)
    fields = {"image_embedding": image, "text_embedding": text[:, None]}
    specs = {"image_embedding": close.IMAGE, "text_embedding": close.TEXT}
    method.observe(Batch(tuple(map(str, range(24))), extra=fields, specs=specs), Progress())
    method.finish(Progress())
    assert method.gap is not None
    assert float(method.adapter.relative_norm) == pytest.approx(method.gap.relative_norm)
    torch.testing.assert_close(method.adapter.vector, (image - text).mean(0), rtol=1e-4, atol=1e-6)


def test_few_pairs_do_not_set_the_norm() -> None:
    method = built(rule="cosine")
    fields = {"image_embedding": torch.eye(16)[:5], "text_embedding": torch.eye(16)[:5, None]}
    specs = {"image_embedding": close.IMAGE, "text_embedding": close.TEXT}
    method.observe(Batch(tuple("abcde"), extra=fields, specs=specs), Progress())
    with pytest.raises(DeixisError, match="5 pairs"):
        method.finish(Progress())


def test_with_as_many_directions_as_pairs_the_covariance_still_has_a_factor() -> None:
    rng = torch.Generator().manual_seed(0)
    found = close.fit_pairs(torch.randn(5, 12, generator=rng).double(), torch.randn(5, 12, generator=rng).double())
    assert all(bool(torch.isfinite(each).all()) for each in found)


def test_as_released_the_rate_hardly_falls() -> None:
    method = built(as_released=("decay",), released_batch=32)
    assert (method.config.optim.schedule, method.config.optim.floor) == ("linear", 1 - 1 / 32)


@pytest.mark.parametrize("settings", [{"as_released": ("mask", "noise")}, {"target": "others"}])
def test_settings_that_can_not_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(DeixisError):
        built(**settings)
