"""Measures are what a slow loop or the eye says; oracles are perfect, those who know nothing are not paid for ties."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from deixis import engine
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.engine.claims.measures import MEASURES, PROMPT, WORDS, chance, recall, scores, values
from deixis.errors import DeixisError
from deixis.inputs.masks import decode_mask
from deixis.methods import align
from deixis.nn.dual import DualEncoder
from deixis.ops.metrics import retrieval
from deixis.types import Part, Sample, Source, TokenStates
from deixis.zoo import scratch
from tests.toys import carded

SIDE, GRID = 48, 6
BUILT_ON = (Part("encoder", "dual_encoder"),)


def of_shapes(count: int = 12, **changes: Any) -> Source:
    config = SceneConfig(cast="shapes", tinted=1.0, repeats=1, objects=(2, 3), phrases=0, questions=0, **changes)
    return scenes(0, count, side=SIDE, config=config)


SOURCE = of_shapes(changes=3)
TEXTS = [
    text
    for s in SOURCE.samples
    for text in (*s.captions, s.extra["swapped"], *(change.words for change in s.extra["changes"]))
]


def new() -> DualEncoder:
    return scratch.build([*TEXTS, PROMPT], "tiny", SIDE, seed=0)


@dataclasses.dataclass
class Told:
    """What an oracle is told: the tokens that are right for each image, by its pixels."""

    images: Tensor
    right: list[set[tuple[int, ...]]]


class Oracle(nn.Module):
    """Gives 1 to what it was told is right, else 0; or the other way round."""

    def __init__(self, encoder: DualEncoder, told: Told, turned: bool = False) -> None:
        super().__init__()
        self.encoder, self.told, self.turned = encoder, told, turned

    def compare(self, images: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        rows = []
        for image in images:
            number = int((self.told.images - image).flatten(1).abs().sum(1).argmin())
            rows.append([tuple(t for t in text if t) in self.told.right[number] for text in tokens.tolist()])
        return torch.tensor(rows).float() * (-1 if self.turned else 1)


carded(Oracle, parts=BUILT_ON, capabilities=("compare",))


def oracle(turned: bool = False, nouns: bool = False) -> Oracle:
    encoder = new()
    images = encoder.read_images([sample.picture for sample in SOURCE.samples])
    texts = [
        PROMPT.format(f"{'an' if s.label[0] in 'ao' else 'a'} {s.label}") if nouns and s.label else s.captions[0]
        for s in SOURCE.samples
    ]
    return Oracle(encoder, Told(images, [{tuple(encoder.tokenize([text]).ids[0].tolist())} for text in texts]), turned)


class Even(Oracle):
    """Finds everything equally good."""

    def compare(self, images: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        return torch.ones(len(images), len(tokens))


carded(Even, parts=BUILT_ON, capabilities=("compare",))


@pytest.mark.parametrize("name", ["recall_at_1", "zero_shot", "binding"])
def test_an_oracle_is_perfect_its_opposite_and_one_that_knows_nothing_get_nothing(name: str) -> None:
    nouns = name == "zero_shot"
    assert float(values(name, oracle(nouns=nouns), SOURCE).mean()) == 1.0
    assert float(values(name, oracle(True, nouns), SOURCE).mean()) == 0.0
    assert float(values(name, Even(new(), Told(torch.zeros(0), [])), SOURCE).mean()) == 0.0


def test_recall_by_hand() -> None:
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.3, 0.3], [0.1, 0.2, 0.7]])
    # Image 1 prefers text 0 to its own; text 1 has image 1 first; text 0 has image 0 first.
    assert recall(similarity, torch.arange(3)).tolist() == [1.0, 0.5, 1.0]
    # Texts 0 and 1 are one: then image 1 is right, too, and any of their two images is a hit for either.
    assert recall(similarity, torch.tensor([0, 0, 1])).tolist() == [1.0, 1.0, 1.0]
    assert recall(torch.ones(3, 3), torch.arange(3)).tolist() == [0.0, 0.0, 0.0], "a tie is no hit"


def test_recall_of_embeddings_is_that_of_retrieval() -> None:
    generator = torch.Generator().manual_seed(0)
    image, own = (normalize(torch.randn(40, 5, generator=generator), dim=1) for _ in range(2))
    keys = torch.arange(40) // 2
    text = own[keys]  # equal texts have equal vectors
    expected = retrieval(image, text, keys)["mean_r1"]
    assert torch.equal(recall(image @ text.T, keys), expected)


def test_a_method_is_asked_by_what_its_card_names() -> None:
    encoder = new()
    clip = engine.build("clip", "desk", parts={"encoder": encoder}).eval()
    images, tokens = torch.randn(5, 3, SIDE, SIDE), encoder.tokenize(TEXTS[:4])
    found = scores(clip, images, tokens, batch_size=2)
    torch.testing.assert_close(found, clip.encode_image(images) @ clip.encode_text(*tokens).T)
    filip = engine.build("filip", "desk", parts={"encoder": encoder}).eval()
    torch.testing.assert_close(scores(filip, images, tokens, batch_size=2), filip.compare(images, *tokens))


def test_other_things_in_the_picture_are_no_wrong_answers() -> None:
    """Asked for each image's nouns, those beside the label score as high; they are left out of the choice."""
    told = oracle(nouns=True)
    for right, sample in zip(told.told.right, SOURCE.samples, strict=True):
        for region in sample.regions:
            noun = region.category
            prompt = PROMPT.format(f"{'an' if noun[0] in 'ao' else 'a'} {noun}")
            right.add(tuple(told.encoder.tokenize([prompt]).ids[0].tolist()))
    assert float(values("zero_shot", told, SOURCE).mean()) == 1.0


@pytest.mark.parametrize("name", MEASURES)
def test_measuring_changes_neither_weights_nor_modes_and_batches_make_no_difference(name: str) -> None:
    asks = "clip" if name.startswith("composed") else "filip"
    method = engine.build(asks, "desk", parts={"encoder": new()}).train()
    method.encoder.text_tower.eval()
    before = [value.clone() for value in method.state_dict().values()]
    modes = [module.training for module in method.modules()]
    found = [values(name, method, SOURCE, batch_size) for batch_size in (64, 5)]
    assert torch.equal(found[0], found[1])
    assert ((found[0] >= 0) & (found[0] <= 1)).all()
    assert [module.training for module in method.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(before, method.state_dict().values(), strict=True))


# --- pointing ---------------------------------------------------------------------------------------------------------


class Finger(nn.Module):
    """Patches and words whose products are planted: word i of a text points where `maps[i]` says, or beside it."""

    def __init__(self, encoder: DualEncoder, source: Source, aside: bool) -> None:
        super().__init__()
        self.encoder, self.source, self.aside = encoder, source, aside

    def image_tokens(self, images: Tensor) -> TokenStates:
        patches = GRID * GRID
        return TokenStates(
            torch.eye(patches).expand(len(images), -1, -1), torch.ones(len(images), patches) > 0, (GRID, GRID)
        )

    def text_tokens(self, tokens: Tensor, mask: Tensor) -> TokenStates:
        states = torch.zeros(*tokens.shape, GRID * GRID)
        for row, sample in zip(states, self.source.samples, strict=True):
            for region in sample.regions:
                assert region.mask is not None
                share = decode_mask(region.mask).float().reshape(GRID, 8, GRID, 8).mean((1, 3)).flatten()
                place = share.argmin() if self.aside else share.argmax()
                for span in self.encoder.tokenizer.encode_spans(sample.captions[0], region.spans, 32):
                    assert span is not None
                    row[span[0] : span[1], place] += 1.0
        return TokenStates(states, mask)


carded(Finger, parts=BUILT_ON, capabilities=("image_tokens", "text_tokens"))


def test_a_planted_map_points_and_one_beside_the_thing_does_not() -> None:
    spoken = sum(bool(region.spans) for sample in SOURCE.samples for region in sample.regions)
    found = values("pointing", Finger(new(), SOURCE, aside=False), SOURCE)
    assert len(found) == spoken, "one value a phrase, each noun being there once"
    assert found.tolist() == [1.0] * spoken
    assert float(values("pointing", Finger(new(), SOURCE, aside=True), SOURCE).mean()) == 0.0


def test_things_that_are_counted_together_are_pointed_at_together() -> None:
    source = of_shapes(30, named=4)
    config = SceneConfig(cast="shapes", tinted=0.0, objects=(3, 3), repeats=3, phrases=0, questions=0)
    source = scenes(0, 12, side=SIDE, config=config)
    spans = {(sample.id, span) for sample in source.samples for region in sample.regions for span in region.spans}
    assert len(spans) < sum(len(region.spans) for sample in source.samples for region in sample.regions)
    encoder = scratch.build([s.captions[0] for s in source.samples], "tiny", SIDE)
    assert len(values("pointing", Finger(encoder, source, aside=False), source)) == len(spans)


class Looking(nn.Module):
    """Whose score of an image with a phrase hangs on one patch: the one that the thing covers most, or least."""

    def __init__(self, encoder: DualEncoder, sample: Sample, aside: bool) -> None:
        super().__init__()
        self.encoder, self.places = encoder, dict[tuple[int, ...], int]()
        for region in sample.regions:
            assert region.mask is not None
            share = decode_mask(region.mask).float().reshape(GRID, 8, GRID, 8).mean((1, 3)).flatten()
            for start, stop in region.spans:
                ids = encoder.tokenize([sample.captions[0][start:stop]]).ids[0]
                self.places[tuple(ids.tolist())] = int(share.argmin() if aside else share.argmax())

    def image_tokens(self, images: Tensor) -> TokenStates:
        return self.encoder.image_tokens(images)

    def text_tokens(self, tokens: Tensor, mask: Tensor) -> TokenStates:
        return self.encoder.text_tokens(tokens, mask)

    def compare(self, images: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        places = [self.places[tuple(t for t in text if t)] for text in tokens.tolist()]
        return self.image_tokens(images).states[:, places].square().sum(2)


carded(Looking, parts=BUILT_ON, capabilities=("image_tokens", "text_tokens", "compare"))


def test_a_gradient_map_of_the_score_points_where_the_score_comes_from() -> None:
    for number, sample in enumerate(SOURCE.samples[:3]):
        source = dataclasses.replace(SOURCE, samples=(sample,))
        spoken = sum(bool(region.spans) for region in sample.regions)
        found = [values("pointing_norm_grad", Looking(new(), sample, aside), source) for aside in (False, True)]
        assert [each.tolist() for each in found] == [[1.0] * spoken, [0.0] * spoken], number
    both = [values(f"pointing_{name}", Looking(new(), sample, False), source) for name in ("norm_grad", "grad_cam")]
    assert both[0].shape == both[1].shape


def test_a_flat_map_points_nowhere() -> None:
    method = Finger(new(), Source("none", SOURCE.root, "captions", "", ()), aside=False)
    method.text_tokens = lambda tokens, mask: TokenStates(torch.zeros(*tokens.shape, GRID * GRID), mask)  # type: ignore[method-assign]
    assert float(values("pointing", method, SOURCE).mean()) == 0.0


# --- composed queries -------------------------------------------------------------------------------------------------


class Planted(nn.Module):
    """An axis for each scene, whatever was changed of it, and one for all that the same words say of."""

    def __init__(self, encoder: DualEncoder, source: Source, loudness: float = 1.0) -> None:
        super().__init__()
        self.encoder, self.loudness = encoder, loudness
        told = [(i, change) for i, s in enumerate(source.samples) for change in s.extra["changes"]]
        self.pixels = encoder.read_images([*(s.picture for s in source.samples), *(c.scene for _, c in told)])
        self.words = sorted({change.words for _, change in told})
        count = len(source.samples)
        rows = [(i, None) for i in range(count)] + [(i, self.words.index(change.words)) for i, change in told]
        self.shown = torch.zeros(len(rows), count + len(self.words))
        for row, (scene, word) in zip(self.shown, rows, strict=True):
            row[scene] = 1.0
            if word is not None:
                row[count + word] = 1.0
        self.tokens = [tuple(encoder.tokenize([words]).ids[0].tolist()) for words in self.words]

    def encode_image(self, images: Tensor) -> Tensor:
        return self.shown[[int((self.pixels - image).flatten(1).abs().sum(1).argmin()) for image in images]]

    def encode_text(self, tokens: Tensor, mask: Tensor) -> Tensor:
        said = torch.zeros(len(tokens), self.shown.shape[1])
        for row, text in zip(said, tokens.tolist(), strict=True):
            real = tuple(t for t in text if t)
            row[[tuple(t for t in each if t) for each in self.tokens].index(real) - len(self.words)] = self.loudness
        return said


carded(Planted, parts=BUILT_ON, capabilities=("encode_image", "encode_text"))


def test_a_picture_and_words_find_together_what_neither_finds_alone() -> None:
    method = Planted(new(), SOURCE)
    asked = [change.words for sample in SOURCE.samples for change in sample.extra["changes"]]
    assert values("composed", method, SOURCE).tolist() == [1.0] * len(asked)
    assert float(values("composed_image_alone", method, SOURCE).mean()) == 0.0, (
        "all changes of a scene look as much like it"
    )
    alone = [float(asked.count(words) == 1) for words in asked]
    assert values("composed_text_alone", method, SOURCE).tolist() == alone, "words find what is said of no other scene"


def test_the_own_picture_is_a_wrong_answer_except_where_the_picture_asks_alone() -> None:
    """Words that say nothing leave the query where its picture is; a picture alone is never answered with itself."""
    one = [dataclasses.replace(s, extra={"changes": s.extra["changes"][:1]}) for s in SOURCE.samples]
    source = dataclasses.replace(SOURCE, samples=tuple(one))
    silent = Planted(new(), source, loudness=0.0)
    assert float(values("composed", silent, source).mean()) == 0.0
    assert float(values("composed_image_alone", silent, source).mean()) == 1.0


def test_queries_are_composed_as_align_composes_them() -> None:
    clip = engine.build("clip", "desk", parts={"encoder": new()}).eval()
    sample = SOURCE.samples[0]
    pictures = [sample.picture, *(change.scene for change in sample.extra["changes"])]
    gallery = clip.encoder.encode_image(pictures)
    hits = []
    for number, change in enumerate(sample.extra["changes"], 1):
        query = align.compose(gallery[:1], clip.encoder.encode_text(change.words), (1.0, WORDS))
        hits.append(float((query @ gallery.T).argmax() == number))
    source = dataclasses.replace(SOURCE, samples=(sample,))
    assert values("composed", clip, source).tolist() == hits


# --- refusals ---------------------------------------------------------------------------------------------------------


def _without(**changes: Any) -> Source:
    return dataclasses.replace(SOURCE, samples=tuple(dataclasses.replace(s, **changes) for s in SOURCE.samples))


class Guess(nn.Module):
    """Scores and words at random."""

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.encoder, self.rng = encoder, torch.Generator().manual_seed(0)

    def compare(self, images: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        return torch.rand(len(images), len(tokens), generator=self.rng)

    def image_tokens(self, images: Tensor) -> TokenStates:
        states = torch.randn(len(images), GRID * GRID, 8, generator=self.rng)
        return TokenStates(states, torch.ones(states.shape[:2], dtype=torch.bool), (GRID, GRID))

    def text_tokens(self, tokens: Tensor, mask: Tensor) -> TokenStates:
        return TokenStates(torch.randn(*tokens.shape, 8, generator=self.rng), mask)


carded(Guess, parts=BUILT_ON, capabilities=("compare", "image_tokens", "text_tokens"))


@pytest.mark.parametrize(
    "name",
    ["binding", *(pytest.param(name, marks=pytest.mark.slow) for name in ("recall_at_1", "pointing", "zero_shot"))],
)
def test_the_level_of_chance_is_what_guessing_gives(name: str) -> None:
    guess = Guess(new())
    found = torch.cat([values(name, guess, SOURCE) for _ in range(20)]).double()
    level = chance(name, guess, SOURCE)
    assert level is not None
    assert float(found.mean()) == pytest.approx(level, abs=4 * float(found.std()) / len(found) ** 0.5)


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("speed", SOURCE, "no measure 'speed'.*recall_at_1"),
        ("zero_shot", _without(label=None), "no label"),
        ("zero_shot", _without(label="star"), "nothing to choose"),
        ("binding", _without(extra={}), "No caption names two things"),
        ("pointing", _without(regions=()), "No caption has a span"),
        ("composed", _without(extra={}), "No scene comes with changes"),
        ("recall_at_1", _without(captions=()), "has no caption"),
        ("recall_at_1", dataclasses.replace(SOURCE, samples=()), "no samples"),
    ],
)
def test_what_can_not_be_measured_is_refused_with_a_cure(name: str, source: Source, said: str) -> None:
    asks = "clip" if name.startswith("composed") else "filip"
    method = engine.build(asks, "desk", parts={"encoder": new()})
    with pytest.raises(DeixisError, match=said) as caught:
        values(name, method, source)
    assert caught.value.cure


def test_a_method_without_words_and_patches_can_not_point() -> None:
    with pytest.raises(DeixisError, match="no words and patches"):
        values("pointing", oracle(), SOURCE)
    with pytest.raises(DeixisError, match="no one vector of a picture"):
        values("composed", oracle(), SOURCE)
    with pytest.raises(DeixisError, match="no dual encoder"):
        values("recall_at_1", carded(type("Bare", (nn.Module,), {}))(), SOURCE)
