"""Arithmetic is done in 32 bits at least."""

from __future__ import annotations

import pytest
import torch

from deixis.ops.precision import to_float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32_without_a_change_of_value(dtype: torch.dtype) -> None:
    values = torch.tensor([1.5, -0.25, 1024.0], dtype=dtype)
    assert to_float32(values).dtype == torch.float32
    assert to_float32(values).tolist() == [1.5, -0.25, 1024.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_wider_is_returned_as_it_is(dtype: torch.dtype) -> None:
    values = torch.ones(2, dtype=dtype)
    assert to_float32(values) is values
