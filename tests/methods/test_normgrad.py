"""NormGrad's table, the methods that are its cells, combined layers, the meta step: the authors' numbers."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis import engine, zoo
from deixis.apps.explain.targets import logit
from deixis.errors import DeixisError
from deixis.methods import normgrad
from deixis.methods.normgrad import Config, NormGradCell, saliency
from deixis.nn.dual import DualEncoder
from deixis.nn.frozen import freeze
from deixis.nn.inner_step import inner_step
from deixis.nn.modified_backward import EXCITATION, Rewritten
from deixis.nn.relevance import pair_score
from deixis.nn.taps import taps
from deixis.nn.vision.vit import Vit, VitConfig
from deixis.ops.maps import highest, hits, per_class, spearman
from tests.support import Peer, explained, load_golden

timm = Peer("timm")

exact = functools.partial(torch.testing.assert_close, rtol=1e-10, atol=1e-13)

AUTHORS = {"linear_approx": "linear_approximation"}
"""Their name of a method -> ours, where they differ."""
TAPS = ("relu1", "relu2", "relu3")


class Network(nn.Module):
    """The network of the golden vectors; a ReLU of its own for each tap, in place as in torchvision's networks."""

    def __init__(self, golden: dict[str, Tensor]) -> None:
        super().__init__()
        for number in (1, 2, 3):
            weight = golden[f"param.conv{number}.weight"]
            setattr(self, f"conv{number}", nn.Conv2d(weight.shape[1], len(weight), 3, padding=1))
            setattr(self, f"relu{number}", nn.ReLU(inplace=True))
        self.bn1, self.bn2 = (nn.BatchNorm2d(len(golden[f"param.bn{number}.weight"])) for number in (1, 2))
        self.fc = nn.Linear(*reversed(golden["param.fc.weight"].shape))
        state = {name.removeprefix("param."): value for name, value in golden.items() if name.startswith("param.")}
        counts = {f"bn{number}.num_batches_tracked": torch.tensor(0) for number in (1, 2)}
        self.double().load_state_dict({**state, **counts})

    def forward(self, images: Tensor) -> Tensor:
        cells = self.relu1(self.bn1(self.conv1(images)))
        cells = F.max_pool2d(self.relu2(self.bn2(self.conv2(cells))), 2)
        return self.fc(self.relu3(self.conv3(cells)).mean(dim=(2, 3)))


def loaded(name: str) -> tuple[dict[str, Tensor], Network, normgrad.Score]:
    golden = load_golden(f"normgrad_{name}")
    return golden, Network(golden), logit(golden["in.targets"])


def raw(network: nn.Module, images: Tensor, score: normgrad.Score, cell: str, layer: str, **more: Any) -> Tensor:
    return saliency(network, images, score, Config(cell=cell, layers=(layer,), **more)).raw[layer]


# The table


@pytest.mark.golden
def test_the_whole_table_is_that_of_the_authors_script() -> None:
    golden, network, score = loaded("grid")
    with taps(network, TAPS) as tapped:
        output = network(golden["in.images"])
        gradients = tapped.gradients(score(output))
    exact(output.detach(), golden["out.logits"])
    exact(tapped.activation("relu3").detach(), golden["out.activation.relu3"])
    exact(gradients["relu3"], golden["out.gradient.relu3"])
    found = {}
    for tap in TAPS:
        for name, cell in normgrad.cells(tapped.activation(tap).detach(), gradients[tap]).items():
            found[f"out.raw.{tap}.{name.replace('+', '.')}"] = cell
    stored = {key for key in golden if key.startswith("out.raw.")}
    assert stored <= set(found)
    for key in stored:
        exact(found[key][: len(golden[key])], golden[key], msg=lambda message, key=key: f"{key}: {message}")


@pytest.mark.golden
def test_plain_products_of_two_layers_are_those_of_the_authors_script() -> None:
    golden, network, score = loaded("grid")
    stored = [key for key in golden if key.startswith("out.product12.")]
    assert stored
    for key in stored:
        cell = "+".join(key.split(".")[2:])
        config = Config(cell=cell, layers=("relu1", "relu2"), combine="plain_product")
        exact(saliency(network, golden["in.images"], score, config).image[: len(golden[key])], golden[key])


# every summand, held in full


def summands(extract: str, x: Tensor, g: Tensor) -> Tensor:
    """[B, terms, h, w], by the definition of each virtual layer's weight gradient."""
    patches = F.unfold(x, 3, padding=1).unflatten(1, (x.shape[1], 9)).unflatten(3, x.shape[2:])
    return {
        "bias": g,
        "scaling": g * x,
        "conv1x1": (g[:, :, None] * x[:, None]).flatten(1, 2),
        "conv3x3": (g[:, :, None, None] * patches[:, None]).flatten(1, 3),
        "conv3x3_depthwise": (g[:, :, None] * patches).flatten(1, 2),
    }[extract]


SIZES = {
    "sum": lambda terms: terms.sum(1),
    "max": lambda terms: terms.amax(1),
    "max_abs": lambda terms: terms.abs().amax(1),
    "norm": lambda terms: terms.norm(dim=1),
    "filter_norm": lambda terms: terms.clamp(min=0).norm(dim=1),
}


@pytest.mark.parametrize("sign", ["any", "positive", "negative"])
@pytest.mark.parametrize("name", [f"{e}+{a}" for e, a in itertools.product(normgrad.EXTRACTS, normgrad.AGGREGATES)])
def test_a_closed_form_is_the_size_of_all_summands(name: str, sign: str) -> None:
    """Also of activations without a ReLU, and of one sign: beyond the edge they are 0, which may be the greatest."""
    torch.manual_seed(0)
    x, g = torch.randn(2, 3, 4, 5).double(), torch.randn(2, 3, 4, 5).double()
    x = {"any": x, "positive": x.abs(), "negative": -x.abs()}[sign]
    extract, aggregate = name.split("+")
    found = normgrad.apply_cell(NormGradCell(extract, aggregate), x, g)
    exact(found, SIZES[aggregate](summands(extract, x, g)))


@pytest.mark.parametrize(("cell", "side"), [("norm_grad", 1), ("norm_grad_3x3", 3)])
def test_normgrad_is_the_norm_of_a_virtual_convolutions_weight_gradient_at_each_place(cell: str, side: int) -> None:
    """A convolution that changes nothing is put behind the layer, with weights of its own for each place."""
    torch.manual_seed(1)
    before, behind = nn.Conv2d(3, 4, 3).double(), nn.Conv2d(4, 2, 3).double()
    model = nn.Sequential(before, nn.Tanh(), behind, nn.ReLU(), nn.Flatten(), nn.Linear(2 * 16, 3).double())
    images = torch.randn(1, 3, 8, 8).double()
    activation = model[1](model[0](images)).detach()
    channels, places = activation.shape[1], activation.shape[2] * activation.shape[3]
    identity = torch.zeros(channels, channels, side, side).double()
    identity[range(channels), range(channels), side // 2, side // 2] = 1
    weights = identity.flatten(1).expand(places, -1, -1).clone().requires_grad_()
    patches = F.unfold(activation, side, padding=side // 2)[0].T
    passed = torch.einsum("poi,pi->op", weights, patches).reshape(activation.shape)
    torch.testing.assert_close(passed.detach(), activation)
    model[2:](passed)[:, 1].sum().backward()
    expected = weights.grad.flatten(1).norm(dim=1).reshape(activation.shape[2:])
    exact(raw(model, images, logit(1), cell, "1")[0], expected)


# Known methods


@pytest.mark.golden
def test_known_methods_are_cells_of_the_table() -> None:
    golden, network, score = loaded("methods")
    stored = [key for key in golden if key.split(".")[-1] in (*TAPS, "input") and key.count(".") == 2]
    checked = 0
    for key in stored:
        _, name, tap = key.split(".")
        if name.startswith("contrastive"):
            continue
        found = raw(network, golden["in.images"], score, AUTHORS.get(name, name), tap)
        exact(found, golden[key], msg=lambda message, key=key: f"{key}: {message}")
        checked += 1
    assert checked == 3 * 7 + 2


def class_sensitivity(
    model: nn.Module, images: Float[Tensor, "B 3 H W"], config: Config | None = None
) -> Float[Tensor, " B"]:
    """Rank correlation of the maps for the likeliest and for the least likely class; low is good, 1 ignores the class.

    Both share one forward pass. NaN where a map is constant.

    Args:
        model: a classifier, images -> [B, C].
        images: as it wants them.
        config: which map of which layers.
    """

    def score(output: Tensor) -> Tensor:
        return output.gather(1, torch.stack([output.argmax(1), output.argmin(1)], dim=1))

    maps = saliency(model, images, score, config).image
    return spearman(maps[:, 0], maps[:, 1])


def contrastive_excitation(
    model: nn.Module, images: Float[Tensor, "B 3 H W"], score: normgrad.Score, layers: tuple[str, str], classifier: str
) -> Float[Tensor, "B h w"]:
    """Excitation backpropagation of a class less that of its opposite, whose classifier has the weights negated.

    Args:
        model: a classifier.
        images: as it wants them.
        score: output of the model -> [B].
        layers: the layer of the map, and the layer at which the opposite is taken off; may be the same.
        classifier: name of the linear layer that gives the class scores.
    """
    layer = model.get_submodule(classifier)
    with _negated(layer), taps(model, (layers[1],)) as tapped:
        with Rewritten(EXCITATION):
            output = model(images)
        opposite = tapped.gradients(score(output))[layers[1]]
    with taps(model, layers) as tapped:
        with Rewritten(EXCITATION):
            output = model(images)
        top = tapped.activation(layers[1])
        excited = tapped.gradients(score(output), layers[1:], keep=True)[layers[1]] - opposite
        if layers[0] != layers[1]:
            (excited,) = torch.autograd.grad(top, tapped.activation(layers[0]), excited.to(top.dtype))
    return excited.sum(1).clamp(min=0)


@contextlib.contextmanager
def _negated(layer: nn.Module) -> Iterator[None]:
    kept = [value.data for value in layer.parameters()]
    try:
        for value in layer.parameters():
            value.data = -value.data
        yield
    finally:
        for value, old in zip(layer.parameters(), kept, strict=True):
            value.data = old


@pytest.mark.golden
def test_contrastive_excitation_is_that_of_the_authors_library() -> None:
    golden, network, score = loaded("methods")
    before = copy.deepcopy(network.state_dict())
    for tap in ("relu1", "relu3"):
        found = contrastive_excitation(network, golden["in.images"], score, (tap, "relu3"), "fc")
        exact(found, golden[f"out.contrastive_excitation_backprop.{tap}"])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.golden
@pytest.mark.parametrize("kind", ["uniform", "linear", "given"])
@pytest.mark.parametrize("how", ["sum", "product"])
def test_combined_layers_are_those_of_the_authors_library(kind: str, how: Any) -> None:
    golden, network, score = loaded("methods")
    given = tuple(golden["cfg.layer_weights"].tolist()) if kind == "given" else ()
    config = Config(
        cell="norm_grad_selective",
        layers=TAPS,
        combine=how,
        weights=given,
        depth="uniform" if kind == "given" else kind,
    )
    exact(saliency(network, golden["in.images"], score, config).image, golden[f"out.combine_{kind}_{how}"])


@pytest.mark.golden
def test_class_sensitivity_is_that_of_the_authors_library() -> None:
    golden, network, _ = loaded("methods")
    logits = network.eval()(golden["in.images"])
    assert torch.equal(logits.argmax(1), golden["out.class_max"])
    assert torch.equal(logits.argmin(1), golden["out.class_min"])
    checked = 0
    for key in (key for key in golden if key.startswith("out.sensitivity.")):
        _, _, name, tap = key.split(".")
        config = Config(cell=AUTHORS.get(name, name), layers=(tap,))
        found = class_sensitivity(network, golden["in.images"], config).nan_to_num(-9)
        tolerance = 1e-3 if key == "out.sensitivity.grad_cam.relu3" else 1e-6
        torch.testing.assert_close(found, golden[key], rtol=0, atol=tolerance, msg=lambda m, key=key: f"{key}: {m}")
        checked += 1
    assert checked == 10


@pytest.mark.golden
@pytest.mark.parametrize(("variant", "sign"), [("meta", 1), ("meta_negated", -1)])
def test_maps_after_the_meta_step_are_those_of_the_authors_library(variant: str, sign: int) -> None:
    golden, network, score = loaded("methods")
    rate = sign * float(golden["cfg.lr"])

    def loss(output: Tensor) -> Tensor:
        return F.cross_entropy(output, golden["in.targets"], reduction="none")

    for name in ("norm_grad", "norm_grad_selective", "grad_cam"):
        config = Config(cell=name, layers=("relu2",), rate=rate)
        found = saliency(network, golden["in.images"], score, config, loss=loss).raw["relu2"]
        exact(found, golden[f"out.{variant}.{name}.relu2"])


class Classes:
    """The logit of a class, with the cross-entropy that the step descends, as scores of classes have it."""

    def __init__(self, targets: Tensor) -> None:
        self.targets = targets
        self.losses: list[Tensor] = []

    def __call__(self, output: Tensor) -> Tensor:
        self.losses.append(F.cross_entropy(output, self.targets, reduction="none").detach())
        return logit(self.targets)(output)

    def loss(self, output: Tensor) -> Tensor:
        return F.cross_entropy(output, self.targets, reduction="none")


@pytest.mark.golden
def test_a_score_of_classes_brings_the_loss_that_the_authors_descend() -> None:
    golden, network, plain = loaded("methods")
    config = Config(cell="norm_grad", layers=("relu2",), rate=float(golden["cfg.lr"]))
    method = normgrad.Method(config, encoder=network)
    with_loss = method.maps(golden["in.images"], Classes(golden["in.targets"])).raw["relu2"]
    exact(with_loss, golden["out.meta.norm_grad.relu2"])
    without = method.maps(golden["in.images"], plain).raw["relu2"]
    assert not torch.allclose(without, golden["out.meta.norm_grad.relu2"], rtol=1e-3), "up the logit is another way"


@pytest.mark.golden
@pytest.mark.parametrize("sign", [1, -1])
def test_the_step_lowers_the_loss_of_the_class_and_a_negative_one_raises_it(sign: int) -> None:
    golden, network, _ = loaded("methods")
    score = Classes(golden["in.targets"][:1])
    config = Config(cell="norm_grad", layers=("relu2",), rate=sign * 0.1 * float(golden["cfg.lr"]))
    normgrad.Method(config, encoder=network).attribute(golden["in.images"][:1], score)
    before, *_, after = score.losses
    assert sign * float(after - before) < 0


@pytest.mark.golden
def test_the_meta_step_reaches_the_authors_weights_and_is_taken_back_bit_for_bit() -> None:
    golden, network, _ = loaded("methods")
    before = copy.deepcopy(network.state_dict())
    for place, target in enumerate(golden["in.targets"]):
        image = golden["in.images"][place : place + 1]

        def loss(image: Tensor = image, target: Tensor = target) -> Tensor:
            return F.cross_entropy(network(image), target[None])

        with inner_step(network, loss, float(golden["cfg.lr"])):
            for name in ("conv1.weight", "bn1.weight"):
                exact(network.get_parameter(name).detach(), golden[f"out.meta_updated.{name}"][place])
            assert torch.equal(network.bn1.running_mean, before["bn1.running_mean"])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(value.requires_grad and value.grad is None for value in network.parameters())


@pytest.mark.golden
def test_the_pointing_game_is_that_of_the_authors_library() -> None:
    golden = load_golden("normgrad_pointing")
    points = highest(golden["in.maps"])
    assert torch.equal(points, golden["out.point_xy"])
    for place, tolerance in enumerate(golden["cfg.tolerances"]):
        hit = hits(points, golden["in.masks"], float(tolerance))
        assert torch.equal(hit, golden["out.hit"][place])
        shares = per_class(hit, golden["in.classes"], int(golden["cfg.n_classes"]))
        exact(shares, golden["out.class_accuracy"][place])
        exact(shares.mean(), golden["out.accuracy"][place])


# What is explained, and how it is asked for


def method(**overrides: Any) -> normgrad.Method:
    return engine.build("normgrad", "tiny", overrides, seed=0)


TEXTS = ["a red bird", "two tractors", "a heron"]


def small(blocks: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Conv2d(3 if not n else 6, 6, 3, padding=1), nn.ReLU()) for n in range(blocks)]
    return nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).eval()


IMAGES = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(5))


def test_several_texts_share_one_forward_pass_and_give_the_maps_of_each_alone() -> None:
    built, images = method(), torch.rand(2, 3, 32, 32)
    passes = []
    handle = built.encoder.image_tower.register_forward_hook(lambda *_: passes.append(1))
    together = explained(built, images, TEXTS)
    handle.remove()
    assert len(passes) == 1
    assert together.image.shape == (2, 3, 32, 32)
    assert together.image.amin() == 0
    assert together.image.amax() == 1
    for place, text in enumerate(TEXTS):
        alone = explained(built, images, [text])
        torch.testing.assert_close(alone.image[:, 0], together.image[:, place], rtol=1e-4, atol=1e-5)
        for name, each in alone.raw.items():
            torch.testing.assert_close(each[:, 0], together.raw[name][:, place], rtol=1e-4, atol=1e-7)


def test_an_image_has_the_map_that_it_has_alone() -> None:
    images = torch.rand(3, 3, 32, 32)
    whole = explained(method(), images, TEXTS).image
    alone = torch.cat([explained(method(), image[None], TEXTS).image for image in images])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)


def test_a_text_contrasted_with_itself_has_no_map() -> None:
    maps = explained(method(cell="linear_approximation"), torch.rand(1, 3, 32, 32), TEXTS[:1], TEXTS[:1])
    assert not maps.image.any()


def test_the_score_goes_down_where_the_gradients_map_says_it_hangs() -> None:
    """The map of a text at the pixels: what it marks most moves the similarity more than what it marks least."""
    built = method(cell="gradient", layers=("input",))
    image = torch.rand(1, 3, 32, 32)
    text = built.encoder.encode_text(TEXTS[:1])
    ranked = explained(built, image, TEXTS[:1]).raw["input"].flatten().argsort()

    def moved(pixels: Tensor) -> float:
        other = image.clone().flatten(2)
        other[..., pixels] += 1e-3
        with torch.no_grad():
            scores = [built.encoder.encode_image(each) @ text.T for each in (image, other.reshape(image.shape))]
        return float((scores[1] - scores[0]).abs())

    quiet, loud = (sum(moved(pixel[None]) for pixel in part) for part in (ranked[:40], ranked[-40:]))
    assert loud > 5 * quiet


def test_words_are_weighed_and_padding_is_not() -> None:
    built = method()
    images = built.encoder.encode_image(torch.rand(3, 3, 32, 32))
    words = built.words(TEXTS, images)
    real = built.encoder.text_tokens(built.encoder.tokenize(TEXTS)).mask
    assert words.shape == real.shape
    assert not words[~real].any()
    torch.testing.assert_close(words.amax(1), torch.ones(3))
    alone = built.words(TEXTS[1:2], images[1:2])
    torch.testing.assert_close(words[1:2, : alone.shape[1]], alone, rtol=1e-4, atol=1e-5)


def transformer(pool: Any = "class", **config: Any) -> normgrad.Method:
    """A method on a vision transformer of 4 x 4 patches with random weights."""
    torch.manual_seed(0)
    tiny = zoo.load("tiny")
    tower = Vit(VitConfig(32, 8, 24, 3, 2, 48, tiny.width, pool=pool, class_token=pool == "class"))
    parts = {"tokenizer": tiny.tokenizer, "preprocess": tiny.preprocess, "traits": tiny.traits}
    encoder = DualEncoder(tower, tiny.text_tower, **parts)
    return normgrad.Method(Config(**config), encoder=freeze(encoder))


@pytest.mark.parametrize("pool", ["class", "mean", "map"])
def test_of_a_transformer_the_last_block_is_tapped_where_it_is_entered(pool: Any) -> None:
    ((name, found),) = explained(transformer(pool), torch.rand(1, 3, 32, 32), TEXTS[:1]).raw.items()
    assert name == "blocks.2:in"
    assert found.shape == (1, 1, 4, 4)
    assert found.any()


def test_behind_the_last_block_no_patch_counts_where_the_class_token_is_read_out() -> None:
    maps = explained(transformer(layers=("blocks.2",)), torch.rand(1, 3, 32, 32), TEXTS[:1])
    assert not maps.raw["blocks.2"].any()
    assert maps.image.isfinite().all()


def test_every_cell_of_every_layer_of_a_transformer_is_a_map() -> None:
    layers = tuple(f"blocks.{n}.{part}" for n in range(2) for part in ("norm", "attention", "perceptron"))
    for cell in ("norm_grad", "norm_grad_3x3", "norm_grad_selective", "grad_cam", "bias+max"):
        maps = explained(transformer(cell=cell, layers=layers), torch.rand(2, 3, 32, 32), TEXTS)
        assert [each.shape for each in maps.raw.values()] == [(2, 3, 4, 4)] * 6


def test_class_and_register_tokens_are_set_aside() -> None:
    """Five tokens stand before the 4 x 4 patches; the map is that of the patches alone."""
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 3}
    model = timm.models.VisionTransformer(**sizes, reg_tokens=4).eval()
    found = saliency(model, torch.rand(2, 3, 32, 32), logit(1), Config(layers=("blocks.0",))).raw["blocks.0"]
    with taps(model, ("blocks.0",)) as tapped:
        gradient = tapped.gradients(model(torch.zeros(2, 3, 32, 32))[:, 1])["blocks.0"]
    assert gradient.shape == (2, 21, 24)
    assert found.shape == (2, 4, 4)
    assert found.any()


def test_of_a_convolutional_network_the_last_block_is_tapped_behind_it() -> None:
    assert list(saliency(small(), IMAGES, logit(1)).raw) == ["0.1"]


@pytest.mark.parametrize("targets", [2, torch.tensor([2, 0]), torch.tensor([[2, 1], [0, 3]])])
def test_a_class_is_explained_for_all_images_or_for_each(targets: Any) -> None:
    output = torch.arange(8.0).reshape(2, 4)
    expected = {"int": [2, 6], "1": [2, 4], "2": [[2, 1], [4, 7]]}
    key = "int" if isinstance(targets, int) else str(targets.dim())
    assert logit(targets)(output).tolist() == expected[key]


def test_all_cells_of_a_layer_come_from_one_gradient() -> None:
    found = normgrad.cells(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4))
    assert len(found) == len(normgrad.EXTRACTS) * len(normgrad.AGGREGATES) == 25


def test_grad_cam_is_the_rectified_linear_approximation_where_the_gradient_is_the_same_everywhere() -> None:
    """Behind a mean over all places it is; that is why Grad-CAM works there and nowhere else."""
    last, first = ({name: raw(small(), IMAGES, logit(1), name, layer) for name in CAMS} for layer in ("0.1", "0.0"))
    torch.testing.assert_close(last["grad_cam"], last["linear_approximation"].clamp(min=0))
    assert not torch.allclose(first["grad_cam"], first["linear_approximation"].clamp(min=0), rtol=0.1)


CAMS = ("grad_cam", "linear_approximation")


# The meta step


def test_without_a_rate_the_meta_step_changes_nothing_and_with_a_small_one_little() -> None:
    plain = saliency(small(), IMAGES, logit(1)).raw["0.1"]
    stepped = saliency(small(), IMAGES, logit(1), Config(rate=1e-6)).raw["0.1"]
    torch.testing.assert_close(stepped, plain, rtol=1e-3, atol=1e-6)
    assert not torch.equal(stepped, plain)


def test_each_image_and_class_has_a_step_of_its_own() -> None:
    targets, config = torch.tensor([[2, 1], [0, 3]]), Config(rate=0.1)
    together = saliency(small(), IMAGES, logit(targets), config).raw["0.1"]
    for row, column in itertools.product(range(2), range(2)):
        target = int(targets[row, column])
        alone = saliency(small(), IMAGES[row : row + 1], logit(target), config).raw["0.1"]
        torch.testing.assert_close(together[row : row + 1, column], alone)


def test_weights_come_back_where_the_map_fails_in_the_middle_of_a_step() -> None:
    model = small()
    before = copy.deepcopy(model.state_dict())
    changed = []
    with pytest.raises(ZeroDivisionError), inner_step(model, lambda: model(IMAGES).sum(), 0.1):
        changed.append(not torch.equal(model[3].weight, before["3.weight"])) or 1 / 0
    assert changed == [True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_meta_step_in_training_mode_leaves_running_statistics_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).train()
    model(IMAGES)
    before = copy.deepcopy(model.state_dict())
    saliency(model, IMAGES, logit(0), Config(layers=("2",), rate=0.1))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model[1].training


def test_frozen_weights_take_the_step_and_stay_frozen() -> None:
    built = method(rate=0.5)
    before = copy.deepcopy(built.state_dict())
    stepped = explained(built, IMAGES[:, :, :, :12].repeat(1, 1, 3, 3)[..., :32, :32], TEXTS[:1])
    plain = explained(method(), IMAGES[:, :, :, :12].repeat(1, 1, 3, 3)[..., :32, :32], TEXTS[:1])
    assert not torch.allclose(stepped.image, plain.image, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())
    assert not any(value.requires_grad for value in built.parameters())


# Bad input


@pytest.mark.parametrize("cell", [*normgrad.CELLS])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_constant_image_has_a_finite_map(cell: str, value: float) -> None:
    maps = saliency(small(), torch.full((1, 3, 12, 16), value), logit(1), Config(cell=cell))
    assert maps.image.isfinite().all()
    assert maps.image.shape == (1, 12, 16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_has_nearly_the_map_of_the_whole(dtype: torch.dtype) -> None:
    whole = saliency(small(), IMAGES, logit(1)).image
    half = saliency(small().to(dtype), IMAGES, logit(1)).image
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, whole, rtol=0, atol=0.05)


def test_small_gradients_of_a_model_in_half_precision_do_not_vanish() -> None:
    model, factor = small(), 1e-8
    whole = saliency(model, IMAGES, lambda output: output[:, 1]).raw["0.1"]
    model = model.half()
    found = saliency(model, IMAGES, lambda output: output[:, 1].float() * factor).raw["0.1"]
    torch.testing.assert_close(found / factor, whole, rtol=0.3, atol=1e-3)


def test_a_model_in_training_mode_without_gradients_and_in_inference_mode_is_explained_all_the_same() -> None:
    expected = saliency(small(), IMAGES, logit(1)).image
    training = small().train()
    for frozen, mode in itertools.product((False, True), (torch.enable_grad, torch.no_grad, torch.inference_mode)):
        training.requires_grad_(not frozen)
        with mode():
            found = saliency(training, IMAGES.clone(), logit(1)).image
            stepped = saliency(training, IMAGES.clone(), logit(1), Config(rate=0.1)).image
        torch.testing.assert_close(found, expected)
        assert stepped.isfinite().all()
        assert all(module.training for module in training.modules())
        assert all(value.requires_grad != frozen for value in training.parameters())


def test_texts_encoded_in_inference_mode_are_explained_too() -> None:
    built = method()
    with torch.inference_mode():
        explained(built, torch.rand(1, 3, 32, 32), TEXTS, ["a photo"])
        score = pair_score(built.encoder.encode_text(TEXTS)[None])
    assert built.attribute(torch.rand(1, 3, 32, 32), score).isfinite().all()


REFUSED = {
    "cell": (dict(config=Config(cell="gradcam")), "no map called 'gradcam'.*grad_cam"),
    "phase": (dict(config=Config(cell="bias+median")), "no map called"),
    "layer": (dict(config=Config(layers=("0.7",))), "no layer '0.7'"),
    "pooled": (dict(config=Config(layers=("2",))), "has no positions"),
    "unrelated": (dict(score=lambda output: output.detach()[:, 0]), "no gradient"),
    "shape": (dict(score=lambda output: output.sum()), r"shape \[\]"),
    "rows": (dict(score=lambda output: output[:1, 0]), r"shape \[1\]"),
    "nan": (dict(images=torch.full((1, 3, 8, 8), torch.nan)), "no number"),
    "bytes": (dict(images=torch.zeros(1, 3, 8, 8, dtype=torch.uint8)), "uint8"),
    "one": (dict(images=torch.zeros(3, 8, 8)), "one image has B = 1"),
    "none": (dict(images=torch.zeros(0, 3, 8, 8)), "can't be explained"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_explained_is_refused_with_the_cure(case: str) -> None:
    changed, message = REFUSED[case]
    model = small().train()
    with pytest.raises(DeixisError, match=message):
        saliency(**{"model": model, "images": IMAGES, "score": logit(1), **changed})
    assert model.training
    assert all(value.requires_grad for value in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_weights_that_are_not_one_a_layer_are_refused() -> None:
    with pytest.raises(ValueError, match="one each is needed"):
        saliency(small(), IMAGES, logit(1), Config(layers=("0.0", "0.1"), weights=(1.0,)))


def test_guided_and_excitation_maps_of_a_transformer_are_refused_by_what_has_no_rule() -> None:
    images = torch.rand(1, 3, 32, 32)
    with pytest.raises(DeixisError, match="Excitation backpropagation has no rule for"):
        explained(transformer(cell="excitation_backprop"), images, TEXTS)
    with pytest.raises(DeixisError, match="Guided backpropagation changes nothing"):
        explained(transformer(cell="guided_backprop"), images, TEXTS)
