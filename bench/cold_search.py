"""Race `cold_search`: from a shell's prompt to the ten best pictures for some words, and the memory that takes.

Each side is a fresh process that reads the same vectors and the same MiniLM weights: ours `deixis search RUN WORDS`,
which runs the text side as an ONNX graph without importing torch, and checks it by hash; sentence-transformers'
`encode` and a product in numpy; ours where no graph is to be had, with torch and the text side (case `torch`); and ours
as it was at first, the whole model loaded (case `whole`). The ten answers and their order are compared in
every run. Time is that of the whole process, memory its largest resident size.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.rows import RESULTS, ROOT, Race, Timings, alternate, append_row, child_environment, environment, make_row

__all__ = ["CASES", "RACE", "lay_out", "main"]

RACE = Race(
    measures="From a shell's prompt to the ten best pictures for some words",
    peers=("sentence-transformers", "deixis, torch", "deixis, whole model"),
    equal="the ten answers and their order",
)

COUNT, WORDS, K = 20_000, "a red bird", 10

_PEER = """
import json, sys
import numpy as np
from sentence_transformers import SentenceTransformer
folder, words, k = sys.argv[1:]
vectors, centre = np.load(f"{folder}/vectors.npy", mmap_mode="r"), np.load(f"{folder}/centre.npy")
query = SentenceTransformer(f"{folder}/minilm", device="cpu").encode(words, normalize_embeddings=True) - centre
scores = vectors @ (query / np.linalg.norm(query))
print(json.dumps([f"{row}.jpg" for row in np.argsort(-scores)[: int(k)].tolist()]))
"""

_WHOLE = """
import json, sys
from deixis.apps.search.query import Query
from deixis.apps.search.searcher import Searcher
folder, words, k = sys.argv[1:]
searcher = Searcher(f"{folder}/run")
searcher.encoder
print(json.dumps([found.item["id"] for found in searcher.search(Query((words,)), int(k))]))
"""

CASES = ("sentence-transformers", "torch", "whole")
_PEERS = {"torch": "deixis, torch", "whole": "deixis, whole model"}


def lay_out(folder: Path) -> None:
    """The run, and the same vectors and weights in the peer's form."""
    from sentence_transformers import SentenceTransformer, models

    from deixis import zoo
    from deixis.engine.export.text_graph import write_text_graph
    from deixis.files import cache_dir
    from deixis.indexing.changes import build
    from deixis.zoo import starter

    encoder = zoo.load("starter")
    rng = np.random.default_rng(0)
    base = encoder.encode_text([f"{colour} {thing}" for colour in _COLOURS for thing in _THINGS]).numpy()
    mixed = rng.dirichlet(np.full(len(base), 0.05), COUNT) @ base + 0.02 * rng.normal(size=(COUNT, encoder.width))
    vectors = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
    items = [{"id": f"{i}.jpg", "path": f"/pictures/{i}.jpg", "captions": [], "label": None} for i in range(COUNT)]
    zoo.save(encoder, folder / "run" / "model")
    build(folder / "run" / "index", vectors, items, model=encoder.name, fingerprint=encoder.fingerprint())
    shutil.copytree(folder / "run", folder / "torch")
    if not write_text_graph(encoder, folder / "run" / "index"):
        raise SystemExit("The graph of the text side could not be written: install deixis[export].")
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "centre.npy", encoder.text_tower.centre.numpy())
    bert = folder / "bert"
    bert.mkdir()
    shutil.copy(cache_dir("starter") / starter.FILES["text"], bert / "model.safetensors")
    shutil.copy(cache_dir("starter") / starter.FILES["tokenizer"], bert / "tokenizer.json")
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": starter.MINILM.vocabulary,
        "hidden_size": starter.MINILM.width,
        "num_hidden_layers": starter.MINILM.depth,
        "num_attention_heads": starter.MINILM.heads,
        "intermediate_size": starter.MINILM.hidden,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    }
    (bert / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (bert / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}), encoding="utf-8")
    words = models.Transformer(str(bert), max_seq_length=starter.CONTEXT)
    pooled = models.Pooling(words.get_word_embedding_dimension(), "mean")
    SentenceTransformer(modules=[words, pooled], device="cpu").save(str(folder / "minilm"))


_COLOURS = ("red", "green", "blue", "yellow", "black", "white", "brown", "grey")
_THINGS = ("bird", "boat", "house", "chair", "dog", "car", "tree", "flower", "cup", "shoe", "fish", "book")


def _measured(command: Sequence[str]) -> tuple[float, float, list[str]]:
    """Seconds, MB (10^6 bytes) at the peak, and the answers, of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=child_environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command[:3])}... ended with {status}.")
    found = json.loads(printed)
    answers = [each["item"]["id"] for each in found["found"]] if isinstance(found, dict) else found
    return seconds, used.ru_maxrss * 1024 / 1e6, answers


def _sides(folder: Path, case: str) -> tuple[list[str], list[str]]:
    deixis = str(Path(sys.executable).with_name("deixis"))
    ours = [deixis, "search", str(folder / "run"), WORDS, "--json", "--k", str(K)]
    if case == "torch":
        return ours, [each.replace(str(folder / "run"), str(folder / "torch")) for each in ours]
    script = _PEER if case == "sentence-transformers" else _WHOLE
    return ours, [sys.executable, "-c", script, str(folder), WORDS, str(K)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows a case: seconds and megabytes."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold_search", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="measurements a side (default 9, at least 7)")
    parser.add_argument("--cases", nargs="*", choices=CASES, default=CASES, help="which cases to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    if chosen.repeats < 7:
        parser.error("fewer than 7 measurements say too little")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: a child's peak counts what its parent held when it was started.
        lay = f"from pathlib import Path; from bench.cold_search import lay_out; lay_out(Path({name!r}))"
        subprocess.run([sys.executable, "-c", lay], check=True, cwd=ROOT, env=child_environment())
        for case in chosen.cases:
            _race(folder, case, chosen.repeats, chosen.results)


def _race(folder: Path, case: str, repeats: int, results: Path) -> None:
    ours, theirs = _sides(folder, case)
    seen: dict[str, list[tuple[float, float, list[str]]]] = {"ours": [], "theirs": []}

    def run(side: str, command: Sequence[str]) -> Callable[[], float]:
        def once() -> float:
            seen[side].append(_measured(command))
            return seen[side][-1][0]

        return once

    seconds = alternate(run("ours", ours), run("theirs", theirs), repeats)
    answers = [answer for side in seen.values() for _, _, answer in side]
    equal = all(answer == answers[0] for answer in answers)
    memory = Timings(*([mb for _, mb, _ in side[1:]] for side in seen.values()))
    name = "deixis" if case in _PEERS else case
    peer = {"peer": _PEERS.get(case, case), "peer_version": importlib.metadata.version(name)}
    for unit, timings in (("s", seconds), ("MB", memory)):
        row = make_row(
            {"race": "cold_search", "case": f"{COUNT} pictures, {'time' if unit == 's' else 'memory'}", **peer},
            timings,
            unit=unit,
            equal=equal,
            surroundings=environment(threads=os.cpu_count() or 1),
        )
        append_row(row, results)


if __name__ == "__main__":
    main()
