"""The rules of the house hold; and each rule finds a fault that is planted for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import house
from tests.house_rooms import CALLED_BY_OTHERS, only_tests_use
from tests.house_source import PACKAGE

PROJECT = Path(__file__).parents[1]
SOURCE = PROJECT / "src"

LONG_FUNCTION = "def f() -> int:\n" + "    x = 1\n" * 58 + "    return x\n"
SHORT_FUNCTION = 'def f() -> int:\n    """' + "a\n" * 20 + '    """\n' + "    x = 1\n" * 57 + "    return x\n"
TWIN = "def {}(x: int) -> int:\n" + "".join(f"    x += {i}\n" for i in range(5)) + "    return x\n"
TOP = '"""Something."""\n\nfrom __future__ import annotations\n\n'
CONFIG = "class Config:\n" + "    x: int = 1\n" * 60
HOOK = "class HasStages:\n    def stages(self) -> None: ...\n"
PARENT = "class Method:\n    x = 1\n"
CLASS = "__all__ = ['{0}']\nclass {0}:\n    x = 1\n"

# check -> files with one fault in them, what is said of it, and the same files made right
PLANTED: dict[str, tuple[dict[str, str], str, dict[str, str]]] = {
    "arrow": (
        {"ops/maps.py": "def f() -> None:\n    from deixis.nn import dual\n"},
        "ops/maps.py:2: ops imports deixis.nn",
        {"nn/dual.py": "from deixis.ops import maps\nfrom deixis.nn import heads\n"},
    ),
    "independent_papers": (
        {"methods/filip.py": "from deixis.methods import clip\nclass Method:\n    pass\n", "methods/clip.py": PARENT},
        "methods/filip.py:1: imports the paper deixis.methods.clip",
        {"methods/filip.py": "from deixis.methods import clip\nclass Method(clip.Method):\n    pass\n"},
    ),
    "blind_engine": (
        {"engine/train.py": "def f(name: str) -> bool:\n    return name == 'clip'\n", "methods/clip.py": ""},
        "engine/train.py:2: asks for the method 'clip' by name",
        {"engine/train.py": "def f(name: str) -> bool:\n    return name == 'fit'\n", "methods/clip.py": ""},
    ),
    "room_size": (
        {f"ops/{letter}.py": "" for letter in "abcdefghijklmnopq"},
        "ops: 17 modules, 16 at most",
        {f"methods/{letter}.py": "" for letter in "abcdefghijklmnopq"}
        | {f"ops/{name}.py": "" for name in ("__init__", *"abcdefghijklmnop")}
        | {"ops/more/q.py": ""},
    ),
    "one_class_a_name": (
        {"ops/a.py": CLASS.format("Plan"), "nn/b.py": CLASS.format("Plan")},
        "ops/a.py:2: a class Plan stands in nn/b.py too",
        {"ops/a.py": CLASS.format("Plan"), "nn/b.py": CLASS.format("_Plan").replace("'_Plan'", "")}
        | {f"methods/{name}.py": CLASS.format("Config") for name in ("clip", "filip")}
        | {f"engine/claims/tasks/{name}.py": CLASS.format("Options") for name in ("scenes", "few_shot")},
    ),
    "no_circles": (
        {
            "ops/a.py": "from deixis.ops import b\n",
            "ops/b.py": "def f() -> None:\n    from deixis.ops.c import x\n",
            "ops/c.py": "if TYPE_CHECKING:\n    from deixis.ops.a import y\n",
        },
        "ops/a.py:1: a circle of imports: deixis.ops.a and deixis.ops.b and deixis.ops.c",
        {
            "ops/a.py": "from deixis.ops import b\nfrom deixis.ops import c\n",
            "ops/b.py": "from deixis.ops.c import x\n",
            "ops/c.py": "import importlib\nimportlib.import_module('deixis.ops.a')\n",
        },
    ),
    "total_lines": (
        {"ops/a.py": "# why\n" * 401},
        "ops/a.py: 401 lines, 400 at most",
        {"ops/a.py": "# why\n" * 400, "methods/a.py": "# why\n" * 401},
    ),
    "hooks_by_protocol": (
        {"engine/train.py": "x = hasattr(method, 'stages')\n", "types/protocols/methods.py": HOOK},
        "engine/train.py:1: asks for 'stages' by a string",
        {"engine/train.py": "x = isinstance(method, HasStages) or hasattr(batch, 'images')\n"},
    ),
    "attention_in_nn": (
        {"methods/clip.py": "from torch import nn\nx = nn.MultiheadAttention(8, 2)\n"},
        "methods/clip.py:2: MultiheadAttention",
        {"nn/vit.py": "from torch.nn.functional import scaled_dot_product_attention\n"},
    ),
    "function_length": ({"ops/a.py": LONG_FUNCTION}, "f has 60 lines", {"ops/a.py": SHORT_FUNCTION}),
    "file_length": (
        {"ops/a.py": "x = 1\n" * 301},
        "301 lines of code, 300 at most",
        {"ops/a.py": '"""A\n\nB."""\n' + "x = 1\n\n# why\n" * 300, "methods/a.py": CONFIG + "x = 1\n" * 400},
    ),
    "argument_count": (
        {"ops/a.py": "def f(a, b, c, d, e, *f, g, **h): ...\n"},
        "f takes 8 arguments",
        {"ops/a.py": "class A:\n    def f(self, a, b, c, d, e, *f, g): ...\n"},
    ),
    "duplicates": (
        {"ops/a.py": TWIN.format("f"), "nn/b.py": TWIN.format("g")},
        "f has the body of nn/b.py:1: g",
        {"ops/a.py": TWIN.format("f"), "nn/b.py": TWIN.format("g").replace("+= 3", "+= 9")},
    ),
    "annotations": (
        {"ops/a.py": "def f(a: int, *b):\n    pass\n"},
        "f has no type for b, return",
        {"ops/a.py": "class A:\n    @classmethod\n    def f(cls, a: int) -> None: ...\n"},
    ),
    "documented": (
        {"ops/a.py": '"""A."""\n__all__ = ["A"]\nclass A:\n    """An A."""\n    def f(self) -> None: ...\n'},
        "ops/a.py:5: A.f has no docstring",
        {"ops/a.py": '"""A."""\n__all__ = ["f"]\ndef f() -> None:\n    """F."""\ndef g() -> None: ...\n'},
    ),
    "shapes": (
        {"ops/a.py": "__all__ = ['f']\ndef f(a: Tensor | None, b: list[Tensor]) -> Float[Tensor, ' B']: ...\n"},
        "f shows no shape for a, b",
        {"ops/a.py": "__all__ = ['f']\ndef f(a: Float[Tensor, 'B D'] | None, b: dict[str, Tensor]) -> None: ...\n"},
    ),
    "exports": (
        {"ops/a.py": TOP + "x = 1\n"},
        "ops/a.py: no `__all__`",
        {"ops/a.py": TOP + "__all__ = ['x']\nx = 1\n", "ops/__init__.py": '"""Nothing but words."""\n'},
    ),
    "vague_names": ({"ops/utils.py": ""}, "ops/utils.py", {"ops/maps.py": ""}),
}


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_every_rule_is_tried_on_a_planted_fault() -> None:
    assert set(PLANTED) == set(house.TREE_CHECKS)


@pytest.mark.parametrize("name", PLANTED)
def test_a_rule_finds_the_fault_and_only_the_fault(name: str, tmp_path: Path) -> None:
    wrong, said, right = PLANTED[name]
    faults = house.TREE_CHECKS[name](plant(tmp_path / "wrong", wrong))
    assert len(faults) == 1
    assert said in faults[0]
    assert house.TREE_CHECKS[name](plant(tmp_path / "right", right)) == []


@pytest.mark.parametrize("name", house.TREE_CHECKS)
def test_the_package_keeps_the_rule(name: str) -> None:
    assert PACKAGE.is_dir()
    faults = house.TREE_CHECKS[name](PACKAGE)
    assert not faults, f"{house.TREE_CHECKS[name].__doc__}\n" + "\n".join(faults)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from ..zoo import load\n", "ops imports deixis.zoo"),
        ("import deixis.data.splits\n", "ops imports deixis.data"),
        ("import deixis\n", "ops imports the front door"),
        ("import importlib\nimportlib.import_module('deixis.engine')\n", "ops imports deixis.engine"),
        ("if TYPE_CHECKING:\n    from deixis import indexing\n", "ops imports deixis.indexing"),
    ],
)
def test_the_arrow_sees_every_way_to_import(source: str, said: str, tmp_path: Path) -> None:
    [fault] = house.arrow(plant(tmp_path, {"ops/a.py": source}))
    assert said in fault


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("CHEAP = ('clip', 'delta')\n", "asks for the method 'clip' by name"),
        ("KINDS = {'clip': 1}\n", "asks for the method 'clip' by name"),
        ("method = build('clip')\n", "asks for the method 'clip' by name"),
        ("match name:\n    case 'clip': pass\n", "asks for the method 'clip' by name"),
        ("from deixis.methods import clip\n", "imports the method 'clip'"),
        ("def f() -> None:\n    from deixis.methods.clip import Config\n", "imports the method 'clip'"),
        ("from deixis.methods.baselines import ridge\n", "imports the method 'ridge'"),
        ("importlib.import_module('deixis.methods.clip')\n", "imports the method 'clip'"),
    ],
)
@pytest.mark.parametrize("package", ["engine", "apps"])
def test_engine_and_apps_name_no_method_in_any_way(package: str, source: str, said: str, tmp_path: Path) -> None:
    methods = {"methods/clip.py": "", "methods/baselines/ridge.py": ""}
    [fault] = house.TREE_CHECKS["blind_engine"](plant(tmp_path, {f"{package}/a.py": source, **methods}))
    assert fault.startswith(f"{package}/a.py")
    assert fault.endswith(said)


def test_an_exception_that_nothing_needs_any_more_is_a_fault(tmp_path: Path) -> None:
    files = {"apps/label/label_table.py": "", "methods/baselines/caption.py": ""}
    [fault] = house.TREE_CHECKS["blind_engine"](plant(tmp_path, files))
    assert "names 'caption' no more" in fault


def test_nothing_public_stands_for_tests_alone() -> None:
    users = [*PROJECT.glob("bench/*.py"), *PROJECT.glob("docs/*.py"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("*.md")]
    others = {path.name: path.read_text(encoding="utf-8") for path in users}
    faults = only_tests_use(PACKAGE, others, CALLED_BY_OTHERS)
    assert not faults, "use it, remove it, or say in CALLED_BY_OTHERS who calls it\n" + "\n".join(faults)


def test_what_nothing_names_is_found_and_what_documents_or_modules_name_is_not(tmp_path: Path) -> None:
    text = "__all__ = ['A', 'alone', 'told', 'called']\nclass A:\n    def b(self): ...\n"
    text += "def alone(): return alone()\ndef told(): ...\ndef called(): ...\n"
    plant(tmp_path, {"ops/a.py": text, "nn/b.py": "from deixis.ops.a import A, called\nx = A() or called()\n"})
    faults = only_tests_use(tmp_path, {"page.md": "call `told`"}, {})
    assert [fault.rpartition(" ")[2] for fault in faults] == ["A.b", "alone"]
    assert only_tests_use(tmp_path, {"page.md": "told"}, {"ops.a.alone": "torch", "A.b": "torch"}) == []


def test_the_command_line_alone_uses_the_front_door(tmp_path: Path) -> None:
    assert house.arrow(plant(tmp_path, {"cli.py": "import deixis\n", "__init__.py": "from deixis import cli\n"})) == []
    assert house.arrow(plant(tmp_path, {"apps/a.py": "import deixis\n"}))


def test_a_module_with_functions_needs_the_annotations_of_the_future(tmp_path: Path) -> None:
    files = {"ops/a.py": "__all__ = ['f']\ndef f() -> None: ...\n", "ops/b.py": "__all__ = ['x']\nx = 1\n"}
    [fault] = house.exports(plant(tmp_path, files))
    assert fault.startswith("ops/a.py")


def test_a_package_without_a_place_in_the_arrow_is_a_fault(tmp_path: Path) -> None:
    assert house.arrow(plant(tmp_path, {"extras/a.py": ""}))


@pytest.mark.parametrize("module", ["deixis", "deixis.types", "deixis.methods", "deixis.indexing", "deixis.cli"])
def test_importing_costs_no_torch(module: str) -> None:
    assert house.heavy_imports(f"import {module}", search=(SOURCE,)) == []


def test_listing_the_methods_costs_no_torch() -> None:
    statement = "from deixis.methods import list_methods, read; [read(name) for name in list_methods()]"
    assert house.heavy_imports(statement, search=(SOURCE,)) == []


def test_a_heavy_import_is_seen_however_deep_it_lies(tmp_path: Path) -> None:
    plant(tmp_path, {"torch.py": "", "deep.py": "import torch\n", "light.py": "import deep\n"})
    assert house.heavy_imports("import light", search=(tmp_path,)) == ["import light: loads torch"]
    assert house.heavy_imports("import no_such_module") != []


def test_requirements_have_lower_bounds_only() -> None:
    assert house.forbidden_pins((PROJECT / "pyproject.toml").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("requirement", ["torch>=2,<3", "torch==2.6", "torch~=2.6", "torch", "torch!=2.7"])
def test_any_other_bound_is_a_fault(requirement: str) -> None:
    text = f'[project]\nrequires-python = ">=3.11"\ndependencies = ["numpy>=1.26", "{requirement}"]\n'
    assert house.forbidden_pins(text) == [f"dependencies: {requirement}"]


def test_no_file_tells_of_the_machine_it_was_written_on() -> None:
    files = house.project_files(PROJECT)
    assert files
    assert house.machine_traces(PROJECT, files) == []


def test_a_path_or_a_host_of_a_machine_is_found(tmp_path: Path) -> None:
    lines = ["see /wo" + "rk/main", "from https://py" + "pi.org/simple", "in framework/work/ there is none"]
    plant(tmp_path, {"notes.md": "\n".join(lines)})
    found = house.machine_traces(tmp_path, house.project_files(tmp_path))
    assert [fault.split(":")[1] for fault in found] == ["1", "2"]


def test_ignored_files_do_not_count(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    plant(tmp_path, {".gitignore": "runs/\n", "runs/log.txt": "", "kept.txt": ""})
    assert [path.name for path in house.project_files(tmp_path)] == [".gitignore", "kept.txt"]


def test_no_package_bears_the_name_of_a_public_verb() -> None:
    import deixis

    packages = {path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}
    assert not packages & set(dir(deixis)), "Python would hang the package on deixis under the verb's name"
