"""What runs methods: builds them, trains and fits them, measures them. It never asks for a method's name."""

from __future__ import annotations

from deixis.engine.training.build import build
from deixis.engine.training.stages import enter, stages
from deixis.engine.training.step import backward

__all__ = ["backward", "build", "enter", "stages"]
