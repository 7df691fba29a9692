"""The early warning in the loops of Lightning and Transformers, by their contracts; the real ones where installed."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from energylens.errors import InputError
from energylens.training.callbacks import lightning_callback, transformers_callback
from energylens.training.watch import EnergyWatch

Y = torch.tensor([0, 1])
CLEAN = torch.tensor([[2.0, 0.0], [0.0, 2.0]])


def batches(collapse_at, n):
    """Logits of x* that lose the label, and from a batch on gain it: all abnormal."""
    for i in range(n):
        yield {
            "loss": torch.tensor(1.0),
            "logits_clean": CLEAN,
            "logits_adv": CLEAN * (2 if i >= collapse_at else 0.5),
            "y": Y,
        }


@pytest.fixture
def stand_ins(monkeypatch):
    """Modules with nothing but the base classes, in place of the real packages."""
    for name in ("lightning", "lightning.pytorch", "lightning.pytorch.callbacks", "transformers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["lightning.pytorch.callbacks"].Callback = type("Callback", (), {})
    sys.modules["transformers"].TrainerCallback = type("TrainerCallback", (), {})


def test_lightning_stops_at_the_alarm_and_keeps_the_watch(stand_ins):
    said, reduced = [], []

    def reduce(sums, reduce_op):
        reduced.append(reduce_op)
        return sums

    trainer = SimpleNamespace(should_stop=False, strategy=SimpleNamespace(reduce=reduce))
    callback = lightning_callback(EnergyWatch(), every=2, on_alarm=said.append)
    for i, outputs in enumerate(batches(collapse_at=6, n=8)):
        callback.on_train_batch_end(trainer, None, outputs, None, i)
        assert trainer.should_stop == (i == 7)
    assert [(alarm.kind, alarm.step) for alarm in said] == [("co", 8)] and reduced == ["sum"] * 4
    again = lightning_callback(EnergyWatch())
    again.load_state_dict(callback.state_dict())
    assert again.state_dict() == callback.state_dict() and again.state_dict()["batches"] == 8


def test_transformers_stops_at_the_alarm(stand_ins):
    said, watch, control = [], EnergyWatch(), SimpleNamespace(should_training_stop=False)
    callback = transformers_callback(watch, every=2, on_alarm=said.append)
    for i, outputs in enumerate(batches(collapse_at=6, n=8), start=1):
        watch.update(outputs["logits_clean"], outputs["logits_adv"], outputs["y"])  # what compute_loss does
        callback.on_step_end(None, SimpleNamespace(global_step=i), control)
    assert control.should_training_stop and [alarm.kind for alarm in said] == ["co"]


def test_without_stop_the_training_goes_on(stand_ins):
    control = SimpleNamespace(should_training_stop=False)
    watch, said = EnergyWatch(), []
    callback = transformers_callback(watch, every=1, stop=False, on_alarm=said.append)
    for i, outputs in enumerate(batches(collapse_at=3, n=6), start=1):
        watch.update(outputs["logits_clean"], outputs["logits_adv"], outputs["y"])
        callback.on_step_end(None, SimpleNamespace(global_step=i), control)
    assert not control.should_training_stop and len(said) == 1


@pytest.mark.parametrize(
    ("make", "package"), [(lightning_callback, "lightning"), (transformers_callback, "transformers")]
)
def test_a_missing_package_is_named(make, package, monkeypatch):
    for name in (package, f"{package}.pytorch.callbacks"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=f"{package} is not installed.*pip install {package}"):
        make(EnergyWatch())
