"""A training run: what it is made of, and how it is kept and goes on after an interruption."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from energylens.errors import InputError, RunError, first_line
from energylens.files import sweep
from energylens.isolation import frozen
from energylens.models.architectures import architecture, normalized
from energylens.noise import BatchNoise, key
from energylens.records.identity import PROBES, Answers, ask
from energylens.records.run_folder import holding, writing
from energylens.records.shards import PATIENCE, launched_ranks, meeting
from energylens.settings import NORM_NAMES
from energylens.training.attacker import AscentAttacker, Attacker, FreeAttacker
from energylens.training.average import MovingAverage
from energylens.training.checkpoint import BEST, LAST, STATE, copy_weights, load_state, save_state, save_weights
from energylens.training.data import Batches, Share, TrainingData, load_training_data
from energylens.training.evaluation import Judge
from energylens.training.folder import Plan, claim
from energylens.training.history import History
from energylens.training.initial import Initial, Statistics, initial_weights
from energylens.training.linearity import ErrorSwitch
from energylens.training.methods import METHODS, Method
from energylens.training.optimizers import OPTIMIZERS, set_rate
from energylens.training.regularizers import REGULARIZERS
from energylens.training.schedules import Course
from energylens.training.settings import TrainSettings
from energylens.training.step import Terms
from energylens.training.watch import EnergyWatch

SLACK = 0.01  # of the probe's accuracy, a share: rounding on another device turns few predictions


@dataclass(frozen=True)
class Looks:
    """How a run is looked at; ``TrainSettings.part`` fills it in.

    Attributes:
        measure_every: steps between two looks at the clean images, where the steps do not see them.
        watch_every: measured steps between two looks of the watch.
        on_alarm: what the watch does, a name in ON_ALARM.
        classwise: whether the probe's energies of every class are kept.
    """

    measure_every: int
    watch_every: int
    on_alarm: str
    classwise: bool


@dataclass
class Run:
    """Everything a run holds between two epochs. Make it with ``open_run``.

    Attributes:
        about: what the JSON beside its weights says, the same in every epoch.
        network: what is trained.
        model: the same as the training forward calls it (several processes, mixed precision).
        twin: a copy to judge and to save, in float32.
        average: the weights' moving average, if one is kept.
        terms: what losses and regularisers take of the settings.
        regs: the weight of each regulariser, by name.
        switches: of the regularisers whose weight is turned on and off, by name.
        course: learning rate and radius over the run.
        epoch: how many are done.
        best: epoch and accuracy of the best one.
        unheard: the steps, from 1, that the watch has seen since it was last asked.
        alarms: what it said, by step.
        stopped: the alarm that ended the run.
        rolled_back: whether the last weights gave way to the best.
    """

    folder: Path
    about: dict[str, Any]
    accelerator: Accelerator
    data: TrainingData
    batches: Batches
    network: nn.Module
    model: nn.Module
    twin: nn.Module
    average: MovingAverage | None
    optimizer: Optimizer
    generator: Generator
    attacker: Attacker
    terms: Terms
    regs: dict[str, float]
    switches: dict[str, ErrorSwitch]
    course: Course
    judge: Judge
    looks: Looks
    watch: EnergyWatch | None = None
    history: History = field(default_factory=History)
    epoch: int = 0
    best: tuple[int, float] = (0, -1.0)
    unheard: list[int] = field(default_factory=list)
    alarms: dict[int, str] = field(default_factory=dict)
    stopped: str = ""
    rolled_back: bool = False

    @property
    def method(self) -> Method:
        """The method's row."""
        return METHODS[self.terms.method]

    @property
    def share(self) -> Share:
        """This process's part of what all look at together."""
        return Share(self.accelerator.process_index, self.accelerator.num_processes)

    @property
    def noise(self) -> BatchNoise:
        """The noise for whole batches, drawn from the run's generator."""
        return BatchNoise(self.generator)

    @property
    def writes(self) -> bool:
        """Whether this process writes the files."""
        return bool(self.accelerator.is_main_process)

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return len(self.batches)

    def epochs_left(self) -> Iterator[int]:
        """The epochs to do, from 0, each with random states that depend on (seed, epoch) alone.

        Yields:
            Each epoch's number, the network in train mode.
        """
        while self.epoch < self.course.epochs and not self.stopped:
            seed = key(self.batches.seed, f"epoch/{self.share.rank}", self.epoch)
            self.generator.manual_seed(seed)
            torch.manual_seed(seed)
            self.network.train()
            yield self.epoch

    def walk(self, epoch: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """The epoch's steps, fewer where an alarm stops the run.

        Args:
            epoch: from 0.

        Yields:
            The step's number from 0, x (B, C, H, W) in [0, 1] and y (B,).
        """
        for step, (x, y) in enumerate(self.batches.of(epoch, self.generator, self.share)):
            yield step, x, y
            if self.stopped:
                return

    def set_rate(self, epoch: int, step: int) -> float:
        """Set the learning rate of this step.

        Args:
            epoch: from 0.
            step: of the epoch, from 0.

        Returns:
            The rate.
        """
        rate = self.course.rate(epoch, step, self.steps)
        lr = self.course.lr * rate.factor
        set_rate(self.optimizer, lr, rate.momentum)
        return lr

    def judged(self) -> nn.Module:
        """The network as it would be used now: the average where one is kept.

        Returns:
            The run's second network, filled anew.
        """
        source = self.network if self.average is None else self.average.module
        self.twin.load_state_dict(source.state_dict())
        return self.twin

    def share_buffers(self) -> None:
        """Make the statistics of batch norm the mean of all processes'."""
        if self.share.ranks > 1:
            for buffer in self.network.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self.accelerator.reduce(buffer, "mean"))

    def gather(self, values: Tensor, how: str) -> Tensor:
        """Sum or mean over all processes.

        Args:
            values: of the same shape in each, any shape.
            how: "sum" or "mean".

        Returns:
            The values, the same shape.
        """
        reduced: Tensor = self.accelerator.reduce(values, how)
        return reduced

    def save(self, accuracy: float) -> None:
        """Write the files of a finished epoch; the state last, so that whatever is missing is done again.

        Args:
            accuracy: by which the best epoch is picked, in [0, 1]; nan where it was not judged.
        """
        if accuracy > self.best[1] and not self.rolled_back:
            self.best = (self.epoch, accuracy)
        if not self.writes:
            return
        with writing(self.folder):
            if self.best[0] == self.epoch:
                self.save_weights(BEST)
            if self.rolled_back:
                copy_weights(self.folder / BEST, self.folder / LAST)
            else:
                self.save_weights(LAST)
            self.history.write(self.folder)
            save_state(self.folder, self._state())

    def save_weights(self, name: str) -> None:
        """Write the judged network, with its description, to this file of the folder.

        Args:
            name: of the file.
        """
        core = self.twin.get_submodule("model") if self.about["mean"] else self.twin
        row = self.history.epochs[-1]
        measured = {judge: round(100 * row[f"test_{judge}"], 2) for judge in self.judge.attacks}
        save_weights(self.folder / name, core.state_dict(), {**self.about, "epoch": self.epoch, "measured": measured})

    @property
    def _parts(self) -> dict[str, Any]:
        """What has a state of its own; None where the run has no such thing."""
        return {
            "network": self.network,
            "optimizer": self.optimizer,
            "average": self.average,
            "attacker": self.attacker,
            "watch": self.watch,
        }

    def _state(self) -> dict[str, Any]:
        return {
            **{name: None if part is None else part.state_dict() for name, part in self._parts.items()},
            "switches": {name: switch.state_dict() for name, switch in self.switches.items()},
            "epoch": self.epoch,
            "best": list(self.best),
            "stopped": self.stopped,
            "answers": self._answers().told(),
        }

    def _answers(self) -> Answers:
        """What the judged network answers to the first images of the probe."""
        x = self.data.probe[:PROBES].x
        with frozen(self.twin):
            return ask(self.twin, x, tuple(range(len(x))))

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """The run as far as it has come, its folder held against other processes that would train the same.

        Yields:
            Nothing; the state is what the last whole epoch left.

        Raises:
            RunError: where one holds it, and where its files cannot be gone on from.
        """
        with ExitStack() as stack:
            if self.writes:
                stack.enter_context(holding(self.folder, "run"))
                sweep(self.folder, "*")
            self.accelerator.wait_for_everyone()  # until nobody else writes what all now read
            self._resume()
            yield

    def _resume(self) -> None:
        """Go on from the last finished epoch, if there is one."""
        state = load_state(self.folder)
        if state is None:
            return
        for name, part in self._parts.items():
            if part is not None and state[name] is not None:
                part.load_state_dict(state[name])
        for name, switch in self.switches.items():
            switch.load_state_dict(state["switches"][name])
        self.epoch, self.stopped = state["epoch"], state["stopped"]
        self.best = (int(state["best"][0]), float(state["best"][1]))
        self.history = History.read(self.folder, self.epoch)
        self._check_network(state.get("answers"))

    def _check_network(self, told: dict[str, Any] | None) -> None:
        """Refuse to go on with another network, or other images, than made the state. Raises RunError.

        told: its answers; None in a state of an earlier version, which is judged by the last epoch's accuracy.
        """
        network = self.judged()
        if told is None:
            same = not abs(self._right_on_probe(network) - self.history.epochs[-1]["train_clean"]) > SLACK  # not of nan
        else:
            same = Answers.read(told, self.folder / STATE).agree(self._answers())
        if not same:
            raise RunError(
                f"the network in {self.folder} answers otherwise than when it was saved: its code, the images or a "
                "library have changed since. Go on with what it was trained with, or --overwrite starts this run anew"
            )

    def _right_on_probe(self, network: nn.Module) -> float:
        """Accuracy on the probe, a share in [0, 1]."""
        with frozen(network), torch.no_grad():
            right = [(network(x).argmax(dim=1) == y).sum() for x, y, _ in Share().batches(self.data.probe)]
        return sum(map(int, right)) / len(self.data.probe)


def open_run(plan: Plan) -> Run:
    """The door of a run: here its settings become what the loop uses. ``Run.resumed`` goes on in its folder.

    Args:
        plan: settings, folder, data and device.

    Returns:
        The run before its first step, to be taken up by ``resumed``.

    Raises:
        InputError: for settings that do not fit the data, the initial weights or the processes.
        RunError: for a folder that another run has.
    """
    settings = plan.settings
    accelerator = _engine(settings.amp, plan.device)
    if settings.batch_size % accelerator.num_processes:
        raise InputError(f"--batch-size {settings.batch_size} does not divide by {accelerator.num_processes} processes")
    initial = None
    if settings.init is not None:
        fits = {"arch": settings.arch, "dataset": settings.dataset}
        initial = initial_weights(settings.init, **fits, normalize=settings.normalize)
    data = load_training_data(settings, plan.root, accelerator.device)
    statistics = data.statistics() if settings.normalize else None
    statistics = statistics if initial is None else initial.statistics
    network = _network(settings, data, statistics, initial).to(accelerator.device)
    twin = copy.deepcopy(network).requires_grad_(False)
    average = MovingAverage(network, settings.ema) if settings.ema else None
    optimizer = OPTIMIZERS[settings.optimizer](
        network.parameters(), settings.lr, settings.momentum, settings.weight_decay
    )
    model, optimizer = accelerator.prepare(network, optimizer)
    if settings.compile:
        network.compile()
    generator = Generator(accelerator.device)
    digest = None if initial is None else initial.digest
    folder = claim(plan, (data.former_digest, data.digest), digest, writes=bool(accelerator.is_main_process))
    return Run(
        folder=folder,
        about=_about(settings, data, statistics),
        accelerator=accelerator,
        data=data,
        batches=settings.part(partial(Batches, data.train)),
        network=network,
        model=model,
        twin=twin,
        average=average,
        optimizer=optimizer,
        generator=generator,
        attacker=make_attacker(settings, network, BatchNoise(generator)),
        terms=settings.terms,
        regs=dict(zip(settings.reg, settings.reg_weight, strict=True)),
        switches={name: ErrorSwitch() for name in settings.reg if REGULARIZERS[name].switched},
        course=settings.part(Course),
        judge=settings.part(Judge),
        looks=settings.part(Looks),
        watch=plan.watch,
    )


def make_attacker(settings: TrainSettings, network: nn.Module, noise: BatchNoise) -> Attacker:
    """The attacker of the settings' method.

    Args:
        settings: of the run, resolved.
        network: what is attacked.
        noise: what its starts are drawn from.

    Returns:
        The attacker, of batches at a radius.
    """
    if settings.row.replays is not None:
        return FreeAttacker(network, settings.norm)
    return settings.part(partial(AscentAttacker, network, noise))


def _engine(precision: str, device: str) -> Accelerator:
    """What trains in this precision on this device, "auto" or "cpu"."""
    # what accelerate keeps of an earlier run in this process decides the device and the precision of the next one
    AcceleratorState._reset_state(reset_partial_state=True)
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False)  # several forwards a step must not change buffers
    patience = InitProcessGroupKwargs(timeout=PATIENCE)
    cpu = device == "cpu" or not torch.accelerator.is_available()  # unless told, accelerate joins no processes on a CPU
    with meeting(launched_ranks()):
        return Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=[ddp, patience])


def _network(
    settings: TrainSettings, data: TrainingData, statistics: Statistics | None, initial: Initial | None
) -> nn.Module:
    """Random weights under the seed, or the initial ones, for the data's classes and channels.

    InputError where the images or the initial weights do not fit.
    """
    torch.manual_seed(key(settings.seed, "weights", 0))
    channels = data.image_shape[0]
    core = architecture(settings.arch).build(num_classes=len(data.classes), in_channels=channels, width=settings.width)
    if initial is not None:
        initial.into(core, settings.arch)
    network = normalized(core, *(statistics or (None, None)))
    if settings.channels_last:
        network.to(memory_format=torch.channels_last)
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *data.image_shape))
    except RuntimeError as error:
        raise InputError(
            f"{settings.arch} does not take {settings.dataset}'s images of shape {data.image_shape} "
            f"({first_line(error)}): choose another --arch"
        ) from error
    return network.train()


def _about(settings: TrainSettings, data: TrainingData, statistics: Statistics | None) -> dict[str, Any]:
    """What the JSON beside the run's weights says, whatever the epoch."""
    robust = settings.row.adversarial
    mean, std = statistics or (None, None)
    return {
        "arch": settings.arch,
        "num_classes": len(data.classes),
        "in_channels": data.image_shape[0],
        "width": settings.width,
        "mean": mean,
        "std": std,
        "dataset": settings.dataset,
        "labels": None if settings.classes is None else list(settings.classes),
        "classes": list(data.classes),
        "threat_model": NORM_NAMES[settings.norm] if robust else None,
        "eps": settings.eps if robust else None,
        "trained_on": settings.method,
        "seed": settings.seed,
        "test_images": len(data.test),
        "torch": torch.__version__,
    }
