"""Image towers keep their own preprocessing; tokens, maps and pooled features of one tower agree, whatever it is."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import torch
from PIL import Image

from deixis import zoo
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.encoders import ImageHalf, TimmEncoder
from deixis.nn.fingerprint import fingerprint
from deixis.nn.vision.any_size import feature_map
from deixis.nn.vision.plain_cnn import PlainCnn, PlainCnnConfig
from deixis.nn.vision.pyramid import levels_of
from deixis.types.protocols import ImageEncoder
from deixis.zoo import scratch
from deixis.zoo.hub import require_reachable
from tests.support import Peer, few

timm = Peer("timm")
SMALL = ("timm:regnety_002:untrained:64", "timm:vit_tiny_patch16_224:untrained:32")
HALVES = ("tiny", "scratch:resnet:tiny", "scratch:vit:tiny:32", "scratch:vit-mean:tiny:32")
OTHERS = (
    "timm:resnet18:untrained:64",
    "timm:swin_tiny_patch4_window7_224:untrained",
    "timm:mobilenetv3_small_050:untrained:64",
    "timm:convnext_atto:untrained:64",
    "timm:tf_efficientnet_lite0:untrained:64",
    "timm:vit_small_patch14_reg4_dinov2:untrained:56",
    "timm:pvt_v2_b0:untrained:64",
)


def load(name: str) -> ImageEncoder:
    tower: ImageEncoder = zoo.load_part("image_tower", name)
    return tower


@torch.no_grad()
@pytest.mark.parametrize("name", few((*HALVES, *SMALL, *OTHERS), *HALVES, *SMALL))
def test_a_tower_gives_what_it_says_of_itself(name: str) -> None:
    tower = load(name)
    side = tower.preprocess.size
    images = torch.randn(2, 3, side, side)
    maps, tokens = tower.feature_maps(images), tower.tokens(images)
    assert tuple(each.shape[1] for each in maps) == tower.channels
    assert tuple(side // each.shape[2] for each in maps) == tower.strides
    assert list(tower.strides) == sorted(set(tower.strides)), "one map a stride, the finest first"
    assert tower(images).shape == (2, tower.width)
    assert tokens.states.shape[2] == tower.token_width
    assert tokens.grid is not None
    assert tokens.states.shape[1] == tokens.grid[0] * tokens.grid[1]
    assert tokens.mask.all()


@torch.no_grad()
@pytest.mark.parametrize("name", ["tiny", SMALL[0], SMALL[1]])
def test_a_token_lies_where_its_cell_is(name: str) -> None:
    """A change in the upper right corner moves the tokens there most, not those at the lower left."""
    tower = load(name)
    side = tower.preprocess.size
    images = torch.zeros(1, 3, side, side)
    other = images.clone()
    other[..., : side // 2, side // 2 :] = 3.0
    before, after = tower.tokens(images), tower.tokens(other)
    assert before.grid is not None
    moved = (after.states - before.states).norm(dim=-1).reshape(before.grid)
    rows, columns = before.grid
    assert moved[: rows // 2, columns // 2 :].mean() > moved[rows // 2 :, : columns // 2].mean()


@torch.no_grad()
def test_the_half_of_an_encoder_shares_its_tower_and_its_preprocessing() -> None:
    encoder = zoo.load("tiny")
    half = zoo.load_part("image_tower", encoder)
    images = torch.randn(2, 3, 32, 32)
    assert half.network is encoder.image_tower
    assert half.preprocess == encoder.preprocess
    assert torch.equal(half(images), encoder.image_states(images).features)
    mean = half.tokens(images).states.mean(dim=1)
    torch.testing.assert_close(mean, half(images), msg="the mean of the cells is what is pooled")


def test_a_new_tower_is_the_image_half_of_the_new_encoder_of_its_seed() -> None:
    half = zoo.load_part("image_tower", "scratch:vit:tiny:32", seed=4)
    whole = scratch.build(["a cat"], "tiny", 32, seed=4, image="vit")
    assert fingerprint(half) == fingerprint(ImageHalf.of(whole))
    assert fingerprint(half) != fingerprint(zoo.load_part("image_tower", "scratch:vit:tiny:32", seed=5))


def test_a_tower_of_classifiers_in_a_row_of_blocks_has_a_map_a_block() -> None:
    cnn = PlainCnn(PlainCnnConfig(channels=(4, 6, 8), out=3)).eval()
    tower = ImageHalf(cnn, zoo.load("tiny").preprocess, "cnn")
    assert (tower.channels, tower.strides) == ((4, 6, 8), (1, 2, 4))
    assert [each.shape[-1] for each in tower.feature_maps(torch.zeros(1, 3, 16, 16))] == [16, 8, 4]


@torch.no_grad()
def test_maps_are_those_that_timm_gives() -> None:
    tower = zoo.load_part("image_tower", SMALL[0], seed=1)
    assert isinstance(tower, TimmEncoder)
    peer = timm.create_model("regnety_002", features_only=True).eval()
    assert not peer.load_state_dict(tower.network.state_dict(), strict=False).missing_keys
    images = torch.randn(1, 3, 64, 64)
    for ours, theirs in zip(tower.feature_maps(images), peer(images), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_network_of_timm_is_preprocessed_as_timm_does_it() -> None:
    tower = load("timm:regnety_002:untrained")
    network = timm.create_model("regnety_002", num_classes=0)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    pixels = np.random.default_rng(0).integers(0, 255, (300, 260, 3)).astype(np.uint8)
    ours = tower.preprocess.batch([torch.from_numpy(pixels).permute(2, 0, 1)])[0]
    torch.testing.assert_close(ours, transform(Image.fromarray(pixels)), rtol=1e-5, atol=1e-5)


def test_a_transformer_refuses_images_of_another_size() -> None:
    with pytest.raises(DeixisError, match="The images are 48 by 48 pixels, and this tower sees 32 by 32"):
        load(SMALL[1])(torch.zeros(1, 3, 48, 48))


def test_a_resnet_of_stride_8_has_eight_cells_a_side_at_64_pixels_and_says_what_sides_it_takes() -> None:
    tower = load("scratch:resnet:stride8:tiny")
    assert tower.strides == (4, 8)
    assert feature_map(tower, torch.zeros(1, 3, 64, 64)).shape[2:] == (8, 8)
    assert feature_map(load("scratch:resnet:stride8:tiny:28"), torch.zeros(1, 3, 16, 16)).shape[2:] == (2, 2)
    with pytest.raises(DeixisError, match="an image of 30 pixels is no multiple of 4"):
        load("scratch:resnet:stride8:30")
    with pytest.raises(DeixisError, match="stride8 is of resnet alone"):
        load("scratch:vit:stride8")


def test_a_regnet_has_the_widths_of_its_five_numbers() -> None:
    """Those of timm's smallest."""
    tower, known = load("regnety:13:24:36.44:2.49:8:untrained:64"), load(SMALL[0])
    assert tower.channels == known.channels
    assert tower.preprocess.size == 64
    with pytest.raises(DeixisError, match="names no RegNetY: five numbers and `untrained` are expected"):
        load("regnety:4:16:8:untrained")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:regnety_02", r"timm has no network 'regnety_02'. Did you mean .*regnety_002"),
        ("timm:regnety_002:trained", r"names no network of timm. Write timm:NAME, and after colons untrained"),
        ("timm:regnety_002.nobody", r"is not available: Invalid pretrained tag"),
        ("timm:", r"names no network of timm"),
    ],
)
def test_a_network_that_timm_does_not_have_is_named(name: str, said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        load(name)


def test_weights_that_no_hub_gives_are_an_error_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **settings: object) -> None:
        assert settings["pretrained"]
        raise OSError("the hub can't be reached\nand more")

    monkeypatch.setattr("deixis.zoo.timm_networks.require_reachable", lambda *_: None)
    monkeypatch.setattr(timm, "create_model", unreachable)
    monkeypatch.setattr("timm.create_model", unreachable)
    with pytest.raises(
        DeixisError, match=r"the hub can't be reached. Check.*or take random weights: timm:resnet18:untr"
    ):
        load("timm:resnet18")


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """As `HF_ENDPOINT` does where it is set before huggingface_hub is imported."""
    for name, value in (
        ("ENDPOINT", address),
        ("HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"),
        ("HF_HUB_OFFLINE", False),
    ):
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)


def test_a_hub_that_cannot_be_reached_is_one_request_and_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        here = f"http://127.0.0.1:{closed.getsockname()[1]}"
        use_hub(monkeypatch, here)
        monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("timm would retry for a minute"))
        with pytest.raises(DeixisError, match=rf"not available: the hub at {here} can't be reached .*refused.*Check"):
            load("timm:resnet18")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        require_reachable("timm/resnet18.a1_in1k", ["model.safetensors"])


def test_a_hub_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deixis.zoo.hub.PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_hub(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(OSError, match=r"can't be reached"):
            require_reachable("timm/resnet18.a1_in1k", ["model.safetensors"])


def test_the_text_side_alone_gives_no_image_tower() -> None:
    side: DualEncoder = zoo.load("tiny").text_side()
    with pytest.raises(DeixisError, match="The image tower of 'tiny' gives no feature maps"):
        zoo.load_part("image_tower", side)


def test_the_stride_of_a_network_that_tells_none_is_found_without_computing() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 4, stride=4), torch.nn.MaxPool2d(2))
    assert levels_of(network, 5) == ((5, 8),)


def test_patches_without_a_network_are_a_tower_and_sides_that_do_not_divide_are_refused() -> None:
    tower = zoo.load_part("image_tower", "patches:8:32")
    assert tower.tokens(torch.rand(2, 3, 32, 32)).states.shape == (2, 16, 192)
    for name in ("patches:8", "patches:5:32", "patches:0:32", "patches:a:32"):
        with pytest.raises(DeixisError, match=f"no patches {name!r}"):
            zoo.load_part("image_tower", name)
