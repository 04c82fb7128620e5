"""The cells of images in the space shared with texts, from the user's store where it has them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.engine.features.calls import EncodeItem, Inputs, PartCall
from deixis.engine.features.embedding import make
from deixis.engine.features.store import FeatureStore
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.types import Picture

__all__ = ["image_cells"]

_STATES = "states"


def image_cells(
    encoder: DualEncoder, pictures: Sequence[Picture], progress: Callable[[int, int], None] | None = None
) -> Float[Tensor, "N P D"]:
    """What `encoder.image_tokens` gives for pictures: one vector a cell, before any adapter and not normalised.

    Args:
        encoder: the frozen model.
        pictures: N images.
        progress: see `embedding.make`.

    Raises:
        DeixisError: an image can't be read, the model's images have unequal numbers of cells, or the store has lost
            some.
    """
    call = PartCall(encoder, "image_tokens", (_STATES,))
    with contextlib.closing(FeatureStore()) as store:
        done = make(call, [EncodeItem(picture) for picture in pictures], store, progress=progress)
        if done.failures:
            raise next(iter(done.failures.values()))
        keys = {digest: call.keys(Inputs(digest)) for digest in dict.fromkeys(done.hashes)}
        rows = store.get([key for each in keys.values() for key in each])
    if len(rows) < sum(map(len, keys.values())):
        raise DeixisError(
            f"Cells of images that were just stored in {store.path} are missing.",
            f"Run again; the cache must hold all that one run needs (DEIXIS_FEATURES_GB, now {store.limit / 2**30:g}).",
        )
    found = {digest: call.values([rows[key] for key in each])[_STATES] for digest, each in keys.items()}
    if len({len(value) for value in found.values()}) > 1:
        raise DeixisError(
            f"The images of {encoder.name} have unequal numbers of cells.", "Take a model of square images of one size."
        )
    if not pictures:
        return torch.empty(0, 1, encoder.width)
    return torch.stack([found[digest] for digest in done.hashes])
