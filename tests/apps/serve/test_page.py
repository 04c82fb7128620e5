"""What the page is made of: little, and nothing from elsewhere."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from deixis.apps import serve

STATIC = Path(serve.__file__).parent / "static"
NAMESPACE = "http://www.w3.org/2000/svg"

LATER = (
    *("captions.js", "desk.js", "desks.js", "folders.js", "hits.js", "label.js", "lookup.js", "segment.js"),
    *("where.js", "words.css", "words.js"),
)
"""Fetched only where they are of use."""


def test_the_page_is_small_and_what_is_fetched_later_comes_in_small_parts() -> None:
    sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in STATIC.iterdir()}
    later = [sizes[name] for name in LATER]
    assert sum(sizes.values()) - sum(later) < 36_000
    assert max(later) < 4_000
    assert sum(path.stat().st_size for path in STATIC.iterdir() if path.name not in LATER) < 104_000


def test_nothing_is_fetched_from_elsewhere() -> None:
    for path in STATIC.iterdir():
        assert not re.search(r"(https?:)?//[a-z]", path.read_text("utf-8").replace(NAMESPACE, "")), path.name


def test_no_script_or_style_stands_in_the_markup_which_its_policy_would_refuse() -> None:
    markup = (STATIC / "index.html").read_text("utf-8")
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\s(style|on\w+)=", markup)
    scripts = "".join(path.read_text("utf-8") for path in STATIC.glob("*.js"))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", scripts)


def test_all_that_a_part_names_is_there() -> None:
    for path in STATIC.iterdir():
        for name in re.findall(r'(?:"static/|from "\./)([\w.]+)"', path.read_text("utf-8")):
            assert (STATIC / name).is_file(), f"{path.name} names {name}"
