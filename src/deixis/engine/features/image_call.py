"""Who embeds the pictures of an index, torch or onnxruntime: one of the two for all of them.

A row that one of them made never stands for the other's, so a run that was stopped goes on with the one that it began
with, and pictures that torch has embedded before are not embedded again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deixis.engine.export.image_graph import OPENS, image_graph, open_image_graph
from deixis.engine.features.calls import EncodeItem, PartCall
from deixis.engine.features.store import FeatureStore
from deixis.errors import DeixisError
from deixis.inputs.contents import contents
from deixis.nn.dual import DualEncoder
from deixis.types import Picture

__all__ = ["image_call", "same_call"]

_LOOKED_AT = 9  # pictures, of which most tell whether torch embedded the collection before


def image_call(
    encoder: DualEncoder, pictures: Sequence[Picture], store: FeatureStore, say: Callable[[str], None]
) -> PartCall:
    """The call that embeds pictures of a new index: by a graph where that pays, else by the image tower.

    Args:
        encoder: the model.
        pictures: all that are to be embedded.
        store: where rows of an earlier pass may be.
        say: is told when a graph is written, which takes some seconds.
    """
    plain = PartCall.states(encoder)
    if len(pictures) < OPENS or _were_embedded(plain, pictures, store):
        return plain
    graph = image_graph(encoder, len(pictures), say)
    return plain if graph is None else PartCall.states(encoder, graph)


def same_call(encoder: DualEncoder, engine: str, images: int, say: Callable[[str], None]) -> PartCall:
    """The call that embeds further pictures of an index as those in it were.

    Args:
        encoder: the model that made the index.
        engine: what computed in place of torch; empty where nothing did.
        images: how many pictures may be new.
        say: is told where the engine is not to be had.
    """
    if not engine or not images:
        return PartCall.states(encoder)
    graph = open_image_graph(encoder) or image_graph(encoder, images, say)
    if graph is None:
        say(f"This index was embedded with {engine}, which can't be used here; new images are embedded with torch.")
    return PartCall.states(encoder, graph)


def _were_embedded(call: PartCall, pictures: Sequence[Picture], store: FeatureStore) -> bool:
    """Whether a call's rows are stored for most of some pictures that lie all over the collection."""
    step = max(1, len(pictures) // _LOOKED_AT)
    found = [_is_stored(call, each, store) for each in pictures[::step][:_LOOKED_AT]]
    return sum(found) * 2 > len(found)


def _is_stored(call: PartCall, picture: Picture, store: FeatureStore) -> bool:
    try:
        digest, _ = contents(picture)
    except (DeixisError, OSError, MemoryError):  # which the pass itself tells of
        return False
    keys = call.keys(EncodeItem(picture).inputs(digest, call.of))
    return len(store.get(keys)) == len(keys)
