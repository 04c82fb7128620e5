"""The blocks of networks, and where the last one begins."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deixis.errors import DeixisError
from deixis.nn.blocks import block_names, blocks, last_block
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.nn.vision.modified_resnet import ModifiedResNet, ModifiedResNetConfig
from deixis.nn.vision.vit import Vit, VitConfig
from tests.support import Peer

timm = Peer("timm")


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Module()
        self.network.stem = nn.Linear(2, 2)
        self.network.blocks = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
        self.network.norm = nn.LayerNorm(2)
        self.head = nn.Linear(2, 2)


def test_the_last_block_and_what_lies_behind_it_in_its_network() -> None:
    assert last_block(Wrapped()) == ("network.blocks.2.", "network.norm.")


def test_towers_of_timm_are_cut_at_their_last_stage() -> None:
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    chosen = last_block(network)
    assert chosen[:3] == ("blocks.6.", "conv_head.", "bn2.")
    share = sum(p.numel() for name, p in network.named_parameters() if name.startswith(chosen))
    assert 0.1 < share / sum(p.numel() for p in network.parameters()) < 0.5


def test_a_text_tower_is_cut_before_its_last_layer() -> None:
    config = TextConfig(vocabulary=32, length=8, width=16, depth=3, heads=2, hidden=32, out=16)
    names = [name for name, _ in TextTransformer(config).named_parameters()]
    chosen = [name for name in names if name.startswith(last_block(TextTransformer(config)))]
    assert chosen
    assert not any(".0." in name or ".1." in name for name in chosen)


def test_what_has_no_list_of_blocks_is_one_block() -> None:
    assert last_block(nn.Linear(2, 2)) == ("",)


def test_blocks_are_those_of_the_network() -> None:
    with torch.device("meta"):
        assert blocks(timm.create_model("resnet18"))[-1] == "layer4.1"
        assert blocks(timm.create_model("vit_tiny_patch16_224"))[-1] == "blocks.11"
        assert blocks(Vit(VitConfig(32, 8, 16, 3, 2, 32, 8))) == ["blocks.0", "blocks.1", "blocks.2"]
        config = ModifiedResNetConfig(64, (1, 1, 1, 1), 8, 4, 16)
        assert blocks(ModifiedResNet(config))[-1] == "stages.3"
        vgg = timm.create_model("vgg11")
        regnet = timm.create_model("regnety_002")
    assert blocks(vgg)[-1].startswith("features.")
    assert blocks(regnet)[-1] == "s4.b7"
    assert blocks(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))) == ["2"]
    assert block_names(nn.Conv2d(3, 4, 3)) == []
    with pytest.raises(DeixisError, match="No list of blocks"):
        blocks(nn.Linear(3, 3))
