"""The page on desk-clip, from the rows in `results/desk_clip.jsonl`: its card, and both models beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from docs.tables import Row, Table

__all__ = ["desk_clip_page"]

_DEMO = "demo, validation part"
_TITLES = {"mean_r1": "R@1", "mean_r10": "R@10", "mean_mrr": "mean reciprocal rank", "accuracy": "accuracy"}

_INTRODUCTION = """`desk-clip` is the [starter](loading.md) once more, trained jointly: EfficientNet-Lite0 and MiniLM-L6
with a projection each into 256 dimensions. The starter's towers never met in training; where a paper asks for a model
whose texts and images did, such as one on prompts, take this one. `deixis data get desk-clip` brings the starter, and
what training changed is part of the package."""

_CARD = """**Trained on** drawings, each with its name, or its name and tags: five styles of emoji (Twemoji, by Twitter,
now jdecked, CC-BY-4.0; EmojiOne 2.3, CC-BY-4.0; Noto Emoji and its first version, by Google, Apache-2.0; Fluent Emoji,
flat, by Microsoft, MIT), Fluent Emoji in 3D (Microsoft, MIT), the Open Clip Art Library (public domain, each picture by
its own author), and scenes pasted of these emoji; the names are emojibase's (MIT). Besides, on the rows of
EfficientNet-Lite0's ImageNet classifier, as features without a picture, with the names and definitions of WordNet.

**Never trained on**: the style OpenMoji; a third of the emoji concepts, in any style, nor clip art or classes called as
one of these (`results/desk_clip_concepts.txt` lists them); Tux Paint's stamps, Art4Apps, GCompris, Fashion-MNIST, and
any photograph. EfficientNet-Lite0 itself was trained on the photographs of ImageNet, and MiniLM on English sentences.

**Good for** drawings, icons, clip art, and for methods that need joint training. **Not good for** photographs, texts in
other languages than English, and anything that matters: it saw some thousand pictures."""

_CHOICE = """The settings, tried with three quarters of the steps, on pictures of a tenth of the concepts, which were
left out for it: whether the last block of the image trunk trains, and whether the rows of the classifier are trained
on. The value is the mean reciprocal rank, of both directions, among these pictures; a build takes the best of those
tried by then."""

_SETTINGS = 4
_UNTRIED = """Where a setting is not in the table it has not been tried yet, and took no part in the choice:
`python -m bench.desk_clip --choose` goes on."""

_BUILDS = """Each build trains with another seed, on all concepts but the unseen; pictures and texts go through what is
at rest once. The shipped one is marked. Seconds are processor seconds."""

_COMPARISON = """On what desk-clip was never trained on, in per cent, with 95 % intervals over concepts. Retrieval is
the mean of both directions among all pictures of the set; zero-shot is the share of pictures whose class scores highest
(of emoji Unicode's groups, of stamps their folders, of the photographs of OpenCV and darknet one description each).
*Better* is the model whose advantage clears zero."""


def desk_clip_page(rows: Sequence[Row], made: str, table: Table) -> str:
    """The page in Markdown.

    Args:
        rows: of `results/desk_clip.jsonl`; of several of one kind and subject the last counts.
        made: the remark that the page is made.
        table: makes a table of a head and rows.
    """
    builds = {row["seed"]: row for row in rows if row["kind"] == "build"}
    shipped = builds[min(builds)]["sha256"]
    tests = {(row["sha256"], row["set"], row["task"], row["metric"]): row for row in rows if row["kind"] == "test"}
    own = [row for (sha256, *_), row in tests.items() if sha256 == shipped]
    parts = ["# desk-clip", made, _INTRODUCTION, "## Which one to take", _advice(own), _COMPARISON]
    parts += [table(_HEAD, [_compared(row) for row in own if row["set"] != _DEMO and row["metric"] != "mean_mrr"])]
    parts += ["## Card", _CARD, "## How it was chosen", _CHOICE]
    tried = {(row["block"], row["rows"]): row for row in rows if row["kind"] == "choice"}
    parts += [table(("last block", "rows of the classifier", "value", "seconds"), map(_tried, tried.values()))]
    parts += [_UNTRIED] if len(tried) < _SETTINGS else []
    parts += [_overtaken(tried, builds[min(builds)])]
    parts += ["## Builds", _BUILDS, _builds(builds, tests, shipped, table)]
    return "\n\n".join(parts) + "\n"


_HEAD = ("set", "task", "queries", "starter", "desk-clip", "difference", "better")


def _advice(own: Sequence[Row]) -> str:
    """Which model to take, and which one the demo takes, from the rows."""
    ranks = [row for row in own if row["metric"] == "mean_mrr" and row["set"] != _DEMO]
    groups = {name: [row["set"] for row in ranks if _better(row) == name] for name in ("desk-clip", "starter", "even")}
    told = [
        f"{names.capitalize() if names == 'starter' else names}: {'; '.join(sets)}."
        for names, sets in (("desk-clip", groups["desk-clip"]), ("starter", groups["starter"]))
        if sets
    ]
    even = f" No difference is proven on: {'; '.join(groups['even'])}." if groups["even"] else ""
    [demo] = [row for row in own if row["set"] == _DEMO and row["metric"] == "mean_mrr"]
    winner = "desk-clip" if demo["difference"][0] > 0 else "starter"
    return (
        f"By mean reciprocal rank, the better one is: {' '.join(told)}{even}\n\n"
        f"`deixis demo` and `deixis adapt` take the *{winner}* unless told otherwise: on the part of the stamps that "
        f"the demo chooses settings on, {demo['queries']} pictures, desk-clip's mean reciprocal rank is "
        f"{_cell(demo['desk_clip'])}, the starter's {_cell(demo['starter'])}: a difference of "
        f"{_cell(demo['difference'], signed=True)}."
    )


def _better(row: Row) -> str:
    _, low, high = row["difference"]
    return "desk-clip" if low > 0 else "starter" if high < 0 else "even"


def _cell(interval: Sequence[float], signed: bool = False) -> str:
    value, low, high = (f"{100 * each:{'+' if signed else ''}.1f}" for each in interval)
    return f"{value} ({low} to {high})"


def _compared(row: Row) -> tuple[Any, ...]:
    cells = (_cell(row["starter"]), _cell(row["desk_clip"]), _cell(row["difference"], signed=True))
    return (row["set"], f"{row['task']}, {_TITLES[row['metric']]}", row["queries"], *cells, _better(row))


def _tried(row: Row) -> tuple[Any, ...]:
    trains = "trains" if row["block"] else "at rest"
    return (trains, "yes" if row["rows"] else "no", f"{100 * row['mean_mrr']:.1f}", f"{row['seconds']:.0f}")


def _overtaken(tried: Mapping[tuple[bool, bool], Row], shipped: Row) -> str:
    """Whether a setting that was tried later than the shipped build was made has come out better."""
    own = tried[shipped["block"], shipped["rows"]]
    best = max(tried.values(), key=lambda row: row["mean_mrr"])
    if best is own:
        return "The shipped build has the best setting."
    block, rows = _tried(best)[:2]
    ahead = 100 * (best["mean_mrr"] - own["mean_mrr"])
    when = f", which was tried after the build of {shipped['date'][:10]}," if best["date"] > shipped["date"] else ""
    return (
        f"The shipped build does not have the best setting: last block {block}, rows of the classifier: {rows}{when} "
        f"is {ahead:.1f} points ahead with one seed, and has not been built. `make desk-clip` would build it."
    )


def _builds(builds: Mapping[int, Row], tests: Mapping[tuple[str, ...], Row], shipped: str, table: Table) -> str:
    """A line a build: its cost, and its mean reciprocal rank on each set."""
    sets = list(dict.fromkeys(name for _, name, _, metric in tests if metric == "mean_mrr" and name != _DEMO))
    lines = []
    for seed, row in sorted(builds.items()):
        sha256 = row["sha256"]
        found = [tests.get((sha256, name, "retrieval", "mean_mrr")) for name in sets]
        ranks = [f"{100 * each['desk_clip'][0]:.1f}" if each else "" for each in found]
        mark = " (shipped)" * (sha256 == shipped)
        cost = (f"{row['encoding_seconds'] + row['seconds']:.0f}", row["megabytes"])
        lines.append((f"{seed}{mark}", f"`{sha256[:12]}`", *cost, row["pictures"], *ranks))
    return table(("seed", "SHA-256", "seconds", "MB", "pictures", *(f"{name}, MRR" for name in sets)), lines)
