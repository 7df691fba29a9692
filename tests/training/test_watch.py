"""The early warning: its sums against the plain definition, its rules, its memory, and what recorded runs hear."""

import json

import pytest
import torch

from energylens.energy import abnormal, delta_energy, marginal_energy
from energylens.training.watch import EnergyWatch, WatchSettings

USUAL = (-0.1, 0.01)  # dE(x), AAE share


def watching(*windows, samples=10_000):
    """A watch that has seen these windows, and what it said to each."""
    watch = EnergyWatch()
    return watch, [alarm and alarm.kind for alarm in (watch.judge(*window, samples) for window in windows)]


def random_batches(seed, sizes):
    generator = torch.Generator().manual_seed(seed)
    for n in sizes:
        clean, adv = (torch.randn(n, 5, generator=generator, requires_grad=False) * 3 for _ in range(2))
        yield clean, adv, torch.randint(5, (n,), generator=generator)


def seen_by(monkeypatch, watch, batches, reduce=None):
    """The numbers of one window."""
    seen = []
    monkeypatch.setattr(watch, "judge", lambda *numbers: seen.append(numbers))
    for batch in batches:
        watch.update(*batch)
    watch.step(reduce)
    return seen[0] if seen else None


def test_a_window_is_the_mean_over_its_samples_whatever_its_batches(monkeypatch):
    batches = list(random_batches(0, (7, 1, 20)))
    clean, adv, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    delta = delta_energy(marginal_energy(clean.double()), marginal_energy(adv.double())).mean().item()
    share = abnormal(clean, adv, y).double().mean().item()
    assert seen_by(monkeypatch, EnergyWatch(), batches) == pytest.approx((delta, share, 28), rel=1e-5)
    assert 0 < share < 1


def test_processes_that_reduce_come_to_the_numbers_of_one(monkeypatch):
    batches = list(random_batches(1, (8, 4, 8, 6)))
    one, other = EnergyWatch(), EnergyWatch()
    for batch in batches[1::2]:
        other.update(*batch)
    whole = seen_by(monkeypatch, EnergyWatch(), batches)
    assert seen_by(monkeypatch, one, batches[::2], lambda sums: sums + other._sums) == pytest.approx(whole)


def test_half_precision_and_graphs_come_in_numbers_go_out(monkeypatch):
    ((clean, adv, y),) = random_batches(2, (16,))
    leaf = clean.clone().requires_grad_()
    watch = EnergyWatch()
    watch.update(leaf * 1.0, adv, y)
    assert not watch._sums.requires_grad and watch._sums.dtype == torch.float64
    exact = seen_by(monkeypatch, EnergyWatch(), [(clean, adv, y)])
    halves = seen_by(monkeypatch, EnergyWatch(), [(clean.bfloat16(), adv.bfloat16(), y)])
    assert halves == pytest.approx(exact, abs=0.05)


def test_a_window_without_samples_or_numbers_says_nothing():
    watch, _ = watching(USUAL, USUAL)
    assert watch.step() is None
    watch.update(torch.full((2, 3), torch.nan), torch.zeros(2, 3), torch.tensor([0, 1]))
    assert watch.step() is None
    assert len(watch.state_dict()["usual"]) == 2


@pytest.mark.parametrize(
    ("window", "kind"),
    [
        ((-0.1, 0.059), None),
        ((-0.1, 0.061), "co"),  # the share alone
        ((-5.0, 0.061), "co"),  # at CO dE(x) may run either way
        ((+1.0, 0.01), None),  # and is no sign by itself
        ((-0.31, 0.01), "ro"),  # more than three times the usual, and under the floor
        ((-0.29, 0.01), None),
    ],
)
def test_the_two_failures_part_in_the_share_and_in_delta(window, kind):
    assert watching(USUAL, USUAL, window)[1] == [None, None, kind]


def test_chance_in_few_samples_is_no_rise():
    # of 100 samples at a usual share of .4, one standard error is 4.9 points
    trades, jump = (0.02, 0.4), (0.02, 0.55)
    assert watching(trades, trades, jump, samples=100)[1][-1] is None
    assert watching(trades, trades, jump, samples=400)[1][-1] == "co"


def test_a_fall_is_measured_by_what_is_usual():
    assert watching((-0.3, 0.0), (-0.3, 0.0), (-0.8, 0.0), (-1.0, 0.0))[1] == [None, None, None, "ro"]


def test_it_says_a_failure_once_and_again_after_a_usual_window():
    collapsed = (0.4, 0.7)
    assert watching(USUAL, USUAL, collapsed, collapsed, USUAL, collapsed)[1] == [None, None, "co", None, None, "co"]


def test_a_long_failure_never_becomes_usual():
    watch, said = watching(USUAL, USUAL, *[(0.4, 0.7)] * 200)
    assert said.count("co") == 1
    assert watch.state_dict()["usual"] == [list(USUAL)] * 2


def test_a_steady_fall_of_delta_is_usual_a_run_away_is_not():
    steady = [(-t / 100, 0.0) for t in range(1, 500)]  # twice the median, always
    away = [(-((t / 100) ** 2), 0.0) for t in range(1, 500)]  # four times
    assert not any(watching(*steady)[1])
    assert watching(*away)[1].count("ro") == 1


def test_memory_is_flat_and_reaches_back_over_the_whole_run():
    watch, _ = watching(*[(-t / 1000, 0.0) for t in range(1, 1000)])
    usual = [delta for delta, _ in watch.state_dict()["usual"]]
    assert 50 <= len(usual) <= WatchSettings().memory
    assert sum(usual) / len(usual) == pytest.approx(-0.5, abs=0.02)


@pytest.mark.parametrize(
    ("evaluations", "kinds"),
    [
        ([(0.30, 0.25), (0.32, 0.26), (0.30, 0.15)], [None, None, None]),  # .15 is .1 above the usual .055, not over
        ([(0.30, 0.25), (0.32, 0.26), (0.33, 0.15)], [None, None, "co"]),
        ([(0.50, 0.37), (0.50, 0.37), (0.52, 0.38)], [None, None, None]),  # a wide gap that is usual
        ([(0.3, 0.25), (0.3, 0.25), (0.6, 0.01), (0.6, 0.01)], [None, None, "co", None]),  # once
        ([(0.3, 0.25), (0.3, 0.25), (0.6, 0.01), (0.3, 0.27), (0.6, 0.01)], [None, None, "co", None, "co"]),
        ([(float("nan"), 0.2), (0.4, 0.35)], [None, None]),
    ],
)
def test_fgsm_leaving_pgd_behind_is_heard(evaluations, kinds):
    watch = EnergyWatch()
    alarms = [watch.judge_gap(*accuracies, 10_000) for accuracies in evaluations]
    assert [alarm and alarm.kind for alarm in alarms] == kinds


def test_a_gap_within_chance_of_few_images_is_none():
    def after_two(samples):
        watch = EnergyWatch()
        assert watch.judge_gap(0.3, 0.3, samples) is watch.judge_gap(0.3, 0.3, samples) is None
        return watch.judge_gap(0.5, 0.3, samples)

    assert after_two(100) is None
    alarm = after_two(1000)
    assert alarm.kind == "co" and "50.0% of training images are right under FGSM, 30.0% under PGD" in alarm.reason
    assert alarm.numbers == {"fgsm": 0.5, "pgd": 0.3, "usual_gap": 0.0, "samples": 1000.0}


def test_the_alarm_tells_its_numbers():
    watch, _ = watching(USUAL, USUAL)
    alarm = watch.judge(0.25, 0.5, 100)
    assert alarm.numbers == {
        "delta_marginal": 0.25, "abnormal_share": 0.5, "usual_delta_marginal": -0.1, "usual_abnormal_share": 0.01,
        "samples": 100,
    }  # fmt: skip
    assert "50.0%, usual was 1.0%" in alarm.reason and "\n" not in alarm.reason


def test_a_watch_goes_on_from_its_state_as_if_never_stopped(tmp_path):
    batches = list(random_batches(3, (5, 9, 4, 6, 3)))
    whole, first = EnergyWatch(), EnergyWatch()
    for watch in (whole, first):
        for batch in batches[:3]:
            watch.update(*batch)
        watch.step()
        watch.judge_gap(0.3, 0.2, 50)
        watch.update(*batches[3])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = EnergyWatch()
    second.load_state_dict(json.loads(json.dumps(torch.load(tmp_path / "state.pt", weights_only=True))))
    for watch in (whole, second):
        watch.update(*batches[4])
        watch.step()
    assert second.state_dict() == whole.state_dict()
    assert second.state_dict()["batches"] == 5
