"""From a path to samples that can be learned from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from deixis import zoo
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import check, check_and_read, drop_unlabelled, embed, read, reader
from deixis.apps.common.options import Reading
from deixis.errors import DeixisError
from deixis.files import cache_dir, content_hash
from tests.pictures import captioned, labelled, spoil

QUIET = Reporter(quiet=True)


def test_the_flags_reach_the_reader(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 4)
    names = sorted(path.name for path in data.glob("*.png"))
    lines = ["bild;wort;art;ding", *(f"{name};one {name};k{i % 2};d{i // 2}" for i, name in enumerate(names))]
    (data / "t.csv").write_text("\n".join(lines))
    source = read(str(data / "t.csv"), Reading("bild", "wort", "art", "ding"))
    assert [sample.captions for sample in source.samples] == [(f"one {name}",) for name in names]
    assert [sample.label for sample in source.samples] == ["k0", "k1", "k0", "k1"]
    assert source.samples[0].groups == source.samples[1].groups != source.samples[2].groups


def test_a_set_is_read_by_its_name_and_an_unknown_one_answered() -> None:
    with pytest.raises(DeixisError, match="no set called 'nothing'"):
        read("set:nothing")
    with pytest.raises(DeixisError, match="deixis data get stamps"):
        read("set:stamps")


def test_what_was_checked_goes_with_the_samples_that_are_left(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 8)
    spoil(data)
    found = check_and_read(read(str(data)), QUIET)
    assert len(found.source.samples) == len(found.report.hashes) == 8
    assert [content_hash(sample.image) for sample in found.source.samples] == list(found.report.hashes)


def test_captions_longer_than_the_model_reads_are_counted_only_with_the_model(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 3)
    next(data.glob("*.txt")).write_text("word " * 300)
    assert check_and_read(read(str(data)), QUIET).report.captions["cut"] is None
    assert check_and_read(read(str(data)), QUIET, zoo.load("tiny")).report.captions["cut"] == 1


def test_where_no_image_can_be_read_the_first_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("Dear Sir")
    (tmp_path / "b.jpg").write_bytes(b"")
    with pytest.raises(DeixisError, match=r"None of the 2 images .* can be read; the first: a.jpg is not an image"):
        check_and_read(read(str(tmp_path)), QUIET)


def test_samples_without_words_go_and_the_rest_keeps_its_hashes_and_copies(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 8)
    names = sorted(path.stem for path in data.glob("*.png"))
    for old, new in ((names[2], "zz1"), (names[2], "zz2"), (names[0], "zz3")):
        shutil.copy(data / f"{old}.png", data / f"{new}.png")
        (data / f"{new}.txt").write_text(f"a copy, {new}")
    for bare in (names[0], names[5], "zz1"):
        (data / f"{bare}.txt").unlink()
    whole = check_and_read(read(str(data)), QUIET)
    found = drop_unlabelled(whole, QUIET)
    ids = [sample.id for sample in found.source.samples]
    assert ids == [f"{name}.png" for name in (*names, "zz2", "zz3") if name not in (names[0], names[5])]
    assert [content_hash(sample.image) for sample in found.source.samples] == list(found.report.hashes)
    assert [{ids[i] for i in group} for group in found.report.same] == [{f"{names[2]}.png", "zz2.png"}]
    assert {(item.path, item.reason) for item in found.source.skipped} == {
        (f"{name}.png", "no caption") for name in (names[0], names[5], "zz1")
    }
    assert drop_unlabelled(found, QUIET) is found


def test_in_class_folders_all_are_taught(tmp_path: Path) -> None:
    found = check_and_read(read(str(labelled(tmp_path / "classes", 12))), QUIET)
    assert drop_unlabelled(found, QUIET) is found


def test_what_was_encoded_before_is_not_encoded_again_and_this_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, encoder = check_and_read(read(str(captioned(tmp_path / "pictures", 5))), QUIET), zoo.load("tiny")
    samples, hashes = found.source.samples, found.report.hashes
    embed(encoder, samples[:2], hashes[:2], Reporter(), mirrored=True)
    assert "resuming" not in capsys.readouterr().err
    first = embed(encoder, samples, hashes, Reporter(), mirrored=True)
    assert "2 of 5 images were encoded before; resuming" in capsys.readouterr().err
    encoder.image_tower = torch.nn.Identity()  # would fail, were it asked
    encoder.image_tower.width, encoder.image_tower.feature_width = 16, 24
    encoder.fingerprint = zoo.load("tiny").fingerprint
    encoder.with_adapters = lambda *adapters: encoder
    again = embed(encoder, samples, hashes, QUIET, mirrored=True)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_a_check_tells_and_learns_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = captioned(tmp_path / "pictures", 24)
    assert check(str(data)).status == 0
    out = capsys.readouterr().out
    assert out.startswith("pictures: clean.")
    spoil(data)
    assert check(str(data)).status == 1
    assert "unreadable: truncated" in capsys.readouterr().out


def test_a_report_goes_to_a_file_or_alone_to_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, file = captioned(tmp_path / "pictures", 24), tmp_path / "deep" / "report.json"
    spoil(data)
    report = check(str(data), json=file)
    assert capsys.readouterr().out.startswith("pictures: warnings. 4 of 28 images can't be read")
    assert json.loads(file.read_text(encoding="utf-8")) == report.to_dict()
    check(str(data), json="-")
    said = capsys.readouterr()
    assert json.loads(said.out) == report.to_dict()
    assert "pictures: warnings." in said.err
    check(str(data), json="-", quiet=True)
    said = capsys.readouterr()
    assert (json.loads(said.out)["status"], said.err) == (1, "")


def test_a_report_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeixisError, match=r"can't be written.* Choose another --json"):
        check(str(tmp_path / "nothing there"), json=tmp_path / "file" / "report.json")
    with pytest.raises(DeixisError, match="is a folder"):
        check(str(tmp_path / "nothing there"), json=tmp_path)


def test_without_a_tokenizer_the_length_is_not_measured_and_the_cure_is_told(tmp_path: Path) -> None:
    report = check(str(captioned(tmp_path / "pictures", 20)), quiet=True)
    assert report.captions["cut"] is None
    assert report.reader == "not measured, no tokenizer is in the cache. Run: deixis data get clip-bpe"


def test_a_model_named_is_the_one_whose_context_counts(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 20)
    next(data.glob("*.txt")).write_text("word " * 300)
    report = check(str(data), model="tiny", quiet=True)
    assert report.captions["cut"] == 1
    assert report.reader == f"{zoo.load('tiny').context_length} tokens of tiny"
    with pytest.raises(DeixisError, match="Run: deixis data get starter"):
        check(str(data), model="starter", quiet=True)


def test_clip_is_asked_where_its_table_is_and_the_starter_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = zoo.load("tiny").tokenizer
    file = cache_dir("starter") / "minilm-l6-tokenizer.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(tiny.to_dict()))
    assert reader().name == "256 tokens of the starter"
    monkeypatch.setattr("deixis.apps.common.dataset.ClipTokenizer.cached", lambda: tiny)
    assert reader().name == "77 tokens of CLIP"


@pytest.mark.parametrize("moment", ["deixis.data.quality.check.duplicates", "deixis.files.Path.replace"])
def test_a_check_that_is_stopped_leaves_nothing(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    data = captioned(tmp_path / "pictures", 20)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(moment, stop)
    with pytest.raises(KeyboardInterrupt):
        check(str(data), json=tmp_path / "report.json", quiet=True)
    assert sorted(tmp_path.rglob("*")) == before
