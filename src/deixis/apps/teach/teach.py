"""Teaches a run a concept: something that is known by some pictures, under a name that can stand in queries.

taught = deixis.teach("my-run", "my mug", ["mug/1.jpg", "mug/2.jpg", "mug/3.jpg"])
deixis.search("my-run", "<my mug> in the snow")

Each picture is held out once, with a part of the others, and looked for among the images of the run: by the name, by
the mean of the pictures that were not held out, and by what was learned from them. What finds most is kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch.nn import functional as F

from deixis.apps.common.concepts import read_concepts, write_concepts
from deixis.apps.common.console import Reporter
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.search.searcher import Searcher
from deixis.apps.teach.boxes import PixelBox, read_boxes
from deixis.apps.teach.settings import TeachSettings
from deixis.engine.fewshot import few_shot, learners
from deixis.engine.fewshot.shots import Shots
from deixis.errors import DeixisError
from deixis.files import content_hash
from deixis.indexing.compose import mean
from deixis.inputs.formats import IMAGE_SUFFIXES
from deixis.inputs.images import open_image
from deixis.types.protocols import HasClassVectors

__all__ = ["TaughtConcept", "forget_concept", "teach", "teach_pictures"]

_FIRST = 10
"""Answers of a search among which a picture counts as found."""

_OTHERS = "something else"
"""What the images of the run are called that a concept is told apart from."""

_SHARE = 4
"""Images of the run for each row of the concept's pictures, which are repeated: else a batch would hold none."""

_SAME = 0.9999
"""Cosine from which an image of the run is one of the pictures."""

_WAYS = {"name": "by its name", "mean": "by the mean of its pictures", "learned": "as learned"}


@dataclasses.dataclass(frozen=True)
class TaughtConcept:
    """A concept that a run was taught.

    Attributes:
        name: that stands in queries, in angle brackets.
        kept: `name`, `mean` or `learned`: which direction the concept has now.
        found: of the pictures, each held out once, how many a search finds among its first ten, by each of the three.
        ranks: the place of each picture among the results, by each of the three; 11 stands for any behind the tenth.
        pictures: how many it was taught with.
    """

    name: str
    kept: str
    found: Mapping[str, int]
    ranks: Mapping[str, tuple[int, ...]]
    pictures: int

    @property
    def sentence(self) -> str:
        """What came out, for a person."""
        parts = ", ".join(f"{self.found[way]} {words}" for way, words in _WAYS.items())
        return (
            f"Of {self.pictures} pictures of <{self.name}>, each held out once, a search finds among its first "
            f"{_FIRST}: {parts}. Kept: {_WAYS[self.kept]}."
        )


@takes_settings(settings=TeachSettings)
def teach(
    run: str | Path,
    name: str,
    pictures: str | Path | Sequence[str | Path],
    settings: TeachSettings | None = None,
    *,
    boxes: str | Path = "",
) -> TaughtConcept:
    """Teaches a run a concept, which replaces one of the same name.

    Args:
        run: a folder that `deixis adapt` or `deixis index` wrote.
        name: of the concept.
        pictures: two or more that show it, or folders of such.
        settings: method, negatives, folds and seed.
        boxes: csv file with columns path, x0, y0, x1, y1 in pixels: where in the pictures it is.

    Raises:
        DeixisError: fewer than two pictures, boxes that contradict each other or the pictures, a model without text,
            or a run without images.
    """
    settings, name = settings or TeachSettings(), _checked_name(name)
    learners.require(settings.method)
    paths = _pictures([pictures] if isinstance(pictures, str | Path) else pictures, name, run)
    places = read_boxes(boxes, list(paths)) if boxes else {}
    searcher = Searcher(run)
    searcher.require_text([name])
    searcher.encoder.require_embeddings("be taught a concept")
    lesson = _Lesson(searcher, name, paths, places, settings)
    measured = lesson.measure()
    found = {way: sum(rank <= _FIRST for rank in ranks) for way, ranks in measured.items()}
    kept = max(measured, key=lambda way: (found[way], sum(1 / rank for rank in measured[way])))
    vector = lesson.vectors(range(len(paths)))[kept]
    concepts = read_concepts(run)
    concepts[name] = {
        "vector": [float(value) for value in vector],
        "kept": kept,
        "pictures": list(paths.values()),
        "boxes": len(places),
        "found": found,
        "first": _FIRST,
        "method": settings.method,
        "model": searcher.encoder.fingerprint(),
    }
    write_concepts(run, concepts)
    return TaughtConcept(name, kept, found, {way: tuple(ranks) for way, ranks in measured.items()}, len(paths))


def forget_concept(run: str | Path, name: str) -> None:
    """Removes a concept from a run.

    Raises:
        DeixisError: there is none of that name.
    """
    concepts, name = read_concepts(run), _checked_name(name)
    if name not in concepts:
        taught = ", ".join(f"<{each}>" for each in concepts) or "none"
        raise DeixisError(f"{run} was taught no concept <{name}>.", f"There are: {taught}.")
    del concepts[name]
    write_concepts(run, concepts)


def teach_pictures(
    run: str,
    name: str,
    pictures: Sequence[str],
    settings: TeachSettings,
    *,
    boxes: str = "",
    forget: bool = False,
    quiet: bool = False,
) -> None:
    """What `deixis teach` does.

    Args:
        run: as for `teach`.
        name: as for `teach`.
        pictures: as for `teach`; none to forget the concept.
        settings: as for `teach`.
        boxes: as for `teach`.
        forget: remove the concept.
        quiet: print nothing.
    """
    talk = Reporter(quiet)
    if forget:
        if pictures or boxes:
            raise DeixisError("--forget removes a concept, and takes no pictures.", "Leave out one of the two.")
        forget_concept(run, name)
        talk.result(f"{run} knows <{_checked_name(name)}> no more.")
        return
    replaced = _checked_name(name) in read_concepts(run)
    taught = teach(run, name, list(pictures), settings, boxes=boxes)
    talk.result(taught.sentence)
    if replaced:
        talk.result(f"<{taught.name}> was known before, and is replaced.")
    talk.result(f'Search: deixis search {run} "<{taught.name}> in the snow"')


def _checked_name(name: str) -> str:
    clean = " ".join(name.split()).removeprefix("<").removesuffix(">").strip()
    if not clean or "<" in clean or ">" in clean:
        raise DeixisError(f"{name!r} is no name of a concept.", 'Give words without angle brackets, such as "my mug".')
    return clean


def _pictures(given: Sequence[str | Path], name: str, run: str | Path) -> dict[Path, str]:
    """The files, and the hash of each; of files with the same content the first."""
    paths: list[Path] = []
    for each in map(Path, given):
        files = sorted(each.iterdir()) if each.is_dir() else []
        inside = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        if each.is_dir() and not inside:
            raise DeixisError(f"There is no picture in {each}.", "Give pictures, or another folder.")
        paths += inside or [each]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise DeixisError(f"There is no picture {missing[0]}.", "Check the path.")
    first: dict[str, Path] = {}
    for path in paths:
        first.setdefault(content_hash(path), path)
    if len(first) < 2:
        copies = f" ({len(paths)} copies of it)" if len(paths) > 1 else ""
        one = "one picture" if first else "no picture"
        raise DeixisError(
            f"<{name}> was given {one}{copies}: with nothing held out, nobody can tell whether a search finds it.",
            f"Give two or more; a single picture can be searched by as it is: deixis search {run} photo.jpg",
        )
    return {path: digest for digest, path in first.items()}


class _Lesson:
    """The pictures of a concept as the run's model embeds them, and the images that it is told apart from."""

    def __init__(
        self,
        searcher: Searcher,
        name: str,
        pictures: Mapping[Path, str],
        boxes: Mapping[Path, PixelBox],
        settings: TeachSettings,
    ) -> None:
        self._searcher, self._name, self._settings = searcher, name, settings
        self._hashes = list(pictures.values())
        self._whole = self._embedded(list(pictures))
        shown = [open_image(path).crop(boxes[path]) for path in pictures if path in boxes]
        crops = iter(self._embedded(shown)) if shown else iter(())
        self._crops = {number: next(crops) for number, path in enumerate(pictures) if path in boxes}
        self._own = {row for digest in self._hashes for row in searcher.index.rows_of(digest)}
        self._name_vector = self._texts([name])[0]
        self._negatives = self._others()

    def _embedded(self, pictures: Sequence[Any]) -> Float32[np.ndarray, "N D"]:
        return np.asarray(self._searcher.encoder.encode_image(list(pictures)).detach().cpu(), np.float32)

    def _texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "N D"]:
        return np.asarray(self._searcher.encoder.encode_text(list(texts)).detach().cpu(), np.float32)

    def _others(self) -> Float32[np.ndarray, "N D"]:
        """Images of the run that are none of the pictures."""
        rows = self._searcher.index.sample(self._settings.negatives)
        others = rows[(rows @ self._whole.T).max(axis=1) < _SAME] if len(rows) else rows
        if not len(others):
            raise DeixisError(
                f"{self._searcher.run} holds no images beside these pictures, so nothing can be told apart.",
                "Teach a run of more images: deixis index FOLDER",
            )
        return others

    def measure(self) -> dict[str, list[int]]:
        """By each way the place of each picture among the results, when it was held out."""
        count = len(self._hashes)
        folds = min(self._settings.folds, count)
        if folds < 2:
            raise DeixisError(f"{self._settings.folds} folds were requested.", "Give 2 or more.")
        ranks: dict[str, dict[int, int]] = {way: {} for way in _WAYS}
        for fold in range(folds):
            held = range(fold, count, folds)
            vectors = self.vectors([number for number in range(count) if number not in held])
            for way, vector in vectors.items():
                ranks[way] |= {number: self._rank(vector, self._whole[number]) for number in held}
        return {way: [each[number] for number in range(count)] for way, each in ranks.items()}

    def _rank(self, vector: Float32[np.ndarray, " D"], picture: Float32[np.ndarray, " D"]) -> int:
        """The place of a picture among the images of the run that are none of the concept's."""
        index = self._searcher.index
        scores, rows = index.search(vector[None], min(len(index), _FIRST + len(self._own)))
        hits = zip(scores[0].tolist(), rows[0].tolist(), strict=True)
        others = [score for score, row in hits if row >= 0 and row not in self._own]
        return 1 + sum(score > float(vector @ picture) for score in others[:_FIRST])

    def vectors(self, numbers: Sequence[int]) -> dict[str, Float32[np.ndarray, " D"]]:
        """The direction of the concept by each way, from some of its pictures.

        Args:
            numbers: of the pictures.
        """
        shown = np.stack([self._crops.get(number, self._whole[number]) for number in numbers])
        return {"name": self._name_vector, "mean": mean(shown), "learned": self._learned(numbers)}

    def _learned(self, numbers: Sequence[int]) -> Float32[np.ndarray, " D"]:
        """What the method learns: pictures, and what a box cuts out of them, against images of the run."""
        crops = [self._crops[number] for number in numbers if number in self._crops]
        own = np.stack([*(self._whole[number] for number in numbers), *crops])
        times = max(1, len(self._negatives) // (_SHARE * len(own)))
        embedding = F.normalize(torch.from_numpy(np.concatenate([np.tile(own, (times, 1)), self._negatives])), dim=-1)
        mine = times * len(own)
        labels = torch.cat([torch.zeros(mine, dtype=torch.long), torch.ones(len(embedding) - mine, dtype=torch.long)])
        ids = (*(f"{i % len(own)}#{i}" for i in range(mine)), *(f"other {i}" for i in range(len(self._negatives))))
        features = torch.zeros(len(embedding), self._searcher.encoder.feature_width)
        settings, encoder = self._settings, self._searcher.encoder
        # Words around the name are for classes of pictures; a search asks by the name itself.
        wanted = {"reads": "pictures", "templates": ("{}",), **({"epochs": settings.epochs} if settings.epochs else {})}
        overrides = learners.settings_of(settings.method, wanted)
        shots = Shots(tuple(ids), labels, embedding, features)
        learned = few_shot.learn(
            settings.method, encoder, (self._name, _OTHERS), shots, overrides=overrides, seed=settings.seed
        )
        if not isinstance(learned, HasClassVectors):
            raise DeixisError(
                f"The classes of {settings.method} are no directions that could be searched by.",
                f"Learn by {TeachSettings.method}.",
            )
        with torch.no_grad():
            return np.asarray(learned.class_vectors()[0].cpu(), np.float32)
