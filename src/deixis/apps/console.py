"""How a run talks: progress and remarks on standard error, results on standard output."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

__all__ = ["Talk"]


class Talk:
    """Tells a person what happens; a terminal sees bars, a log file plain lines.

    Args:
        quiet: say nothing but results and errors.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}
        self._out = Console(highlight=False, soft_wrap=True)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)

    def say(self, text: str) -> None:
        """One remark, on standard error."""
        self._err.print(text, markup=False)

    def result(self, text: str) -> None:
        """One line of the result, on standard output."""
        if not self.quiet:
            self._out.print(text, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table of the result; all columns but the first are set flush right."""
        if self.quiet:
            return
        table = Table(title=title, title_justify="left", title_style="bold")
        for i, column in enumerate(columns):
            table.add_column(column, justify="left" if i == 0 else "right")
        for row in rows:
            # Names of files and captions may hold what rich takes for markup.
            table.add_row(*(str(cell).replace("[", "\\[") for cell in row))
        self._out.print(table)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times a step of the run under `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @contextlib.contextmanager
    def bar(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Yields a function of (done, total)."""
        if self._err.is_terminal and not self.quiet:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*columns, console=self._err, transient=True) as progress:
                task = progress.add_task(name, total=None)
                yield lambda done, total: progress.update(task, completed=done, total=total)
        else:
            yield self._lines(name)

    def _lines(self, name: str) -> Callable[[int, int], None]:
        told = [-1]

        def update(done: int, total: int) -> None:
            quarter = 4 * done // total if total else 4
            if quarter > told[0]:
                told[0] = quarter
                self.say(f"{name}: {done} of {total}")

        return update
