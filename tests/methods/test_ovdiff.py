"""OVDiff: prototypes and scores are the stored ones; what is cut, kept and left out where the answer is plain."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deixis import engine
from deixis.engine.training.train import fit
from deixis.errors import DeixisError
from deixis.methods import ovdiff
from deixis.ops.dense.windows import WindowBox, mean_of_windows
from deixis.types.outputs import SampledImages
from tests.support import Recorded, load_golden

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def built(**overrides: Any) -> Any:
    return engine.build("ovdiff", "tiny", overrides, seed=3)


@pytest.fixture(scope="module")
def fitted() -> Any:
    return fit(built(), ())


IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.golden
def test_prototypes_are_those_of_the_authors_code() -> None:
    golden = Recorded(load_golden("ovdiff_prototypes"))
    features, stuff = golden["in.features"], golden["in.is_stuff"]
    kinds = tuple(bool(golden[f"cfg.use_{kind}"]) for kind in ("class_mean", "instance_means", "kmeans"))
    sides = {}
    for side in ("foreground", "background"):
        mask, centroids = golden[f"in.{side}_mask"], golden[f"in.kmeans_{side}"]
        sides[side] = ovdiff.class_prototypes(features, mask, centroids, kinds)  # type: ignore[arg-type]
        means = [
            ovdiff.class_prototypes(features, mask, centroids, kinds)[0]
            for kinds in ((True, False, False), (False, True, False))
        ]
        torch.testing.assert_close(means[0], golden[f"out.class_mean_{side}"], **CLOSE)
        stored = golden[f"out.instance_mean_{side}"].flatten(0, 1)
        torch.testing.assert_close(means[1], stored[stored.isfinite().all(1)], **CLOSE)
    for ending, limit in (("", float(golden["cfg.stuff_filter_threshold"])), ("s_without_filter", 2.0)):
        bank = ovdiff.prototype_bank(sides["foreground"], sides["background"], stuff, limit)
        names = [f"out.prototype{ending or 's'}", *(f"out.prototype_{each}{ending[1:]}" for each in ("owner", "label"))]
        torch.testing.assert_close(bank.prototypes, golden[names[0]], **CLOSE)
        assert torch.equal(bank.owner + 1, golden[names[1]])
        assert torch.equal(bank.label, golden[names[2]])
    assert golden.read == set(golden)


@pytest.mark.golden
def test_scores_of_windows_and_extractors_are_the_stored_ones() -> None:
    golden = Recorded(load_golden("ovdiff_segment"))
    size = (int(golden["cfg.height"]), int(golden["cfg.width"]))
    owner, label = golden["in.prototype_owner"] - 1, golden["in.prototype_label"]
    kept = torch.zeros(int(owner.amax()) + 1, dtype=torch.bool)
    kept[golden["in.kept_classes"] - 1] = True
    boxes = [WindowBox(*box) for box in golden["in.crops_xyxy"].tolist()]
    maps = [
        ovdiff.score_map(
            golden[f"in.features_{number}_{place}"],
            ovdiff.ClassBank(golden[f"in.prototypes_{number}"], owner, label),
            kept,
        )
        for number in range(int(golden["cfg.num_extractors"]))
        for place in range(len(boxes))
    ]
    scores = mean_of_windows(maps, boxes * int(golden["cfg.num_extractors"]), size)
    torch.testing.assert_close(scores, golden["out.similarity"], **CLOSE)
    labels = ovdiff.pixel_labels(scores, float(golden["cfg.threshold"])).argmax(0)
    assert torch.equal(labels, golden["out.labels"])
    assert golden.read == set(golden)


def test_where_all_scores_are_low_the_background_wins_though_its_own_is_lower() -> None:
    scores = torch.tensor([[-0.5, 0.1], [0.2, 0.3], [0.6, 0.2]])[..., None]
    assert ovdiff.pixel_labels(scores, 0.0).argmax(0).flatten().tolist() == [2, 1]
    assert ovdiff.pixel_labels(scores, 0.4).argmax(0).flatten().tolist() == [2, 0]


def test_without_proposals_thresholds_of_the_attribution_cut_and_the_rim_of_the_surroundings_goes() -> None:
    attribution = torch.zeros(1, 5, 7)
    attribution[0, 2, 2:5] = torch.tensor([0.3, 0.9, 0.4])
    inside, outside = ovdiff.support_masks(attribution)
    assert inside.nonzero().tolist() == [[0, 2, 3]]
    expected = torch.ones(5, 7, dtype=torch.bool)
    expected[1:4, 1:6] = False
    assert torch.equal(outside[0], expected)
    inside, outside = ovdiff.support_masks(torch.zeros(1, 3, 3))
    assert (bool(inside.any()), bool(outside.all())) == (False, True)


def test_of_proposals_the_one_with_most_attribution_is_the_class_and_the_one_with_least_its_surroundings() -> None:
    attribution = torch.zeros(1, 4, 9)
    attribution[0, :, :3], attribution[0, :, 3:6] = 0.8, 0.3
    masks = torch.zeros(3, 4, 9, dtype=torch.bool)
    masks[0, :, :4], masks[1, :, 3:6] = True, True  # the last is empty
    inside, outside = ovdiff.support_masks(attribution, [masks])
    expected = torch.zeros(4, 9, dtype=torch.bool)
    expected[:, :4] = True  # where two overlap, the one of more weight
    assert torch.equal(inside[0], expected)
    assert torch.equal(outside[0], torch.arange(9).expand(4, 9) >= 7)  # what no proposal covers, without its rim
    none = ovdiff.support_masks(attribution, [masks[:0]])
    assert torch.equal(none[0], ovdiff.support_masks(attribution)[0])


def test_classes_below_an_even_chance_do_not_take_part_nor_more_than_the_limit() -> None:
    cosines = torch.tensor([0.5, 0.1, 0.4, -0.2])
    assert ovdiff.class_filter(cosines, 10).tolist() == [True, False, True, False]
    assert ovdiff.class_filter(cosines, 1).tolist() == [True, False, False, False]
    assert ovdiff.class_filter(torch.zeros(3), 10).all()


def test_the_best_set_is_found_among_all() -> None:
    wanted = {(0, 3): 0.9, (0,): 0.8}
    seen: list[tuple[int, ...]] = []

    def score(sets: Any) -> Tensor:
        seen.extend(sets)
        return torch.tensor([wanted.get(each, 0.0) for each in sets])

    assert ovdiff.best_subset([0, 2, 3], score) == (0, 3)
    assert len(seen) == 7
    assert ovdiff.best_subset([2], score) == (2,)


def test_one_window_of_the_size_of_the_image_is_no_other_answer_than_the_whole(fitted: Any) -> None:
    whole, window = (fit(built(crops=crops, filtered=False), ()).segment(IMAGES) for crops in ((), (32,)))
    assert whole.shape == (2, 3, 32, 32)
    assert torch.equal(whole, window)
    assert not torch.allclose(whole, fitted.segment(IMAGES))


def test_a_class_has_one_prototype_of_all_one_a_picture_and_its_centroids(fitted: Any) -> None:
    bank = fitted._bank(0)
    assert bank.prototypes.isfinite().all()
    counts = torch.bincount(bank.label)
    assert counts[1:].tolist() == [1 + 2 + 2] * 2
    assert counts[0] == 2 * (1 + 2 + 2)
    means = fit(built(centroids=0, instance_means=False, stuff=("cat",), stuff_filter=2.0), ())._bank(1)
    assert means.label.tolist() == [0, 1, 2]
    assert means.owner.tolist() == [1, 0, 1]


class Blind(nn.Module):
    """A sampler that has pictures of dogs alone."""

    size = 32

    def forward(self, text: str, count: int, rng: torch.Generator) -> SampledImages:
        """Noise, whose middle is due to the text; or nothing."""
        count = count if text == "dog" else 0
        images = torch.randint(0, 256, (count, 3, 32, 32), generator=rng, dtype=torch.uint8)
        maps = torch.zeros(count, 32, 32)
        maps[:, 8:24, 8:24] = 1
        return SampledImages(images, maps)


def test_a_class_without_support_pictures_is_left_out_and_named() -> None:
    method: Any = engine.build("ovdiff", "tiny", {"filtered": False}, {"sampler": Blind()})
    found = fit(method, ()).segment(IMAGES)
    assert method.notes == ("no support pictures of cat: left out",)
    assert found.isfinite().all()
    assert set(found.argmax(1).unique().tolist()) <= {0, 2}
    nothing: Any = engine.build("ovdiff", "tiny", {"names": "cat,bird"}, {"sampler": Blind()})
    with pytest.raises(DeixisError, match="No support picture shows cat, bird"):
        fit(nothing, ())


def test_what_can_not_be_is_refused() -> None:
    with pytest.raises(DeixisError, match="'grass' is stuff"):
        built(stuff=("grass",))
    with pytest.raises(DeixisError, match="no background 'none'"):
        built(background="none")
    with pytest.raises(DeixisError, match="no prototypes"):
        built(centroids=0, class_mean=False, instance_means=False)
    with pytest.raises(DeixisError, match="no prototypes"):
        built().segment(IMAGES)


def test_one_score_for_everything_else_takes_the_place_of_background_prototypes() -> None:
    method = fit(built(background="threshold", level=0.9, filtered=False), ())
    assert (method.segment(IMAGES)[:, 0] == torch.tensor(0.9)).all()


def test_what_was_built_is_read_back(fitted: Any) -> None:
    other = built()
    state = fitted.state_dict()
    other.take_sizes({name: tuple(value.shape) for name, value in state.items()})
    other.load_state_dict(state)
    assert torch.equal(other.segment(IMAGES), fitted.segment(IMAGES))


def test_the_paper_s_own_sampler_is_refused_before_any_model_is_fetched() -> None:
    """Stable Diffusion is no part of the library; the other parts of the preset are hundreds of megabytes."""
    with pytest.raises(DeixisError, match=r"'diffusers:stable-diffusion-v1-5' draws by diffusion"):
        engine.build("ovdiff", "paper")
