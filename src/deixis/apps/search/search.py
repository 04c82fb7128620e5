"""Search a run or an index, with words, with pictures, or with both.

for found in deixis.search("my-run", "a red bird", images=["photo.jpg"], minus=["a cage"]):
    print(found.score, found.item["path"])
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deixis.apps.common.concepts import TextReader, spoken
from deixis.apps.common.console import Reporter
from deixis.apps.common.formatting import counted, one_line
from deixis.apps.common.settings_keywords import change_settings
from deixis.apps.search.calibration import in_words
from deixis.apps.search.query import Query, SearchHit, SearchResults, require_answers
from deixis.apps.search.says import says
from deixis.apps.search.settings import SearchSettings
from deixis.errors import DeixisError
from deixis.inputs.formats import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from deixis.apps.search.searcher import Searcher
    from deixis.inputs.images import ImageSource

__all__ = ["near", "search", "search_folder"]


def search(
    run: str | Path,
    query: str | Path | Sequence[str | Path] = (),
    k: int = 10,
    *,
    images: Sequence[ImageSource] = (),
    minus: Sequence[str | Path] = (),
    settings: SearchSettings | None = None,
    **changes: Any,
) -> SearchResults:
    """The k best images of a run or index folder for words, for pictures, or for both.

    Args:
        run: a folder that `deixis adapt` or `deixis index` wrote.
        query: words, or the path of a picture; several are one query.
        k: how many answers.
        images: further pictures: paths, file contents (bytes) or Pillow images.
        minus: what is to be left out, words or paths of pictures.
        settings: how words and pictures are mixed, conditions, the least relevance.
        **changes: fields of the settings, such as `mix=0.3` or `where=("label=bird",)`.

    Returns:
        A sequence of `SearchHit`, best first, that also says whether anything matches at all.

    Raises:
        DeixisError: no such run, a damaged index, a picture that can't be read, empty words.
    """
    settings = change_settings(settings or SearchSettings(), {"k": k, **changes})
    require_answers(settings.k, settings.min_relevance)
    parsed = _query([query] if isinstance(query, str | Path) else query, images, minus, settings)
    with settings.active():
        return _answer(run, parsed, settings, Reporter(quiet=True))


def _answer(run: str | Path, query: Query, settings: SearchSettings, talk: Reporter) -> SearchResults:
    """The results, in the order of a model that reads pairs where one is named."""
    where, least, searcher, reader = settings.where, settings.min_relevance, _searcher(run), None
    if settings.language:
        from deixis.apps.search.language import LanguageReader  # reads a large file

        searcher.require_text((*query.texts, *query.minus_texts))
        by = "dictionary" if settings.rerank else settings.language_by  # a model that reads pairs reads English
        query, reader = LanguageReader(settings.language, by, searcher.text_encoder)(query, talk.say)
    if settings.about is not None or settings.values:
        return _about(searcher, query, settings, talk, reader)
    if not settings.rerank:
        return searcher.search(query, settings.k, where=where, min_relevance=least, reader=reader)
    from deixis.apps.search.rerank import RERANKED, reranker  # imports torch

    order = reranker(settings.rerank, query)
    answer = searcher.search(query, max(settings.k, RERANKED), where=where, min_relevance=least)
    found = order(answer, settings.k)
    talk.say(f"The first {found.pairs} results were scored again by {settings.rerank} in {found.seconds:.1f} s.")
    return found.results


def _about(
    searcher: Searcher, query: Query, settings: SearchSettings, talk: Reporter, reader: TextReader | None
) -> SearchResults:
    """The results in one respect."""
    from deixis.apps.search.about import search_about  # imports torch

    if settings.rerank or settings.min_relevance:
        raise DeixisError("--about compares in one respect, for which nothing was measured.", "Leave out one of them.")
    about = "these values" if settings.about is None else settings.about
    vector = searcher.vector(query, reader)
    values = tuple(value.strip() for each in settings.values for value in each.split(",") if value.strip())
    return search_about(searcher, query, vector, about, values, (settings.k, settings.where), talk.say)


def near(
    run: str | Path, threshold: float | Literal["auto"], k: int = 100
) -> list[tuple[float, dict[str, Any], dict[str, Any]]]:
    """Pairs of pictures in an index that are nearly the same to its model.

    Args:
        run: a folder that `deixis adapt` or `deixis index` wrote.
        threshold: the least cosine similarity of a pair; `auto`: see `deixis search --near auto`.
        k: how many pairs at the most.

    Returns:
        (cosine similarity, item, item), most alike first.
    """
    if threshold == "auto":
        threshold = float(_copies(run, Reporter(quiet=True))["threshold"])
    if not -1 <= threshold <= 1:
        raise DeixisError(f"The threshold is {threshold}.", "Give a cosine similarity, such as 0.95.")
    require_answers(k)
    index = _searcher(run).index
    return [(score, index.item(a), index.item(b)) for a, b, score in index.near(threshold)[:k]]


def _copies(run: str | Path, talk: Reporter) -> dict[str, Any]:
    from deixis.apps.search.copy_threshold import copies_of_run  # imports torch

    return copies_of_run(run, talk)


def _searcher(run: str | Path) -> Searcher:
    from deixis.apps.search.searcher import Searcher  # imports torch, and a wrong query is refused without

    return Searcher(run)


def search_folder(run: str, query: Sequence[str], settings: SearchSettings) -> None:
    """What `deixis search` does: searches, or lists near-duplicates, and prints.

    Args:
        run: as in `search`.
        query: words and paths of pictures.
        settings: the flags.
    """
    talk = Reporter()
    if settings.near is not None:
        if query or settings.image or settings.minus:
            raise DeixisError("--near lists pairs, and takes no query.", "Leave out one of the two.")
        threshold = settings.near
        if threshold == "auto":
            with settings.active():
                measured = _copies(run, talk)
            threshold = float(measured["threshold"])
            talk.say(
                f"From a similarity of {threshold:.3f} on, at most 1 in 100 reported pairs is no copy; it reports "
                f"{100 * measured['recall']:.0f} of 100 altered copies, as measured on {measured['copies']}."
            )
        _tell_pairs(near(run, threshold, settings.k), threshold, settings, talk)
        return
    if settings.says:
        if query or settings.image or settings.minus:
            raise DeixisError(
                "--says lists pictures by the words in them, and takes no query.", "Leave out one of both."
            )
        _tell_says(says(run, settings.says, settings.k), settings, talk)
        return
    if settings.boxes:
        answer = _search_with_boxes(run, query, settings, talk)
    else:
        require_answers(settings.k, settings.min_relevance)
        parsed = _query(query, settings.image, settings.minus, settings)
        with settings.active():
            answer = _answer(run, parsed, settings, Reporter(quiet=settings.json))
    if settings.json:
        found = [each._asdict() for each in answer]
        sys.stdout.write(json.dumps({**dataclasses.asdict(answer), "found": found}, ensure_ascii=False) + "\n")
        return
    _tell(answer, talk, everything=settings.all or settings.min_relevance > 0)


def _search_with_boxes(run: str, query: Sequence[str], settings: SearchSettings, talk: Reporter) -> SearchResults:
    from deixis.apps.search.hit_boxes import writes_boxes

    if settings.language:
        raise DeixisError("--boxes looks for what English words name.", "Leave --language out, or --boxes.")
    texts = tuple(map(spoken, _query(query, (), (), settings).texts))
    with settings.active(), writes_boxes(settings.boxes, texts, settings.k) as write:
        answer = search(run, query, settings.k, images=settings.image, minus=settings.minus, settings=settings)
        written = write(answer.found)
        if not written:
            raise DeixisError("None of the results has a picture that can be read.", "Leave out --boxes.")
    talk.result(f"{counted(written, 'picture')} with boxes: {settings.boxes} written.")
    return answer


def _tell(answer: SearchResults, talk: Reporter, *, everything: bool) -> None:
    if answer.sentence:
        talk.result(answer.sentence)
    if not answer.found:
        return
    measured = answer.found[0].relevance is not None
    if answer.nothing:
        talk.result("The nearest:")
    talk.result("relevance        similarity  picture" if measured else "similarity  picture")
    shown = answer.found if everything else answer.found[: answer.likely]
    for each in shown:
        chance = f"{_chance(each):<15}  " if measured else ""
        talk.result(f"{chance}{each.score:10.3f}  {_from_here(str(each.item['path']))}")
    if len(shown) < len(answer):
        talk.result(f"{len(answer) - len(shown)} more that hardly match; --all lists them.")


def _chance(found: SearchHit) -> str:
    return "" if found.relevance is None else in_words(found.relevance)


def _tell_pairs(
    pairs: list[tuple[float, dict[str, Any], dict[str, Any]]],
    threshold: float,
    settings: SearchSettings,
    talk: Reporter,
) -> None:
    if settings.json:
        rows = [{"score": score, "a": a, "b": b} for score, a, b in pairs]
        sys.stdout.write(json.dumps(rows, ensure_ascii=False) + "\n")
        return
    talk.result("similarity  pictures" if pairs else f"No two pictures have a similarity of {threshold:.3g} or more.")
    for score, a, b in pairs:
        talk.result(f"{score:10.3f}  {_from_here(str(a['path']))}  {_from_here(str(b['path']))}")


def _tell_says(items: list[dict[str, Any]], settings: SearchSettings, talk: Reporter) -> None:
    if settings.json:
        sys.stdout.write(json.dumps(items, ensure_ascii=False) + "\n")
        return
    if not items:
        talk.result(f"In no picture {settings.says!r} was read.")
    for item in items:
        talk.result(f"{_from_here(str(item['path']))}: {item['says']}")


def _query(
    query: Sequence[str | Path], images: Sequence[ImageSource], minus: Sequence[str | Path], settings: SearchSettings
) -> Query:
    terms = [(each, _is_picture(each)) for each in query]
    without = [(each, _is_picture(each)) for each in minus]
    return Query(
        texts=tuple(str(each) for each, picture in terms if not picture),
        images=(*(Path(each) for each, picture in terms if picture), *images),
        minus_texts=tuple(str(each) for each, picture in without if not picture),
        minus_images=tuple(Path(each) for each, picture in without if picture),
        mix=settings.mix,
        how=settings.how,
        minus_weight=settings.minus_weight,
        weights=tuple(settings.weights),
    )


def _from_here(path: str) -> str:
    """A path relative to the working folder, where that is shorter, on one line."""
    return one_line(min(os.path.relpath(path), path, key=len))


def _is_picture(query: str | Path) -> bool:
    """Whether the query means a picture: an existing file, or what ends like one and has the form of a path."""
    path = Path(query)
    if os.path.isfile(path):  # words may be no path at all, which Path.is_file takes amiss
        return True
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise DeixisError(f"There is no picture {path}.", "Check the path; words need no ending such as .jpg.")
    return False
