"""Classes of pictures that have captions: the sub-folders in which they lie."""

from __future__ import annotations

import dataclasses

from deixis.types import Sample, Source

__all__ = ["with_folder_labels"]


def with_folder_labels(source: Source) -> Source:
    """The source with the class folder of each picture as its label; as it is where one has a label, where a picture
    lies in no sub-folder, or where there is one alone.

    A folder whose pictures have captions beside them is read for these; who learns classes from it asks here.

    Args:
        source: of any data.
    """
    if any(sample.label for sample in source.samples):
        return source
    folders = [_class_folder(sample) for sample in source.samples]
    if not all(folders) or len(set(folders)) < 2:
        return source
    samples = tuple(dataclasses.replace(each, label=label) for each, label in zip(source.samples, folders, strict=True))
    note = f"The {len(set(folders))} sub-folders are the classes."
    return dataclasses.replace(source, samples=samples, notes=(*source.notes, note))


def _class_folder(sample: Sample) -> str:
    parts = sample.id.split("/")[:-1]
    return "/".join(parts[1:] if sample.split and len(parts) > 1 else parts[:1])
