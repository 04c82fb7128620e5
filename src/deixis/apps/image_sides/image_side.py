"""An image tower, or a place of an encoder, as the model of an index: it compares images and refuses words.

    encoder = image_side("timm:resnet18")          pooled features
    encoder = image_side("my-eyes@stages.2")       the mean of the map of a layer

In the folder of an index lie

    config.json             tower, place, and the fingerprint
    method.safetensors      of a run without text, whose tower is read
    tower/                  a model folder, whose tower is read; any other name is loaded by that name
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis import zoo
from deixis.apps.common.loading import AT, method_folder
from deixis.apps.image_sides.places import PlaceFeatures, features_at, tower_of
from deixis.errors import DeixisError
from deixis.files import atomic_folder, write_json
from deixis.nn.dual import DualEncoder
from deixis.nn.fingerprint import fingerprint
from deixis.nn.image_only import image_only
from deixis.types.outputs import TokenStates
from deixis.types.protocols import OffersEncodeImage

__all__ = ["image_side", "read_image_side", "write_image_side"]

_TOWER = "tower"


class _UnitFeatures(nn.Module):
    """Features of a tower or a place, of length 1.

    Args:
        inside: an `ImageEncoder`, or what `features_at` gives.
    """

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside: Any = inside

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """One row an image."""
        inside = self.inside
        return F.normalize(
            inside.encode_image(images) if isinstance(inside, OffersEncodeImage) else inside(images), dim=1
        )

    def image_tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """One state a cell of the map.

        Raises:
            DeixisError: there is no map.
        """
        if not hasattr(self.inside, "tokens"):
            raise DeixisError("This place of the encoder has no map.", "Name a layer of the tower.")
        return cast(TokenStates, self.inside.tokens(images))


def image_side(name: str) -> DualEncoder:
    """An image tower or a place of an encoder as a `DualEncoder` that can't encode text.

    Args:
        name: of an image tower, such as `timm:resnet18`; or `NAME@PLACE`, of a tower, a model or a run.

    Raises:
        DeixisError: there is no such tower or place.
    """
    tower, at, place = name.partition(AT)
    return _built(tower, place if at else None, name)


def write_image_side(encoder: DualEncoder, folder: Path, name: str) -> None:
    """Writes what `image_side` gave as the model of an index, atomically.

    Args:
        encoder: to be written.
        folder: where it goes.
        name: that it was given for.
    """
    tower, at, place = name.partition(AT)
    run = method_folder(tower)
    with atomic_folder(folder) as part:
        if run is not None:
            shutil.copyfile(run / zoo.METHOD, part / zoo.METHOD)
            tower = ""
        elif os.path.exists(tower):
            zoo.save(zoo.load(tower), part / _TOWER)
            tower = ""
        facts = {"tower": tower, "place": place if at else None}
        write_json(part / "config.json", {zoo.IMAGE_SIDE: facts, "name": name, "fingerprint": encoder.fingerprint()})


def read_image_side(folder: Path) -> DualEncoder:
    """What `write_image_side` wrote.

    Args:
        folder: of the model.

    Raises:
        DeixisError: it is damaged, or the tower can't be had or is another one.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        facts = config[zoo.IMAGE_SIDE]
        named, place, name, wanted = str(facts["tower"]), facts["place"], str(config["name"]), config["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeixisError(f"{folder / 'config.json'} can't be read: {error}.", "Index again.") from error
    kept = folder if (folder / zoo.METHOD).is_file() else folder / _TOWER
    encoder = _built(named or str(kept), place, name)
    if encoder.fingerprint() != wanted:
        raise DeixisError(
            f"{folder} holds {name!r} with fingerprint {str(wanted)[:12]}, and the one here has "
            f"{encoder.fingerprint()[:12]}.",
            "Use the version of deixis and of the weights that it was made with, or index again.",
        )
    return encoder


def _built(tower: str, place: str | None, name: str) -> DualEncoder:
    """A tower, or a place of it; the name is what it is called."""
    inside: Any = tower_of(tower) if place is None else features_at(tower, place)
    within = inside.method if isinstance(inside, PlaceFeatures) else getattr(inside, "tower", inside)
    return image_only(
        name,
        _UnitFeatures(inside),
        preprocess=inside.preprocess,
        settings={"tower": fingerprint(within), "place": place},
        licence=str(getattr(within, "licence", "")),
    )
