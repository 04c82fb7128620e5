"""Generated pictures of single words as cameras see them: real fonts, turned, bent, askew, blurred, on a ground.

`words(seed=0, count=1000)` gives a `Source` whose captions and labels are the words. Nothing is drawn before it is
looked at. The word of an index hangs on the seed, the split and the settings alone.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from deixis.data.synthetic.scenes.backgrounds import Ground
from deixis.data.synthetic.scenes.config import BACKGROUNDS
from deixis.data.synthetic.scenes.object_bank import SPLITS, share
from deixis.data.synthetic.typefaces import faces
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.types import Sample, Source

__all__ = ["Lettering", "SceneTextConfig", "TextStyle", "vocabulary", "words"]

_EM = 44  # the size at which letters are drawn before they are put into the picture, in pixels
_CASES = ("lower", "title", "upper")


@dataclasses.dataclass(frozen=True)
class SceneTextConfig:
    """Settings of words.

    Attributes:
        fonts: `set` (the set `fonts`), `builtin` (the one that Pillow holds, nothing to fetch), or files of your own,
            each a family by itself.
        words: what is written; by default a list of some 600 that comes with deixis.
        unseen: what a split shares with no other: the families of fonts, the words, `both`, or `nothing`.
        numbers: share of pictures that show a number of 1 to 6 digits.
        random: share of pictures that show 3 to 8 letters and digits at random, so that no list of words helps.
        turn: the largest turn, in degrees.
        bend: the largest bow of the line, as a share of its height.
        askew: how far a corner may be off, as a share of the height.
        blur: the largest blur, in pixels.
        grain: the largest noise, of 255.
        contrast: the smallest difference in brightness between letters and ground, of 255.
    """

    fonts: Literal["set", "builtin"] | tuple[Path, ...] = "set"
    words: tuple[str, ...] = ()
    unseen: Literal["font", "word", "both", "nothing"] = "font"
    numbers: float = 0.1
    random: float = 0.2
    turn: float = 8.0
    bend: float = 0.35
    askew: float = 0.15
    blur: float = 1.0
    grain: int = 24
    contrast: int = 60

    def __post_init__(self) -> None:
        if min(self.numbers, self.random) < 0 or self.numbers + self.random > 1:
            raise DeixisError(
                f"Numbers are to be {self.numbers} and random strings {self.random} of the pictures.",
                "They are shares, and together at most 1.",
            )
        if not (0 <= self.turn <= 45 and 0 <= self.bend <= 1 and 0 <= self.askew <= 0.5 and 0 <= self.blur <= 10):
            raise DeixisError(
                f"turn is {self.turn}, bend {self.bend}, askew {self.askew}, blur {self.blur}.",
                "The most are 45 degrees, 1, 0.5 and 10 pixels; none is below 0.",
            )
        if not (0 <= self.grain <= 127 and 0 < self.contrast <= 120):
            raise DeixisError(
                f"grain is {self.grain} and contrast {self.contrast}.", "Grain is 0 to 127, contrast 1 to 120."
            )
        bad = next((word for word in self.words if not word.strip() or not word.isprintable() or len(word) > 24), None)
        if bad is not None:
            raise DeixisError(f"{bad[:40]!r} can't be drawn as a word.", "A word has 1 to 24 characters that show.")


@dataclasses.dataclass(frozen=True)
class TextStyle:
    """How a word is rendered.

    Attributes:
        ground: what is behind it.
        ink: the colour of the letters.
        turn: in degrees, anticlockwise.
        bend: how far the middle of the line lies above its ends, as a share of its height; below if negative.
        corners: x y of how far each corner is off, as shares of the height.
        blur: in pixels.
        grain: of the noise, of 255.
        seed: of the noise.
        inverse: light and dark changed over in all of the picture.
    """

    ground: Ground
    ink: tuple[int, int, int]
    turn: float
    bend: float
    corners: tuple[float, ...]
    blur: float
    grain: int
    seed: int
    inverse: bool = False


@dataclasses.dataclass(frozen=True)
class Lettering:
    """A word as a picture; a `types.Drawing`.

    Attributes:
        text: the word.
        font: the file; None for Pillow's own.
        size: width and height in pixels.
        look: how it is rendered.
    """

    text: str
    font: Path | None
    size: tuple[int, int]
    look: TextStyle

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"the word {self.text!r}"

    def draw(self) -> UInt8[np.ndarray, "H W 3"]:
        """The picture."""
        width, height = self.size
        ground = self.look.ground.draw(max(48, width, height))[:height, :width]
        ink = Image.new("RGB", self.size, self.look.ink)
        picture = Image.composite(ink, Image.fromarray(np.ascontiguousarray(ground)), self.letters())
        if self.look.blur:
            picture = picture.filter(ImageFilter.GaussianBlur(self.look.blur))
        rng = np.random.Generator(np.random.PCG64(self.look.seed))
        noise = rng.integers(-self.look.grain, self.look.grain + 1, (height, width, 1), dtype=np.int16)
        noisy = np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)
        return 255 - noisy if self.look.inverse else noisy

    def letters(self) -> Image.Image:
        """Where the letters are, from 0 to 255, turned and bent but not blurred."""
        line = Image.fromarray(_bent(_line(self.text, self.font), self.look.bend))
        corners = _corners(line.size, self.size, self.look)
        return line.transform(
            self.size, Image.Transform.PERSPECTIVE, _coefficients(corners, line.size), Image.Resampling.BILINEAR
        )


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """The words that come with deixis, lower-case, in alphabetical order."""
    text = importlib.resources.files("deixis.data.synthetic").joinpath("words.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.split() if line)


def words(
    seed: int = 0,
    count: int = 1000,
    *,
    split: str = "train",
    size: tuple[int, int] = (128, 32),
    config: SceneTextConfig | None = None,
) -> Source:
    """Generates pictures of words.

    A sample's caption and label are the word as it is written, capitals and all. Its `extra` holds `font`, `family` and
    `kind` (`word`, `number`, `random`).

    Args:
        seed: same seed, same pictures.
        count: how many.
        split: `train`, `val` or `test`.
        size: width and height in pixels, at least 32 and 16.
        config: what they show, and how.

    Raises:
        DeixisError: the fonts are not in the cache, or a setting is out of range.
    """
    config = config or SceneTextConfig()
    width, height = size
    if not (32 <= width <= 1024 and 16 <= height <= 256) or seed < 0 or count < 0:
        raise DeixisError(
            f"{count} words of {width} x {height} pixels with the seed {seed} are requested.",
            "Ask for 32 x 16 to 1024 x 256 pixels; count and seed are not negative.",
        )
    if split not in SPLITS:
        raise DeixisError(f"There is no split called {split!r}.", f"There are: {', '.join(SPLITS)}.")
    families = _families(config, split)
    chosen = config.words or vocabulary()
    listed = _part(chosen, split) if config.unseen in ("word", "both") else chosen
    samples = tuple(_sample(seed, index, split, size, config, (families, listed)) for index in range(count))
    notes = (f"{len(families)} families of fonts and {len(listed)} words are in the split {split}",)
    return Source("words", cache_dir("sets"), "captions", "generated words", samples, notes=notes, shows_text=True)


def _families(config: SceneTextConfig, split: str) -> Mapping[str, tuple[Path | None, ...]]:
    if config.fonts == "builtin":
        return {"builtin": (None,)}
    found = faces() if config.fonts == "set" else {path.stem: (path,) for path in map(Path, config.fonts)}
    chosen = _part(tuple(found), split) if config.unseen in ("font", "both") else tuple(found)
    return {family: found[family] for family in chosen}


def _part(names: tuple[str, ...], split: str) -> tuple[str, ...]:
    if len(set(names)) < len(SPLITS):
        raise DeixisError(
            f"{len(set(names))} families or words are to be shared out among {len(SPLITS)} splits: {', '.join(names)}.",
            "Give three or more, or say unseen='nothing'.",
        )
    return tuple(sorted(share(names, split)))


def _sample(
    seed: int,
    index: int,
    split: str,
    size: tuple[int, int],
    config: SceneTextConfig,
    choice: tuple[Mapping[str, tuple[Path | None, ...]], tuple[str, ...]],
) -> Sample:
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, index, SPLITS.index(split)))))
    families, listed = choice
    family = tuple(families)[int(rng.integers(len(families)))]
    font = families[family][int(rng.integers(len(families[family])))]
    text, kind = _text(rng, listed, config)
    extra = {"font": font.name if font else "builtin", "family": family, "kind": kind}
    return Sample(
        id=f"{split}/{seed}/{index:06d}",
        image=Lettering(text, font, size, _look(rng, config)),
        captions=(text,),
        label=text,
        groups=(f"word:{text.casefold()}",),
        extra=extra,
        split=split,
    )


def _text(rng: np.random.Generator, listed: tuple[str, ...], config: SceneTextConfig) -> tuple[str, str]:
    which = rng.random()
    if which < config.numbers:
        return str(int(rng.integers(10 ** int(rng.integers(1, 7))))), "number"
    if which < config.numbers + config.random:
        letters = string.ascii_letters + string.digits
        return "".join(letters[int(i)] for i in rng.integers(0, len(letters), int(rng.integers(3, 9)))), "random"
    word = listed[int(rng.integers(len(listed)))]
    case = _CASES[int(rng.integers(len(_CASES)))]
    return {"lower": word, "title": word[:1].upper() + word[1:], "upper": word.upper()}[case], "word"


def _look(rng: np.random.Generator, config: SceneTextConfig) -> TextStyle:
    pattern, _, colour = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))].partition(" ")
    ground = Ground(pattern, colour, int(rng.integers(2**31)))
    bright = ground.draw(48).mean((0, 1))
    depth = float(rng.uniform(config.contrast, 200))
    hue = rng.integers(-40, 41, 3)
    ink = np.clip(bright - depth + hue - hue.mean(), 0, 255).astype(int)
    return TextStyle(
        ground=ground,
        ink=(int(ink[0]), int(ink[1]), int(ink[2])),
        turn=float(rng.uniform(-config.turn, config.turn)),
        bend=float(rng.uniform(-config.bend, config.bend)) if rng.random() < 0.4 else 0.0,
        corners=tuple(rng.uniform(-config.askew, config.askew, 8).tolist()),
        blur=float(rng.uniform(0, config.blur)),
        grain=int(rng.integers(config.grain + 1)),
        seed=int(rng.integers(2**31)),
        inverse=bool(rng.random() < 0.3),
    )


# --- drawing ----------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=128)
def _face(font: Path | None) -> ImageFont.FreeTypeFont:
    if font is None:
        face = ImageFont.load_default(_EM)
        if not isinstance(face, ImageFont.FreeTypeFont):
            raise DeixisError("This build of Pillow draws no fonts.", "Install it from a wheel: pip install -U pillow")
        return face
    try:
        return ImageFont.truetype(str(font), _EM)
    except OSError as error:
        raise DeixisError(f"{font} can't be read as a font: {error}.", "Give .ttf or .otf files.") from error


def _line(text: str, font: Path | None) -> UInt8[np.ndarray, "H W"]:
    """The letters in one line, without a margin; one pixel where nothing of the word is visible in that font."""
    face = _face(font)
    left, top, right, bottom = (int(edge) for edge in face.getbbox(text))
    image = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=face)
    return np.array(image)


def _bent(line: UInt8[np.ndarray, "H W"], bend: float) -> np.ndarray:
    height, width = line.shape
    across = np.linspace(-1, 1, width)
    bow = np.rint(bend * height * across**2).astype(int)
    down = bow - bow.min()
    padded = np.zeros((height + int(down.max()), width), np.uint8)
    rows = np.arange(padded.shape[0])[:, None] - down
    inside = (rows >= 0) & (rows < height)
    padded[inside] = line[np.clip(rows, 0, height - 1), np.arange(width)][inside]
    return padded


def _corners(line: tuple[int, int], size: tuple[int, int], look: TextStyle) -> np.ndarray:
    """Where the corners of the line come to lie: as large as fits after the turn, in the middle."""
    width, height = line
    square = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]) / 2
    corners = square * (width, height) + np.array(look.corners).reshape(4, 2) * height
    angle = np.deg2rad(-look.turn)
    turned = corners @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    low, high = turned.min(0), turned.max(0)
    scale = min((np.array(size) - 4) / (high - low))
    return (turned - (low + high) / 2) * scale + np.array(size) / 2


def _coefficients(corners: np.ndarray, line: tuple[int, int]) -> list[float]:
    """Pillow's eight numbers of a perspective, from a point of the picture to one of the line."""
    width, height = line
    rows, wanted = [], []
    for (x, y), (u, v) in zip(corners, ((0, 0), (width, 0), (width, height), (0, height)), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        wanted += [u, v]
    return [float(value) for value in np.linalg.solve(np.array(rows), np.array(wanted, float))]
