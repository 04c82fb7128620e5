"""A server with all that models beside that of the index can do: toys, whose answers are known."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from deixis import engine
from deixis.apps.index.index import index
from deixis.apps.respects.stored import Respect, write_respects
from deixis.apps.search.searcher import Searcher
from deixis.engine.adaptation.respects import RespectMap
from tests.apps.serve.serving import SMALL, Running, running
from tests.capable import Segmenter
from tests.commands import own_cache

__all__ = ["ALIKE", "SAYS", "quarter_red", "reading_server"]

SAYS = ("NOPARKING", "No parkng here", "Sports Centre", "no parking", "")
"""What was read in each of the pictures."""


ALIKE = "Alike in colour: of the first 10 pictures 8.0 share it, before 5.0 [difference +2.0 to +4.0]."


def quarter_red() -> Image.Image:
    """A picture whose left quarter is red, the rest being grey."""
    picture = Image.new("RGB", (40, 40), (128, 128, 128))
    picture.paste((230, 10, 10), (0, 0, 10, 40))
    return picture


def _segmenter(classes: Sequence[str], like: Any = None) -> Segmenter:
    return Segmenter(classes)


def _learn_colour(run: Path) -> None:
    """Writes a respect in which the first half of a vector counts."""
    index = Searcher(run).index
    weight = (torch.arange(index.vectors.shape[1]) < index.vectors.shape[1] // 2).float()[None]
    texts = torch.eye(2, index.vectors.shape[1])
    colour = Respect(
        "colour", ("colour",), ("red", "blue"), ALIKE, RespectMap("weights", weight), texts, torch.empty(0, 0), ()
    )
    write_respects(run, [colour], {}, str(index.manifest["fingerprint"]))


@contextlib.contextmanager
def reading_server(folder: Path) -> Iterator[Running]:
    """Serves five pictures in four of which words were read, with a run that scores pairs and can align and segment.
    Its index has one respect, `colour`.

    Args:
        folder: an empty one.
    """
    (folder / "photos").mkdir()
    for number in range(len(SAYS)):
        picture = quarter_red()
        picture.paste((20, 40 * number, 90), (30, 0, 40, 20))
        picture.save(folder / "photos" / f"{number}.png")
    lines = [f"photos/{number}.png,{words}" for number, words in enumerate(SAYS)]
    (folder / "data.csv").write_text("\n".join(["path,says", *lines]))
    with own_cache(folder / "cache"), pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        index(str(folder / "data.csv"), folder / "run", "tiny", quiet=True)
        _learn_colour(folder / "run")
        patch.setattr("deixis.apps.serve.models.segmenter.default_segmenter", _segmenter)
        with pytest.MonkeyPatch.context() as first:  # models are loaded at the start; other servers have none
            method = engine.build("uniter", "tiny").eval()
            first.setattr("deixis.apps.search.rerank.open_method", lambda run, capability: method)
            first.setattr("deixis.apps.serve.server_state.default_segmenter", _segmenter)
            started = stack.enter_context(running(folder / "run", dataclasses.replace(SMALL, rerank="a-run")))
        yield started
