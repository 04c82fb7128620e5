"""What is shown and recorded of a training run: a panel, metrics.jsonl, TensorBoard, warnings."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deixis.apps.common.console import Reporter
from deixis.engine.training.monitor import CollapseWarning, Journal, Monitor
from deixis.errors import DeixisError
from deixis.ops.collective import rank
from deixis.types import Losses, Progress
from deixis.types.protocols import AnyMethod, HasWarnings

__all__ = ["ProgressCallback", "TensorBoardWriter", "formatted"]

Show = Callable[[Mapping[str, str], float], None]
Measure = Callable[[], dict[str, float]]

_SIDES = {"image_rank": "pictures", "text_rank": "words"}


class TensorBoardWriter:
    """TensorBoard, where it is installed and wished.

    Args:
        folder: where its files go.
        wish: `auto` where it is installed, `yes` or `no`.
        start: the first step that is written; what an earlier process wrote from there on is hidden.
    """

    @staticmethod
    def wanted(wish: str) -> bool:
        """Whether it is written.

        Raises:
            DeixisError: it is requested and not installed.
        """
        there = importlib.util.find_spec("tensorboard") is not None
        if wish == "yes" and not there:
            raise DeixisError("TensorBoard is not installed.", "Install it (pip install tensorboard), or leave it out.")
        return there and wish != "no"

    def __init__(self, folder: Path, wish: str, start: int) -> None:
        self._writer: Any = None
        if self.wanted(wish) and rank() == 0:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=start)

    def write(self, line: Mapping[str, Any], step: int) -> None:
        """All numbers of a line, by their names."""
        if self._writer is None:
            return
        for name, value in line.items():
            inner = value if isinstance(value, Mapping) else {"": value}
            for part, number in inner.items():
                if isinstance(number, int | float):
                    self._writer.add_scalar(f"{name}/{part}".rstrip("/"), number, step)
        self._writer.flush()

    def close(self) -> None:
        """Writes what is left."""
        if self._writer is not None:
            self._writer.close()


@dataclasses.dataclass
class ProgressCallback:
    """Called after each step of a stage; every few steps it makes a line.

    Attributes:
        monitor: sums up the steps.
        journal: where lines are written.
        board: TensorBoard.
        talk: what is said.
        show: draws the panel.
        log_every: steps from line to line.
        measure_every: steps from one measurement to the next; 0 measures nothing.
        measure: measures on what is held out.
        gauge: of the features' effective ranks.
        method: that is trained; it may know what to warn of.
        samples: that are trained on.
        before: steps of the stages before.
    """

    monitor: Monitor
    journal: Journal
    board: TensorBoardWriter
    talk: Reporter
    show: Show
    log_every: int
    measure_every: int
    measure: Measure
    gauge: CollapseWarning
    method: AnyMethod
    samples: int
    before: int = 0
    last: dict[str, Any] = dataclasses.field(default_factory=dict)
    warned: set[str] = dataclasses.field(default_factory=set)

    def __call__(self, progress: Progress, losses: Losses) -> None:
        """Notes a step."""
        self.monitor.note()
        end = progress.step == progress.total
        measured = bool(self.measure_every) and (end or progress.step % self.measure_every == 0)
        if not (measured or end or progress.step % self.log_every == 0):
            return
        line = self.monitor.line(progress, losses)
        if measured:
            line["held_out"] = self.measure()
            self.monitor.skip()
        self.last = {**self.last, **line}
        if rank() == 0:
            self.journal.write(line)
            self.board.write(line, self.before + progress.step)
            self.show(formatted(self.last), progress.step / progress.total)
            self.warn(line.get("held_out", {}))
            self.warn_of_states(line, progress)

    def warn(self, measured: Mapping[str, float]) -> None:
        """Says it when features fall into few directions."""
        ranks = {name: value for name, value in measured.items() if name in _SIDES}
        for name in self.gauge.note(ranks):
            self.talk.say(
                f"The features of {_SIDES[name]} spread in {ranks[name]:.1f} directions, and did in "
                f"{self.gauge.highest(name):.1f}: they may be collapsing. Try a lower learning rate or a larger batch."
            )

    def warn_of_states(self, line: Mapping[str, Any], progress: Progress) -> None:
        """Says what the method warns of, once while it lasts."""
        if not isinstance(self.method, HasWarnings):
            return
        numbers = {"loss": line["loss"], **line["parts"], **line["metrics"]}
        values = {name: value for name, value in numbers.items() if value is not None}
        states = self.method.warnings({"samples": float(self.samples), **values}, progress)
        for name, sentence in states.items():
            if name not in self.warned:
                self.talk.say(sentence)
        self.warned = set(states)


def formatted(line: Mapping[str, Any]) -> dict[str, str]:
    """A line as a person reads it: name -> value."""
    parts = line["parts"] if len(line["parts"]) > 1 else {}
    found = {
        "step": f"{line['step']} of {line['of']}",
        "loss": _text(line["loss"]),
        **{name: _text(value) for name, value in {**parts, **line["metrics"]}.items()},
        "gradient": _text(line["gradient_norm"]),
        "rate": f"{line['learning_rate']:.2g}",
        "samples/s": f"{line['samples_per_second']:.4g}",
        "waiting": f"{line['waiting']:.0%}",
        "memory": f"{line['memory_mb'] / 1024:.2f} GB",
        "left": _clock(line["eta"]),
    }
    held = line.get("held_out", {})
    found |= {f"held-out {name}": f"{held[name]:.3f}" for name in ("r1", "mrr") if name in held}
    return found | {f"rank of {_SIDES[name]}": f"{held[name]:.1f}" for name in _SIDES if name in held}


def _text(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
