"""The profile: its numbers, and that a row depends on model, settings, seed and sample alone."""

import pandas as pd
import pytest
import torch
from torch import nn

import energylens as el
from energylens.record import COLUMNS

BATTERY = ["fgsm", "rs-fgsm", "n-fgsm", "pgd,restarts=2", "trades", "he-pgd", "cw"]


@pytest.fixture(scope="module")
def robust():
    return el.load_model("digits-pgd")


@pytest.fixture(scope="module")
def digits():
    return el.load_data("digits", n=40)


def test_the_rows_are_the_energies_of_the_images(robust, digits):
    record = el.profile(robust, digits, ["pgd"])
    rows = record["pgd"].rows
    assert list(rows.columns) == list(COLUMNS)
    x_adv = el.attack("pgd", robust, digits.images, digits.labels, eps=0.2)  # digits' indices are 0 to 39 here too
    with torch.no_grad():
        clean, adv = robust(digits.images), robust(x_adv)
    for column, values in {
        "marginal_clean": el.marginal_energy(clean),
        "marginal_adv": el.marginal_energy(adv),
        "joint_adv": el.joint_energy(adv, digits.labels),
        "cross_entropy_adv": el.cross_entropy(adv, digits.labels),
        "linf": (x_adv - digits.images).flatten(1).abs().amax(dim=1),
        "l2": (x_adv - digits.images).flatten(1).norm(dim=1),
    }.items():
        torch.testing.assert_close(torch.tensor(rows[column].to_numpy()), values, atol=1e-5, rtol=1e-5, msg=column)
    assert rows["label"].tolist() == digits.labels.tolist()
    assert rows["pred_adv"].tolist() == adv.argmax(dim=1).tolist()
    assert rows["abnormal"].tolist() == el.abnormal(clean, adv, digits.labels).tolist()
    assert rows["success"].tolist() == (adv.argmax(dim=1) != digits.labels).tolist()


def test_the_summary_follows_from_the_frame(robust, digits):
    record = el.profile(robust, digits, ["fgsm", "pgd"])
    frame = record.frame()
    assert list(frame["attack"].unique()) == ["natural", "fgsm", "pgd"]
    for row in record.summary():
        rows = frame[frame["attack"] == row["attack"]].astype({"marginal_adv": float, "marginal_clean": float})
        assert row["n"] == len(rows) == 40
        assert row["accuracy"] == (rows["pred_adv"] == rows["label"]).mean()
        assert row["marginal_mean"] == pytest.approx(rows["marginal_adv"].mean())
        difference = rows["marginal_clean"].mean() - rows["marginal_adv"].mean()
        assert row["delta_marginal_mean"] == pytest.approx(difference)
    natural = record.summary()[0]
    assert (natural["forwards"], natural["backwards"], natural["linf_mean"], natural["delta_joint_mean"]) == (
        1,
        0,
        0,
        0,
    )


def test_a_row_is_the_same_for_every_batch_size_and_selection(robust):
    """Bit for bit in whole numbers; energies to the rounding of float32 kernels that know their batch size."""
    digits = el.load_data("digits", n=40)
    reference = el.profile(robust, digits, BATTERY, batch_size=64).frame()
    for size in (1, 7):
        other = el.profile(robust, digits, BATTERY, batch_size=size).frame()
        pd.testing.assert_frame_equal(reference, other, rtol=1e-4, atol=1e-5)
    some = el.profile(robust, digits.subset([39, 3, 17]), BATTERY).frame()
    expected = reference[reference["index"].isin([3, 17, 39])].reset_index(drop=True)
    pd.testing.assert_frame_equal(expected, some, rtol=1e-4, atol=1e-5)


def test_another_seed_draws_other_noise(robust, digits):
    one, two = (el.profile(robust, digits, ["rs-fgsm"], seed=seed)["rs-fgsm"].rows for seed in (0, 1))
    assert (one["marginal_adv"] != two["marginal_adv"]).mean() > 0.9


def test_the_callers_model_and_random_state_are_left_alone(digits):
    torch.manual_seed(5)
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, 10)).train()
    model[2].eval()
    model[3].weight.requires_grad_(False)
    model(torch.rand(8, 1, 8, 8)).sum().backward()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    state = torch.get_rng_state()
    el.profile(model, digits, ["fgsm", "pgd", "trades", "cw", lambda m, x, y: x])
    el.attack("pgd", model, digits.images, digits.labels, eps=0.1)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model] == [True, True, False, True] and model.training
    assert not model[3].weight.requires_grad and model[3].bias.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {n for n, p in model.named_parameters() if p.grad is not None} == set(gradients)
    assert all(torch.equal(p.grad, gradients[n]) for n, p in model.named_parameters() if n in gradients)


def test_a_model_in_train_mode_is_judged_in_eval_mode(digits):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(64, 10))
    frames = [el.profile(model.train(mode), digits, ["fgsm"]).frame() for mode in (True, False)]
    pd.testing.assert_frame_equal(*frames)


def test_any_callable_is_an_attack(robust, digits):
    def invert(model, x, y):
        loss = nn.functional.cross_entropy(model(x.requires_grad_(True)), y)
        loss.backward()
        return 1 - x

    (attack,) = el.profile(robust, digits, [invert]).attacks[1:]
    assert attack.name == "invert"
    assert attack.rows["linf"].max() == 1
    assert (attack.rows["forwards"] == 1).all() and (attack.rows["backwards"] == 1).all()


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (lambda m, x, y: x + 1, r"images in \[1, 2\]; expected \[0, 1\]"),
        (lambda m, x, y: x[:3], r"returned \(3, 1, 8, 8\); expected .*\(40, 1, 8, 8\)"),
        (lambda m, x, y: None, "returned NoneType"),
        (lambda m, x, y: x * float("nan"), r"images in \[nan, nan\]"),
    ],
)
def test_what_a_callable_returns_is_checked(attack, message, robust, digits):
    with pytest.raises(el.InputError, match=message):
        el.profile(robust, digits, [attack])


def count_images(model):
    """A list that grows by the size of every batch the model is given."""
    seen = []
    hook = model.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    return seen, hook


def test_only_what_is_missing_is_computed(robust, tmp_path):
    first = el.profile(robust, "digits", ["fgsm"], n=20, out=tmp_path)
    seen, hook = count_images(robust)
    again = el.profile(robust, "digits", ["fgsm"], n=20, out=tmp_path)
    assert sum(seen) == 1  # the one image that checks model and data
    more = el.profile(robust, "digits", ["fgsm"], n=30, out=tmp_path)
    assert sum(seen) == 2 + 10 * 3  # clean, attack, adversarial
    seen.clear()
    el.profile(robust, "digits", ["fgsm"], n=20, out=tmp_path, overwrite=True)
    hook.remove()
    assert sum(seen) == 1 + 20 * 3
    pd.testing.assert_frame_equal(first.frame(), again.frame())
    grown = more.frame()
    assert grown["attack"].value_counts().to_dict() == {"natural": 30, "fgsm": 30}
    pd.testing.assert_frame_equal(
        grown[grown["index"] < 20].reset_index(drop=True), first.frame(), rtol=1e-4, atol=1e-5
    )


def test_an_interrupted_run_goes_on_to_the_same_table(robust, tmp_path):
    options = {"n": 30, "batch_size": 10}
    whole = el.profile(robust, "digits", ["pgd"], **options).frame()
    calls = []

    def stop(step):
        calls.append(step)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        el.profile(robust, "digits", ["pgd"], out=tmp_path, listener=stop, **options)
    assert not robust.training
    kept = pd.concat([pd.read_parquet(part) for part in tmp_path.rglob("natural-*/part-*.parquet")])
    assert len(kept) == 20
    pd.testing.assert_frame_equal(el.profile(robust, "digits", ["pgd"], out=tmp_path, **options).frame(), whole)


def test_progress_reaches_its_total(robust, digits):
    steps = []
    el.profile(robust, digits, ["fgsm", "pgd"], batch_size=16, listener=steps.append)
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == steps[-1].total == 40 * (1 + 1 + 20)


def test_targeted_rows_say_their_target(robust, digits):
    rows = el.profile(robust, digits, ["pgd"], target="second-best")["pgd,target=second-best"].rows
    assert (rows["target"] != rows["label"]).all()
    assert (rows["success"] == (rows["pred_adv"] == rows["target"])).all()
    assert rows["success"].any()


def test_tensors_stand_in_for_a_data_set(robust, digits):
    x, y = digits.images, digits.labels
    record = el.profile(robust, (x, y), ["fgsm"], eps=0.2)
    reference = el.profile(robust, digits, ["fgsm"])
    pd.testing.assert_frame_equal(record.frame(), reference.frame())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"data": (torch.full((4, 1, 8, 8), 2.0), torch.arange(4))}, r"range over \[2, 2\]"),
        ({"data": (torch.rand(4, 3, 32, 32), torch.arange(4)), "eps": 0.1}, r"does not take .*\(3, 32, 32\)"),
        ({"data": (torch.rand(4, 1, 8, 8), torch.arange(4)), "eps": 0.1}, "has 4 classes"),
        (
            {
                "data": (torch.rand(10, 1, 8, 8), torch.arange(10)),
                "model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
            },
            "no usual eps",
        ),
        ({"data": "digits", "n": 501}, "501"),
        ({"data": "digits", "device": "warp"}, "device 'warp' cannot be used"),
        ({"data": "digits", "attacks": ["pgd"], "target": "77"}, "classes 0 to 9"),
        ({"model": 3}, "a name or a torch.nn.Module"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}, "does not say which data set"),
        ({"data": "digits", "arch": "resnet18"}, "go with a model given by name"),
    ],
)
def test_what_cannot_be_profiled_is_refused_before_anything_is_written(asked, message, robust, tmp_path):
    with pytest.raises(el.InputError, match=message):
        el.profile(**{"model": robust, "out": tmp_path} | asked)
    assert not list(tmp_path.rglob("part-*"))


def test_logits_that_are_not_finite_are_refused(digits):
    class Broken(nn.Module):
        def forward(self, x):
            logits = torch.zeros(len(x), 10)
            logits[(x.flatten(1).sum(dim=1) - digits.images[3].sum()).abs() < 1e-3, 2] = torch.nan
            return logits

    with pytest.raises(el.RunError, match="NaN or infinite logits for sample 3"):
        el.profile(Broken(), digits, ["fgsm"])
