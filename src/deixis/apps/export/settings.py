"""What can be set of `deixis export`: the fields are its flags. No torch here."""

from __future__ import annotations

import dataclasses

__all__ = ["Database", "ExportSettings"]


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What a model is written as.

    Attributes:
        onnx: two ONNX graphs, which onnxruntime runs without torch; adapters are part of them.
        int8: graphs in 8 bits, too, with what they cost in retrieval.
        to: a folder of another program, `openclip` or `huggingface`, for models without adapters; or `npy`, `faiss` or
            `postgres`, which take the index.
        data: pictures with captions to check and measure on; empty takes those of the run.
    """

    onnx: bool = False
    int8: bool = False
    to: str = ""
    data: str = ""


@dataclasses.dataclass(frozen=True)
class Database:
    """Where an index goes with --to postgres.

    Attributes:
        dsn: how the server is reached, such as postgresql://user@host/database; what is left out is taken from PGHOST,
            PGUSER, PGPASSWORD and the like.
        table: name of the table.
        graph: also build a graph (HNSW) there, for approximate searches of millions.
    """

    dsn: str = ""
    table: str = "deixis"
    graph: bool = False
