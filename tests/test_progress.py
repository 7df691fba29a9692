"""The time left is reckoned from what was measured: it does not swing, and is not told where nobody knows it."""

import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

import energylens as el
from energylens import progress as pace
from energylens.attacks import autoattack
from energylens.attacks.autoattack import AutoAttackSettings, run_autoattack
from energylens.noise import Noise
from energylens.progress import Course, NowAndThen, Pace, Progress

SECOND = 0.0004  # what a pass of one image takes on the clock of these tests


class Clock:
    """A time that passes only where a model works."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Timed(nn.Module):
    """A model that takes SECOND an image, half of it where no gradient is taken."""

    def __init__(self, model, clock):
        super().__init__()
        self.model, self._clock = model, clock

    def forward(self, x):
        logits = self.model(x)
        self._clock.now += SECOND * len(x) * (1.0 if logits.requires_grad else 0.5)
        return logits


@pytest.fixture
def clock(monkeypatch):
    ticking = Clock()
    monkeypatch.setattr(time, "monotonic", ticking)
    monkeypatch.setattr(time, "perf_counter", ticking)
    return ticking


# all fall to the first of the parts; many stand to the last
@pytest.mark.parametrize("name", ["digits-standard", "digits-pgd"])
def test_the_estimate_of_autoattack_does_not_swing(name, clock, monkeypatch):
    """Every estimate, within the first block too, is near what is then really left."""
    monkeypatch.setattr(pace, "WITHIN", 0.3)
    heard = []
    model = Timed(el.load_model(name), clock)
    data = el.load_data("digits", n=60)
    el.profile(
        model, data, ["fgsm", "apgd-ensemble,block=20"], eps=0.2, ladder=False,
        listener=lambda step: heard.append((clock.now, step)),
    )  # fmt: skip
    end = clock.now
    known = [(at, step) for at, step in heard if step.left is not None and not step.afterwards]
    assert len(known) > 5 and known[0][0] < 0.4 * end  # told before the first block is over
    for at, step in known:
        assert step.left == pytest.approx(end - at, abs=0.35 * end)
    for _, step in heard:
        if step.afterwards:
            assert step.afterwards in (("fgsm", "apgd-ensemble,block=20"), ("apgd-ensemble,block=20",))
            assert (step.left or 0) < 0.2 * end  # nothing is guessed of what was not tried
    assert [step.done for _, step in heard] == sorted(step.done for _, step in heard)


def test_a_block_tells_the_least_that_is_done_and_then_what_is(monkeypatch):
    heard = []
    x, y = torch.rand(6, 1, 8, 8), torch.arange(6)

    class Half:
        """Fells the first half of what it is given."""

        def __init__(self, model):
            self.model = model

        def perturb(self, x, y):
            for _ in range(10):
                self.model(x)
            return torch.cat([1 - x[: len(x) // 2], x[len(x) // 2 :]])

    class Model(nn.Module):
        def forward(self, x):
            right = nn.functional.one_hot(torch.arange(6)[: len(x)], 6).float()
            return torch.where((x.flatten(1).mean(1) > 0.5)[:, None], -right, right)

    part = autoattack.Part(lambda model, *_: Half(model), lambda settings: 5)
    monkeypatch.setattr(autoattack, "PARTS", {"first": part, "second": part})
    x[:] = 0.1
    settings = AutoAttackSettings(0.1, ("first", "second"))
    run_autoattack(
        Model(), x, y, noise=Noise(0, tuple(range(6))), settings=settings, told=lambda *said: heard.append(said)
    )
    shares, sure = zip(*heard, strict=True)
    assert list(shares) == sorted(shares) and shares[0] == pytest.approx(3 / 60)
    assert sure[:10] == (False,) * 10 and all(sure[10:])
    assert shares[9] == pytest.approx(30 / 60) and shares[10] == pytest.approx(30 / 45)  # three of six stand
    assert shares[-1] == pytest.approx(1)


def test_a_long_batch_says_how_far_it_is(clock, monkeypatch):
    monkeypatch.setattr(pace, "WITHIN", 0.2)
    heard = []
    model = Timed(el.load_model("digits-pgd"), clock)
    el.profile(
        model, el.load_data("digits", n=40), ["pgd,steps=100"], eps=0.2, norm="l2", ladder=False, listener=heard.append
    )
    assert len(heard) > 6  # two batches, natural's and PGD's
    for step in heard[1:-1]:
        assert step.left == pytest.approx((step.total - step.done) * SECOND, rel=0.2, abs=0.05)


def test_the_pace_is_of_this_sitting_alone(clock):
    pace = Pace()
    assert pace.left(80, 100) is None
    clock.now += 10
    assert pace.left(85, 100) == pytest.approx(30)


def test_lines_come_after_ten_seconds_and_then_every_minute(clock):
    line, said = NowAndThen(), []
    for second in range(200):
        clock.now = second
        said += [second] * line.due()
    assert said == [10, 70, 130, 190]
    assert all(b - a == pace.EVERY for a, b in pairwise(said))


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Progress("pgd", 5, 10, left=90.0), "ETA 90 s"),
        (Progress("pgd", 5, 10, left=9000.0, afterwards=("autoattack",)), "ETA 2 h 30 min, then autoattack"),
        (Progress("autoattack", 5, 10, left=0.0, afterwards=("autoattack", "square")), "then square"),
        (Progress("score", 0, 10, unit="images"), ""),
    ],
)
def test_what_is_not_known_is_not_said(step, text):
    assert Course().of(step)[1] == text


def test_work_of_another_size_has_a_pace_of_its_own(clock):
    course = Course()
    for done, total in ((1, 1000), (999, 1000), (0, 50)):
        clock.now += 10
        course.of(Progress("score", done, total, unit="images"))
    clock.now += 10
    assert course.of(Progress("score", 10, 50, unit="images")) == ("1 images/s", "ETA 40 s")


@pytest.mark.parametrize("words", [("doctor", "digits-standard", "--n", 48), ("score", "made")])
def test_other_commands_say_how_far_they_are(words, run, monkeypatch):
    monkeypatch.setattr("energylens.cli.progress.EVERY", 0)
    el.generate("digits-pgd", n=10, steps=0, out="made")
    _, _, said = run(
        words[0], *(next(Path("made").glob("*/generate-*")) if word == "made" else word for word in words[1:])
    )
    assert "ETA" in said and "100 %" in said
    if words[0] == "score":
        assert "real images" in said and "images/s" in said


def test_a_run_says_inside_an_epoch_how_long_it_will_take(capsys, clock):
    from energylens.cli.training_progress import training_progress
    from energylens.training.loop import Progress as Training

    row = dict.fromkeys(("loss", "delta_marginal", "abnormal_share", "train_adv_accuracy"), 0.5)
    with training_progress("mine") as listen:
        for step in range(1, 401):
            clock.now += 1
            listen(Training(-(-step // 100), step, 800, row if step % 50 == 0 else {}, finished=step % 100 == 0))
    lines = capsys.readouterr().err.splitlines()
    inside = [line for line in lines if "of all steps" in line]
    assert len(inside) == 7 and len(lines) == 7 + 4  # at 10 s and then a minute apart; at the end of an epoch
    assert inside[0] == "mine: epoch 1, 1.2 % of all steps, ETA 13 min"
    assert lines[-1].startswith("mine: epoch 4 loss 0.500") and lines[-1].endswith("ETA 7 min")


def test_a_long_epoch_is_heard_of(tmp_path, monkeypatch):
    from energylens.training import loop
    from energylens.training.recipes import settings_of

    monkeypatch.setattr(loop, "WITHIN", 0.0)
    heard = []
    settings = settings_of(
        "digits", per_class=30, batch_size=16, epochs=1, eval_samples=16, eval_steps=1, method="fgsm", eps_ramp=0.0
    )
    loop.train(settings, out=tmp_path, listener=heard.append)
    between = [step for step in heard if not step.row and not step.message]
    assert len({step.done for step in between}) == heard[-1].total  # every step, and while the splits are judged
    assert len(between) > heard[-1].total


def test_chains_under_way_are_heard_of(clock, monkeypatch):
    from energylens.generation import generate

    monkeypatch.setattr(generate, "WITHIN", 0.2)
    heard = []
    el.generate(Timed(el.load_model("digits-pgd"), clock), "digits", n=20, steps=100, listener=heard.append)
    assert len(heard) > 3 and heard[-1].done == heard[-1].total == 20 * 101
    assert [step.done for step in heard] == sorted(step.done for step in heard)
