"""What reads words: a dual encoder that reads character by character, and a finished reader of photographs."""

from __future__ import annotations

__all__: list[str] = []
