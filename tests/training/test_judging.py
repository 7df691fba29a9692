"""The judges of an epoch, and which epoch is the best: against attacks written out here, and planted accuracies."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import energylens as el
from energylens.energy import joint_energy, marginal_energy
from energylens.noise import Noise
from energylens.training import loop
from energylens.training.data import Images, load_training_data
from energylens.training.evaluation import Judge, Share, class_rows, count_correct, probe_columns, probe_energies
from energylens.training.loop import train
from energylens.training.recipes import settings_of

TINY = {"per_class": 30, "batch_size": 64, "eps_ramp": 0.0, "eval_samples": 0, "eval_steps": 1, "method": "fgsm"}


def images_of(x: Tensor, labels: Tensor, levels: int = 255) -> Images:
    return Images((x * levels).round().to(torch.uint8), labels, levels)


@pytest.fixture(scope="module")
def digits():
    """300 digits, which is more than one batch, and a network that FGSM and PGD part on."""
    samples = el.load_data("digits", n=300)
    return images_of(samples.images, samples.labels, 16), el.load_model("digits-standard")


def gradient(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_(True)
    return torch.autograd.grad(F.cross_entropy(network(x), y, reduction="sum"), x)[0]


def plain_pgd(network: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int, start: Tensor) -> Tensor:
    """PGD as arXiv 1706.06083 has it, in steps of a quarter of eps."""
    x_adv = (x + start).clamp(0, 1)
    for _ in range(steps):
        x_adv = x_adv + eps / 4 * gradient(network, x_adv, y).sign()
        x_adv = torch.maximum(torch.minimum(x_adv, x + eps), x - eps).clamp(0, 1)
    return x_adv


def test_the_judges_are_fgsm_without_noise_and_pgd_with_quarter_steps(digits):
    images, network = digits
    settings = settings_of("digits", method="rs-fgsm", step_size="0.01", eps="0.08", eval_steps=3, seed=5)
    x, y = images.x, images.labels
    start = 0.08 * Noise(5, tuple(range(300))).uniform("start/0", x)
    one_step = (x + 0.08 * gradient(network, x, y).sign()).clamp(0, 1)
    expected = [
        (network(points).argmax(1) == y) & (network(x).argmax(1) == y)
        for points in (x, one_step, plain_pgd(network, x, y, 0.08, 3, start))
    ]
    found = count_correct(network, images, settings.part(Judge), Share())
    assert found.tolist() == [right.sum().item() for right in expected]
    assert len(set(found.tolist())) == 3  # the three numbers would tell their columns apart
    pgd = settings.part(Judge).attacks["pgd"]
    assert (pgd.eps, pgd.step, pgd.steps, pgd.start, pgd.start_scale) == (0.08, 0.02, 3, "uniform", 1.0)
    assert (pgd.clip, pgd.loss, pgd.norm) == (True, "ce", "linf")
    fgsm = settings.part(Judge).attacks["fgsm"]
    assert (fgsm.eps, fgsm.step, fgsm.steps, fgsm.start, fgsm.loss) == (0.08, 0.08, 1, "zero", "ce")


def test_the_judges_know_the_norm(digits):
    settings = settings_of("digits", norm="l2", eps="0.5")
    assert {attack.norm for attack in settings.part(Judge).attacks.values()} == {"l2"}
    assert {attack.eps for attack in settings.part(Judge).attacks.values()} == {0.5}


def test_ranks_count_together_what_one_process_counts(digits):
    images, network = digits
    settings = settings_of("digits", eps="0.08", eval_steps=2)
    shares = [Share(rank, 3) for rank in range(3)]
    parts = [count_correct(network, images, settings.part(Judge), share) for share in shares]
    assert torch.equal(sum(parts), count_correct(network, images, settings.part(Judge), Share()))
    seen = [position for share in shares for _, _, positions in share.batches(images) for position in positions]
    assert sorted(seen) == list(range(300))
    for share in (Share(), Share(1, 3)):
        for x, y, positions in share.batches(images):
            rows = torch.tensor(positions)
            assert torch.equal(x, images.x[rows]) and torch.equal(y, images.labels[rows])


class Witness(nn.Module):
    """Remembers in which mode and precision it was asked, and whether its weights wanted gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.seen = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10)), set()

    def forward(self, x: Tensor) -> Tensor:
        logits = self.body(x)
        self.seen.add((self.training, logits.dtype, self.body[2].weight.requires_grad))
        return logits


@pytest.mark.parametrize("judged", ["accuracies", "probe"])
def test_judges_see_the_network_in_eval_mode_in_float32_and_leave_it_as_it_was(judged):
    witness = Witness().train()
    before = {name: value.clone() for name, value in witness.state_dict().items()}
    settings = settings_of("digits", **TINY)
    data = load_training_data(settings, None, torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16):
        if judged == "probe":
            probe_energies(witness, data, settings.part(Judge), Share())
        else:
            count_correct(witness, data.val, settings.part(Judge), Share())
    assert witness.seen == {(False, torch.float32, False)}
    assert witness.training and witness.body[1].training and witness.body[2].weight.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in witness.state_dict().items())


def test_the_probes_energies_are_sums_by_class_under_the_training_attack_at_its_full_radius():
    settings = settings_of("digits", **TINY | {"eps_ramp": 5.0, "eps": "0.1"})
    data, network = load_training_data(settings, None, torch.device("cpu")), el.load_model("digits-standard")
    x, y = data.probe.x, data.probe.labels
    clean, adv = network(x), network((x + 0.1 * gradient(network, x, y).sign()).clamp(0, 1))
    fell = F.cross_entropy(adv, y, reduction="none") < F.cross_entropy(clean, y, reduction="none")
    columns = [
        torch.ones(len(y)), marginal_energy(clean), marginal_energy(adv), joint_energy(clean, y), joint_energy(adv, y),
        fell.float(),
    ]  # fmt: skip
    expected = torch.stack([torch.stack([c[y == k].double().sum() for c in columns]) for k in range(10)])
    found = probe_energies(network, data, settings.part(Judge), Share())
    torch.testing.assert_close(found, expected.detach(), rtol=5e-3, atol=0.05)  # a pixel's gradient may round to 0
    assert found.dtype == torch.float64
    means = expected.sum(0) / len(y)
    assert probe_columns(found) == pytest.approx(
        {
            "probe_delta_marginal": (means[1] - means[2]).item(),
            "probe_delta_joint": (means[3] - means[4]).item(),
            "probe_abnormal_share": means[5].item(),
        },
        rel=5e-3,
    )
    row = class_rows(found, data.classes, 7)[3]
    assert (row["epoch"], row["class"], row["n"]) == (7, "3", int((y == 3).sum()))
    names = ("marginal_clean", "marginal_adv", "joint_clean", "joint_adv", "abnormal")
    assert [row[name] for name in names] == pytest.approx([c[y == 3].mean().item() for c in columns[1:]], rel=5e-3)


def test_the_probe_of_many_ranks_is_that_of_one_with_noise_of_a_samples_own():
    settings = settings_of("digits", **TINY | {"method": "pgd", "steps": 2})
    data, network = load_training_data(settings, None, torch.device("cpu")), el.load_model("digits-standard")
    assert len(data.probe) > 250
    parts = [probe_energies(network, data, settings.part(Judge), Share(rank, 2)) for rank in range(2)]
    whole = probe_energies(network, data, settings.part(Judge), Share())
    torch.testing.assert_close(sum(parts), whole, rtol=1e-6, atol=1e-6)


def test_a_method_without_an_attack_has_no_adversarial_energies():
    settings = settings_of("digits", **TINY | {"method": "standard"})
    data = load_training_data(settings, None, torch.device("cpu"))
    found = probe_energies(el.load_model("digits-standard"), data, settings.part(Judge), Share())
    assert found[:, [2, 4, 5]].isnan().all() and found[:, [0, 1, 3]].isfinite().all()


#: of each split, by epoch: right as they are, under FGSM, under PGD; the best epoch differs by the number that is asked
PLANTED = {
    "val": [(25, 14, 8), (24, 15, 12), (23, 16, 12), (22, 17, 11)],
    "test": [(300, 200, 100), (310, 210, 110), (320, 220, 120), (330, 230, 130)],
    "train": [(200, 130, 100), (210, 140, 110), (220, 120, 130), (230, 110, 120)],
}


def planted_run(monkeypatch, tmp_path, watch=None, **own):
    """A run of four epochs whose judges say what is planted."""
    settings, asked = settings_of("digits", **TINY | {"epochs": 4, "lr": 1e-5} | own), []
    data = load_training_data(settings, None, torch.device("cpu"))
    sizes = {len(data.val): "val", len(data.test): "test", len(data.probe): "train"}

    def planted(network, images, settings, share, *more, **named):
        name = sizes[len(images)]
        asked.append(name)
        row = PLANTED[name][asked.count(name) - 1] if len(images) else (0, 0, 0)
        return torch.tensor(row, dtype=torch.float64)

    monkeypatch.setattr(loop, "count_correct", planted)
    return train(settings, out=tmp_path, watch=watch), {name: size for size, name in sizes.items()}


def test_the_best_epoch_is_the_first_of_the_highest_pgd_accuracy_on_the_validation_split(monkeypatch, tmp_path):
    trained, sizes = planted_run(monkeypatch, tmp_path)
    assert sizes == {"val": 30, "test": 500, "train": 270}
    assert trained.best == 2
    assert json.loads((trained.folder / "best.json").read_text())["epoch"] == 2
    assert json.loads((trained.folder / "last.json").read_text())["epoch"] == 4
    for split, rows in PLANTED.items():
        for column, name in enumerate(("clean", "fgsm", "pgd")):
            expected = [row[column] / sizes[split] for row in rows]
            assert trained.history[f"{split}_{name}"].tolist() == pytest.approx(expected)
    about = json.loads((trained.folder / "best.json").read_text())
    assert about["measured"] == {"clean": 62.0, "fgsm": 42.0, "pgd": 22.0} and about["test_images"] == 500


def test_the_test_set_has_no_part_in_the_choice(monkeypatch, tmp_path):
    trained, _ = planted_run(monkeypatch, tmp_path, val_fraction=0.0, per_class=27)
    assert trained.history["val_pgd"].isna().all()
    assert trained.best == 3  # of the highest PGD accuracy on the probe, which is of training images


class Listening:
    """A watch that remembers what it is told of accuracies."""

    def __init__(self) -> None:
        self.gaps = []

    def update(self, logits_clean, logits_adv, y) -> None:
        """Hears nothing."""

    def step(self, reduce=None):
        """Says nothing."""

    def judge_gap(self, fgsm, pgd, samples):
        self.gaps.append((fgsm, pgd, samples))

    def state_dict(self):
        return {}

    def load_state_dict(self, state) -> None:
        """Has nothing to take up."""


@pytest.mark.parametrize(("eps_ramp", "first"), [(0.0, 1), (2.0, 2), (2.1, 3)])
def test_the_watch_is_told_the_probes_accuracies_from_the_full_radius_on(eps_ramp, first, monkeypatch, tmp_path):
    watch = Listening()
    planted_run(monkeypatch, tmp_path, watch=watch, eps_ramp=eps_ramp)
    expected = [(fgsm / 270, pgd / 270, 270) for _, fgsm, pgd in PLANTED["train"][first - 1 :]]
    assert watch.gaps == expected
