"""Settings of `deixis export`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses

__all__ = ["Database", "ExportSettings"]


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """The format that is written.

    Attributes:
        onnx: write both towers as ONNX graphs, with adapters; they are checked against the model.
        int8: also write graphs quantised to 8 bits, and report the loss in retrieval.
        to: another format: `openclip` or `huggingface` for a model without adapters; `npy`, `faiss` or `postgres` for
            an index.
        data: captioned images for the check and the measurement; by default those of the run.
    """

    onnx: bool = False
    int8: bool = False
    to: str = ""
    data: str = ""


@dataclasses.dataclass(frozen=True)
class Database:
    """The database that --to postgres writes to.

    Attributes:
        dsn: address of the server, such as postgresql://user@host/database; missing parts come from PGHOST, PGUSER,
            PGPASSWORD and the other variables of PostgreSQL.
        table: name of the table.
        graph: also build an HNSW graph in the database, for approximate search among millions.
    """

    dsn: str = ""
    table: str = "deixis"
    graph: bool = False
