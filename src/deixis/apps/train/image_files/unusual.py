"""Images that do not belong among the others: a csv, and a sheet that shows each above what a model made of it.

Foreign pictures that were planted among others stand first by how unlike the five most similar others are to the
starter, on most sets (`results/unusual.jsonl`, `python -m bench.unusual_rows`): that orders the csv. What the model
that was trained finds of each stands beside.
"""

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

from deixis import zoo
from deixis.apps.common.console import Reporter
from deixis.apps.train.image_files.sheets import SIDE, write_sheet
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.model import EvalModel, preprocess_of
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.errors import DeixisError
from deixis.files import atomic_path
from deixis.inputs.images import open_image
from deixis.types import Picture, place
from deixis.types.protocols import HasReconstruct

__all__ = ["SHEET", "TABLE", "png_bytes", "similarity_of_nearest", "unexplained", "write_unusual"]

TABLE, SHEET = "unusual.csv", "unusual.jpg"

_MOST, _BATCH = 10_000, 64
_SHOWN, _ACROSS, _PNG = 24, 4, 64
_NEAREST, _ROWS = 5, 1024


def unexplained(likelihoods: Float[np.ndarray, " N"], sizes: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """How much less likely each image is than images of its size are, as the least squares line tells.

    Detailed images are unlikely whatever they show.

    Args:
        likelihoods: log p(x|z).
        sizes: bytes as PNG.
    """
    details = np.log(sizes)
    apart = details - details.mean()
    slope = float(apart @ likelihoods) / max(float(apart @ apart), 1e-12)
    return likelihoods.mean() + slope * apart - likelihoods


def similarity_of_nearest(rows: Float[np.ndarray, "N D"], count: int) -> Float[np.ndarray, " N"]:
    """The mean cosine of each row with the `count` others that it is most like, or with as many as there are.

    Args:
        rows: of length 1; two at the least.
        count: how many others.
    """
    found = np.empty(len(rows))
    for start in range(0, len(rows), _ROWS):
        cosines = (rows[start : start + _ROWS] @ rows.T).astype(np.float64)
        own = np.arange(len(cosines))
        cosines[own, own + start] = -np.inf
        found[start : start + _ROWS] = np.sort(cosines, axis=1)[:, -min(count, len(rows) - 1) :].mean(axis=1)
    return found


def png_bytes(picture: Image.Image) -> int:
    """What a picture takes as PNG of 64 x 64 pixels."""
    file = io.BytesIO()
    picture.convert("RGB").resize((_PNG, _PNG), Image.Resampling.BILINEAR).save(file, "PNG")
    return file.tell()


def write_unusual(method: HasReconstruct, data: EvalSet, out: Path) -> int:
    """Writes `unusual.csv`, the images first that are least like any others, and `unusual.jpg`: the first of them, each
    above what the method makes of it. Where the starter can't be had, the method's own likelihood orders them.

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
    above = unexplained(values, np.array(sizes, float))
    alike = _alike(data.take(range(len(samples))))
    order = np.argsort(-above if alike is None else alike, kind="stable")
    told = [""] * len(samples) if alike is None else [f"{each:.3f}" for each in alike]
    rows = [
        (place(samples[i].picture), samples[i].label or "", told[i], f"{above[i]:.2f}", f"{values[i]:.2f}", sizes[i])
        for i in order.tolist()
    ]
    with atomic_path(out / TABLE) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [("path", "label", "similarity", "unexplained", "log_likelihood", "png_bytes"), *rows]
        )
    write_sheet(out / SHEET, _shown(method, [samples[i].picture for i in order[:_SHOWN]]))
    return len(rows)


def _alike(data: EvalSet) -> Float[np.ndarray, " N"] | None:
    """How alike each image and its nearest are to the starter; None where that can't be had, or there is one image."""
    if len(data.samples) < 2:
        return None
    try:
        rows = EvalModel("starter", zoo.load("starter")).image_embeddings(data, Reporter(quiet=True))
    except DeixisError:
        return None
    return similarity_of_nearest(rows.numpy(), _NEAREST)


def _made_again(
    method: Any, preprocess: Any, pictures: Sequence[Image.Image]
) -> tuple[Float[Tensor, "B 3 h w"], Float[Tensor, " B"]]:
    with eval_without_grad(method):
        device = next(method.parameters()).device
        made, likely = method.reconstruct(preprocess.read(pictures).to(device))
    return made.cpu(), likely.cpu()


def _shown(method: HasReconstruct, pictures: Sequence[Picture]) -> list[list[Image.Image]]:
    """Rows of images, each above what was made of it."""
    preprocess = preprocess_of("the method", method)
    shown = [open_image(each, smallest=max(SIDE, preprocess.size)) for each in pictures]
    made = [to_pil_image(each.clamp(0, 1)) for each in _made_again(method, preprocess, shown)[0]]
    both = [[ImageOps.contain(each, (SIDE, SIDE)) for each in pictures] for pictures in (shown, made)]
    return [line[start : start + _ACROSS] for start in range(0, len(shown), _ACROSS) for line in both]
