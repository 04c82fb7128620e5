"""FocalLens's tower and loss against golden vectors; with all conditions hidden it is the plain tower."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.vision.vit import Vit, VitConfig
from deixis.nn.vision_language.conditioned_vit import Condition, condition_tower, conditioned
from deixis.ops.pairs.answers import answer_loss
from tests.support import Recorded, load_golden

CLOSE = {"rtol": 0.0, "atol": 1e-8}


class Given(nn.Module):
    """Stands for the patch convolution: gives the stored patches, whatever the image."""

    def __init__(self, patches: Tensor) -> None:
        super().__init__()
        self.patches = nn.Parameter(patches)

    def forward(self, images: Tensor) -> Tensor:
        return self.patches.transpose(1, 2).unflatten(2, (3, 3))


def tower_of(golden: dict[str, Tensor]) -> Vit:
    width, blocks = 16, int(golden["cfg.num_layers"])
    sizes = (width, blocks, int(golden["cfg.num_heads"]), 32, 10)
    tower = Vit(VitConfig(3, 1, *sizes, epsilon=float(golden["cfg.layer_norm_eps"]))).double()
    tower.patches = Given(golden["in.patch_tokens"])
    stored = {"patches.patches": golden["in.patch_tokens"]}
    stored |= {name: value for name, value in renamed(golden, "param", blocks).items() if "condition" not in name}
    tower.load_state_dict(stored)
    return tower


def renamed(golden: dict[str, Tensor], kind: str, blocks: int) -> dict[str, Tensor]:
    """The stored parameters, or their gradients, by the names they have here."""
    plain = {
        "class_token": "class_embedding",
        "positions": "position_embedding",
        "projection.weight": "proj.weight",
    }
    layers = {"pre_norm": "ln_pre", "post_norm": "ln_post", "condition_proj": "condition_proj"}
    found = {own: golden[f"{kind}.{name}"] for own, name in plain.items()}
    inside = {"attention_norm": "ln_1", "norm": "ln_2", "attention.out": "attn.out"}
    inside |= {"perceptron.widen": "ffn_in", "perceptron.narrow": "ffn_out"}
    for number in range(blocks):
        layers |= {f"blocks.{number}.{own}": f"blocks.{number}.{name}" for own, name in inside.items()}
    for part in ("weight", "bias"):
        found |= {f"{own}.{part}": golden[f"{kind}.{name}.{part}"] for own, name in layers.items()}
        for number in range(blocks):
            rows = golden[f"{kind}.blocks.{number}.attn.qkv.{part}"].chunk(3)
            for own, value in zip(("query", "key", "value"), rows, strict=True):
                found[f"blocks.{number}.attention.{own}.{part}"] = value
    return found


@pytest.mark.golden
def test_embeddings_losses_and_gradients_are_those_of_the_papers_loop() -> None:
    golden = Recorded(load_golden("focallens_loss"))
    tower, blocks = tower_of(golden), int(golden["cfg.num_layers"])
    condition = Condition(8, 16).double()
    stored = renamed(golden, "param", blocks)
    condition.project.load_state_dict({part: stored[f"condition_proj.{part}"] for part in ("weight", "bias")})
    instruction, text = (
        golden[f"in.{name}"].clone().requires_grad_() for name in ("instruction_embedding", "output_text")
    )
    log_scale = golden["in.log_scale"].clone().requires_grad_()
    images, real = torch.zeros(6, 3, 3, 3, dtype=torch.double), golden["in.has_condition"][:, None]
    given, scale, keys = F.normalize(text, dim=1), log_scale.exp(), golden["in.output_id"]

    def embedded(place: str, there: Tensor = real) -> Tensor:
        return conditioned(tower, images, condition(instruction), there, place).embedding

    for place in ("before", "after"):
        found = embedded(f"{place} norm")
        torch.testing.assert_close(found, golden[f"out.embedding_{place}_ln_pre"], **CLOSE)
        torch.testing.assert_close(found @ given.T, golden[f"out.similarity_{place}_ln_pre"], **CLOSE)
        torch.testing.assert_close(answer_loss(found, given, scale=scale), golden[f"out.loss_{place}_ln_pre"], **CLOSE)
    plain = embedded("before norm", torch.zeros_like(real))
    torch.testing.assert_close(plain, golden["out.embedding_unconditioned"], **CLOSE)
    image = embedded("before norm")
    torch.testing.assert_close(
        answer_loss(image, given, scale=scale, symmetric=True), golden["out.loss_symmetric"], **CLOSE
    )
    for equal in ("mean", "sum", "excluded"):
        loss = answer_loss(image, given, scale=scale, keys=keys, equal=equal)
        torch.testing.assert_close(loss, golden[f"out.loss_duplicates_{equal}"], **CLOSE)
    answer_loss(image, given, scale=scale).backward()
    compare_gradients(golden, tower, condition, {"instruction_embedding": instruction, "output_text": text}, log_scale)
    assert golden.read == set(golden)


def compare_gradients(
    golden: dict[str, Tensor], tower: Vit, condition: Condition, given: dict[str, Tensor], log_scale: Tensor
) -> None:
    expected = renamed(golden, "grad.param", int(golden["cfg.num_layers"]))
    for name, value in condition.project.named_parameters():
        torch.testing.assert_close(value.grad, expected.pop(f"condition_proj.{name}"), **CLOSE)
    own = {name: value.grad for name, value in tower.named_parameters()}
    torch.testing.assert_close(own.pop("patches.patches"), golden["grad.in.patch_tokens"], **CLOSE)
    assert own.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(own[name], value, **CLOSE)
    for name, value in {**given, "log_scale": log_scale}.items():
        torch.testing.assert_close(value.grad, golden[f"grad.in.{name}"], **CLOSE)


@pytest.fixture(scope="module")
def small() -> tuple[Vit, Tensor, Tensor]:
    torch.manual_seed(0)
    tower = Vit(VitConfig(16, 8, 8, 2, 2, 16, 4)).eval()
    return tower, torch.randn(3, 3, 16, 16), torch.randn(3, 4, 8)


@pytest.mark.parametrize("place", ["before norm", "after norm", "class token"])
def test_with_all_conditions_hidden_it_is_the_plain_tower_and_with_one_it_is_not(small: Any, place: Any) -> None:
    tower, images, extra = small
    plain = tower(images)
    hidden = conditioned(tower, images, extra, torch.zeros(3, 4, dtype=torch.bool), place)
    torch.testing.assert_close(hidden.embedding, plain.embedding, rtol=0, atol=2e-7)
    torch.testing.assert_close(hidden.features, plain.features, rtol=0, atol=1e-6)
    told = conditioned(tower, images, extra, torch.tensor([[True] + [False] * 3] * 3), place)
    assert (told.embedding - plain.embedding).abs().amax(1).min() > 1e-3
    alone = conditioned(tower, images, extra[:, :1], None, place)
    torch.testing.assert_close(told.embedding, alone.embedding, rtol=0, atol=2e-7)


def test_towers_that_are_not_read_at_a_class_token_are_refused() -> None:
    mean = Vit(VitConfig(16, 8, 8, 1, 2, 16, 4, pool="mean"))
    for tower in (mean, nn.Linear(1, 1)):
        with pytest.raises(DeixisError, match="takes no condition"):
            condition_tower(tower)


def test_answers_that_repeat_are_shared_summed_or_left_out_as_a_slow_loop_does_it() -> None:
    draw = torch.Generator().manual_seed(0)
    image, text = (F.normalize(torch.randn(5, 4, generator=draw), dim=1) for _ in range(2))
    keys, logits = torch.tensor([0, 1, 0, 2, 1]), 7 * image @ text.T
    expected = dict.fromkeys(("mean", "sum", "excluded"), 0.0)
    for i, row in enumerate(logits):
        same = [j for j in range(5) if keys[j] == keys[i]]
        left = [j for j in range(5) if j == i or keys[j] != keys[i]]
        expected["mean"] -= float(row.log_softmax(0)[same].mean()) / 5
        expected["sum"] -= float(row.softmax(0)[same].sum().log()) / 5
        expected["excluded"] -= float(row[left].log_softmax(0)[left.index(i)]) / 5
    for equal, value in expected.items():
        assert float(answer_loss(image, text, scale=7.0, keys=keys, equal=equal)) == pytest.approx(value, abs=1e-5)
