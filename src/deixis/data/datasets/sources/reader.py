"""Whether the reader of `deixis read` is there, known without torch."""

from __future__ import annotations

from deixis.data.datasets.sources.wheels import READER
from deixis.errors import DeixisError
from deixis.files import cache_dir

__all__ = ["require_reader"]

_NAME = "reader"


def require_reader() -> None:
    """Refuses at once what would need the reader's files where they are not.

    Raises:
        DeixisError: one is missing.
    """
    folder = cache_dir(_NAME)
    names = [name for wheel in READER for name, _ in wheel.files.values()]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise DeixisError(
            f"The reader is not in {folder} ({', '.join(missing)} missing).",
            f"Run: deixis data get {_NAME}; or name a run whose method offers `read`: --model RUN.",
        )
