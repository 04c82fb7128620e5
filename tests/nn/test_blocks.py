"""Where a tower's last block begins."""

from __future__ import annotations

from torch import nn

from deixis.nn.blocks import last_block
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
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
