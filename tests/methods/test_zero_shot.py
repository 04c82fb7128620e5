"""Zero-shot classes: sentences around names, their embeddings averaged by hand."""

from __future__ import annotations

import pytest
import torch

from deixis import engine, zoo
from deixis.errors import DeixisError
from deixis.methods.baselines.zero_shot import class_vectors
from deixis.nn.dual import DualEncoder
from deixis.ops.metrics import accuracy
from tests.support import Peer

open_clip = Peer("open_clip")
NAMES, TEMPLATES = ("heron", "ice cream"), ("a photo of a {}.", "{}", "many {}, drawn")


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    return zoo.load("tiny")


def test_a_class_is_the_mean_of_its_sentences_of_length_one(encoder: DualEncoder) -> None:
    rows = []
    for name in NAMES:
        total = torch.zeros(16)
        for template in TEMPLATES:
            vector = encoder.encode_text(template.replace("{}", name))[0]
            total += vector / vector.norm()
        mean = total / len(TEMPLATES)
        rows.append(mean / mean.norm())
    torch.testing.assert_close(class_vectors(encoder, NAMES, TEMPLATES), torch.stack(rows))


def test_embeddings_are_averaged_and_not_scores(encoder: DualEncoder) -> None:
    """The mean of scores would be shorter than the score of the mean, by the mean's length."""
    single = torch.stack([class_vectors(encoder, NAMES, [template]) for template in TEMPLATES])
    joined = class_vectors(encoder, NAMES, TEMPLATES)
    torch.testing.assert_close(joined * single.mean(0).norm(dim=1, keepdim=True), single.mean(0))
    torch.testing.assert_close(joined.norm(dim=1), torch.ones(2))


def test_the_classifier_is_that_of_open_clips_function_and_top_1_its_rule(encoder: DualEncoder) -> None:
    """On random features; the function of its script that counts does not run on NumPy 2.4, so its rule is restated."""

    class Theirs:
        def encode_text(self, tokens: torch.Tensor, normalize: bool) -> torch.Tensor:
            assert normalize
            return encoder.encode_text(tokens)

    names = ("heron", "ice cream", "tractor", "a fox", "moon")
    weights = open_clip.build_zero_shot_classifier(Theirs(), encoder.tokenize, names, TEMPLATES, 2)
    torch.testing.assert_close(class_vectors(encoder, names, TEMPLATES), weights.T, rtol=1e-5, atol=1e-6)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 16, generator=generator) @ weights
    labels = torch.randint(len(names), (200,), generator=generator)
    right = logits.topk(1, dim=1).indices[:, 0].eq(labels)
    assert 0 < int(right.sum()) < 200
    assert torch.equal(accuracy(logits, labels), right.float())


def test_one_template_and_a_name_with_braces(encoder: DualEncoder) -> None:
    torch.testing.assert_close(class_vectors(encoder, ["a {b}"], ["{}"]), encoder.encode_text(["a {b}"]))


def test_logits_are_scaled_cosines_with_the_classes(encoder: DualEncoder) -> None:
    method = engine.build("zero_shot", "tiny", {"names": NAMES, "templates": TEMPLATES}, {"encoder": encoder})
    images = torch.rand(3, 3, 32, 32)
    image, classes = encoder.encode_image(images), class_vectors(encoder, NAMES, TEMPLATES)
    for i in range(3):
        for c in range(2):
            expected = encoder.scale * float(image[i] @ classes[c])
            assert float(method.classify(images)[i, c]) == pytest.approx(expected, rel=1e-4)


def test_an_image_that_lies_where_a_class_lies_belongs_to_it(encoder: DualEncoder) -> None:
    method = engine.build("zero_shot", "tiny", {"names": ("a", "b", "c")}, {"encoder": encoder})
    best = (method.classes @ method.classes.T).argmax(1)
    assert best.tolist() == [0, 1, 2]


def test_without_names_of_classes_there_is_no_method(encoder: DualEncoder) -> None:
    with pytest.raises(DeixisError, match="part 'names' is missing"):
        engine.build("zero_shot", "tiny", {"names": ()}, {"encoder": encoder})
