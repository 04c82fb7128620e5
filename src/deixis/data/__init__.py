"""Where samples come from: folders and tables, sets from package registries, what is checked and split before use.

`read` loads what it needs when it is called; importing this loads no torch.
"""

from __future__ import annotations

from typing import Any

__all__ = ["read"]


def __getattr__(name: str) -> Any:
    if name == "read":
        from deixis.data.readers.sources import read

        return read
    raise AttributeError(f"module 'deixis.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
