"""A cache uses runs that are there, trains those that are not, and keeps what diverged where it is asked to."""

import time
from concurrent.futures import Future

import pytest

from energylens.figures.run_cache import RunCache, _Course
from energylens.training.loop import DivergenceError
from energylens.training.recipes import settings_of

TINY = {"per_class": 20, "batch_size": 32, "epochs": 2, "eps_ramp": 0.0, "eval_samples": 16, "eval_steps": 1}


def test_runs_come_in_order_and_only_once(tmp_path):
    said = []
    cache = RunCache(runs=tmp_path, tell=said.append)
    wanted = [settings_of("digits", method=method, **TINY) for method in ("standard", "fgsm")]
    runs = cache.train(wanted)
    assert [run.settings["method"] for run in runs] == ["standard", "fgsm"]
    assert cache.used == [run.path for run in runs]
    before = [(run.path / "history.parquet").stat().st_mtime_ns for run in runs]
    again = RunCache(runs=tmp_path).train(wanted[::-1])
    assert [(run.path / "history.parquet").stat().st_mtime_ns for run in again] == before[::-1]
    assert len(said) == 2


def test_what_diverges_is_an_error_or_a_short_run(tmp_path):
    steep = {"method": "fgsm", "optimizer": "sgd", "lr": 300.0, "schedule": "cyclic", "peak": 0.9, "epochs": 8}
    wanted = [settings_of("digits", **{**TINY, **steep})]
    cache = RunCache(runs=tmp_path)
    with pytest.raises(DivergenceError, match="the loss is"):
        cache.train(wanted)
    (run,) = cache.train(wanted, diverged_too=True)
    assert 0 < len(run.history) < 8
    assert not run.finished


def test_the_time_left_of_runs_side_by_side_counts_what_was_trained_now(monkeypatch):
    """Of three runs the second was half done when it went on, and the third has not begun."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    course, futures = _Course(), [Future(), Future(), Future()]
    assert course.left(futures, [0.0, 0.0, 0.0]) is None
    assert course.left(futures, [0.1, 0.5, 0.0]) is None
    now[0] = 10.0
    assert course.left(futures, [0.2, 0.6, 0.0]) == pytest.approx((0.8 + 0.4 + 1) / 0.2 * 10)
    futures[0].set_result("there")  # of no time: its listener never heard that it was done
    assert course.left(futures, [0.2, 0.6, 0.0]) == pytest.approx((0.4 + 1) / 0.2 * 10)
