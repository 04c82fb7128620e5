"""Writes the pages that are made: one a method, from its file, that of the command line, from its verbs, and
the tables, from the rows under results/.

Run as `python -m docs.build` (or `make docs`). For the pages nothing is imported but what methods declare, so torch is
not loaded; the pictures are drawn last.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.rows import races
from deixis.apps.common.verbs import verbs
from deixis.files import atomic_path
from deixis.methods import Literals, all_settings, list_methods, read
from deixis.zoo.parts import kinds, part_kind
from docs.commands import commands_page
from docs.found import found_page
from docs.papers import Results, golden_files, papers_page
from docs.protocols import protocols_page

__all__ = ["main", "method_page", "pages", "races_page", "table"]

ROOT = Path(__file__).parents[1]
SAME = 1.0  # mean difference, of 255, up to which two pictures show the same
MADE = "<!-- made by `make docs`; edit the method's file or run the race instead -->"

PARTS = """A method is built on parts; each has a setting of its name, such as `--set encoder=starter`, and `deixis show
METHOD` lists them with their kinds. In Python, `zoo.load_part("image_tower", "timm:resnet18:untrained")` loads one, and
`engine.build("clip", overrides={"encoder": "my-run"})` builds a method on it. Parts of one kind have the same
interface, a Protocol in `deixis.types.protocols`."""


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown; bars within cells are escaped."""
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(head), ["---"] * len(head), *cells])


def _facts(method: Literals) -> list[tuple[str, str]]:
    card = method.card
    facts = [
        ("title", card.title),
        ("published", " ".join(filter(None, (card.venue, str(card.year))))),
        ("arXiv", card.arxiv),
        ("authors' code", card.code),
        ("kind", f"{card.kind} ({card.role})"),
        ("built on", ", ".join(f"{part.name} ({part.kind}{', frozen' * part.frozen})" for part in card.parts)),
        ("reads", ", ".join(f"{field.name} [{field.axes}]" for field in card.needs)),
        ("can", ", ".join(card.capabilities)),
        ("settings with names", ", ".join(f"`{name}`" for name in card.variants)),
    ]
    return [(key, value) for key, value in facts if value]


def _settings(method: Literals) -> list[tuple[str, ...]]:
    """Name and value in each preset, of every field of Config; of value objects what is not as they have it."""
    presets = [getattr(method.config, name)() for name in ("tiny", "desk", "paper")]
    values = [all_settings(preset) for preset in presets]
    objects = {name: type(held)() for name, held in vars(presets[0]).items() if dataclasses.is_dataclass(held)}
    default = {f"{name}.{key}": each for name, held in objects.items() for key, each in all_settings(held).items()}
    return [
        (f"`{name}`", *(f"`{each[name]!r}`" for each in values))
        for name in values[0]
        if name not in default or any(each[name] != default[name] for each in values)
    ]


def method_page(method: Literals) -> str:
    """The page of a method: what its docstring says, its card, its settings, its claims."""
    parts = [
        f"# {method.name}",
        MADE,
        method.doc,
        table(("", ""), _facts(method)),
        "## Settings",
        table(("setting", "tiny", "desk", "paper"), _settings(method)),
    ]
    if hasattr(method.config, "optim"):
        parts += ["What else `optim` has stands in [training](../training.md#the-optimiser), with its defaults."]
    if method.claims:
        rows = [(c.statement, c.metric, c.minimum_effect, c.data, c.budget) for c in method.claims]
        parts += ["## Claims", table(("claim", "metric", "smallest effect worth having", "data", "images seen"), rows)]
    return "\n\n".join(parts) + "\n"


def races_page(rows: Sequence[dict[str, Any]]) -> str:
    """The table of races: of each race, case and peer the latest row."""
    latest = {(row["race"], row["case"], row["peer"]): row for row in rows}
    cells = [
        (
            *(row["race"], row["case"], f"{row['peer']} {row['peer_version']}"),
            *(f"{row['ours']} {row['unit']}", f"{row['theirs']} {row['unit']}"),
            f"{row['ratio']} ({row['spread'][0]} to {row['spread'][1]})",
            *(row["repeats"], row["threads"], row["cpu"], row["date"][:10]),
        )
        for row in latest.values()
    ]
    head = ("race", "case", "peer", "ours", "theirs", "times better (quartiles)", "repeats", "threads", "cpu", "date")
    rules = [(name, race.measures, ", ".join(race.peers), race.equal) for name, race in races().items()]
    before = table(("race", "what is measured", "against", "what must be equal first"), rules)
    return f"# Races\n\n{MADE}\n\n{before}\n\n{table(head, cells)}\n"


def parts_page() -> str:
    """The kinds of parts that methods are built on, and the names that each loads."""
    lines = ["# Parts", MADE, PARTS]
    for kind in kinds():
        part = part_kind(kind)
        rows = [(f"`{each.form}`", f"`{each.example}`", each.gives, each.fetch or "nothing") for each in part.sources]
        lines += [f"## {kind}", f"`{part.protocol}`: {part.gives}."]
        lines += [table(("name", "for example", "what is loaded", "what is fetched"), rows)]
        lines += [part.later] if part.later else []
    return "\n\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


def _write_picture(path: Path, jpeg: bytes) -> None:
    """Writes a picture unless the one that is there shows the same: encoders differ in the last digits."""
    from PIL import Image, ImageChops, ImageStat

    if path.exists():
        old, new = Image.open(path), Image.open(io.BytesIO(jpeg))
        if old.size == new.size and max(ImageStat.Stat(ImageChops.difference(old, new)).mean) < SAME:
            return
    with atomic_path(path) as temporary:
        temporary.write_bytes(jpeg)
    print(f"wrote {path.relative_to(ROOT)}")


def _rows(name: str) -> list[dict[str, Any]]:
    lines = (ROOT / "results" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def pages() -> dict[str, str]:
    """The pages that are made: path below docs/ -> text."""
    methods = [read(name) for name in list_methods()]
    made = {f"methods/{method.name}.md": method_page(method) for method in methods}
    made["commands.md"] = commands_page(verbs(), MADE, table)
    made["parts.md"] = parts_page()
    made["races.md"] = races_page(_rows("bench"))
    made["protocols.md"] = protocols_page((ROOT / "docs/protocols.md").read_text(encoding="utf-8"), table)
    made["found.md"] = found_page(_rows("protocols"), MADE, table)
    papers = [method for method in methods if method.card.role == "paper"]
    golden = golden_files(ROOT / "tests" / "golden", [method.name for method in methods])
    page = papers_page(papers, Results.read(ROOT / "results"), golden, MADE)
    return {**made, "papers.md": page.text, **page.pictures}


def main() -> None:
    """Writes all pages and pictures."""
    for name, text in pages().items():
        _write(ROOT / "docs" / name, text)
    from docs.pictures import pictures

    for name, jpeg in pictures().items():
        _write_picture(ROOT / "docs" / name, jpeg)


if __name__ == "__main__":
    main()
