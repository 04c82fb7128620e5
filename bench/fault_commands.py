"""What `fault_rows` kills: commands, pictures for them, and a package index on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from deixis.apps.search.calibration import is_stale
from deixis.data.datasets.sources.wheels import CLIP_BPE
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.indexing.index import Index
from deixis.inputs.images import load_image

__all__ = [
    "COMMANDS",
    "Command",
    "curves_digest",
    "files_digest",
    "index_digest",
    "lay_out",
    "package_index",
    "weights_digest",
]

_PICTURES, _NEW = 72, 24
_TABLE = "captions.csv"
_OWED = "to be measured again"
_DOWNLOAD = 1.5  # seconds that a download takes, so that a kill can come while it goes on


def _before_or_after(before: str, after: str) -> set[str]:
    return {before, after}


class Command(NamedTuple):
    """What is killed.

    Attributes:
        arguments: of `deixis`; DATA and MORE stand for tables of pictures, OUT for a folder of the trial.
        state: of what it leaves at OUT, as a digest.
        begins_with: the command that made what lies at OUT before; empty: nothing lies there.
        ranks: processes that share the work, under torchrun.
        resumes: whether an unfinished OUT is how it resumes; else OUT is there whole or not at all.
        program: what Python runs.
        out: where OUT is in the folder of a trial, beside `cache`.
        wheels: requirements that a package index on this machine has for it.
        whole: of the states before and after, those in which what lies at OUT is whole.
    """

    arguments: tuple[str, ...]
    state: Callable[[Path], str]
    begins_with: tuple[str, ...] = ()
    ranks: int = 1
    resumes: bool = False
    program: tuple[str, ...] = ("-m", "deixis")
    out: str = "out"
    wheels: tuple[str, ...] = ()
    whole: Callable[[str, str], set[str]] = _before_or_after


def files_digest(out: Path, *patterns: str) -> str:
    """A digest of the files that fit, names included."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in out.glob(pattern) if path.is_file()}):
        digest.update(path.relative_to(out).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def weights_digest(out: Path) -> str:
    return files_digest(out, "*.safetensors", "model/*.safetensors")


def index_digest(out: Path) -> str:
    """Digests of ids and vectors, however they are laid out in files, and of what searches are judged by, or that this
    is to be measured again; the index must be sound."""
    opened = Index.open(out / "index", verify=True)
    digest = hashlib.sha256(weights_digest(out).encode())
    for row, item in sorted(opened.items(), key=lambda pair: str(pair[1]["id"])):
        digest.update(str(item["id"]).encode() + b"\0" + opened.vector(row).tobytes())
    return f"{digest.hexdigest()} {_OWED if is_stale(out) else files_digest(out, 'relevance.json')}"


def _or_owed(before: str, after: str) -> set[str]:
    """An index that is changed says first that its searches are to be measured again, and is whole all the while."""
    return {before, after, *(f"{each.split()[0]} {_OWED}" for each in (before, after))}


def curves_digest(out: Path) -> str:
    """A digest of what the runs of a claim measured; how long they took is another thing each time."""
    digest = hashlib.sha256()
    for path in sorted(out.glob("*[0-9a-f].json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        digest.update(path.name.encode() + json.dumps([facts["curve"], facts.get("values")]).encode())
    return digest.hexdigest()


_TRAIN = ("train", "clip", "--data", "DATA", "--config", "tiny", "--out", "OUT")
_STEPS = ("--steps", "40", "--batch-size", "8", "--checkpoint-every", "5")
_INDEX = ("index", "DATA", "--model", "tiny", "--out", "OUT")

COMMANDS = {
    "train": Command((*_TRAIN, *_STEPS), weights_digest, resumes=True),
    "train, two ranks": Command((*_TRAIN, *_STEPS), weights_digest, ranks=2, resumes=True),
    "train, no reading threads": Command((*_TRAIN, *_STEPS, "--workers", "0"), weights_digest, resumes=True),
    "train, frozen columns": Command(("train", "gist", *_TRAIN[2:], *_STEPS), weights_digest, resumes=True),
    "adapt": Command(("adapt", "DATA", "--model", "tiny", "--out", "OUT"), index_digest),
    "index": Command(_INDEX, index_digest),
    "index --update": Command(
        ("index", "MORE", "--out", "OUT", "--update"), index_digest, begins_with=_INDEX, whole=_or_owed
    ),
    "pack": Command(("pack", "DATA", "--shards", "OUT", "--size", "10"), lambda out: files_digest(out, "*")),
    "claim": Command(("OUT",), curves_digest, resumes=True, program=("-m", "tests.toy_claims")),
    "data get": Command(
        ("data", "get", "clip-bpe"),
        lambda out: files_digest(out, "*"),
        out="cache/clip-bpe",
        wheels=tuple(f"{each.package}=={each.version}" for each in CLIP_BPE),
    ),
}
"""Name -> what is killed. `claim` tries a claim of toys, in as many processes as others."""


def lay_out(folder: Path) -> None:
    """DATA and MORE: folders of pictures of shapes, each with a table of captions and kinds."""
    samples = scenes(0, _PICTURES + _NEW, side=48, config=SceneConfig(cast="shapes", masks=False)).samples
    for name, part in (("DATA", samples[:_PICTURES]), ("MORE", samples[_PICTURES:])):
        (folder / name).mkdir(parents=True)
        lines = ["path,caption,label"]
        for number, sample in enumerate(part):
            pixels = load_image(sample.picture).permute(1, 2, 0).contiguous().numpy()
            path = folder / name / f"{number:03}.png"
            Image.fromarray(pixels).save(path)
            lines.append(f'{path.name},"{sample.captions[0]}",{sample.regions[0].category}')
        (folder / name / _TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")


@contextlib.contextmanager
def package_index(wheels: Sequence[str], folder: Path) -> Iterator[dict[str, str]]:
    """Serves packages on this machine, slowly; gives the variables by which pip finds them.

    Args:
        wheels: requirements, which are downloaded here first.
        folder: where they lie.

    Raises:
        SystemExit: they can't be had.
    """
    folder.mkdir()
    options = ("--no-deps", "--only-binary=:all:", "--ignore-requires-python", "-q", "--dest", str(folder))
    if subprocess.run([sys.executable, "-m", "pip", "download", *options, *wheels]).returncode:
        raise SystemExit(f"{', '.join(wheels)} can't be downloaded, so nothing of it can be killed.")
    handler = type("Handler", (_Packages,), {"folder": folder})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield {
                "PIP_INDEX_URL": f"http://127.0.0.1:{server.server_port}/",
                "PIP_CONFIG_FILE": "/dev/null",
                "PIP_NO_CACHE_DIR": "1",
                "PIP_EXTRA_INDEX_URL": "",
                "NO_PROXY": "127.0.0.1",
            }
        finally:
            server.shutdown()


class _Packages(http.server.BaseHTTPRequestHandler):
    """A page with a link to each file, and the files."""

    folder: Path

    def do_GET(self) -> None:
        """Answers; who has been killed does not hear it."""
        path = self.folder / Path(self.path).name
        if path.is_file():
            body, kind = path.read_bytes(), "application/octet-stream"
        else:
            links = (f'<a href="/{each.name}">{each.name}</a>' for each in self.folder.iterdir())
            body, kind = f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode(), "text/html"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        step = -(-len(body) // 30)
        with contextlib.suppress(OSError):
            for start in range(0, len(body), step):
                self.wfile.write(body[start : start + step])
                time.sleep(_DOWNLOAD / 30 * (kind != "text/html"))

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""
