"""What a person sees: bars or plain lines, tables, and texts exactly as they are."""

from __future__ import annotations

import errno
import io
import os
import time

import pytest

from deixis.apps.common.console import Reporter

HOSTILE = "[red]x[/red] :dog: \\[ [/] a\x1b[31mb\x07 \udcff"


def test_remarks_go_to_standard_error_and_results_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    talk = Reporter()
    talk.say("a remark")
    talk.result("a result")
    assert capsys.readouterr() == ("a result\n", "a remark\n")


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    talk = Reporter(quiet=True)
    talk.say("a remark")
    talk.result("a result")
    talk.table("a table", ("what",), [("x",)])
    with talk.bar("work") as update:
        update(1, 1)
    assert capsys.readouterr() == ("", "")


def test_long_lines_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter().result("word " * 100)
    assert capsys.readouterr().out.count("\n") == 1


def test_names_are_neither_markup_nor_emoji_nor_commands_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    talk = Reporter()
    talk.say(HOSTILE)
    talk.result(HOSTILE)
    talk.table(HOSTILE, (HOSTILE,), [(HOSTILE,)])
    out, err = capsys.readouterr()
    assert (out + err).count("[red]x[/red] :dog: \\[ [/] a\N{REPLACEMENT CHARACTER}[31mb") == 5
    assert "\x1b" not in out + err
    (out + err).encode("utf-8")


def test_a_table_fits_eighty_columns_and_loses_no_letter(capsys: pytest.CaptureFixture[str]) -> None:
    name = "x" * 150
    Reporter().table("title", ("name", "difference [95 %]", "why"), [(name, "+12.3 [−10.2, +14.5]", "because " * 20)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "".join(lines).count("x") == 150


def test_a_name_with_a_line_break_stays_in_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter().table("", ("name", "why"), [("two\nlines.png", "tab\there")])
    assert capsys.readouterr().out.splitlines()[-2].split() == ["two\u21b5lines.png", "tab\u21b5here"]


def test_numbers_stand_flush_right_and_words_flush_left(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter().table("", ("what", "how many"), [("a", "1"), ("bbbb", "100")])
    rows = [line.rstrip() for line in capsys.readouterr().out.splitlines() if " 1" in line]
    assert rows[0].endswith("  1")
    assert len(rows[0]) == len(rows[1])
    Reporter().table("", ("what", "example"), [("a", "left"), ("b", "longer text")])
    assert "  left " in capsys.readouterr().out


def test_a_log_file_gets_a_few_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter().bar("read") as update:
        for done in range(101):
            update(done, 100)
        update(100, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["read: 0 of 100", "read: 25 of 100", "read: 50 of 100", "read: 75 of 100", "read: 100 of 100"]


def test_an_empty_job_is_done_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter().bar("read") as update:
        update(0, 0)
    assert capsys.readouterr().err == "read: 0 of 0\n"


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with Reporter().bar("read [x]") as update:
        update(3, 10)
    assert "3/10" in screen.getvalue()


def test_remarks_that_cannot_be_written_do_not_stop_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("sys.stderr", FullDisk())
    talk = Reporter()
    talk.say("a remark")
    with talk.step("refit", "another"):
        talk.say("one more")


def test_a_step_without_a_bar_is_a_clock_on_a_terminal_and_a_line_in_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Reporter().step("refit", "train on all pairs"), Reporter().step("refit"):
        pass
    assert capsys.readouterr().err == "train on all pairs\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Reporter().step("refit", "train on all pairs"):
        pass
    shown = capsys.readouterr().err
    assert "train on all pairs" in shown
    assert "0:00:00" in shown
    assert shown.endswith("\x1b[2K")  # what stood there is gone


def test_a_step_is_timed_also_where_it_fails_and_times_add_up() -> None:
    def fail() -> None:
        time.sleep(0.01)
        raise ValueError("no")

    talk = Reporter()
    for _ in range(2):
        with pytest.raises(ValueError, match="no"), talk.step("work"):
            fail()
    assert talk.seconds["work"] >= 0.02


def test_a_reader_that_has_gone_ends_the_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    with pytest.raises(BrokenPipeError):
        Reporter().result("x")


def test_a_panel_is_a_line_for_each_twentieth_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter().panel("train") as show:
        for step in range(1, 401):
            show({"step": f"{step} of 400", "loss": "1.5"}, step / 400)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "train: step 1 of 400, loss 1.5"
    assert lines[-1] == "train: step 400 of 400, loss 1.5"
    assert len(lines) == 21


def test_a_terminal_gets_a_panel_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", terminal)
    talk = Reporter()
    with talk.panel("train") as show:
        show({"step": "1 of 2", "loss": HOSTILE, "left": "0:00:01"}, 0.5)
        talk.say("a remark")
    text = terminal.getvalue()
    assert all(each in text for each in ("train", "step", "1 of 2", "left", "0:00:01", "a remark"))
    assert "[red]x[/red] :dog:" in text
    assert "\x07" not in text
    assert text.rstrip().endswith(("\x1b[2K", "\x1b[?25h")), "nothing is left of it"
