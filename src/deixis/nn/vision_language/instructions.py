"""Instructions in words, such as "the colour", that images are looked at under."""

from __future__ import annotations

from collections.abc import Sequence

from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder

__all__ = ["require_instructions"]

_CURE = "Name the respect in a few words, such as 'the colour'"


def require_instructions(encoder: DualEncoder, instructions: Sequence[str], images: int) -> None:
    """Makes sure that there is an instruction an image, and that each is read to its end.

    Args:
        encoder: that reads them.
        instructions: in words.
        images: how many there are.

    Raises:
        DeixisError: another number, an empty one, or one that is longer than the encoder reads.
    """
    if isinstance(instructions, str) or len(instructions) != images:
        given = "One text was" if isinstance(instructions, str) else f"{len(instructions)} instructions were"
        raise DeixisError(f"{given} given for {images} images.", "Give a list with one instruction for each.")
    different = list(dict.fromkeys(instructions))
    if not all(map(str.strip, different)):
        raise DeixisError("An instruction is empty.", f"{_CURE}; vectors without a respect are those of encode_image.")
    cut = encoder.tokenizer.overflow(different, encoder.context_length)
    long = next((text for text, is_cut in zip(different, cut, strict=True) if is_cut), None)
    if long is not None:
        raise DeixisError(
            f"The instruction {long[:40]!r}... has {len(long.split())} words, and the model reads "
            f"{encoder.context_length} tokens: the rest would be cut.",
            f"{_CURE}.",
        )
