"""Tags that pictures probably lack, which a person accepts or refuses, one picture after the other."""

from __future__ import annotations

from deixis.apps.serve.errors import RequestError
from deixis.apps.serve.labelling.label_queue import PictureQueue
from deixis.apps.words.written import Decision, SuggestedTag, TagCells, WrittenWords
from deixis.errors import DeixisError
from deixis.indexing.index import Index

__all__ = ["TagQueue"]


class TagQueue(PictureQueue[TagCells]):
    """The pictures for which `deixis words` has suggestions, in the order of its csv of tags.

    Args:
        words: the folder that it wrote.
        index: of the collection that is served.

    Raises:
        DeixisError: there are suggestions, and none of their pictures is in the index.
    """

    def __init__(self, words: WrittenWords, index: Index) -> None:
        super().__init__(words.table)
        self.words = words
        if words.suggestions and not self.rows(index):
            raise DeixisError(
                f"None of the pictures with suggested tags in {words.folder} is in the index.",
                "Serve an index of the same pictures: deixis index DATA --out INDEX",
            )

    def rows(self, index: Index) -> list[int]:
        """The rows with suggestions, in the order of the csv."""
        places = self._ordered(index).places
        return [row for row in super().rows(index) if places[row] in self.words.suggestions]

    def suggestions(self, index: Index, row: int) -> list[SuggestedTag]:
        """The tags that a row probably lacks."""
        return self.words.suggestions.get(self.place(index, row), [])

    def decide(self, index: Index, row: int, tag: str, decision: Decision, before: Decision) -> None:
        """Saves what became of a tag.

        Args:
            index: of the pictures.
            row: of a picture.
            tag: one that is suggested for it.
            decision: what becomes of it.
            before: what had become of it when the client last looked.

        Raises:
            RequestError: it is not suggested there, or somebody else has decided otherwise meanwhile.
            DeixisError: as `FilledTable.save`.
        """
        if tag not in (each.tag for each in self.suggestions(index, row)):
            raise RequestError(404, f"{tag!r} is not suggested for this picture.", "Look at it again.")
        cells = self.entry(index, row)
        if (there := cells.of(tag)) not in (before, decision):
            raise RequestError(409, f"In another window {tag!r} is {there} meanwhile.", "Look at it, then save again.")
        self.save(index, row, cells.changed(tag, decision), cells)
