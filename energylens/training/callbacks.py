"""The early warning in other people's loops: Lightning, Transformers' Trainer, accelerate.

accelerate needs nothing of its own:

    accelerator.register_for_checkpointing(watch)
    alarm = watch.step(accelerator.reduce)        # the same on every process
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from energylens.errors import InputError
from energylens.training.watch import Alarm, EnergyWatch, Reduce

Handler = Callable[[Alarm], object]


def lightning_callback(watch: EnergyWatch, *, every: int = 10, stop: bool = True, on_alarm: Handler = print) -> Any:
    """A Lightning callback that feeds the watch with what ``training_step`` returns beside the loss.

        return {"loss": loss, "logits_clean": logits, "logits_adv": logits_adv, "y": y}

    The watch's state goes with Lightning's checkpoints.

    Args:
        watch: takes in every batch; its logits are (N, K), its labels (N,).
        every: batches between two steps of the watch.
        stop: end the training at an alarm.
        on_alarm: called with the alarm, on every process.

    Returns:
        A ``lightning.pytorch.callbacks.Callback``.

    Raises:
        InputError: without Lightning.
    """
    base = _class("lightning.pytorch.callbacks", "Callback", "lightning")

    class WatchCallback(base):  # type: ignore[misc,valid-type]
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            watch.update(outputs["logits_clean"], outputs["logits_adv"], outputs["y"])
            if (batch_idx + 1) % every:
                return
            if alarm := watch.step(lambda sums: trainer.strategy.reduce(sums, reduce_op="sum")):
                trainer.should_stop = trainer.should_stop or stop
                on_alarm(alarm)

        def state_dict(self) -> dict[str, Any]:
            return watch.state_dict()

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            watch.load_state_dict(state_dict)

    return WatchCallback()


def transformers_callback(
    watch: EnergyWatch, *, every: int = 10, stop: bool = True, on_alarm: Handler = print, reduce: Reduce | None = None
) -> Any:
    """A callback for Transformers' Trainer, which does not see logits: call ``watch.update`` in your ``compute_loss``.

    Args:
        watch: fed by your ``compute_loss``.
        every: optimiser steps between two steps of the watch.
        stop: end the training at an alarm.
        on_alarm: called with the alarm, on every process.
        reduce: with several processes, the trainer's own ``trainer.accelerator.reduce``.

    Returns:
        A ``transformers.TrainerCallback``.

    Raises:
        InputError: without Transformers.
    """
    base = _class("transformers", "TrainerCallback", "transformers")

    class WatchCallback(base):  # type: ignore[misc,valid-type]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % every:
                return
            if alarm := watch.step(reduce):
                control.should_training_stop = control.should_training_stop or stop
                on_alarm(alarm)

    return WatchCallback()


def _class(module: str, name: str, package: str) -> Any:
    """A class of a package that need not be installed."""
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise InputError(f"{package} is not installed ({error}): pip install {package}") from error
