"""The house's own rules: arrows run one way, the code is clean and typed, importing costs nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "command",
    [
        ["-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"],
        ["-m", "ruff", "check", "."],
        ["-m", "ruff", "format", "--check", "."],
        ["-m", "mypy"],
    ],
    ids=["arrows", "lint", "format", "types"],
)
def test_house_style(command):
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_energylens_imports_neither_torch_nor_what_draws():
    code = "import sys, energylens; assert not {'torch', 'matplotlib', 'seaborn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_face_is_all_there():
    import energylens as el

    assert all(getattr(el, name) is not None for name in el.__all__)
    with pytest.raises(AttributeError):
        _ = el.nonsense


def test_no_machine_or_registry_in_any_file():
    words = ["/" + "work/", "index" + "-url", "/" + "root/"]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("no git checkout here")
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".json", ".csv", ""} and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not [word for word in words if word in text], name
