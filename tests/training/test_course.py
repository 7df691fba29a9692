"""The course of a run: its history against means by hand, progress, rates, averages, what is kept, and what ends it."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from energylens.errors import RunError
from energylens.noise import BatchNoise
from energylens.progress import Progress
from energylens.training import history, loop
from energylens.training.average import MovingAverage
from energylens.training.checkpoint import copy_weights, load_state, save_weights
from energylens.training.folder import Plan
from energylens.training.history import MEASURES, History, as_steps, epoch_means, measures
from energylens.training.linearity import ErrorSwitch
from energylens.training.loop import DivergenceError, flush, learn, regularisation, train
from energylens.training.methods import METHODS
from energylens.training.recipes import settings_of
from energylens.training.regularizers import REGULARIZERS
from energylens.training.run import Run, open_run
from energylens.training.step import Step
from energylens.training.watch import EnergyWatch

TINY = {"per_class": 30, "batch_size": 64, "eps_ramp": 0.0, "eval_samples": 32, "eval_steps": 1, "method": "fgsm"}


def tiny(**own):
    return settings_of("digits", **TINY | {"epochs": 2} | own)


def opened(folder, **own) -> Run:
    watch = own.pop("watch", None)
    return open_run(Plan(tiny(**own), folder, device="cpu", watch=watch, overwrite=True))


# what a step is measured by


def some_step(x_start=None, **own) -> Step:
    """A step whose logits are its images."""
    generator = torch.Generator().manual_seed(0)
    x, x_adv = (2 * torch.randn(12, 5, generator=generator) for _ in range(2))
    y = torch.randint(5, (12,), generator=generator)
    start = x if x_start is None else x_start
    return Step(nn.Identity(), x, start, x_adv, y, tiny(**own).terms, BatchNoise(generator), 0.1, 1.0, None)


def by_hand(step: Step) -> dict[str, float]:
    """Every measure, sample by sample, in float64."""
    rows = []
    for f, g, label in zip(step.x.double(), step.x_adv.double(), step.y.tolist(), strict=True):
        p, q = torch.softmax(f, 0), torch.softmax(g, 0)
        marginal, marginal_adv = -math.log(f.exp().sum()), -math.log(g.exp().sum())
        rows.append(
            {
                "train_accuracy": float(f.argmax() == label),
                "train_adv_accuracy": float(g.argmax() == label),
                "marginal_clean": marginal,
                "marginal_adv": marginal_adv,
                "joint_clean": -f[label].item(),
                "joint_adv": -g[label].item(),
                "abnormal_share": float(q[label] > p[label]),
                "trades_conditional": (p * (f - g)).sum().item(),
                "trades_marginal": marginal - marginal_adv,
            }
        )
    return pd.DataFrame(rows).mean().to_dict()


def test_a_step_is_measured_by_means_over_its_samples():
    step = some_step()
    seen = dict(zip(MEASURES, measures(step, torch.tensor(3.0), torch.tensor(0.5), step.x, True).tolist(), strict=True))
    assert seen == pytest.approx({"loss": 3.0, "reg": 0.5} | by_hand(step), rel=1e-5, abs=1e-6)
    assert 0 < seen["abnormal_share"] < 1 and seen["train_accuracy"] != seen["train_adv_accuracy"]


def test_what_a_step_has_not_seen_is_not_a_number():
    step = some_step()
    blind = dict(zip(MEASURES, measures(step, torch.tensor(3.0), torch.tensor(0.0), None, True).tolist(), strict=True))
    known = {"loss", "reg", "train_adv_accuracy"}
    assert {name for name, value in blind.items() if not math.isnan(value)} == known
    calm = dict(
        zip(MEASURES, measures(step, torch.tensor(3.0), torch.tensor(0.0), step.x, False).tolist(), strict=True)
    )
    known = {"loss", "reg", "train_accuracy", "marginal_clean", "joint_clean"}
    assert {name for name, value in calm.items() if not math.isnan(value)} == known


def test_a_table_of_steps_has_differences_natural_minus_adversarial_and_its_means_skip_what_is_missing():
    values = {name: [float(i), float(i) + 2] for i, name in enumerate(MEASURES)}
    table = as_steps(torch.tensor([list(row) for row in zip(*values.values(), strict=True)]), 3, 21)
    assert table["step"].tolist() == [21, 22] and table["epoch"].tolist() == [3, 3]
    order = {name: i for i, name in enumerate(MEASURES)}
    for kind in ("marginal", "joint"):
        assert table[f"delta_{kind}"].tolist() == [order[f"{kind}_clean"] - order[f"{kind}_adv"]] * 2
    table.loc[1, "marginal_clean"] = torch.nan
    means = epoch_means(table)
    assert means["loss"] == 1.0 and means["marginal_clean"] == order["marginal_clean"]


def test_an_epochs_row_is_the_mean_of_its_steps_and_is_told_as_they_come(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "FLUSH", 3)
    monkeypatch.setattr(loop, "WITHIN", math.inf)  # a slow machine says nothing in between
    told = []
    trained = train(tiny(), out=tmp_path, listener=lambda at: told.append((at.epoch, at.done, at.total, at.finished)))
    # four steps an epoch: looked at after three and at the end
    assert told == [(1, 3, 8, False), (1, 4, 8, False), (1, 4, 8, True), (2, 7, 8, False), (2, 8, 8, False),
                    (2, 8, 8, True)]  # fmt: skip
    steps = pd.read_parquet(trained.folder / "steps.parquet")
    assert steps["step"].tolist() == list(range(1, 9)) and steps["epoch"].tolist() == [1] * 4 + [2] * 4
    for epoch, row in enumerate(trained.history.to_dict("records"), start=1):
        own = steps[steps["epoch"] == epoch]
        assert row["epoch"] == epoch
        for name in ("loss", "delta_marginal", "delta_joint", "abnormal_share", "train_adv_accuracy"):
            assert row[name] == pytest.approx(own[name].mean(), rel=1e-6)
        assert row["delta_marginal"] == pytest.approx(row["marginal_clean"] - row["marginal_adv"], abs=1e-6)
        assert row["delta_joint"] == pytest.approx(row["joint_clean"] - row["joint_adv"], abs=1e-6)


def test_rows_of_epochs_that_are_done_again_are_dropped(tmp_path):
    folder = train(tiny(), out=tmp_path).folder
    read = History.read(folder, 1)
    assert [row["epoch"] for row in read.epochs] == [1] and set(read.steps[0]["epoch"]) == {1}
    assert list(History.read(folder, 2).frame()["epoch"]) == [1, 2]


def test_the_judgement_at_the_end_says_how_far_it_is(tmp_path):
    run, said = opened(tmp_path), []
    quiet = loop._Heard(lambda at: said.append(at.message), spoke=-math.inf)
    loop._judging(run, quiet, "best", Progress("pgd", 3, 12))
    assert said == ["judging the best weights: 25 %"]
    loop._judging(run, quiet, "best", Progress("pgd", 3, 12))
    assert len(said) == 1  # it has just spoken


# progress, radius, rate


def test_a_step_knows_the_epochs_done_and_the_radius_that_they_have_reached(tmp_path, monkeypatch):
    seen, good = [], METHODS["fgsm"].loss

    def spying(step):
        seen.append((step.progress, step.eps))
        return good(step)

    monkeypatch.setitem(METHODS, "fgsm", replace(METHODS["fgsm"], loss=spying))
    train(tiny(eps_ramp=1.5, eps="0.1"), out=tmp_path)
    progress = [quarters / 4 for quarters in range(1, 9)]
    assert [at for at, _ in seen] == pytest.approx(progress)
    assert [eps for _, eps in seen] == pytest.approx([0.1 * min(1, at / 1.5) for at in progress])


def test_every_epoch_has_noise_of_its_own_and_begins_in_train_mode(tmp_path):
    run, draws = opened(tmp_path, epochs=3), []
    for epoch in run.epochs_left():
        assert epoch == len(draws) and run.network.training
        run.network.eval()
        draws.append((torch.rand(1).item(), run.noise.uniform("", torch.zeros(1)).item()))
        run.epoch += 1
    assert len({number for pair in draws for number in pair}) == 6
    again = opened(tmp_path / "again", epochs=3)
    next(again.epochs_left())
    assert draws[0] == (torch.rand(1).item(), again.noise.uniform("", torch.zeros(1)).item())
    other = opened(tmp_path / "other", epochs=3, seed=1)
    next(other.epochs_left())
    assert torch.rand(1).item() != draws[0][0]


def test_the_first_weights_depend_on_the_seed_alone(tmp_path):
    weights = [opened(tmp_path / name, seed=seed).network.state_dict() for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    first, again, other = (torch.cat([value.flatten() for value in state.values()]) for state in weights)
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_rate_of_every_step_is_the_schedules(optimizer, tmp_path):
    run = opened(tmp_path, optimizer=optimizer, lr=0.3, peak=0.25, weight_decay=0.02, epochs=3)
    (group,) = run.optimizer.param_groups
    assert (group["weight_decay"], run.steps) == (0.02, 4)
    theirs = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.3, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(theirs, 0.3, total_steps=12, pct_start=0.25)
    for step in range(12):
        assert run.set_rate(step // 4, step % 4) == group["lr"] == pytest.approx(theirs.param_groups[0]["lr"])
        momentum = group["momentum"] if optimizer == "sgd" else group["betas"][0]
        assert momentum == pytest.approx(theirs.param_groups[0]["momentum"])
        theirs.step()
        schedule.step() if step < 11 else None


def test_an_extended_run_follows_each_lengths_own_schedule(tmp_path):
    run = opened(tmp_path, schedule="cosine", epochs=4, extended=(1, 2), lr=1.0)
    rates = [run.set_rate(epoch, 2) for epoch in range(4)]
    shares = [0.5 / 1, 1.5 / 2, 2.5 / 4, 3.5 / 4]
    assert rates == pytest.approx([(1 + math.cos(math.pi * share)) / 2 for share in shares])


def test_free_training_uses_a_batch_so_many_times(tmp_path):
    run = opened(tmp_path, method="free", replays=3)
    batches = [(number, x.sum().item()) for number, x, _ in run.walk(0)]
    assert run.steps == 12 and [number for number, _ in batches] == list(range(12))
    sums = [total for _, total in batches]
    assert all(sums[i] == sums[i - i % 3] for i in range(12)) and len(set(sums)) == 4


# the loss of a step


def test_each_regulariser_counts_by_its_weight_and_a_switch_by_its_share(monkeypatch):
    for name, value in (("aaer", 2.0), ("elle-a", 5.0)):
        monkeypatch.setitem(
            REGULARIZERS, name, replace(REGULARIZERS[name], value=lambda step, v=value: torch.tensor(v))
        )
    step, gathered = some_step(), []

    def gather(value: Tensor, how: str) -> Tensor:
        gathered.append((value.item(), how))
        return value

    run = SimpleNamespace(regs={"aaer": 3.0, "elle-a": 7.0}, switches={"elle-a": ErrorSwitch()}, gather=gather)
    assert regularisation(run, step).item() == 3 * 2  # the switch is off at first
    run.switches["elle-a"].load_state_dict({"state": torch.tensor([9.0, 9.0, 9.0, 0.5], dtype=torch.float64)})
    assert regularisation(run, step).item() == 3 * 2 + 7 * 0.5 * 5
    assert regularisation(run, step).item() == 3 * 2 + 7 * 5  # an error of 5 among ones has switched it on
    assert gathered == [(5.0, "mean")] * 3
    run.regs = {}
    assert regularisation(run, step).item() == 0


def test_gradients_are_of_the_loss_and_the_regulariser_and_of_one_step_alone(tmp_path):
    run = opened(tmp_path, method="rs-fgsm", reg=("delta-l2",), reg_weight=(0.7,), optimizer="sgd", lr=1e-3,
                 momentum=0.5, weight_decay=0.1, schedule="constant")  # fmt: skip
    run.generator.manual_seed(0)
    with torch.no_grad():
        for weight in run.network.parameters():
            weight.mul_(3)  # so that energies differ
    weights = [weight.detach().clone() for weight in run.network.parameters()]
    buffers = [torch.zeros_like(weight) for weight in weights]
    for number, (_, x, y) in zip(range(3), run.walk(0), strict=False):
        run.set_rate(0, number)
        state = run.generator.get_state()
        x_adv = run.attacker(x, y, run.course.radius).x_adv
        run.generator.set_state(state)
        logits, adv = run.network(x), run.network(x_adv)
        delta = adv.logsumexp(1) - logits.logsumexp(1)
        assert 0.7 * delta.square().mean() > 0.01  # or the regulariser would not be seen
        loss = F.cross_entropy(adv, y) + 0.7 * delta.square().mean()
        gradients = torch.autograd.grad(loss, list(run.network.parameters()))
        learn(run, x, y, 0, number)
        for i, (gradient, weight) in enumerate(zip(gradients, run.network.parameters(), strict=True)):
            buffers[i] = 0.5 * buffers[i] + gradient + 0.1 * weights[i]
            weights[i] = weights[i] - 1e-3 * buffers[i]
            torch.testing.assert_close(weight.detach(), weights[i], rtol=1e-4, atol=1e-5)


def test_weights_are_perturbed_while_the_gradient_is_taken_and_then_restored(tmp_path, monkeypatch):
    seen = []

    def loss_where(step):
        seen.append(run.network.fc2.weight.detach().clone())
        return good(step)

    good = METHODS["fgsm"].loss
    monkeypatch.setitem(METHODS, "fgsm", replace(METHODS["fgsm"], loss=loss_where))
    run = opened(tmp_path, awp=0.05, lr=1e-9)
    before = run.network.fc2.weight.detach().clone()
    _, x, y = next(run.walk(0))
    learn(run, x, y, 0, 0)
    assert torch.equal(seen[0], before)
    assert (seen[1] - before).norm().item() == pytest.approx(0.05 * before.norm().item(), rel=1e-4)
    torch.testing.assert_close(run.network.fc2.weight.detach(), before, atol=1e-6, rtol=0)


def test_the_judged_network_is_the_average_where_one_is_kept(tmp_path):
    run, plain = opened(tmp_path, ema=0.6, lr=0.05), opened(tmp_path / "plain", lr=0.05)
    average = None
    for number, (_, x, y) in zip(range(3), run.walk(0), strict=False):
        learn(run, x, y, 0, number)
        now = run.network.fc2.weight.detach().clone()
        average = now if average is None else 0.6 * average + 0.4 * now
    torch.testing.assert_close(run.judged().fc2.weight, average)
    assert not torch.allclose(run.judged().fc2.weight, now)
    learn(plain, x, y, 0, 0)
    assert torch.equal(plain.judged().fc2.weight, plain.network.fc2.weight)


def test_the_average_keeps_batch_norms_statistics_too(tmp_path):
    run = opened(tmp_path, arch="resnet20", ema=0.6, dataset="digits", per_class=10, batch_size=16)
    _, x, y = next(run.walk(0))
    learn(run, x, y, 0, 0)
    name = next(name for name in run.network.state_dict() if name.endswith("running_mean"))
    first = run.network.state_dict()[name].clone()
    learn(run, x, y, 0, 1)
    expected = 0.6 * first + 0.4 * run.network.state_dict()[name]
    torch.testing.assert_close(run.judged().state_dict()[name], expected)


def test_an_average_that_was_loaded_goes_on(tmp_path):
    network = nn.Linear(1, 1, bias=False)
    first, again = MovingAverage(network, 0.75), MovingAverage(network, 0.75)
    nn.init.constant_(network.weight, 4.0)
    first.update_parameters(network)
    again.load_state_dict(first.state_dict())
    nn.init.constant_(network.weight, 8.0)
    for average in (first, again):
        average.update_parameters(network)
        assert average.module.weight.item() == 0.75 * 4 + 0.25 * 8


@pytest.mark.parametrize("compiled", [True, False])
def test_a_network_is_compiled_where_that_is_asked_for(compiled, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(nn.Module, "compile", lambda network: calls.append(network))
    run = opened(tmp_path, compile=compiled)
    assert calls == ([run.network] if compiled else [])


# several processes, as far as one can play them


class Two:
    """Stands for accelerate of two processes, of which the other has everywhere one more."""

    process_index, num_processes, is_main_process = 0, 2, True

    def reduce(self, values: Tensor, how: str) -> Tensor:
        return (2 * values + 1) / (2 if how == "mean" else 1)


def test_statistics_are_the_mean_of_all_ranks_and_sums_and_means_are_what_they_say(tmp_path):
    run = opened(tmp_path, arch="resnet20", per_class=10, batch_size=16)
    run.accelerator = Two()
    norm = next(module for module in run.network.modules() if isinstance(module, nn.BatchNorm2d))
    mean, count, weight = norm.running_mean.clone(), norm.num_batches_tracked.clone(), norm.weight.clone()
    run.share_buffers()
    torch.testing.assert_close(norm.running_mean, mean + 0.5)
    assert torch.equal(norm.num_batches_tracked, count) and torch.equal(norm.weight, weight)
    assert run.gather(torch.tensor(3.0), "sum").item() == 7 and run.gather(torch.tensor(3.0), "mean").item() == 3.5
    assert (run.share.rank, run.share.ranks) == (0, 2)
    assert [len(y) for _, _, y in run.walk(0)] == [8] * 5  # half of each batch


def test_statistics_are_shared_at_an_epochs_end_before_the_network_is_judged(tmp_path, monkeypatch):
    calls, judged = [], Run.judged
    monkeypatch.setattr(Run, "share_buffers", lambda run: calls.append("shared"))
    monkeypatch.setattr(Run, "judged", lambda run: calls.append("judged") or judged(run))
    train(tiny(), out=tmp_path)
    assert calls == ["shared", "judged"] * 2


# what ends a run


def looked_at(tmp_path, **values):
    run = opened(tmp_path)
    vector = torch.zeros(len(MEASURES))
    for name, value in values.items():
        vector[MEASURES.index(name)] = value
    return flush(run, [torch.zeros(len(MEASURES)), vector], 0, 2, lambda at: None)


@pytest.mark.parametrize("values", [{"loss": 9999.0}, {"loss": -9999.0}, {"reg": 1e9}, {"loss": 0.0, "reg": -1.0}])
def test_a_large_loss_is_none_too_large(values, tmp_path):
    assert looked_at(tmp_path, **values)["step"].tolist() == [2, 3]


@pytest.mark.parametrize(
    "values", [{"loss": 10001.0}, {"loss": -10001.0}, {"loss": math.inf}, {"loss": math.nan}, {"reg": math.nan}]
)
def test_a_loss_beyond_ten_thousand_or_none_at_all_ends_the_run(values, tmp_path):
    with pytest.raises(DivergenceError, match=r"at step 3 \(epoch 1\): no epoch was finished") as lost:
        looked_at(tmp_path, **values)
    assert lost.value.folder.parent == tmp_path / "train"


def test_a_lost_loss_is_told_with_its_regulariser(tmp_path):
    with pytest.raises(DivergenceError, match="the loss is 20003 at step 3"):
        looked_at(tmp_path, loss=20001.0, reg=2.0)


def test_losses_are_looked_at_every_fifty_steps():
    assert (loop.FLUSH, loop.EXPLODED) == (50, 1e4)


# what is kept


def test_a_resumed_run_has_every_state_of_the_one_that_stopped(tmp_path):
    own = {"method": "rs-fgsm", "reg": ("elle-a",), "ema": 0.9, "optimizer": "sgd", "epochs": 2, "watch_every": 3}
    watch = EnergyWatch()
    folder = train(tiny(**own), out=tmp_path, watch=watch).folder
    state = load_state(folder)
    state["best"], state["stopped"] = [1, 0.875], "co"
    torch.save(state, folder / "state.pt")
    again = EnergyWatch()
    run = open_run(Plan(tiny(**own), tmp_path, device="cpu", watch=again))
    fresh = run.average.module.fc2.weight.clone()
    with run.resumed():
        assert (run.epoch, run.best, run.stopped) == (2, (1, 0.875), "co")
        for name, value in run.network.state_dict().items():
            assert torch.equal(value, state["network"][name])
        for name, value in run.average.state_dict().items():
            assert torch.equal(value, state["average"][name])
        assert not torch.equal(fresh, run.average.module.fc2.weight)
        momenta = [slot["momentum_buffer"] for slot in run.optimizer.state_dict()["state"].values()]
        kept = [slot["momentum_buffer"] for slot in state["optimizer"]["state"].values()]
        assert momenta and all(torch.equal(one, two) for one, two in zip(momenta, kept, strict=True))
        assert torch.equal(run.switches["elle-a"].state_dict()["state"], state["switches"]["elle-a"]["state"])
        assert state["switches"]["elle-a"]["state"][0] == 8  # errors so far
        assert again.state_dict() == watch.state_dict() == state["watch"]
        assert run.history.frame()["epoch"].tolist() == [1, 2]
        assert list(run.epochs_left()) == []


@pytest.mark.parametrize("watches", [(True, False), (False, True)])
def test_a_watch_may_come_or_go_at_a_resumption(watches, tmp_path):
    first, then = (EnergyWatch() if watched else None for watched in watches)
    train(tiny(epochs=1), out=tmp_path, watch=first)
    run = open_run(Plan(tiny(epochs=1), tmp_path, device="cpu", watch=then))
    with run.resumed():
        assert run.epoch == 1 and run.watch is then
    assert then is None or then.state_dict()["batches"] == 0


@pytest.mark.parametrize("answers", [True, False])
def test_a_run_goes_on_with_no_other_network_than_made_it(answers, tmp_path):
    """A state of an earlier version has no answers: there the last epoch's accuracy tells."""
    trained = train(tiny(epochs=6, lr=0.02, method="standard"), out=tmp_path)
    assert trained.history["train_clean"].iloc[-1] > 0.3
    state = load_state(trained.folder)
    if not answers:
        del state["answers"]
    torch.save(state, trained.folder / "state.pt")
    assert len(train(trained.settings, out=tmp_path).history) == 6
    state["network"]["fc2.bias"] -= 100 * torch.eye(10)[3]  # nothing is a 3 any more
    torch.save(state, trained.folder / "state.pt")
    with pytest.raises(RunError, match="answers otherwise than when it was saved"):
        train(trained.settings, out=tmp_path)


def test_free_trainings_perturbation_is_kept(tmp_path):
    folder = train(tiny(method="free", replays=1, epochs=1), out=tmp_path).folder
    delta = load_state(folder)["attacker"]["delta"]
    assert delta.shape == (64, 1, 8, 8) and delta.abs().max() > 0.1
    run = open_run(Plan(tiny(method="free", replays=1, epochs=1), tmp_path, device="cpu"))
    with run.resumed():
        assert torch.equal(run.attacker.state_dict()["delta"], delta)


def test_an_epoch_is_the_best_only_if_it_is_better(tmp_path):
    run = opened(tmp_path)
    run.judged()
    run.history.add(
        pd.DataFrame({name: [0.0] for name in (*history.STEP_COLUMNS, "train_accuracy")}),
        {"test_clean": 0.5, "test_fgsm": 0.25, "test_pgd": 0.125},
        [],
    )
    for accuracy, best in ((0.0, 1), (0.3, 2), (0.3, 2), (0.2, 2), (math.nan, 2), (0.31, 6)):
        run.epoch += 1
        run.save(accuracy)
        assert run.best[0] == best
        told = {name: json.loads((run.folder / f"{name}.json").read_text())["epoch"] for name in ("best", "last")}
        assert told == {"best": best, "last": run.epoch}
        assert load_state(run.folder)["best"] == list(run.best)
    about = json.loads((run.folder / "last.json").read_text())
    assert about["measured"] == {"clean": 50.0, "fgsm": 25.0, "pgd": 12.5}
    run.rolled_back = True
    run.epoch += 1
    run.save(0.9)
    assert run.best[0] == 6
    assert (run.folder / "last.json").read_bytes() == (run.folder / "best.json").read_bytes()
    assert (run.folder / "last.safetensors").read_bytes() == (run.folder / "best.safetensors").read_bytes()


def test_weights_are_saved_as_they_are_and_copied_with_their_description(tmp_path):
    weights = {"w": torch.randn(3, 2).t(), "n": torch.tensor(7)}
    save_weights(tmp_path / "a.safetensors", weights, {"epoch": 3})
    copy_weights(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    found = load_file(tmp_path / "b.safetensors")
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in weights.items())
    assert json.loads((tmp_path / "b.json").read_text()) == {"epoch": 3}
