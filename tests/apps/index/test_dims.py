"""An index of fewer numbers says what they cost, and is searched as any other."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from deixis.apps.common.options import Reading
from deixis.apps.index.dims_cost import codes_sentence, kept_answers
from deixis.apps.index.index import index_folder
from deixis.apps.index.settings import IndexSettings
from deixis.apps.search.search import search
from deixis.errors import DeixisError
from deixis.indexing.directions import Storage
from tests.indexes import made, random
from tests.pictures import captioned


def test_the_cost_in_searches_by_picture_and_by_words_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = captioned(tmp_path / "data", 12), tmp_path / "run"
    index_folder([str(data)], str(out), IndexSettings(model="tiny", dims=6), Reading(), overwrite=False, quiet=False)
    said = " ".join(capsys.readouterr().out.split())
    told = re.search(
        r"6 of 16 numbers a vector, 38 % of the space: of the first 10 results of a search by picture (\d+\.\d), "
        r"of one by words (\d+\.\d) are those of whole vectors\.",
        said,
    )
    assert told is not None
    assert all(8 <= float(share) <= 10 for share in told.groups())
    assert len(search(out, "qqqqqqqqqqqqqq", k=3)) == 3
    assert (out / "index" / "directions.npy").is_file()
    index_folder([str(data)], str(out), IndexSettings(model="tiny"), Reading(), overwrite=True, quiet=True)
    assert not (out / "index" / "directions.npy").is_file(), "it is replaced as a whole where that is asked for"


def test_the_first_answers_are_kept_where_nothing_is_lost_and_few_where_most_is(tmp_path: Path) -> None:
    whole = random(300, 12)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    shares = [
        kept_answers(whole[:50], whole, made(tmp_path / str(dims), whole, dtype=Storage("float32", dims))).mean()
        for dims in (11, 2)
    ]
    assert shares[0] > 0.8
    assert shares[1] < 0.5


@pytest.mark.parametrize("other", ["add", "update", "remove"])
def test_an_index_that_is_there_keeps_its_numbers(tmp_path: Path, other: str) -> None:
    settings = IndexSettings(model="tiny", dims=4, **{other: True})
    with pytest.raises(DeixisError, match=f"--dims is of a new index, and not of one with --{other}"):
        index_folder([str(tmp_path)], str(tmp_path / "run"), settings, Reading(), overwrite=False, quiet=True)


def test_codes_of_8_bits_cost_nothing_and_that_is_told(tmp_path: Path) -> None:
    sentence = codes_sentence(made(tmp_path / "index", np.random.default_rng(0).normal(size=(300, 64)), dtype="int8"))
    assert "8 bits a number, 27 % of the bytes" in sentence
    assert sentence.endswith("recall at 10 is 1.000, by 200 of the pictures.")
