"""What can be set of `deixis index`: the fields are its flags. No torch here."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["IndexSettings"]


@dataclasses.dataclass(frozen=True)
class IndexSettings:
    """What is done with an index.

    Attributes:
        model: a name, or the model folder of a run; `starter` for a new index, and for one that is there its own.
        dtype: of the vectors of a new index; float16 takes half the room.
        add: take in what is new in DATA or has changed, into the index that is there.
        update: the same, and remove what is gone from DATA; what was moved keeps its vector.
        remove: DATA are ids or paths in the index that is there: take them out of it.
        approximate: then also build a graph, for quicker searches of a million pictures and more, which may miss some;
            how many is measured and told.
    """

    model: str = ""
    dtype: Literal["float32", "float16"] = "float32"
    add: bool = False
    update: bool = False
    remove: bool = False
    approximate: bool = False
