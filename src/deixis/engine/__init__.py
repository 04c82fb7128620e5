"""What runs methods: builds them, trains and fits them, measures them. It never asks for a method's name."""

from __future__ import annotations

from deixis.engine.build import build
from deixis.engine.stages import enter, stages
from deixis.engine.step import backward

__all__ = ["backward", "build", "enter", "stages"]
