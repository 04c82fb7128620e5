"""Race `embed_folder`: from a folder of JPEGs to their embeddings, decoding included, on 2 cores.

`ours` is what `deixis index` does with 3,000 new pictures or more: read, hashed and decoded in threads while the model
computes, by onnxruntime from a graph that was written before, and kept in a store, which is empty at each pass.
`sentence-transformers` is its `encode` of the opened files. `open_clip` is its model and its transform in a DataLoader
with two workers. `transformers` is its processor and its model in a loop. All have one set of weights, random and of
the shape of CLIP's ViT-B/32. The starter can be loaded by none of them: there `torch` is its tower and its
preprocessing in a DataLoader with two workers, each file opened by Pillow. `onnx` and `int8` are ours with nothing but
the graphs of `deixis export --onnx`, in float32 and in 8 bits.
`limit` is the tower alone: the forward pass over batches that are there already.

The files differ in a comment, so that no two have one content. Each pass is over another part of the folder, the sides
taking turns, so that at the end each has embedded all of it once. Before anything is timed, the embeddings of the first
files, among which each content is, are compared: the least cosine between ours and a peer's must reach what stands in
the case's name. What separates them is the reduced scale at which ours decodes large JPEGs; where it decodes them
whole, no value may differ by more than 1e-4 from open_clip's. transformers resizes tensors, which is another rounding;
the 8 bits of `int8` are told, not judged.

Memory is what a process of its own, which has loaded the model, holds more in the worst moment of a pass over the first
files, workers included (pages that several share counted once; looked at every 20 ms).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gzip
import importlib.metadata
import io
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from bench.decode import encode
from bench.rows import (
    LIMIT,
    RESULTS,
    Race,
    Timings,
    append_row,
    environment,
    limit_row,
    make_row,
    measure_apart,
)
from deixis import zoo
from deixis.engine.export import onnx, onnx_int8
from deixis.engine.export.image_graph import PAYS, image_graph
from deixis.engine.features.calls import PartCall
from deixis.engine.features.embedding import encode_once, vectors
from deixis.engine.features.store import FeatureStore
from deixis.files import cache_dir
from deixis.inputs.clip_bpe import ClipTokenizer
from deixis.nn.dual import DualEncoder
from deixis.types import ImageStates

__all__ = ["CASES", "PEERS", "RACE", "Case", "least_cosine", "limit", "main", "marked", "prepare"]

RACE = Race(
    measures="From a folder of JPEGs to their embeddings",
    peers=("sentence-transformers", "open_clip", "transformers", "torch", "onnx", "int8", "limit"),
    equal="embeddings of the first files: the least cosine in the case's name is reached",
)

THREADS, BATCH, DISTINCT = 2, 32, 4
FIRST = 64
"""Files that are compared, and that memory is measured on."""
AT_A_TIME = 128
"""Pictures that sentence-transformers is given in one call: it holds all of them decoded, 36 MB for 12 megapixels."""
MERGES = ("t h", "th e</w>")

Embed = Callable[[Sequence[Path]], np.ndarray]
"""From files to embeddings of length 1 [N, D], in order."""


class Case(NamedTuple):
    """Whose tower, the size of the pictures, whether ours may reduce them, and how alike the embeddings must be."""

    model: str
    width: int
    height: int
    reduced: bool
    cosine: float


CASES = {
    "ViT-B/32, 2 megapixels, cosine 0.999": Case("vit", 1632, 1224, True, 0.999),
    "ViT-B/32, 12 megapixels, cosine 0.999": Case("vit", 4032, 3024, True, 0.999),
    "ViT-B/32, 12 megapixels, decoded whole": Case("vit", 4032, 3024, False, 0.999),
    "starter, 2 megapixels, cosine 0.99": Case("starter", 1632, 1224, True, 0.99),
    "starter, 12 megapixels, cosine 0.99": Case("starter", 4032, 3024, True, 0.99),
}
PEERS = {
    "sentence-transformers": "sentence-transformers",
    "open_clip": "open_clip_torch",
    "transformers": "transformers",
    "torch": "torch",
    "onnx": "onnxruntime",
    "int8": "onnxruntime",
}
"""Of each other side: the package whose version is told."""


def prepare(folder: Path, case: Case, files: int, graphs: bool) -> None:
    """Writes the pictures of a case into `files`, and the model in the form of each side.

    Args:
        folder: that is there and empty.
        case: which pictures and which model.
        files: how many pictures.
        graphs: also as ONNX, which takes a while.
    """
    (folder / "files").mkdir(parents=True)
    contents = [encode(case.width, case.height, seed) for seed in range(min(DISTINCT, files))]
    for number in range(files):
        (folder / "files" / f"{number:05}.jpg").write_bytes(marked(contents[number % len(contents)], number))
    if case.model == "vit":
        _write_vit(folder)
    encoder = _encoder(folder, case)
    if graphs:
        (folder / "onnx").mkdir()
        onnx.write(encoder, folder / "onnx")
        paths = [folder / f"calibration-{seed}.jpg" for seed in range(16)]
        for seed, path in enumerate(paths):
            path.write_bytes(encode(640, 480, 1000 + seed))
        onnx_int8.quantise(folder / "onnx", encoder.read_images(paths))


def marked(data: bytes, number: int) -> bytes:
    """A JPEG with a comment behind its first mark."""
    comment = str(number).encode()
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]


def _write_vit(folder: Path) -> None:
    """A CLIP with random weights and the image tower of ViT-B/32, as transformers and as open_clip keep it."""
    import transformers as peers

    torch.manual_seed(0)
    (folder / "merges.gz").write_bytes(gzip.compress("\n".join(("#version", *MERGES)).encode()))
    tokenizer = ClipTokenizer.from_merges(folder / "merges.gz")
    vocabulary = 512 + len(MERGES) + 2
    text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 1}
    text |= {"vocab_size": vocabulary, "eos_token_id": vocabulary - 1, "bos_token_id": vocabulary - 2}
    with _silence():
        model = peers.CLIPModel(peers.CLIPConfig(text_config=text, projection_dim=512))
        model.save_pretrained(folder / "transformers")
        peers.CLIPImageProcessor().save_pretrained(folder / "transformers")
    (folder / "transformers" / "tokenizer.json").write_text(json.dumps(tokenizer.to_dict()), encoding="utf-8")
    encoder = zoo.load(folder / "transformers")
    zoo.save_as(encoder, folder / "openclip", "openclip")
    zoo.save_as(encoder, folder / "transformers", "huggingface")  # with all that a processor is made of


def _encoder(folder: Path, case: Case) -> DualEncoder:
    encoder = zoo.load(folder / "transformers" if case.model == "vit" else "starter").eval()
    plan = dataclasses.replace(encoder.preprocess, reduce=2 if case.reduced else 0)
    if case.model == "vit":
        plan = dataclasses.replace(plan, mode="crop")  # of an odd number of pixels, cuts off as open_clip does
    encoder.preprocess = plan
    return encoder


# --- the sides --------------------------------------------------------------------------------------------------------


def _ours(folder: Path, case: Case) -> Embed:
    return _pipeline(_encoder(folder, case), by_graph=True)


def _pipeline(encoder: DualEncoder, by_graph: bool = False) -> Embed:
    graph = image_graph(encoder, PAYS) if by_graph else None
    if by_graph and graph is None:
        raise SystemExit("ours: onnxruntime can't embed for this model here")
    call = PartCall.states(encoder, graph)  # once a run, as its fingerprint

    def embed(paths: Sequence[Path]) -> np.ndarray:
        with (
            tempfile.TemporaryDirectory() as place,
            contextlib.closing(FeatureStore(Path(place) / "features.sqlite")) as store,
        ):
            found = encode_once(call, list(paths), store)
            return vectors(call, found.hashes, store).numpy()

    return embed


def _sentence_transformers(folder: Path, case: Case) -> Embed:
    with _silence():
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(folder / "transformers"), device="cpu")

    def embed(paths: Sequence[Path]) -> np.ndarray:
        with _silence():
            rows = []
            for start in range(0, len(paths), AT_A_TIME):
                pictures = [Image.open(path) for path in paths[start : start + AT_A_TIME]]
                rows.append(model.encode(pictures, batch_size=BATCH, normalize_embeddings=True))
            return np.concatenate(rows)

    return embed


class _Files(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Files through open_clip's transform."""

    def __init__(self, paths: Sequence[Path], transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as picture:
            return self.transform(picture)


def _open_clip(folder: Path, case: Case) -> Embed:
    import open_clip

    with _silence():
        model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder / 'openclip'}")
    return _loop(transform, model.eval().encode_image)


def _torch(folder: Path, case: Case) -> Embed:
    encoder = zoo.load("starter").eval()
    plan = dataclasses.replace(encoder.preprocess, reduce=0)
    return _loop(lambda picture: plan.read([picture])[0], encoder.encode_image)


def _loop(
    transform: Callable[[Image.Image], torch.Tensor], encode_image: Callable[[torch.Tensor], torch.Tensor]
) -> Embed:
    def embed(paths: Sequence[Path]) -> np.ndarray:
        loader = torch.utils.data.DataLoader(_Files(paths, transform), BATCH, num_workers=THREADS)
        with torch.inference_mode():
            return torch.cat([nn.functional.normalize(encode_image(images), dim=-1) for images in loader]).numpy()

    return embed


def _transformers(folder: Path, case: Case) -> Embed:
    with _silence():
        import transformers as peers

        model = peers.CLIPModel.from_pretrained(folder / "transformers").eval()
        processor = peers.CLIPProcessor.from_pretrained(folder / "transformers")

    def embed(paths: Sequence[Path]) -> np.ndarray:
        rows = []
        with torch.inference_mode():
            for start in range(0, len(paths), BATCH):
                pictures = [Image.open(path) for path in paths[start : start + BATCH]]
                pixels = processor(images=pictures, return_tensors="pt")["pixel_values"]
                found = model.get_image_features(pixel_values=pixels)
                rows.append(nn.functional.normalize(getattr(found, "pooler_output", found), dim=-1))
        return torch.cat(rows).numpy()

    return embed


class _Graph(nn.Module):
    """An image tower that onnxruntime computes."""

    def __init__(self, folder: Path, encoder: DualEncoder, int8: bool) -> None:
        super().__init__()
        self.graphs = onnx.Graphs(folder / "onnx", int8=int8, threads=THREADS)
        self.width, self.feature_width = encoder.width, 0

    def forward(self, images: torch.Tensor) -> ImageStates:
        found = torch.as_tensor(self.graphs.encode_image(images))
        return ImageStates(found, found[:, :0], found.new_zeros(len(found)))


def _onnx(folder: Path, case: Case) -> Embed:
    return _graph(folder, case, int8=False)


def _int8(folder: Path, case: Case) -> Embed:
    return _graph(folder, case, int8=True)


def _graph(folder: Path, case: Case, int8: bool) -> Embed:
    encoder = _encoder(folder, case)
    parts = {"tokenizer": encoder.tokenizer, "preprocess": encoder.preprocess, "traits": encoder.traits}
    return _pipeline(DualEncoder(_Graph(folder, encoder, int8), encoder.text_tower, **parts).eval())


SIDES: dict[str, Callable[[Path, Case], Embed]] = {
    "ours": _ours,
    "sentence-transformers": _sentence_transformers,
    "open_clip": _open_clip,
    "transformers": _transformers,
    "torch": _torch,
    "onnx": _onnx,
    "int8": _int8,
}


def sides_of(case: Case) -> list[str]:
    """The sides that can run a case."""
    others: tuple[str, ...] = (
        ("torch",) if case.model == "vit" else ("sentence-transformers", "open_clip", "transformers")
    )
    return [side for side in SIDES if side not in others]


def limit(folder: Path, case: Case) -> Callable[[int], float]:
    """Measures the images a second of our image tower alone, over so many that need no decoding."""
    encoder = _encoder(folder, case)
    images = torch.randn(BATCH, 3, *encoder.preprocess.shape)

    @torch.inference_mode()
    def rate(count: int) -> float:
        start = time.perf_counter()
        for first in range(0, count, BATCH):
            encoder.encode_image(images[: count - first])
        return count / (time.perf_counter() - start)

    return rate


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The peers print progress and warn of what is no fault here."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


# --- the race ---------------------------------------------------------------------------------------------------------


def least_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Between two sides' embeddings of a file, of the file where it is least."""
    if one.shape != other.shape:
        raise SystemExit(f"one side gives {one.shape} numbers and the other {other.shape}")
    return float((one.astype(float) * other).sum(axis=1).min())


def _compare(name: str, found: dict[str, np.ndarray]) -> None:
    """Ends the race where a side gives other embeddings."""
    case = CASES[name]
    for side, other in found.items():
        cosine, most = least_cosine(found["ours"], other), float(np.abs(found["ours"] - other).max())
        print(f"{name}: {side} least cosine {cosine:.6f}, largest difference {most:.2g}", flush=True)
        if side not in ("int8", "ours") and cosine < case.cosine:
            raise SystemExit(f"{name}: {side} gives other embeddings, the least cosine is {cosine:.6f}")
        if side == "open_clip" and not case.reduced and most > 1e-4:
            raise SystemExit(f"{name}: {side} differs by {most:.2g} though nothing was reduced")


def _race(name: str, files: int, repeats: int, wished: Sequence[str], results: Path) -> None:
    case = CASES[name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, case, files, graphs=not {"onnx", "int8"}.isdisjoint(wished))
        paths = sorted((folder / "files").iterdir())
        sides = {side: SIDES[side](folder, case) for side in sides_of(case) if side in ("ours", *wished)}
        _compare(name, {side: embed(paths[:FIRST]) for side, embed in sides.items()})  # this warms up, too
        rates: dict[str, list[float]] = {side: [] for side in (*sides, LIMIT)}
        tower = limit(folder, case)
        tower(BATCH)
        for part in range(repeats):
            some = paths[part::repeats]
            for side, embed in sides.items():
                start = time.perf_counter()
                embed(some)
                rates[side].append(len(some) / (time.perf_counter() - start))
            rates[LIMIT].append(tower(len(some)))
        memory = {side: [_peak(folder, name, side) for _ in range(2)] for side in sides}
        if case.model == "vit":  # nobody else has a model of these weights
            fingerprint = _encoder(folder, case).fingerprint()
            shutil.rmtree(cache_dir("image-graphs") / fingerprint[:16], ignore_errors=True)
    for peer in sides:
        if peer != "ours":
            told = {"race": "embed_folder", "peer": peer, "peer_version": importlib.metadata.version(PEERS[peer])}
            equal = None if peer == "int8" else True
            for unit, values in (("images/s", rates), ("MB", memory)):
                case_name = name if unit == "images/s" else f"{name}, memory"
                timings = Timings(values["ours"], values[peer])
                row = make_row(
                    {**told, "case": case_name}, timings, unit=unit, equal=equal, surroundings=environment(THREADS)
                )
                append_row(row, results)
    timings, told = Timings(rates["ours"], rates[LIMIT]), {"unit": "images/s", "package": "torch"}
    append_row(limit_row("embed_folder", name, timings, **told, surroundings=environment(THREADS)), results)


def _peak(folder: Path, name: str, side: str) -> float:
    return float(measure_apart("bench.embed_folder", "--apart", side, "--place", str(folder), "--cases", name)["mb"])


def _apart(side: str, folder: Path, name: str) -> None:
    """One pass of a side in a process of its own; prints what it took."""
    embed, paths = SIDES[side](folder, CASES[name]), sorted((folder / "files").iterdir())[:FIRST]
    before, most, done = _held(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], _held())

    watcher = threading.Thread(target=watch)
    watcher.start()
    embed(paths)
    done.set()
    watcher.join()
    sys.stdout.write(json.dumps({"mb": most[0] - before}) + "\n")


def _held() -> float:
    """MB (10^6 bytes) that this process and its children hold (Linux)."""
    total = 0.0
    for each in (os.getpid(), *map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())):
        with contextlib.suppress(OSError):  # it has just ended
            lines = Path(f"/proc/{each}/smaps_rollup").read_text(encoding="utf-8").splitlines()
            total += next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))
    return total


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows a case and peer, images a second and memory, and one of the limit."""
    parser = argparse.ArgumentParser(prog="python -m bench.embed_folder", description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000, help="pictures in the folder (default 1000)")
    parser.add_argument("--repeats", type=int, default=4, help="passes a side, each over another part (default 4)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="against whom")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    parser.add_argument("--apart", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    chosen: Any = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    if chosen.apart:
        _apart(chosen.apart, chosen.place, chosen.cases[0])
        return
    for name in chosen.cases:
        _race(name, chosen.files, chosen.repeats, chosen.peers, chosen.results)


if __name__ == "__main__":
    main()
