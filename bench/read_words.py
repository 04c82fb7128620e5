"""Race `read_words`: 512 pictures of words read greedily, against the published loop, restated.

`published` decodes as the code of PARSeq (Bautista and Atienza 2022) does: at each character the states of all known
ones, and the keys and values of picture and text, are computed anew, and reading ends when all words have ended. `ours`
keeps keys and values. Both have the same weights and one thread, and must give the same characters first. The weights
are untrained, so that words end nowhere: all positions are read, of settings for short words and for long ones.

`--clock processor` counts the processor's seconds instead of those that pass, which is fairer where other programs run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from bench.rows import Race, alternate, append_row, clock_name, clock_parser, environment, make_row, seconds_of
from deixis.engine.training.build import build
from deixis.nn.reading.two_stream import TwoStreamBlock, TwoStreamDecoder

__all__ = ["CASES", "RACE", "Reader", "main", "ours", "published", "reader"]

RACE = Race(
    measures="Pictures of words a second, from pixels, or from the image tower's states, to characters",
    peers=("published",),
    equal="all characters",
)

CASES = {
    "10 characters, from states": (10, False),
    "25 characters, from states": (25, False),
    "10 characters, from pixels": (10, True),
    "25 characters, from pixels": (25, True),
}
THREADS, COUNT, BATCH = 1, 512, 64
Reader = Any
Side = Callable[[Reader, Tensor], Tensor]


def reader(longest: int, preset: str = "desk", depth: int = 1) -> Reader:
    """An untrained recogniser for words of up to so many characters, with so many blocks in its decoder."""
    return build("parseq", preset, {"longest": longest, "refinements": 0, "decoder_layers": depth}).eval()


def ours(method: Reader, memory: Tensor) -> Tensor:
    """Characters [B, L] out of the states of pictures."""
    return cast(Tensor, method.decoder.greedy(memory).argmax(-1))


def published(method: Reader, memory: Tensor) -> Tensor:
    """The same, all that is known being decoded anew at each character."""
    decoder: TwoStreamDecoder = method.decoder
    tokens = torch.full((len(memory), 1), decoder.start)
    found = []
    for step in range(decoder.longest + 1):
        found.append(_next(decoder, tokens, memory, step))
        tokens = torch.cat([tokens, found[-1]], dim=1)
        if bool((tokens == 0).any(1).all()):
            break
    return torch.cat(found, dim=1)


def _next(decoder: TwoStreamDecoder, tokens: Tensor, memory: Tensor, step: int) -> Tensor:
    """The likeliest character behind those that are known."""
    query, content = decoder.positions[step].expand(len(memory), 1, -1), decoder._content(tokens)
    causal = torch.ones(1, step + 1, step + 1, dtype=torch.bool).tril()
    for number, block in enumerate(cast(Sequence[TwoStreamBlock], decoder.blocks), 1):
        normed = block.content_norm(content)
        keys, read = block.self_attention.kv_cache(normed), block.cross_attention.kv_cache(memory)
        query = block(query, block.query_norm(query), keys, read)
        if number < len(decoder.blocks):
            content = block(content, normed, keys, read, causal)
    return decoder.head(decoder.norm(query)).argmax(-1)


@torch.inference_mode()
def _race(case: str, count: int, repeats: int, clock: str) -> dict[str, Any]:
    longest, whole = CASES[case]
    method = reader(longest)
    view = method.config.view
    pixels = torch.rand(count, 3, view.size, view.width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    given = pixels if whole else torch.cat([method.memory(each) for each in pixels.split(BATCH)])

    def read(side: Side) -> Tensor:
        parts = (method.memory(each) if whole else each for each in given.split(BATCH))
        return torch.cat([side(method, each) for each in parts])

    def rate(side: Side) -> float:
        return count / seconds_of(partial(read, side), clock)

    if not torch.equal(read(ours), read(published)):
        raise SystemExit(f"{case}: the sides read other characters")
    timings = alternate(partial(rate, ours), partial(rate, published), repeats, warmup=0)
    facts = {"race": "read_words", "case": f"{case}, {count} pictures{clock_name(clock)}", "peer": RACE.peers[0]}
    facts["peer_version"] = torch.__version__
    return make_row(facts, timings, unit="words/s", equal=True, surroundings=environment(threads=THREADS))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends a row a case."""
    parser = clock_parser("read_words", __doc__, CASES, 5)
    parser.add_argument("--pictures", type=int, default=COUNT, help=f"pictures (default {COUNT})")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    for case in chosen.cases:
        append_row(_race(case, chosen.pictures, chosen.repeats, chosen.clock), chosen.results)


if __name__ == "__main__":
    main()
