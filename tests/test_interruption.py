"""Ctrl-C and kill: every command ends within seconds, with one line, and its workers with it."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

SECONDS = 60  # to end in; a run that nobody stops goes on for hours
TRAIN = ("--per-class", "30", "--batch-size", "32", "--epochs", "100000", "--eval-samples", "16", "--eval-steps", "1")
CAMPAIGN = [
    "--set=dataset=digits", "--set=arch=digits-cnn", "--set=augment=none", "--set=epochs=100000", "--set=per_class=30",
    "--set=batch_size=32", "--set=eval_samples=20", "--set=amp=no", "--jobs", "2",
]  # fmt: skip
STUDY = """
from analyses import overfitting
from energylens.cli.program import run_program
from energylens.figures.studies import STUDIES, Study

tiny = {"per_class": 30, "batch_size": 32, "epochs": 100000, "eval_samples": 16, "eval_steps": 1}
STUDIES["co"] = Study("digits", {"FGSM": {"method": "fgsm", **tiny}}, (0, 1))
if __name__ == "__main__":
    run_program(overfitting.main)
"""


def commands(folder: Path) -> dict[str, list[str]]:
    """Command lines that train for hours; those of the analyses in two workers."""
    (folder / "study.py").write_text(STUDY)
    return {
        "train": ["-m", "energylens", "train", *TRAIN, "--out", "runs"],
        "campaign": ["-m", "analyses.campaign", "paper", *CAMPAIGN, "--out", "runs", "--results", "done"],
        "study": ["study.py", "co", "--jobs", "2", "--runs", "runs", "--results", "done"],
    }


@contextmanager
def started(words: list[str], folder: Path, workers: int):
    """The command in a session of its own, as in a terminal of its own, once its runs have finished an epoch.

    It hears Ctrl-C even where the tests themselves were started deaf to it, in the background of a script.
    """
    with subprocess.Popen(
        [sys.executable, *words], cwd=folder, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as one:  # fmt: skip
        try:
            while one.poll() is None and len(list(folder.glob("runs/**/state.pt"))) < workers:
                time.sleep(0.05)
            assert one.poll() is None, one.stderr.read()
            yield one
        finally:
            one.kill()


def alive(session: int) -> list[int]:
    """The processes of the session that have not ended."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = status.read_text().rpartition(") ")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(int(status.parent.name))
    return found


def wait_for_end(session: int) -> None:
    """Until no process of the session is left."""
    end = time.monotonic() + SECONDS
    while (left := alive(session)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left, f"{len(left)} processes go on"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="sees processes through /proc")
@pytest.mark.parametrize(("name", "workers"), [("train", 1), ("campaign", 2), ("study", 2)])
def test_ctrl_c_ends_everything_with_one_line(name, workers, tmp_path):
    with started(commands(tmp_path)[name], tmp_path, workers) as one:
        os.killpg(one.pid, signal.SIGINT)  # a terminal sends it to every process
        _, said = one.communicate(timeout=SECONDS)
        wait_for_end(one.pid)
    assert one.returncode == 130
    assert re.fullmatch(r"energylens: interrupted\. [^\n]+\n", said[said.index("energylens: int") :])
    assert "Traceback" not in said


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="sees processes through /proc")
def test_a_killed_parent_takes_its_workers_along(tmp_path):
    """The study's; tests/analyses/test_campaign.py kills a campaign."""
    with started(commands(tmp_path)["study"], tmp_path, 2) as one:
        assert len(alive(one.pid)) > 2
        one.kill()
        wait_for_end(one.pid)
