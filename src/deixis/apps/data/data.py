"""`deixis data`: what can be fetched, and fetching it."""

from __future__ import annotations

from deixis.apps.common.console import Reporter
from deixis.data import catalogue
from deixis.data.datasets.sources import fetch
from deixis.errors import DeixisError

__all__ = ["run"]


def run(action: str, name: str = "") -> None:
    """`list`, or `get NAME`.

    Args:
        action: `list` or `get`.
        name: what to get.

    Raises:
        DeixisError: another action, no name, or it can't be had.
    """
    talk = Reporter()
    if action == "get" and name:
        folder = fetch.get(name, talk.say)
        _, _, language = name.partition("language-")
        if language:
            from deixis.apps.languages.trained import learn_language  # imports torch

            learn_language(language, talk)
        talk.result(f"{name} is in {folder}")
    elif action == "list" and not name:
        rows = [
            (key, _size(each), each.how, ", ".join(each.fields), each.licence, each.what)
            for key, each in fetch.recipes().items()
        ]
        talk.table("deixis data get NAME", ("name", "size", "with", "fields", "licence", "what"), rows)
        made = "; ".join(f"set:{name} ({', '.join(catalogue.card(name).fields)})" for name in catalogue.generated())
        talk.result(f"As DATA, give set:NAME, or set:NAME/PART. Generated from others when they are read: {made}.")
    else:
        raise DeixisError(f"`deixis data` got {action!r} {name!r}.", "It takes `list`, or `get NAME`.")


def _size(recipe: fetch.FetchRecipe) -> str:
    return "here" if recipe.there() else f"{recipe.size_mb} MB"
