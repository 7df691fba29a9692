"""Progress on standard error: a bar with rate and time left on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from energylens.progress import EVERY, Course, Lines, Listener, Progress
from energylens.records.shards import launched_ranks

if TYPE_CHECKING:  # help screens import no rich: it takes longer than all else that they need
    import rich.progress
    from rich.console import Console

Update = Callable[..., None]


@contextmanager
def moving_bar(console: Console, title: str, *columns: rich.progress.ProgressColumn) -> Iterator[Update]:
    """A bar on a terminal, which goes when the work is over.

    Args:
        console: the terminal.
        title: before the bar.
        columns: the bar and what stands between it and its two texts.

    Yields:
        ``update(completed=..., total=..., course=..., left=...)``, with ``description`` for another title.
    """
    import rich.progress

    texts = [rich.progress.TextColumn(f"{{task.{name}}}") for name in ("description", "fields[course]", "fields[left]")]
    with rich.progress.Progress(texts[0], *columns, *texts[1:], console=console, transient=True) as bar:
        task = bar.add_task(title, total=None, course="", left="")
        yield partial(bar.update, task)


@contextmanager
def progress(title: str) -> Iterator[Listener]:
    """A listener for ``profile`` and its like.

    Args:
        title: a model's name or path.

    Yields:
        The listener: it moves a bar on a terminal, prints lines elsewhere, and is silent in all but a launcher's first
        process.
    """
    import rich.progress
    from rich.console import Console

    title = Path(title).name
    console = Console(file=sys.stderr)
    if not launched_ranks().speaks:  # the first of a launcher's processes speaks for all
        yield lambda step: None
        return
    if not console.is_terminal:
        yield Lines(title, partial(click.echo, err=True), EVERY)
        return
    course = Course()
    with moving_bar(console, title, rich.progress.BarColumn(), rich.progress.TaskProgressColumn()) as update:

        def listen(step: Progress) -> None:
            rate, left = course.of(step)
            title_now = f"{title} · {step.attack}"
            update(description=title_now, completed=step.done, total=step.total, course=rate, left=left)

        yield listen
