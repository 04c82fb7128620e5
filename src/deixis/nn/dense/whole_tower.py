"""Towers that are read inside, which takes all of their weights."""

from __future__ import annotations

from torch import nn

from deixis.errors import DeixisError
from deixis.ops.sharding import has_shares

__all__ = ["require_whole"]


def require_whole(tower: nn.Module) -> None:
    """Refuses a tower whose weights lie in shares on the ranks: they are put together where it is called as a whole.

    Args:
        tower: whose blocks and maps are to be called one by one.

    Raises:
        DeixisError: it does.
    """
    if has_shares(tower):
        raise DeixisError(
            f"{type(tower).__name__} lies in shares on the ranks, and this method reads what is inside of it.",
            "Train it without --shard.",
        )
