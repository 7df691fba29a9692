"""The profile: its numbers, and that a row depends on model, settings, seed and sample alone."""

import copy
import importlib.util
import sys

import pandas as pd
import pytest
import torch
from torch import nn

import energylens as el
from energylens.attacks.battery import NATURAL, ConfiguredAttack, configure
from energylens.noise import Noise
from energylens.records.record import COLUMNS, CYCLED_COLUMN

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
    assert list(rows.columns) == [*COLUMNS, CYCLED_COLUMN]
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


def test_summary_and_frame_follow_from_the_rows(robust, digits):
    """Every number by hand, on attacks whose means all differ from zero and from each other."""
    record = el.profile(robust, digits, ["trades,steps=3", "n-fgsm"])
    frame = record.frame()
    assert list(frame["attack"].unique()) == ["natural", "trades,steps=3", "n-fgsm"]
    for row, attack in zip(record.as_numbers(), record.attacks, strict=True):
        rows = attack.rows.to_dict("list")

        def mean(name, rows=rows):
            return pytest.approx(sum(map(float, rows[name])) / 40)

        def delta(kind, rows=rows):
            return pytest.approx(sum(rows[f"{kind}_clean"]) / 40 - sum(rows[f"{kind}_adv"]) / 40, abs=1e-6)

        expected = {
            "attack": attack.name,
            "n": 40,
            "accuracy": sum(a == b for a, b in zip(rows["pred_adv"], rows["label"], strict=True)) / 40,
            "marginal_mean": mean("marginal_adv"),
            "joint_mean": mean("joint_adv"),
            "delta_marginal_mean": delta("marginal"),
            "delta_joint_mean": delta("joint"),
            "abnormal_share": mean("abnormal"),
            "linf_mean": mean("linf"),
            "l2_mean": mean("l2"),
            "forwards": mean("forwards"),
            "backwards": mean("backwards"),
            "seconds": pytest.approx(attack.seconds, abs=1e-3),
        }
        separated = ("auroc", "detector_threshold", "detector_side", "tpr", "fpr")
        assert {name: value for name, value in row.items() if name not in separated} == expected
        assert row["seconds"] > 0
        here = frame[frame["attack"] == attack.name]
        for kind in ("marginal", "joint"):
            difference = here[f"{kind}_clean"] - here[f"{kind}_adv"]
            assert here[f"delta_{kind}"].tolist() == difference.tolist()
    natural, trades, noisy = record.as_numbers()
    assert (natural["linf_mean"], natural["abnormal_share"], natural["delta_joint_mean"]) == (0, 0, 0)
    assert trades["abnormal_share"] > 0 and noisy["delta_joint_mean"] < 0 < noisy["linf_mean"]


def test_an_image_that_did_not_move_is_not_abnormal(digits):
    """A model that answers twice differently by rounding must not make AAE of untouched images."""

    class Trembling(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x.flatten(1)[:, :10] * (1 + 1e-4 * self.calls)

    rows = el.profile(Trembling(), digits, [lambda m, x, y: x]).attacks[1].rows
    assert (rows["cross_entropy_adv"] < rows["cross_entropy_clean"]).any()
    assert not rows["abnormal"].any()


def test_a_row_is_the_same_for_every_batch_size_and_selection(robust):
    """Bit for bit in whole numbers; energies to the rounding of float32 kernels that know their batch size."""
    digits = el.load_data("digits", n=40)
    reference = el.profile(robust, digits, BATTERY, batch_size=64).frame()
    for size in (1, 7):
        same_to_rounding(reference, el.profile(robust, digits, BATTERY, batch_size=size).frame(), 1e-5)
    some = el.profile(robust, digits.subset([39, 3, 17]), BATTERY).frame()
    same_to_rounding(reference[reference["index"].isin([3, 17, 39])].reset_index(drop=True), some, 1e-4)


def same_to_rounding(one, other, rtol):
    """TRADES' more loosely: right beside x its gradient is mostly rounding, whose signs its first steps follow."""
    kl = one["attack"] == "trades"
    pd.testing.assert_frame_equal(one[~kl], other[~kl], rtol=rtol, atol=1e-5)
    pd.testing.assert_frame_equal(one[kl], other[kl], rtol=0.2, atol=0.2)


def test_a_row_does_not_depend_on_the_order(robust, digits):
    order = torch.tensor([31, 4, 17, 0, 22])
    x, y = digits.images[order], digits.labels[order]
    for spec in ("rs-fgsm", "pgd,restarts=2", "trades", "cw"):
        attack = configure(spec, eps=0.2)
        mixed = attack(robust, x, y, noise=Noise(0, tuple(order.tolist()))).x_adv
        alone = attack(robust, digits.images[17:18], digits.labels[17:18], noise=Noise(0, (17,))).x_adv
        torch.testing.assert_close(mixed[2:3], alone, atol=1e-6, rtol=0, msg=spec)


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


def test_a_callable_leaves_the_callers_gradients_and_may_not_touch_the_weights(robust, digits):
    def careless(model, x, y):
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        model(x).sum().backward()
        return x

    el.profile(robust, digits, [careless])
    assert all(parameter.grad is None for parameter in robust.parameters())

    def destructive(model, x, y):
        next(model.parameters()).mul_(0.9)
        return x

    model = copy.deepcopy(robust)
    with pytest.raises(el.InputError, match=r"destructive changed the model's weights.*deepcopy"):
        el.profile(model, digits, [destructive])


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
        (lambda m, x, y: x + 1, r"images in \[1, 2\]; expected finite ones in \[0, 1\]"),
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
    assert seen == [1, 4, 5]  # the image that checks model and data, and those that tell who the model is
    seen.clear()
    more = el.profile(robust, "digits", ["fgsm"], n=30, out=tmp_path)
    assert seen == [1, 4, 5, 4, 5, 10, 10, 10]  # of this request and of the rows' own; clean, attack, adversarial
    seen.clear()
    el.profile(robust, "digits", ["fgsm"], n=20, out=tmp_path, overwrite=True)
    hook.remove()
    assert seen[-3:] == [20, 20, 20]
    pd.testing.assert_frame_equal(first.frame(), again.frame())
    grown = more.frame()
    assert grown["attack"].value_counts().to_dict() == {"natural": 30, "fgsm": 30}
    pd.testing.assert_frame_equal(
        grown[grown["index"] < 20].reset_index(drop=True), first.frame(), rtol=1e-4, atol=1e-5
    )


BASE = {"data": "digits", "attacks": ["pgd,steps=2"], "n": 4, "eps": 0.2, "seed": 0}


def pgd_folders(out, model="digits-pgd", **changes):
    """The folders of PGD's records after one more profile with these settings."""
    el.profile(model, out=out, **BASE | changes)
    return {path.name for path in out.glob("*/pgd-*")}


@pytest.mark.parametrize(
    "changes",
    [
        {"eps": 0.1},
        {"seed": 1},
        {"attacks": ["pgd,steps=3"]},
        {"attacks": ["pgd,steps=2,restarts=2"]},
        {"attacks": ["pgd,steps=2,loss=margin"]},
        {"norm": "l2"},
        {"target": "random"},
        {"split": "train"},
        {"model": "digits-standard"},
    ],
    ids=str,
)
def test_what_rows_depend_on_has_a_folder_of_its_own(changes, tmp_path):
    pgd_folders(tmp_path)
    assert len(pgd_folders(tmp_path, **changes)) == 2


@pytest.mark.parametrize(
    "changes", [{"n": 6}, {"choose": "random"}, {"batch_size": 1}, {"attacks": ["fgsm", "pgd"], "steps": 2}], ids=str
)
def test_what_rows_do_not_depend_on_shares_one(changes, tmp_path):
    assert pgd_folders(tmp_path) == pgd_folders(tmp_path, **changes)


def test_other_pixels_have_a_folder_of_their_own(robust, digits, tmp_path):
    x, y = digits.images, digits.labels
    moved = x.clone()
    moved[0, 0, 0, 0] = 1 - moved[0, 0, 0, 0]
    for images in (x, moved):
        el.profile(robust, (images, y), ["fgsm"], eps=0.2, out=tmp_path)
    assert len(list(tmp_path.glob("*/fgsm-*"))) == 2


def test_a_model_that_differs_outside_its_weights_is_another(digits, tmp_path):
    """A stale record must not stand for a model that has changed in a plain attribute."""

    class Scaled(nn.Module):
        def __init__(self, temperature):
            super().__init__()
            self.temperature, self.linear = temperature, nn.Linear(64, 10)
            nn.init.constant_(self.linear.weight, 0.1)
            nn.init.zeros_(self.linear.bias)

        def forward(self, x):
            return self.linear(x.flatten(1)) / self.temperature

    one, two = (el.profile(Scaled(t), digits, ["fgsm"], out=tmp_path) for t in (1.0, 2.0))
    one, two = (record.as_numbers()[0]["joint_mean"] for record in (one, two))
    assert one == pytest.approx(2 * two)


def test_a_model_whose_code_has_changed_is_another(digits, tmp_path, monkeypatch):
    """The constant stands in the user's file, outside the class."""

    def model(scale):
        path = tmp_path / "mine.py"
        path.write_text(
            f"from torch import nn\nSCALE = {scale}\n\n"
            "class Mine(nn.Module):\n    def forward(self, x):\n        return x.flatten(1)[:, :10] * SCALE\n"
        )
        spec = importlib.util.spec_from_file_location("mine", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "mine", module)
        spec.loader.exec_module(module)
        return module.Mine()

    one, two = (el.profile(model(s), digits, ["fgsm"], out=tmp_path) for s in ("1.0", "50."))
    one, two = (record.as_numbers()[0]["joint_mean"] for record in (one, two))
    assert two == pytest.approx(50 * one)


def test_a_callables_record_is_kept_whole_and_never_reused(robust, digits, tmp_path):
    def natural(model, x, y):
        return 1 - x

    el.profile(robust, digits, [natural], out=tmp_path)
    (folder,) = (m.parent for m in tmp_path.glob("*/natural-*/manifest.json") if '"kind"' in m.read_text())

    def out_of_ideas(model, x, y):
        raise RuntimeError("out of ideas")

    out_of_ideas.__name__, out_of_ideas.__qualname__ = natural.__name__, natural.__qualname__
    with pytest.raises(RuntimeError, match="out of ideas"):
        el.profile(robust, digits, [out_of_ideas], out=tmp_path)
    assert len(pd.read_parquet(next(folder.glob("part-*")))) == 40
    assert el.profile(robust, digits, ["fgsm"], out=tmp_path).as_numbers()[0]["linf_mean"] == 0


def test_a_callable_that_trains_the_model_spoils_nothing(digits):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(64, 10))
    alone = el.profile(model, digits, ["fgsm"])["fgsm"].rows

    def careless(model, x, y):
        model.train()
        return x

    record = el.profile(model, digits, [careless, "fgsm"])
    pd.testing.assert_frame_equal(alone, record["fgsm"].rows)
    assert (record["careless"].rows["marginal_adv"] == record["careless"].rows["marginal_clean"]).all()


def test_autocast_of_the_caller_does_not_reach_the_record(robust, digits):
    plain = el.profile(robust, digits, ["pgd,restarts=2"]).frame()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        mixed = el.profile(robust, digits, ["pgd,restarts=2"]).frame()
    pd.testing.assert_frame_equal(plain, mixed)


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
        ({"data": (torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 10])), "eps": 0.1}, r"\[0, 9\]"),
        ({"data": el.load_data("digits", n=5), "n": 3}, "choose among your own samples"),
        ({"data": "digits", "batch_size": 0}, "batch size=0"),
        ({"data": "digits", "seed": -1}, "seed -1"),
        ({"data": "digits", "seed": 10**20}, "seed 1000"),
        ({"data": "digits", "eps": "0", "attacks": ["cw"]}, "eps must be positive"),
        (
            {"data": "digits", "attacks": [lambda m, x, y: x], "target": "random"},
            "target cannot be given to a callable",
        ),
        (
            {
                "data": (torch.rand(10, 1, 8, 8), torch.arange(10)),
                "model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
            },
            "fgsm needs a radius",
        ),
        ({"data": "digits", "n": 501}, "501"),
        ({"data": "digits", "device": "warp"}, "device 'warp' cannot be used"),
        ({"data": "digits", "attacks": ["pgd"], "target": "77"}, "classes 0 to 9"),
        ({"model": 3}, "a name or a torch.nn.Module"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}, "does not say which data set"),
        ({"data": "digits", "arch": "resnet18"}, "not for a model given as a module"),
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


@pytest.mark.parametrize("restarts", [1, 2])
def test_logits_that_stop_being_finite_under_attack_are_refused(restarts, digits):
    class Fragile(nn.Module):
        def forward(self, x):
            grey = (x * 16 - (x * 16).round()).abs().flatten(1).amax(dim=1) < 1e-4  # no digit that was attacked
            return torch.where(grey[:, None], x.flatten(1)[:, :10], torch.nan)

    with pytest.raises(el.RunError, match="NaN or infinite logits"):
        el.profile(Fragile(), digits, [f"pgd,steps=1,restarts={restarts}"], eps=0.1)


class Cramped:
    """A device with room for so many images at once."""

    def __init__(self, room, monkeypatch):
        self.sizes = []
        attack = ConfiguredAttack.__call__

        def run(own, model, x, y, **options):
            if own is not NATURAL:
                self.sizes.append(len(x))
                if len(x) > room:
                    raise torch.OutOfMemoryError("CUDA out of memory")
            return attack(own, model, x, y, **options)

        monkeypatch.setattr(ConfiguredAttack, "__call__", run)


def test_a_batch_that_does_not_fit_is_halved_until_it_does(robust, digits, monkeypatch, tmp_path):
    expected = el.profile(robust, digits, ["pgd", "fgsm"], ladder=False)
    device = Cramped(7, monkeypatch)
    record = el.profile(robust, digits, ["pgd", "fgsm"], out=tmp_path, ladder=False, batch_size=30)
    assert device.sizes[:2] == [30, 15]  # and never again
    assert max(device.sizes[2:]) == 7
    for attack, usual in zip(record.attacks, expected.attacks, strict=True):
        assert attack.rows["marginal_adv"].to_numpy() == pytest.approx(usual.rows["marginal_adv"].to_numpy(), abs=1e-4)


def test_rows_of_a_halved_batch_stand_once_in_memory_too(robust, digits, monkeypatch):
    attack, told = ConfiguredAttack.__call__, []

    def run(own, model, x, y, **options):
        if own.row.name == "fgsm" and len(x) > 20:  # when natural's and PGD's rows are written
            raise torch.OutOfMemoryError("CUDA out of memory")
        return attack(own, model, x, y, **options)

    monkeypatch.setattr(ConfiguredAttack, "__call__", run)
    record = el.profile(robust, digits, ["pgd", "fgsm"], ladder=False, listener=told.append)
    assert [len(one.rows) for one in record.attacks] == [40, 40, 40]
    assert told[-1].done == told[-1].total


def test_out_of_memory_is_explained(robust, digits, monkeypatch):
    Cramped(0, monkeypatch)
    with pytest.raises(el.RunError, match="out of memory with a batch of 1: "):
        el.profile(robust, digits, ["fgsm"])


def test_a_block_that_does_not_fit_is_not_torn_apart(robust, digits, monkeypatch):
    Cramped(7, monkeypatch)
    with pytest.raises(el.RunError, match="out of memory with a batch of 10: take a smaller block=N"):
        el.profile(robust, digits, ["apgd-ce,steps=2,block=10"])


def test_a_pair_of_tensors_need_not_hold_the_last_class(robust, digits):
    few = (digits.labels < 3).nonzero().squeeze(1)
    record = el.profile(robust, (digits.images[few], digits.labels[few]), ["cw,steps=5"])
    assert record.as_numbers()[0]["accuracy"] == 1


class TestAttackAlone:
    """``el.attack``."""

    def test_settings_reach_it_from_either_side(self, robust, digits):
        x, y = digits.images, digits.labels
        by_name = el.attack("pgd,target=least-likely", robust, x, y, eps=0.2)
        assert torch.equal(by_name, el.attack("pgd", robust, x, y, eps=0.2, target="least-likely"))
        assert not torch.equal(by_name, el.attack("pgd", robust, x, y, eps=0.2))

    def test_given_targets(self, robust, digits):
        x, y = digits.images, digits.labels
        with torch.no_grad():
            least = robust(x).scatter(1, y[:, None], torch.inf).argmin(dim=1)
        given = el.attack("pgd", robust, x, y, eps=0.2, target=least)
        assert torch.equal(given, el.attack("pgd", robust, x, y, eps=0.2, target="least-likely"))

    def test_doubles_are_taken_and_bad_labels_refused(self, robust, digits):
        x, y = digits.images, digits.labels
        single = el.attack("fgsm", robust, x, y, eps=0.2)
        assert torch.equal(el.attack("fgsm", robust, x.double(), y, eps=0.2), single)
        with pytest.raises(el.InputError, match="there are 10 classes"):
            el.attack("fgsm", robust, x, y + 8, eps=0.2)
        with pytest.raises(el.InputError, match="Divide grey levels by 255"):
            el.attack("fgsm", robust, x * 255, y)
