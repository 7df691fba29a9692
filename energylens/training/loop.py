"""THE training loop, for every method and regulariser of the tables."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from energylens.errors import RunError
from energylens.isolation import random_state
from energylens.progress import Progress as Work
from energylens.progress import told
from energylens.training.awp import perturbed_weights
from energylens.training.checkpoint import LAST
from energylens.training.evaluation import class_rows, count_correct, probe_columns, probe_energies
from energylens.training.final import Ends, judge_ends
from energylens.training.folder import Plan
from energylens.training.history import as_steps, epoch_means, measures
from energylens.training.methods import METHODS
from energylens.training.regularizers import REGULARIZERS
from energylens.training.run import Run, open_run
from energylens.training.settings import ON_ALARM, TrainSettings
from energylens.training.step import Step
from energylens.training.watch import Alarm, EnergyWatch

WITHIN = 1.0
JUDGING = 30.0  # seconds between two words of the judgement at the end
FLUSH = 50  # steps between two looks at the losses, so that a GPU need not wait for each
EXPLODED = 1e4  # nats: a loss above is lost


@dataclass(frozen=True)
class Progress:
    """Where a run stands, and what is new.

    New are the means of the last steps, with the accuracies of the test images where an epoch is over (``finished``), a
    message, or nothing: a step is done, or a split of the images judged, and WITHIN seconds have passed without a word.

    Attributes:
        epoch: from 1.
        done: steps done.
        total: steps in all.
        row: the means and accuracies, empty where nothing is new.
        finished: whether an epoch is over.
        message: what to tell the user, "" for nothing.
    """

    epoch: int
    done: int
    total: int
    row: Mapping[str, Any]
    finished: bool = False
    message: str = ""


class DivergenceError(RunError):
    """The loss is not finite or has exploded. folder: the run's, which holds the epochs before."""

    def __init__(self, message: str, folder: Path = Path()) -> None:
        super().__init__(message)
        self.folder = folder


Listener = Callable[[Progress], None]


def silence(progress: Progress) -> None:
    """A listener that says nothing.

    Args:
        progress: not used.
    """


@dataclass
class _Heard:
    """A listener, and when it last heard a word."""

    listener: Listener
    spoke: float = field(default_factory=time.monotonic)

    def __call__(self, progress: Progress) -> None:
        self.spoke = time.monotonic()
        self.listener(progress)

    def now_and_then(self, run: Run, step: int) -> None:
        """Say that this step, from 1, is done, where there was no word for a while."""
        if time.monotonic() - self.spoke >= WITHIN:
            self(report(run, step, {}))


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        best: its epoch, from 1.
        stopped: the alarm that ended it, or "".
        writes: whether this process, of several, is the one that writes.
        ends: the judgement at the end, None where none was asked for.
    """

    settings: TrainSettings
    folder: Path
    history: pd.DataFrame
    best: int
    stopped: str
    writes: bool
    ends: Ends | None = None


def train(
    settings: TrainSettings,
    *,
    out: Path = Path("runs"),
    folder: Path | None = None,
    root: Path | None = None,
    device: str = "auto",
    watch: EnergyWatch | None = None,
    overwrite: bool = False,
    listener: Listener = silence,
) -> Trained:
    """Train, or go on where the same settings were interrupted; on a CPU the settings decide every bit of a run.

    Args:
        settings: all that the run depends on.
        out: where runs are kept, this one in a folder named by its settings.
        folder: the run's own folder instead.
        root: where data lie.
        device: "auto" or "cpu".
        watch: the early warning, None for none.
        overwrite: whether a run that is there gives way.
        listener: hears how far it is.

    Returns:
        The finished run: its settings, folder, history, best epoch and the judgement at its end.

    Raises:
        InputError: for settings that cannot be run.
        RunError: where the folder is another run's or cannot be gone on from, and, as DivergenceError, where the loss
            is lost.
    """
    plan = Plan(settings.resolved(), out, folder, root, device, watch, overwrite)
    with random_state(0):
        run = open_run(plan)
        heard = _Heard(listener if run.writes else silence)
        with run.resumed():
            for epoch in run.epochs_left():
                began = time.monotonic()
                steps, lr = learn_epoch(run, epoch, heard)
                finish_epoch(run, steps, {"lr": lr, "seconds": time.monotonic() - began}, heard)
        run.accelerator.wait_for_everyone()  # until the weights that all now read are written
    return collect(run, plan, heard)


def learn_epoch(run: Run, epoch: int, listener: _Heard) -> tuple[pd.DataFrame, float]:
    """The steps of an epoch.

    Args:
        run: opened and taken up.
        epoch: from 0.
        listener: hears of each step.

    Returns:
        A table of the steps, and the rate of the last.
    """
    vectors, tables, lr = list[Tensor](), list[pd.DataFrame](), 0.0
    for number, x, y in run.walk(epoch):
        lr = run.set_rate(epoch, number)
        vectors.append(learn(run, x, y, epoch, number))
        hear(run, number, listener)
        listener.now_and_then(run, epoch * run.steps + number + 1)
        if len(vectors) == FLUSH or number + 1 == run.steps or run.stopped:
            tables.append(flush(run, vectors, epoch, number, listener))
    return pd.concat(tables), lr


def collect(run: Run, plan: Plan, listener: _Heard) -> Trained:
    """What is told of a finished run, with the judgement at its end where that is asked for.

    Args:
        run: that has come to its end.
        plan: of the run.
        listener: hears of the judgement.

    Returns:
        What is told of it.
    """
    ends = None
    if plan.settings.final_steps:
        heard = partial(_judging, run, listener)
        ends = judge_ends(run.folder, plan.settings, root=plan.root, device=plan.device, listener=heard)
    return Trained(plan.settings, run.folder, run.history.frame(), run.best[0], run.stopped, run.writes, ends)


def _judging(run: Run, listener: _Heard, which: str, at: Work) -> None:
    """Say now and then how far the judgement at the end is."""
    if time.monotonic() - listener.spoke >= JUDGING:
        left = f", {how_long}" if (how_long := told(at.left)) else ""
        said = f"judging the {which} weights: {100 * at.done / at.total:.0f} %{left}"
        listener(replace(report(run, run.epoch * run.steps, {}), message=said))


def learn(run: Run, x: Tensor, y: Tensor, epoch: int, number: int) -> Tensor:
    """One step: attack, loss, gradients, weights.

    Args:
        run: whose network, optimiser and attacker these are.
        x: images, (N, C, H, W) in [0, 1].
        y: labels, (N,).
        epoch: from 0.
        number: of the step in its epoch, from 0.

    Returns:
        The step in MEASURES, (M,), on the device.
    """
    progress = epoch + (number + 1) / run.steps
    images = run.attacker(x, y, eps := run.course.eps(progress))
    see = partial(
        Step, x=x, y=y, x_start=images.x_start, x_adv=images.x_adv, first_logits=images.first_logits,
        terms=run.terms, noise=run.noise, eps=eps, progress=progress,
    )  # fmt: skip
    with perturbed_weights(run.network, partial(method_loss, see, run.network), run.terms.awp):
        step = see(run.model)
        loss, reg = run.method.loss(step), regularisation(run, step)
        run.optimizer.zero_grad()
        run.accelerator.backward(loss + reg)
        seen = observe(run, step, loss, reg, epoch, number)  # at the weights that the loss was of
    run.optimizer.step()
    run.attacker.after_backward(eps)
    if run.average is not None:
        run.average.update_parameters(run.network)
    return seen


def method_loss(see: Callable[[nn.Module], Step], network: nn.Module) -> Tensor:
    """The method's loss alone, at the network's present weights.

    Args:
        see: makes the step that a network sees.
        network: with the weights to judge.

    Returns:
        The loss, a scalar.
    """
    step = see(network)
    return METHODS[step.terms.method].loss(step)


def regularisation(run: Run, step: Step) -> Tensor:
    """Sum of weight * regulariser, zero without any; switches take the values in for the next step.

    Args:
        run: whose regularisers, weights and switches these are.
        step: of N samples.

    Returns:
        The sum, a scalar.
    """
    total = step.x.new_zeros(())
    for name, weight in run.regs.items():
        value = REGULARIZERS[name].value(step)
        if (switch := run.switches.get(name)) is None:
            total = total + weight * value
        else:
            total = total + weight * switch.share.to(value) * value
            switch.update(run.gather(value.detach(), "mean"))
    return total


@torch.no_grad()
def observe(run: Run, step: Step, loss: Tensor, reg: Tensor, epoch: int, number: int) -> Tensor:
    """The step in MEASURES.

    Args:
        run: whose watch hears of the step.
        step: of N samples; where it has not seen the clean images, it looks at them every measure_every steps.
        loss: the method's, a scalar.
        reg: the regularisers', a scalar.
        epoch: from 0.
        number: of the step in its epoch, from 0.

    Returns:
        The measures, (M,), on the device.
    """
    adversarial = run.method.adversarial
    clean = step.clean_seen
    if clean is None and number % run.looks.measure_every == 0:
        with statistics_kept(run.network):
            clean = run.network(step.x).float()
    at_full_eps = step.eps >= run.course.radius  # while eps grows, dE(x) does too, and is no measure of what is usual
    if adversarial and clean is not None and run.watch is not None and at_full_eps:
        run.watch.update(clean, step.logits_adv, step.y)
        run.unheard.append(epoch * run.steps + number + 1)
    return measures(step, loss, reg, clean, adversarial)


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Inside, forwards in train mode leave the running statistics of batch norm alone.

    Args:
        network: in train mode.

    Yields:
        Nothing.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def flush(run: Run, vectors: list[Tensor], epoch: int, number: int, listener: Listener) -> pd.DataFrame:
    """The steps since the last look, as a table, averaged over the processes; the vectors are emptied.

    Args:
        run: whose processes these are.
        vectors: a step's measures each, (M,); they are emptied.
        epoch: from 0.
        number: of the last step in its epoch, from 0.
        listener: hears where the run stands.

    Returns:
        One row a step.

    Raises:
        DivergenceError: for a loss that is not finite or has exploded: what is on the disk stays good.
    """
    first = number + 2 - len(vectors)
    table = as_steps(run.gather(torch.stack(vectors), "mean"), epoch + 1, epoch * run.steps + first)
    vectors.clear()
    lost = table[~(table["loss"].abs() < EXPLODED) | table["reg"].isna()]
    if len(lost):
        row = lost.iloc[0]
        kept = f"{run.folder / LAST} is the network of epoch {epoch}" if epoch else "no epoch was finished"
        raise DivergenceError(
            f"the loss is {row['loss'] + row['reg']:g} at step {row['step']:.0f} (epoch {epoch + 1}): {kept}; "
            "try a smaller --lr or --reg-weight, a longer --eps-ramp, or --amp no",
            run.folder,
        )
    listener(report(run, epoch * run.steps + number + 1, epoch_means(table)))
    return table


def hear(run: Run, number: int, listener: Listener) -> None:
    """Every watch_every measured steps and at an epoch's last, let the watch judge them, and act on its alarm.

    Args:
        run: whose watch and unheard steps these are.
        number: of the step in its epoch, from 0.
        listener: hears of an alarm.
    """
    due = len(run.unheard) == run.looks.watch_every or number + 1 == run.steps
    if run.watch is None or not run.unheard or not due:
        return
    raise_alarm(run, run.watch.step(partial(run.gather, how="sum")), run.unheard[-1], listener)
    run.unheard.clear()


def raise_alarm(run: Run, alarm: Alarm | None, step: int, listener: Listener) -> None:
    """Write down, say and act on what the watch has heard at this step, from 1, if anything.

    Args:
        run: that may stop or go back.
        alarm: what was heard; None for nothing.
        step: of the run, from 1.
        listener: hears of it.
    """
    if alarm is None:
        return
    run.alarms[step] = alarm.kind
    told = report(run, step, {})
    listener(replace(told, message=f"epoch {told.epoch}, step {step}: {alarm.reason}"))
    stops, goes_back = ON_ALARM[run.looks.on_alarm]
    if stops:  # the epoch ends here, and is the last
        run.stopped = alarm.kind
        run.rolled_back = goes_back and run.best[0] > 0


def finish_epoch(run: Run, steps: pd.DataFrame, row: dict[str, Any], listener: _Heard) -> None:
    """Judge the network and write everything down.

    Args:
        run: whose epoch is over.
        steps: of the epoch, a row each.
        row: what is known of the epoch so far; it is filled in.
        listener: hears of the judging.
    """
    run.share_buffers()
    run.epoch += 1
    probe = run.gather(probe_energies(network := run.judged(), run.data, run.judge, run.share), "sum")
    row |= {"epoch": run.epoch, **epoch_means(steps), **probe_columns(probe), **accuracies(run, network, listener)}
    at_full_eps = run.course.eps(run.epoch) >= run.course.radius
    # a natural network's gap is wide and no failure
    if run.method.adversarial and run.watch is not None and "train_pgd" in row and at_full_eps:
        gap = run.watch.judge_gap(row["train_fgsm"], row["train_pgd"], len(run.data.probe))
        raise_alarm(run, gap, last_measured(steps), listener)
    steps = steps.assign(alarm=[run.alarms.get(step, "") for step in steps["step"]])
    row["alarm"] = next(filter(None, steps["alarm"]), "")
    classes = class_rows(probe, run.data.classes, run.epoch) if run.looks.classwise else []
    run.history.add(steps, row, classes)
    run.save(row.get("val_pgd" if len(run.data.val) else "train_pgd", math.nan))
    listener(replace(report(run, run.epoch * run.steps, row), finished=True))


def last_measured(steps: pd.DataFrame) -> int:
    """The last step of an epoch that has seen clean images, and so stands in the history; else the last of all.

    Args:
        steps: of one epoch, a row each.

    Returns:
        The number of the step in the run, from 1.
    """
    measured = steps.dropna(subset="train_accuracy")
    return int((measured if len(measured) else steps)["step"].iloc[-1])


def accuracies(run: Run, network: nn.Module, listener: _Heard) -> dict[str, float]:
    """``val_clean`` ... ``train_pgd``: shares in [0, 1].

    They are nan for a validation split that is not there; there are none in an epoch that is not judged.

    Args:
        run: whose judge this is.
        network: what is judged.
        listener: hears that the run goes on.

    Returns:
        The shares by name.
    """
    row: dict[str, float] = {}
    last = run.epoch in (*run.course.extended, run.course.epochs) or bool(run.stopped)
    for name, images in run.judge.splits(run.data, run.epoch, last=last).items():
        correct = run.gather(count_correct(network, images, run.judge, run.share), "sum").tolist()
        for attack, count in zip(run.judge.attacks, correct, strict=True):
            row[f"{name}_{attack}"] = count / len(images) if len(images) else math.nan
        listener.now_and_then(run, run.epoch * run.steps)
    return row


def report(run: Run, step: int, row: Mapping[str, Any]) -> Progress:
    """Where the run stands after this step, from 1.

    Args:
        run: whose length is known.
        step: of the run, from 1.
        row: what is known of the epoch.

    Returns:
        What a listener hears.
    """
    return Progress(-(-step // run.steps), step, run.course.epochs * run.steps, row)
