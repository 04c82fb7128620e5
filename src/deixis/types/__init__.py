"""Value objects that everything else is written in.

The axis letters, as they stand in signatures (jaxtyping) all over the package:

| letter | axis | | letter | axis |
| --- | --- | --- | --- | --- |
| B | samples of a batch | | K | captions per image |
| N | tokens or patches of an image; rows of a matrix | | V | views of an image |
| L | length of a text, in tokens | | Q | queries |
| D | width of an embedding | | G | gallery entries |
| F | width of a tower's features | | T | targets (boxes, phrases) of a sample |
| C | classes | | H W | height and width, or a grid |

`specs` (cards, configs, fields) and `samples` need no torch; `Batch` and the outputs load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deixis.types.evaluation import EvalMetric, EvalProtocol
from deixis.types.samples import (
    Drawing,
    Mask,
    Member,
    Phrase,
    Picture,
    Question,
    Region,
    Sample,
    Skipped,
    Source,
    Stored,
    place,
)
from deixis.types.specs import (
    CAPABILITIES,
    Arm,
    Augment,
    Capability,
    Card,
    Claim,
    Crop,
    FieldSpec,
    Made,
    OptimGroup,
    OptimSpec,
    Part,
    PartKind,
    PartSource,
    SampleSpec,
    Stage,
    Variant,
    ViewSpec,
)

if TYPE_CHECKING:
    from deixis.types.batch import Batch
    from deixis.types.outputs import Detections, Features, ImageStates, Losses, Progress, Tokens, TokenStates

_LAZY = {
    "Batch": "deixis.types.batch",
    "Detections": "deixis.types.outputs",
    "Features": "deixis.types.outputs",
    "ImageStates": "deixis.types.outputs",
    "Losses": "deixis.types.outputs",
    "Progress": "deixis.types.outputs",
    "TokenStates": "deixis.types.outputs",
    "Tokens": "deixis.types.outputs",
}

__all__ = [
    "CAPABILITIES",
    "Arm",
    "Augment",
    "Batch",
    "Capability",
    "Card",
    "Claim",
    "Crop",
    "Detections",
    "Drawing",
    "EvalMetric",
    "EvalProtocol",
    "Features",
    "FieldSpec",
    "ImageStates",
    "Losses",
    "Made",
    "Mask",
    "Member",
    "OptimGroup",
    "OptimSpec",
    "Part",
    "PartKind",
    "PartSource",
    "Phrase",
    "Picture",
    "Progress",
    "Question",
    "Region",
    "Sample",
    "SampleSpec",
    "Skipped",
    "Source",
    "Stage",
    "Stored",
    "TokenStates",
    "Tokens",
    "Variant",
    "ViewSpec",
    "place",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
