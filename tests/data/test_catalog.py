import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

import pytest

from energylens.data import DATA_SETS, data_set, load_data
from energylens.errors import InputError


def test_the_table_imports_nothing_heavy() -> None:
    probe = (
        "import sys, energylens.data.catalog\n"
        "print([name for name in ('torch', 'torchvision', 'sklearn', 'numpy') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_row_is_complete(name: str) -> None:
    row = data_set(name)
    assert row.name == name
    assert callable(resolve_name(row.loader))
    assert set(row.default_eps) == {"linf", "l2"}
    assert row.citation and row.splits == tuple(row.sizes)
    if row.files:
        assert all(row.files_of(split) for split in row.splits)
        command = row.fetch_command(Path("/some where/data"))
        assert command.startswith("python -c '") and '"/some where/data"' in command
        compile(row.fetch.format(root='"/data"'), name, "exec")


def test_default_radii() -> None:
    assert {name: (row.default_eps["linf"], row.default_eps["l2"]) for name, row in DATA_SETS.items()} == {
        "digits": (0.2, 0.5),
        "mnist": (0.3, 2.0),
        "cifar10": (8 / 255, 0.5),
        "cifar100": (8 / 255, 0.5),
        "svhn": (8 / 255, 0.5),
        "tinyimagenet": (8 / 255, 0.5),
        "imagenet": (4 / 255, 3.0),
    }


@pytest.mark.parametrize("name", ["cifar", "CIFAR-10", "cifar 10"])
def test_an_unknown_name_is_answered_with_close_matches_and_the_list(name: str) -> None:
    with pytest.raises(InputError, match=r"did you mean .*cifar10.* give one of digits, mnist, cifar10, .*imagenet"):
        data_set(name)


def test_a_name_close_to_nothing_is_answered_with_the_list_and_the_way_for_own_images() -> None:
    with pytest.raises(InputError, match=r"unknown data set 'zzz': give one of digits.*ImageFolder"):
        data_set("zzz")


def test_the_command_line_lists_names_sizes_and_files(run: Callable[..., tuple[int, str, str]]) -> None:
    status, output, _ = run("datasets")
    assert status == 0
    for row in DATA_SETS.values():
        assert row.name in output and all(f"{size:,}" in output for size in row.sizes.values())
    assert "MNIST/raw: train-images-idx3-ubyte" in output and "(or .gz)" in output and "val/<wnid>/*.JPEG" in output
    listed = json.loads(run("datasets", "--json")[1])
    assert [(row["name"], row["splits"]) for row in listed] == [(r.name, list(r.splits)) for r in DATA_SETS.values()]


def test_the_sizes_are_those_of_the_images(cifar10_root: Path, mnist_root: Path) -> None:
    for name, root in (("digits", None), ("cifar10", cifar10_root), ("mnist", mnist_root)):
        for split, size in data_set(name).sizes.items():
            assert len(load_data(name, split=split, data_root=root)) == size
