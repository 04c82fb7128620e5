"""A classifier's classes and some more, which are known by words alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deixis.data.knowledge.texts import Knowledge, merged
from deixis.engine.fewshot import few_shot, learners
from deixis.engine.fewshot.benchmark import classifies_new
from deixis.engine.fewshot.few_shot import FewShotMethod
from deixis.engine.fewshot.knowledge import knowledge_settings
from deixis.engine.fewshot.names import class_names
from deixis.engine.training.batching import require_encoder
from deixis.engine.training.stages import name_of
from deixis.errors import DeixisError
from deixis.nn.adaptation.class_knowledge import texts_by_class

__all__ = ["with_classes"]


def with_classes(method: FewShotMethod, texts: Mapping[str, str | Sequence[str]]) -> FewShotMethod:
    """A method that knows some classes more, behind those that it has learned; what it has learned stays.

    Args:
        method: that has learned classes.
        texts: of the new classes; empty ones leave their names.

    Raises:
        DeixisError: the method learns classes from pictures, or a class is there already.
    """
    name = name_of(method)
    if not classifies_new(name):
        able = ", ".join(filter(classifies_new, learners.offered()))
        raise DeixisError(
            f"{name} learns a class from pictures of it, and has none of {_first(texts)!r}.",
            f"Fit it anew with pictures of that class, or take a method that goes by words: {able}.",
        )
    old, config = tuple(method.names), vars(method.config)
    fresh = class_names(list(texts), least=0)
    there = sorted({each.casefold() for each in old} & {each.casefold() for each in fresh})
    if there or not fresh:
        raise DeixisError(f"{there[0]!r} is a class already." if there else "No class was given.", "Give new classes.")
    names = class_names([*old, *fresh])
    settings = {key: value for key, value in config.items() if key not in ("encoder", "names")}
    if "knowledge" in config:
        given = zip(fresh, ((own,) if isinstance(own, str) else tuple(own) for own in texts.values()), strict=True)
        known = dict(zip(old, texts_by_class(config["knowledge"], old), strict=True))
        known |= merged((each, text) for each, own in given for text in own)
        made = knowledge_settings(name, Knowledge(known, "what was given"), names)
        for key, pairs in made.items():  # of the old ones stays what was learned with
            settings[key] = (*config[key], *(pair for pair in pairs if pair[0] in fresh))
    new = few_shot.build(name, require_encoder(method), names, settings)
    learned, empty = method.state_dict(), new.state_dict()
    own = {key for key, _ in method.named_parameters() if not key.startswith("encoder.")}
    if any(key not in empty or learned[key].shape != empty[key].shape for key in own):
        raise DeixisError(
            f"Each class of this {name} has weights of its own, and {_first(texts)!r} would have none.",
            "Fit it anew with settings that all classes share.",
        )
    same = {key: value for key, value in learned.items() if key in empty and value.shape == empty[key].shape}
    new.load_state_dict(same, strict=False)
    return new.eval()


def _first(texts: Mapping[str, object]) -> str:
    return next(iter(texts), "")
