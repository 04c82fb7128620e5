"""ConES learns what a text tower would have said: values and gradients of the stored loops, and no call of a tower."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deixis import engine, zoo
from deixis.engine.training.train import Training, batches
from deixis.methods import cones
from deixis.methods.cones import ConceptTable, cell_loss, cell_scores, picture_loss
from deixis.nn.layers.attention import Attention
from deixis.types import OptimSpec, Progress
from tests.prompting import NAMES, few_images, golden_batch
from tests.support import load_golden


def built(**settings: Any) -> cones.Method:
    settings = {"names": NAMES, "second": (), **settings}
    return engine.build("cones", "tiny", settings, {"encoder": zoo.load("tiny")}, seed=1)


def descend(table: ConceptTable, loss: Any, rate: float, steps: int) -> tuple[list[Tensor], Tensor]:
    """Plain gradient descent: the loss before each step and after the last, and the first gradient."""
    found, first = [], torch.empty(0)
    for step in range(steps + 1):
        value = loss()
        found.append(value.detach())
        if step == steps:
            break
        (gradient,) = torch.autograd.grad(value, [table.vectors])
        first = gradient if step == 0 else first
        table.vectors.data -= rate * gradient
    return found, first


@pytest.mark.golden
@pytest.mark.parametrize("offset", [False, True])
def test_prototypes_and_conditioning_sequences_take_the_steps_of_the_stored_loops(offset: bool) -> None:
    """Also as an offset that is added to a frozen start: the same steps."""
    golden = load_golden("cones_step")
    method, steps = built(offset=offset).double(), int(golden["cfg.steps"])
    batch, _ = golden_batch({**golden, "in.image_features": golden["in.image_features"].double()})
    method.scale = float(golden["param.logit_scale"].exp())
    method.table = ConceptTable(golden["in.name_text_features"].double()[:, None], offset)
    found = {"prototype.initial_logits": method.scores(batch.extra["image_embedding"])}
    losses, gradient = descend(
        method.table, lambda: method(batch, Progress()).total, float(golden["cfg.learning_rate"]), steps
    )
    found |= {
        "prototype.losses": torch.stack(losses),
        "prototype.embedding": method.table()[:, 0],
        "prototype.final_logits": method.scores(batch.extra["image_embedding"]),
    }
    gradients = {"prototype.embedding": gradient[:, 0]}

    consumer = _consumer(golden)
    table = ConceptTable(golden["in.conditioning.initial_embedding"].double()[None], offset)
    tokens, target = golden["in.conditioning.tokens"].double(), golden["in.conditioning.target"].double()

    def predicted() -> Tensor:
        states, mask = table.sequence(0)
        return tokens + consumer(tokens, mask[:, None], memory=states.expand(len(tokens), -1, -1))

    found["conditioning.prediction"] = predicted()
    rate = float(golden["cfg.conditioning.learning_rate"])
    losses, gradient = descend(table, lambda: (predicted() - target).square().mean(), rate, steps)
    found |= {"conditioning.losses": torch.stack(losses), "conditioning.embedding": table()[0]}
    gradients["conditioning.embedding"] = gradient[0]
    for kind, values in (("out", found), ("grad", gradients)):
        for name, value in values.items():
            torch.testing.assert_close(value, golden[f"{kind}.{name}"], rtol=1e-8, atol=1e-10, msg=name)
    stored = {key for key in golden if key.startswith(("out.", "grad."))}
    assert stored == {f"out.{name}" for name in found} | {f"grad.{name}" for name in gradients}


def _consumer(golden: dict[str, Tensor]) -> nn.Module:
    """The stored attention, frozen."""
    heads, width = int(golden["cfg.conditioning.heads"]), golden["in.conditioning.tokens"].shape[-1]
    consumer = Attention(width, heads).double().requires_grad_(False)
    short = {"q": "query", "k": "key", "v": "value", "out": "out"}
    consumer.load_state_dict(
        {
            f"{own}.{kind}": golden[f"param.consumer.{a}.{kind}"]
            for a, own in short.items()
            for kind in ("weight", "bias")
        }
    )
    return consumer


@pytest.mark.parametrize("settings", [{}, {"second": ("adapter",)}, {"reads": "pictures"}, {"offset": True}])
def test_learning_and_classifying_call_the_text_tower_zero_times(settings: dict[str, Any]) -> None:
    method, batch, calls = built(**settings), few_images(), []
    for module in method.encoder.text_tower.modules():
        module.register_forward_hook(lambda *_: calls.append(1))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    Training(method, batches(batch, 6, 0), 8, seed=0).run()
    method.scores(batch.extra["image_embedding"])
    assert not calls
    moved = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    layers = {"adapter.weight", "adapter.bias"} if settings.get("second") else set()
    assert moved == {"table.vectors"} | layers, "nothing else changes"
    method.encoder.encode_text(["a"])
    assert calls, "calls are counted"


@pytest.mark.parametrize("offset", [False, True])
def test_at_the_start_it_is_zero_shot_classification(offset: bool) -> None:
    method, image = built(vectors=1, offset=offset), few_images().extra["image_embedding"]
    named = engine.build("zero_shot", "tiny", {"names": NAMES}, {"encoder": method.encoder})
    torch.testing.assert_close(method.scores(image), named.scores(image))


def test_before_the_tower_it_is_coop_with_vectors_of_each_class_and_the_loss_of_cones() -> None:
    method, batch = built(where="before", words="a photo of"), few_images()
    settings = {"names": NAMES, "words": "a photo of", "shared": False}
    prompts = engine.build("coop", "tiny", settings, {"encoder": method.encoder})
    found, wanted = method(batch, Progress()).total, prompts(batch, Progress()).total
    torch.testing.assert_close(found, wanted)
    (own,) = torch.autograd.grad(found, [method.table.vectors])
    (theirs,) = torch.autograd.grad(wanted, [prompts.context])
    torch.testing.assert_close(own, theirs)
    asked = built(where="before", words="a photo of", reads="cells", none=NAMES[-1])
    (gradient,) = torch.autograd.grad(asked(batch, Progress()).total, [asked.table.vectors])
    assert gradient[:-1].abs().amax(dim=(1, 2)).gt(0).all()
    assert not gradient[-1].any(), "the class of no class is not asked, and learns nothing"


def test_the_second_stage_trains_the_layers_that_are_named_and_leaves_the_concepts() -> None:
    method, batch = built(second=("adapter",), second_share=0.5), few_images()
    first, second = engine.stages(method)
    assert set(engine.enter(method, first)) == {"table.vectors"}
    assert set(engine.enter(method, second)) == {"adapter.weight", "adapter.bias"}
    image = batch.extra["image_embedding"]
    torch.testing.assert_close(method.images(image), image, msg="the layers start as nothing")


def test_of_several_vectors_the_nearest_counts() -> None:
    table, cells = torch.randn(3, 2, 4), torch.randn(2, 5, 4)
    for b in range(2):
        for c in range(3):
            for n in range(5):
                best = max(float(F.cosine_similarity(cells[b, n], table[c, k], dim=0)) for k in range(2))
                assert abs(float(cell_scores(cells, table)[b, c, n]) - best) < 1e-6


def test_cells_of_no_class_pull_on_all_classes_and_their_own_column_has_no_say() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 2])
    expected = 0.0
    for row, label in zip(logits, labels.tolist(), strict=True):
        each = [F.softplus(-row[c]) if c == label else F.softplus(row[c]) for c in (0, 1)]
        expected += float(sum(each)) / 2
    torch.testing.assert_close(float(cell_loss(logits, labels, 2)), expected)
    method = built(names=("mug", "none of it"), none="none of it", reads="cells")
    assert (method.scores(few_images().extra["image_embedding"])[:, 1] == 0).all()


def test_a_picture_of_a_class_is_compared_with_the_pictures_of_others_alone() -> None:
    """Another picture of the same class is no rival."""
    logits, labels = torch.randn(4, 2), torch.tensor([0, 1, 0, 1])
    expected = 0.0
    for i, label in enumerate(labels.tolist()):
        rivals = [logits[j, label] for j in range(4) if labels[j] != label]
        expected -= float(torch.stack([logits[i, label], *rivals]).log_softmax(dim=0)[0])
    torch.testing.assert_close(float(picture_loss(logits, logits, labels, labels)), expected)


def test_a_segmentation_is_the_map_of_the_cells_at_the_size_of_the_picture() -> None:
    method, images = built(), torch.rand(2, 3, 32, 32)
    scores = method.segment(images)
    assert scores.shape == (2, len(NAMES), 32, 32)
    tokens = method.encoder.image_tokens(images)
    cells = method.scale * cell_scores(tokens.states, method.table())
    coarse = F.adaptive_avg_pool2d(scores, tokens.grid)
    assert (coarse.flatten(2).argmax(dim=2) == cells.argmax(dim=2)).float().mean() > 0.5


def test_a_random_start_knows_nothing_of_the_names() -> None:
    assert not torch.equal(built(start="random").table(), built().table())
    settings = {"start": "random", "optim": OptimSpec(learning_rate=0.05, weight_decay=0.0)}
    method, batch = built(**settings), few_images()
    Training(method, batches(batch, 12, 0), 40, seed=0).run()
    right = method.scores(batch.extra["image_embedding"]).argmax(dim=1) == batch.labels
    assert right.all(), "and learns all the same"
