"""PP-OCRv4, for Chinese and English, as the wheel of rapidocr-onnxruntime brings it: two graphs for onnxruntime."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deixis.errors import DeixisError, require
from deixis.files import cache_dir
from deixis.nn.reading.pp_ocr import Network, PpOcr

__all__ = ["FILES", "FOLDER", "load"]

FOLDER = "reader"
FILES = {"detector": "pp-ocrv4-detector.onnx", "recogniser": "pp-ocrv4-recogniser.onnx"}
"""What `deixis data get reader` puts into that folder of the cache."""


def load() -> PpOcr:
    """The reader.

    Raises:
        DeixisError: it is not in the cache, or damaged, or onnxruntime is not installed.
    """
    folder = cache_dir(FOLDER)
    if missing := [name for name in FILES.values() if not (folder / name).is_file()]:
        raise DeixisError(
            f"The reader is not in {folder} ({', '.join(missing)} missing).", "Run: deixis data get reader"
        )
    package = require("onnxruntime", "read", "read text in pictures")
    sessions = {part: _session(package, str(folder / name)) for part, name in FILES.items()}
    listed = sessions["recogniser"].get_modelmeta().custom_metadata_map.get("character", "")
    characters = (*listed.splitlines(), " ")
    if len(characters) < 2:
        raise _damaged(str(folder / FILES["recogniser"]), "it names no characters")
    return PpOcr(_network(sessions["detector"]), _network(sessions["recogniser"]), characters)


def _session(package: Any, path: str) -> Any:
    options = package.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    options.log_severity_level = 3
    try:
        return package.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own, of many kinds
        raise _damaged(path, str(error)) from error


def _damaged(path: str, why: str) -> DeixisError:
    return DeixisError(
        f"The file {path} does not hold the reader: {why}",
        f"Remove the folder {cache_dir(FOLDER)}, then run: deixis data get reader",
    )


def _network(session: Any) -> Network:
    name = session.get_inputs()[0].name

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run(None, {name: np.ascontiguousarray(images)})[0]
        return found

    return run
