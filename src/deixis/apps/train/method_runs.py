"""From a run folder to its method.

`method.safetensors` holds the tensors that the run made or changed, with the method's name and settings as its
metadata; `model/` holds the dual encoder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from deixis import engine, zoo
from deixis.engine.training.checkpoint import load_facts, load_state
from deixis.errors import DeixisError
from deixis.methods import read

__all__ = ["STATE", "load_method"]

STATE = "method.safetensors"


def load_method(run: str | os.PathLike[str]) -> Any:
    """The method of a run, as it was at the end, in eval mode: with all that its file offers beside an encoder.

    Args:
        run: a folder that `deixis train` wrote.

    Raises:
        DeixisError: the folder holds no method, or a part is missing.
    """
    folder = Path(run)
    facts = load_facts(folder / STATE) if (folder / STATE).is_file() else {}
    if "method" not in facts:
        raise DeixisError(f"{folder} holds no method of `deixis train`.", "Give the folder of such a run.")
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in facts["config"].items()}
    kept = [part.name for part in read(facts["method"]).card.parts if part.kind == "dual_encoder" and not part.many]
    parts = {kept[0]: zoo.load(folder / "model")} if kept and (folder / "model").is_dir() else {}
    return load_state(engine.build(facts["method"], "desk", settings, parts), folder / STATE).eval()
