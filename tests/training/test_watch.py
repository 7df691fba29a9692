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


# the thresholds, from both sides: what is named is the number at which a call is due


def called(*windows, samples=10**6, **own):
    """What is said to the last window."""
    watch = EnergyWatch(WatchSettings(**own))
    for window in windows[:-1]:
        watch.judge(*window, samples)
    alarm = watch.judge(*windows[-1], samples)
    return alarm and alarm.kind


@pytest.mark.parametrize(("share", "kind"), [(0.2499, None), (0.2501, "co")])
def test_co_is_called_at_five_points_over_the_usual_share(share, kind):
    assert called((-0.1, 0.2), (-0.1, 0.2), (-0.1, share)) == kind


@pytest.mark.parametrize(("share", "kind"), [(0.359, None), (0.361, "co")])
def test_co_needs_four_standard_errors_of_the_windows_samples(share, kind):
    # 4 sqrt(.2 * .8 / 100) = .16
    assert called((-0.1, 0.2), (-0.1, 0.2), (-0.1, share), samples=100) == kind


@pytest.mark.parametrize(("usual", "limit"), [(-0.05, -0.3), (0.5, -0.3), (-0.1, -0.3), (-0.2, -0.6)])
def test_ro_is_called_under_three_times_the_usual_and_under_the_floor(usual, limit):
    for delta, kind in ((limit + 1e-3, None), (limit - 1e-3, "ro")):
        assert called((usual, 0.2), (usual, 0.2), (delta, 0.2)) == kind


@pytest.mark.parametrize("settle", [1, 2, 5])
def test_so_many_windows_and_evaluations_come_before_the_first_call(settle):
    watch, gaps = (EnergyWatch(WatchSettings(settle=settle)) for _ in range(2))
    for _ in range(settle):
        # already collapsed, but nothing is usual yet
        assert watch.judge(-0.1, 0.1, 10**6) is None and gaps.judge_gap(0.5, 0.5, 10**6) is None
    assert watch.judge(-0.1, 0.9, 10**6).kind == gaps.judge_gap(0.9, 0.1, 10**6).kind == "co"
    assert WatchSettings().settle == 2


def test_what_is_usual_is_the_median():
    windows = [(-0.1, 0.1), (-0.2, 0.2), (-0.9, 0.2)]  # none of which is called
    watch = EnergyWatch(WatchSettings(settle=3))
    for window in windows:
        watch.judge(*window, 10**6)
    numbers = watch.judge(-5.0, 0.9, 10**6).numbers
    assert (numbers["usual_delta_marginal"], numbers["usual_abnormal_share"]) == (-0.2, 0.2)
    gaps = EnergyWatch(WatchSettings(settle=3))
    for gap in (0.0, 0.25, 0.125):
        gaps.judge_gap(0.5 + gap, 0.5, 10**6)
    assert gaps.judge_gap(0.9, 0.1, 10**6).numbers["usual_gap"] == 0.125


@pytest.mark.parametrize(("fgsm", "kind"), [(0.6499, None), (0.6501, "co")])
def test_a_gap_is_called_at_ten_points_over_the_usual(fgsm, kind):
    watch = EnergyWatch()
    for _ in range(2):
        watch.judge_gap(0.55, 0.5, 10**6)
    alarm = watch.judge_gap(fgsm, 0.5, 10**6)
    assert (alarm and alarm.kind) == kind


@pytest.mark.parametrize(("fgsm", "kind"), [(0.772, None), (0.775, "co")])
def test_a_gap_needs_four_standard_errors_of_its_two_accuracies(fgsm, kind):
    """4 sqrt((f (1 - f) + .25) / 100) is .2616 at f = .7735, over a usual gap of .0125."""
    watch = EnergyWatch()
    for _ in range(2):
        watch.judge_gap(0.5125, 0.5, 100)
    alarm = watch.judge_gap(fgsm, 0.5, 100)
    assert (alarm and alarm.kind) == kind


def test_a_calm_window_between_two_failures_of_different_kinds_is_not_needed():
    watch, said = watching(USUAL, USUAL, (-9.0, 0.01), (0.4, 0.7), (-9.0, 0.01))
    assert said == [None, None, "ro", "co", "ro"]
    assert len(watch.state_dict()["usual"]) == 2


def test_a_full_memory_drops_every_second_window_and_then_takes_every_second():
    watch = EnergyWatch(WatchSettings(memory=4))
    for number in range(13):
        watch.judge(-0.001 * number, 0.0, 10**6)
    state = watch.state_dict()
    # full after 0 .. 4: 0 2 4, then 6, then 8: full again, 0 4 8, then 12
    assert [round(-1000 * delta) for delta, _ in state["usual"]] == [0, 4, 8, 12]
    assert (state["stride"], state["calm"]) == (4, 13)


def test_a_gap_that_is_no_number_changes_nothing():
    watch = EnergyWatch()
    for _ in range(2):
        watch.judge_gap(0.5, 0.5, 100)
    before = watch.state_dict()
    assert watch.judge_gap(float("nan"), 0.5, 100) is None and watch.state_dict() == before


def test_the_rules_have_the_thresholds_that_the_docs_name():
    assert WatchSettings() == WatchSettings(
        rise=0.05, sigmas=4.0, fall=3.0, floor=-0.3, gap=0.1, settle=2, memory=100
    )  # fmt: skip
