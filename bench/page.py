"""Times the page of `deixis serve`: from a key press to results, and to all pictures in the window, in a real Chromium.

There is no peer whose page could be asked the same, so the rows go to `results/page.jsonl`: median and quartiles over
queries that were not asked before, the pause in typing that the page waits for included; and how large the page is. The
collection is the stamps over and over, each time with a little noise in its vector, so that files are real ones.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import deixis
from bench.rows import RESULTS, ROOT, Race, child_environment, environment
from deixis import zoo
from deixis.data import catalogue
from deixis.indexing.changes import build

__all__ = ["QUERIES", "RACE", "lay_out", "main", "page_size"]

RACE = Race(
    measures="From a key press to results in a browser",
    peers=(),
    equal="",
)

CHROMIUM = "/usr/bin/chromium"
QUERIES = (
    *("a cat", "red bird", "violin", "a boat at sea", "snow", "pumpkin", "castle", "green fruit", "fish", "hat"),
    *("a house", "tree in bloom", "an old car", "elephant", "candle", "moon", "shoe", "a bridge", "apple", "drum"),
)

_WATCH = """() => {
  window.asked = window.answered = window.shown = 0;
  const words = document.querySelector('#words');
  words.addEventListener('keydown', () => { window.asked = performance.now(); }, true);
  new MutationObserver(() => {
    if (!window.asked || window.answered) return;
    window.answered = performance.now();
    const look = () => {
      const pictures = [...document.querySelectorAll('.tile img')]
        .filter(each => each.getBoundingClientRect().top < innerHeight);
      const all = pictures.length && pictures.every(each => each.complete && each.naturalWidth);
      if (all) window.shown = performance.now(); else requestAnimationFrame(look);
    };
    look();
  }).observe(document.querySelector('#grid'), {childList: true});
}"""
_CLEAR = """text => {
  window.asked = window.answered = window.shown = 0;
  const words = document.querySelector('#words');
  words.value = text; words.focus();
}"""


def lay_out(folder: Path, pictures: int) -> None:
    """A run of so many pictures: the stamps, over and over."""
    samples = catalogue.read("stamps").samples
    encoder = deixis.load("starter")
    vectors = encoder.encode_image([each.image for each in samples]).numpy()
    rng, places = np.random.default_rng(0), np.arange(pictures) % len(samples)
    noisy = vectors[places] + 0.02 * rng.standard_normal((pictures, encoder.width), dtype=np.float32)
    items = [
        {"id": f"{i}", "path": str(samples[place].image), "captions": list(samples[place].captions), "label": None}
        for i, place in enumerate(places.tolist())
    ]
    zoo.save(encoder, folder / "model")
    build(folder / "index", noisy, items, model=encoder.name, fingerprint=encoder.fingerprint())


def page_size() -> dict[str, int]:
    """Bytes of the page's files, as they are and compressed."""
    files = sorted((ROOT / "src" / "deixis" / "apps" / "serve" / "static").iterdir())
    return {
        "bytes": sum(each.stat().st_size for each in files),
        "gzipped": sum(len(gzip.compress(each.read_bytes())) for each in files),
    }


def _timed(address: str, repeats: int) -> dict[str, list[float]]:
    """Seconds from the key press to the answer, and to its pictures, of each query."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {"results": [], "pictures": []}
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as profile:
        browser = driver.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector(".tile img")
        page.wait_for_timeout(2000)
        page.evaluate(_WATCH)
        for words in ("warm up", *QUERIES[:repeats]):
            page.evaluate(_CLEAR, words[:-1])
            page.keyboard.press(words[-1])
            shown = 0.0
            while not shown:  # the page's policy forbids what wait_for_function would evaluate
                page.wait_for_timeout(50)
                asked, answered, shown = page.evaluate("[window.asked, window.answered, window.shown]")
            if words != "warm up":
                found["results"].append((answered - asked) / 1000)
                found["pictures"].append((shown - asked) / 1000)
        browser.close()
    return found


def _served(folder: Path, repeats: int) -> dict[str, list[float]]:
    command = [str(Path(sys.executable).with_name("deixis")), "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=child_environment()) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().split()[-1]
            return _timed(address, repeats)
        finally:
            server.terminate()


def main(arguments: Sequence[str] | None = None) -> None:
    """Times the page and appends the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=50_000, help="in the collection (default 50,000)")
    parser.add_argument("--queries", type=int, default=len(QUERIES), help="how many are typed (default all)")
    parser.add_argument("--results", type=Path, default=RESULTS.with_name("page.jsonl"), help="where rows are added")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        lay_out(Path(name), chosen.pictures)
        found = _served(Path(name), chosen.queries)
    rows: list[dict[str, Any]] = [{"what": "size of the page", **page_size()}]
    for what, seconds in found.items():
        low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
        values = {"seconds": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)], "queries": len(seconds)}
        rows.append({"what": f"key press to {what}", "pictures": chosen.pictures, **values})
    with open(chosen.results, "a", encoding="utf-8") as file:
        for row in rows:
            line = json.dumps({**row, **environment(threads=2)})
            file.write(line + "\n")
            print(line, flush=True)


if __name__ == "__main__":
    main()
