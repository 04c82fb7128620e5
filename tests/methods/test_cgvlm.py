"""CG-VLM compares words with patches as a slow loop does, and its contrast moves the projector alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from deixis import engine
from deixis.engine.training.checkpoint import state
from deixis.engine.training.train import train
from deixis.errors import DeixisError
from deixis.methods import cgvlm
from deixis.methods.cgvlm import capped, contrast, similarity
from deixis.types import Batch, Progress
from tests.support import Recorded, load_golden, texts


@pytest.mark.golden
def test_similarities_losses_and_gradients_are_those_of_the_paper_s_equations() -> None:
    golden = Recorded(load_golden("cgvlm_loss"))
    leaves = {name: golden[f"in.{name}"].requires_grad_() for name in ("patches", "token_embeddings", "lm_logits")}
    leaves["log_scale"] = golden["in.log_scale"].requires_grad_()
    labels, keys, weight = golden["in.labels"], golden["in.caption_id"], golden["cfg.lambda_contrastive"]
    ignored, alone = int(golden["cfg.ignore_index"]), torch.arange(len(keys))
    generative = F.cross_entropy(
        leaves["lm_logits"][:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=ignored
    )
    torch.testing.assert_close(generative, golden["out.generative"], rtol=1e-8, atol=0)
    scale = capped(leaves["log_scale"], float(golden["cfg.max_scale"]))
    torch.testing.assert_close(scale, golden["out.scale"], rtol=1e-8, atol=0)
    for kind in ("max_patch", "pooled_cosine", "mean_cosine"):
        scores = similarity(leaves["patches"], leaves["token_embeddings"], golden["in.token_mask"], kind)
        torch.testing.assert_close(scores, golden[f"out.similarity_{kind}"], rtol=1e-8, atol=1e-12)
        there, back = (contrast(scale * each, alone, repeats="none") for each in (scores, scores.T))
        torch.testing.assert_close((there + back) / 2, golden[f"out.contrastive_{kind}"], rtol=1e-8, atol=0)
        total = generative + weight * (there + back) / 2
        torch.testing.assert_close(total, golden[f"out.total_{kind}"], rtol=1e-8, atol=0)
        gradients = dict(zip(leaves, torch.autograd.grad(total, list(leaves.values()), retain_graph=True), strict=True))
        if kind == "mean_cosine":
            for name, gradient in gradients.items():
                torch.testing.assert_close(gradient, golden[f"grad.in.{name}"], rtol=1e-8, atol=1e-12)
            torch.testing.assert_close(there, golden["out.contrastive_image_to_text"], rtol=1e-8, atol=0)
            torch.testing.assert_close(back, golden["out.contrastive_text_to_image"], rtol=1e-8, atol=0)
            for form in ("mean", "sum"):
                both = [contrast(scale * each, keys, repeats=form) for each in (scores, scores.T)]
                mean = golden[f"out.contrastive_duplicates_{form}"]
                torch.testing.assert_close((both[0] + both[1]) / 2, mean, rtol=1e-8, atol=0)
        else:
            torch.testing.assert_close(gradients["patches"], golden[f"grad.in.patches_{kind}"], rtol=1e-8, atol=1e-12)
    assert golden.read == set(golden), "every stored value is compared"


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_mean_of_all_cosines_is_that_of_the_loop_over_images_texts_patches_and_words() -> None:
    patches, words = drawn(3, 4, 5), drawn(2, 6, 5, seed=1)
    real = torch.arange(6) < torch.tensor([[6], [2]])
    cosines = F.cosine_similarity(patches[:, None, :, None], words[None, :, None], dim=-1)  # [Q, G, M, N]
    slow = torch.stack([cosines[:, text, :, : int(row.sum())].mean((1, 2)) for text, row in enumerate(real)], dim=1)
    torch.testing.assert_close(similarity(patches, words, real, "mean_cosine"), slow)


@pytest.mark.parametrize("kind", ["mean_cosine", "pooled_cosine", "max_patch"])
def test_of_one_patch_and_one_word_each_similarity_is_the_cosine(kind: str) -> None:
    patches, words = drawn(3, 1, 5), drawn(3, 1, 5, seed=1)
    scores = similarity(patches, words, torch.ones(3, 1, dtype=torch.bool), kind)  # type: ignore[arg-type]
    torch.testing.assert_close(scores.diagonal(), F.cosine_similarity(patches, words, dim=-1)[:, 0])


def test_at_its_cap_the_temperature_has_a_gradient_of_exactly_zero() -> None:
    for start, slope in ((2.0, 2.0), (100.0, 0.0), (300.0, 0.0)):
        log_scale = torch.tensor(start, dtype=torch.float64).log().requires_grad_()
        scale = capped(log_scale, 100.0)
        (gradient,) = torch.autograd.grad(scale, log_scale)
        assert scale.item() == pytest.approx(min(start, 100.0))
        assert gradient.item() == pytest.approx(slope, abs=0.0 if slope == 0 else 1e-9)


CAPTIONS = ("a red cup", "a blue hat on a cup", "a red cup")


def built(name: str = "cgvlm", **overrides: object) -> cgvlm.Method:
    source = texts(*CAPTIONS)
    return engine.build(name, "tiny", {"lm": "scratch:tiny", **overrides}, seed=1, source=source)  # type: ignore[return-value]


def batch(method: cgvlm.Method) -> Batch:
    tokens, mask = method.lm.tokenizer(CAPTIONS, 12)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return Batch(
        ("a", "b", "c"),
        images,
        tokens=tokens[:, None],
        valid={"L": mask[:, None], "M": mask},
        extra={"question_tokens": tokens[:, None]} if method.config.questions else {},
        specs={"question_tokens": cgvlm.QUESTION},
    )


def test_without_a_weight_training_is_that_of_the_parent_bit_for_bit() -> None:
    method, parent = built(weight=0.0), built("prefix")
    for each in (method, parent):
        train(each, iter([batch(each)] * 2), 2, stage=each.stages()[0])
    ours, theirs = state(method), state(parent)
    del ours["log_scale"]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_contrast_moves_the_projector_and_the_scale_alone() -> None:
    method = built()
    engine.enter(method, method.stages()[0])
    method(batch(method), Progress()).parts["contrastive"].backward()
    moved = {name for name, each in method.named_parameters() if each.grad is not None and each.grad.any()}
    assert moved == {"log_scale", *(name for name, _ in method.named_parameters() if ".projector." in name)}


def test_images_with_the_same_caption_are_right_answers_or_wrong_ones_as_the_config_says() -> None:
    rows, losses = batch(built()), {}
    for repeats in ("mean", "sum", "none"):
        losses[repeats] = built(repeats=repeats)(rows, Progress()).parts["contrastive"].item()
    assert losses["sum"] < losses["mean"], "of equal captions any will do"
    assert losses["sum"] < losses["none"]


def test_words_and_patches_are_in_one_space_and_what_stands_around_a_text_is_no_word() -> None:
    method = built().eval()
    rows = batch(method)
    patches, words = method.image_tokens(rows.images), method.text_tokens(*rows.caption())  # type: ignore[arg-type]
    assert patches.grid == (2, 2)
    assert patches.states.shape[2] == words.states.shape[2] == method.lm.width
    assert words.mask.sum(1).tolist() == [3, 6, 3]
    assert not words.mask[:, 0].any()


def test_the_second_stage_learns_questions_without_the_contrast() -> None:
    method = built(questions=True, question_share=0.25)
    first, second = method.stages()
    assert (first.steps, second.steps, second.data) == (0.75, 0.25, "questions")
    trained = [{name.partition(".lm.")[0] for name in engine.enter(method, each)} for each in (first, second)]
    assert "speaker" in trained[1] - trained[0], "the language model rests at first"
    rows = batch(method)
    assert set(method(rows, Progress(stage=first.name)).parts) == {"words", "contrastive"}
    losses = method(rows, Progress(stage=second.name))
    assert set(losses.parts) == {"words"}
    other = Batch(
        rows.ids,
        rows.images,
        tokens=rows.tokens,
        valid=rows.valid,
        extra={"question_tokens": rows.extra["question_tokens"].roll(1, 0)},
        specs=rows.specs,
    )
    assert not torch.equal(method(other, Progress(stage=second.name)).total, losses.total)


def test_an_image_that_is_one_vector_has_no_patches_to_compare() -> None:
    with pytest.raises(DeixisError, match="compares words with patches"):
        built(embedding=True)
