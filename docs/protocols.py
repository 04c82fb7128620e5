"""The table of protocols in `docs/protocols.md`, from what the files of `engine/evaluation/protocols` declare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from deixis.engine.evaluation.protocols import protocol_names, read_protocol

__all__ = ["protocols_page", "protocols_table"]

Table = Callable[[Sequence[str], Iterable[Sequence[Any]]], str]
_BEGIN, _END = "<!-- table of protocols: made by `make docs` from their files -->", "<!-- end of the table -->"


def protocols_table(table: Table) -> str:
    """A row for each protocol, and below what each reports, on what, and its source.

    Args:
        table: makes a table of a head and rows.
    """
    rows, more = [], []
    for name in protocol_names():
        each = read_protocol(name)
        rows.append((f"`{name}`", each.title, ", ".join(each.fields), "minutes" if each.slow else "seconds"))
        metrics = (f"{metric.title}{' (low is good)' * (metric.better == 'lower')}" for metric in each.metrics)
        able = " or ".join(" and ".join(f"`{need}`" for need in some) for some in each.capabilities)
        facts = [f"reports {', '.join(metrics)}", f"models with {able}"]
        facts += [f"measured on {each.test}"] if each.test else []
        facts += [f"source: {each.source}"] if each.source else []
        more.append(f"* `{name}`: {'. '.join(fact[0].upper() + fact[1:] for fact in facts)}.")
    head = ("protocol", "what is measured", "data with", "takes")
    return "\n\n".join([table(head, rows), "\n".join(more)])


def protocols_page(text: str, table: Table) -> str:
    """The page with its table made anew.

    Args:
        text: of the page as it is.
        table: makes a table of a head and rows.

    Raises:
        ValueError: the page does not say where the table is.
    """
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"docs/protocols.md needs the lines {_BEGIN} and {_END}")
    return f"{before}{_BEGIN}\n\n{protocols_table(table)}\n\n{_END}{after}"
