"""Every kind of bad weights file is told apart, code in a file never runs, and wrappings are opened."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from energylens.errors import InputError
from energylens.models import load_model, weights_digest
from energylens.models.architectures import ARCHITECTURES
from energylens.models.checkpoints import fit, network_part, unpickling, weights_in

DIGITS = ARCHITECTURES["digits-cnn"]


class Bomb:
    """Unpickling it creates the file it names."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.mark),)


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return DIGITS.build().state_dict()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    return written(path, content[: int(share * len(content))])


def zipped(path: Path) -> Path:
    torch.save(state(), path)
    return path


def legacy(path: Path) -> Path:
    torch.save(state(), path, _use_new_zipfile_serialization=False)
    return path


def safetensors(path: Path) -> Path:
    save_file(state(), path)
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "absent": (lambda path: path, "is not a file"),
    "empty": (lambda path: written(path, b""), "is empty"),
    "html": (lambda path: written(path, b"<!DOCTYPE html><html><title>Quota exceeded"), "an HTML page"),
    "html, indented, lower": (lambda path: written(path, b"\n\r\n  <html>\n<head>"), "an HTML page"),
    "html, byte order mark": (lambda path: written(path, b"\xef\xbb\xbf<!doctype HTML>"), "an HTML page"),
    "git lfs": (lambda path: written(path, b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "tar": (lambda path: written(path, bytes(257) + b"ustar\x0000" + bytes(300)), "a tar archive"),
    "text": (
        lambda path: written(path, b"hello, world, I am not weights"),
        "not a checkpoint .it begins with b'hello, w'",
    ),
    "noise": (lambda path: written(path, b"\x00\x01\x02\x03" * 100), "not a checkpoint"),
    "truncated zip": (lambda path: cut(zipped(path), 0.7), "truncated"),
    "truncated legacy pickle": (lambda path: cut(legacy(path), 0.7), "truncated or damaged"),
    "legacy pickle of 20 bytes": (lambda path: written(path, legacy(path).read_bytes()[:20]), "truncated or damaged"),
    "truncated safetensors": (lambda path: cut(safetensors(path), 0.7), "truncated"),
    "safetensors cut in its header": (lambda path: written(path, safetensors(path).read_bytes()[:60]), "truncated"),
    "safetensors with a tail": (lambda path: written(path, safetensors(path).read_bytes() + b"x"), "damaged"),
    "a zip of something else": (lambda path: written(path, b"PK\x03\x04" + b"\x00" * 40), "truncated"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_told_apart(kind: str, tmp_path: Path) -> None:
    make, told = BAD[kind]
    path = make(tmp_path / "weights.pt")
    with pytest.raises(InputError, match=told) as caught:
        load_model(str(path), arch="digits-cnn")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle"])
def test_code_in_a_pickle_never_runs(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, mark = tmp_path / "bomb.pt", tmp_path / "exploded"
    bomb = {"state_dict": state(), "extra": Bomb(mark)}
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(bomb["extra"]))
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=form == "zip")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # must not matter
    with pytest.raises(
        InputError, match=r"(asks to run \w+\.mkdir|holds more than tensors); nothing was run.*--trust-pickle"
    ):
        load_model(str(path), arch="digits-cnn")
    assert not mark.exists()
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"


def test_code_in_a_pickle_runs_when_trusted(tmp_path: Path) -> None:
    path, mark = tmp_path / "bomb.pt", tmp_path / "exploded"
    torch.save({"state_dict": state(), "extra": Bomb(mark)}, path)
    model = load_model(str(path), arch="digits-cnn", trust_pickle=True)
    assert mark.is_dir()
    assert model.card.weights == weights_digest(model)


def test_a_third_party_load_is_protected_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "exploded"
    torch.save(Bomb(mark), tmp_path / "bomb.pt")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with unpickling(trusted=False), pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "bomb.pt", weights_only=False)
    assert not mark.exists()


WRAPPINGS: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "bare": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3, "best": 0.9},
    "model_state_dict": lambda s: {"model_state_dict": s, "optimizer": {"lr": 0.1}},
    "model": lambda s: {"model": s},
    "net": lambda s: {"net": s, "acc": 91.0},
    "ema": lambda s: {"ema": s},
    "twice": lambda s: {"model": {"state_dict": s}},
    "the first name leads nowhere": lambda s: {"net": s, "model": "ResNet18", "state_dict": {"lr": 0.1}},
    "another name": lambda s: {"epoch": 3, "best": s, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
    "in an entry of another name": lambda s: {"trainer": {"optimizer": {0: {"step": torch.ones(1)}}, "ema": s}},
    "DataParallel": lambda s: {"module." + key: value for key, value in s.items()},
    "DataParallel, wrapped": lambda s: {"state_dict": {"module." + key: value for key, value in s.items()}},
    "torch.compile": lambda s: {"_orig_mod." + key: value for key, value in s.items()},
    "SWA": lambda s: {"n_averaged": torch.tensor(5), **{"module." + key: value for key, value in s.items()}},
    "in an attacker too": lambda s: {
        f"module.{place}{key}": value for place in ("model.", "attacker.model.") for key, value in s.items()
    },
    "compiled in parallel": lambda s: {"module._orig_mod.model." + key: value for key, value in s.items()},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrappings_are_opened(wrapping: str, tmp_path: Path) -> None:
    torch.save(WRAPPINGS[wrapping](state()), tmp_path / "w.pt")
    model = load_model(str(tmp_path / "w.pt"), arch="digits-cnn")
    found = model.state_dict()
    assert found.keys() == state().keys()
    assert all(torch.equal(found[key], value) for key, value in state().items())


def test_a_real_data_parallel_module_and_a_pickled_module() -> None:
    module = DIGITS.build()
    part, places = network_part(nn.DataParallel(module).state_dict(), ["conv1.weight", "fc2.weight"])
    assert part.keys() == module.state_dict().keys() and places == ("module.",)
    assert weights_in({"model": module}, where="").state.keys() == module.state_dict().keys()


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({"epoch": 3, "lr": 0.1}, "but the keys epoch, lr"),
        ([1, 2], "but list"),
        ({}, "holds no weights but an empty dict"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(held: Any, told: str, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "w.pt")
    with pytest.raises(InputError, match=told):
        load_model(str(tmp_path / "w.pt"), arch="digits-cnn")


def test_faults_of_keys_and_shapes_are_named() -> None:
    bad = state()
    del bad["conv1.weight"], bad["conv1.bias"], bad["conv2.bias"], bad["conv3.bias"], bad["fc1.bias"]
    bad["head.weight"] = torch.zeros(3)
    bad["fc2.bias"] = torch.zeros(11)
    with pytest.raises(InputError) as caught:
        fit(DIGITS.build(), bad, where="w.pt", into="digits-cnn")
    told = str(caught.value)
    assert (
        "w.pt does not fit digits-cnn: 5 missing (conv1.weight, conv1.bias, conv2.bias, conv3.bias, and 1 more)" in told
    )
    assert "1 unexpected (head.weight)" in told
    assert "1 of another shape (fc2.bias (11,) for (10,))" in told


def test_batch_counts_may_be_absent_and_unused_copies_are_dropped() -> None:
    module = ARCHITECTURES["preactresnet18"].build(width=4)
    old = {key: value for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert len(old) < len(module.state_dict())
    fit(module, old | {"sub_block1.layer.0.bn1.weight": torch.zeros(4)}, where="old.pt", into="preactresnet18")
