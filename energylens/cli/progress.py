"""Progress on standard error: a bar with rate and time left on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
import rich.progress
from rich.console import Console

from energylens.progress import EVERY, Course, Lines, Listener, Progress
from energylens.records.shards import launched_ranks


@contextmanager
def progress(title: str) -> Iterator[Listener]:
    """A listener for ``profile`` and its like. title: a model's name or path."""
    title = Path(title).name
    console = Console(file=sys.stderr)
    if not launched_ranks().speaks:  # the first of a launcher's processes speaks for all
        yield lambda step: None
        return
    if not console.is_terminal:
        yield Lines(title, partial(click.echo, err=True), EVERY)
        return
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TaskProgressColumn(),
        rich.progress.TextColumn("{task.fields[rate]}"),
        rich.progress.TextColumn("{task.fields[left]}"),
    )
    with rich.progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None, rate="", left="")
        course = Course()

        def listen(step: Progress) -> None:
            rate, left = course.of(step)
            bar.update(
                task,
                description=f"{title} · {step.attack}",
                completed=step.done,
                total=step.total,
                rate=rate,
                left=left,
            )

        yield listen
