"""Explanations of any model: maps on the picture of the user, words with shares, and a model left as it was."""

from __future__ import annotations

import copy
import dataclasses
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import deixis
from deixis.apps.explain import explain as app
from deixis.apps.explain import explainers
from deixis.apps.explain.explanations import Explanation
from deixis.apps.explain.inputs import framed
from deixis.apps.explain.overlays import Share
from deixis.apps.explain.reason import strongest_place
from deixis.data.loading.crops import visible_window
from deixis.engine.evaluation.saliency_checks import compared, entries
from deixis.errors import DeixisError
from deixis.inputs.images import load_image
from deixis.inputs.preprocess import Preprocess
from deixis.methods import _registry, baselines
from deixis.methods.normgrad import CELLS
from deixis.nn.dual import DualEncoder
from tests import commands

TEXTS = ["a red bird", "two tractors"]


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    return deixis.load("tiny")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """Noise, wider than high."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def photo(picture: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    picture.save(path)
    return path


class Classifier(nn.Module):
    """Two convolutions with batch norms, pooled, and four classes; a buffer moves in training mode."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stage1 = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.stage2 = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout())
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stage2(self.stage1(images)).mean((2, 3)))


IMAGES = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(5))


# What comes back


def test_one_text_gives_a_map_an_image_and_several_give_what_each_gives_alone(
    encoder: DualEncoder, picture: Image.Image
) -> None:
    several = deixis.explain(encoder, [picture, picture.rotate(180)], TEXTS)
    assert several.maps.shape == (2, 2, 32, 32)
    layers = {"backbone.0", "backbone.1"}
    assert several.raw.keys() == {"windows 0.5", "windows 0.33", *layers}, "each at its own resolution"
    assert several.raw["backbone.1"].shape == (2, 2, 4, 4)
    assert (several.range, float(several.maps.amin()), float(several.maps.amax())) == ((0.0, 1.0), 0, 1)
    for number, text in enumerate(TEXTS):
        alone = deixis.explain(encoder, [picture, picture.rotate(180)], text)
        torch.testing.assert_close(alone.maps, several.maps[:, number], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.scores, several.scores[:, number])
        own = several.of_text(number)
        assert (own.targets, own.words) == (((text,),) * 2, tuple((row[number],) for row in several.words))
        assert torch.equal(own.on_picture(1), several.on_picture(1, number))
    cosines = encoder.encode_image([picture]) @ encoder.encode_text(TEXTS).T
    torch.testing.assert_close(several.scores[:1], cosines)


def test_a_path_a_picture_its_pixels_and_a_preprocessed_batch_are_the_same_image(
    encoder: DualEncoder, picture: Image.Image, photo: Path
) -> None:
    pixels = load_image(photo)
    batch = encoder.preprocess.batch([pixels])
    maps = [
        deixis.explain(encoder, each, TEXTS[0], tower="image").maps
        for each in (str(photo), photo, picture, pixels, batch)
    ]
    assert all(torch.equal(each, maps[0]) for each in maps)


def test_pictures_in_pieces_are_explained_as_all_at_once(
    encoder: DualEncoder, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [picture.rotate(turn) for turn in (0, 90, 180)]
    whole = deixis.explain(encoder, pictures, TEXTS, method="grad_cam")
    monkeypatch.setattr(app, "_BATCH", 2)
    pieces = deixis.explain(encoder, pictures, TEXTS, method="grad_cam")
    torch.testing.assert_close(pieces.maps, whole.maps, rtol=1e-3, atol=1e-5)
    assert (len(pieces.pictures), len(pieces.windows), len(pieces.words), pieces.targets) == (3, 3, 3, whole.targets)


def test_layers_are_named_as_in_the_tower_or_in_the_whole_model(encoder: DualEncoder, picture: Image.Image) -> None:
    for method in ("grad_cam", "relevance"):
        names = (("backbone.0", "backbone.3"), ("image_tower.backbone.0", "image_tower.backbone.3"))
        short, long = (
            deixis.explain(encoder, picture, TEXTS, method=method, layers=each, tower="image") for each in names
        )
        torch.testing.assert_close(short.maps, long.maps)
    one = deixis.explain(encoder, picture, TEXTS, method="relevance", layers="backbone.0", tower="image")
    assert not torch.allclose(one.maps, short.maps)


SALIENT = pytest.param("srmap", marks=pytest.mark.slow)


@pytest.mark.parametrize("method", [*CELLS, "conv3x3+norm", "scaling+max", "relevance", "normgrad", SALIENT])
def test_every_method_gives_finite_maps_within_its_range_for_any_classifier(method: str) -> None:
    found = deixis.explain(Classifier(), IMAGES, target=1, method=method)
    assert found.maps.shape == (2, 12, 16)
    assert found.maps.isfinite().all()
    assert found.range[0] <= float(found.maps.min()) <= float(found.maps.max()) <= found.range[1]
    signed = method in ("linear_approximation", "scaling+max", "relevance")
    assert found.range == ((-1.0, 1.0) if signed else (0.0, 1.0))


EXPLAINER = '''
"""Brightness: a map of how bright each pixel is."""

from __future__ import annotations
from dataclasses import dataclass
from torch import nn
from deixis.types import Card, Part, Variant

CARD = Card(
    title="Brightness",
    year=2026,
    kind="training-free",
    role="baseline",
    parts=(Part("encoder", "dual_encoder", frozen=True),),
    capabilities=("attribute",),
    variants={"darkness": Variant({"sign": -1.0}, standard=True)},
)


@dataclass(frozen=True)
class Config:
    encoder: str = "tiny"
    sign: float = 1.0

    @classmethod
    def tiny(cls) -> Config:
        return cls()

    @classmethod
    def desk(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls()


class Method(nn.Module):
    def __init__(self, config, *, encoder):
        super().__init__()
        self.config, self.encoder = config, encoder

    def attribute(self, images, score):
        scores = score(getattr(self.encoder, "encode_image", self.encoder)(images))
        maps = (self.config.sign * images.mean(1)).sigmoid()
        return maps if scores.ndim == 1 else maps[:, None].expand(-1, scores.shape[1], -1, -1)


CLAIMS = ()
'''


@pytest.fixture
def brightness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One more file among the methods."""
    (tmp_path / "brightness.py").write_text(EXPLAINER)
    files = {**_registry._files(), "brightness": tmp_path / "brightness.py"}
    monkeypatch.setattr(_registry, "_files", lambda: files)
    monkeypatch.setattr(baselines, "__path__", [*baselines.__path__, str(tmp_path)])
    yield
    sys.modules.pop("deixis.methods.baselines.brightness", None)
    _registry.read.cache_clear()


def test_what_is_compared_under_a_name_is_what_that_name_explains() -> None:
    for name, (method, variant) in compared().items():
        assert name != explainers.RELEVANCE, "which is no method's"
        assert explainers.resolve(name) == (method, dict(variant.settings))


@pytest.mark.usefixtures("brightness")
def test_a_method_is_found_by_what_it_offers_with_the_names_of_its_variants(
    encoder: DualEncoder, picture: Image.Image
) -> None:
    bright = deixis.explain(encoder, picture, TEXTS, method="brightness")
    dark = deixis.explain(encoder, picture, TEXTS, method="darkness")
    assert bright.maps.shape == (1, 2, 32, 32)
    torch.testing.assert_close(bright.maps, 1 - dark.maps)
    assert [word for word, _ in dark.words[0][0]] == ["a", "red", "bird"], "of words, relevance speaks"
    assert deixis.explain(Classifier(), IMAGES, target=1, method="darkness").maps.shape == (2, 12, 16)
    with pytest.raises(DeixisError, match=r"darkness has no rate to choose\. Leave the rate out"):
        deixis.explain(encoder, picture, TEXTS, method="darkness", rate=0.1)
    assert ("brightness", "input") not in [(each.method, each.layer) for each in entries(encoder)]
    assert ("darkness", "input") in [(each.method, each.layer) for each in entries(encoder)]


def test_a_method_that_explains_nothing_is_refused_as_such(encoder: DualEncoder, picture: Image.Image) -> None:
    with pytest.raises(DeixisError, match=r"clip explains no scores\. .*There are: relevance, normgrad, grad_cam"):
        deixis.explain(encoder, picture, TEXTS, method="clip")


def test_a_contrast_takes_the_other_texts_off(encoder: DualEncoder, picture: Image.Image) -> None:
    plain = deixis.explain(encoder, picture, TEXTS, tower="image")
    held = deixis.explain(encoder, picture, TEXTS, tower="image", others=("a photo", "a heron"))
    less = encoder.encode_image([picture]) @ encoder.encode_text(["a photo", "a heron"]).T
    torch.testing.assert_close(held.scores, plain.scores - less.mean())
    assert not torch.allclose(held.maps, plain.maps, atol=1e-3)
    nothing = deixis.explain(encoder, picture, "a photo", others="a photo")
    assert not nothing.maps.any()


# Classes


def test_a_class_may_be_one_for_all_one_an_image_or_several_an_image() -> None:
    model = Classifier()
    each = {number: deixis.explain(model, IMAGES, target=number) for number in range(4)}
    for target in ([3, 1], torch.tensor([3, 1])):
        mixed = deixis.explain(model, IMAGES, target=target)
        torch.testing.assert_close(mixed.maps, torch.stack([each[3].maps[0], each[1].maps[1]]))
        assert mixed.targets == (("class 3",), ("class 1",))
    several = deixis.explain(model, IMAGES, target=torch.tensor([[0, 2], [1, 3]]))
    torch.testing.assert_close(several.maps[1, 1], each[3].maps[1], rtol=1e-4, atol=1e-5)
    free = deixis.explain(model, IMAGES, target=lambda output: output[:, 2])
    torch.testing.assert_close(free.maps, each[2].maps)
    torch.testing.assert_close(free.scores, model.eval()(IMAGES)[:, 2].detach())


def test_without_a_target_the_likeliest_class_of_each_image_is_explained() -> None:
    model = Classifier().eval()
    likeliest = model(IMAGES).argmax(1)
    found = deixis.explain(model, IMAGES)
    torch.testing.assert_close(found.maps, deixis.explain(model, IMAGES, target=likeliest).maps)
    assert found.targets == tuple((f"class {each}",) for each in likeliest.tolist())


def test_outputs_that_hold_logits_are_read_as_logits() -> None:
    class Wrapping(Classifier):
        def forward(self, images: Tensor) -> Any:
            return type("Output", (), {"logits": super().forward(images)})()

    found = deixis.explain(Wrapping(), IMAGES, target=1)
    torch.testing.assert_close(found.maps, deixis.explain(Classifier(), IMAGES, target=1).maps)


def test_attribute_is_called_as_in_captum(encoder: DualEncoder, picture: Image.Image) -> None:
    explainer = deixis.Explainer(Classifier(), method="grad_cam", layers=("stage2",))
    torch.testing.assert_close(explainer.attribute(IMAGES, target=2), explainer(IMAGES, target=2).maps)
    pair = deixis.Explainer(encoder)
    torch.testing.assert_close(pair.attribute(picture, TEXTS), pair(picture, TEXTS).maps)


# The map lies on the picture


@pytest.mark.parametrize("mode", ["pad", "crop", "crop_floor", "squash"])
@pytest.mark.parametrize("size", [(60, 33), (33, 60), (40, 40)])
def test_what_the_model_sees_lies_where_it_was_in_the_picture(mode: Any, size: tuple[int, int]) -> None:
    """The map is the model's own input here, whose one white spot must come back to its place."""
    width, height = size
    spot = (width // 2 + 4, height // 2 - 5)
    picture = Image.new("RGB", size)
    picture.paste((255, 255, 255), (spot[0] - 2, spot[1] - 2, spot[0] + 3, spot[1] + 3))
    preprocess = Preprocess(32, mode=mode, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), fill=0)
    window = visible_window(preprocess, *size)
    values = preprocess.read([picture])[0, 0].clamp(0, 1)
    found = Explanation("", (("",),), torch.ones(1), values[None], {}, pictures=(picture,), windows=(window,))
    placed = found.on_picture()
    assert placed.shape == (height, width)
    y, x = divmod(int(placed.argmax()), width)
    assert abs(x - spot[0]) <= 2
    assert abs(y - spot[1]) <= 2
    grey = np.asarray(found.overlay().convert("RGB"), np.int64)
    assert np.ptp(grey[spot[1], spot[0]]) > 100, "and there is colour there"
    assert np.ptp(grey[1, 1]) == 0, "and none in the corner"


def as_transform(preprocess: Preprocess) -> Callable[[Image.Image], Tensor]:
    return lambda picture: preprocess(load_image(picture))


@pytest.mark.parametrize("mode", ["pad", "crop", "squash"])
@pytest.mark.parametrize("size", [(300, 200), (120, 400)])
def test_what_an_unknown_transform_keeps_of_a_picture_is_found(mode: Any, size: tuple[int, int]) -> None:
    preprocess = Preprocess(48, mode=mode, crop_share=0.8 if mode == "crop" else 1.0)
    found = framed(as_transform(preprocess), size)
    assert found is not None
    assert found == pytest.approx(visible_window(preprocess, *size), abs=0.01)


def test_a_mirrored_view_is_found_and_what_is_no_view_is_not() -> None:
    preprocess = Preprocess(48, mode="squash")
    mirrored = framed(lambda picture: as_transform(preprocess)(picture).flip(-1), (300, 200))
    assert mirrored == pytest.approx((1, 0, 0, 1), abs=0.01)
    for odd in (lambda x: x.transpose(1, 2), lambda x: x.mean(0, keepdim=True).expand(3, -1, -1), torch.zeros_like):
        assert framed(lambda picture, odd=odd: odd(as_transform(preprocess)(picture)), (300, 200)) is None


def test_a_classifier_takes_pictures_with_the_transform_that_belongs_to_it(picture: Image.Image) -> None:
    preprocess = Preprocess(16, mode="crop")
    known = deixis.explain(Classifier(), [picture], target=1, preprocess=preprocess)
    unknown = deixis.explain(Classifier(), [picture], target=1, preprocess=as_transform(preprocess))
    torch.testing.assert_close(known.maps, unknown.maps)
    assert unknown.on_picture().shape == (24, 40)
    torch.testing.assert_close(known.on_picture(), unknown.on_picture(), rtol=0, atol=0.02)
    assert not known.on_picture()[:, :7].any(), "what was cut off was not seen"


# Words


def test_words_have_shares_that_sum_to_one(encoder: DualEncoder, picture: Image.Image) -> None:
    for method in ("normgrad", "gradient", "relevance"):
        found = deixis.explain(encoder, [picture, picture.rotate(90)], TEXTS, method=method, tower="text")
        assert [[len(text) for text in image] for image in found.words] == [[3, 2], [3, 2]]
        assert [word for word, _ in found.words[0][0]] == ["a", "red", "bird"]
        for image in found.words:
            assert all(sum(abs(share) for _, share in text) == pytest.approx(1) for text in image)
        assert found.maps.shape == (2, 2, 0, 0), "no map was asked for"


def test_where_the_shares_of_words_come_from_is_chosen(encoder: DualEncoder, picture: Image.Image) -> None:
    ways = ("auto", "relevance", "gradient_x_input", "integrated_gradients")
    found = {way: deixis.explain(encoder, picture, TEXTS, tower="text", word_scores=way).words[0] for way in ways}
    for one, other in itertools.combinations(ways, 2):
        assert found[one][0] != found[other][0]
    for words in found.values():
        assert [word for word, _ in words[0]] == ["a", "red", "bird"]
        assert sum(abs(share) for _, share in words[0]) == pytest.approx(1)
    by_relevance = deixis.explain(encoder, picture, TEXTS, method="relevance", tower="text").words[0]
    assert by_relevance == found["relevance"], "which has no words of its own"


# As before


def state(model: nn.Module) -> tuple[Any, ...]:
    modes = [module.training for module in model.modules()]
    needs = [(value.requires_grad, value.grad is None) for value in model.parameters()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    return modes, needs, hooks, {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("change", [{}, {"method": "relevance"}, {"rate": 0.1}])
@pytest.mark.parametrize("fails", [False, True])
def test_mode_weights_and_gradients_are_afterwards_as_before(change: dict[str, Any], fails: bool) -> None:
    model = Classifier().train()
    model.stage1.eval()
    model.head.requires_grad_(False)
    before = state(model)

    def target(output: Tensor) -> Tensor:
        if fails:
            raise RuntimeError
        return output[:, 1]

    try:
        deixis.explain(model, IMAGES, target=target, **change)
    except RuntimeError:
        assert fails
    after = state(model)
    assert after[:3] == before[:3]
    assert all(torch.equal(value, before[3][name]) for name, value in after[3].items())


def test_an_encoder_in_training_mode_keeps_its_fingerprint_and_its_mode(picture: Image.Image) -> None:
    model = deixis.load("tiny").train()
    before = model.fingerprint()
    expected = deixis.explain(deixis.load("tiny"), picture, TEXTS)
    found = deixis.explain(model, picture, TEXTS)
    assert torch.equal(found.maps, expected.maps)
    assert found.words == expected.words
    assert model.fingerprint() == before
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_callers_without_gradients_and_frozen_weights_are_served(
    mode: Any, encoder: DualEncoder, picture: Image.Image
) -> None:
    expected = deixis.explain(encoder, picture, TEXTS, tower="image")
    frozen = copy.deepcopy(encoder).requires_grad_(False)
    with mode():
        deixis.explain(frozen, picture, "a", method="relevance", tower="image")
        batch = encoder.read_images([picture])
        found = deixis.explain(frozen, batch, TEXTS, tower="image")
    torch.testing.assert_close(found.maps, expected.maps)


# Unusual input


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("method", ["normgrad", "grad_cam", "relevance", SALIENT])
def test_a_picture_of_one_colour_and_no_square_has_finite_maps(method: str, value: int, encoder: DualEncoder) -> None:
    flat = Image.new("RGB", (50, 7), (value,) * 3)
    found = deixis.explain(encoder, flat, TEXTS[0], method=method, tower="image")
    assert found.maps.isfinite().all()
    assert found.overlay().size == (50, 7)


SLOWLY = pytest.param("relevance", marks=pytest.mark.slow)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", ["normgrad", SLOWLY])
def test_half_precision_gives_nearly_the_map_of_the_whole(
    method: str, kind: torch.dtype, encoder: DualEncoder, picture: Image.Image
) -> None:
    whole = deixis.explain(encoder, picture, TEXTS, method=method, tower="image")
    half = deixis.explain(copy.deepcopy(encoder).to(kind), picture, TEXTS, method=method, tower="image")
    assert half.maps.dtype == torch.float32
    assert F.cosine_similarity(half.maps.flatten(1), whole.maps.flatten(1)).min() > 0.97


def test_a_checkpointed_stage_has_the_map_of_a_plain_one() -> None:
    class Saving(Classifier):
        def forward(self, images: Tensor) -> Tensor:
            cells = checkpoint(self.stage1, images, use_reentrant=False)
            return self.head(self.stage2(cells).mean((2, 3)))

    for change in ({"layers": ("stage1",)}, {"layers": ("stage1.0", "stage2")}, {"method": "relevance"}):
        plain = deixis.explain(Classifier(), IMAGES, target=1, **change)
        torch.testing.assert_close(deixis.explain(Saving(), IMAGES, target=1, **change).maps, plain.maps)


def _of_inference() -> nn.Module:
    with torch.inference_mode():
        return Classifier()


REFUSED: dict[str, tuple[Any, str]] = {
    "layer": (dict(layers=("stage3",)), "no layer 'stage3'. Near names: stage"),
    "layer of relevance": (dict(layers=("stage3",), method="relevance"), "no layer 'stage3'. Near names: stage"),
    "pooled layer": (dict(layers=("head",)), "has no positions"),
    "method": (dict(method="gradcam"), "no method 'gradcam'. Did you mean grad_cam"),
    "setting": (dict(layer="stage2"), "no setting 'layer'. Did you mean layers"),
    "rules": (dict(method="relevance", rules="gama"), "no set of rules 'gama'"),
    "layers of srmap": (dict(method="srmap", layers=("stage1",)), "Leave the layers out"),
    "tower": (dict(tower="left"), "no tower 'left'. There are: both, image, text"),
    "combine": (dict(combine="mean"), "no combine 'mean'. There are: sum, product"),
    "texts": (dict(texts="a bird"), "Classifier is no model of images and texts.*target="),
    "class": (dict(target=4), "no class 4. The model has 4"),
    "classes": (dict(target=[1]), "does not name classes of 2 images"),
    "no number": (dict(target="bird"), "does not name classes"),
    "score": (dict(target=lambda output: output.sum()), r"shape \[\]|or is not \[B\]"),
    "no tensor": (dict(target=lambda output: 3.0), "score is a float"),
    "images": (dict(images=[]), "No picture was given"),
    "one image": (dict(images=IMAGES[0]), "one image has B = 1"),
    "files": (dict(images="photo.jpg"), "preprocess="),
    "missing": (dict(images="nothing.jpg", preprocess=Preprocess(8)), "nothing.jpg"),
    "sizes": (dict(images=[Image.new("RGB", (4, 4))], preprocess=lambda x: x), "must give for every picture a tensor"),
    "parallel": (dict(model=nn.DataParallel(Classifier())), "DataParallel.*model.module"),
    "inference": (dict(model=_of_inference()), "copy.deepcopy"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_explained_is_refused_with_the_cure(case: str) -> None:
    given = {"model": Classifier(), "images": IMAGES, **REFUSED[case][0]}
    with pytest.raises(DeixisError, match=REFUSED[case][1]):
        deixis.explain(**given)


@pytest.mark.slow
def test_a_compiled_model_is_refused_and_what_it_was_made_of_named() -> None:
    model = Classifier()
    model.compile(backend="eager")
    with pytest.raises(DeixisError, match=r"is compiled.*_orig_mod"):
        deixis.explain(model, IMAGES)


@pytest.mark.parametrize("method", ["normgrad", "srmap", "relevance"])
@pytest.mark.parametrize("texts", [None, ["a bird", " \n"]])
def test_texts_that_hold_nothing_are_refused_by_every_method(texts: Any, method: str, encoder: DualEncoder) -> None:
    with pytest.raises(DeixisError, match=r"No texts|holds nothing"):
        deixis.explain(encoder, torch.zeros(1, 3, 32, 32), texts, method=method)
    with pytest.raises(DeixisError, match="holds nothing"):
        deixis.explain(encoder, torch.zeros(1, 3, 32, 32), "a", method=method, others=("",))


def test_wrapped_encoders_are_refused_and_classes_of_encoders_too(encoder: DualEncoder) -> None:
    with pytest.raises(DeixisError, match=r"model\.module"):
        deixis.explain(nn.DataParallel(encoder), torch.zeros(1, 3, 32, 32), TEXTS)
    with pytest.raises(DeixisError, match="has no classes"):
        deixis.explain(encoder, torch.zeros(1, 3, 32, 32), target=3)


# What is seen


def test_a_notebook_shows_pictures_maps_and_words(encoder: DualEncoder, picture: Image.Image) -> None:
    found = deixis.explain(encoder, [picture, picture], TEXTS)
    shown = Image.open(io.BytesIO(found._repr_png_()))
    assert shown.format == "PNG"
    assert shown.width > 3 * 320
    assert shown.height > found.sheet([0]).height
    assert "maps [2, 2, 32, 32] from 0 to 1, of windows 0.5, windows 0.33, backbone.0, backbone.1" in repr(found)
    assert dataclasses.replace(found, pictures=())._repr_png_() is None
    with pytest.raises(DeixisError, match="no pictures"):
        dataclasses.replace(found, pictures=()).overlay()


def test_the_command_writes_overlays_and_maps_and_tells_the_words(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = commands.deixis("explain", photo, *TEXTS, "--model", "tiny")
    assert answer.code == 0, answer.err
    assert "photo-explained.png and photo-explained.npy written: windows of windows 0.5, windows 0.33," in answer.out
    assert "a red bird: similarity" in answer.out
    assert "tractors" in answer.out
    assert re.search(r"« is most important for the score \(\d+ %\)\..* In the picture: [a-z ]+, \d+ %\.", answer.out)
    assert np.load("photo-explained.npy").shape == (2, 24, 40)
    with Image.open("photo-explained.png") as sheet:
        assert sheet.width > 3 * 320

    again = commands.deixis("explain", photo, *TEXTS, "--model", "tiny")
    assert again.code == 2
    assert "There is photo-explained.png already. Choose another --out, or replace it with --overwrite." in again.err
    quick = ("--tower", "image", "--overwrite", "--quiet")
    replaced = commands.deixis("explain", photo, "a boat", "--model", "tiny", *quick)
    assert (replaced.code, replaced.out) == (0, "")
    assert np.load("photo-explained.npy").shape == (1, 24, 40)


def test_the_reason_names_the_word_that_holds_most_and_the_place_of_the_map() -> None:
    maps, words = torch.zeros(1, 1, 9, 9), (("a", 0.1), ("bird", 0.6), ("not", -0.3))
    maps[0, 0, 8, 0] = 1.0
    shares = (tuple(Share(*each) for each in words),)
    found = Explanation("windows", (("a bird not",),), torch.zeros(1, 1), maps, {}, words=(shares,))
    assert found.sentence() == (
        "The phrase » a bird « is most important for the score (70 %). In the picture: lower left, 100 %."
    )
    blind = dataclasses.replace(found, text_blind=((True,),))
    assert blind.sentence() == "The phrase » a bird « is most important for the score (70 %)."
    assert dataclasses.replace(blind, words=()).sentence() == ""


@pytest.mark.parametrize(("row", "column", "name"), [(0, 0, "upper left"), (4, 4, "middle"), (8, 1, "lower left")])
def test_the_place_of_a_map_is_the_ninth_that_holds_most(row: int, column: int, name: str) -> None:
    values = torch.zeros(9, 9)
    values[row, column], values[0, 8] = 3.0, 1.0
    assert strongest_place(values) == (name, pytest.approx(0.75))
    assert strongest_place(-values) == ("", 0.0)


def test_a_command_that_cannot_explain_writes_nothing(photo: Path, tmp_path: Path) -> None:
    def refused(*more: object) -> str:
        answer = commands.deixis("explain", photo, *more, "--model", "tiny")
        assert answer.code == 2
        return answer.err

    assert "There is no text to explain" in refused("--out", tmp_path / "a.png")
    assert "no layer 'x'" in refused("a bird", "--layers", "x", "--out", tmp_path / "a.png")
    assert "end in .png" in refused("a bird", "--out", tmp_path / "a.jpg")
    (tmp_path / "b.npy").touch()
    assert "b.npy already" in refused("a bird", "--out", tmp_path / "b.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.npy"]
