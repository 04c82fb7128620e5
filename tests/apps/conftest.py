"""A made-up run with every part of a result, pictures to go with it, and a browser that looks at pages."""

from __future__ import annotations

import colorsys
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from deixis.apps.adapt.adapt import adapt
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.index.index import index
from deixis.apps.report.report import Example
from tests.commands import own_cache
from tests.pictures import COLOURS, captioned, picture

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_BEFORE = {"r1": (0.219, 0.224), "r5": (0.371, 0.388), "r10": (0.447, 0.479), "mrr": (0.298, 0.311)}
_GAIN = {
    "r1": (0.021, 0.008, 0.033),
    "r5": (0.064, 0.046, 0.083),
    "r10": (0.086, 0.066, 0.107),
    "mrr": (0.041, 0.028, 0.054),
}
_QUERIES = (
    "a red macaw with its wings spread",
    "wooden sailing boat",
    "a slice of watermelon",
    "steam locomotive, seen from the side",
    "garden snail",
    "an old brass trumpet",
    "three candles on a cake",
    "a yellow school bus",
    "tortoise",
    "pumpkin",
)


def _interval(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def _measures() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    before, difference = {}, {}
    for suffix, levels in _BEFORE.items():
        sides = {"image_to_text": levels[0], "text_to_image": levels[1], "mean": sum(levels) / 2}
        for side, level in sides.items():
            before[f"{side}_{suffix}"] = _interval(level, level - 0.034, level + 0.036)
            value, low, high = _GAIN[suffix]
            shift = {"image_to_text": -0.011, "text_to_image": 0.011, "mean": 0.0}[side]
            difference[f"{side}_{suffix}"] = _interval(value + shift, low + shift, high + shift)
    after = {
        key: {end: before[key][end] + difference[key]["value"] for end in ("value", "low", "high")} for key in before
    }
    return before, after, difference


def _row(r1: float, r10: float, mrr: float, width: float) -> dict[str, Any]:
    values = {"mean_r1": r1, "mean_r10": r10, "mean_mrr": mrr}
    return {key: _interval(value, value - width, value + width) for key, value in values.items()}


def _method() -> dict[str, Any]:
    steps, strength = [10, 20, 40, 60], [0.0, 0.25, 0.5, 0.75, 1.0]
    chosen, curves = [], []
    for split in range(5):
        rise = [[0.301 + 0.09 * s * (1.15 - s) * (n / 60) ** 0.5 - 0.002 * split for s in strength] for n in steps]
        curves.append({"split": split, "steps": steps, "strength": strength, "mrr": rise})
        pick = {"split": split, "steps": 60 if split % 2 else 40, "strength": 0.5 if split else 0.75}
        chosen.append(pick | {"validation": {"before": 0.301 - 0.002 * split, "after": 0.327 - 0.001 * split}})
    config = {"dropout": 0.5, "learning_rate": 3e-4, "scale": 20.0, "mirrored": True, "weight_decay": 0.1}
    return {
        "name": "residual",
        "config": config,
        "chosen": chosen,
        "final": {"split": None, "steps": 40, "strength": 0.5, "validation": {"before": 0.3, "after": 0.33}},
        "curves": curves,
    }


def _data() -> dict[str, Any]:
    missing = [{"path": f"photos/2019/holiday-{i:03}.jpg", "reason": "missing", "detail": ""} for i in range(27)]
    return {
        "path": "my photos",
        "name": "stamps",
        "kind": "captions",
        "images": 760,
        "captions": 675,
        "groups": 478,
        "fingerprint": "9f2c" * 16,
        "skipped": [
            *missing,
            {"path": "birds/macaw-old.jpg", "reason": "truncated", "detail": "the file ends after 3,112 bytes"},
            {"path": "notes.jpg", "reason": "not an image", "detail": "it holds text"},
        ],
        "check": {
            "images": [790, "511 png, 249 jpeg"],
            "readable": [760, "64 x 64 to 4032 x 3024, median 640 x 480"],
            "exact duplicates": [3, "gull.png = seagull.png"],
            "near duplicates": [12, "cat.png = cat-2.png"],
            "distinct captions": [675, ""],
            "repeated captions": [85, "a chess piece"],
            "captions cut at the context length": [2, "birds/owl.txt"],
        },
    }


def _relevance() -> dict[str, Any]:
    points = [
        {"told": told, "came": came, "low": max(0.0, came - 0.09), "high": came + 0.09, "pairs": 800}
        for told, came in ((0.02, 0.03), (0.09, 0.08), (0.31, 0.36), (0.58, 0.55), (0.79, 0.77))
    ]
    rates = {"false_answers": _interval(0.09, 0.06, 0.13), "misses": _interval(0.31, 0.26, 0.36)}
    return {
        **{"queries": 1358, "concepts": 448, "matched": 0.12, "curve": "logistic", "points": points},
        **{"brier": 0.0884, "brier_of_the_mean": 0.1056, "ece": 0.0095},
        "log_loss": {"logistic": 0.3101, "isotonic": 0.3141},
        "says_nothing_matches": True,
        "threshold": 0.48,
        **rates,
        "tried": {"rule": "false answers", "threshold": 0.48, **rates, "auc": 0.871},
    }


@pytest.fixture
def result() -> dict[str, Any]:
    """A full result of a run on captions with a proven gain."""
    before, after, difference = _measures()
    summary = ("mean_r1", "mean_r10", "mean_mrr")
    gains = (0.043, 0.112, 0.071, 0.094, 0.11)
    return {
        "format": 1,
        "sentence": "Adapted: of 100 searches by words, the right picture was among the first ten in 48 before and "
        "58 after (difference between +8 and +12).",
        "data": _data(),
        "split": {"scheme": "concept", "count": 5, "train": 0.6, "seeds": [0, 1, 2, 3, 4], "index": None},
        "model": {"name": "starter", "fingerprint": "51ab" * 16, "licence": "Apache-2.0", "parameters": 27_300_000},
        "method": _method(),
        "seed": 0,
        "before": before,
        "after": after,
        "difference": difference,
        "t_interval": {
            key: _interval(difference[key]["value"], difference[key]["value"] - 0.06, difference[key]["value"] + 0.06)
            for key in summary
        },
        "per_split": [
            {
                "split": split,
                "before": {"mean_mrr": 0.30 + 0.004 * split, "mean_r10": 0.46},
                "after": {"mean_mrr": 0.30 + 0.004 * split + gain / 2, "mean_r10": 0.46 + gain},
                "difference": {"mean_mrr": gain / 2, "mean_r10": gain},
            }
            for split, gain in enumerate(gains)
        ],
        "training_seeds": {
            "metric": "mean_mrr",
            "split": 0,
            "values": [0.345, 0.341, 0.349, 0.344, 0.346],
            "sd": 0.003,
        },
        "slices": {"photographs": _row(0.006, 0.048, 0.019, 0.028), "drawings": _row(0.022, 0.128, 0.064, 0.029)},
        "controls": {
            "shuffled captions": _row(0.0, 0.0, 0.0, 0.0),
            "mean shift": _row(-0.002, -0.001, -0.001, 0.008),
            "naive recipe": _row(-0.121, -0.095, -0.101, 0.046),
            "ridge": _row(-0.118, -0.162, -0.131, 0.05),
        },
        "forgotten": {"emoji": _row(0.001, 0.006, 0.003, 0.01), "photographed animals": _row(0.004, -0.008, 0.0, 0.02)},
        "relevance": _relevance(),
        "kept": "adapted",
        "primary": "mean_mrr",
        "seconds": {"total": 222.4, "cpu": 391.0, "stages": {"encode": 141.2, "adapt": 31.0, "save": 0.4}},
        "peak_mb": 1284.0,
        "versions": {"deixis": "0.1.0", "torch": "2.6.0", "timm": "1.0.30", "python": "3.11.7"},
    }


@pytest.fixture
def labels_result(result: dict[str, Any]) -> dict[str, Any]:
    """The least that a run on labels leaves: one measure, no gain, nothing optional."""
    return {
        "format": 1,
        "sentence": "The original model was retained: no candidate was better beyond chance on held-out concepts.",
        "data": {"path": "shapes", "name": "shapes", "kind": "labels", "images": 90, "captions": 9, "groups": 80},
        "before": {"accuracy": _interval(0.521, 0.43, 0.61)},
        "after": {"accuracy": _interval(0.521, 0.43, 0.61)},
        "difference": {"accuracy": _interval(0.0, 0.0, 0.0)},
        "forgotten": "not measured",
        "kept": "original",
    }


def _draw(path: Path, seed: int) -> Path:
    """A still life of a few shapes on a shaded ground, never the same twice."""
    rng = random.Random(seed)
    width, height = rng.choice([(320, 240), (240, 320), (300, 300), (40, 40)])
    hue = rng.random()

    def colour(turn: float, light: float) -> tuple[int, ...]:
        return tuple(round(255 * part) for part in colorsys.hls_to_rgb((hue + turn) % 1, light, 0.55))

    with Image.new("RGB", (width, height), "white") as image:
        pen = ImageDraw.Draw(image)
        for y in range(height):
            pen.line((0, y, width, y), fill=colour(0.5, 0.92 - 0.25 * y / height))
        for turn in range(4):
            x, y, r = rng.random() * width, (0.4 + 0.4 * rng.random()) * height, (0.1 + 0.2 * rng.random()) * width
            shape = rng.choice([pen.ellipse, pen.rectangle])
            shape((x - r, y - r, x + r, y + r), fill=colour(0.09 * turn, 0.35 + 0.1 * turn))
        image.save(path)
    return path


@pytest.fixture
def gallery(tmp_path: Path) -> list[Example]:
    """Searches both ways, better and worse; one picture can't be read, one query and one name are hostile."""
    paths = [_draw(tmp_path / f"picture {i}.png", i) for i in range(24)]
    broken = tmp_path / "<script>alert(1)<"
    broken.write_bytes(b"not a picture")
    examples = []
    for i, query in enumerate(_QUERIES):
        before, after = tuple(paths[i : i + 4]), tuple(paths[i + 5 : i + 9])
        ranks = (14 + i, 1) if i < 6 else (2, 9 + i)
        right = after[0] if i < 6 else before[1]
        examples.append(Example(query, "text_to_image", right, *ranks, before, after))
    hostile = Example('</h4><script>alert("caption")</script>', "text_to_image", broken, 9, 2, (), (broken, paths[0]))
    return [hostile, Example("a lighthouse", "image_to_text", paths[9], 31, 3), *examples]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Debian's chromium with a profile of its own, driven over its DevTools."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the dev extra: pip install 'deixis[dev]'")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")), executable_path=chromium, headless=True, args=_FLAGS
        )
        yield context
        context.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`pictures` without any words, and `plain`, an index of them; other modules have places of their own."""
    folder = tmp_path_factory.mktemp("index")
    with own_cache(folder / "cache"):
        rng = random.Random(0)
        for i in range(30):
            picture(folder / "pictures" / f"{i:02}.png", list(COLOURS.values())[i % 6], rng)
        with Image.new("RGB", (640, 480), (200, 120, 10)) as image:
            image.paste((0, 0, 90), (50, 60, 300, 400))
            image.save(folder / "pictures" / "large.jpg", quality=90)
        index(str(folder / "pictures"), folder / "plain", "tiny", quiet=True)
        yield folder


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    """A run with adapters that do something."""
    settings = AdaptSettings(model="tiny", method="ridge", splits=6, controls=False)
    done = adapt(str(captioned(place / "captioned")), place / "run", settings, quiet=True)
    assert done.result["kept"] == "adapted"
    return place / "run"


@pytest.fixture(scope="module")
def adapted(place: Path, run: Path) -> Path:
    """An index of the pictures of `place` by an adapted model."""
    index(str(place / "pictures"), place / "adapted", str(run), quiet=True)
    return place / "adapted"


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    """A copy of the index, to be damaged."""
    return Path(shutil.copytree(place / "plain", tmp_path / "index"))
