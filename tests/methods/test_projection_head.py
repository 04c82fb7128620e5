"""SupCon, the spectral loss and the heads are the authors'; before the head stands more of what augmentation drops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.errors import DeixisError
from deixis.methods import projection_head
from deixis.methods.projection_head import IdentityHead, Reweighting, feature_weights
from deixis.ops.similarity.view_losses import spectral, supcon
from deixis.types import Batch, Crop, Progress, ViewSpec
from tests.support import load_golden


def built(**overrides: Any) -> projection_head.Method:
    return engine.build("projection_head", "tiny", overrides, seed=3)


def equals(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.golden
def test_supcon_and_its_gradient_are_those_of_the_authors_code() -> None:
    golden = load_golden("projhead_supcon")
    rows = golden["in.z"].requires_grad_()
    views = rows.unflatten(0, (int(golden["cfg.n_views"]), -1))
    loss = supcon(views, golden["in.labels"], float(golden["cfg.temperature"]))
    equals(loss, golden["out.loss"])
    equals(torch.autograd.grad(loss, rows)[0], golden["grad.z"])


@pytest.mark.golden
def test_the_spectral_loss_and_its_gradient_are_those_of_its_formula() -> None:
    golden = load_golden("projhead_spectral")
    views = [golden[f"in.{name}"].requires_grad_() for name in ("z1", "z2")]
    loss = spectral(*views)
    equals(loss, golden["out.loss"])
    for name, gradient in zip(("z1", "z2"), torch.autograd.grad(loss, views), strict=True):
        equals(gradient, golden[f"grad.{name}"])


@pytest.mark.golden
def test_the_fixed_and_the_identity_head_and_their_gradients_are_those_of_the_authors_code() -> None:
    golden = load_golden("projhead_fixed")
    rows, cotangent = golden["in.x"].requires_grad_(), golden["in.cotangent"]
    width = rows.shape[1]
    fixed = Reweighting(width, float(golden["cfg.kappa"]))
    fixed.weights = float(golden["cfg.kappa"]) ** -torch.arange(width, dtype=torch.float64)
    torch.testing.assert_close(Reweighting(width, float(golden["cfg.kappa"])).weights, golden["out.weights"].float())
    equals(fixed.weights, golden["out.weights"])
    equals(fixed(rows), golden["out.reweighted"])
    equals(torch.autograd.grad((fixed(rows) * cotangent).sum(), rows)[0], golden["grad.x_reweighted"])
    head = IdentityHead(width).double()
    head.load_state_dict({name.removeprefix("param."): each for name, each in golden.items() if "param." in name})
    found = head(rows)
    equals(found, golden["out.identity_head"])
    wanted = {"x_identity_head": rows, "threshold": head.threshold, "fc1.weight": head.fc1.weight}
    for name, gradient in zip(
        wanted, torch.autograd.grad((found * cotangent).sum(), list(wanted.values())), strict=True
    ):
        equals(gradient, golden[f"grad.{name}"])


def test_the_fixed_head_divides_each_feature_by_one_more_kappa_and_the_identity_head_begins_as_none() -> None:
    rows = torch.randn(3, 4)
    torch.testing.assert_close(Reweighting(4, 2.0)(rows), rows / torch.tensor([1.0, 2.0, 4.0, 8.0]))
    torch.testing.assert_close(IdentityHead(4)(rows), rows)
    head = IdentityHead(1)
    head.threshold.data.fill_(1.0)
    assert head(torch.tensor([[-3.0], [-0.5], [0.5], [3.0]])).flatten().tolist() == [-2.0, 0.0, 0.0, 2.0]


def test_weights_are_the_lengths_of_the_directions_of_independent_factors() -> None:
    factors = torch.tensor([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)]).repeat(3, 1)
    directions = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0]])
    spread = factors.std(dim=0)
    torch.testing.assert_close(feature_weights(factors @ directions + 7, factors), spread * torch.tensor([5.0, 2.0]))


@pytest.mark.parametrize(
    "factors", [torch.ones(9, 2), torch.randn(2, 2)], ids=["one that does not vary", "too few samples"]
)
def test_weights_of_what_does_not_vary_are_refused(factors: Tensor) -> None:
    with pytest.raises(DeixisError, match="Give more samples than factors, and factors that vary"):
        feature_weights(torch.randn(len(factors), 3), factors)


def linear_toy(steps: int) -> tuple[Tensor, Tensor]:
    """Weights of ten orthogonal factors, of variance 1.6 down to 0.4, in the features and behind the head: a linear
    encoder and a linear head, both trained by the expectation of the spectral loss; the augmentation draws factor 3
    anew in six of ten views. All is diagonal, so that ten numbers a layer are the whole network."""
    variance = torch.linspace(1.6, 0.4, 10)
    shared = variance.clone()
    shared[3] *= 0.4**2
    layers = [torch.full((10,), 0.3, requires_grad=True) for _ in range(2)]
    for _ in range(steps):
        gain = (layers[0] * layers[1]) ** 2
        loss = (-2 * gain * shared + (gain * variance) ** 2).sum()
        with torch.no_grad():
            for layer, gradient in zip(layers, torch.autograd.grad(loss, layers), strict=True):
                layer -= 0.02 * gradient
    factors = torch.eye(10).repeat(2, 1) * torch.tensor([1.0, -1.0]).repeat_interleave(10)[:, None]
    pre = factors * variance.sqrt() * layers[0].detach()
    found = [feature_weights(rows, factors) for rows in (pre, pre * layers[1].detach())]
    kept = [number for number in range(10) if number != 3]
    return found[0] / found[0][kept].mean(), found[1] / found[1][kept].mean()


def test_a_factor_that_the_augmentation_drops_weighs_about_the_root_before_the_head_of_what_it_weighs_behind() -> None:
    before, behind = linear_toy(317)
    assert float(before[3]) == pytest.approx(0.60, abs=0.01)
    assert float(behind[3]) == pytest.approx(0.31, abs=0.01)


def test_a_factor_that_is_weak_in_the_input_goes_the_other_way() -> None:
    """The loss whitens: behind the head it is as strong as all others. So "before is more even" is no law."""
    before, behind = linear_toy(317)
    assert float(behind[9]) == pytest.approx(1.0, abs=0.01)
    assert float(before[9]) < 0.85


@pytest.mark.parametrize("loss", ["nt_xent", "supcon", "spectral", "cross_entropy"])
def test_each_loss_reads_what_it_needs_and_is_finite(loss: str) -> None:
    method = built(loss=loss, names=("a", "b", "c", "d", "e") if loss == "cross_entropy" else ())
    needs = method.stages()[0].needs
    assert needs is not None
    assert {each.name for each in needs} == {"views"} | ({"labels"} if loss in ("supcon", "cross_entropy") else set())
    batch = Batch.synthetic(needs, method.config.view, size=4, C=5)
    losses = method(batch, Progress())
    assert list(losses.parts) == [loss]
    assert bool(torch.isfinite(losses.total))


def test_the_features_are_read_before_the_head_unless_the_place_behind_it_is_named() -> None:
    method, images = built().eval(), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        pre, post = method.encode_image(images), method.encode_image(images, at="post")
    assert (pre.shape[1], post.shape[1]) == (method.encoder.width, 8)
    same = built(width=0)
    assert same.head.linears[-1].out_features == same.encoder.width, "as wide as the features"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"head": "fixed", "kappa": 1.0}, "kappa is 1.0: the head would weigh all features alike"),
        ({"temperature": 0.0}, "temperature is 0.0. Give a number above 0"),
        ({"loss": "cross_entropy"}, "Cross-entropy needs classes, and none are named"),
    ],
)
def test_settings_that_compare_nothing_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        built(**settings)


def test_one_crop_is_refused_where_crops_are_compared() -> None:
    with pytest.raises(DeixisError, match="There are 1 crops an image"):
        built(view=ViewSpec(size=0, crops=(Crop(1, 16),)))


def test_classes_of_one_image_in_a_batch_are_warned_of() -> None:
    method = built(loss="supcon")
    batch = Batch.synthetic((projection_head.VIEWS, projection_head.LABELS), method.config.view, size=4, C=5)
    lone = Batch(batch.ids, labels=torch.arange(4), views=batch.views)
    share = float(method(lone, Progress()).metrics["images_with_partner"])
    assert share == 0.0
    values = {"images_with_partner": share, "deviation": 1.0}
    assert "0% of the images have another one of their class" in method.warnings(values, Progress())["lone classes"]


def test_pairs_of_pictures_stand_in_for_crops() -> None:
    method = built(pairs=True)
    assert method.stages()[0].needs == (projection_head.PAIR,)
    batch = Batch.synthetic((projection_head.PAIR,), size=3, H=16, W=16)
    assert method.encode(batch, Progress()).rows["post"].shape == (3, 2, 8)
