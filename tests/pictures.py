"""Small pictures that resemble one another as their captions do, so that even the tiny model can learn something."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image

__all__ = ["COLOURS", "captioned", "labelled", "picture", "spoil"]

# The tiny model reads letter by letter, so the words look as unlike one another as the colours.
COLOURS = {
    "qqqqqqqqqqqqqq": (220, 30, 30),
    "ooo ooooo oooo": (30, 160, 60),
    "zzz zzzz zzzz zz": (40, 60, 220),
    "iLiLiLiLiLiLiL": (230, 210, 40),
    "xx-xx-xx-xx-xx": (20, 20, 20),
    "mwmwmwmwmwmwm": (130, 40, 160),
}


def picture(path: Path, colour: tuple[int, int, int], rng: random.Random) -> Path:
    """A sheet of about that colour with a few patches on it, 24 to 48 pixels on a side."""
    shade = tuple(min(255, max(0, part + rng.randint(-25, 25))) for part in colour)
    size = (rng.randint(24, 48), rng.randint(24, 48))
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.new("RGB", size, shade) as image:
        for _ in range(3):
            x, y = rng.randrange(size[0]), rng.randrange(size[1])
            image.paste(tuple(rng.randrange(256) for _ in range(3)), (x, y, x + 6, y + 6))
        image.save(path)
    return path


def captioned(folder: Path, count: int = 60, seed: int = 0) -> Path:
    """Pictures with a text file beside each; every caption is its own, and begins with the colour's word."""
    rng = random.Random(seed)
    for i in range(count):
        word = list(COLOURS)[i % len(COLOURS)]
        own = "".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(3))
        path = picture(folder / f"{own}.png", COLOURS[word], rng)
        path.with_suffix(".txt").write_text(f"{word} {own}\n", encoding="utf-8")
    return folder


def labelled(folder: Path, count: int = 60, seed: int = 0) -> Path:
    """Pictures in a sub-folder for each colour."""
    rng = random.Random(seed)
    for i in range(count):
        word = list(COLOURS)[i % len(COLOURS)]
        picture(folder / word / f"{i:03}.png", COLOURS[word], rng)
    return folder


def spoil(folder: Path) -> dict[str, str]:
    """Adds what can't be read to a folder: name -> the reason that must be told."""
    whole = picture(folder / "cut.png", (9, 99, 199), random.Random(1)).read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "letter.jpg").write_text("Dear Sir or Madam, this is no picture.", encoding="utf-8")
    (folder / "noise.png").write_bytes(whole[:8] + bytes(range(256)))
    for name in ("cut", "empty", "letter", "noise"):
        (folder / f"{name}.txt").write_text(f"something {name}\n", encoding="utf-8")
    return {"cut.png": "truncated", "empty.jpg": "empty file", "letter.jpg": "not an image", "noise.png": "corrupt"}
