"""`deixis.load`: a model by name, by folder, or out of a run; and the encoder that indexes and searches images."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deixis import zoo
from deixis.files import atomic_folder, write_json
from deixis.zoo.parts import part_kind

if TYPE_CHECKING:
    from deixis.nn.dual import DualEncoder

__all__ = [
    "AT",
    "image_side_folder",
    "is_image_tower",
    "load",
    "load_encoder",
    "method_folder",
    "reads_text",
    "save_encoder",
    "tell_weights",
]

AT = "@"
"""Between the name of an encoder and a place of it."""


def load(name: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], **options: Any) -> Any:
    """Loads a model: what `deixis.zoo.load` knows, or a run folder.

    Args:
        name: a name, a model folder, a checkpoint, or a run folder. Of a run whose method has no dual encoder, and of
            an index that was made with such a run, the method itself is given, as by `deixis.load_method`. Of several,
            such as runs with different seeds from one model, one model with the mean of their weights (`soup`).
        **options: see `deixis.zoo.load`.

    Raises:
        DeixisError: there is no such model, or it is damaged; or several are of different layouts.
    """
    if not isinstance(name, str | os.PathLike):
        from deixis.nn.adaptation.soup import soup  # and torch, which a search by words does without

        return soup([load(each, **options) for each in name])
    folder = method_folder(name)
    if folder is not None:
        return importlib.import_module("deixis.apps.train.method_runs").load_method(
            folder
        )  # imports more than most need
    return zoo.load(name, **options)


def method_folder(name: str | os.PathLike[str]) -> Path | None:
    """The folder that holds a method and no dual encoder: that of a run, or the model of an index; None where there is
    a dual encoder, or neither."""
    path = Path(name)
    folders = [each for each in (path, path / "model") if (each / zoo.METHOD).is_file()]
    return next((each for each in folders if not (each / "model").is_dir()), None)


def load_encoder(name: str | os.PathLike[str]) -> DualEncoder:
    """What indexes and compares images: a dual encoder, or a model of images alone: the method of a run without a dual
    encoder, an image tower, a place of an encoder, or the model of an index that was made with one of these.

    Args:
        name: as for `load`; also an image tower, such as `timm:resnet18`, and `NAME@PLACE`.

    Raises:
        DeixisError: as `load`; or the method of a run embeds no images.
    """
    kept = image_side_folder(name)
    if kept is not None or _is_image_side(name):
        sides = importlib.import_module("deixis.apps.image_sides.image_side")
        side: DualEncoder = sides.image_side(os.fspath(name)) if kept is None else sides.read_image_side(kept)
        return side
    folder = method_folder(name)
    if folder is None:
        return zoo.load(name).eval()
    encoder: DualEncoder = importlib.import_module("deixis.apps.train.method_runs").image_encoder(folder)
    return encoder


def image_side_folder(name: str | os.PathLike[str]) -> Path | None:
    """The folder that holds the image tower, or the place of an encoder, which an index was made with; None where there
    is none."""
    path = Path(name)
    return next((each for each in (path, path / "model") if zoo.is_image_side(each)), None)


def is_image_tower(name: str) -> bool:
    """Whether a name has the form of an image tower that is no half of a dual encoder, such as `timm:resnet18`."""
    return name.partition(":")[0] in {
        each.form.partition(":")[0] for each in part_kind("image_tower").sources if ":" in each.form
    }


def _is_image_side(name: str | os.PathLike[str]) -> bool:
    """Whether a name is that of an image tower, or of a place of an encoder; a revision of a hub is none."""
    tower, place = os.fspath(name).partition(AT)[::2]
    if ":" in tower and is_image_tower(tower):
        return True
    return bool(place) and not os.path.exists(name) and (tower in zoo.MODELS or os.path.exists(tower))


def reads_text(folder: Path) -> bool:
    """Whether the model of an index compares images with words; no model is loaded to tell.

    Args:
        folder: of the model.
    """
    return method_folder(folder) is None and image_side_folder(folder) is None


def tell_weights(names: Iterable[str], say: Callable[[str], None]) -> None:
    """Says what the weights of requested networks are fetched from, and their licences, before it is done.

    Args:
        names: of models; `timm:NAME` may be followed by `@LAYER` or `+whiten`.
        say: receives a line a network.
    """
    from deixis.zoo import timm_networks  # and torch, which a search by words does without

    networks = [each.partition("@")[0].partition("+")[0] for each in names if each.startswith(timm_networks.PREFIX)]
    notes = {each: timm_networks.weights_note(each) for each in networks}
    for model, note in notes.items():
        if note:
            say(f"{model}: weights of {note}.")


def save_encoder(encoder: DualEncoder, folder: Path, name: str | os.PathLike[str]) -> None:
    """Writes an encoder as the model of an index, atomically.

    Args:
        encoder: what `load_encoder` gave.
        folder: to be written.
        name: that it was loaded by.
    """
    kept, run = image_side_folder(name), method_folder(name)
    if encoder.reads_text:
        zoo.save(encoder, folder)
    elif kept is not None:
        with atomic_folder(folder) as part:
            shutil.copytree(kept, part, dirs_exist_ok=True)
    elif run is not None:
        with atomic_folder(folder) as part:
            shutil.copyfile(run / zoo.METHOD, part / zoo.METHOD)
            write_json(part / "config.json", {"method": encoder.name, "fingerprint": encoder.fingerprint()})
    else:
        importlib.import_module("deixis.apps.image_sides.image_side").write_image_side(encoder, folder, os.fspath(name))
