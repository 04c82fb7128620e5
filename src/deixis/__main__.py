"""`python -m deixis`: the command line, where no script of that name is on the path."""

from __future__ import annotations

from deixis.cli import main

__all__: list[str] = []

main()
