"""Race `generate`: sixteen tokens more of each text by SmolLM2, greedily, against transformers.

Both sides hold the same weights in float32 and keep keys and values; beginnings differ in length, so that the shorter
ones are padded. The tokens of both are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.rows import RESULTS, Race, alternate, append_row, environment, make_row
from deixis import zoo
from deixis.nn.language.causal_lm import CausalLm
from deixis.nn.language.generation import generate
from deixis.zoo.lm.transformers_lm import names_of

__all__ = ["BATCHES", "RACE", "Generation", "main", "peer_of"]

RACE = Race(
    measures="Sixteen tokens more of each text, greedily, by SmolLM2",
    peers=("transformers",),
    equal="the tokens",
)

BATCHES, TOKENS, THREADS = (1, 8, 32), 16, 2
_THINGS = ("the sea", "an old town", "two cats", "a red car", "the moon", "snow", "my little sister", "a glass of milk")
_BEGINNINGS = ("A photo of {} shows", "Once upon a time {} was", "What people like about {} is that", "{} and")


def peer_of(lm: CausalLm) -> Any:
    """The same LLaMA in transformers.

    Args:
        lm: of the shape `llama`, without biases.
    """
    import transformers

    shape = lm.config
    config = transformers.LlamaConfig(
        vocab_size=shape["vocabulary"],
        hidden_size=shape["width"],
        intermediate_size=shape["hidden"],
        num_hidden_layers=shape["depth"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["key_heads"] or shape["heads"],
        max_position_embeddings=shape["length"],
        rms_norm_eps=shape["epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": shape["rotary_base"]},
        tie_word_embeddings=shape["tied"],
        bos_token_id=lm.start,
        eos_token_id=lm.end,
        pad_token_id=lm.end,
    )
    peer = transformers.LlamaForCausalLM(config)
    state = {theirs: lm.state_dict()[ours] for ours, theirs in names_of(lm).items()}
    peer.load_state_dict(state, strict=not shape["tied"])
    return peer.eval()


class Generation:
    """A batch of beginnings, continued by both sides.

    Args:
        lm: that goes on.
        peer: see `peer_of`.
        rows: texts.
        tokens: new ones of each.
    """

    def __init__(self, lm: CausalLm, peer: Any, rows: int, tokens: int = TOKENS) -> None:
        self.lm, self.peer, self.tokens = lm, peer, tokens
        pairs = [(form, thing) for thing in _THINGS for form in _BEGINNINGS]
        ids, mask = lm.tokenizer([form.format(thing) for form, thing in pairs[:rows]], 40)
        # padded before, as transformers wants it
        turned = [torch.arange(len(row)).roll(int((~row).sum())) for row in mask]
        self.ids = torch.stack([row[order] for row, order in zip(ids, turned, strict=True)])
        self.mask = torch.stack([row[order] for row, order in zip(mask, turned, strict=True)])

    def ours(self) -> list[tuple[int, ...]]:
        """Tokens of each text up to its end."""
        found = generate(self.lm, self.lm.embed(self.ids), self.mask, self.tokens)
        return [each.tokens for each in found]

    def theirs(self) -> list[tuple[int, ...]]:
        """The same by transformers."""
        asked = {"max_new_tokens": self.tokens, "do_sample": False, "pad_token_id": self.lm.end}
        found = self.peer.generate(input_ids=self.ids, attention_mask=self.mask.long(), **asked)
        rows = found[:, self.ids.shape[1] :].tolist()
        return [tuple(row[: row.index(self.lm.end)] if self.lm.end in row else row) for row in rows]

    def equal(self) -> bool:
        """Whether both write the same."""
        return self.ours() == self.theirs()


def _seconds(side: Callable[[], object]) -> float:
    start = time.perf_counter()
    side()
    return time.perf_counter() - start


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends a row for each size of the batch."""
    parser = argparse.ArgumentParser(prog="python -m bench.generate", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="runs a side (default 7)")
    parser.add_argument("--batches", nargs="*", type=int, default=list(BATCHES), help="texts at a time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    import transformers

    torch.set_num_threads(THREADS)
    lm = zoo.load_part("lm", "smollm2")
    peer = peer_of(lm)
    for rows in chosen.batches:
        race = Generation(lm, peer, rows)
        if not race.equal():
            raise SystemExit(f"generate, batch of {rows}: the sides differ")
        timings = alternate(partial(_seconds, race.ours), partial(_seconds, race.theirs), chosen.repeats)
        version = transformers.__version__
        named = {"race": "generate", "case": f"batch {rows}", "peer": "transformers", "peer_version": version}
        row = make_row(named, timings, unit="s", equal=True, surroundings=environment(threads=THREADS))
        append_row(row, chosen.results)


if __name__ == "__main__":
    main()
