"""What clients send and get about words and the tags that pictures lack, as /openapi.json tells it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from deixis.apps.serve.schemas import ListedItem, RequestBody

__all__ = ["NearWord", "QueuedTag", "QueuedTags", "SaveTag", "WordNeighbours", "WordsProgress"]

Decided = Literal["accepted", "refused", "untouched"]


class WordsProgress(BaseModel):
    """How many suggested tags were looked through."""

    file: str = Field(description="The csv that tags are saved in: the folder's name and its own.")
    total: int = Field(description="Pictures of the index with suggestions.")
    suggested: int = Field(description="Suggestions for these.")
    accepted: int
    refused: int
    absent: int = Field(description="Pictures with suggestions that the index does not have.")
    words: int = Field(description="Words that something is known of.")
    sentence: str = Field(description="How often held-back tags are found.")


class QueuedTag(BaseModel):
    """A tag that a picture probably lacks."""

    tag: str
    chance: float = Field(description="How often such a suggestion was the tag that had been held back.")
    decision: Decided


class QueuedTags(BaseModel):
    """A picture, the tags that it has, and those that it probably lacks."""

    position: int
    item: ListedItem
    tags: list[str]
    suggestions: list[QueuedTag]


class SaveTag(RequestBody):
    """What becomes of a suggested tag, and what had become of it when the client last looked."""

    tag: str = Field(min_length=1, max_length=10_000)
    decision: Decided
    before: Decided


class NearWord(BaseModel):
    """A word near another, and how near: a cosine."""

    word: str
    cosine: float


class WordNeighbours(BaseModel):
    """A word, and the words nearest to it."""

    word: str
    pictures: int = Field(description="How many have this tag.")
    goes_with: list[NearWord]
    looks_like: list[NearWord]
    both: list[NearWord]
