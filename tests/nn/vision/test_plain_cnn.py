"""The plain CNN: a classifier whose embedding is its scores, and whose score for one class no other takes part in."""

from __future__ import annotations

import torch

from deixis.nn.blocks import blocks
from deixis.nn.taps import taps
from deixis.nn.vision.plain_cnn import PlainCnn, PlainCnnConfig

TOWER = PlainCnn(PlainCnnConfig((4, 6, 8), 3)).eval()
IMAGES = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))


def test_its_blocks_are_tapped_by_name_each_half_as_large_as_the_one_before() -> None:
    assert blocks(TOWER) == ["blocks.0", "blocks.1", "blocks.2"]
    with taps(TOWER, blocks(TOWER)) as tapped:
        TOWER(IMAGES)
    shapes = [tuple(tapped.activation(name).shape[1:]) for name in blocks(TOWER)]
    assert shapes == [(4, 16, 24), (6, 8, 12), (8, 4, 6)]


def test_its_embedding_is_the_mean_of_what_its_places_say() -> None:
    """The classifier is linear: scores of the mean are the mean of scores."""
    with torch.no_grad():
        found, places = TOWER(IMAGES), TOWER.tokens(IMAGES)
    assert places.grid == (4, 6)
    torch.testing.assert_close(found.embedding, places.states.mean(1))
    torch.testing.assert_close(found.doubt, 1 - found.embedding.softmax(1).amax(1))


def test_behind_its_last_block_the_gradient_is_the_same_everywhere() -> None:
    """This is where Grad-CAM loses nothing by averaging it."""
    with taps(TOWER, ("blocks.2",)) as tapped:
        gradient = tapped.gradients(TOWER(IMAGES).embedding[:, 1])["blocks.2"]
    torch.testing.assert_close(gradient, gradient[:, :, :1, :1].expand_as(gradient))
    torch.testing.assert_close(gradient[0, :, 0, 0], TOWER.classifier.weight[1] / 24)


def test_why_it_is_a_score_and_no_cosine() -> None:
    """Of an embedding halfway between two texts, the gradient of either cosine is minus that of the other: a map that
    takes its norm is the same for both. Class scores have no such tie."""
    texts = torch.eye(3)[:2].double()
    state = (texts[0] + texts[1]).requires_grad_()
    cosines = torch.nn.functional.normalize(state, dim=0) @ texts.T
    one, other = (torch.autograd.grad(each, state, retain_graph=True)[0] for each in cosines)
    torch.testing.assert_close(one, -other)
    scores = state @ texts.T
    one, other = (torch.autograd.grad(each, state, retain_graph=True)[0] for each in scores)
    assert one @ other == 0
