"""The tokenizer of a GGUF file, made again from its tokens and merges: pairs of bytes, as GPT-2 has them."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors

from deixis.errors import DeixisError
from deixis.inputs.tokenizer import Tokenizer

__all__ = ["SPLITS", "byte_pair_tokenizer"]

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {
    "gpt-2": None,
    "smollm": None,
    "qwen2": rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_REST}",
    "llama-bpe": rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}",
}
"""How a text is cut before pairs are merged, by the name in the file; None: as GPT-2's is."""

_CONTROL, _USER = 3, 4
_KEY = "tokenizer.ggml."


def byte_pair_tokenizer(entries: Mapping[str, Any], source: str) -> Tokenizer:
    """A tokenizer from the entries of a GGUF file.

    A byte without a token is left out of a text, as by the model's own tokenizer: SmolLM's lacks control characters.

    Args:
        entries: those with `tokenizer.ggml.` before their names are read.
        source: what errors call the file.

    Raises:
        DeixisError: it is of another kind, or its merges do not fit its tokens.
    """
    kind, cut = entries.get(f"{_KEY}model"), entries.get(f"{_KEY}pre", "gpt-2")
    if kind != "gpt2" or cut not in SPLITS:
        found = f"of the kind {kind!r}" if kind != "gpt2" else f"that cuts texts by {cut!r}"
        raise DeixisError(
            f"{source} has a tokenizer {found}.", f"Those that are known: gpt2, cutting by {', '.join(SPLITS)}."
        )
    tokens: list[str] = list(entries.get(f"{_KEY}tokens", ()))
    merges = [tuple(each.split(" ")) for each in entries.get(f"{_KEY}merges", ())]
    types = entries.get(f"{_KEY}token_type", [1] * len(tokens))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    try:
        rules = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    except Exception as error:  # the package raises plain Exception
        raise DeixisError(
            f"The tokenizer in {source} contradicts itself: {error}.", "The file is damaged; fetch it again."
        ) from error
    if lacking := [
        each for each in string.ascii_letters + string.digits + string.punctuation if each not in vocabulary
    ]:
        raise DeixisError(
            f"The tokenizer in {source} has no token for {lacking[0]!r} ({len(lacking)} such).",
            "Its tokens are no pieces of bytes, or the file is damaged; fetch it again.",
        )
    rules.pre_tokenizer, rules.decoder = _cutter(cut), decoders.ByteLevel()
    for number, token in enumerate(tokens):
        if types[number] in (_CONTROL, _USER):
            rules.add_special_tokens([AddedToken(token, normalized=False, special=types[number] == _CONTROL)])
    start = entries.get(f"{_KEY}bos_token_id")
    if entries.get(f"{_KEY}add_bos_token") and start is not None:
        rules.post_processor = processors.TemplateProcessing(
            single=[tokens[start], "$A"], special_tokens=[(tokens[start], start)]
        )
    return Tokenizer(rules)


def _cutter(cut: str) -> Any:
    pattern = SPLITS[cut]
    if pattern is not None:
        whole = pre_tokenizers.Split(Regex(pattern), "isolated")
        return pre_tokenizers.Sequence([whole, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words]) if cut == "smollm" else words
