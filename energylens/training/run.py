"""A training run: what it is made of, where it is kept, and how it goes on after an interruption."""

from __future__ import annotations

import copy
import json
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from energylens.errors import InputError, RunError
from energylens.files import is_there, sweep, whole_file
from energylens.isolation import frozen
from energylens.models.architectures import architecture, normalized
from energylens.noise import BatchNoise, key
from energylens.records.identity import PROBES, Answers, ask
from energylens.records.run_folder import MANIFEST, fingerprint, holding, open_folder, read_manifest, safe_name, writing
from energylens.records.shards import PATIENCE, launched_ranks, meeting
from energylens.settings import NORM_NAMES
from energylens.training.attacker import Attacker, make_attacker
from energylens.training.average import MovingAverage
from energylens.training.checkpoint import BEST, LAST, STATE, copy_weights, load_state, save_state, save_weights
from energylens.training.data import Batches, TrainingData, load_training_data
from energylens.training.evaluation import Share
from energylens.training.history import History
from energylens.training.initial import Initial, Statistics, initial_weights
from energylens.training.linearity import ErrorSwitch
from energylens.training.methods import METHODS
from energylens.training.optimizers import OPTIMIZERS, set_rate
from energylens.training.regularizers import REGULARIZERS
from energylens.training.schedules import SCHEDULES, Position
from energylens.training.settings import TrainSettings
from energylens.training.watch import EnergyWatch

FOLDER = "train"  # in the runs
SLACK = 0.01  # of the probe's accuracy, a share: rounding on another device turns few predictions
PACKAGES = ("energylens", "torch", "torchvision", "accelerate")


@dataclass
class Run:
    """Everything a run holds between two epochs. Make it with ``open_run``.

    network: what is trained; model: the same as the training forward calls it (several processes, mixed precision);
    twin: a copy to judge and to save, in float32; average: the weights' moving average, if one is kept. switches: of
    the regularisers whose weight is turned on and off, by name. epoch: how many are done. best: epoch and accuracy of
    the best one. unheard: the steps, from 1, that the watch has seen since it was last asked; alarms: what it said, by
    step. stopped: the alarm that ended the run; rolled_back: whether the last weights gave way to the best.
    """

    settings: TrainSettings
    folder: Path
    accelerator: Accelerator
    data: TrainingData
    network: nn.Module
    model: nn.Module
    twin: nn.Module
    average: MovingAverage | None
    optimizer: Optimizer
    generator: Generator
    attacker: Attacker
    statistics: Statistics | None
    switches: dict[str, ErrorSwitch]
    watch: EnergyWatch | None = None
    history: History = field(default_factory=History)
    epoch: int = 0
    best: tuple[int, float] = (0, -1.0)
    unheard: list[int] = field(default_factory=list)
    alarms: dict[int, str] = field(default_factory=dict)
    stopped: str = ""
    rolled_back: bool = False

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

    def epochs_left(self) -> Iterator[int]:
        """The epochs to do, from 0, each with random states that depend on (seed, epoch) alone."""
        while self.epoch < self.settings.epochs and not self.stopped:
            seed = key(self.settings.seed, f"epoch/{self.share.rank}", self.epoch)
            self.generator.manual_seed(seed)
            torch.manual_seed(seed)
            self.network.train()
            yield self.epoch

    @property
    def replays(self) -> int:
        """How many steps a batch is used for."""
        return self.settings.replays or 1

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return len(self.batches) * self.replays

    @property
    def batches(self) -> Batches:
        """This process's batches of the training images."""
        return Batches(self.data.train, self.settings, self.share.rank, self.share.ranks)

    def walk(self, epoch: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """The epoch's steps, fewer where an alarm stops the run: number from 0, x and y."""
        layout = torch.channels_last if self.settings.channels_last else torch.contiguous_format
        step = 0
        for x, y in self.batches.of(epoch, self.generator):
            for _ in range(self.replays):
                yield step, x.contiguous(memory_format=layout), y
                step += 1
                if self.stopped:
                    return

    def set_rate(self, epoch: int, step: int) -> float:
        """Set the learning rate of this step; returns it."""
        settings = self.settings
        length = settings.length_at(epoch)
        at = Position(epoch * self.steps + step, length * self.steps, settings.peak, settings.milestones)
        rate = SCHEDULES[settings.schedule](at)
        set_rate(self.optimizer, settings.lr * rate.factor, rate.momentum)
        return settings.lr * rate.factor

    def eps(self, progress: float) -> float:
        """The radius after so many epochs: eps, or the part of it that the ramp has reached."""
        ramp = self.settings.eps_ramp
        return self.settings.radius * (min(1.0, progress / ramp) if ramp else 1.0)

    def judged(self) -> nn.Module:
        """The network as it would be used now: the average where one is kept."""
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
        """Sum or mean over all processes."""
        reduced: Tensor = self.accelerator.reduce(values, how)
        return reduced

    def save(self, accuracy: float) -> None:
        """Files of a finished epoch; the state last, so that whatever is missing is done again."""
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
        """The judged network with its description."""
        core = self.twin.get_submodule("model") if self.statistics else self.twin
        save_weights(self.folder / name, core.state_dict(), self._about())

    def _about(self) -> dict[str, Any]:
        settings, row = self.settings, self.history.epochs[-1]
        robust = METHODS[settings.method].adversarial
        mean, std = self.statistics or (None, None)
        return {
            "arch": settings.arch,
            "num_classes": len(self.data.classes),
            "in_channels": self.data.image_shape[0],
            "width": settings.width,
            "mean": mean,
            "std": std,
            "dataset": settings.dataset,
            "labels": None if settings.classes is None else list(settings.classes),
            "classes": list(self.data.classes),
            "threat_model": NORM_NAMES[settings.norm] if robust else None,
            "eps": settings.eps if robust else None,
            "trained_on": settings.method,
            "epoch": self.epoch,
            "seed": settings.seed,
            "test_images": len(self.data.test),
            "measured": {name: round(100 * row[f"test_{name}"], 2) for name in ("clean", "fgsm", "pgd")},
            "torch": torch.__version__,
        }

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "attacker": self.attacker.state_dict(),
            "switches": {name: switch.state_dict() for name, switch in self.switches.items()},
            "watch": None if self.watch is None else self.watch.state_dict(),
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

        Raises RunError where one holds it.
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
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.attacker.load_state_dict(state["attacker"])
        for name, switch in self.switches.items():
            switch.load_state_dict(state["switches"][name])
        if self.watch is not None and state["watch"] is not None:
            self.watch.load_state_dict(state["watch"])
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


def open_run(
    settings: TrainSettings,
    out: Path,
    folder: Path | None,
    *,
    root: Path | None,
    device: str,
    watch: EnergyWatch | None,
    overwrite: bool,
) -> Run:
    """A run with these settings (resolved), its folder made; ``Run.resumed`` goes on in it.

    Raises InputError, RunError.
    """
    accelerator = _engine(settings.amp, device)
    if settings.batch_size % accelerator.num_processes:
        raise InputError(f"--batch-size {settings.batch_size} does not divide by {accelerator.num_processes} processes")
    initial = initial_weights(settings)
    data = load_training_data(settings, root, accelerator.device)
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
    attacker = make_attacker(settings, network, BatchNoise(generator))
    if folder is not None and accelerator.is_main_process and not overwrite:
        _extend(folder, settings)
    folder, identity = _place(settings, data, initial, out, folder)
    if accelerator.is_main_process:
        if not overwrite:
            _refuse_extended(folder, settings)
        open_folder(folder, _manifest(identity, settings), overwrite=overwrite)
    switches = {name: ErrorSwitch() for name in settings.reg if REGULARIZERS[name].switched}
    return Run(
        settings, folder, accelerator, data, network, model, twin, average, optimizer, generator, attacker, statistics,
        switches, watch,
    )  # fmt: skip


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
            f"({str(error).splitlines()[0]}): choose another --arch"
        ) from error
    return network.train()


def _place(
    settings: TrainSettings, data: TrainingData, initial: Initial | None, out: Path, folder: Path | None
) -> tuple[Path, dict[str, Any]]:
    """Where the run is kept, in ``folder`` where the user names one, and its identity.

    The identity is that of an earlier version, which gave the data another digest, where it lies there.
    """
    for digest in (data.former_digest, data.digest):
        identity = _identity(settings, digest, initial)
        own = (folder or out / FOLDER / f"{safe_name(settings.name)}-{fingerprint(identity)}").absolute()
        with suppress(RunError):  # what cannot be read is another's business, or is to be overwritten
            if fingerprint(read_manifest(own / MANIFEST)["identity"]) == fingerprint(identity):
                break
    return own, identity


def _identity(settings: TrainSettings, data: dict[str, Any], initial: Initial | None) -> dict[str, Any]:
    """What a run depends on: who is left out, the digest of the model that tells and of the weights it starts from.

    It does not depend on where these lie.
    """
    identity = {"settings": _unplaced(settings), "data": data}
    return identity if initial is None else {**identity, "init": initial.digest}


def _unplaced(settings: TrainSettings) -> dict[str, Any]:
    """The settings without the names of models, which may stand for others one day."""
    told = settings.manifest() | {"omit_by": None}
    return {name: value for name, value in told.items() if name != "init"}


def _manifest(identity: dict[str, Any], settings: TrainSettings) -> dict[str, Any]:
    return {
        "identity": identity,
        "named": {"omit_by": settings.omit_by, **({} if settings.init is None else {"init": settings.init})},
        "versions": {name: version(name) for name in PACKAGES},
        "machine": platform.platform(),
    }


def _extend(folder: Path, settings: TrainSettings) -> None:
    """Let the manifest of a finished run tell what it is extended to, where these settings extend it."""
    if (manifest := _training_manifest(folder)) is None:
        return
    found = _settings_of(manifest)
    if found.epochs < settings.epochs and found.extended_to(settings.epochs) == settings:
        load_state(folder)  # what the run goes on from is read before its manifest says otherwise
        History.read(folder, found.epochs)
        with holding(folder, "run"), writing(folder), whole_file(folder / MANIFEST) as temporary:
            told = {**manifest, "identity": {**manifest["identity"], "settings": _unplaced(settings)}}
            temporary.write_text(json.dumps(told, indent=2) + "\n")


def _refuse_extended(folder: Path, settings: TrainSettings) -> None:
    """InputError where the folder holds what became of this very run when it was extended."""
    if (manifest := _training_manifest(folder)) is None:
        return
    found = _settings_of(manifest)
    before = replace(found, epochs=settings.epochs, extended=settings.extended)
    if found.epochs > settings.epochs and before == settings:
        raise InputError(
            f"{folder} was extended to {found.epochs} epochs: `energylens train --resume {folder}` goes on with it; "
            f"for a run of {settings.epochs} give another --out, or --overwrite to start it anew"
        )


def _training_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the training run in this folder; None where there is none."""
    if not is_there(folder / MANIFEST):
        return None
    manifest = read_manifest(folder / MANIFEST)
    return manifest if "settings" in manifest["identity"] else None


def _settings_of(manifest: dict[str, Any]) -> TrainSettings:
    return TrainSettings.from_manifest(manifest["identity"]["settings"] | manifest.get("named", {}))
