"""A batch is a value: what is padded, cut and joined comes out as it went in."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from deixis.types import Batch, Crop, FieldSpec, SampleSpec, ViewSpec
from deixis.types.batch import CORE_FIELDS, concatenate
from tests.contract import equal_batches

VIEWS = ViewSpec(size=8, crops=(Crop(2, 6), Crop(3, 4)), boxes=True)
SHARED = FieldSpec("class_vectors", "C D")
WORDS = FieldSpec("words", "B", "object")
CURVE = FieldSpec("curve", "B N D", ragged="N")


def everything(size: int = 4, seed: int = 0, **sizes: int) -> Batch:
    needs = [*CORE_FIELDS.values(), SHARED, WORDS, CURVE]
    return Batch.synthetic(needs, VIEWS, SampleSpec(captions=2, length=7), size, seed, **sizes)


def ragged(*rows: list[list[float]]) -> Batch:
    """One batch a row of boxes, each with its own number of them."""
    pieces = []
    for i, boxes in enumerate(rows):
        valid = {"T": torch.ones(1, len(boxes), dtype=torch.bool)}
        pieces.append(Batch((f"s{i}",), boxes=torch.tensor(boxes).reshape(1, len(boxes), 4), valid=valid))
    return concatenate(pieces)


# Padding


def test_joining_pads_with_zeros_that_are_not_valid() -> None:
    batch = ragged([[0.1, 0.2, 0.3, 0.4]], [[0.5, 0.5, 0.6, 0.6], [0.0, 0.0, 1.0, 1.0]])
    assert batch.boxes is not None
    assert batch.valid["T"].tolist() == [[True, False], [True, True]]
    assert batch.boxes[0, 1].tolist() == [0.0] * 4
    torch.testing.assert_close(batch.boxes[0, 0], torch.tensor([0.1, 0.2, 0.3, 0.4]))


def test_captions_of_different_number_and_length_are_padded_along_both_masks() -> None:
    first = Batch(("a",), tokens=torch.tensor([[[5, 6]]]), valid={"L": torch.tensor([[[True, True]]])})
    second = Batch(("b",), tokens=torch.tensor([[[7, 8, 9]]]), valid={"L": torch.tensor([[[True, True, True]]])})
    both = concatenate([first, second])
    assert both.tokens is not None
    assert both.tokens.tolist() == [[[5, 6, 0]], [[7, 8, 9]]]
    assert both.valid["L"].tolist() == [[[True, True, False]], [[True, True, True]]]


def test_lists_of_spans_have_no_mask_and_are_padded_with_empty_spans() -> None:
    spans = [torch.tensor([[[[0, 2]]]]), torch.tensor([[[[1, 2], [3, 4]]]])]
    valid = {"T": torch.ones(1, 1, dtype=torch.bool)}
    joined = concatenate([Batch((f"{i}",), spans=each, valid=valid) for i, each in enumerate(spans)]).spans
    assert joined is not None
    assert joined.tolist() == [[[[0, 2], [0, 0]]], [[[1, 2], [3, 4]]]]


def test_what_is_not_ragged_is_not_padded() -> None:
    """Vectors of two widths are two models' or a mistake; zeros would make them look alike."""
    wide, narrow = (Batch((f"{d}",), extra={"x": torch.ones(1, d)}, specs={"x": FieldSpec("x", "B D")}) for d in (3, 2))
    with pytest.raises(ValueError, match=r"x: rows of \[2\] do not fit beside rows of \[3\]"):
        concatenate([wide, narrow])
    pictures = [Batch((f"{side}",), images=torch.zeros(1, 3, side, side)) for side in (4, 6)]
    with pytest.raises(ValueError, match="images"):
        concatenate(pictures)


def test_images_that_keep_their_shape_are_padded_where_a_mask_tells() -> None:
    sides = [
        Batch(
            (f"{s}",),
            images=torch.ones(1, 3, s, 4),
            valid={"H": torch.ones(1, s, dtype=torch.bool), "W": torch.ones(1, 4, dtype=torch.bool)},
        )
        for s in (2, 3)
    ]
    joined = concatenate(sides)
    assert joined.images is not None
    assert joined.images.shape == (2, 3, 3, 4)
    assert joined.images[0, :, 2].abs().sum() == 0
    assert joined.valid["H"].tolist() == [[True, True, False], [True, True, True]]


def test_batches_that_hold_different_fields_do_not_join() -> None:
    """Else the field of one would vanish without a word."""
    plain = Batch(("a",), images=torch.zeros(1, 3, 4, 4))
    labelled = dataclasses.replace(plain, labels=torch.tensor([1]))
    for pair in ([plain, labelled], [labelled, plain]):
        with pytest.raises(ValueError, match="only some of the batches hold labels"):
            concatenate(pair)


# Splitting and joining


@given(size=st.integers(1, 9), piece=st.integers(1, 9), seed=st.integers(0, 5))
def test_pieces_joined_are_the_batch(size: int, piece: int, seed: int) -> None:
    batch = everything(size, seed)
    pieces = batch.split(piece)
    assert sum(map(len, pieces)) == size
    assert max(map(len, pieces)) <= piece
    equal_batches(concatenate(pieces), batch)


@given(order=st.permutations(range(5)))
def test_taking_in_an_order_and_back_is_the_batch(order: list[int]) -> None:
    batch = everything(5)
    back = [order.index(i) for i in range(5)]
    equal_batches(batch.take(order).take(back), batch)


def test_taking_keeps_every_field_of_a_sample_together() -> None:
    batch = everything(4)
    taken = batch.take([2, 2, 0])
    assert taken.ids == (batch.ids[2], batch.ids[2], batch.ids[0])
    assert taken.captions is not None
    assert batch.captions is not None
    assert taken.captions[1] == batch.captions[2]
    assert torch.equal(taken.views[1][2], batch.views[1][0])
    assert torch.equal(taken.view_boxes[0][0], batch.view_boxes[0][2])
    assert torch.equal(taken.valid["L"][0], batch.valid["L"][2])
    assert taken.extra["words"][0] == batch.extra["words"][2]
    assert taken.extra["class_vectors"] is batch.extra["class_vectors"], "shared by all samples"


def test_groups_stay_whole_on_a_split() -> None:
    batch = dataclasses.replace(everything(12), groups=torch.arange(12) // 3)
    pieces = batch.split(7, group=3)
    assert [len(piece) for piece in pieces] == [6, 6]
    held = [set(piece.groups.tolist()) for piece in pieces if piece.groups is not None]
    assert not held[0] & held[1]


@pytest.mark.parametrize(("size", "group"), [(2, 3), (0, 1), (4, 5)])
def test_a_split_that_would_tear_groups_is_refused(size: int, group: int) -> None:
    with pytest.raises(ValueError, match=f"12 samples in groups of {group}"):
        everything(12).split(size, group)


# Form


def test_every_field_has_one_row_a_sample() -> None:
    with pytest.raises(ValueError, match=r"field 'labels' has 3 rows, and the batch 2 ids"):
        Batch(("a", "b"), labels=torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"views\[1\]"):
        Batch(("a", "b"), views=(torch.zeros(2, 1, 3, 4, 4), torch.zeros(3, 1, 3, 4, 4)))
    with pytest.raises(ValueError, match=r"valid\[T\]"):
        Batch(("a",), valid={"T": torch.ones(2, 3, dtype=torch.bool)})


def test_an_extra_field_must_be_described() -> None:
    with pytest.raises(ValueError, match="without a FieldSpec: mystery"):
        Batch(("a",), extra={"mystery": torch.zeros(1)})


def test_a_batch_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        everything().labels = None  # type: ignore[misc]


def test_mapping_reaches_every_tensor_and_nothing_else() -> None:
    seen: list[Tensor] = []

    def double(value: Tensor) -> Tensor:
        seen.append(value)
        return value + value

    batch = everything()
    twice = batch.map(double)
    tensors = [v for v in _leaves(batch) if isinstance(v, Tensor)]
    assert {id(v) for v in seen} == {id(v) for v in tensors}
    assert torch.equal(twice.extra["class_vectors"], 2 * batch.extra["class_vectors"])
    assert twice.captions == batch.captions
    assert twice.ids == batch.ids
    assert all(v.device.type == "meta" for v in _leaves(batch.to("meta")) if isinstance(v, Tensor))


def _leaves(batch: Batch) -> list[Any]:
    values: list[Any] = [getattr(batch, field.name) for field in dataclasses.fields(batch)]
    values += [*batch.views, *batch.view_boxes, *batch.valid.values(), *batch.extra.values()]
    return values


# Synthetic batches


def test_a_synthetic_batch_holds_what_is_asked_and_nothing_else() -> None:
    batch = Batch.synthetic([CORE_FIELDS["images"], FieldSpec("x", "B D")], size=3, D=5)
    held = [name for name in CORE_FIELDS if name not in ("views", "view_boxes") and getattr(batch, name) is not None]
    assert held == ["images"]
    assert batch.views == ()
    assert batch.valid == {}
    assert batch.extra["x"].shape == (3, 5)


def test_equal_seeds_give_equal_batches_and_others_others() -> None:
    equal_batches(everything(seed=1), everything(seed=1))
    first, second = everything(seed=1).images, everything(seed=2).images
    assert first is not None
    assert second is not None
    assert not torch.equal(first, second)


@given(seed=st.integers(0, 30))
def test_synthetic_values_are_what_their_kind_says(seed: int) -> None:
    batch = everything(6, seed, C=4)
    assert batch.boxes is not None
    assert batch.spans is not None
    assert batch.tokens is not None
    assert batch.labels is not None
    assert (batch.boxes[..., 2:] >= batch.boxes[..., :2]).all()
    assert ((batch.labels >= 0) & (batch.labels < 4)).all()
    real, length = batch.valid["T"], batch.valid["L"][:, 0].sum(-1)
    start, end = batch.spans[real].unbind(-1)
    assert (start < end).all()
    assert (end <= length[:, None].expand(-1, real.shape[1])[real][:, None]).all(), "inside the first caption"
    assert (batch.spans[~real] == 0).all()
    assert (batch.boxes[~real] == 0).all()
    assert (batch.tokens[~batch.valid["L"]] == 0).all()
    assert (batch.tokens[batch.valid["L"]] > 0).all()
    assert real.any(1).all()
    assert (batch.extra["curve"][~batch.valid["N"]] == 0).all()


def test_unit_rows_and_distributions_are_what_they_are_called() -> None:
    needs = [FieldSpec("u", "B D", values="unit"), FieldSpec("p", "B C", values="distribution")]
    extra = Batch.synthetic(needs, size=5).extra
    torch.testing.assert_close(extra["u"].norm(dim=1), torch.ones(5))
    torch.testing.assert_close(extra["p"].sum(1), torch.ones(5))
