"""Progress on standard error: a bar with rate and time left on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import rich.progress
from rich.console import Console

from energylens.shards import launched_ranks

if TYPE_CHECKING:
    from energylens.profiling import Listener, Progress

EVERY = 10.0  # seconds between plain lines


@contextmanager
def progress(title: str) -> Iterator[Listener]:
    """A listener for ``profile``. title: a model's name or path."""
    title = Path(title).name
    console = Console(file=sys.stderr)
    if not launched_ranks().speaks:  # the first of a launcher's processes speaks for all
        yield lambda step: None
        return
    if not console.is_terminal:
        yield _Lines(title)
        return
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TaskProgressColumn(),
        rich.progress.TextColumn("{task.fields[rate]}"),
        rich.progress.TimeRemainingColumn(compact=True),
    )
    with rich.progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None, rate="")
        began = time.monotonic()

        def listen(step: Progress) -> None:
            rate = step.done / max(time.monotonic() - began, 1e-9)
            bar.update(
                task, description=f"{title} · {step.attack}", completed=step.done, total=step.total,
                rate=f"{rate:,.0f} passes/s",
            )  # fmt: skip

        yield listen


class _Lines:
    """Plain lines for logs."""

    def __init__(self, title: str) -> None:
        self._title, self._began, self._said = title, time.monotonic(), time.monotonic()

    def __call__(self, step: Progress) -> None:
        now = time.monotonic()
        if now - self._said < EVERY:
            return
        self._said = now
        rate = step.done / (now - self._began)
        left = (step.total - step.done) / rate
        share = f"{100 * step.done / step.total:.0f} %"
        click.echo(f"{self._title}: {share}, {step.attack}, {rate:,.0f} passes/s, ETA {left:.0f} s", err=True)
