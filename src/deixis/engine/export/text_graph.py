"""The text side of a model as an ONNX graph, so that a search by words from the shell need not import torch.

    INDEX/text-graph.json      of which model, the graph's file and its hash, how far it is from the model
    INDEX/text-residual.npy    B and c of a `TextResidual` [D, D + 1]; absent where texts are not corrected
    CACHE/text-graphs/HASH     the graph of the tower, one for all runs that stand on it, and its tokenizer

Written where the packages of the extra `export` are installed, for models whose text tower has a name; read where
onnxruntime is. Whatever else is found, nothing is said, and the model itself reads the words.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from deixis.files import atomic_folder, cache_dir, content_hash, write_json

if TYPE_CHECKING:
    from deixis.nn.dual import DualEncoder

__all__ = ["FILE", "LIMIT", "RESIDUAL", "TextGraph", "read_text_graph", "write_text_graph"]

FILE, RESIDUAL = "text-graph.json", "text-residual.npy"
FORMAT = 1

LIMIT = 1e-5
"""The largest difference of an embedding's value that is let pass."""

_PACKAGES = ("onnx", "onnxscript", "onnxruntime", "tokenizers")
_GRAPH, _RULES = "text.onnx", "tokenizer.json"
_FILES = (_GRAPH, f"{_GRAPH}.data", _RULES)
_PROBES = (
    "a red bird",
    "a",
    "A wooden boat on a lake, early in the morning; nobody is there.",
    "\u00e9t\u00e9 12 [SEP]",
    "word " * 400,
)
_TOY = 1_000_000  # numbers of a tower; below, nobody waits for it
_SMALLEST = 1e-12  # torch's, of normalising


@dataclasses.dataclass(frozen=True)
class TextGraph:
    """What encodes texts without torch.

    Attributes:
        session: of onnxruntime.
        rules: a tokenizer of the `tokenizers` package, which cuts texts that are too long.
        residual: B and c beside each other [D, D + 1], and their strength; None where texts are not corrected.
    """

    session: Any
    rules: Any
    residual: tuple[Float32[np.ndarray, "D E"], float] | None

    def encode_text(self, texts: Sequence[str]) -> Float32[np.ndarray, "N D"]:
        """Embeddings of length 1, as the model's own `encode_text` gives them, but for `LIMIT`.

        Args:
            texts: N of them, at least one.
        """
        rows = [self._row(text) for text in texts]  # one by one: padding costs more than it saves for a few words
        return np.concatenate(rows).astype(np.float32)

    def _row(self, text: str) -> Float32[np.ndarray, "1 D"]:
        clean = text.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no character
        tokens = np.array([self.rules.encode(clean).ids], dtype=np.int64)
        (row,) = self.session.run(None, {"tokens": tokens, "mask": np.ones_like(tokens, dtype=bool)})
        if self.residual is None:
            return np.asarray(row, np.float32)
        linear, strength = self.residual
        moved = row + strength * (row @ linear[:, :-1].T + linear[:, -1])
        return np.asarray(moved / max(float(np.linalg.norm(moved)), _SMALLEST), np.float32)


def read_text_graph(index: Path, fingerprint: str) -> TextGraph | None:
    """The text side of the model that made an index; None where there is none to be had, or it is damaged.

    Args:
        index: the folder of the index.
        fingerprint: of the model that made it.
    """
    try:
        facts = json.loads((index / FILE).read_text(encoding="utf-8"))
        if facts["format"] != FORMAT or facts["fingerprint"] != fingerprint:
            return None
        residual = None
        if facts["correction"] is not None:
            if content_hash(index / RESIDUAL) != facts["correction"]["hash"]:
                return None
            residual = np.load(index / RESIDUAL, allow_pickle=False), float(facts["correction"]["strength"])
        folder = cache_dir("text-graphs") / facts["graph"]
        return _open(folder, facts["length"], residual) if _hashes(folder) == facts["hashes"] else None
    except Exception:  # whatever it is, the model itself can read the words, and says what is wrong with it
        return None


def _hashes(folder: Path) -> dict[str, str]:
    return {name: content_hash(folder / name) for name in _FILES}


def _open(folder: Path, length: int, residual: tuple[Float32[np.ndarray, "D E"], float] | None) -> TextGraph:
    import onnxruntime
    from tokenizers import Tokenizer

    # For one short text, opening takes longer than running: nothing is rearranged, and weights stay where they lie.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.log_severity_level = 4  # it prints to the terminal otherwise
    session = onnxruntime.InferenceSession(folder / _GRAPH, options, providers=["CPUExecutionProvider"])
    rules = Tokenizer.from_file(str(folder / _RULES))
    rules.no_padding()
    rules.enable_truncation(length)
    rules.encode_special_tokens = True
    return TextGraph(session, rules, residual)


def write_text_graph(encoder: DualEncoder, index: Path, say: Callable[[str], None] | None = None) -> bool:
    """Writes what `read_text_graph` reads, where that can be done; whether it was.

    The graph of a tower is made once, which takes some ten seconds, and kept in the cache. A tower that was trained
    itself, or has no name, would need one of its own for a single run; it gets none, and nor do toys.

    Args:
        encoder: the model that made the index.
        index: the folder of the index.
        say: is told when it will take some seconds.
    """
    if any(importlib.util.find_spec(package) is None for package in _PACKAGES) or not _can_be_written(encoder):
        return False
    bare = encoder.with_adapters(None, None).text_side()
    if not _folder(bare).is_dir():
        if not _has_name(bare):
            return False
        if say is not None:
            say(f"The text side of {encoder.name} is written as a graph, once: searches by words then start sooner.")
    return _write(encoder, bare, index)


def _can_be_written(encoder: DualEncoder) -> bool:
    from deixis.nn.adaptation.adapters import TextResidual

    if not encoder.reads_text or encoder.traits.similarity == "tokens":
        return False
    large = sum(value.numel() for value in encoder.text_tower.parameters()) >= _TOY
    return large and isinstance(encoder.text_adapter, TextResidual | None)


def _has_name(bare: DualEncoder) -> bool:
    """Whether the text tower is that of the model by this name, unchanged."""
    from deixis import zoo
    from deixis.zoo import scratch

    return not scratch.is_new(bare) and bare.fingerprint() == zoo.load(bare.name).text_side().fingerprint()


def _folder(bare: DualEncoder) -> Path:
    """Where the graph of a text side without adapter lies."""
    return cache_dir("text-graphs") / bare.fingerprint()[:16]


def _write(encoder: DualEncoder, bare: DualEncoder, index: Path) -> bool:
    from deixis.errors import DeixisError

    folder = _folder(bare)
    try:
        _make_graph(bare, folder)
    except DeixisError:  # the tower does something that ONNX has no operator for
        return False
    facts: dict[str, Any] = {
        "format": FORMAT,
        "fingerprint": encoder.fingerprint(),
        "graph": folder.name,
        "hashes": _hashes(folder),
        "length": encoder.context_length,
        "correction": None,
    }
    residual = None
    if encoder.text_adapter is not None:
        adapter: Any = encoder.text_adapter
        weight, bias = adapter.linear.weight.numpy(force=True), adapter.linear.bias.numpy(force=True)
        weights = np.concatenate([weight, bias[:, None]], axis=1)
        residual = weights, float(adapter.strength)
        np.save(index / RESIDUAL, weights)
        facts["correction"] = {"hash": content_hash(index / RESIDUAL), "strength": residual[1]}
    graph = _open(folder, encoder.context_length, residual)
    wanted = encoder.encode_text(list(_PROBES)).numpy(force=True)
    difference = float(np.abs(graph.encode_text(_PROBES) - wanted).max())
    if not difference <= LIMIT:
        (index / RESIDUAL).unlink(missing_ok=True)
        return False
    write_json(index / FILE, {**facts, "largest_difference": difference})
    return True


def _make_graph(bare: DualEncoder, folder: Path) -> None:
    """Makes sure that the graph of a tower is in the cache."""
    from deixis.engine.export import onnx

    if not all((folder / name).is_file() for name in _FILES):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder) as part:
            onnx.write_side(bare, "text", part, weights_beside=True)
            rules = json.dumps(bare.tokenizer.to_dict(), ensure_ascii=False)
            (part / _RULES).write_text(rules, encoding="utf-8")
