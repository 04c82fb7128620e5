"""What clients send and get where captions and labels are saved, as /openapi.json tells it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from deixis.apps.serve.schemas import ListedItem, RequestBody

__all__ = [
    "CaptionedItem",
    "DraftProgress",
    "LabelProgress",
    "LabelSuggestions",
    "QueuedDraft",
    "QueuedItem",
    "SaveCaption",
    "SaveLabel",
]


class LabelProgress(BaseModel):
    """How far the labelling of a collection is."""

    file: str = Field(description="The name of the csv that labels are saved in.")
    total: int
    label: int = Field(description="How many pictures have a label.")
    caption: int = Field(description="How many pictures have a caption.")


class QueuedItem(BaseModel):
    """A picture to be labelled, and what is saved for it."""

    position: int
    item: ListedItem
    caption: str
    label: str


class LabelSuggestions(BaseModel):
    """What a picture may be, the likeliest first."""

    labels: list[str]
    captions: list[str]


class SaveLabel(RequestBody):
    """What a picture is, and what was saved for it when the client last looked."""

    caption: str = Field(default="", max_length=2000)
    label: str = Field(default="", max_length=500)
    before_caption: str = Field(default="", max_length=10_000)
    before_label: str = Field(default="", max_length=10_000)


class DraftProgress(BaseModel):
    """How many drafts of captions were looked through."""

    file: str = Field(description="The name of the csv that drafts are read from and captions are saved in.")
    total: int = Field(description="Pictures of the index that have a draft.")
    accepted: int
    edited: int
    untouched: int
    absent: int = Field(description="Pictures with a draft that the index does not have.")


class QueuedDraft(QueuedItem):
    """A picture with a draft of a caption."""

    draft: str
    sure: float | None = Field(description="The chance that it names the right thing; null if not measured.")
    kind: Literal["accepted", "edited", "untouched"]


class CaptionedItem(BaseModel):
    """A picture with the caption that is saved for it."""

    item: ListedItem
    caption: str


class SaveCaption(SaveLabel):
    """The caption of a picture, and what stood beside it when the client last looked."""

    draft: str = Field(max_length=10_000, description="As the client was given it.")
