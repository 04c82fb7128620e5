"""The dual encoder: tensors with gradients, files without; adapters on top; a fingerprint that tells models apart."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deixis import zoo
from deixis.inputs.images import ImageError
from deixis.nn.adaptation.adapters import ImageResidual, TextResidual
from deixis.nn.dual import DualEncoder, ImageTower, TextTower
from deixis.nn.language.bert import Bert, BertConfig, MeanPooledText
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from tests.zoo import checkpoints

TEXTS = ["a red bird", "", "two boats on a lake, seen from above"]


@pytest.fixture
def model() -> DualEncoder:
    return zoo.load("tiny")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        Image.fromarray(rng.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)).save(path)
    return paths


def adapted(model: DualEncoder) -> DualEncoder:
    image, text = ImageResidual(model.feature_width, model.width), TextResidual(model.width)
    nn.init.normal_(image.linear.weight)
    nn.init.normal_(text.linear.weight)
    return model.with_adapters(image, text).eval()


def test_the_towers_keep_their_protocols(model: DualEncoder) -> None:
    assert isinstance(model.image_tower, ImageTower)
    assert isinstance(model.text_tower, TextTower)
    assert (model.width, model.feature_width) == (16, 24)


def test_rows_have_length_one_and_one_stands_for_each_input(model: DualEncoder, pictures: list[Path]) -> None:
    for rows, count in ((model.encode_image(pictures), 5), (model.encode_text(TEXTS), 3)):
        assert rows.shape == (count, 16)
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(count))
        assert not rows.requires_grad


def test_one_file_one_picture_one_string_are_batches_of_one(model: DualEncoder, pictures: list[Path]) -> None:
    first = model.encode_image(pictures)[:1]
    with Image.open(pictures[0]) as picture:
        for source in (pictures[0], str(pictures[0]), pictures[0].read_bytes(), picture):
            torch.testing.assert_close(model.encode_image(source), first)
    torch.testing.assert_close(model.encode_text(TEXTS[0]), model.encode_text(TEXTS)[:1])


@pytest.mark.parametrize("kind", ["mean", "causal", "filled", "both ways"])
def test_a_caption_with_an_exclamation_mark_is_the_same_alone_and_padded(model: DualEncoder, kind: str) -> None:
    """In CLIP's vocabulary "!" inside a word is number 0, which other vocabularies pad with."""
    tokenizer = checkpoints.tokenizer()
    end, sizes = tokenizer.vocabulary - 1, (tokenizer.vocabulary, 48, 16, 1, 2, 32, 16)
    layouts = {"filled": {"causal": False, "pool": "last", "fill": end}, "both ways": {"causal": False}}
    if kind == "mean":
        text = MeanPooledText(Bert(BertConfig(tokenizer.vocabulary, 16, 1, 2, 32)))
    else:
        text = TextTransformer(TextConfig(*sizes, **layouts.get(kind, {})))
    encoder = DualEncoder(
        model.image_tower, text.eval(), tokenizer=tokenizer, preprocess=model.preprocess, traits=model.traits
    )
    short, long = "!! the red bird !!", "the bird on the bird on the red bird"
    tokens = encoder.tokenize([short, long])
    assert (tokens.ids[0, 1], tokens.mask[0, 1]) == (0, True)
    assert not tokens.mask[0].all()
    alone, together = (encoder.encode_text(texts)[0] for texts in ([short], [short, long]))
    torch.testing.assert_close(together, alone)
    assert not torch.allclose(alone, encoder.encode_text("the red bird")[0], atol=1e-3), "the mark is read"
    states, single = encoder.text_tokens(tokens), encoder.text_tokens(encoder.tokenize([short]))
    assert states.mask[0].sum() == single.mask.sum() == tokens.mask[0].sum()
    torch.testing.assert_close(states.states[0][states.mask[0]], single.states[0])


def test_the_size_of_batches_does_not_matter_and_order_is_kept(model: DualEncoder, pictures: list[Path]) -> None:
    torch.testing.assert_close(model.encode_image(pictures, batch_size=2), model.encode_image(pictures))
    torch.testing.assert_close(model.encode_image(pictures[::-1]), model.encode_image(pictures).flip(0))
    torch.testing.assert_close(model.encode_text(TEXTS, batch_size=1), model.encode_text(TEXTS))


def test_no_text_gives_no_rows(model: DualEncoder) -> None:
    assert model.encode_text([]).shape == (0, 16)


def test_files_and_their_tensors_give_the_same(model: DualEncoder, pictures: list[Path]) -> None:
    torch.testing.assert_close(model.encode_image(model.read_images(pictures)), model.encode_image(pictures))
    torch.testing.assert_close(model.encode_text(model.tokenize(TEXTS)), model.encode_text(TEXTS))


def test_tensors_carry_a_gradient_to_both_towers(model: DualEncoder) -> None:
    images = torch.randn(2, 3, 32, 32, requires_grad=True)
    image, text = model.encode_image(images), model.encode_text(model.tokenize(TEXTS[:2]))
    model.similarity(image, text).sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(each.grad is not None for each in model.text_tower.bert.layers.parameters())


def test_files_are_encoded_in_eval_mode_and_every_module_gets_its_mode_back(pictures: list[Path]) -> None:
    model = adapted(zoo.load("tiny"))
    model.image_adapter.dropout = 0.5
    calm = model.encode_image(pictures)
    model.train()
    model.text_tower.eval()
    modes = [module.training for module in model.modules()]
    assert torch.equal(model.encode_image(pictures), calm)
    assert [module.training for module in model.modules()] == modes


def test_a_file_that_is_no_image_is_named(model: DualEncoder, tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("not a picture")
    with pytest.raises(ImageError, match=r"note\.jpg"):
        model.encode_image([tmp_path / "note.jpg"])


def test_adapters_change_a_new_encoder_on_the_same_towers(model: DualEncoder, pictures: list[Path]) -> None:
    before = model.encode_image(pictures), model.encode_text(TEXTS)
    other = adapted(model)
    assert other.image_tower is model.image_tower
    assert not torch.allclose(other.encode_image(pictures), before[0])
    assert not torch.allclose(other.encode_text(TEXTS), before[1])
    assert torch.equal(model.encode_image(pictures), before[0])
    states = other.image_states(other.read_images(pictures))
    torch.testing.assert_close(states.embedding, before[0])
    torch.testing.assert_close(other.image_adapter(states), other.encode_image(pictures))
    assert torch.equal(other.with_adapters(None, None).encode_text(TEXTS), before[1])


def test_adapters_at_strength_zero_give_the_towers_own_bits(model: DualEncoder, pictures: list[Path]) -> None:
    other = adapted(model)
    for adapter in (other.image_adapter, other.text_adapter):
        adapter.strength.zero_()
    assert torch.equal(other.encode_image(pictures), model.encode_image(pictures))
    assert torch.equal(other.encode_text(TEXTS), model.encode_text(TEXTS))


def test_similarity_is_scaled_cosine_plus_bias(model: DualEncoder) -> None:
    image, text = model.encode_text(TEXTS), model.encode_text(TEXTS[:2])
    torch.testing.assert_close(model.similarity(image, text), 20.0 * image @ text.T)


def test_tokens_come_with_mask_and_grid(model: DualEncoder, pictures: list[Path]) -> None:
    patches = model.image_tokens(model.read_images(pictures))
    words = model.text_tokens(model.tokenize(TEXTS))
    assert (patches.states.shape, patches.grid) == ((5, 16, 16), (4, 4))
    assert words.mask.sum(1).tolist() == [len(text) + 2 for text in TEXTS]


def test_equal_models_have_equal_fingerprints_and_a_call_changes_none(pictures: list[Path]) -> None:
    model = zoo.load("tiny")
    print_ = model.fingerprint()
    model.encode_image(pictures)
    assert model.fingerprint() == zoo.load("tiny").fingerprint() == copy.deepcopy(model).fingerprint() == print_
    assert pickle.loads(pickle.dumps(model)).fingerprint() == print_
    assert model.to(memory_format=torch.contiguous_format).fingerprint() == print_


def test_one_changed_number_changes_the_fingerprint_and_changing_it_back_restores_it() -> None:
    model = zoo.load("tiny")
    before = model.fingerprint()
    for name, value in model.state_dict().items():
        kept = value.clone()
        with torch.no_grad():
            value[(0,) * value.ndim] += 1
        assert model.fingerprint() != before, name
        with torch.no_grad():
            value.copy_(kept)
        assert model.fingerprint() == before


def test_adapters_settings_and_seeds_change_the_fingerprint(model: DualEncoder) -> None:
    other = zoo.load("tiny")
    other.image_tower.head.temperature = 3.0
    prints = [each.fingerprint() for each in (model, adapted(model), other, zoo.load("tiny", seed=1))]
    assert len(set(prints)) == 4


def test_its_repr_tells_name_sizes_and_licence(model: DualEncoder) -> None:
    text = repr(adapted(model))
    for part in ("tiny", "ClassifierTower", "32 pixels", "MeanPooledText", "64 tokens", "image and text", "licence"):
        assert part in text


def test_towers_of_different_width_are_refused(model: DualEncoder) -> None:
    other = copy.deepcopy(model.text_tower)
    other.width = 8
    with pytest.raises(ValueError, match="16 wide, and the text tower 8"):
        DualEncoder(
            model.image_tower, other, tokenizer=model.tokenizer, preprocess=model.preprocess, traits=model.traits
        )
