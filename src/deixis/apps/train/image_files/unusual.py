"""Images that a model of pixels explains worst: a csv, and a sheet that shows each beside what was made of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.model import preprocess_of
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.files import atomic_path
from deixis.inputs.images import open_image
from deixis.types import Picture, place
from deixis.types.protocols import HasReconstruct

__all__ = ["SHEET", "TABLE", "png_bytes", "unusual", "write_unusual"]

TABLE, SHEET = "unusual.csv", "unusual.jpg"

_MOST, _BATCH = 10_000, 64
_SHOWN, _ACROSS, _SIDE, _GAP, _PNG = 24, 4, 96, 4, 64


def unusual(likelihoods: Float[np.ndarray, " N"], sizes: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """How much less likely each image is than images of its size are, as the least squares line tells.

    Detailed images are unlikely whatever they show. How well this finds images that do not belong is in
    results/unusual.jsonl.

    Args:
        likelihoods: log p(x|z).
        sizes: bytes as PNG.
    """
    details = np.log(sizes)
    apart = details - details.mean()
    slope = float(apart @ likelihoods) / max(float(apart @ apart), 1e-12)
    return likelihoods.mean() + slope * apart - likelihoods


def png_bytes(picture: Image.Image) -> int:
    """What a picture takes as PNG of 64 x 64 pixels."""
    file = io.BytesIO()
    picture.convert("RGB").resize((_PNG, _PNG), Image.Resampling.BILINEAR).save(file, "PNG")
    return file.tell()


def write_unusual(method: HasReconstruct, data: EvalSet, out: Path) -> int:
    """Writes `unusual.csv`, the images that a method explains worst first, and `unusual.jpg`: the first of them, each
    above what the method makes of it.

    Args:
        method: in any mode.
        data: images, of which the first `_MOST` are read.
        out: the run folder.

    Returns:
        How many images are listed.
    """
    samples = data.samples[:_MOST]
    preprocess = preprocess_of("the method", method)
    likelihoods: list[Tensor] = []
    sizes: list[int] = []
    for start in range(0, len(samples), _BATCH):
        pictures = [open_image(each.picture, smallest=preprocess.size) for each in samples[start : start + _BATCH]]
        likelihoods.append(_made_again(method, preprocess, pictures)[1])
        sizes += map(png_bytes, pictures)
    values = torch.cat(likelihoods).double().numpy()
    above = unusual(values, np.array(sizes, float))
    order = np.argsort(-above, kind="stable")
    rows = [
        (place(samples[i].picture), samples[i].label or "", f"{above[i]:.2f}", f"{values[i]:.2f}", sizes[i])
        for i in order.tolist()
    ]
    with atomic_path(out / TABLE) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label", "unusual", "log_likelihood", "png_bytes"), *rows])
    with atomic_path(out / SHEET) as temporary, _sheet(method, [samples[i].picture for i in order[:_SHOWN]]) as sheet:
        sheet.save(temporary, "JPEG", quality=90)
    return len(rows)


def _made_again(
    method: Any, preprocess: Any, pictures: Sequence[Image.Image]
) -> tuple[Float[Tensor, "B 3 h w"], Float[Tensor, " B"]]:
    with eval_without_grad(method):
        device = next(method.parameters()).device
        made, likely = method.reconstruct(preprocess.read(pictures).to(device))
    return made.cpu(), likely.cpu()


def _sheet(method: HasReconstruct, pictures: Sequence[Picture]) -> Image.Image:
    """Rows of images, each above what was made of it."""
    preprocess, step = preprocess_of("the method", method), _SIDE + _GAP
    shown = [open_image(each, smallest=max(_SIDE, preprocess.size)) for each in pictures]
    made, _ = _made_again(method, preprocess, shown)
    lines = -(-len(shown) // _ACROSS)
    sheet = Image.new("RGB", (step * _ACROSS + _GAP, 2 * step * lines + _GAP), (255, 255, 255))
    for number, (picture, again) in enumerate(zip(shown, made, strict=True)):
        left, top = _GAP + step * (number % _ACROSS), _GAP + 2 * step * (number // _ACROSS)
        sheet.paste(ImageOps.contain(picture, (_SIDE, _SIDE)), (left, top))
        sheet.paste(to_pil_image(again.clamp(0, 1)).resize((_SIDE, _SIDE)), (left, top + step))
    return sheet
