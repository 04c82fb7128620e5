"""Test pictures that every tutorial uses: fruits, a baboon, a squirrel, a street, signs to read; some 120 of them.

They come from the Debian package `opencv-doc` (its samples and scene texts) and, where apt has it, from `darknet`.
There are no captions, and the names would be bad ones: these are for trying out, and for backgrounds. About a third
are photographs (`set:photos/photographs`); the others show words on signs, chessboards to calibrate cameras with,
drawings and diagrams. They were labelled by eye. Masks that belong to a picture are no samples; their paths are in
`extra`.

Pictures of one scene (a stereo pair, a sharp and a blurred one) are of one group.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from deixis.data.datasets.sources.cache import finished, from_debian, home, set_name
from deixis.data.datasets.sources.packages import copy_files, debian_package
from deixis.errors import DeixisError
from deixis.types import Sample, Source
from deixis.types.cards import DatasetCard

__all__ = ["DATASET", "KINDS", "fetch", "kind_of", "read"]

DATASET = DatasetCard(
    title="Test pictures of OpenCV and darknet, without captions: some 35 photographs, scene text, graphics",
    licence="Apache-2.0 and BSD-3-Clause (opencv-doc), GPL-3.0-or-later or MIT (darknet), as Debian states",
    how="apt",
    size_mb=101,
    parts=("photographs", "scene-text", "calibration", "graphics", "other"),
)

_NAME = set_name(__name__)
KINDS = DATASET.parts
"""What a picture may be; `other` is one that was not there when this list was made."""

_SAMPLES, _MORE = "opencv-doc", "darknet"
_NAMES = {
    "photographs": "aero1 aero3 aloeL aloeR apple baboon basketball1 basketball2 board box_in_scene building butterfly "
    "chicky_512 ela_modified ela_original fruits graf1 graf3 home left right leuvenA leuvenB licenseplate_motion "
    "messi5 orange rubberwhale1 rubberwhale2 squirrel_cls stuff dog eagle giraffe horses kite person",
    "graphics": "Blender_Suzanne1 Blender_Suzanne2 HappyFish LinuxLogo WindowsLogo aloeGT blox box cards detect_blob "
    "digits ellipses gradient imageTextN imageTextR mask ml notes opencv-logo opencv-logo-white pca_test1 pic1 pic2 "
    "pic3 pic4 pic5 pic6 scream smarties starry_night sudoku templ text_defocus text_motion tmpl",
    "calibration": "chessboard choriginal",
}
_KIND = {name: kind for kind, names in _NAMES.items() for name in names.split()}
_PATTERNS = (("calibration", re.compile(r"(?:left|right)\d\d")), ("scene-text", re.compile(r"scenetext.*")))
_VARIANT = re.compile(r"(?:_(?:modified|original|motion|defocus|white)|(?<=[a-z_])(?:\d+|[A-Z]))$")


def fetch(say: Callable[[str], None]) -> Path:
    """Puts the pictures into the cache; does nothing if they are there.

    Raises:
        DeixisError: `opencv-doc` cannot be had (see `packages.debian_package`); `darknet` may be missing.
    """
    if not finished(_NAME):
        with from_debian(_NAME, _SAMPLES, DATASET.licence, say) as (share, folder, marker):
            examples = share / "doc" / _SAMPLES / "examples"
            marker["files"] = sum(
                copy_files(examples / part, folder / part, (".jpg", ".png")) for part in ("data", "text")
            )
            marker["files"] += _add_darknet(share.parents[2], folder, say)
    return home(_NAME)


def read(part: str = "") -> Source:
    """The pictures in the order of their paths, or those of one kind.

    Each sample's `extra` holds `what` (one of `KINDS`), `photo` (bool: a photograph, as in `stamps`), and `mask`, where
    there is one: the path of a picture that is white where the words of this one are.

    Raises:
        DeixisError: they have not been fetched.
    """
    root = home(_NAME)
    paths = sorted(path for path in root.rglob("*") if path.suffix in (".jpg", ".png"))
    masks = {path.stem.removesuffix("_mask"): path for path in paths if path.stem.endswith("_mask")}
    every = [
        _sample(path.relative_to(root).as_posix(), path, masks.get(path.stem))
        for path in paths
        if path not in masks.values()
    ]
    samples = tuple(sample for sample in every if part in ("", sample.extra["what"]))
    notes = (f"{len(masks)} masks of words are no samples",) if masks else ()
    name = "/".join(filter(None, (_NAME, part)))
    return Source(name, root, "images", "jpg and png without words", samples, notes=notes)


def kind_of(stem: str) -> str:
    """What a picture is, by its file name without the suffix: one of `KINDS`."""
    return _KIND.get(stem) or next((kind for kind, names in _PATTERNS if names.fullmatch(stem)), KINDS[-1])


def _sample(name: str, path: Path, mask: Path | None) -> Sample:
    what = kind_of(path.stem)
    extra = {"what": what, "photo": what == "photographs", **({"mask": str(mask)} if mask else {})}
    scenes = {"scene-text": path.stem, "calibration": "chessboard"}
    scene = scenes.get(what, {"left": "books", "right": "books"}.get(path.stem, _VARIANT.sub("", path.stem)))
    return Sample(name, path, groups=(f"scene:{PurePosixPath(name).parent}/{scene}",), extra=extra)


def _add_darknet(work: Path, folder: Path, say: Callable[[str], None]) -> int:
    """Copies what darknet's package has, and gives the number of files; nothing if apt does not have it."""
    try:
        share = debian_package(_MORE, work, say).folder / "usr/share"
    except DeixisError as error:
        say(f"{_NAME}: without the seven pictures of {_MORE}. {error}")
        return 0
    shutil.copyfile(share / "doc" / _MORE / "copyright", folder / f"copyright-{_MORE}")
    return copy_files(share / "darknet/data", folder / _MORE, (".jpg",))
