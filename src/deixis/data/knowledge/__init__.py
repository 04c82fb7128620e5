"""What is known of classes in words: class names -> texts, with their source. WordNet, tags, captions, tables."""

from __future__ import annotations

from deixis.data.knowledge.sources import SOURCES, load_knowledge
from deixis.data.knowledge.texts import Knowledge, key_phrases

__all__ = ["SOURCES", "Knowledge", "key_phrases", "load_knowledge"]
