"""`deixis.load`: a model by name, by folder, or out of a run; and the encoder that indexes and searches images."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deixis import zoo
from deixis.files import atomic_folder, write_json

if TYPE_CHECKING:
    from deixis.nn.dual import DualEncoder

__all__ = ["load", "load_encoder", "method_folder", "save_encoder", "tell_weights"]


def load(name: str | os.PathLike[str], **options: Any) -> Any:
    """Loads a model: what `deixis.zoo.load` knows, or a run folder.

    Args:
        name: a name, a model folder, a checkpoint, or a run folder. Of a run whose method has no dual encoder, and of
            an index that was made with such a run, the method itself is given, as by `deixis.load_method`.
        **options: see `deixis.zoo.load`.

    Raises:
        DeixisError: there is no such model, or it is damaged.
    """
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
    """What indexes and compares images: a dual encoder, or, of a run without one, its method as a model of images.

    Args:
        name: as for `load`.

    Raises:
        DeixisError: as `load`; or the method of a run embeds no images.
    """
    folder = method_folder(name)
    if folder is None:
        return zoo.load(name).eval()
    encoder: DualEncoder = importlib.import_module("deixis.apps.train.method_runs").image_encoder(folder)
    return encoder


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
    run = None if encoder.reads_text else method_folder(name)
    if run is None:
        zoo.save(encoder, folder)
        return
    with atomic_folder(folder) as part:
        shutil.copyfile(run / zoo.METHOD, part / zoo.METHOD)
        write_json(part / "config.json", {"method": encoder.name, "fingerprint": encoder.fingerprint()})
