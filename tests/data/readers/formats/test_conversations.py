"""Conversations become questions in their order, each with its own answer, about the image that the record names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deixis.data.readers.sources import read
from deixis.errors import DeixisError
from deixis.types.samples import Question, Source


def beside(root: Path, records: Any, name: str = "data.json") -> Path:
    """A json, or a jsonl, beside images/a.jpg and images/b.jpg."""
    (root / "images").mkdir()
    for image in ("a.jpg", "b.jpg"):
        (root / "images" / image).write_bytes(b"")
    text = "".join(json.dumps(each) + "\n" for each in records) if name.endswith("l") else json.dumps(records)
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def talk(*turns: tuple[str, Any], image: Any = "a.jpg", **further: Any) -> dict[str, Any]:
    return {"image": image, "conversations": [{"from": role, "value": text} for role, text in turns], **further}


def reasons(source: Source) -> list[str]:
    return [item.reason for item in source.skipped]


@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_each_turn_with_its_answer_is_a_question(tmp_path: Path, name: str) -> None:
    turns = [
        ("system", "Be kind."),
        ("human", "<image>\nWhat is it?"),
        ("gpt", "A mug."),
        ("human", "Which colour?\nOne word."),
        ("gpt", "Red"),
    ]
    path = beside(tmp_path, [talk(*turns, id="7")], name)
    source = read(path)
    [sample] = source.samples
    assert (sample.id, sample.image, sample.extra) == ("images/a.jpg", tmp_path / "images/a.jpg", {"id": "7"})
    assert sample.questions == (Question("What is it?", "A mug."), Question("Which colour?\nOne word.", "Red"))
    assert (source.kind, source.layout) == ("images", f"{name.split('.')[1]} with conversations")
    assert any("There are questions, and neither captions nor labels" in note for note in source.notes)


def test_the_mark_of_the_image_is_taken_out_wherever_it_stands(tmp_path: Path) -> None:
    turns = [("human", "What is it?\n<image>"), ("gpt", "A mug."), ("human", "And <image> here?"), ("gpt", "A mug.")]
    [sample] = read(beside(tmp_path, [talk(*turns)])).samples
    assert [each.question for each in sample.questions] == ["What is it?", "And\nhere?"]


def test_messages_with_roles_are_understood_as_well(tmp_path: Path) -> None:
    parts = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "A mug."}]
    [sample] = read(beside(tmp_path, [{"images": ["b.jpg"], "messages": messages}])).samples
    assert (sample.id, sample.questions) == ("images/b.jpg", (Question("What is it?", "A mug."),))


def test_conversations_about_one_image_stay_apart_and_on_one_side_of_a_split(tmp_path: Path) -> None:
    first, second = read(
        beside(tmp_path, [talk(("human", "Eh?"), ("gpt", answer)) for answer in ("One.", "Two.")])
    ).samples
    assert (first.id, second.id) == ("images/a.jpg", "images/a.jpg#2")
    assert first.groups == second.groups == ("file:images/a.jpg",)


def test_records_without_an_image_are_words_alone(tmp_path: Path) -> None:
    spoken = ("human", "Eh?"), ("gpt", "Yes.")
    source = read(beside(tmp_path, [talk(*spoken, image=None, id="t1"), talk(*spoken)]))
    assert [(sample.id, sample.image is None) for sample in source.samples] == [
        ("text/t1", True),
        ("images/a.jpg", False),
    ]
    assert source.kind == "images"


def test_a_file_of_words_alone_says_so(tmp_path: Path) -> None:
    assert read(beside(tmp_path, [talk(("human", "Eh?"), ("gpt", "Yes."), image="")])).kind == "text"


def test_turns_of_a_wrong_form_are_skipped_and_counted(tmp_path: Path) -> None:
    good = ("human", "Eh?"), ("gpt", "Yes.")
    records = [
        *[talk(*good) for _ in range(8)],
        talk(("human", 5), ("gpt", "Yes.")),
        talk(("gpt", "Yes.")),
        {"image": "a.jpg", "conversations": ["Eh?", "Yes."]},
        {"image": "a.jpg", "conversations": {}},
        talk(*good, image="gone.jpg"),
        talk(*good, image=["a.jpg", "b.jpg"]),
        talk(*good, image=5),
        "x",
    ]
    source = read(beside(tmp_path, records))
    assert len(source.samples) == 8
    assert reasons(source) == [
        "not a JSON object",
        *["turns that can't be read"] * 4,
        "file not found",
        "several images in one conversation",
        "path is not text",
    ]


def test_answers_are_bounded_and_cleaned(tmp_path: Path) -> None:
    [sample] = read(beside(tmp_path, [talk(("human", "E\0h?"), ("gpt", "y" * 1_000_000))])).samples
    assert sample.questions[0].question == "Eh?"
    assert len(sample.questions[0].answer) == 100_000


def test_a_json_that_is_cut_short_is_refused_with_the_place(tmp_path: Path) -> None:
    path = beside(tmp_path, [talk(("human", "Eh?"), ("gpt", "Yes."))])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DeixisError, match=r"is no valid JSON: line 1, column \d+: .*truncated"):
        read(path)
