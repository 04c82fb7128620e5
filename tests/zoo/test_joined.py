"""Two parts joined: what their dense states have to do with the embedding, and that any two fit."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from deixis import engine, zoo
from deixis.errors import DeixisError
from deixis.types import Batch, Progress

TEXTS = ["a red bird", "two boats on a lake", "night"]


def test_the_mean_of_the_dense_states_is_the_embedding_before_its_norm() -> None:
    model = zoo.joined("tiny", "tiny", 8)
    images, tokens = torch.randn(3, 3, 32, 32), model.tokenize(TEXTS)
    cells, words = model.image_tokens(images), model.text_tokens(tokens)
    torch.testing.assert_close(F.normalize(cells.states.mean(1), dim=-1), model.encode_image(images))
    means = torch.stack([row[real].mean(0) for row, real in zip(words.states, words.mask, strict=True)])
    torch.testing.assert_close(F.normalize(means, dim=-1), model.encode_text(tokens))
    assert cells.grid == (4, 4)
    projected = model.image_tower.project(model.image_tower.cells(images).flatten(2).transpose(1, 2))
    torch.testing.assert_close(cells.states, projected)
    assert model.image_tower.project.bias is None
    assert model.text_tower.project.bias is None


@pytest.mark.parametrize("image", ["scratch:vit:tiny:32", "scratch:resnet:tiny:32", "timm:resnet18:untrained:64"])
def test_parts_that_never_met_give_one_space(image: str) -> None:
    model = zoo.joined(image, "tiny", 12, name="mine")
    assert (model.name, model.width, model.context_length) == ("mine", 12, zoo.load("tiny").context_length)
    side = model.preprocess.size
    similarity = model.similarity(model.encode_image(torch.randn(2, 3, side, side)), model.encode_text(TEXTS))
    assert similarity.shape == (2, 3)
    maps = model.image_tower.feature_maps(torch.randn(1, 3, side, side))
    assert [each.shape[1] for each in maps] == [level.channels for level in model.image_tower.levels]


def test_joined_towers_can_be_prompted_with_vectors_in_place_of_words() -> None:
    tower = zoo.joined("tiny", "tiny", 8).text_tower
    ids, mask = zoo.load("tiny").tokenize(TEXTS)
    torch.testing.assert_close(tower.from_embeddings(tower.embeddings(ids), mask), tower(ids, mask))


def test_clip_trains_both_projections_of_joined_parts() -> None:
    method = engine.build("clip", "tiny", parts={"encoder": zoo.joined("tiny", "tiny", 8)})
    tokens = method.encoder.tokenize(TEXTS)
    batch = Batch(
        tuple("abc"), images=torch.randn(3, 3, 32, 32), tokens=tokens.ids[:, None], valid={"L": tokens.mask[:, None]}
    )
    engine.backward(method, batch, Progress(0, 1))
    for tower in (method.encoder.image_tower, method.encoder.text_tower):
        assert tower.project.weight.grad.abs().sum() > 0


def test_equal_seeds_give_equal_projections_and_a_space_needs_a_width() -> None:
    one, same, other = (zoo.joined("tiny", "tiny", 8, seed=seed) for seed in (1, 1, 2))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    with pytest.raises(DeixisError, match="width 0 was requested"):
        zoo.joined("tiny", "tiny", 0)
