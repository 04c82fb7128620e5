"""RegNetY of any size by its five numbers: `regnety:DEPTH:W0:WA:WM:GROUP:untrained`, and perhaps the side of images.

The widths of blocks follow u_j = w0 + wa j, rounded to w0 wm^s with whole s, and to multiples of 8 and of the group
(Radosavovic et al. 2020, Designing Network Design Spaces); each block has squeeze and excitation. timm builds it.
"""

from __future__ import annotations

import torch

from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.nn.encoders import TimmEncoder

__all__ = ["PREFIX", "load"]

PREFIX = "regnety:"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIDE = 224


def load(name: str, seed: int = 0) -> TimmEncoder:
    """A network of random weights, in eval mode; its images are normalised as ImageNet's.

    Args:
        name: such as `regnety:27:456:160.83:2.52:264:untrained`.
        seed: of the weights; the global generator of random numbers is left as it was.

    Raises:
        DeixisError: the name has another form, or no network has these numbers.
    """
    from timm.models.regnet import RegNet, RegNetCfg

    try:
        depth, w0, wa, wm, group, _, *side = _parts(name)
        layout = RegNetCfg(
            depth=int(depth), w0=int(w0), wa=float(wa), wm=float(wm), group_size=int(group), se_ratio=0.25
        )
        size = int(side[0]) if side else _SIDE
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = RegNet(layout, num_classes=0)
    except (ValueError, ArithmeticError, AssertionError) as error:
        raise DeixisError(
            f"{name!r} names no RegNetY: {str(error).strip() or 'no network has these numbers'}.",
            f"Write {PREFIX}DEPTH:W0:WA:WM:GROUP:untrained, such as {PREFIX}27:456:160.83:2.52:264:untrained.",
        ) from error
    preprocess = Preprocess(size, mode="crop", interpolation="bicubic", mean=_MEAN, std=_STD)
    return TimmEncoder(network, preprocess, name=name).eval()


def _parts(name: str) -> list[str]:
    parts = name.removeprefix(PREFIX).split(":")
    if len(parts) not in (6, 7) or parts[5] != "untrained":
        raise ValueError("five numbers and `untrained` are expected")
    return parts
