"""What has to change in an index so that it holds a collection as it is now.

A picture is known by where it lies, and by the hash of its content: in its place with the same content it stays, in its
place with another content it has changed, elsewhere with the same content it has moved. Ids are names for people, the
path inside DATA; where two collections in one index would give one id to two pictures, the later one is called
`NAME/id`, NAME being that of its DATA.
"""

from __future__ import annotations

import collections
import dataclasses
import difflib
import itertools
import math
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deixis.errors import DeixisError
from deixis.types import Skipped, Source, place

__all__ = ["Changed", "IndexDiff", "Item", "index_diff", "items_of", "matching_ids"]

Item = dict[str, Any]

_OWN = ("id", "path", "captions", "label", "hash", "root")
_NEAR, _COMPARED = 3, 20_000  # names that a message suggests, of how many that are compared


@dataclasses.dataclass(frozen=True)
class Changed:
    """What an update did; ids, but for those that could not be read.

    Attributes:
        added: that are new.
        changed: whose content, captions, label or columns are others than before.
        moved: whose content lay elsewhere before; the ids are the new ones.
        removed: that are gone.
        kept: how many of this collection stayed as they were.
        skipped: what was left out, and why.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: int = 0
    skipped: tuple[Skipped, ...] = ()

    @property
    def sentence(self) -> str:
        """The same in words."""
        what = {"added": self.added, "changed": self.changed, "moved": self.moved, "removed": self.removed}
        changes = [f"{len(ids)} {verb}" for verb, ids in what.items() if ids]
        return f"{', '.join(changes) or 'nothing changed'}; {self.kept} kept, {len(self.skipped)} skipped."


@dataclasses.dataclass(frozen=True)
class IndexDiff:
    """A change of an index.

    Attributes:
        items: to write.
        removed: ids to take out; that of an item to write is among them where it replaces one.
        changed: what this amounts to.
        others: how many the index holds of other collections; they stay as they are.
        is_new: whether it takes in a collection of which the index held nothing, beside others.
    """

    items: tuple[Item, ...]
    removed: tuple[str, ...]
    changed: Changed
    others: int = 0
    is_new: bool = False


def items_of(source: Source, hashes: Sequence[str]) -> list[Item]:
    """What the index keeps of each sample: `id`, `path`, `captions`, `label`, `hash` (SHA-256 of the content), `root`
    (where DATA lies), and the columns of a table, as far as they are numbers and words. A column with one of these
    names gets an underscore behind it.

    Args:
        source: with images.
        hashes: of their contents.
    """
    root = str(source.root.absolute())
    return [
        {
            **{f"{key}_" if key in _OWN else str(key): value for key, value in _columns(sample.extra)},
            "id": sample.id,
            "path": place(sample.picture),
            "captions": list(sample.captions),
            "label": sample.label,
            "hash": digest,
            "root": root,
        }
        for sample, digest in zip(source.samples, hashes, strict=True)
    ]


def _columns(extra: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    plain = ((key, _plain(value)) for key, value in extra.items())
    return ((key, value) for key, value in plain if value is not None)


def _plain(value: Any) -> Any:
    """A value as JSON has it; None for what is no number, no words and no list of such."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a number of NumPy's
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple):
        return [each for each in map(_plain, value) if each is not None]
    return None


def index_diff(old: Iterable[Item], new: Sequence[Item], source: Source, *, remove_gone: bool) -> IndexDiff:
    """What must change so that the index holds `new`.

    Args:
        old: items of the index.
        new: of the collection, as `items_of` gives them.
        source: that they are of; what could be read no more stays in the index as it was.
        remove_gone: take out what belongs to this collection and is not in it any more. Only then is anything moved:
            what a collection has lost, or what lies nowhere any more and has come up in it.
    """
    there = _by_place(old)
    root = str(source.root.absolute())
    own = [_belongs(each, root) for each in there.values()]
    pairs = [(item, there.pop(key, None)) for key, item in _by_place(new).items()]
    rest = list(there.values())
    spared = {each.path for each in source.skipped}
    gone = [each for each in rest if _belongs(each, root) and not _spared(each, source, spared)] if remove_gone else []
    lost = gone + [each for each in rest if remove_gone and not _belongs(each, root) and _is_nowhere(each)]
    moves: dict[Any, collections.deque[Item]] = collections.defaultdict(collections.deque)
    for each in lost:
        moves[each.get("hash")].append(each)
    before = [known or (moves[item["hash"]].popleft() if moves[item["hash"]] else None) for item, known in pairs]
    moved_from = {each["id"] for each, (_, known) in zip(before, pairs, strict=True) if each and not known}
    removed = [each["id"] for each in gone if each["id"] not in moved_from]
    made = _plan(pairs, before, rest, removed, source)
    others = sum(not _belongs(each, root) and each["id"] not in moved_from for each in rest)
    is_new = bool(own) and not any(own) and bool(made.changed.added) and not made.changed.moved
    return dataclasses.replace(made, others=others, is_new=is_new)


def _plan(
    pairs: Sequence[tuple[Item, Item | None]],
    before: Sequence[Item | None],
    rest: Sequence[Item],
    removed: Sequence[str],
    source: Source,
) -> IndexDiff:
    """Gives ids, and sorts by what has happened to each."""
    leaving = {*removed, *(each["id"] for each in before if each is not None)}
    taken = {each["id"] for each in rest if each["id"] not in leaving}
    taken |= {known["id"] for _, known in pairs if known is not None}
    items: list[Item] = []
    out, kept = list(removed), 0
    ids: dict[str, list[str]] = {"added": [], "changed": [], "moved": []}
    for (item, known), was in zip(pairs, before, strict=True):
        written = {**item, "id": known["id"] if known else _free(item["id"], source.name, taken)}
        taken.add(written["id"])
        if known is not None and _says_the_same(known, written):
            kept += 1
            continue
        ids["changed" if known else "moved" if was else "added"].append(written["id"])
        items.append(written)
        out += [was["id"]] if was else []
    changed = {what: tuple(each) for what, each in ids.items()}
    return IndexDiff(
        tuple(items), tuple(out), Changed(**changed, removed=tuple(removed), kept=kept, skipped=source.skipped)
    )


def _by_place(items: Iterable[Item]) -> dict[tuple[str, int], Item]:
    """Items by path; a table may name one picture several times, then by number, too."""
    counts: collections.Counter[str] = collections.Counter()
    found = {}
    for item in items:
        path = str(item.get("path"))
        found[path, counts[path]] = item
        counts[path] += 1
    return found


def _says_the_same(one: Item, other: Item) -> bool:
    """Whether two items are equal but for the collection through which the picture was found."""
    return one == other or {**one, "root": ""} == {**other, "root": ""}


def _belongs(item: Item, root: str) -> bool:
    """Whether an item came from the collection of this root, or lies in its folder."""
    return item.get("root") == root or str(item.get("path")).startswith(root.rstrip(os.sep) + os.sep)


def _spared(item: Item, source: Source, skipped: Container[str]) -> bool:
    """Whether an item is still there and can't be read now, as may happen to a disk for a while."""
    return not _is_nowhere(item) and (str(item["id"]) in skipped or _inside(item, source) in skipped)


def _inside(item: Item, source: Source) -> str:
    """The path of an item from the root of the collection."""
    return os.path.relpath(str(item.get("path")), source.root.absolute()).replace(os.sep, "/")


def _is_nowhere(item: Item) -> bool:
    """Whether neither the file of an item nor an archive that would hold it is there."""
    path = Path(str(item.get("path")))
    return path.is_absolute() and not os.path.lexists(path) and not any(each.is_file() for each in path.parents)


def _free(wished: str, name: str, taken: Container[str]) -> str:
    """An id that no other item has."""
    longer = (f"{name}/{wished}" if i == 1 else f"{name}-{i}/{wished}" for i in itertools.count(1))
    return next(each for each in itertools.chain([wished], longer) if each not in taken)


def matching_ids(items: Sequence[Item], names: Sequence[str | Path]) -> list[str]:
    """The ids of all items that are meant by ids or paths; a folder means all that lies in it.

    Raises:
        DeixisError: a name means nothing in the index; the message suggests near ones.
    """
    found: dict[str, None] = {}
    by_id = {str(each["id"]) for each in items}
    for name in map(str, names):
        path = os.path.abspath(name)
        ids = [name] if name in by_id else [str(e["id"]) for e in items if _is_at(str(e.get("path")), path)]
        if not ids:
            known = itertools.chain.from_iterable(
                (str(each["id"]), os.path.relpath(str(each.get("path")))) for each in items
            )
            near = difflib.get_close_matches(name, dict.fromkeys(itertools.islice(known, _COMPARED)), n=_NEAR)
            raise DeixisError(
                f"The index has no item with the id or path {name}.",
                f"Did you mean: {', '.join(near)}?" if near else "Give ids or paths as `deixis search` prints them.",
            )
        found |= dict.fromkeys(ids)
    return list(found)


def _is_at(path: str, place_: str) -> bool:
    return path == place_ or path.startswith(place_.rstrip(os.sep) + os.sep)
