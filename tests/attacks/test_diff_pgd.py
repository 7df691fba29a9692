"""Diff-PGD against its formula, written out, and on the shipped digits models."""

import re

import pytest
import torch
from click.testing import CliRunner
from diffusers import DDPMScheduler
from torch import nn

import energylens as el
from energylens.attacks.battery import configure, equip
from energylens.cli import root
from energylens.diffusion.loading import load_diffuser
from energylens.diffusion.purifier import purify
from energylens.errors import InputError
from energylens.noise import Noise
from energylens.records.record import PURIFIED_COLUMNS

EPS = 0.2
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def diffuser():
    return load_diffuser("digits-ddpm")


@pytest.fixture(scope="module")
def robust():
    return el.load_model("digits-pgd")


@pytest.fixture(scope="module")
def digits():
    return el.load_data("digits", n=24)


def attacked(spec, model, digits, **options):
    attack = equip(configure(spec, eps=EPS), "digits", (1, 8, 8), None, CPU)
    return attack(model, digits.images, digits.labels, noise=Noise(0, tuple(range(len(digits)))), **options)


def written_out(model, diffuser, x, y, noise, eps, steps, t, ddim_steps, boxed=False):
    """The fast form as the paper's algorithm has it."""
    delta = torch.zeros_like(x)
    for step in range(steps):
        with torch.no_grad():
            seen = purify(diffuser, x + delta, noise.normal(f"purify/{step}", x), t=t, ddim_steps=ddim_steps)
        seen.requires_grad_(True)
        loss = nn.functional.cross_entropy(model(seen), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, seen)
        delta = (delta + eps / 4 * gradient.sign()).clamp(-eps, eps)
        if boxed:
            delta = (x + delta).clamp(0, 1) - x
    x_adv = (x + delta).clamp(0, 1)
    with torch.no_grad():
        return x_adv, purify(diffuser, x_adv, noise.normal(f"purify/{steps}", x), t=t, ddim_steps=ddim_steps)


def test_the_fast_form_is_its_formula(robust, diffuser, digits):
    x, noise = digits.images, Noise(0, tuple(range(24)))
    with torch.no_grad():
        predicted = robust(x).argmax(dim=1)
    for labels, y in (("predicted", predicted), ("true", digits.labels)):
        result = attacked(f"diff-pgd,t=2,ddim_steps=20,steps=4,labels={labels}", robust, digits)
        x_adv, purified = written_out(robust, diffuser, x, y, noise, EPS, steps=4, t=2, ddim_steps=20)
        torch.testing.assert_close(result.x_adv, x_adv, atol=1e-6, rtol=0)
        torch.testing.assert_close(result.purified, purified, atol=1e-5, rtol=0)


def test_the_fast_form_may_leave_the_box_on_its_way(robust, diffuser, digits):
    """A digit's blank border is pulled below 0: kept in the box at every step, others would come out."""
    noise, settings = Noise(0, tuple(range(24))), {"eps": EPS, "steps": 4, "t": 2, "ddim_steps": 20}
    free, kept = (
        written_out(robust, diffuser, digits.images, digits.labels, noise, **settings, boxed=boxed)[0]
        for boxed in (False, True)
    )
    assert not torch.allclose(free, kept, atol=1e-3)


def test_the_full_form_is_pgd_on_what_the_purifier_shows(robust, diffuser, digits):
    """One step by hand: a random start, then the sign of the gradient through f and R."""
    x, noise = digits.images, Noise(0, tuple(range(24)))
    start = (x + EPS * noise.uniform("start/0", x)).clamp(0, 1).requires_grad_(True)
    seen = purify(diffuser, start, noise.normal("purify/0", x), t=3, ddim_steps=50)
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(robust(seen), digits.labels, reduction="sum"), start)
    expected = (x + (start.detach() + EPS / 4 * gradient.sign() - x).clamp(-EPS, EPS)).clamp(0, 1)
    result = attacked("diff-pgd,form=full,steps=1,labels=true", robust, digits)
    torch.testing.assert_close(result.x_adv, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("form", ["fast", "full"])
def test_it_fools_more_than_noise_and_stays_in_the_ball(form, robust, digits):
    x, y = digits.images, digits.labels
    result = attacked(f"diff-pgd,form={form}", robust, digits)
    assert (result.x_adv - x).abs().max() <= EPS + 1e-6
    assert result.x_adv.min() >= 0 and result.x_adv.max() <= 1
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        clean, random = robust(x), robust((x + EPS * noise.sign()).clamp(0, 1))
        adv, purified = robust(result.x_adv), robust(result.purified)
    loss, random_loss = (el.cross_entropy(logits, y).mean() for logits in (adv, random))
    assert loss > random_loss > el.cross_entropy(clean, y).mean()
    assert (adv.argmax(1) != y).sum() > (random.argmax(1) != y).sum()
    assert (purified.argmax(1) != y).sum() > (random.argmax(1) != y).sum(), "it survives its own purifier"
    assert (result.backwards == 10).all() and (result.forwards == 11).all(), "one to predict the labels"


def test_a_target_is_aimed_at(robust, digits):
    target = (digits.labels + 1) % 10
    with torch.no_grad():
        before = el.cross_entropy(robust(digits.images), target).mean()
        result = attacked("diff-pgd", robust, digits, target=target)
        assert el.cross_entropy(robust(result.x_adv), target).mean() < before


def test_the_record_has_both_images(robust, digits):
    record = el.profile(robust, digits, ["diff-pgd,steps=3", "pgd"], eps=EPS)
    part = record["diff-pgd,steps=3"]
    images, rows = part.images(), part.rows
    with torch.no_grad():
        logits = robust(images["purified"])
    for column, values in {
        "marginal_purified": el.marginal_energy(logits),
        "joint_purified": el.joint_energy(logits, digits.labels),
        "cross_entropy_purified": el.cross_entropy(logits, digits.labels),
    }.items():
        torch.testing.assert_close(torch.tensor(rows[column].to_numpy()), values, atol=1e-4, rtol=1e-4)
    assert rows["pred_purified"].tolist() == logits.argmax(1).tolist()
    assert rows["success_purified"].tolist() == (logits.argmax(1) != digits.labels).tolist()
    assert dict(rows.dtypes.astype(str)).items() >= PURIFIED_COLUMNS.items()
    summary = {row["attack"]: row for row in record.as_numbers()}
    assert summary["diff-pgd,steps=3"]["accuracy_purified"] == pytest.approx(1 - rows["success_purified"].mean())
    assert "accuracy_purified" not in summary["pgd"]
    frame = record.frame()
    assert frame.loc[frame["attack"] == "pgd", list(PURIFIED_COLUMNS)].isna().all(axis=None)
    assert str(frame["pred_purified"].dtype) == "Int64" and str(frame["success_purified"].dtype) == "boolean"


def test_rows_depend_on_no_batch_and_resume(robust, digits, tmp_path):
    whole = el.profile(robust, digits, "diff-pgd,steps=3", eps=EPS)["diff-pgd,steps=3"].rows
    options = {"attacks": "diff-pgd,steps=3", "eps": EPS, "out": tmp_path, "batch_size": 5}
    el.profile(robust, digits.subset(range(3, 14)), **options)
    resumed = el.profile(robust, digits, **options)["diff-pgd,steps=3"].rows
    assert len(list(tmp_path.glob("*/diff-pgd-*"))) == 1
    assert resumed["index"].tolist() == whole["index"].tolist()
    for column in ("joint_adv", "joint_purified", "marginal_purified", "l2"):
        torch.testing.assert_close(
            torch.tensor(resumed[column].to_numpy()), torch.tensor(whole[column].to_numpy()), atol=1e-3, rtol=1e-3
        )


def test_other_weights_are_another_record_and_another_place_is_not(robust, digits, diffuser, tmp_path):
    for name in ("first", "second", "other"):
        network = load_diffuser("digits-ddpm").network
        if name == "other":
            network.conv_out.bias += 1e-3
        network.save_pretrained(tmp_path / name)
        DDPMScheduler().save_pretrained(tmp_path / name)
        el.profile(
            robust, digits.subset([0]), "diff-pgd,steps=1", eps=EPS, out=tmp_path / "runs",
            diffusion=str(tmp_path / name),
        )  # fmt: skip
    assert len(list((tmp_path / "runs").glob("*/diff-pgd-*"))) == 2


def test_the_table_says_what_is_left_after_the_purifier(tmp_path):
    command = ["profile", "--attack", "diff-pgd,steps=1", "--n", "4", "--out", str(tmp_path)]
    shown = CliRunner().invoke(root, [*command, "--diffusion", "digits-ddpm"])
    assert re.search(r"diff-pgd,steps=1: \d+\.\d % accuracy on R\(x_adv\)", shown.output), shown.output


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("diff-pgd,t=50", "t=50 needs more than 50 ddim_steps, 50 came: lower t or raise ddim_steps"),
        ("diff-pgd,ddim_steps=1", "t=3 needs more than 3 ddim_steps, 1 came"),
        ("diff-pgd,t=-1", "t=-1 cannot be run with: a number 0 or more, at most 1e9, was expected"),
        ("diff-pgd,form=slow", "unknown form 'slow': give one of fast, full"),
        ("diff-pgd,labels=none", "unknown labels 'none': give one of predicted, true"),
        ("diff-pgd,ddim_steps=0", "ddim_steps=0 cannot be run with: a number above 0, at most 1e9, was expected"),
        ("diff-pgd,steps=10000000000", "steps=1e.10 cannot be run with: a number above 0, at most 1e9, was expected"),
        ("diff-pgd,restarts=2", "no setting 'restarts=2'"),
    ],
)
def test_what_cannot_be_run_is_refused(spec, message):
    with pytest.raises(InputError, match=message):
        configure(spec, eps=EPS)


def test_more_ddim_steps_than_the_schedule_has_are_refused_before_anything_is_written(robust, digits, tmp_path):
    message = "^ddim_steps=2000, but the schedule of digits-ddpm has 1000 timesteps: give 1 to 1000$"
    with pytest.raises(InputError, match=message):
        el.profile(robust, digits, "diff-pgd,ddim_steps=2000", eps=EPS, out=tmp_path)
    assert not list(tmp_path.iterdir())
    equip(configure("diff-pgd,ddim_steps=1000", eps=EPS), "digits", (1, 8, 8), None, CPU)


def test_data_without_a_diffusion_model_are_told_so(robust, digits):
    with pytest.raises(InputError, match="no diffusion model is known for images, only for digits, cifar10: name one"):
        el.attack("diff-pgd", robust, digits.images, digits.labels, eps=EPS)
    with pytest.raises(InputError, match="no diffusion model is known for tensors"):
        el.profile(robust, (digits.images, digits.labels), "diff-pgd", eps=EPS)
    el.attack("diff-pgd,steps=1,diffusion=digits-ddpm", robust, digits.images[:2], digits.labels[:2], eps=EPS)
    with pytest.raises(InputError, match="made for images of shape"):
        el.attack(
            "diff-pgd,diffusion=digits-ddpm", nn.Flatten(), torch.rand(2, 3, 8, 8), torch.zeros(2).long(), eps=EPS
        )


def test_the_defaults_are_the_sources():
    settings = configure("diff-pgd", eps="8/255").settings
    assert settings.loop.step == pytest.approx(2 / 255)
    assert (settings.steps, settings.t, settings.ddim_steps) == (10, 3, 50)
    assert (settings.form, settings.labels) == ("fast", "predicted")
