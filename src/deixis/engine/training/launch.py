"""Several processes that `torchrun` started, brought together; a process of its own stays what it is."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from collections.abc import Iterator

import torch
import torch.distributed as dist

from deixis.errors import DeixisError
from deixis.nn.compute import current

__all__ = ["device", "ranks"]

_GONE = re.compile(
    r"connection (closed|reset|refused)|timed? ?out|peer|remote process exited|aborted|broken pipe", re.I
)


def device() -> torch.device:
    """Where this process computes: as `deixis.nn.compute` says; by default a GPU of its own where there are any."""
    return current().device


@contextlib.contextmanager
def ranks(timeout: float = 600) -> Iterator[None]:
    """Joins the process group that `torchrun` describes in the environment, and leaves it; in one process does nothing.

    Args:
        timeout: seconds after which a rank that does not answer is given up.

    Raises:
        DeixisError: another rank has ended or does not answer, or the group can't be joined.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    here = device()
    if here.type == "cuda":
        torch.cuda.set_device(here)
    patience = datetime.timedelta(seconds=timeout)
    try:
        with _backend_errors(timeout):
            dist.init_process_group("nccl" if here.type == "cuda" else "gloo", timeout=patience)
            yield
            dist.barrier()  # else the first to end closes the door on those that still write
    finally:
        if dist.is_initialized():  # else gloo's threads abort the interpreter at its end, after the message
            with contextlib.suppress(RuntimeError):
                dist.destroy_process_group()


@contextlib.contextmanager
def _backend_errors(timeout: float) -> Iterator[None]:
    """Turns a backend's error when a rank is gone into a message."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if isinstance(error, dist.DistError) or _GONE.search(str(error)):
            raise DeixisError(
                f"Another rank has ended, or has not answered for {timeout:g} seconds.",
                "Its own message, above or in its log, says why. Run the same command again to resume from the last "
                "checkpoint.",
            ) from error
        raise
