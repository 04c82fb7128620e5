"""The sheet of the protocol `patches`: images, their masks, and the clusters of their cells in the same colours."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from PIL import Image
from torch import Tensor

from deixis.apps.common.console import Reporter
from deixis.apps.explain.overlays import Panel, sheet
from deixis.engine.evaluation.protocols.patches import PatchClusters
from deixis.inputs.images import open_image

__all__ = ["write"]

_BACKGROUND, _LEFT_OUT = (235, 235, 235), (120, 120, 120)
_TURN = 0.618


def write(found: PatchClusters, folder: Path, talk: Reporter) -> None:
    """Writes `plot-cells.png`; the table is that of all models.

    Args:
        found: a few images.
        folder: where the file goes.
        talk: prints nothing.
    """
    rows = []
    for picture, shown, predicted in zip(found.pictures, found.shown, found.predicted, strict=True):
        size = (shown.shape[1], shown.shape[0])
        panels = [Panel(open_image(picture).resize(size), "image")]
        for title, classes in (("masks", shown), ("clusters", predicted)):
            present = [found.names[each - 1] for each in classes.unique().tolist() if each > 0]
            panels.append(Panel(_coloured(classes), f"{title}: {', '.join(present) or 'background'}"))
        rows.append(panels)
    sheet(rows).save(folder / "plot-cells.png")


def _coloured(classes: Int64[Tensor, "H W"]) -> Image.Image:
    """Neighbouring numbers get hues that are far apart."""
    most = max(1, int(classes.max()))
    hues = [colorsys.hsv_to_rgb(_TURN * each % 1.0, 0.75, 0.9) for each in range(most)]
    colours = np.array([_BACKGROUND, *(tuple(round(255 * part) for part in hue) for hue in hues), _LEFT_OUT], np.uint8)
    return Image.fromarray(colours[classes.numpy()])
