"""Real data and weights for the tests: from the environment, else from a shared/data folder above the checkout."""

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch comes: processes of several threads each slow each other down
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from energylens.cli import main

collect_ignore = ["mutations"]  # it runs tests, it has none

CHECKOUT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ("trades_mnist_smallcnn.pt", "akamaster_resnet20-12fca82f.th", "resnet4b_adv2.pth")


def _from_environment(variable: str, *files: str) -> Path | None:
    """The folder named by an environment variable, if it has all the files."""
    folder = Path(os.environ.get(variable) or os.devnull)
    return folder if all((folder / file).is_file() for file in files) else None


def _from_shared(*files: str) -> Path | None:
    """shared/data in the checkout or in a folder a few levels up, if it has all the files."""
    for parent in (CHECKOUT, *CHECKOUT.parents)[:4]:
        folder = parent / "shared" / "data"
        if all((folder / file).is_file() for file in files):
            return folder
    return None


@pytest.fixture(scope="session")
def cifar10_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torchvision root with the real CIFAR-10."""
    if root := _from_environment("ENERGYLENS_DATA", "cifar-10-batches-py/test_batch"):
        return root
    if (shared := _from_shared("cifar10/unpack.py")) is None:
        pytest.skip("no CIFAR-10: neither ENERGYLENS_DATA/cifar-10-batches-py nor ../shared/data/cifar10/unpack.py")
    root = tmp_path_factory.mktemp("cifar10")
    subprocess.run([sys.executable, shared / "cifar10/unpack.py", root], check=True, stdout=subprocess.DEVNULL)
    return root


@pytest.fixture(scope="session")
def mnist_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torchvision root with the real MNIST."""
    if root := _from_environment("ENERGYLENS_DATA", "MNIST/raw/t10k-images-idx3-ubyte"):
        return root
    if (shared := _from_shared("mnist/t10k-images-idx3-ubyte.gz")) is None:
        pytest.skip("no MNIST: neither ENERGYLENS_DATA/MNIST/raw nor ../shared/data/mnist/*.gz")
    root = tmp_path_factory.mktemp("mnist")
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in (shared / "mnist").glob("*.gz"):
        with gzip.open(archive) as packed, (raw / archive.stem).open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
    return root


@pytest.fixture(scope="session")
def shared_checkpoints() -> Path:
    """The folder with the three published checkpoints."""
    if folder := _from_environment("ENERGYLENS_MODELS", *CHECKPOINTS):
        return folder
    if (shared := _from_shared(*(f"checkpoints/{name}" for name in CHECKPOINTS))) is None:
        pytest.skip(f"no checkpoints: neither ENERGYLENS_MODELS nor ../shared/data/checkpoints has {CHECKPOINTS}")
    return shared / "checkpoints"


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Type a command in a fresh folder: ``run("profile", ...) -> (status, standard output, standard error)``."""
    monkeypatch.chdir(tmp_path)

    def typed(*words):
        monkeypatch.setattr(sys, "argv", ["energylens", *map(str, words)])
        try:
            main()
            status = 0
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return typed


def patched(source, hunks):
    """A file's text after a diff of it: what each hunk begins with must stand in the file once."""
    for hunk in re.split(r"^@@.*\n", hunks, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        before, after = ("".join(line[1:] or line for line in lines if line[0] not in sign) for sign in "+-")
        assert not source or source.count(before) == 1, f"the diff does not fit: {before}"
        source = source.replace(before, after) if before else after
    return source


@pytest.fixture
def commit(tmp_path):
    """Make a commit that a page shows: ``commit(diff, ...)`` changes a copy of the package and runs the tests it adds.

    All the files of the copy but those that the diffs change are links.
    """

    def commit(*diffs):
        shutil.copytree(CHECKOUT / "energylens", tmp_path / "energylens", copy_function=os.symlink)
        tests = []
        for diff in diffs:
            former, name, hunks = re.fullmatch(r"--- (\S+)\n\+\+\+ b/(\S+)\n(.*)", diff, re.DOTALL).groups()
            file = tmp_path / name
            text = patched("" if former == "/dev/null" else file.read_text(), hunks.removeprefix("@@\n"))
            file.unlink(missing_ok=True)  # the link, not what it leads to
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            tests += [name] if name.startswith("tests/") else []
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *tests]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
        )
        assert tests and done.returncode == 0, done.stdout + done.stderr

    return commit


@pytest.fixture(scope="session")
def one_step_only():
    """digits-standard behind an input layer that folds changes beyond half of eps back to nothing: a step of eps does
    nothing, several small ones stop half way. So a net answers that FGSM training has collapsed."""
    import torch
    from torch import nn

    import energylens as el
    from energylens.models.card import ModelCard, with_card

    class Folded(nn.Module):
        def __init__(self, eps=0.028, gain=20.0):
            super().__init__()
            self.eps, self.gain, self.network = eps, gain, el.load_model("digits-standard")

        def forward(self, x):
            level = (16 * x.detach()).round() / 16  # the digits have 17 grey levels, more than 2 eps apart
            change = x - level
            folded = torch.where(change.abs() > self.eps / 2, change.sign() * self.eps - change, change)
            return self.network(level + self.gain * folded)

    card = ModelCard("folded", "module", "digits", threat_model="Linf", eps=0.028)
    return with_card(Folded().eval(), card)
