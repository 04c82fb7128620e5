"""Reads pictures for what computes on them: each content once, in any thread, and once more where memory ran out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from deixis.engine.features.calls import EncodeItem, Inputs, PartCall
from deixis.errors import DeixisError
from deixis.inputs.contents import contents
from deixis.inputs.opening import ImageSource

__all__ = ["PictureReader", "Ready", "Unreadable"]

Unreadable = DeixisError | OSError | MemoryError


class Ready(NamedTuple):
    """A sample that was read: its pixels as the part takes them, unless the part need not be called."""

    place: int
    inputs: Inputs
    pixels: Float[Tensor, "1 3 H W"] | None


class PictureReader:
    """Reads pictures, in any thread; a content is decoded for the first that has it."""

    def __init__(self, call: PartCall, items: Sequence[EncodeItem], is_known: Callable[[Inputs], bool]) -> None:
        self._preprocess, self._of, self._items, self._is_known = call.preprocess, call.of, items, is_known
        self._lock, self._begun = threading.Lock(), set[Inputs]()
        self.failures: dict[int, Unreadable] = {}
        self.bad: dict[str, Unreadable] = {}

    def __call__(self, place: int) -> Ready:
        """Reads the picture of a sample; nothing is raised.

        Args:
            place: of the sample.
        """
        item = self._items[place]
        assert item.picture is not None
        inputs = Inputs()
        try:
            digest, source = contents(item.picture)
            inputs = item.inputs(digest, self._of)
            return Ready(place, inputs, self._read(place, inputs, source))
        except (DeixisError, OSError, MemoryError) as error:
            failure = _bare(error)
        self.failures[place] = failure
        if inputs.digest:
            self.bad[inputs.digest] = failure
        return Ready(place, inputs, None)

    def _read(self, place: int, inputs: Inputs, source: ImageSource) -> Float[Tensor, "1 3 H W"] | None:
        """The pixels, unless another picture has or had the same content."""
        if not self._begins(inputs) or self._is_known(inputs):
            return None
        try:
            return self._preprocess.read([source])
        except DeixisError:  # once more, from where it lies, for an error that names the place
            picture = self._items[place].picture
            assert picture is not None
            return self._preprocess.read([picture])

    def failure(self, place: int, digest: str) -> Unreadable:
        """Why a copy of a picture that can't be read can't be read, by its own name."""
        picture = self._items[place].picture
        assert picture is not None
        try:
            self._preprocess.read([picture])
        except (DeixisError, OSError, MemoryError) as error:
            return error
        return self.bad[digest]

    def _begins(self, inputs: Inputs) -> bool:
        with self._lock:
            new = inputs not in self._begun
            self._begun.add(inputs)
            return new

    def again(self) -> Iterator[Ready]:
        """Those that did not fit into memory beside what other threads were reading, once more, one by one."""
        places = [place for place, error in self.failures.items() if _ran_out(error)]
        self.bad = {digest: error for digest, error in self.bad.items() if not _ran_out(error)}
        for place in sorted(places):
            del self.failures[place]
            self._begun.clear()
            yield self(place)


def _bare(error: Unreadable) -> Unreadable:
    """An error that does not keep what was read in the frames that it came through."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__, each = None, each.__cause__ or each.__context__
    return error


def _ran_out(error: Unreadable) -> bool:
    """Whether memory was refused; a decoder's error says so by its cause."""
    return isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError)
