"""What the classes are called that a method learns from data: by the labels of images, or by what regions are."""

from __future__ import annotations

from deixis.engine.fewshot.names import class_names
from deixis.errors import DeixisError
from deixis.methods import read
from deixis.types import Source

__all__ = ["training_classes"]

_MOST = 1000


def training_classes(name: str, source: Source) -> tuple[str, ...]:
    """The names of the classes, in alphabetical order.

    Args:
        name: of the method; one that reads phrases learns what regions are: their categories, or, where they have none,
            their phrases.
        source: the data.

    Raises:
        DeixisError: there are no labels or regions, or two classes have one name.
    """
    if any(need.name == "phrases" for need in read(name).card.needs):
        return _of_regions(name, source)
    labels = sorted({sample.label for sample in source.samples if sample.label})
    if not labels:
        raise DeixisError(
            f"{source.name!r} has no labels, and {name} learns classes.",
            "Put the images into a folder for each class, or name the column of the classes: --label-column",
        )
    return class_names(labels, least=2)


def _of_regions(name: str, source: Source) -> tuple[str, ...]:
    regions = [region for sample in source.samples for region in sample.regions]
    texts = [region.category or next((each.text for each in region.phrases), "") for region in regions]
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(" ".join(text.split()).casefold(), text)
    found = [first[key] for key in sorted(first) if key]
    if not found:
        raise DeixisError(
            f"{source.name!r} has no regions with names, and {name} learns from these.",
            "Give masks or boxes with classes, such as COCO's json beside the images.",
        )
    if len(found) > _MOST:
        raise DeixisError(
            f"The regions of {source.name!r} have {len(found)} different names, and at most {_MOST} can be learned.",
            "Give classes instead of phrases.",
        )
    return class_names(found)
