"""Pictures are taken in every usual form, equal ones give equal vectors, and all else is refused in one message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deixis import zoo
from deixis.errors import DeixisError
from deixis.inputs.images import pictures_in
from deixis.inputs.preprocess import Preprocess
from deixis.nn.dual import DualEncoder

BYTES = np.random.default_rng(0).integers(0, 256, (20, 33, 3), dtype=np.uint8)
TENSOR = torch.from_numpy(BYTES).permute(2, 0, 1)
FLOATS = BYTES.astype(np.float32) / 255
PLAN = Preprocess(32)
FORMS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "text": str,
    "contents": Path.read_bytes,
    "Pillow": lambda path: Image.fromarray(BYTES),
    "array": lambda path: BYTES,
    "float array": lambda path: FLOATS,
    "double array": lambda path: BYTES / 255,
    "array of another order": lambda path: np.asfortranarray(BYTES),
    "tensor": lambda path: TENSOR,
    "float tensor": lambda path: TENSOR.float() / 255,
    "tensor with a gradient": lambda path: (TENSOR.double() / 255).requires_grad_(),
}


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    return zoo.load("tiny")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pictures") / "one.png"
    Image.fromarray(BYTES).save(file)
    return file


@pytest.mark.parametrize("form", FORMS)
def test_equal_pictures_in_any_form_give_equal_vectors(encoder: DualEncoder, path: Path, form: str) -> None:
    wanted, given = encoder.encode_image([path]), FORMS[form](path)
    for images in (given, [given], (given,)):
        assert torch.equal(encoder.encode_image(images), wanted)
    assert torch.equal(PLAN(given), PLAN(path))
    assert torch.equal(PLAN([given, path]), torch.stack([PLAN(path)] * 2))


def test_forms_may_be_mixed_and_batches_of_pictures_are_lists(encoder: DualEncoder, path: Path) -> None:
    [wanted] = encoder.encode_image(path)
    mixed = encoder.encode_image([make(path) for make in FORMS.values()])
    torch.testing.assert_close(mixed, wanted.expand(len(FORMS), -1))
    for batch in (np.stack([BYTES, BYTES]), np.stack([FLOATS, FLOATS]), torch.stack([TENSOR, TENSOR])):
        torch.testing.assert_close(encoder.encode_image(batch), wanted.expand(2, -1))
        assert PLAN(batch).shape == (2, 3, 32, 32)


def test_a_float_batch_is_taken_as_preprocessed(encoder: DualEncoder, path: Path) -> None:
    assert torch.equal(encoder.encode_image(encoder.preprocess(path)[None]), encoder.encode_image(path))


NAN = np.where(FLOATS > 0.5, np.float32("nan"), FLOATS)
WRONG: dict[str, tuple[Any, str]] = {
    "array of a tensor's axes": (BYTES.transpose(2, 0, 1), r"array of uint8 \[3, 20, 33\].*transpose\(1, 2, 0\)"),
    "tensor of an array's axes": (torch.from_numpy(BYTES), r"tensor of uint8 \[20, 33, 3\].*permute\(2, 0, 1\)"),
    "alpha": (np.zeros((4, 5, 4), np.uint8), r"alpha channel out with \[\.\.\., :3\]"),
    "grey": (np.zeros((4, 5), np.uint8), "grey values as three channels"),
    "NaN": (NAN, "NaN or infinite"),
    "infinite": (torch.full((3, 4, 4), torch.inf), "NaN or infinite"),
    "0 to 255 as floats": (BYTES.astype(np.float32), r"from 0 to 255, not 0 to 1\. Divide it by 255"),
    "normalised": (PLAN(TENSOR), r"not 0 to 1.*float batch \[B, 3, H, W\]"),
    "whole numbers": (BYTES.astype(np.int64), "int64.*Make it uint8"),
    "no pixel": (np.zeros((0, 5, 3), np.uint8), "holds no pixel"),
    "an empty list": ([], "No picture was given"),
    "an empty batch": (np.zeros((0, 4, 4, 3), np.uint8), "No picture was given"),
    "a number": (3, r"The picture given is 3 \(int\)\. Give a path"),
    "None in a list": ([BYTES, None], r"Number 1 of the pictures is None \(NoneType\)"),
    "a list of rows": (FLOATS.tolist(), "Number 0 of the pictures is .*list"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_picture_is_told_with_what_is_expected(encoder: DualEncoder, wrong: str) -> None:
    given, message = WRONG[wrong]
    typed = isinstance(given, np.ndarray | torch.Tensor) or given == []
    for take in (encoder.encode_image, PLAN) if typed else (pictures_in,):  # under test, others break the annotation
        with pytest.raises(DeixisError, match=message) as caught:
            take(given)
        assert str(caught.value).count("\n") == 0
        assert len(str(caught.value)) < 300
