"""How a run talks: progress and remarks on standard error, results on standard output."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.box import ROUNDED, SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deixis.apps.common.formatting import one_line
from deixis.errors import raise_if_stopped

__all__ = ["Reporter"]

_NUMBER = re.compile(r"([+\-\u2212]?[\d.,]+( [A-Z]?B)?|\[.*\]|\s+)+")


class _Console(Console):
    """Lets the verb end where the reader of its output has gone, in place of an exit code of rich's own."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        return Text("" if not task.speed else f"{task.speed:.0f}/s" if task.speed >= 10 else f"{task.speed:.1f}/s")


class Reporter:
    """Messages and progress for a person; a terminal sees bars, a log file plain lines.

    Args:
        quiet: say nothing but results and errors.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}
        self._out = _Console(highlight=False, soft_wrap=True)
        self._err = _Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)

    def say(self, text: str) -> None:
        """One remark, on standard error; where that takes nothing, as on a full disk, the work goes on without."""
        try:
            self._err.print(_literal(text))
        except BrokenPipeError:
            raise
        except OSError:
            self._err.quiet = True

    def result(self, text: str) -> None:
        """One line of the result, on standard output."""
        if not self.quiet:
            self._out.print(_literal(text))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table of the result; columns that begin with a number are set flush right."""
        if self.quiet:
            return
        table = Table(title=_literal(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        cells = [[one_line(str(cell)) for cell in row] for row in rows]
        for i, column in enumerate(columns):
            numbers = bool(cells) and _NUMBER.fullmatch(cells[0][i]) is not None
            table.add_column(_literal(column), justify="right" if numbers else "left", overflow="fold")
        for each in cells:
            table.add_row(*map(_literal, each))
        self._out.print(table)

    @contextlib.contextmanager
    def step(self, name: str, shown: str = "") -> Iterator[None]:
        """Times a step of the run under `name`.

        Args:
            name: the key of `seconds`.
            shown: what a terminal shows beside a clock while the step lasts, and a log file as a line; for steps that
                have no bar.
        """
        start = time.perf_counter()
        try:
            with self._clock(shown) if shown else contextlib.nullcontext():
                yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @contextlib.contextmanager
    def _clock(self, text: str) -> Iterator[None]:
        if self._err.is_terminal and not self.quiet:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            with Progress(*columns, console=self._err, transient=True) as progress:
                progress.add_task(text, total=None)
                yield
        else:
            self.say(text)
            yield

    @contextlib.contextmanager
    def bar(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Yields a function of (done, total); it raises `Stopped` where a signal came and got lost."""
        if self._err.is_terminal and not self.quiet:
            text, count = TextColumn("{task.description}"), MofNCompleteColumn()
            columns = (text, BarColumn(), count, _Rate(), TimeRemainingColumn())
            with Progress(*columns, console=self._err, transient=True) as progress:
                task = progress.add_task(name, total=None)

                def update(done: int, total: int) -> None:
                    raise_if_stopped()
                    progress.update(task, completed=done, total=total)

                yield update
        else:
            yield self._lines(name)

    @contextlib.contextmanager
    def panel(self, title: str) -> Iterator[Callable[[Mapping[str, str], float], None]]:
        """Yields a function of (name -> value, share of the work that is done): a box that stays where it is; in a log
        file a line for each twentieth of the work."""
        if self._err.is_terminal and not self.quiet:
            with Live(console=self._err, transient=True, auto_refresh=False) as live:
                yield lambda values, share: live.update(_box(title, values, share), refresh=True)
        else:
            yield self._twentieths(title)

    def _twentieths(self, title: str) -> Callable[[Mapping[str, str], float], None]:
        last = [-1]

        def update(values: Mapping[str, str], share: float) -> None:
            part = int(20 * share)
            if part > last[0]:
                last[0] = part
                self.say(f"{title}: {', '.join(f'{name} {value}' for name, value in values.items())}")

        return update

    def _lines(self, name: str) -> Callable[[int, int], None]:
        last = [-1]

        def update(done: int, total: int) -> None:
            raise_if_stopped()
            quarter = 4 * done // total if total else 4
            if quarter > last[0]:
                last[0] = quarter
                self.say(f"{name}: {done} of {total}")

        return update


def _box(title: str, values: Mapping[str, str], share: float) -> Panel:
    """Names and values in two columns of pairs, a bar below."""
    grid = Table.grid(padding=(0, 2))
    pairs = [(_literal(name), _literal(value)) for name, value in values.items()]
    half = -(-len(pairs) // 2)
    for i in range(half):
        right = pairs[half + i] if half + i < len(pairs) else (Text(), Text())
        grid.add_row(*pairs[i], *right)
    bar = ProgressBar(total=1.0, completed=share, width=48)
    return Panel(Group(grid, bar), title=_literal(title), title_align="left", box=ROUNDED, expand=False)


def _literal(text: str) -> Text:
    """Text as it is: names of files and captions may hold what a console takes for markup, emoji or commands."""
    return Text("".join(each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in text))
