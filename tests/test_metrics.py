"""The metrics against means over all samples, alone and of two processes."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torchmetrics import MetricCollection

import energylens as el
from energylens.energy import abnormal, joint_energy, marginal_energy
from energylens.errors import InputError
from energylens.metrics import AbnormalShare, DeltaEnergy, JointEnergy, MarginalEnergy

SIZES = (7, 1, 24)  # of the batches: their means are not the mean


def batches():
    """Natural logits, adversarial ones and labels, batch by batch."""
    generator = torch.Generator().manual_seed(0)
    for size in SIZES:
        logits, logits_adv = 5 * torch.randn(2, size, 10, generator=generator)
        yield logits, logits_adv, torch.randint(10, (size,), generator=generator)


def means():
    """The metrics' names and what they are over all samples, in one go."""
    logits, logits_adv, y = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    return {
        "marginal": marginal_energy(logits).mean(),
        "joint": joint_energy(logits, y).mean(),
        "delta": (marginal_energy(logits) - marginal_energy(logits_adv)).mean(),
        "delta_joint": (joint_energy(logits, y) - joint_energy(logits_adv, y)).mean(),
        "abnormal": abnormal(logits, logits_adv, y).float().mean(),
    }


def metrics():
    return {
        "marginal": MarginalEnergy(), "joint": JointEnergy(), "delta": DeltaEnergy(),
        "delta_joint": DeltaEnergy("joint"), "abnormal": AbnormalShare(),
    }  # fmt: skip


def feed(found, logits, logits_adv, y):
    found["marginal"].update(logits)
    found["joint"].update(logits, y)
    found["delta"].update(logits, logits_adv)
    found["delta_joint"].update(logits, logits_adv, y)
    found["abnormal"].update(logits, logits_adv, y)


def check(found):
    for name, expected in means().items():
        torch.testing.assert_close(found[name].compute(), expected, rtol=1e-5, atol=1e-5)


def test_they_are_means_over_samples_and_begin_anew():
    found = metrics()
    for _ in range(2):
        for batch in batches():
            feed(found, *batch)
        check(found)
        for one in found.values():
            one.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert found["marginal"].compute().isnan()


def _process(rank, store):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        found = metrics()
        for number, batch in enumerate(batches()):
            if number % 2 == rank:  # 31 samples and 1
                feed(found, *batch)
        check(found)
    finally:
        dist.destroy_process_group()


def test_processes_are_reduced_by_their_samples(tmp_path):
    multiprocessing.spawn(_process, (tmp_path / "store",), nprocs=2)


def test_a_collection_takes_them():
    found = MetricCollection({"delta": DeltaEnergy(), "abnormal": AbnormalShare()})
    for logits, logits_adv, y in batches():
        found.update(logits=logits, logits_adv=logits_adv, y=y)
    expected = means()
    for name, value in found.compute().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-5)


def test_what_cannot_be_is_told():
    with pytest.raises(InputError, match="'marginal' for dE"):
        DeltaEnergy("both")
    with pytest.raises(InputError, match=r"needs labels: update\(logits, logits_adv, y\)"):
        DeltaEnergy("joint").update(torch.zeros(1, 2), torch.zeros(1, 2))
    assert el.metrics.DeltaEnergy is DeltaEnergy
