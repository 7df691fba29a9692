"""What is installed is one package: whoever has folders of the same names as our others keeps them."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EVERY_HELP = """
import sys
from energylens.cli import COMMANDS, main
assert "SITE" in sys.modules["energylens"].__file__.replace({site!r}, "SITE")
for name in COMMANDS:
    sys.argv = ["energylens", name, "--help"]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, name
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The wheel of this checkout, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def mine(tmp_path):
    """A user's folder, with packages of his own that are called as folders of this repository are."""
    for name in ("analyses", "figures", "tests", "benchmarks", "examples"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('the package of the user, not of energylens')")
    return tmp_path


def run(site, folder, *arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={"PYTHONPATH": str(site), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_wheel_holds_one_package(site):
    assert [path.name for path in site.iterdir() if not path.name.endswith(".dist-info")] == ["energylens"]


def test_the_wheel_says_that_it_has_types(site):
    assert (site / "energylens" / "py.typed").is_file()


def test_every_command_says_what_it_takes_beside_the_users_own_packages(site, mine):
    done = run(site, mine, "-c", EVERY_HELP.format(site=str(site)))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_histogram_is_drawn_beside_the_users_own_packages(site, mine):
    done = run(site, mine, "-m", "energylens", "histogram", "--attack", "fgsm", "--n", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(mine.rglob("*.png"))
