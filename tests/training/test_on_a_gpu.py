"""What a GPU would notice, checked without one: no step waits for the device, and a run decides its own device."""

from collections import Counter
from contextlib import contextmanager

import pytest
import torch
from accelerate.state import PartialState
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from energylens.attacks.battery import configure, equip
from energylens.isolation import widest_float
from energylens.training import loop, workers
from energylens.training.average import MovingAverage
from energylens.training.evaluation import Share, count_correct
from energylens.training.folder import Plan
from energylens.training.loop import learn, train
from energylens.training.methods import METHODS
from energylens.training.recipes import settings_of
from energylens.training.regularizers import REGULARIZERS
from energylens.training.run import _engine, open_run

TINY = {"per_class": 30, "batch_size": 64, "epochs": 2, "eval_samples": 32, "eval_steps": 1, "optimizer": "sgd"}
#: what a host waits in: values that it reads, and shapes that depend on values
READS = (Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.__bool__, Tensor.__float__, Tensor.__int__)
SHAPES = ("nonzero", "masked_select", "_local_scalar_dense", "unique", "_unique2")


class Reads(TorchFunctionMode):
    """Counts the calls by which Python reads a tensor."""

    def __init__(self, counts):
        super().__init__()
        self.counts = counts

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in READS:
            self.counts[func.__name__] += 1
        return func(*args, **(kwargs or {}))


class Shapes(TorchDispatchMode):
    """Counts the operations whose result cannot be laid out, or is a number, before the device has come so far."""

    def __init__(self, counts):
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masked = name == "index" and any(one is not None and one.dtype == torch.bool for one in args[1])
        if name in SHAPES or masked:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def waits():
    """Counts what inside would make the host wait for a GPU."""
    counts = Counter()
    with Shapes(counts), Reads(counts):
        yield counts


def opened(folder, **own):
    settings = settings_of("digits", **{**TINY, **own})
    return open_run(Plan(settings, folder, device="cpu", overwrite=True))


def test_the_counter_counts():
    values = torch.arange(3.0)
    with waits() as counts:
        assert values.sum() > 0
        values[values > 1].tolist()
        float(values.max().item())
    assert counts["__bool__"] == counts["tolist"] == counts["item"] == 1 and counts["index"] == 1


@pytest.mark.parametrize(
    "own",
    [
        *({"method": method} for method in METHODS),
        *({"method": "rs-fgsm", "reg": (reg,)} for reg in REGULARIZERS),
        {"method": "pgd", "reg": ("der",), "der_mean": "selected", "der_on": "abnormal", "der_unit": "spread"},
        {"method": "fgsm", "awp": 0.01},
        {"method": "fgsm", "ema": 0.9},
        {"method": "fgsm", "norm": "l2", "eps": "1"},
    ],
    ids=lambda own: "-".join(str(value) for value in own.values()),
)
def test_no_step_waits_for_the_device(own, tmp_path):
    run = opened(tmp_path, **own)
    run.network.train()
    batches = [batch for _, batch in zip(range(2), run.walk(0), strict=False)]
    learn(run, *batches[0][1:], 0, 0)  # the first step makes the optimiser's state
    with waits() as counts:
        learn(run, *batches[1][1:], 0, 1)
    assert not counts


def test_the_moving_average_is_torchs():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.75), use_buffers=True)
    ours = MovingAverage(network, 0.75)
    for step in range(4):
        network(torch.randn(5, 4)).sum().backward()
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(torch.randn_like(weight))
        theirs.update_parameters(network)
        ours.update_parameters(network)
        if step == 1:  # goes on where it was saved
            again = MovingAverage(network, 0.75)
            again.load_state_dict(ours.state_dict())
            ours = again
    expected = theirs.state_dict() | {"module.1.num_batches_tracked": torch.tensor(4)}
    torch.testing.assert_close(dict(ours.state_dict()), dict(expected))


def test_each_run_of_a_process_decides_its_device_and_its_precision(monkeypatch):
    for device, precision in (("cpu", "no"), ("auto", "bf16"), ("cpu", "bf16"), ("auto", "no")):
        with monkeypatch.context() as patch:
            patch.setattr(torch.accelerator, "is_available", lambda: True)
            engine = _engine(precision, device)
        assert (PartialState()._cpu, engine.mixed_precision) == (device == "cpu", precision)


def test_workers_share_out_the_gpus(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 3)
    monkeypatch.setattr(torch.accelerator, "set_device_index", taken.append)
    for number in range(5):
        workers.spread(number)
    assert taken == [0, 1, 2, 0, 1]
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    workers.spread(1)
    assert len(taken) == 5


def test_every_worker_gets_a_number_of_its_own(monkeypatch):
    class Counted:
        value = 0

        def get_lock(self):
            return contextmanager(lambda: iter([None]))()

    numbers, begun = [], Counted()
    monkeypatch.setattr(workers, "leave_with_parent", lambda: None)
    monkeypatch.setattr(workers, "spread", numbers.append)
    for _ in range(3):
        workers._begin(begun, lambda: None)
    assert numbers == [0, 1, 2]


def test_autoattacks_blocks_fill_a_gpu_unless_a_size_is_given():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for spec in ("autoattack", "square", "apgd-t"):
        usual, own = (configure(f"{spec}{more}", eps="8/255") for more in ("", ",block=7"))
        blocks = [equip(one, "digits", (1, 8, 8), None, on).settings.block for one in (usual, own) for on in (cpu, gpu)]
        assert blocks == [50, 250, 7, 7]


def test_sums_are_as_wide_as_the_device_has_them():
    kinds = [widest_float(torch.device(name)) for name in ("cpu", "cuda", "mps")]
    assert kinds == [torch.float64, torch.float64, torch.float32]


def test_the_judges_attacks_run_in_their_own_precision_and_the_verdict_does_not(tmp_path, monkeypatch):
    seen = []
    for amp in ("no", "bf16"):
        run = opened(tmp_path / amp, method="fgsm", eval_amp=amp)
        calls = []
        run.network.register_forward_hook(lambda *_, calls=calls: calls.append(torch.is_autocast_enabled("cpu")))
        count_correct(run.network, run.data.test, run.judge, Share())
        seen.append(calls)
    # clean; FGSM's step, its verdict; PGD's step, its verdict
    assert seen == [[False] * 5, [False, True, False, True, False]]


def test_training_images_are_judged_in_their_own_epochs(tmp_path, monkeypatch):
    settings = settings_of("digits", **{**TINY, "method": "fgsm", "epochs": 5, "eval_train_every": 2})
    counted = []
    monkeypatch.setattr(loop, "count_correct", lambda *_: counted.append(1) or torch.tensor([3, 2, 1]))
    history = train(settings, out=tmp_path).history
    assert history["train_pgd"].notna().tolist() == [False, True, False, True, True]
    assert history[["val_pgd", "test_pgd"]].notna().all(axis=None) and len(counted) == 13
