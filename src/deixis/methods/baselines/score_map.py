"""The class of each cell by the cosine of its state with the class's name: MaskCLIP's score map, nothing trained.

    score(c, p) = mean over the windows that cover p of cos(state at p, text of c)

Class 0, everything else, has the greatest cosine of some nouns that are none of the classes (grass, sky, wall...), as
far as these do not mean nearly the same as a class. Zhou et al. 2022, "Extract Free Dense Labels from CLIP".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.methods.baselines.detect_match import SURROUNDINGS
from deixis.nn.dense.window_maps import grid_map, unit_range, window_boxes, window_inputs
from deixis.nn.dual import DualEncoder
from deixis.ops.dense.prototypes import unit_rows
from deixis.ops.dense.windows import mean_of_windows
from deixis.types import Card, FieldSpec, Part, ViewSpec
from deixis.types.protocols import Names

__all__ = ["CARD", "CLAIMS", "Config", "Method", "class_cosines"]

CARD = Card(
    title="Cosines of cells with the names of classes",
    year=2022,
    kind="training-free",
    role="baseline",
    needs=(FieldSpec("images", "B 3 H W"),),
    parts=(Part("names", "names"), Part("encoder", "dual_encoder", frozen=True)),
    capabilities=("segment",),
    tags=("segmentation", "zero-shot", "open vocabulary"),
)


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        names: of the classes, by default some as an example.
        encoder: whose cells and texts are compared.
        template: of the texts.
        surroundings: whether grass, sky, wall and the like are nouns of everything else.
        others: further ones.
        similar: the cosine with a class from which one of these is left out.
        offset: that is added to the cosines of everything else: higher, and less is of a class.
        crops: sides of the windows beside the whole image, in pixels of `view`.
        stride: from window to window.
        view: of the images.
    """

    names: str = "person,cat,dog"
    encoder: str = "starter"
    template: str = "a photo of a {}"
    surroundings: bool = True
    others: tuple[str, ...] = ()
    similar: float = 0.6
    offset: float = 0.0
    crops: tuple[int, ...] = (224,)
    stride: int = 112
    view: ViewSpec = ViewSpec(size=448)

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder, and one window."""
        return cls(names="cat,dog", encoder="tiny", crops=(), view=ViewSpec(size=32))

    @classmethod
    def desk(cls) -> Config:
        """The starter, at twice its size."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """The same."""
        return cls()


def class_cosines(cells: Float[Tensor, "D h w"], texts: Float[Tensor, "C D"]) -> Float[Tensor, "C h w"]:
    """The cosine of each cell with each text."""
    return (unit_rows(texts) @ unit_rows(cells.flatten(1).T).T).unflatten(1, cells.shape[1:])


class Method(nn.Module):
    """An encoder and names.

    Args:
        config: the settings.
        names: of the classes.
        encoder: whose cells and texts are compared.
    """

    def __init__(self, config: Config, *, names: Names, encoder: DualEncoder) -> None:
        super().__init__()
        self.config, self.names, self.encoder = config, names, encoder
        self._texts: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def segment(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C H W"]:
        """Cosines of everything else and of the classes.

        Args:
            images: as the encoder takes them, at the size of `view`.
        """
        return self.of_plain(unit_range(images, self.encoder.preprocess))

    def of_plain(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C H W"]:
        """The same of images from 0 to 1.

        Args:
            images: of any size.
        """
        return torch.stack([self._of_image(each) for each in images])

    def _of_image(self, image: Float[Tensor, "3 H W"]) -> Float[Tensor, "C H W"]:
        size, config = (image.shape[1], image.shape[2]), self.config
        boxes = window_boxes(*size, config.crops, config.stride)
        maps = grid_map(self.encoder.image_tokens(window_inputs(image, boxes, self.encoder.preprocess)))
        classes, others = self.texts()
        cosines = [class_cosines(each, torch.cat([others, classes])) for each in maps]
        found = mean_of_windows(cosines, boxes, size)
        rest = found[: len(others)].amax(0) if len(others) else torch.full_like(found[0], -1.0)
        return torch.cat([(rest + config.offset)[None], found[len(others) :]])

    def texts(self) -> tuple[Float[Tensor, "C D"], Float[Tensor, "N D"]]:
        """Embeddings of the classes and of the other nouns, made once."""
        if self._texts is None:
            rest = (*(SURROUNDINGS if self.config.surroundings else ()), *self.config.others)
            classes, others = (
                self.encoder.encode_text([self.config.template.replace("{}", str(name)) for name in names])
                if names
                else torch.zeros(0, self.encoder.width)
                for names in (self.names[:], rest)
            )
            others = others[(others @ classes.T).amax(1) < self.config.similar] if len(others) else others
            self._texts = classes, others
        return self._texts


CLAIMS = ()
