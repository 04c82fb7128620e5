"""FILIP gives the loss and gradients of its equations, is CLIP where each side has one token, and reads no padding."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from deixis import engine, zoo
from deixis.engine.training.optim import parameter_groups
from deixis.methods import clip, filip
from deixis.types import Batch, Features, Progress, TokenStates
from deixis.zoo import scratch
from tests.support import load_golden


def built(**overrides: Any) -> filip.Method:
    return engine.build("filip", "tiny", overrides, seed=3)


def features(image: Tensor, text: Tensor, image_real: Tensor, text_real: Tensor) -> Features:
    """What `encode` would hand over; all captions differ."""
    caption = torch.arange(1, len(text) + 1)[:, None]
    rows = {"image": image, "text": text, "image_real": image_real, "text_real": text_real, "caption": caption}
    return Features(rows)


BATCH = Batch(ids=tuple("abcdef"))


@pytest.mark.golden
@pytest.mark.parametrize("variant", ["text_mask", "both_masks"])
def test_loss_and_gradients_are_those_of_the_equations(variant: str) -> None:
    golden = load_golden("filip_late")
    leaves = {name: golden[f"in.{name}"].double().requires_grad_() for name in ("image_tokens", "text_tokens")}
    image, text = (normalize(leaves[name], dim=-1) for name in leaves)
    everything = torch.ones(image.shape[:2], dtype=torch.bool)
    real = golden["in.image_mask"] if variant == "both_masks" else everything
    method = built().double()
    method.logit_scale.data.copy_(golden["param.log_scale"])
    batch = Batch(ids=tuple(map(str, range(len(image)))))
    loss = method.loss(features(image, text, real, golden["in.text_mask"]), batch, Progress()).total
    torch.testing.assert_close(loss, golden[f"out.{variant}.loss"], rtol=1e-10, atol=0)
    found = torch.autograd.grad(loss, [*leaves.values(), method.logit_scale])
    for name, gradient in zip([*leaves, "log_scale"], found, strict=True):
        torch.testing.assert_close(gradient, golden[f"grad.{variant}.{name}"], rtol=1e-8, atol=1e-13)
    for name, mask in (("image_tokens", real), ("text_tokens", golden["in.text_mask"])):
        assert not found[list(leaves).index(name)][~mask].any(), "what is masked has no gradient at all"


@pytest.mark.golden
@pytest.mark.parametrize("variant", ["text_mask", "both_masks"])
def test_each_direction_is_that_of_the_equations_and_none_has_the_wrong_axis(variant: str) -> None:
    golden = load_golden("filip_late")
    scale, own = golden["param.log_scale"].exp(), torch.arange(len(golden["in.image_tokens"]))
    to_text, to_image = (scale * golden[f"out.{variant}.similarity_{way}"] for way in ("i2t", "t2i"))
    both = [golden[f"out.{variant}.loss_{way}"] for way in ("i2t", "t2i")]
    torch.testing.assert_close(filip.late_loss(to_text, to_image, own), sum(both) / 2, rtol=1e-10, atol=0)
    torch.testing.assert_close(cross_entropy(to_text, own), both[0], rtol=1e-10, atol=0)
    if variant == "text_mask":
        torch.testing.assert_close(cross_entropy(to_text.T, own), golden["out.wrong_axis_loss_i2t"], rtol=1e-10, atol=0)
        assert not torch.isclose(both[0], golden["out.wrong_axis_loss_i2t"])
        assert not torch.isclose(golden["out.text_mask.loss"], golden["out.padding_included_loss"])


def test_with_one_token_a_side_it_is_clip() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (normalize(torch.randn(6, 16, generator=generator), dim=-1) for _ in range(2))
    real, caption = torch.ones(6, 1, dtype=torch.bool), torch.tensor([1, 2, 3, 2, 4, 5])[:, None]
    rows = {"image": image[:, None], "text": text[:, None], "image_real": real, "text_real": real, "caption": caption}
    ours = built().loss(Features(rows), BATCH, Progress()).total
    parent = engine.build("clip", "tiny", seed=3)
    theirs = parent.loss(Features({"image": image, "text": text, "caption": caption}), BATCH, Progress()).total
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    assert isinstance(built(), clip.Method)


def test_what_is_encoded_are_patches_and_real_words_of_length_one() -> None:
    method = built()
    tokens = torch.tensor([[[1, 7, 8, 2, 0, 0]], [[1, 7, 2, 0, 0, 0]]])
    batch = Batch(ids=("a", "b"), images=torch.randn(2, 3, 32, 32), tokens=tokens, valid={"L": tokens > 0})
    rows = method.encode(batch, Progress()).rows
    assert rows["image"].shape == (2, 16, 16), "4 x 4 patches"
    assert rows["text_real"].sum(1).tolist() == [4, 3]
    for side in ("image", "text"):
        lengths = rows[side].norm(dim=-1)[rows[f"{side}_real"]]
        torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_the_strongest_quarter_is_compared_by_a_loop() -> None:
    generator = torch.Generator().manual_seed(1)
    image, text = (normalize(torch.randn(3, n, 5, generator=generator), dim=-1) for n in (8, 6))
    words = torch.arange(6) < torch.tensor([6, 3, 1])[:, None]
    pool = text[words]
    kept = filip.strongest(TokenStates(image, torch.ones(3, 8, dtype=torch.bool)), TokenStates(text, words), 0.25)
    for own, chosen in zip(image, kept.states, strict=True):
        best = [max(float(patch @ word) for word in pool) for patch in own]
        expected = sorted(sorted(range(8), key=lambda i: -best[i])[:2])
        torch.testing.assert_close(chosen, own[expected])
    other = filip.strongest(TokenStates(text, words), TokenStates(image, torch.ones(3, 8, dtype=torch.bool)), 0.25)
    assert other.mask.sum(1).tolist() == [2, 1, 1], "a quarter of the real words, rounded up"


def test_keeping_all_tokens_is_keeping_none_out() -> None:
    batch = Batch.synthetic(filip.CARD.needs, size=4)
    losses = [built(keep=keep)(batch, Progress()).total for keep in (1.0, 0.999)]
    torch.testing.assert_close(*losses)
    assert not torch.isclose(built(keep=0.1)(batch, Progress()).total, losses[0])


def test_pairs_are_compared_as_the_loss_compares_them() -> None:
    method = built().eval()
    tokens = torch.tensor([[1, 7, 8, 2], [1, 9, 2, 0]])
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    scores = method.compare(images, tokens, tokens > 0)
    padded = method.compare(images, *(torch.nn.functional.pad(each, [0, 3]) for each in (tokens, tokens > 0)))
    torch.testing.assert_close(scores, padded, rtol=1e-5, atol=1e-6)
    alone = method.compare(images[1:2], tokens[1:2, :3])
    torch.testing.assert_close(scores[1:2, 1:2], alone, rtol=1e-5, atol=1e-6)


def test_both_directions_of_the_loss_are_softmaxes_of_what_compare_averages() -> None:
    """Images along texts by their own similarity, texts along images by theirs; the two are not the same."""
    method = built(share_repeats=False).eval()
    batch = Batch.synthetic(filip.CARD.needs, size=4)
    rows = method.encode(batch, Progress())
    both = [torch.empty(4, 4), torch.empty(4, 4)]
    for i in range(4):
        for j in range(4):
            image = rows.rows["image"][i][rows.rows["image_real"][i]]
            text = rows.rows["text"][j][rows.rows["text_real"][j]]
            products = image @ text.T
            both[0][i, j], both[1][i, j] = products.amax(1).mean(), products.amax(0).mean()
    assert not torch.allclose(*both)
    assert batch.images is not None
    compared = method.compare(batch.images, *batch.caption())
    torch.testing.assert_close(compared, sum(both) / 2, rtol=1e-5, atol=1e-6)
    scale, own = method.logit_scale.exp(), torch.arange(4)
    wanted = sum(torch.nn.functional.cross_entropy(scale * side, own) for side in (both[0], both[1].T)) / 2
    torch.testing.assert_close(method.loss(rows, batch, Progress()).total, wanted, rtol=1e-5, atol=1e-6)


def test_what_is_padding_is_asked_of_the_mask_also_where_number_zero_is_a_word() -> None:
    method = built()
    tokens = torch.tensor([[[1, 0, 8, 0, 2, 0]], [[1, 7, 0, 2, 0, 0]]])
    real = torch.arange(6) < torch.tensor([5, 4])[:, None]
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = Batch(("a", "b"), images=images, tokens=tokens, valid={"L": real[:, None]})
    rows = method.encode(batch, Progress()).rows
    assert torch.equal(rows["text_real"], real)
    keys = clip.caption_keys(rows["caption"])
    other = Batch(("a",), images=images[:1], tokens=tokens[:1], valid={"L": torch.arange(6)[None, None] < 4})
    assert not torch.equal(rows["caption"][0], method.encode(other, Progress()).rows["caption"][0])
    assert keys[0] != keys[1]


def test_the_start_and_the_end_of_a_text_are_compared_too_and_the_class_token_of_the_image_is_not() -> None:
    method = built()
    tokens = method.encoder.tokenize(["a red circle", "ring"])
    batch = Batch(
        ("a", "b"), images=torch.randn(2, 3, 32, 32), tokens=tokens.ids[:, None], valid={"L": tokens.mask[:, None]}
    )
    rows = method.encode(batch, Progress()).rows
    words = [len(method.encoder.tokenizer.words(text, 32)) for text in ("a red circle", "ring")]
    assert rows["text_real"].sum(1).tolist() == [int(each.sum()) for each in tokens.mask]
    assert all(int(real) >= count + 2 for real, count in zip(rows["text_real"].sum(1), words, strict=True))
    grid = method.encoder.image_tokens(batch.images).grid
    assert rows["image"].shape[1] == grid[0] * grid[1]


@pytest.mark.parametrize(("image", "text"), [("vit", "transformer"), ("vit-mean", "bag"), ("tiny", "tiny")])
def test_as_published_tables_of_embeddings_are_not_decayed_and_other_matrices_are(image: str, text: str) -> None:
    tiny = text == "tiny"
    encoder = zoo.load("tiny") if tiny else scratch.build(["a red circle"], "tiny", 32, 0, text, image)
    config = dataclasses.replace(filip.Config.paper(), encoder="tiny")
    method = filip.Method(config, encoder=encoder.requires_grad_())
    decays = {
        parameter: group["weight_decay"]
        for group in parameter_groups(method, dict(method.named_parameters()), config.optim)
        for parameter in group["params"]
    }
    tables = {id(each.weight) for each in method.modules() if isinstance(each, torch.nn.Embedding)}
    tables |= {id(each) for name, each in method.named_parameters() if name.endswith("positions")}
    assert tables
    for name, each in method.named_parameters():
        spared = id(each) in tables or each.dim() < 2
        assert decays[each] == (0.0 if spared else config.optim.weight_decay), name


def test_the_paper_trains_with_lamb() -> None:
    config = filip.Config.paper()
    assert (config.optim.optimiser, config.keep, config.optim.eps) == ("lamb", 0.25, 1e-4)
