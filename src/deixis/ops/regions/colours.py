"""How much of a box has a colour that people have a name for."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import roi_align

__all__ = ["COLOUR_NAMES", "colour_shares", "srgb_to_lab"]

_SHADES = {
    "black": ((15, 15, 15), (45, 45, 48)),
    "white": ((250, 250, 250), (215, 215, 215)),
    "grey": ((90, 90, 92), (130, 130, 130), (170, 170, 172)),
    "red": ((205, 30, 40), (140, 20, 30), (225, 70, 65)),
    "orange": ((240, 130, 25), (215, 105, 35)),
    "yellow": ((242, 214, 40), (215, 190, 75), (245, 235, 140)),
    "green": ((40, 150, 60), (90, 120, 50), (130, 185, 90), (30, 75, 40)),
    "blue": ((40, 90, 220), (30, 50, 110), (110, 165, 225)),
    "purple": ((134, 48, 178), (85, 55, 120), (170, 130, 200)),
    "pink": ((246, 120, 184), (240, 185, 200)),
    "brown": ((120, 70, 40), (80, 50, 35), (165, 115, 75), (195, 155, 115)),
}
COLOUR_NAMES = tuple(_SHADES)
"""The eleven basic colours."""

_GRID = 16
_SOFTNESS = 8.0


def srgb_to_lab(colours: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3"]:
    """Colours on a screen, from 0 to 1, in CIE Lab (D65): L from 0 to 100, a and b from about -100 to 100."""
    linear = torch.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = linear @ colours.new_tensor(to_xyz).T / colours.new_tensor([0.95047, 1.0, 1.08883])
    root = torch.where(xyz > 216 / 24389, xyz.clamp(min=1e-9) ** (1 / 3), (24389 / 27 * xyz + 16) / 116)
    x, y, z = root.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)


def colour_shares(images: Float[Tensor, "B 3 H W"], boxes: Float[Tensor, "B T 4"]) -> Float[Tensor, "B T 11"]:
    """The share of each of `COLOUR_NAMES` in each box: rows that sum to 1.

    A box is sampled on a grid; its middle counts fully and its edge, where the background is, next to nothing.

    Args:
        images: from 0 to 1.
        boxes: from 0 to 1.
    """
    size = boxes.new_tensor([images.shape[3], images.shape[2]] * 2)
    pixels = roi_align(images, list((boxes * size).to(images).unbind(0)), _GRID, sampling_ratio=1, aligned=True)
    lab = srgb_to_lab(pixels.clamp(0, 1).permute(0, 2, 3, 1))
    shades = srgb_to_lab(lab.new_tensor([shade for each in _SHADES.values() for shade in each]) / 255)
    owner = torch.tensor([place for place, each in enumerate(_SHADES.values()) for _ in each], device=lab.device)
    distance = torch.cdist(lab.flatten(0, 2), shades)
    nearest = torch.stack([distance[:, owner == place].amin(1) for place in range(len(COLOUR_NAMES))], dim=1)
    shares = (-nearest / _SOFTNESS).softmax(1).unflatten(0, (len(pixels), _GRID * _GRID))
    place = (torch.arange(_GRID, device=lab.device) + 0.5) / _GRID * 2 - 1
    window = (1 - place**2).to(lab)
    weights = (window[:, None] * window).flatten()
    return torch.einsum("npc,p->nc", shares, weights / weights.sum()).unflatten(0, boxes.shape[:2])
