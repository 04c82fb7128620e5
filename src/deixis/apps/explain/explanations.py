"""What explains a batch of scores: maps, the words' shares, and how they look."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from deixis.apps.common.formatting import count
from deixis.apps.explain.overlays import Panel, Share, png, sheet, tinted
from deixis.apps.explain.reason import ReasonWriter, reason
from deixis.apps.explain.settings import ReasonForm
from deixis.data.loading.crops import Window, on_picture
from deixis.errors import DeixisError
from deixis.ops.maps import blur, to_symmetric
from deixis.types.html import html_lines

__all__ = ["TEXT_BLIND", "Explanation", "joined"]

TEXT_BLIND = "where the model looks, whatever is asked"
"""What is said of a map that does not depend on its text."""

_ROWS = 8
"""Images that a notebook shows by itself."""
_SMOOTH = 100
"""What part of the longer side the Gaussian deviates by that makes single pixels visible."""


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation:
    """Why images scored as they did. A notebook shows it by itself.

    There is an axis T behind B where each image has several target texts or classes.

    Attributes:
        method: what made the maps.
        targets: of each image the texts or classes.
        scores: what is explained: similarities (less those of other texts), or a classifier's outputs.
        maps: at the size of the model's input, finite, within `range`; 0 x 0 where only words were explained.
        raw: name of a layer -> its map as it was computed, at the layer's resolution, in no fixed range. `input` is
            the relevance of pixels, summed over colours.
        range: the least and the greatest value of `maps`: 0 and 1, or -1 and 1 where values below 0 speak against.
        words: of each image, of each text: the words with their shares; empty where words were not explained.
        pictures: of each image, small enough to be shown.
        windows: the part of each picture that the model sees, and the map covers.
        text_blind: of each image, of each text, whether its map is nearly that of unrelated texts, and so shows where
            the model looks, whatever is asked. Empty where that was not measured.
    """

    method: str
    targets: tuple[tuple[str, ...], ...]
    scores: Float[Tensor, "*B"]
    maps: Float[Tensor, "*B H W"]
    raw: Mapping[str, Float[Tensor, "*B h w"]]
    range: tuple[float, float] = (0.0, 1.0)
    words: tuple[tuple[tuple[Share, ...], ...], ...] = ()
    pictures: tuple[Image.Image, ...] = ()
    windows: tuple[Window, ...] = ()
    text_blind: tuple[tuple[bool, ...], ...] = ()

    def of_text(self, text: int) -> Explanation:
        """The same of one of several texts, which keeps its axis T, of length 1.

        Args:
            text: which of them.
        """
        own = slice(text, text + 1)
        return dataclasses.replace(
            self,
            targets=tuple(row[own] for row in self.targets),
            scores=self.scores[:, own],
            maps=self.maps[:, own],
            raw={name: each[:, own] for name, each in self.raw.items()},
            words=tuple(row[own] for row in self.words),
            text_blind=tuple(row[own] for row in self.text_blind),
        )

    def on_picture(self, image: int = 0, text: int = 0) -> Float[Tensor, "_h _w"]:
        """A map in the place and at the size of its picture; 0 where the model saw nothing.

        Args:
            image: which image.
            text: which of its texts or classes.

        Raises:
            DeixisError: there is no map, or no picture.
        """
        return self._placed(image, text)[0]

    def overlay(self, image: int = 0, text: int = 0) -> Image.Image:
        """The picture in grey with the map over it in colour; what the model did not see is pale.

        A map below 0, too, of single pixels, is smoothed to be visible, and then drawn to its greatest value.

        Args:
            image: which image.
            text: which of its texts or classes.

        Raises:
            DeixisError: there is no map, or no picture.
        """
        values, inside = self._placed(image, text)
        if self.range[0] < 0:
            values = to_symmetric(blur(values, max(values.shape) / _SMOOTH))
        return tinted(self.pictures[image], values, inside)

    def sentence(
        self,
        image: int = 0,
        text: int = 0,
        writer: ReasonWriter | None = None,
        form: ReasonForm = "sentence",
    ) -> str:
        """Which words hold most of the score, and where in the picture the map is highest, by Saliency Map
        Verbalization; the place is left out where the map would be nearly the same for any text.

        Args:
            image: which image.
            text: which of its texts or classes.
            writer: a language model whose words are taken where they hold.
            form: of the sentence without one: with the score and shares, or as published.

        Returns:
            Such as `The word » bicycle « is most important for the score (39 %). In the picture: lower left, 41 %.`;
            empty where there is nothing to say.
        """
        words = self.words[image][text] if self.words else ()
        if not self.maps.shape[-1] or (self.text_blind and self.text_blind[image][text]):
            return reason(words, None, writer, form)
        values = self.on_picture(image, text) if self.pictures else self._map(image, text).cpu()
        return reason(words, values, writer, form)

    def _map(self, image: int, text: int) -> Float[Tensor, "H W"]:
        return self.maps[image] if self.maps.ndim == 3 else self.maps[image, text]

    def sheet(self, images: Sequence[int] | None = None) -> Image.Image:
        """Each picture beside its overlays, with scores, and the words as bars.

        Args:
            images: which; all by default.

        Raises:
            DeixisError: there is no picture.
        """
        self._require_pictures()
        return sheet([self._row(each) for each in (range(len(self.targets)) if images is None else images)])

    def _row(self, image: int) -> list[Panel]:
        panels = []
        for text, target in enumerate(self.targets[image]):
            score = self.scores[image] if self.scores.ndim == 1 else self.scores[image, text]
            drawn = self.overlay(image, text) if self.maps.shape[-1] else self.pictures[image]
            words = self.words[image][text] if self.words else ()
            note = f" ({TEXT_BLIND})" if self.text_blind and self.text_blind[image][text] else ""
            panels.append(Panel(drawn, f"{target}: {score:.3g}{note}", words))
        return [Panel(self.pictures[image], ", ".join([self.method, *self.raw])), *panels]

    def _placed(self, image: int, text: int) -> tuple[Tensor, Bool[Tensor, "_h _w"]]:
        self._require_pictures()
        if not self.maps.shape[-1]:
            raise DeixisError("There is no map: only words were requested.", "Leave tower='text' out.")
        return on_picture(self._map(image, text).cpu(), self.windows[image], self.pictures[image].size)

    def _require_pictures(self) -> None:
        if not self.pictures:
            raise DeixisError("There are no pictures to draw on.", "Take the maps themselves: .maps.")

    def _repr_png_(self) -> bytes | None:
        return png(self.sheet(range(min(_ROWS, len(self.targets))))) if self.pictures else None

    def _repr_html_(self) -> str:
        first, *rest = repr(self).splitlines()
        drawn = self._repr_png_()
        address = base64.b64encode(drawn).decode("ascii") if drawn else ""
        picture = f'<img src="data:image/png;base64,{address}" alt="">' if drawn else ""
        return picture + html_lines(first, *rest)

    def __repr__(self) -> str:
        images, low, high = len(self.targets), *self.range
        layers = f", of {', '.join(self.raw)}" if self.raw else ""
        lines = [
            f"Explanation by {self.method} of {count(images)} image{'s' * (images != 1)}",
            f"  maps {list(self.maps.shape)} from {low:g} to {high:g}{layers}",
        ]
        for target, words in zip(
            self.targets[0], self.words[0] if self.words else [()] * len(self.targets[0]), strict=True
        ):
            lines.append(f"  {target}" + "".join(f"  {word} {share:.0%}" for word, share in words))
        return "\n".join(lines)


def joined(parts: Sequence[Explanation], flat: bool) -> Explanation:
    """Explanations of batches as that of all images.

    Args:
        parts: of one model, and of the same questions.
        flat: whether the axis of texts, of length 1, is to go.
    """
    first = parts[0]

    def rows(of: Sequence[Tensor]) -> Tensor:
        whole = of[0] if len(of) == 1 else torch.cat(list(of))
        return whole[:, 0] if flat else whole

    return dataclasses.replace(
        first,
        targets=sum((each.targets for each in parts), ()),
        scores=rows([each.scores for each in parts]),
        maps=rows([each.maps for each in parts]),
        raw={name: rows([each.raw[name] for each in parts]) for name in first.raw},
        words=sum((each.words for each in parts), ()),
        pictures=sum((each.pictures for each in parts), ()),
        windows=sum((each.windows for each in parts), ()),
        text_blind=sum((each.text_blind for each in parts), ()),
    )
