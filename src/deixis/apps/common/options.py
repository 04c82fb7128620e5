"""Flags that many commands share: how DATA is read, and where models compute. Does not import torch."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, Literal

__all__ = ["ComputeSettings", "Reading"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComputeSettings:
    """Where models compute.

    Attributes:
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or `mps`.
        batch: pictures that a model is given at a time; 0: a number that suits its input.
        precision: number format of products (autocast): `fp32`, or for speed `bf16` or `fp16`, which change vectors
            slightly.
    """

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    batch: int = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"

    def active(self, *, everywhere: bool = False) -> contextlib.AbstractContextManager[Any]:
        """Lets models compute so inside; settings that say nothing leave it as it is.

        Args:
            everywhere: in all threads.

        Raises:
            DeixisError: there is no such device here.
        """
        if (self.device, self.batch, self.precision) == ("auto", 0, "fp32"):
            return contextlib.nullcontext()
        from deixis.nn.compute import computing

        return computing(self.device, self.batch, self.precision, everywhere=everywhere)


@dataclasses.dataclass(frozen=True)
class Reading:
    """How DATA is read.

    Attributes:
        path_column: column of a table with the image paths; by default recognised by its name.
        caption_column: column with the captions.
        label_column: column with the class labels.
        group: column with the same value for images of one thing; splits keep them together.
        names_as_captions: use file names as captions.
        max_pixels: largest picture that is read, in pixels (width x height). Pictures of more than 100 million pixels
            are made smaller while they are decoded.
    """

    path_column: str | None = None
    caption_column: str | None = None
    label_column: str | None = None
    group: str | None = None
    names_as_captions: bool = False
    max_pixels: int = 100_000_000
