"""Progress of a training run on standard error: a bar on a terminal, a plain line an epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import rich.progress
from rich.console import Console

if TYPE_CHECKING:
    from energylens.training.loop import Listener, Progress


@contextmanager
def training_progress(title: str) -> Iterator[Listener]:
    """A listener for ``train``. title: the run's name."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield _lines(title)
        return
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(bar_width=20),
        rich.progress.TextColumn("{task.fields[course]}"),
        rich.progress.TimeRemainingColumn(compact=True),
    )
    with rich.progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None, course="")
        judged = ""

        def listen(step: Progress) -> None:
            nonlocal judged
            if step.message:
                console.print(step.message, markup=False)
                return
            judged = _accuracies(step.row) if step.finished else judged
            course = f"epoch {step.epoch} {_energies(step.row)} {judged}"
            bar.update(task, completed=step.done, total=step.total, course=course)

        yield listen


def _lines(title: str) -> Listener:
    """Plain lines for logs."""

    def listen(step: Progress) -> None:
        if step.message:
            click.echo(f"{title}: {step.message}", err=True)
        elif step.finished:
            click.echo(f"{title}: epoch {step.epoch} {_energies(step.row)} {_accuracies(step.row)}", err=True)

    return listen


def _energies(row: Mapping[str, Any]) -> str:
    return (
        f"loss {row['loss']:.3f} dE(x) {row['delta_marginal']:+.2f} AAE {100 * row['abnormal_share']:.0f} % "
        f"train {100 * row['train_adv_accuracy']:.0f} %"
    )


def _accuracies(row: Mapping[str, Any]) -> str:
    """Nothing in an epoch that was not judged."""
    if "test_clean" not in row:
        return ""
    return "test " + " ".join(f"{name} {100 * row[f'test_{name}']:.0f} %" for name in ("clean", "fgsm", "pgd"))
