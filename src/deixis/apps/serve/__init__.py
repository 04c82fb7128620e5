"""A page and an API to search a run: `deixis serve RUN`. What the extra `serve` brings is imported when it runs."""

from __future__ import annotations

from deixis.apps.serve.settings import ServeSettings
from deixis.errors import require

__all__ = ["serve"]

_NEEDED = ("fastapi", "uvicorn", "prometheus_client")


def serve(run: str, settings: ServeSettings) -> int:
    """Serves a run until it is told to end.

    Args:
        run: folder that `deixis adapt` or `deixis index` wrote.
        settings: address, token, limits.

    Returns:
        The exit code: 128 and the number of the signal that ended it.

    Raises:
        DeixisError: a package is missing, the run can't be served, or the address can't be had.
    """
    for module in _NEEDED:
        require(module, "serve", "serve a page")
    from deixis.apps.serve import server

    return server.serve(run, settings)
