"""Chances of search results as a person reads them, and the file of a run that holds what they were measured by."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from deixis.engine.evaluation.calibration import Calibration
from deixis.errors import DeixisError

__all__ = [
    "FILE",
    "FORMAT",
    "HARDLY",
    "NEVER_SAYS_NOTHING",
    "STALE",
    "in_words",
    "is_stale",
    "nothing_matches",
    "read_calibration",
]

FILE = "relevance.json"
FORMAT = 1

STALE: Mapping[str, object] = {"format": FORMAT, "stale": True}
"""What the file holds from before another collection is taken in until all is measured again."""

HARDLY = 0.05
"""Results less likely to be relevant than this are folded away."""

NEVER_SAYS_NOTHING = "This model can't reliably tell when nothing matches, so it never says so."
"""What is said where no threshold was worth using."""

_SHARES = (
    *((1, wide) for wide in (100, 50, 20)),
    *((tenths, 10) for tenths in range(1, 10)),
    *((wide - 1, wide) for wide in (20, 50, 100)),
)


def in_words(chance: float) -> str:
    """A chance as a share that can be pictured: `about 8 in 10`, `about 1 in 20`, `fewer than 1 in 100`.

    Args:
        chance: from 0 to 1.
    """
    if not 0 <= chance <= 1:
        raise ValueError(f"{chance} is no chance.")
    if chance < 0.01:
        return "fewer than 1 in 100"
    if chance > 0.99:
        return "more than 99 in 100"
    part, whole = min(_SHARES, key=lambda share: abs(_log_odds(chance) - _log_odds(share[0] / share[1])))
    return f"about {part} in {whole}"


def _log_odds(chance: float) -> float:
    return math.log(chance / (1 - chance))


def nothing_matches(count: int) -> str:
    """What is said where nothing matches, with what can be done.

    Args:
        count: pictures that were searched.
    """
    what = "the one picture" if count == 1 else f"the {count:,} pictures"
    found = f"Nothing here is likely to match, as far as the model can judge from {what} searched."
    return f"{found} Try other, simpler words."


def read_calibration(run: Path, fingerprint: str) -> Calibration | None:
    """What was measured on held-out searches when a run or index was made.

    Args:
        run: its folder.
        fingerprint: of the model that made the index.

    Returns:
        None where nothing was: without captions or labels, or with too few; or where it no longer holds.

    Raises:
        DeixisError: the file is damaged, or of another model.
    """
    file = run / FILE
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        if value == STALE:
            return None
        model, known = value["model"], value["format"] == FORMAT
        calibration = Calibration.from_dict(value) if known else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DeixisError(
            f"{file} can't be read: it is damaged ({type(error).__name__}).",
            "Remove it to search without probabilities, or create the folder again.",
        ) from error
    if calibration is None:
        raise DeixisError(f"{file} has another format.", "Create the folder again with this version of deixis.")
    if model != fingerprint:
        raise DeixisError(
            f"{file} was measured for another model than the one that made the index.",
            "Remove it to search without probabilities, or create the folder again.",
        )
    return calibration


def is_stale(run: Path) -> bool:
    """Whether what was measured no longer holds and is to be measured again.

    Args:
        run: the folder of a run or index.
    """
    try:
        return bool(json.loads((run / FILE).read_text(encoding="utf-8")) == STALE)
    except (OSError, ValueError):
        return False
