"""The model card: a README.md that says what a folder's model is, what it was made of, what it bought, how to load it.

Everything in it stands in `result.json` or in the model itself. It names no path of the machine it was written on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from deixis.apps.common import formatting
from deixis.apps.common.sentences import METRIC_NAMES, in_points
from deixis.apps.report.card_loading import loading
from deixis.apps.report.card_parts import Form, Subject, code, inline, table
from deixis.files import atomic_path, public_name

__all__ = ["Form", "Subject", "card", "write"]

_LIBRARIES: dict[Form, str] = {
    "deixis": "deixis",
    "onnx": "onnx",
    "openclip": "open_clip",
    "huggingface": "transformers",
}
_HUB_LICENCES = (
    "apache-2.0 mit bsd-2-clause bsd-3-clause cc0-1.0 cc-by-4.0 cc-by-3.0 cc-by-sa-4.0 cc-by-sa-3.0 cc-by-nc-4.0 "
    "cc-by-nc-sa-4.0 gpl-2.0 gpl-3.0 lgpl-2.1 lgpl-3.0 agpl-3.0 mpl-2.0 openrail unlicense"
).split()


def write(path: Path, subject: Subject) -> None:
    """Writes the card, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(card(subject), encoding="utf-8")


def card(subject: Subject) -> str:
    """The whole README.md: a head that model hubs read, then Markdown."""
    parts = [_head(subject), *_what(subject)]
    for title, lines in (
        ("Before and after", _measured(subject)),
        ("What was forgotten", _forgotten(subject)),
        ("Data", _data(subject)),
        ("Recipe", _recipe(subject)),
        ("Licences", _licences(subject)),
        ("How to load it", loading(subject)),
        ("The graphs", _graphs(subject)),
        ("Before you publish this folder", _private(subject)),
    ):
        body = list(lines)
        if body:
            parts += [f"## {title}", *body]
    return "\n\n".join(parts) + "\n"


def _head(subject: Subject) -> str:
    text = subject.encoder.licence
    licence = _hub_licence(text)
    classes = subject.learns_classes and subject.form == "deixis"
    head: dict[str, Any] = {"license": licence}
    if licence == "other":
        head["license_name"] = inline(text, escape=False)
    head["library_name"] = _LIBRARIES[subject.form]
    head["pipeline_tag"] = "image-classification" if classes else "zero-shot-image-classification"
    head["tags"] = ["image-text", "retrieval", "deixis", *(["onnx"] if subject.form == "onnx" else [])]
    if subject.base.startswith("hf-hub:"):
        head["base_model"] = subject.base.removeprefix("hf-hub:").split("@")[0]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---"


def _hub_licence(text: str) -> str:
    """The name of a licence on model hubs: `apache-2.0`; `unknown` where none is given, `other` for all the rest."""
    first = text.lower().split(" ")[0].strip(",;()")
    if not text:
        return "unknown"
    return first if first in _HUB_LICENCES else "other"


def _what(subject: Subject) -> Iterator[str]:
    encoder, result = subject.encoder, subject.result
    base, data = code(subject.base), inline(str((result.get("data") or {}).get("name") or "a collection"))
    size = sum(parameter.numel() for parameter in encoder.parameters())
    if subject.learns_classes:
        title, kind = f"Classes of {data}, on {base}", f"The classes of {data}, learned by {code(subject.method)}."
        kind += f" Its features are those of {base}, which is unchanged."
    elif not result:
        title, kind = f"{base}, as it is", f"{base} as it is."
    elif subject.is_original:
        title = f"{base}, the original"
        kind = f"{base} unchanged: adapting it to {data} gave no proven gain, so the original was retained."
    else:
        done = "trained on" if result.get("verb") == "train" else "adapted to"
        title = f"{base}, {done} {data}"
        kind = f"{base}, {done} the collection {data} by {code(subject.method)}."
    yield f"# {title}"
    yield (
        f"{kind} An image tower and a text tower that meet in a space of {encoder.width} dimensions, "
        f"{formatting.count(size)} parameters; pictures of {encoder.preprocess.size} pixels, texts of up to "
        f"{encoder.context_length} tokens. Scores are {encoder.scale:g} times the cosine"
        + (f", plus {encoder.bias:g}." if encoder.bias else ".")
    )
    if result.get("sentence"):
        yield f"**{inline(result['sentence'])}**"


def _measured(subject: Subject) -> Iterator[str]:
    """The table of `result.json`, all of it."""
    result = subject.result
    before, after, gain = (result.get(key) or {} for key in ("before", "after", "difference"))
    rows = []
    for name in (name for name in gain if name in before and name in after):
        if isinstance(gain[name], Mapping):
            rows.append((METRIC_NAMES[name], *(_level(each[name]) for each in (before, after)), in_points(gain[name])))
        elif name in ("accuracy", "r1", "r5", "r10", "mrr"):
            cells = (formatting.points(before[name]), formatting.points(after[name]), formatting.signed(gain[name]))
            rows.append((METRIC_NAMES.get(f"mean_{name}", name), *cells))
    if not rows:
        return
    yield table(("measure, in points", "before", "after", "difference"), rows)
    yield _how_measured(subject)


def _level(interval: Mapping[str, float]) -> str:
    return f"{formatting.points(interval['value'])} [{formatting.span(interval['low'], interval['high'])}]"


def _how_measured(subject: Subject) -> str:
    split = subject.result.get("split") or {}
    if not split:
        return f"Measured on {subject.result.get('held_out', 0)} samples of concepts that were held out; no intervals."
    if split.get("scheme") == "concept":
        held_out = "concepts that were not trained on"
    else:
        held_out = "pictures that were not trained on"
    sentence = f"Measured on {held_out}, over {split.get('count')} divisions; in brackets, 95 % intervals."
    if subject.learns_classes:
        return f"{sentence} Before: from the class names alone. The saved classifier was trained on all pictures."
    if subject.is_original:
        return sentence
    return f"{sentence} The model that is left here was then fitted on all pairs, by the same recipe."


def _forgotten(subject: Subject) -> Iterator[str]:
    found = subject.result.get("forgotten")
    if isinstance(found, Mapping):
        rows = [
            (inline(name), METRIC_NAMES[metric], in_points(value))
            for name, values in found.items()
            for metric, value in values.items()
            if metric in ("mean_r1", "mean_r10", "mean_mrr")
        ]
        yield "Measured on pictures outside the data, after minus before, in points; in brackets, 95 % intervals."
        yield table(("on", "measure", "difference"), rows)
    elif found:
        yield "Not measured: there were no pictures outside the data to measure it on."


def _data(subject: Subject) -> Iterator[str]:
    data = subject.result.get("data") or {}
    if not data:
        return
    counts = [(data.get(key), word) for key, word in (("images", "pictures"), ("samples", "samples"))]
    counts += [(data.get("captions"), "classes" if data.get("kind") == "labels" else "captions")]
    counts += [(data.get("classes"), "classes"), (data.get("groups"), "concept groups")]
    sentence = ", ".join(f"{formatting.count(value)} {word}" for value, word in counts if value is not None)
    left_out = len(data["skipped"]) if "skipped" in data else subject.result.get("skipped", 0)
    yield f"{inline(str(data.get('name') or ''))}: {sentence}; {left_out} left out."
    if data.get("fingerprint"):
        over = "the contents of the pictures, their captions and labels"
        if subject.result.get("verb") == "train":
            over = "names, labels and captions"
        yield f"Fingerprint (SHA-256 over {over}): {code(str(data['fingerprint']))}"


def _recipe(subject: Subject) -> Iterator[str]:
    result, method = subject.result, subject.result.get("method") or {}
    if not result:
        return
    config = method.get("config") if isinstance(method, Mapping) else result.get("config")
    final = (method.get("final") or {}) if isinstance(method, Mapping) else {}
    split = result.get("split") or {}
    rows = [("method", subject.method), ("base", subject.base)]
    rows += [
        (formatting.spaced(str(key)), formatting.plain(value))
        for key, value in formatting.flat(config or {}).items()
        if _told(value)
    ]
    shots = method.get("shots") if isinstance(method, Mapping) else None
    rows += [("images a class, at the most", str(shots))] if shots is not None else []
    rows += [(key, formatting.plain(final[key])) for key in ("steps", "strength") if key in final]
    rows += [("seed", str(result["seed"]))] if "seed" in result else []
    if split:
        rows.append(("splits", f"{split.get('count')}, {split.get('scheme')}; {split.get('train')} of each to train"))
    rows += [("versions", ", ".join(f"{name} {value}" for name, value in (result.get("versions") or {}).items()))]
    yield table(("setting", "value"), [(inline(name), inline(value)) for name, value in rows])
    if result.get("verb") != "train":
        yield f"Fingerprint of the base: {code(str((result.get('model') or {}).get('fingerprint', '')))}"
    yield f"Fingerprint of the model: {code(subject.encoder.fingerprint())}"


def _told(value: Any) -> bool:
    """Whether a setting is listed: neither empty nor a path of somebody's machine."""
    return value not in (None, "", (), [], {}) and public_name(str(value)) == str(value)


def _licences(subject: Subject) -> Iterator[str]:
    lines = [f"* Weights: {inline(subject.encoder.licence) or 'not stated by the model.'}"]
    for column, values in subject.licences.items():
        sentence = ", ".join(f"{count} {inline(value) or '(none)'}" for value, count in values.items())
        lines.append(f"* Pictures, by their column {code(column)}: {sentence}")
    if subject.result and not subject.licences:
        lines.append("* Pictures: not stated by the data. They are not part of the weights.")
    yield "\n".join(lines)


def _graphs(subject: Subject) -> Iterator[str]:
    """What an export has measured."""
    check, int8 = subject.export.get("check"), subject.export.get("int8")
    if check:
        worst = max(check["largest_difference"].values())
        yield (
            f"Checked on {check['images']} pictures and {check['texts']} texts ({inline(check['from'])}): the largest "
            f"difference from the embeddings of the model in deixis is {worst:.1e}."
        )
    if int8:
        yield f"In 8 bits, retrieval among {int8['pairs']} pairs ({inline(int8['from'])}). {int8['note']}".strip()
        rows = [
            (METRIC_NAMES[name], *(_level(int8[which][name]) for which in ("before", "after")), in_points(gain))
            for name, gain in int8["difference"].items()
        ]
        yield table(("measure, in points", "32 bits", "8 bits", "difference"), rows)


def _private(subject: Subject) -> Iterator[str]:
    if subject.form == "deixis" and subject.result:
        yield (
            "`index/`, `result.json`, `check.json` and, where there is one, `report.html` tell paths and captions of "
            "the pictures, and the report shows some. The model needs none of them."
        )
