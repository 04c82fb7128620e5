"""What users point at is read as they mean it, or refused with the cure; what is left out is counted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deixis.data.readers.names import caption_of, prefix_of
from deixis.data.readers.sources import read
from deixis.errors import DeixisError
from deixis.types.samples import Source


def put(root: Path, *names: str) -> Path:
    """Files that nothing here opens."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def table(root: Path, text: str | bytes, name: str = "data.csv") -> Path:
    """A table beside a.jpg, b.jpg and c.jpg."""
    put(root, "a.jpg", "b.jpg", "c.jpg")
    path = root / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def captions(source: Source) -> dict[str, tuple[str, ...]]:
    return {sample.id: sample.captions for sample in source.samples}


def labels(source: Source) -> dict[str, str | None]:
    return {sample.id: sample.label for sample in source.samples}


def reasons(source: Source) -> dict[str, str]:
    return {item.path: item.reason for item in source.skipped}


def said(source: Source, words: str) -> bool:
    return any(words in note for note in source.notes)


# Folders


def test_text_files_beside_images_are_captions_one_a_line(tmp_path: Path) -> None:
    put(tmp_path, "a.JPG", "sub/b.png", "c.webp", "d.png", "readme.txt")
    (tmp_path / "a.txt").write_text(" A red\tmug.\n\n  A mug.  \nA mug.\n")
    (tmp_path / "sub/b.txt").write_bytes("\ufeffein Käfer 🐞\r\n".encode())
    (tmp_path / "c.webp.txt").write_bytes("wide".encode("utf-16"))
    source = read(tmp_path)
    assert source.kind == "captions"
    assert captions(source) == {
        "a.JPG": ("A red mug.", "A mug."),
        "c.webp": ("wide",),
        "d.png": (),
        "sub/b.png": ("ein Käfer 🐞",),
    }
    assert source.samples[3].image == tmp_path / "sub/b.png"
    assert said(source, "1 .txt files have no image of their name")


def test_a_caption_that_is_not_utf8_is_skipped_and_the_cure_told(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "a.txt").write_bytes("K\xe4fer".encode("latin-1"))
    (tmp_path / "b.txt").write_text("ant")
    source = read(tmp_path)
    assert captions(source) == {"a.jpg": (), "b.jpg": ("ant",)}
    assert reasons(source) == {"a.txt": "caption is not UTF-8"}
    assert said(source, "1 skipped, caption is not UTF-8 (such as a.txt). Save the text as UTF-8, for example: iconv")


def test_control_characters_go_and_endless_captions_are_cut(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "a.txt").write_bytes(b"a\0 red\x01 mug")
    (tmp_path / "b.txt").write_text("x" * 1_000_000)
    (tmp_path / "c.txt").write_text("x" * 5_000_000)
    source = read(tmp_path)
    assert captions(source) == {"a.jpg": ("a red mug",), "b.jpg": ("x" * 10_000,), "c.jpg": ()}
    assert said(source, "removed from 1 captions, first of a.txt.")
    assert said(source, "1 captions were longer than 10,000")
    assert reasons(source) == {"c.txt": "caption file is too large"}


def test_subfolders_are_classes(tmp_path: Path) -> None:
    source = read(put(tmp_path, "pets/cat/1.jpg", "pets/dog/old/2.jpg", "pets/dog/3.jpg"))
    assert source.kind == "labels"
    assert labels(source) == {"pets/cat/1.jpg": "cat", "pets/dog/3.jpg": "dog", "pets/dog/old/2.jpg": "dog"}
    assert said(source, "2 classes, named by sub-folder: cat, dog.")


def test_train_and_test_folders_are_no_classes(tmp_path: Path) -> None:
    source = read(put(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "test/cat/3.jpg"))
    assert labels(source) == {"train/cat/1.jpg": "cat", "train/dog/2.jpg": "dog", "test/cat/3.jpg": "cat"}
    assert said(source, "test, train were read as splits")


@pytest.mark.parametrize("names", [["cat/1.jpg", "cat/2.jpg"], ["cat/1.jpg", "dog/2.jpg", "3.jpg"], ["1.jpg"]])
def test_one_subfolder_or_images_beside_subfolders_are_no_classes(tmp_path: Path, names: list[str]) -> None:
    source = read(put(tmp_path, *names))
    assert source.kind == "images"
    assert set(labels(source).values()) == {None}
    assert said(source, "Neither captions nor labels")


def test_file_names_are_captions_only_where_asked(tmp_path: Path) -> None:
    put(tmp_path, "red-bird_02.jpg", "IMG_0001.jpg", "mug.jpg")
    (tmp_path / "mug.txt").write_text("my cup")
    assert captions(read(tmp_path))["red-bird_02.jpg"] == ()
    source = read(tmp_path, names_as_captions=True)
    assert captions(source) == {"red-bird_02.jpg": ("red bird",), "IMG_0001.jpg": (), "mug.jpg": ("my cup",)}
    assert said(source, "1 captions were taken from file names; 1 names hold no words")


@pytest.mark.parametrize(
    ("stem", "words"),
    [
        ("red-bird_02", "red bird"),
        ("blue mug (3)", "blue mug"),
        ("3d printer", "3d printer"),
        ("ox", "ox"),
        ("x1", ""),
        ("café_élan", "café élan"),
        ("IMG_20240101_120000", ""),
        ("image of a cat", "image of a cat"),
        ("00017", ""),
    ],
)
def test_a_file_name_as_words(stem: str, words: str) -> None:
    assert caption_of(stem) == words


def test_hidden_files_and_droppings_are_ignored(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", ".b.jpg", ".git/c.jpg", "__MACOSX/d.jpg", "Thumbs.db", "sub/.DS_Store", "@eaDir/e.jpg")
    source = read(tmp_path)
    assert [sample.id for sample in source.samples] == ["a.jpg"]
    assert not source.skipped


def test_links_that_go_round_end_and_links_outside_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path, "in/sub/a.jpg", "out/b.jpg")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/sub/up").symlink_to("..")
    (tmp_path / "in/away").symlink_to(tmp_path / "out")
    (tmp_path / "in/again").symlink_to(tmp_path / "out")
    (tmp_path / "out/back").symlink_to(tmp_path / "in")
    (tmp_path / "in/self.jpg").symlink_to("self.jpg")
    (tmp_path / "in/gone.jpg").symlink_to("nowhere")
    source = read(tmp_path / "in")
    assert [sample.id for sample in source.samples] == ["again/b.jpg", "sub/a.jpg"]
    assert reasons(source) == {"self.jpg": "link points nowhere", "gone.jpg": "link points nowhere"}


def test_a_pipe_named_like_an_image_does_not_hang(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "b.jpg")
    assert reasons(read(tmp_path)) == {"b.jpg": "not a regular file"}


def test_odd_names_are_read_and_undecodable_ones_skipped(tmp_path: Path) -> None:
    put(tmp_path, "new\nline.jpg", "🐞.jpg", "sp ace.jpg")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))).write_bytes(b"")
    source = read(tmp_path)
    assert {sample.id for sample in source.samples} == {"new\nline.jpg", "🐞.jpg", "sp ace.jpg"}
    assert reasons(source) == {r"caf\xe9.jpg": "name is not UTF-8"}
    json.dumps([item.path for item in source.skipped], ensure_ascii=False).encode()


def test_the_order_is_the_same_each_time(tmp_path: Path) -> None:
    put(tmp_path, *(f"{name}/{name}{index}.jpg" for name in "cab" for index in range(3)))
    ids = [sample.id for sample in read(tmp_path).samples]
    assert ids == sorted(ids)
    assert ids == [sample.id for sample in read(tmp_path).samples]


def test_what_else_lies_there_is_told(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.mp4", "c.mp4", "data.csv")
    source = read(tmp_path)
    assert said(source, "no images were left out: 2 .mp4.")
    assert said(source, f"to use it as the table, give {tmp_path}/data.csv")


# Groups from names


def test_views_of_one_thing_are_grouped_by_name_and_it_is_said(tmp_path: Path) -> None:
    names = ["mug-blue_1", "mug-blue_2", "vase a", "vase b", "plate", "plate (2)", "IMG_0001", "IMG_0002", "001", "002"]
    for name in names:
        put(tmp_path, f"{name}.jpg")
        (tmp_path / f"{name}.txt").write_text(name)
    source = read(tmp_path)
    groups = {sample.id[:-4]: sample.groups for sample in source.samples}
    assert groups == {
        "mug-blue_1": ("name:mug-blue",),
        "mug-blue_2": ("name:mug-blue",),
        "vase a": ("name:vase",),
        "vase b": ("name:vase",),
        "plate": ("name:plate",),
        "plate (2)": ("name:plate",),
        **dict.fromkeys(("IMG_0001", "IMG_0002", "001", "002"), ()),
    }
    assert said(
        source,
        "3 groups (6 images that seem to show the same things) guessed from name prefixes such as mug-blue_1.jpg",
    )


@pytest.mark.parametrize("count", [13, 3])
def test_a_prefix_that_many_or_nearly_all_share_is_no_group(tmp_path: Path, count: int) -> None:
    for index in range(count):
        put(tmp_path, f"party{index}.jpg")
        (tmp_path / f"party{index}.txt").write_text(str(index))
    assert not any(sample.groups for sample in read(tmp_path).samples)


def test_a_class_is_no_group_and_folders_are_apart(tmp_path: Path) -> None:
    put(tmp_path, *(f"cat/cat_{i}.jpg" for i in range(3)), *(f"dog/rex_{i}.jpg" for i in range(3)), "dog/bello.jpg")
    put(tmp_path, *(f"cow/rex_{i}.jpg" for i in range(2)))
    groups = {sample.id: sample.groups for sample in read(tmp_path).samples}
    assert groups["cat/cat_0.jpg"] == groups["cow/rex_0.jpg"] == ()
    assert groups["dog/rex_0.jpg"] == groups["dog/rex_2.jpg"] == ("name:dog/rex",)


@pytest.mark.parametrize(
    ("stem", "prefix"),
    [
        ("mug-blue_2", "mug-blue"),
        ("mug2", "mug"),
        ("mug (12)", "mug"),
        ("mug_b", "mug"),
        ("mugb", None),
        ("DSC01234", None),
        ("PXL_20240101_120000", None),
        ("WhatsApp Image 2024-01-01 at 10.00.01", None),
        ("20240101_1200", None),
        ("ab_1", None),
    ],
)
def test_the_prefix_of_a_name(stem: str, prefix: str | None) -> None:
    assert prefix_of(stem) == prefix


# Tables

# patterns and lists of images


def test_a_pattern_reads_the_images_that_it_matches_with_their_captions(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.png", "deep/c.jpg", "deep/d.png")
    (tmp_path / "a.txt").write_text("a red bird")
    (tmp_path / "deep" / "c.txt").write_text("a blue bird")
    assert captions(read(tmp_path / "*.jpg")) == {"a.jpg": ("a red bird",)}
    assert captions(read(f"{tmp_path}/**/*.jpg")) == {"a.jpg": ("a red bird",), "deep/c.jpg": ("a blue bird",)}
    with pytest.raises(DeixisError, match=r"No file matches .*\*\.gif"):
        read(tmp_path / "*.gif")


def test_a_list_of_images_is_read_without_looking_into_other_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "here/a.jpg", "there/b.jpg", "elsewhere/c.jpg", "here/d.jpg")
    scan, seen = os.scandir, list[str]()
    monkeypatch.setattr(os, "scandir", lambda path: seen.append(Path(path).name) or scan(path))
    source = read([tmp_path / "here" / "a.jpg", tmp_path / "there" / "b.jpg"])
    assert [sample.id for sample in source.samples] == ["here/a.jpg", "there/b.jpg"]
    assert seen == ["here", "there"]
    for wrong, message in (("here/gone.jpg", "does not exist"), ("note.txt", "not a kind of file")):
        (tmp_path / "note.txt").write_text("words")
        with pytest.raises(DeixisError, match=message):
            read([tmp_path / "here" / "a.jpg", tmp_path / wrong])


def test_a_csv_is_read_by_its_column_names(tmp_path: Path) -> None:
    text = 'File Name,Caption,Class,artist,group\na.jpg,"a red, ""nice"" mug",mug,Ann,1\n./b.jpg,two\\nlines,cup,,1\n'
    source = read(table(tmp_path, text))
    first, second = source.samples
    assert (source.kind, source.layout, source.name) == ("captions", "csv", "data")
    assert (first.id, first.image) == ("a.jpg", tmp_path / "a.jpg")
    assert first.captions == ('a red, "nice" mug',)
    assert (first.label, first.groups, dict(first.extra)) == ("mug", ("group:1",), {"artist": "Ann"})
    assert second.id == "b.jpg"
    assert said(source, "Rows with the same 'group' stay in the same split")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "path;caption\na.jpg;a red, shiny mug\n"),
        ("t.csv", "path\tcaption\na.jpg\ta red, shiny mug\n"),
        ("t.tsv", "path\tcaption\r\na.jpg\ta red, shiny mug\r\n"),
        ("t.csv", '\ufeffpath,caption\r\na.jpg,"a red, shiny mug"\r\n'),
        ("t.csv", "path,caption\na.jpg,a red, shiny mug\n"),
        ("t.csv", b"\xff\xfe" + 'path,caption\na.jpg,"a red, shiny mug"\n'.encode("utf-16-le")),
        ("t.jsonl", '{"path": "a.jpg", "caption": "a red, shiny mug"}\n\n'),
        ("t.ndjson", '\ufeff{"image": "a.jpg", "text": ["a red, shiny mug"]}'),
    ],
)
def test_separators_marks_and_quotes_are_seen_through(tmp_path: Path, name: str, text: str | bytes) -> None:
    assert captions(read(table(tmp_path, text, name))) == {"a.jpg": ("a red, shiny mug",)}


def test_several_captions_by_columns_lists_and_rows(tmp_path: Path) -> None:
    text = "path,caption,caption_2,title\na.jpg,one,two,T\n" + 'b.jpg,"[""x"", ""y""]",,\na.jpg,three,one,\n'
    path = table(tmp_path, text + "c.jpg,\"['p', 'q']\",[sic],\n")
    source = read(path)
    assert captions(source) == {"a.jpg": ("one", "two", "three"), "b.jpg": ("x", "y"), "c.jpg": ("p", "q", "[sic]")}
    assert said(source, "--caption-column caption,caption_2,title would use 'title' too")
    assert captions(read(path, caption_column="title, caption_2"))["a.jpg"] == ("T", "two", "one")


def test_told_columns_win(tmp_path: Path) -> None:
    source = read(
        table(tmp_path, "where,path,note,kind,thing\na.jpg,x,hello,k,7\nb.jpg,y,there,l,7\n"),
        path_column="where",
        caption_column="Note",
        label_column="kind",
        group_column="thing",
    )
    assert captions(source) == {"a.jpg": ("hello",), "b.jpg": ("there",)}
    assert labels(source) == {"a.jpg": "k", "b.jpg": "l"}
    assert [sample.groups for sample in source.samples] == [("group:7",), ("group:7",)]


def test_a_table_without_words_holds_labels_or_images(tmp_path: Path) -> None:
    assert read(table(tmp_path, "path,label\na.jpg,1\nb.jpg,0\n")).kind == "labels"
    source = read(table(tmp_path, "path,remark\na.jpg,nice\n"))
    assert source.kind == "images"
    assert said(
        source, "No caption or label column was recognised among 'path', 'remark'; name one with --caption-column"
    )
    assert said(read(table(tmp_path, "path,caption\na.jpg,\n")), "The caption column 'caption' is empty")


def test_rows_that_point_nowhere_are_skipped_counted_and_explained(tmp_path: Path) -> None:
    put(tmp_path, "sub/d.jpg", "e.jpg")
    rows = [
        "a.jpg",
        "b.jpg",
        "c.jpg",
        r"sub\d.jpg",
        str(tmp_path / "e.jpg"),
        "https://x.org/a.jpg",
        "gone.jpg",
        '""',
        "sub",
    ]
    source = read(table(tmp_path, "path,caption\n" + "".join(f"{row},x\n" for row in rows)))
    assert [sample.id for sample in source.samples] == ["a.jpg", "b.jpg", "c.jpg", "sub/d.jpg", "e.jpg"]
    assert reasons(source) == {
        "https://x.org/a.jpg": "is a URL",
        "gone.jpg": "file not found",
        "line 9": "path is empty",
        "sub": "is not a file",
    }
    assert source.skipped[1].detail == "line 8"
    assert said(source, "1 skipped, is a URL (such as https://x.org/a.jpg). URLs are not downloaded: download")
    assert said(source, f"relative to the table's folder, {tmp_path}")


def test_too_much_left_out_is_an_error_with_counts(tmp_path: Path) -> None:
    path = table(tmp_path, "path,caption\na.jpg,x\nhttp://x/b,y\ngone.jpg,z\n")
    with pytest.raises(DeixisError, match=r"2 of 3 entries .* 1 is a URL .*1 file not found .*limit of 50%.*download"):
        read(path)
    assert len(read(path, max_skipped=0.7).samples) == 1
    with pytest.raises(DeixisError, match=r"2 of 3 entries .* 2 caption is not UTF-8 .*iconv"):
        read(table(tmp_path, "path,caption\na.jpg,\xe4\nb.jpg,\xe4\nc.jpg,x\n".encode("latin-1")))
    with pytest.raises(DeixisError, match="None of it could be used"):
        read(table(tmp_path, "path,caption\ngone.jpg,x\n"), max_skipped=1.0)


def test_odd_cells_are_cleaned_or_skipped(tmp_path: Path) -> None:
    text = b"path,caption\na.jpg,K\xe4fer\nb.jpg,a\0 b\n\0.jpg,x\n" + b"x" * 5000 + b",x\nc.jpg," + b"y" * 1_000_000
    source = read(table(tmp_path, text), max_skipped=1.0)
    assert captions(source) == {"a.jpg": (), "b.jpg": ("a b",), "c.jpg": ("y" * 10_000,)}
    assert [item.reason for item in source.skipped] == ["caption is not UTF-8", "file not found", "file not found"]
    assert said(source, "1 captions were longer")


def test_an_unclosed_quote_is_found(tmp_path: Path) -> None:
    rows = "".join("b.jpg,x\n" for _ in range(200))
    source = read(table(tmp_path, f'path,caption\na.jpg,fine\nb.jpg,"open\n{rows}'))
    assert captions(source) == {"a.jpg": ("fine",)}
    assert source.skipped[0].reason == "quotation mark not closed"
    assert source.skipped[0].detail.startswith("lines 3 to 20")


def test_cells_beyond_the_columns_are_not_guessed(tmp_path: Path) -> None:
    source = read(table(tmp_path, "caption,path\na red, shiny mug,a.jpg\na cup,b.jpg\n"))
    assert captions(source) == {"b.jpg": ("a cup",)}
    assert reasons(source) == {"line 2": "more cells than columns"}


@pytest.mark.parametrize("written", ["-5 degrees outside", "=SUM(A1)", "@home", "+1 vote"])
def test_a_cell_that_was_kept_from_being_a_formula_is_read_as_it_was(tmp_path: Path, written: str) -> None:
    source = read(table(tmp_path, f"path,caption,label,tags\na.jpg,'{written},'{written},'{written}\n"))
    assert captions(source) == {"a.jpg": (written,)}
    assert (source.samples[0].label, source.samples[0].extra["tags"]) == (written, written)
    plain = read(table(tmp_path, "path,caption\na.jpg,'tis a mug\n"))
    assert captions(plain) == {"a.jpg": ("'tis a mug",)}


def test_two_labels_for_one_image_keep_the_first(tmp_path: Path) -> None:
    source = read(table(tmp_path, "path,label\na.jpg,cat\nb.jpg,dog\na.jpg,dog\n"))
    assert labels(source) == {"a.jpg": "cat", "b.jpg": "dog"}
    assert reasons(source) == {"a.jpg": "second label of an image"}


def test_lines_that_are_not_json_are_skipped(tmp_path: Path) -> None:
    good = "".join(json.dumps({"path": name, "caption": name, "n": 1}) + "\n" for name in ("a.jpg", "b.jpg", "c.jpg"))
    bad = '{"path": \n[1]\n{"path": 5}\n' + "[" * 100_000 + '\n{"path": "a.jpg", "caption": "\\ud800", "x": NaN}\n'
    source = read(table(tmp_path, good + bad, "t.jsonl"), max_skipped=1.0)
    found = [item.reason for item in source.skipped]
    assert found[:3] == ["not valid JSON", "not a JSON object", "not valid JSON"]
    assert found[3:] == ["path is not text", "caption is not UTF-8"]
    assert source.samples[0].extra == {"n": 1}


def test_rows_of_one_image_count_once_when_left_out(tmp_path: Path) -> None:
    rows = "".join(f"{name},{index}\n" for name in ("a.jpg", "b.jpg", "gone.jpg") for index in range(5))
    source = read(table(tmp_path, f"path,caption\n{rows}"), max_skipped=0.34)
    assert [len(sample.captions) for sample in source.samples] == [5, 5]
    assert len(source.skipped) == 5


# What is refused


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.xlsx", b"PK\x03\x04", "is a spreadsheet.*Save the sheet as csv"),
        ("t.xls", b"\xd0\xcf\x11\xe0", "is a spreadsheet.*as csv"),
        ("t.ods", b"PK\x03\x04", "is a spreadsheet.*as csv"),
        ("t.csv", b"PK\x03\x04", r"in spite of its name, \.csv.*"),
        ("t.feather", b"ARROW1", "Arrow file.*as parquet"),
        ("t.zip", b"PK\x03\x04", "archive.*Unpack"),
        ("t.tar.gz", b"\x1f\x8b", "archive.*Unpack"),
        ("t.json", b"{}", "an empty json, of a form that isn't supported.*COCO's"),
        ("t.json", b'{"info": 1, "a\\u0000": []}', r"a json object with the keys 'info', 'a\\\\x00', of a form"),
        ("t.json", b"[]", "an empty json list"),
        ("t.json", b"[1, 2]", "a json list of int"),
        ("t.json", b'"x"', "a json str, of a form"),
        ("t.json", b'[{"image": "a', "no valid JSON: line 1, column 12: .*truncated"),
        ("t.json", b"a\0b", "no valid JSON: line 1, column 1"),
        ("t.json", b"[" * 100_000, "nested too deeply"),
        ("t.json", b'[{"caption": "x"}]', r"no column that names the image files; its columns are 'caption'"),
        ("t.jpg", b"", "is a single image.*Give the folder that holds it"),
        ("t.docx", b"", "What is understood: a folder"),
        ("t.csv", b"", "holds no rows"),
        ("t.csv", b"path,caption\n", "holds no rows"),
        ("t.csv", b"a.jpg,a red mug\nb.jpg,x\n", r"columns are 'a.jpg', 'a red mug'.*put a header.*path,caption"),
        ("t.csv", b"nr,words\n1,x\n", r"columns are 'nr', 'words'.*--path-column.*--caption-column"),
        ("t.csv", b"url,caption\nhttp://x/a.jpg,x\n", "URLs are not downloaded: download the images first"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_cure(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DeixisError, match=words):
        read(tmp_path / name)


def test_an_unknown_column_is_answered_with_near_names(tmp_path: Path) -> None:
    path = table(tmp_path, "path,caption\na.jpg,x\n")
    with pytest.raises(
        DeixisError, match=r"no column 'captoin'; its columns are 'path', 'caption'\. Did you mean 'caption'"
    ):
        read(path, caption_column="captoin")
    with pytest.raises(DeixisError, match="Give --group one of them"):
        read(path, group_column="zzz")
    with pytest.raises(DeixisError, match="names no column"):
        read(path, caption_column=" , ")


def test_a_folder_has_no_columns(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="a folder has no columns"):
        read(put(tmp_path, "a.jpg"), group_column="thing")


def test_a_missing_path_is_answered_with_a_near_one(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DeixisError, match=r"photo does not exist\. Did you mean .*photos"):
        read(tmp_path / "photo")
    with pytest.raises(DeixisError, match=r"does not exist\. Check the path"):
        read(tmp_path / "no" / "where")


@pytest.mark.parametrize("path", ["https://x.org/data.csv", "s3:/x/data", "a\0b", "x" * 5000])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(DeixisError, match=r"is a URL|NUL|can't be read"):
        read(path)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.csv")
    with pytest.raises(DeixisError, match="neither a folder nor a regular file"):
        read(tmp_path / "data.csv")


def test_a_folder_without_images_tells_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="holds no files"):
        read(tmp_path)
    put(tmp_path, "a.pdf", "b.pdf", "c", "d.zip")
    with pytest.raises(DeixisError, match=r"holds no images, but 2 \.pdf, 1 without an extension, 1 \.zip.*Unpack"):
        read(tmp_path)
    put(tmp_path, "list.csv")
    with pytest.raises(DeixisError, match=r"To read the table, give its path: .*list\.csv"):
        read(tmp_path)


def test_no_image_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("opened"))
    assert read(put(tmp_path, "a.jpg")).samples


def test_what_images_say_of_themselves_becomes_columns_and_on_request_captions(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "A gull on a pole"
    exif.get_ifd(0x8769)[0x9003] = "2019:12:24 18:05:59"
    for i in range(4):
        how: dict[str, Any] = {"exif": exif} if i < 2 else {"xmp": b"no xml"} if i == 2 else {}
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.jpg", **how)
    source = read(tmp_path)
    assert source.kind == "images"
    assert [sample.extra for sample in source.samples] == [
        {"caption": "A gull on a pole", "date": "2019-12-24 18:05:59"}
    ] * 2 + [{}, {}]  # fmt: skip
    assert [(each.path, each.reason) for each in source.skipped] == [("2.jpg", "XMP can't be read")]
    assert any("1 skipped, XMP can't be read (such as 2.jpg)" in note for note in source.notes)
    captioned = read(tmp_path, caption_column="caption")
    assert captioned.kind == "captions"
    assert [sample.captions for sample in captioned.samples] == [("A gull on a pole",)] * 2 + [(), ()]
    with pytest.raises(DeixisError, match=r"title, caption, keywords, date\. 'words' is none of them"):
        read(tmp_path, caption_column="words")


def test_broken_xmp_in_most_images_is_no_reason_to_refuse_them(tmp_path: Path) -> None:
    for i in range(4):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.jpg", xmp=b"<no xml")
    assert len(read(tmp_path).samples) == 4
