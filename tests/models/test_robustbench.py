"""RobustBench's models load from its own layout, and what is missing or wrong is said without a network."""

import os
import warnings
from pathlib import Path
from typing import IO, Any

import pytest
import torch

import energylens.models.robustbench as adapter
from energylens.errors import InputError, RunError
from energylens.models import load_model, weights_digest
from energylens.models.zoo import ZooRow, resolve


def random_state(row: ZooRow) -> dict[str, torch.Tensor]:
    """The state dict of a RobustBench model with random weights."""
    robustbench = adapter.import_robustbench()
    models = robustbench.all_models[robustbench.BenchmarkDataset(row.dataset)]
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = models[robustbench.ThreatModel(row.threat_model)][row.name]["model"]().state_dict()
    return state


def answering(content: bytes) -> Any:
    """A downloader that gets this content, whatever the URL."""

    def download(url: str, out: IO[bytes]) -> None:
        out.write(content)

    return download


def unreachable(url: str, out: IO[bytes]) -> None:
    out.write(b"PK\x03\x04 the first bytes")
    raise OSError("drive.google.com could not be reached")


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def carmon_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder in RobustBench's layout with a random Carmon2019Unlabeled, saved from DataParallel."""
    folder = tmp_path_factory.mktemp("models")
    path = folder / "cifar10" / "Linf" / "Carmon2019Unlabeled.pt"
    path.parent.mkdir(parents=True)
    state = random_state(resolve("Carmon2019"))
    torch.save({"state_dict": {"module." + key: value for key, value in state.items()}, "epoch": 200}, path)
    return folder


def test_a_prefix_loads_from_the_model_folder(carmon_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_download", unreachable)
    model = load_model("Carmon2019", model_dir=carmon_dir)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        logits = model(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 10) and logits.isfinite().all()
    card = model.card
    assert (card.name, card.source, card.dataset) == ("Carmon2019Unlabeled", "robustbench", "cifar10")
    assert (card.threat_model, card.eps, card.clean, card.autoattack) == ("Linf", 8 / 255, 89.69, 59.53)
    assert card.origin == str(carmon_dir / "cifar10/Linf/Carmon2019Unlabeled.pt")
    assert card.weights == weights_digest(model)


def test_our_wide_resnet_reads_the_same_file(carmon_dir: Path) -> None:
    path = carmon_dir / "cifar10/Linf/Carmon2019Unlabeled.pt"
    ours, theirs = load_model(str(path), arch="wrn-28-10"), load_model("Carmon2019", model_dir=carmon_dir)
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_missing_weights_name_the_file_and_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_download", unreachable)
    with pytest.raises(RunError) as caught:
        load_model("Carmon2019", model_dir=tmp_path)
    told = str(caught.value)
    assert "drive.google.com could not be reached" in told
    assert "Download https://drive.google.com/uc?id=15tUx-gkZMYx7BfEOw1GY5OKC-jECIsPQ and put it at" in told
    assert str(tmp_path / "cifar10/Linf/Carmon2019Unlabeled.pt") in told
    assert leftovers(tmp_path) == []


def test_the_environment_names_the_model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_download", unreachable)
    monkeypatch.setenv("ENERGYLENS_MODELS", str(tmp_path / "here"))
    with pytest.raises(RunError, match=str(tmp_path / "here/cifar100/Linf/Rice2020Overfitting.pt")):
        load_model("Rice2020", dataset="cifar100")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<!DOCTYPE html><title>Quota exceeded</title>", "an HTML page"),
        (b"", "empty"),
        (b"PK\x03\x04....", "truncated"),
    ],
)
def test_a_bad_download_never_gets_the_name(
    content: bytes, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_download", answering(content))
    with pytest.raises(RunError, match=f"what came is .*{told}.*Download https://drive"):
        load_model("Carmon2019", model_dir=tmp_path)
    assert leftovers(tmp_path) == []


def test_a_good_download_gets_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "source.pt")
    monkeypatch.setattr(adapter, "_download", answering((tmp_path / "source.pt").read_bytes()))
    file = adapter.WeightsFile(tmp_path / "deep" / "er" / "Name.pt", "https://example.org/Name.pt")
    adapter.fetch(file)
    assert leftovers(tmp_path / "deep") == [file.path]
    assert file.path.read_bytes() == (tmp_path / "source.pt").read_bytes()


def test_a_page_that_lies_in_the_place_of_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cifar10" / "Linf" / "Standard.pt"
    path.parent.mkdir(parents=True)
    path.write_text("<html>")
    with pytest.raises(InputError, match="an HTML page"):
        load_model("Standard", model_dir=tmp_path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cifar10" / "L2" / "Sehwag2021Proxy_R18.pt"
    path.parent.mkdir(parents=True)
    torch.save({"conv1.weight": torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(InputError, match=r"does not fit Sehwag2021Proxy_R18: Missing key.*bn1.weight"):
        load_model("Sehwag2021Proxy_R18", threat_model="L2", model_dir=tmp_path)


def test_code_in_robustbenchs_file_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    path = tmp_path / "cifar10" / "L2" / "Sehwag2021Proxy_R18.pt"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": {}, "extra": Bomb()}, path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(InputError, match=r"Sehwag2021Proxy_R18.pt is a pickle that asks to run \w+.mkdir"):
        load_model("Sehwag2021Proxy_R18", threat_model="L2", model_dir=tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_a_model_registered_with_timm_loads_from_the_same_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter.import_robustbench()
    import timm

    row = resolve("Debenedetti2022Light_XCiT-S12")
    (file,) = adapter.weights_files(row, tmp_path)
    assert file.path == tmp_path / "cifar10/Linf/Debenedetti2022Light_XCiT-S12.pt"
    assert file.url.startswith("https://github.com/RobustBench/robustbench/releases/")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inner = timm.create_model("debenedetti2022light_xcit_s12_cifar10_linf").model
    file.path.parent.mkdir(parents=True)
    torch.save(inner.state_dict(), file.path)
    monkeypatch.setattr(adapter, "_download", unreachable)
    before = torch.hub.get_dir()
    model = load_model(row.name, model_dir=tmp_path)
    assert torch.hub.get_dir() == before
    assert torch.equal(model.state_dict()["model.head.weight"], inner.state_dict()["head.weight"])


@pytest.mark.parametrize(
    ("name", "files", "server"),
    [
        ("Chen2020Adversarial", [f"cifar10/Linf/Chen2020Adversarial.pt_m{i}.pt" for i in range(3)], "drive.google.com"),
        ("Standard_R50", ["imagenet/Linf/Standard_R50.pt"], "download.pytorch.org"),
        ("AlexNet", ["imagenet/corruptions/AlexNet.pt"], "download.pytorch.org"),
    ],
)
def test_every_kind_of_weights_has_its_place_and_source(
    name: str, files: list[str], server: str, tmp_path: Path
) -> None:
    found = adapter.weights_files(resolve(name), tmp_path)
    assert [file.path for file in found] == [tmp_path / file for file in files]
    assert all(server in file.url for file in found)


def test_every_robustbench_row_knows_where_its_weights_come_from(tmp_path: Path) -> None:
    from energylens.models.zoo import rows

    for row in rows():
        if row.source == "robustbench":
            assert all(file.url.startswith("https://") for file in adapter.weights_files(row, tmp_path)), row


def test_a_download_is_given_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    asked: list[float] = []

    def send(self: Any, request: Any, **settings: Any) -> None:
        asked.append(settings["timeout"])
        raise requests.ConnectionError

    monkeypatch.setattr(requests.Session, "send", send)
    with pytest.raises(OSError, match=r"drive.google.com could not be reached"):
        adapter._download("https://drive.google.com/uc?id=x", IO())
    assert asked and all(0 < seconds <= 60 for seconds in asked)
    assert requests.Session.send is send
