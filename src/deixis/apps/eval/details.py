"""Reports of protocols that compare more than models: chosen by what was measured."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deixis.apps.common.console import Reporter
from deixis.apps.eval import grounding, patches, protocol_tables, saliency
from deixis.engine.evaluation.grounding import GroundingResult
from deixis.engine.evaluation.protocols.patches import PatchClusters
from deixis.engine.evaluation.saliency_checks import SaliencyResult
from deixis.engine.fewshot.evaluation import ProtocolResult

__all__ = ["write_detail"]


@functools.singledispatch
def write_detail(detail: object, folder: Path, talk: Reporter) -> Mapping[str, Any] | None:
    """Writes the report of one model, prints its table, and returns what `result.json` says; None where that
    is the comparison of models, or there is no such report.

    Args:
        detail: of the protocol's output.
        folder: where the files go.
        talk: prints.
    """
    return None


write_detail.register(PatchClusters, patches.write)
write_detail.register(ProtocolResult, protocol_tables.write)
write_detail.register(SaliencyResult, saliency.write)
write_detail.register(GroundingResult, grounding.write)
