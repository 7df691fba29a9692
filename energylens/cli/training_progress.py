"""Progress of a training run on standard error: a bar on a terminal; elsewhere a line an epoch, and one a minute."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.progress import moving_bar
from energylens.progress import EVERY, NowAndThen, Pace, told

if TYPE_CHECKING:
    from energylens.training.loop import Listener, Progress


@contextmanager
def training_progress(title: str) -> Iterator[Listener]:
    """A listener for ``train``.

    Args:
        title: the run's name.

    Yields:
        The listener: it moves a bar on a terminal and prints lines elsewhere.
    """
    from rich.console import Console
    from rich.progress import BarColumn

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield _lines(title)
        return
    energies = judged = ""
    pace = Pace()
    with moving_bar(console, title, BarColumn(bar_width=20)) as update:

        def listen(step: Progress) -> None:
            nonlocal energies, judged
            if step.message:
                console.print(step.message, markup=False)
                return
            energies = _energies(step.row) if step.row else energies
            judged = _accuracies(step.row) if step.finished else judged
            course = " ".join(filter(None, [f"epoch {step.epoch}", energies, judged]))
            update(completed=step.done, total=step.total, course=course, left=told(pace.left(step.done, step.total)))

        yield listen


def _lines(title: str) -> Listener:
    """Plain lines for logs: one an epoch, and one a minute inside a longer one."""
    pace, line = Pace(), NowAndThen(EVERY)

    def listen(step: Progress) -> None:
        left = told(pace.left(step.done, step.total))
        if step.message:
            words = [step.message]
        elif step.finished:
            words = [f"epoch {step.epoch} {_energies(step.row)} {_accuracies(step.row)}".rstrip(), left]
        elif line.due():
            words = [f"epoch {step.epoch}", f"{100 * step.done / step.total:.1f} % of all steps", left]
        else:
            return
        click.echo(f"{title}: {', '.join(filter(None, words))}", err=True)

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
