"""`deixis list` on the command line."""

from __future__ import annotations

from deixis.apps.common.verbs import Verb
from deixis.errors import DeixisError

__all__ = ["VERB", "run"]

VERB = Verb(
    "list the methods, or the published models",
    example="deixis list models",
    arguments="[models]",
    see=("deixis show", "docs/papers.md", "docs/loading.md"),
    group="methods",
    order=1,
)


def run(
    what: str = "",
    /,
    *,
    name: str = "",
    task: str = "",
    memory: float | None = None,
    gpu: bool = False,
    multilingual: bool = False,
) -> None:
    """Lists the methods (papers, what they build on, baselines), or the models that are published.

    Nothing is fetched: the table of models is a part of the package.

    Args:
        what: `models` for the published models.
        name: a part of the names of models to list.
        task: recommends a model for it: adapt, search, explain or accuracy.
        memory: GB that a recommended model may take; a half of this machine's by default.
        gpu: whether it will run on a GPU.
        multilingual: whether texts come in several languages.
    """
    if what not in ("", "models"):
        raise DeixisError(f"There is no list of {what!r}.", "Write `deixis list` or `deixis list models`.")
    if not what:
        from deixis.apps.list.catalogue import listing

        print(listing())
        return
    from deixis.apps.list.models import model_table, recommendation

    if task:
        print(recommendation(task, memory=memory, gpu=gpu, multilingual=multilingual))
        return
    print(model_table(name))
    print(recommendation("adapt", memory=memory, gpu=gpu, multilingual=multilingual))
