"""What pictures look like to a model: as a whole, or the mean of what stands in their boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import embed_plain
from deixis.inputs.images import open_image
from deixis.nn.compute import autocast, batch_size
from deixis.nn.dual import DualEncoder
from deixis.nn.modes import evaluating
from deixis.types import Picture, Region, Sample
from deixis.types.detections import Detections

__all__ = ["looks_of"]

_BATCH = 32


def looks_of(
    encoder: DualEncoder, samples: Sequence[Sample], hashes: Sequence[str], talk: Reporter, *, crops: bool
) -> Float[Tensor, "N F"]:
    """The image tower's features of each picture.

    Args:
        encoder: the model.
        samples: with pictures.
        hashes: of the contents of these.
        talk: receives the progress.
        crops: of a picture with boxes, the mean over these, each of length 1 first; of one without them, or where this
            is false, the picture's own.
    """
    features = embed_plain(encoder, samples, hashes, talk).features.float()
    boxed = [row for row, sample in enumerate(samples) if sample.regions] if crops else []
    if not boxed:
        return features
    with talk.step("crops"), talk.bar("encode what stands in boxes") as bar:
        for done, row in enumerate(boxed, 1):
            picture = samples[row].picture
            assert picture is not None, "samples without a picture were left out"
            features[row] = F.normalize(_features(encoder, _cut(picture, samples[row].regions)), dim=1).mean(0)
            bar(done, len(boxed))
    return features


def _cut(picture: Picture, regions: Sequence[Region]) -> list[Image.Image]:
    """What stands in the boxes."""
    boxes = torch.tensor([region.box for region in regions])
    return Detections(boxes, torch.ones(len(boxes)), ("",) * len(boxes)).crops(open_image(picture))


def _features(encoder: DualEncoder, crops: Sequence[Image.Image]) -> Float[Tensor, "K F"]:
    rows, size = [], batch_size(_BATCH)
    with evaluating(encoder), torch.no_grad(), autocast(encoder.device):
        for start in range(0, len(crops), size):
            pixels = encoder.read_images(crops[start : start + size])
            rows.append(encoder.image_states(pixels).features.float().cpu())
    return torch.cat(rows)
