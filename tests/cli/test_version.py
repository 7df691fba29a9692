"""``energylens --version --verbose``: what a report of a fault needs, and nothing that is nobody's business."""

import getpass
import platform
from importlib import metadata
from pathlib import Path

import pytest
import torch

from energylens.attacks.backends import BACKENDS
from energylens.cli import environment

VERSION = metadata.version("energylens")


def facts(out):
    return {name: fact.strip() for name, _, fact in (line.partition(":") for line in out.splitlines())}


def test_the_version_alone_is_one_line(run):
    assert run("--version") == (0, f"energylens {VERSION}\n", "")


@pytest.mark.parametrize("words", [("--version", "--verbose"), ("--verbose", "--version")])
def test_a_report_of_a_fault_can_be_begun_with_it(words, run):
    status, out, _ = run(*words)
    told = facts(out)
    assert status == 0 and told["energylens"] == VERSION and told["python"].startswith(platform.python_version())
    for name in ("torch", "torchvision", "numpy", "pandas", "robustbench", "pyautoattack", "click", "rich"):
        assert told[name] == metadata.version(name), name
    assert told["backends"] == ", ".join(BACKENDS)
    assert told["devices"].startswith("cpu")
    assert all(torch.cuda.get_device_name(i) in told["devices"] for i in range(torch.cuda.device_count()))
    assert {"extra diffusion", "extra scores", "extra transformers"} <= set(told)
    assert "extra test" not in told


def test_what_is_missing_is_called_missing(run, monkeypatch):
    found = metadata.version

    def version(name):
        if name == "diffusers":
            raise metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(environment.metadata, "version", version)
    _, out, _ = run("--version", "--verbose")
    assert facts(out)["extra diffusion"] == "diffusers missing"


def test_no_path_and_no_name_is_told(run, monkeypatch):
    monkeypatch.setenv("ENERGYLENS_DATA", str(Path.home() / "secret"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    _, out, _ = run("--version", "--verbose")
    assert "ENERGYLENS_DATA=..., OMP_NUM_THREADS=1" in facts(out)["environment"]
    assert "secret" not in out and platform.node() not in out
    assert str(Path.home()) not in out and f"/{getpass.getuser()}" not in out
