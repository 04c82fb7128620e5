"""Rules of the house about its rooms: how much stands in a folder, what two things are called, who imports whom."""

from __future__ import annotations

import ast
import collections
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from tests.house_source import Module, imported, modules

__all__ = ["CALLED_BY_OTHERS", "METHOD_NAMES_ALLOWED", "ROOM_CHECKS", "only_tests_use"]

ROOM_MODULES, LINES = 16, 400

# Folders of which every file is one of a kind, found by listing: they grow, and nobody has to read them whole.
BY_LISTING = (
    *("methods", "methods/baselines", "data/datasets", "engine/claims/tasks", "engine/evaluation/protocols"),
    "zoo/parts",
)

OF_EACH_FILE = {"methods": ("Method", "Config"), "engine": ("Options",)}

# Strings of the engine and the apps that equal a method's name, and may: another thing of that name, or a choice that
# is made for users. Everything else goes by cards and capabilities.
METHOD_NAMES_ALLOWED: dict[str, tuple[str, ...]] = {
    "apps/adapt/adapt.py": ("mean_shift",),  # the controls that a report shows beside what was chosen
    "apps/adapt/settings.py": ("residual",),  # the default of a verb
    "apps/caption/caption.py": ("caption",),  # the capability
    "apps/caption/command.py": ("caption",),
    "apps/caption/draft_sources.py": ("caption",),  # the capability, and a column
    "apps/caption/drafts.py": ("close",),  # what drafts are learned by
    "apps/caption/sentences.py": ("caption",),  # a column
    "apps/common/dataset.py": ("caption",),  # of a sample
    "apps/common/formatting.py": ("ridge",),  # sentences about recipes
    "apps/demo/demo.py": ("residual", "ridge"),  # recipes that the demonstration compares
    "apps/explain/settings.py": ("align", "normgrad", "verbalise", "windows"),  # a capability; defaults of a verb
    "apps/explain/word_regions.py": ("align",),  # the capability
    "apps/label/label_table.py": ("caption",),  # a column
    "apps/serve/routes/draft_routes.py": ("caption",),  # a column
    "apps/serve/routes/export_routes.py": ("caption",),  # a column
    "apps/train/captions.py": ("caption",),  # what is counted
    "apps/serve/routes/label_routes.py": ("caption",),  # a column
    "apps/serve/limits.py": ("close",),  # of connections
    "apps/segment/settings.py": ("outlined_boxes",),  # the default of a verb
    "apps/teach/settings.py": ("cones",),  # the default of a verb
    "apps/languages/settings.py": ("kalm",),  # what trains text towers for languages
    "apps/report/model_card.py": ("retrieval",),  # a tag of model hubs
    "apps/train/command.py": ("clip",),  # of gradients
    "apps/train/setup.py": ("clip",),  # of gradients
    "apps/words/settings.py": ("imaginator",),  # what the verb learns by
    "engine/claims/measures.py": ("zero_shot",),  # a metric
    "engine/claims/tasks/scenes.py": ("zero_shot",),  # the same metric
    "engine/claims/tasks/votes.py": ("zero_shot",),  # the same metric
    "engine/claims/tasks/words.py": ("clip",),  # what the dual encoder that all arms share learns by
    # What protocols compare where nothing is named, as literals.
    "engine/evaluation/protocols/base_to_new.py": ("zero_shot", "coop", "pre"),
    "engine/evaluation/protocols/caption.py": ("caption",),  # the capability
    "engine/evaluation/protocols/cross_style.py": ("zero_shot", "linear", "delta", "coop"),
    "engine/evaluation/protocols/grounding.py": ("windows",),
    "engine/evaluation/protocols/miou.py": ("filled_boxes",),
    "engine/evaluation/protocols/fairness.py": ("fairness_indicators",),
    "engine/evaluation/protocols/few_shot.py": ("zero_shot", "linear", "tip", "delta", "coop"),
    "engine/evaluation/protocols/refer.py": ("detect_match",),
    "engine/evaluation/protocols/word_region.py": ("align",),  # the capability
}


def room_size(root: Path) -> list[str]:
    """A folder has at most 16 modules beside its `__init__`; those of one file a kind are exempt."""
    rooms = collections.Counter(
        module.place.parent.as_posix() for module in modules(root) if module.stem != "__init__" and module.place.parts
    )
    return [
        f"{room}: {count} modules, {ROOM_MODULES} at most"
        for room, count in sorted(rooms.items())
        if count > ROOM_MODULES and room not in BY_LISTING
    ]


def one_class_a_name(root: Path) -> list[str]:
    """No two public classes have one name, but for what each file of a kind has: `Method`, `Config`, `Options`."""
    first: dict[str, str] = {}
    faults = []
    for module in modules(root):
        for node, name in module.public_definitions():
            if not isinstance(node, ast.ClassDef) or name in OF_EACH_FILE.get(module.package, ()):
                continue
            if name in first:
                faults.append(module.fault(node, f"a class {name} stands in {first[name]} too"))
            first.setdefault(name, module.place.as_posix())
    return faults


def no_circles(root: Path) -> list[str]:
    """Inside a package, imports go one way too: those within functions and for type checkers count, lookups by name do
    not."""
    names = {_dotted(module): module for module in modules(root)}
    graph = {name: sorted(_neighbours(name, module, names)) for name, module in names.items()}
    faults = []
    for circle in _circles(graph):
        module = names[circle[0]]
        node = next(node for node, target in _statements(module) if _known(target, names) in circle[1:])
        faults.append(module.fault(node, f"a circle of imports: {' and '.join(sorted(circle))}"))
    return faults


def _dotted(module: Module) -> str:
    parts = module.place.with_suffix("").parts
    return ".".join(("deixis", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _known(name: str, names: Mapping[str, Module]) -> str:
    """The module that an import reaches: of `deixis.a.b.function`, `deixis.a.b`."""
    while name and name not in names:
        name = name.rpartition(".")[0]
    return name


def _neighbours(name: str, module: Module, names: Mapping[str, Module]) -> set[str]:
    """Modules of the same package that a module imports."""
    found = {_known(target, names) for _, target in _statements(module)}
    return {each for each in found if each != name and each.split(".")[1:2] == name.split(".")[1:2] != []}


def _statements(module: Module) -> Iterator[tuple[ast.AST, str]]:
    return ((node, target) for node, target in imported(module) if not isinstance(node, ast.Call))


def _circles(graph: Mapping[str, list[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other, each in the order of names."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        todo, seen = [*graph[start]], set[str]()
        while todo:
            here = todo.pop()
            if here not in seen:
                seen.add(here)
                todo += graph[here]
        reach[start] = seen
    groups = {tuple(sorted(each for each in reach[node] if node in reach[each])) for node in graph}
    return sorted(list(group) for group in groups if len(group) > 1)


def total_lines(root: Path) -> list[str]:
    """A file has at most 400 lines, blank ones and comments too; a method's file, with its claims, is let be."""
    return [
        module.fault(None, f"{count} lines, {LINES} at most")
        for module in modules(root)
        if (count := len(module.text.splitlines())) > LINES and not module.is_method
    ]


def blind_engine(root: Path) -> list[str]:
    """Engine and apps name no method, in comparisons, lists, calls or paths, and import none."""
    every = modules(root)
    names = {module.stem for module in every if module.is_method and module.stem != "__init__"}
    faults = []
    for module in every:
        if module.package not in ("engine", "apps"):
            continue
        allowed = METHOD_NAMES_ALLOWED.get(module.place.as_posix(), ())
        used = [
            (node, str(node.value), "asks for the method {!r} by name")
            for node in module.nodes(ast.Constant)
            if node.value in names
        ]
        for node, target in imported(module):
            path = target.removeprefix("deixis.methods.").removeprefix("baselines.").split(".")[0]
            if target.startswith("deixis.methods.") and path in names:
                used.append((node, path, "imports the method {!r}"))
        faults += [module.fault(node, text.format(name)) for node, name, text in used if name not in allowed]
        unused = set(allowed) - {name for _, name, _ in used}
        faults += [module.fault(None, f"names {name!r} no more: take it from the list") for name in sorted(unused)]
    return faults


ROOM_CHECKS: tuple[Callable[[Path], list[str]], ...] = (
    *(room_size, one_class_a_name, no_circles, total_lines, blind_engine),
)


# ---- what nobody uses


# Public names that nothing of ours names, and why they stand: ends of their dotted names.
CALLED_BY_OTHERS: dict[str, str] = {
    ".extra_repr": "torch prints it",
    "Method.classify": "a capability, called through the table of capabilities",
    "classifier.FewShotClassifier.add_classes": "users call it",
    "classifier.FewShotClassifier.decision_function": "scikit-learn calls it",
    "classifier.FewShotClassifier.knowledge_": "users read it",
    "classifier.FewShotClassifier.set_params": "scikit-learn calls it",
    "mteb.MtebEncoder.similarity_pairwise": "mteb calls it",
    "connections.Connection.connection_made": "asyncio calls it",
    "connections.Connection.data_received": "asyncio calls it",
    "connections.Connection.connection_lost": "asyncio calls it",
    "connections.Server.shutdown": "uvicorn calls it",
    "postgres.Postgres.create": "how a collection begins that is not copied from a folder",
    "attention.Attention.with_weights": "the path that shows the weights, which methods that read them take",
    "cones.ConceptTable.sequence": "how a network with cross-attention takes a concept in place of a text",
    "contrastive.sigmoid_pairs": "the loss of SigLIP, whose checkpoints are loaded",
    # what grounding is made of, ahead of the methods, proposals and protocols that it is made for
    "regions.boxes.box_jitter": "proposals near the boxes of the data",
    "regions.boxes.box_union": "the one box of a phrase of several things",
    "regions.boxes.nms": "proposals of a detector",
    "regions.dense.mask_iou": "masks of phrases",
    "regions.dense.overall_iou": "masks of phrases",
    "selfie.transplant": "what a tower that is fine-tuned begins with",
    "cutout_sampler.CutoutSampler": "the kind of part `sampler` looks it up by name",
    "verbalise.coverage_at": "the paper's measure of a sentence",
    "maps.per_class": "the average of the pointing game, as golden values of its authors have it",
}


def only_tests_use(root: Path, others: Mapping[str, str], allowed: Mapping[str, str]) -> list[str]:
    """Public functions, classes and methods that nothing of the package, of the documents and of the races names.

    Protocols and value objects (`types`) are let be: they say what others have.

    Args:
        root: the package.
        others: further users, name of the file -> its text: documents and scripts.
        allowed: end of the full name -> why it stands all the same.
    """
    words: set[str] = set()
    for text in others.values():
        words |= set(re.findall(r"\w+", text))
    every = modules(root)
    inside = {module.place: collections.Counter(_used(module.nodes(*_READING))) for module in every}
    uses: collections.Counter[str] = collections.Counter()
    for each in inside.values():
        uses.update(each)
    faults = []
    for module in every:
        for node, name in module.public_definitions() if module.package != "types" else ():
            short = name.rpartition(".")[2]
            used = short in words or short.startswith("__") or uses[short] > inside[module.place][short]
            used = used or uses[short] > sum(each == short for each in _used(ast.walk(node)))
            if not used and not f"{_dotted(module)}.{name}".endswith(tuple(allowed)):
                faults.append(module.fault(node, f"nothing but tests uses {name}"))
    return faults


_READING = (ast.Name, ast.Attribute, ast.keyword, ast.Call)


def _used(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Names that are read, and strings that may be names, but for those of `__all__` and docstrings."""
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("getattr", "hasattr"):
                yield from (each.value for each in node.args if isinstance(each, ast.Constant))
