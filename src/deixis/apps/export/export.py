"""`deixis export`: writes a model for other programs, checks what was written, and says what it costs."""

from __future__ import annotations

import importlib.metadata
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deixis import zoo
from deixis.apps.common.console import Reporter
from deixis.apps.common.formatting import points
from deixis.apps.common.options import Reading
from deixis.apps.common.runs import Clock, free_name, run_folder, versions
from deixis.apps.common.sentences import METRIC_NAMES, in_points
from deixis.apps.export.export_pairs import Material, PairLimits, read_and_encode
from deixis.apps.export.settings import ExportSettings
from deixis.apps.report import model_card
from deixis.apps.report.model_card import Form, Subject
from deixis.engine.adaptation.evaluate import intervals
from deixis.engine.export import onnx, onnx_int8
from deixis.errors import DeixisError
from deixis.files import public_name, write_json
from deixis.nn.dual import DualEncoder
from deixis.ops.metrics import retrieval

__all__ = ["LIMIT", "export"]

LIMIT = 1e-4
"""The largest difference of an embedding's value that is let pass."""

_PAIRS, _CALIBRATION, _FEWEST = 1000, 64, 10
_METRICS = tuple(
    f"{side}_{name}" for side in ("image_to_text", "text_to_image", "mean") for name in ("r1", "r10", "mrr")
)
_FITTED = (
    "The model was trained on these pairs, too: the levels are no test of it, and on new pairs, which --data can name, "
    "the loss by 8 bits may be larger."
)
Encode = Callable[[Any], Tensor]


def export(
    run: str | Path,
    settings: ExportSettings | None = None,
    reading: Reading | None = None,
    *,
    out: str | Path = "deixis-export",
    overwrite: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Writes a model as ONNX graphs or as a folder of another program, with a README.md and `export.json`.

    Args:
        run: the folder of a run, or a model by name or folder.
        settings: as what.
        reading: columns and the like of `settings.data`.
        out: the folder to write; it appears under its name only when all is written and checked.
        overwrite: replace what an export or run left at `out`.
        quiet: print nothing.

    Returns:
        What stands in `export.json`.

    Raises:
        DeixisError: there is no such model, a package is missing, the form has no place for what the model is made of,
            `out` is taken, or what was written gives other embeddings.
    """
    settings, out, talk, clock = settings or ExportSettings(), Path(out), Reporter(quiet), Clock()
    _check(settings, Path(run), out)
    _reservation = free_name(out, overwrite)
    encoder, of_run = _model(Path(run), str(run)), _read(Path(run) / "result.json")
    encoder.require_embeddings("be exported")
    if encoder.traits.similarity == "tokens":
        talk.say("The model compares token by token. The export gives the mean of the tokens, one embedding each.")
    with run_folder(out, overwrite) as folder:
        if settings.to:
            made, form = _for_program(folder, encoder, settings.to, str(run)), settings.to
        else:
            wanted = PairLimits(_PAIRS, _CALIBRATION, _FEWEST) if settings.int8 else PairLimits()
            material = read_and_encode(Path(run), settings.data, encoder, wanted, talk, reading)
            made, form = _as_graphs(folder, encoder, material, settings.int8, talk), "onnx"
        if settings.int8:
            made["int8"]["note"] = "" if settings.data or of_run.get("kept") != "adapted" else _FITTED
        result = {
            "format": 1,
            "verb": "export",
            "to": form,
            "run": public_name(os.path.abspath(run)) if os.path.exists(run) else str(run),
            "model": {
                "name": public_name(encoder.name),
                "fingerprint": encoder.fingerprint(),
                "licence": encoder.licence,
            },
            **made,
            "seconds": clock.read(),
            "peak_mb": clock.peak_mb(),
            "versions": versions() | _more_versions(),
        }
        licences = _read(Path(run) / "check.json").get("licences") or {}
        subject = Subject(encoder, out.name, of_run, cast(Form, form), result, licences)
        model_card.write(folder / "README.md", subject)
        result["files"] = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        write_json(folder / "export.json", result)
    _tell(result, talk, out)
    return result


def _check(settings: ExportSettings, run: Path, out: Path) -> None:
    """All that can be known to be wrong before any work."""
    if settings.to and settings.to not in zoo.LAYOUTS:
        raise DeixisError(
            f"There is no layout {settings.to!r}.",
            f"There are: {', '.join(zoo.LAYOUTS)}; for the index npy, faiss, postgres.",
        )
    graphs = settings.onnx or settings.int8
    if bool(settings.to) == graphs:
        found = "both ONNX and a layout" if graphs else "nothing to write"
        raise DeixisError(
            f"{found[0].upper()}{found[1:]} was requested.", "Give --onnx, or --to openclip or another format."
        )
    if graphs:
        onnx.require_packages()
    if run.is_dir() and out.resolve() == run.resolve():
        raise DeixisError(f"{out} is the run itself, which would be replaced.", "Choose another --out.")


def _model(run: Path, name: str) -> DualEncoder:
    if os.sep in name and not run.exists():
        raise DeixisError(f"There is no folder {name}.", "Make a run with `deixis adapt DATA`.")
    holds_index = (run / "index").is_dir() or (run / "manifest.json").is_file()
    if holds_index and not (run / "model" / "config.json").is_file():
        raise DeixisError(
            f"{name} holds an index and no model: no model/config.json.",
            "Give the folder that `deixis adapt` or `deixis index` wrote.",
        )
    return zoo.load(name).eval()


def _read(path: Path) -> dict[str, Any]:
    """A JSON object that a run left; empty where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _more_versions() -> dict[str, str]:
    """Of what graphs are written and run with, as far as it is there."""
    packages = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    return {name: packages[name] for name in ("onnx", "onnxscript", "onnxruntime") if name in packages}


def _for_program(folder: Path, encoder: DualEncoder, layout: str, run: str) -> dict[str, Any]:
    """Writes a folder of another program, and loads it again."""
    plain = onnx.effective(encoder)
    sides = [side for side in onnx.SIDES if getattr(plain, f"{side}_adapter") is not None]
    if sides:
        raise DeixisError(
            f"The model of {run} has adapters ({' and '.join(sides)}), which {layout} has no place for.",
            f"Write it as ONNX, where they have: deixis export {run} --onnx. Or train the towers themselves: deixis "
            "adapt DATA --method clip",
        )
    zoo.save_as(plain, folder, layout)
    again = zoo.load(folder, layout=layout).eval()
    pixels = torch.rand(4, 3, plain.preprocess.size, plain.preprocess.size, generator=torch.Generator().manual_seed(0))
    tokens = plain.tokenize(["a red bird", "a wooden boat on a lake"])
    pairs: dict[str, tuple[Encode, Encode, Any]] = {
        "image": (plain.encode_image, again.encode_image, pixels),
        "text": (plain.encode_text, again.encode_text, tokens),
    }
    with torch.no_grad():
        differences = {side: _largest(ours(each), theirs(each)) for side, (ours, theirs, each) in pairs.items()}
    _require_equal(differences, f"The folder for {layout}")
    return {"adapters": [], "read_again": {"largest_difference": differences}}


def _as_graphs(folder: Path, encoder: DualEncoder, material: Material, int8: bool, talk: Reporter) -> dict[str, Any]:
    with talk.step("write"):
        onnx.write(encoder, folder)
        rules = json.dumps(encoder.tokenizer.to_dict(), ensure_ascii=False)
        (folder / "tokenizer.json").write_text(rules, encoding="utf-8")
        write_json(folder / "preprocess.json", onnx.preprocessing(encoder))
    with talk.step("check"):
        graphs = onnx.Graphs(folder)
        checked = _checked(encoder, graphs, material)
    _require_equal(checked["largest_difference"], "The ONNX graphs")
    plain = onnx.effective(encoder)
    sides = [side for side in onnx.SIDES if getattr(plain, f"{side}_adapter") is not None]
    made: dict[str, Any] = {"adapters": sides, "check": checked, "limit": LIMIT}
    if int8:
        with talk.step("8 bits"):
            how = onnx_int8.quantise(folder, material.pixels(material.calibration))
            made["int8"] = {"how": dict(how), **_cost(graphs, onnx.Graphs(folder, int8=True), encoder, material)}
    return made


@torch.no_grad()
def _checked(encoder: DualEncoder, graphs: onnx.Graphs, material: Material) -> dict[str, Any]:
    """How far the graphs are from the model, on a few of the pictures and texts, one by one and in batches."""
    most = PairLimits().tested
    pixels, tokens = material.pixels(material.squares[:most]), encoder.tokenize(material.texts[:most])
    worst, first = {}, slice(0, 1)
    wanted = encoder.encode_image(pixels)
    worst["image"] = max(
        _largest(wanted, graphs.encode_image(pixels, 16)), _largest(wanted[first], graphs.encode_image(pixels[first]))
    )
    wanted = encoder.encode_text(tokens)
    worst["text"] = max(
        _largest(wanted, graphs.encode_text(tokens, 16)),
        _largest(wanted[first], graphs.encode_text(tokens.take(first))),
    )
    return {
        "images": len(pixels),
        "texts": len(wanted),
        "real": material.real,
        "from": material.where,
        "largest_difference": worst,
    }


def _largest(one: Float[Tensor, "B D"], other: Float[Tensor, "B D"]) -> float:
    return float((one - other).abs().max())


def _require_equal(differences: Mapping[str, float], what: str) -> None:
    for side, found in differences.items():
        if not found <= LIMIT:
            raise DeixisError(
                f"{what} would give other {side} embeddings than the model: they differ by up to {found:.2g}, and "
                f"the tolerance is {LIMIT:g}. Nothing was written.",
                "Use the model in deixis, and report which model it is.",
            )


def _cost(exact: onnx.Graphs, coarse: onnx.Graphs, encoder: DualEncoder, material: Material) -> dict[str, Any]:
    """What 8 bits cost: retrieval among the pairs with both graphs, and the time each took."""
    pixels, tokens = _Pixels(material), encoder.tokenize(material.texts)
    found, spent = {}, {}
    for name, graphs in (("float32", exact), ("int8", coarse)):
        image, seconds = _timed(graphs.encode_image, pixels)
        text, more = _timed(graphs.encode_text, [tokens])
        found[name] = (image, text)
        spent[name] = {"image": 1000 * seconds / len(image), "text": 1000 * more / len(text)}
    keys = material.keys
    before, after = (_retrieval(*found[name], keys) for name in ("float32", "int8"))
    clusters = keys.numpy()
    gain = {name: after[name] - before[name] for name in _METRICS}
    cosines = {
        side: (one * other).sum(dim=1)
        for side, one, other in zip(onnx.SIDES, found["float32"], found["int8"], strict=True)
    }
    return {
        "pairs": len(keys),
        "from": material.where,
        **{
            which: {name: dict(value._asdict()) for name, value in intervals(values, clusters).items()}
            for which, values in (("before", before), ("after", after), ("difference", gain))
        },
        "cosine": {side: {"mean": float(each.mean()), "lowest": float(each.min())} for side, each in cosines.items()},
        "milliseconds": spent,
        "threads": torch.get_num_threads(),
    }


class _Pixels:
    """Batches of the tested pictures, so that never all are in memory as floats."""

    def __init__(self, material: Material) -> None:
        self._material = material

    def __iter__(self) -> Any:
        return (self._material.pixels(part) for part in self._material.squares.split(32))


def _timed(encode: Encode, parts: Any) -> tuple[Float[Tensor, "B D"], float]:
    rows, seconds = [], 0.0
    for part in parts:
        start = time.perf_counter()
        rows.append(encode(part))
        seconds += time.perf_counter() - start
    return torch.cat(rows), seconds


def _retrieval(image: Float[Tensor, "B D"], text: Float[Tensor, "B D"], keys: Int64[Tensor, " B"]) -> dict[str, Any]:
    values = retrieval(image, text, keys)
    return {name: values[name].numpy() for name in _METRICS}


def _tell(result: Mapping[str, Any], talk: Reporter, out: Path) -> None:
    sizes = {name: size for name, size in result["files"].items() if name.endswith((".onnx", ".data", ".safetensors"))}
    files = ", ".join(f"{name} ({size / 1e6:.3g} MB)" for name, size in sizes.items())
    talk.result(f"Written to {out}: {files}.")
    check = result.get("check")
    if check is not None:
        worst = ", ".join(f"{value:.1e} ({side})" for side, value in check["largest_difference"].items())
        talk.result(
            f"Checked by onnxruntime on {check['images']} pictures and {check['texts']} texts, {check['from']}: the "
            f"largest difference of embeddings is {worst}; the tolerance is {result['limit']:g}."
        )
    if "int8" in result:
        _tell_cost(result["int8"], sizes, talk)
    talk.result(f"How to load it: {out / 'README.md'}")


def _tell_cost(int8: Mapping[str, Any], sizes: Mapping[str, int], talk: Reporter) -> None:
    rows = [
        (
            METRIC_NAMES[name],
            points(int8["before"][name]["value"]),
            points(int8["after"][name]["value"]),
            in_points(int8["difference"][name]),
        )
        for name in _METRICS
    ]
    talk.table(
        f"retrieval among {int8['pairs']} pairs, {int8['from']}",
        ("measure, in points", "32 bits", "8 bits", "difference [95 %]"),
        rows,
    )
    if int8["note"]:
        talk.result(int8["note"])
    spent = int8["milliseconds"]
    sides = []
    for side in onnx.SIDES:
        megabytes = [f"{sizes[onnx.graph_name(side, small)] / 1e6:.3g}" for small in (False, True)]
        sides.append((side, *megabytes, *(f"{spent[name][side]:.2f}" for name in ("float32", "int8"))))
    columns = ("graph", "MB, 32 bits", "8 bits", "ms each, 32 bits", "8 bits")
    talk.table(f"size, and time in one pass (threads: {int8['threads']}; not a race)", columns, sides)
