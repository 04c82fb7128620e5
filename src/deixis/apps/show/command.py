"""`deixis show` on the command line."""

from __future__ import annotations

from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "show one method: paper, settings, inputs",
    example="deixis show filip",
    arguments="NAME",
    see=("deixis list", "deixis train"),
    group="methods",
    order=2,
)


def run(name: str, /) -> None:
    """Shows one method: its paper, settings, inputs and capabilities.

    Args:
        name: name of the method, see `deixis list`.
    """
    from deixis.apps.show.description import description

    print(description(name))
