"""What is said of places in images, as plain json: one record an image, or an expression; and RefCOCO's refs."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deixis.data.readers.captions import full_path, is_text
from deixis.data.readers.columns import Chosen, Columns, ColumnTable, choose
from deixis.data.readers.formats.coco import is_coco, read_coco
from deixis.data.readers.formats.tables import read_json
from deixis.data.readers.lookup import Lookup
from deixis.data.readers.names import split_of
from deixis.data.readers.regions import Draft, Gathering, key_of, list_of
from deixis.data.readers.rows import cell
from deixis.errors import DeixisError
from deixis.types.samples import Skipped, Source

__all__ = ["from_records", "from_refs", "holds_refs", "holds_regions"]

_REGIONS = ("regions", "boxes", "box", "bbox", "questions")
_OF_A_REGION = ("box", "bbox", "category", "phrases", "phrase", "sentence", "expression", "spans", "tokens_positive")
_OF_AN_IMAGE = ("caption", "captions", "regions", "boxes", "questions", "groups", "group", "label", "split", "extra")


# A record for each image, or for each expression


def holds_regions(table: ColumnTable) -> bool:
    """Whether the records of a json speak of places in their images, or ask about them."""
    return any(isinstance(row.get(key), list) for _, row in table.rows for key in _REGIONS)


def from_records(table: ColumnTable) -> Source:
    """Samples of records such as `{"image": ..., "caption": ..., "regions": [{"box": ..., "spans": ...}]}`.

    A region may also stand in the record itself (`image`, `bbox`, `sentence`); those of one image are put together
    then. `box` is x0 y0 x1 y1 from 0 to 1, `bbox` x y width height in pixels of an image whose `width` and `height` the
    record gives.

    Raises:
        DeixisError: no record names an image.
    """
    gathering, lookup = Gathering(), Lookup(table.path)
    gathering.skipped += table.skipped
    gathering.notes += table.notes
    chosen = choose(table, Columns())
    path = chosen.path
    for line, row in table.rows:
        found = row[path] if isinstance(row.get(path), tuple) else lookup.find(row.get(path))
        if isinstance(found, Skipped):
            where = f"{table.unit} {line}"
            gathering.skipped.append(Skipped(found.path or where, found.reason, where))
        else:
            _add(gathering, found, {key: value for key, value in row.items() if key != path}, chosen)
    gathering.notes += lookup.notes()
    return gathering.source(table.root or table.path, table.name, f"{table.layout} with regions")


def _add(gathering: Gathering, found: tuple[str, Any], row: Mapping[str, Any], chosen: Chosen) -> None:
    flat = any(key in row for key in ("box", "bbox"))
    regions = [*list_of(row.get("regions")), *({"box": box} for box in list_of(row.get("boxes")))]
    regions += [{key: row[key] for key in (*_OF_A_REGION, "mask", "segmentation") if key in row}] if flat else []
    own = any(isinstance(each, dict) and ("spans" in each or "tokens_positive" in each) for each in regions)
    of_a_region = {*_OF_A_REGION, "mask", "segmentation"} if flat else set()
    words = [key for key in dict.fromkeys(("caption", *chosen.captions)) if key not in of_a_region]
    label = chosen.label if chosen.label not in of_a_region else "label"
    used = {*_OF_AN_IMAGE, *words, label, chosen.group, *of_a_region}
    given_extra = row.get("extra")
    extra = {key: value for key, value in row.items() if key not in used}
    extra = {**extra, **given_extra} if isinstance(given_extra, dict) else extra
    draft = gathering.draft(*found, extra, split_of(cell(row, "split") or ""), own)
    for caption in map(row.get, dict.fromkeys((*words, "captions"))):
        for text in caption if isinstance(caption, list) else [] if caption is None else [caption]:
            gathering.caption(draft, text)
    gathering.regions(draft, regions, {})
    gathering.questions(draft, list_of(row.get("questions")))
    _sort(draft, row, label, chosen.group)


def _sort(draft: Draft, row: Mapping[str, Any], label: str | None, group: str | None) -> None:
    """What a record says of the class of its image, and of what it belongs to."""
    draft.label = draft.label or cell(row, label)
    groups = [each for each in list_of(row.get("groups")) if isinstance(each, str) and is_text(each)]
    groups += [f"group:{each}" for each in [cell(row, group)] if each is not None]
    draft.groups = tuple(dict.fromkeys((*draft.groups, *groups)))


# RefCOCO


def holds_refs(table: ColumnTable) -> bool:
    """Whether the records of a json are RefCOCO's: sentences about an annotation that stands in another file."""
    return {"ref_id", "ann_id", "sentences"} <= set(table.columns)


def from_refs(table: ColumnTable) -> Source:
    """Samples of RefCOCO's refs, with the boxes and masks of `instances.json` beside them.

    All annotated things of an image are its regions, those that nobody refers to as well: they are what an expression
    must tell its own from. `testA` and `testB` are test, and stay in `extra` under `split`.

    Raises:
        DeixisError: there are no instances beside the refs.
    """
    said: dict[tuple[Any, str], dict[Any, list[Any]]] = {}
    for place, row in table.rows:
        image, annotation = row.get("image_id"), row.get("ann_id")
        if isinstance(image, int | str) and isinstance(annotation, int | str):
            about = said.setdefault((image, cell(row, "split") or ""), collections.defaultdict(list))
            about[annotation] += list_of(row.get("sentences"))
        else:
            table.skipped.append(Skipped(f"{table.unit} {place}", "ref without image_id and ann_id"))
    path, data = _instances(table.path)
    joined, notes = _joined(data, said)
    source = read_coco(table.path, {path: joined})
    return dataclasses.replace(
        source, layout="RefCOCO json", skipped=(*table.skipped, *source.skipped), notes=(*notes, *source.notes)
    )


def _instances(refs: Path) -> tuple[Path, Mapping[str, Any]]:
    """The COCO json that lies beside refs: `instances.json`, or another that has the word in its name."""
    names = sorted(refs.parent.glob("*instances*.json"), key=lambda path: (path.name != "instances.json", path.name))
    for path in names:
        data = read_json(path)
        if is_coco(data):
            return path, data
    raise DeixisError(
        f"{full_path(refs)} holds RefCOCO's refs, and their boxes are in another file, which is not beside it.",
        "Put RefCOCO's instances.json into the same folder.",
    )


def _joined(
    data: Mapping[str, Any], said: Mapping[tuple[Any, str], Mapping[Any, list[Any]]]
) -> tuple[dict[str, Any], list[str]]:
    """COCO's json of the images that are spoken of, each annotation with its expressions, and remarks. An image that
    stands on two sides of a split is there twice."""
    images = {key_of(each.get("id")): each for each in data["images"] if isinstance(each, dict)}
    of_image: dict[Any, list[Mapping[str, Any]]] = collections.defaultdict(list)
    for each in data["annotations"]:
        if isinstance(each, dict) and isinstance(each.get("image_id"), int | str):
            of_image[each["image_id"]].append(each)
    entries, annotations, lost = [], [], 0
    for number, ((image, split), about) in enumerate(said.items()):
        here = of_image[image] if image in images else []
        lost += len(about.keys() - {key_of(each.get("id")) for each in here})
        if image in images:
            entries.append({**images[image], "id": number, "image_id": image, "split": split})
        annotations += [{**each, "image_id": number, "phrases": about.get(key_of(each.get("id")), [])} for each in here]
    notes = [f"{lost} refs name an annotation that is not among the instances."] if lost else []
    return {"images": entries, "annotations": annotations, "categories": data.get("categories")}, notes
