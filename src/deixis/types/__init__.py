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

Each module loads on first use of one of its names; only `outputs`, `batch`, `detections` and `segments` need torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deixis.types.batch import Batch
    from deixis.types.detections import Detections
    from deixis.types.evaluation import EvalMetric, EvalProtocol
    from deixis.types.outputs import Features, GroundOutput, ImageStates, Losses, Maps, Progress, Tokens, TokenStates
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
    from deixis.types.segments import Segments
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
        Trunk,
        Variant,
        ViewSpec,
    )

_MODULES = ("specs", "samples", "evaluation", "outputs", "batch", "detections", "segments")  # those without torch first

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
    "GroundOutput",
    "ImageStates",
    "Losses",
    "Made",
    "Maps",
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
    "Segments",
    "Skipped",
    "Source",
    "Stage",
    "Stored",
    "TokenStates",
    "Tokens",
    "Trunk",
    "Variant",
    "ViewSpec",
    "place",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        modules = (importlib.import_module(f"deixis.types.{each}") for each in _MODULES)
        return next(getattr(module, name) for module in modules if name in module.__all__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
