import gzip
import hashlib
import io
import pickle
import re
import shutil
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch
from torchvision.datasets import CIFAR100, SVHN

from energylens.data import load_data
from energylens.errors import RunError


@pytest.fixture(autouse=True)
def timeouts(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """No test reaches the network; the socket timeouts under which one tried to."""
    seen: list[float | None] = []

    def refuse(*args: object, **kwargs: object) -> None:
        seen.append(socket.getdefaulttimeout())
        raise URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return seen


def test_cifar10(cifar10_root: Path) -> None:
    started = time.perf_counter()
    cifar = load_data("cifar10", data_root=cifar10_root)
    assert time.perf_counter() - started < 5  # 0.6 s alone; the rest is for a busy machine
    assert len(cifar) == 10_000 and cifar.image_shape == (3, 32, 32)
    assert cifar.labels.bincount().tolist() == [1000] * 10
    assert cifar.labels[:5].tolist() == [3, 8, 8, 0, 6]
    assert [cifar.classes[y] for y in cifar.labels[:3]] == ["cat", "ship", "ship"]
    x, _ = cifar.batch(0, 1)
    assert (x[0, :, 0, 0] * 255).round().tolist() == [158, 112, 49]  # R, G, B of the cat's first pixel
    assert cifar.source.pixels.dtype == torch.uint8


def test_choices_of_cifar10(cifar10_root: Path) -> None:
    balanced = load_data("cifar10", n=25, choose="balanced", data_root=cifar10_root)
    assert balanced.labels.bincount().tolist() == [3] * 5 + [2] * 5
    few, many = (load_data("cifar10", n=n, choose="random", seed=1, data_root=cifar10_root) for n in (10, 20))
    assert set(few.indices.tolist()) < set(many.indices.tolist())
    assert few.digest == balanced.digest


def test_the_environment_names_the_root(cifar10_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENERGYLENS_DATA", str(cifar10_root))
    assert len(load_data("cifar10", n=3)) == 3
    with pytest.raises(RunError, match=re.escape(str(tmp_path))):  # the argument overrides it
        load_data("cifar10", n=3, data_root=tmp_path)


def test_mnist(mnist_root: Path) -> None:
    mnist = load_data("mnist", data_root=mnist_root)
    assert len(mnist) == 10_000 and mnist.image_shape == (1, 28, 28)
    assert mnist.classes == tuple("0123456789")
    assert mnist.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert mnist.batch(0, 100)[0].max() == 1
    assert len(load_data("mnist", split="train", data_root=mnist_root)) == 60_000


@pytest.mark.parametrize("folder", ["MNIST/raw", "MNIST", "."])
@pytest.mark.parametrize("form", ["{}.gz", "{}", "dotted"])
def test_mnist_as_published_packed_or_not(mnist_root: Path, tmp_path: Path, folder: str, form: str) -> None:
    raw = mnist_root / "MNIST" / "raw"
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        whole = (raw / name).read_bytes()
        called = name.replace("-idx", ".idx") if form == "dotted" else form.format(name)
        (tmp_path / folder / called).write_bytes(gzip.compress(whole, 1) if called.endswith(".gz") else whole)
    found, expected = (load_data("mnist", n=50, data_root=root) for root in (tmp_path, mnist_root))
    assert torch.equal(found.images, expected.images) and found.digest == expected.digest


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100", "svhn"])
def test_a_failed_load_leaves_no_folder_behind(name: str, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    for root in (tmp_path, tmp_path / "new" / "root"):
        with pytest.raises(RunError):
            load_data(name, data_root=root)
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


@pytest.mark.parametrize(
    ("name", "looked_for"),
    [
        ("mnist", "; missing: t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"),
        ("cifar10", "cifar-10-batches-py; missing: data_batch_1"),
        ("cifar100", "cifar-100-python; missing: train, test, meta"),
        ("svhn", "; missing: test_32x32.mat"),
    ],
)
def test_offline_the_error_names_the_files_and_the_command(
    name: str, looked_for: str, tmp_path: Path, timeouts: list[float | None]
) -> None:
    with pytest.raises(RunError) as caught:
        load_data(name, data_root=tmp_path)
    message = str(caught.value)
    assert looked_for in message and str(tmp_path) in message and "no network here" in message
    assert f"python -c 'from torchvision.datasets import {name.upper()}" in message
    assert "--data-root (ENERGYLENS_DATA)" in message and "\n" not in message
    assert timeouts and None not in timeouts  # a silent server cannot hang us,
    assert socket.getdefaulttimeout() is None  # and the caller's sockets are as before


def test_half_a_cifar10_is_named(cifar10_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    shutil.copy(cifar10_root / "cifar-10-batches-py/batches.meta", folder)
    whole = (cifar10_root / "cifar-10-batches-py/test_batch").read_bytes()
    (folder / "test_batch").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=r"missing: data_batch_1, .*data_batch_5; corrupt \(.*\): test_batch\. "):
        load_data("cifar10", data_root=tmp_path)


@pytest.mark.parametrize("spoil", [lambda whole: whole[: len(whole) // 2], lambda whole: whole[:-1] + b"\1"])
def test_a_spoilt_mnist_file_is_named(mnist_root: Path, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (mnist_root / "MNIST" / "raw").glob("*ubyte"):
        (raw / file.name).symlink_to(file)
    images = raw / "t10k-images-idx3-ubyte"
    whole = images.read_bytes()
    images.unlink()
    images.write_bytes(spoil(whole))
    with pytest.raises(RunError, match=r"; corrupt \(.*\): t10k-images-idx3-ubyte\. "):
        load_data("mnist", data_root=tmp_path)


def test_a_root_that_cannot_be_written_is_an_error_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"missing: test_32x32\.mat"):
        load_data("svhn", data_root=tmp_path / "file")


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_a_root_that_may_not_be_read_is_an_error_with_a_message(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_in, is_file = tmp_path, Path.is_file

    def refused(path: Path) -> bool:
        if path.is_relative_to(looked_in):
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)
    with pytest.raises(RunError) as caught:
        load_data(name, data_root=tmp_path)
    message = str(caught.value)
    assert "Permission denied" in message and str(tmp_path) in message and "\n" not in message
    assert "--data-root (ENERGYLENS_DATA)" in message


def test_cifar100_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    data = np.arange(2 * 3072, dtype=np.int64).reshape(2, 3072).astype(np.uint8)
    contents = {
        "train": {"data": data[:1], "fine_labels": [5]},
        "test": {"data": data, "fine_labels": [99, 1]},
        "meta": {"fine_label_names": [f"class {label}" for label in range(100)]},
    }
    packed = {name: pickle.dumps(content) for name, content in contents.items()}
    for name, content in packed.items():
        (folder / name).write_bytes(content)
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in packed.items()}
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", CIFAR100.meta | {"md5": md5["meta"]})

    cifar = load_data("cifar100", data_root=tmp_path)
    assert cifar.labels.tolist() == [99, 1] and cifar.classes[99] == "class 99"
    assert torch.equal(cifar.images, torch.from_numpy(data).reshape(2, 3, 32, 32) / 255)


HOUSE_NUMBERS = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)


@pytest.fixture
def svhn_file(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """test_32x32.mat with four house numbers, which torchvision now takes for the whole split."""
    packed = io.BytesIO()
    scipy.io.savemat(packed, {"X": HOUSE_NUMBERS, "y": np.array([[1], [10], [3], [9]], dtype=np.uint8)})
    url, file, _ = SVHN.split_list["test"]
    md5 = hashlib.md5(packed.getvalue()).hexdigest()
    monkeypatch.setattr(SVHN, "split_list", SVHN.split_list | {"test": [url, file, md5]})
    return packed.getvalue()


def test_svhn_layout(tmp_path: Path, svhn_file: bytes) -> None:
    (tmp_path / "test_32x32.mat").write_bytes(svhn_file)
    svhn = load_data("svhn", data_root=tmp_path)
    assert svhn.labels.tolist() == [1, 0, 3, 9]  # the files call the digit 0 class 10
    assert torch.equal(svhn.images, torch.from_numpy(HOUSE_NUMBERS.transpose(3, 2, 0, 1).copy()) / 255)


def test_a_download_cut_short_is_refused_and_mended_by_the_next(
    tmp_path: Path, svhn_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Response(io.BytesIO):
        url = None
        length = len(svhn_file)

    monkeypatch.setattr(urllib.request, "urlopen", lambda request: Response(svhn_file[:1000]))
    with pytest.raises(RunError, match=r"corrupt \(.*\): test_32x32\.mat\."):
        load_data("svhn", data_root=tmp_path)
    monkeypatch.setattr(urllib.request, "urlopen", lambda request: Response(svhn_file))
    assert len(load_data("svhn", data_root=tmp_path)) == 4


def test_the_earlier_name_of_the_data_root_is_still_taken(cifar10_root):
    assert (
        load_data("cifar10", n=2, root=cifar10_root).digest == load_data("cifar10", n=2, data_root=cifar10_root).digest
    )
