"""Architectures have the public checkpoints' keys and reproduce what was measured with them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from energylens.errors import InputError
from energylens.models import load_model
from energylens.models.architectures import ARCHITECTURES, Normalize, architecture, normalized
from energylens.models.architectures.residual import PadShortcut
from energylens.models.robustbench import import_robustbench

IMAGES = {"mnist": 28, "digits": 8}  # by how the name begins; 32 for the others
PARAMETERS = {
    "resnet18": 11_173_962,
    "preactresnet18": 11_172_170,
    "wrn-28-10": 36_479_194,
    "wrn-34-10": 46_160_474,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet4b": 123_734,
    "mnist-smallcnn": 312_202,
    "cifar-smallcnn": 269_594,
    "digits-cnn": 47_530,
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_maps_images_to_logits(name: str) -> None:
    row = ARCHITECTURES[name]
    module = row.build(num_classes=7).eval()
    size = IMAGES.get(name.partition("-")[0], 32)
    with torch.no_grad():
        logits = module(torch.rand(2, row.in_channels, size, size))
    assert logits.shape == (2, 7)
    told = row.settings_of(module.state_dict())
    assert (told["num_classes"], told["in_channels"]) == (7, row.in_channels)


@pytest.mark.parametrize("name", PARAMETERS)
def test_an_architecture_has_as_many_parameters_as_the_public_one(name: str) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in ARCHITECTURES[name].build().parameters()) == PARAMETERS[name]


def test_sizes_are_read_off_the_weights() -> None:
    row = ARCHITECTURES["preactresnet18"]
    state = row.build(num_classes=100, in_channels=1, width=8).state_dict()
    assert row.settings_of(state) == {"num_classes": 100, "in_channels": 1, "width": 8}
    row.build(**row.settings_of(state)).load_state_dict(state)


@pytest.mark.parametrize("sizes", [{"num_classes": 0}, {"in_channels": -1}, {"width": "wide"}])
def test_an_impossible_size_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expected a positive integer"):
        ARCHITECTURES["resnet18"].build(**sizes)


def test_an_unknown_architecture_is_answered_with_the_list() -> None:
    with pytest.raises(InputError, match=r"unknown architecture 'ResNet-18'.*mean resnet18.*: .*resnet18, preact"):
        architecture("ResNet-18")


# name here, name in RobustBench, its threat model: the same weights must give the same logits
TWINS = [("wrn-28-10", "Standard", "Linf"), ("preactresnet18", "Rice2020Overfitting", "L2")]


@pytest.mark.parametrize(("name", "twin", "threat_model"), TWINS)
def test_logits_equal_robustbenchs_on_the_same_weights(name: str, twin: str, threat_model: str) -> None:
    robustbench = import_robustbench()
    theirs = robustbench.all_models[robustbench.BenchmarkDataset.cifar_10][robustbench.ThreatModel(threat_model)][twin]
    reference = shaken(theirs["model"]())
    state = reference.state_dict()
    mean, std = state.pop("mu", None), state.pop("sigma", None)
    module = ARCHITECTURES[name].build()
    module.load_state_dict(state)
    if mean is not None and std is not None:
        module = normalized(module, mean.flatten().tolist(), std.flatten().tolist())
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(module.eval()(x), reference.eval()(x), rtol=1e-4, atol=1e-4)


def shaken(module: nn.Module) -> nn.Module:
    """The module with batch-norm statistics that are not the initial zeros and ones, so that a swapped norm shows."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for value in (layer.running_mean, layer.running_var, layer.weight, layer.bias):
                assert value is not None
                value.data.uniform_(0.5, 1.5)
    return module


def test_option_a_subsamples_and_pads_with_zeros() -> None:
    x = torch.arange(2 * 4 * 4.0).view(1, 2, 4, 4)
    out = PadShortcut(2, 4, 2)(x)
    assert out.shape == (1, 4, 2, 2)
    assert torch.equal(out[:, 1:3], x[:, :, ::2, ::2])
    assert out[:, [0, 3]].abs().sum() == 0


def test_normalize_is_a_layer_that_does_not_train() -> None:
    layer = Normalize([0.5, 0.25], [0.5, 0.25])
    assert list(layer.parameters()) == []
    assert torch.equal(layer(torch.ones(1, 2, 1, 1)).flatten(), torch.tensor([1.0, 3.0]))
    assert set(normalized(nn.Identity(), [0.5], [0.5]).state_dict()) == {"normalize.mean", "normalize.std"}


@pytest.mark.parametrize(
    ("mean", "std"), [([0.5], None), ([0.5], [0.5, 0.5]), ([0.5], [0.0]), ([], []), ([123.0], [58.0])]
)
def test_bad_normalisation_is_refused(mean: list[float], std: list[float] | None) -> None:
    with pytest.raises(InputError, match="mean"):
        normalized(nn.Identity(), mean, std)


@pytest.fixture(scope="module")
def cifar10_test(cifar10_root: Path) -> tuple[Tensor, Tensor]:
    """The 10,000 test images (N, 3, 32, 32) in [0, 1] and their labels."""
    from torchvision.datasets import CIFAR10

    data = CIFAR10(cifar10_root, train=False)
    return torch.from_numpy(data.data).permute(0, 3, 1, 2) / 255, torch.tensor(data.targets)


def measure(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float, float]:
    """Accuracy in %, mean E(x) = -logsumexp f(x), mean E(x, y) = -f(x)[y]."""
    model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)  # faster
    with torch.inference_mode():
        logits = torch.cat([model(batch) for batch in x.split(100)]).double()
    accuracy = 100 * (logits.argmax(1) == y).double().mean()
    return float(accuracy), float(-logits.logsumexp(1).mean()), float(-logits.gather(1, y[:, None]).mean())


def test_resnet20_reproduces_its_accuracy_and_energies(
    shared_checkpoints: Path, cifar10_test: tuple[Tensor, Tensor]
) -> None:
    model = load_model(
        str(shared_checkpoints / "akamaster_resnet20-12fca82f.th"),
        arch="resnet20",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    accuracy, marginal, joint = measure(model, *cifar10_test)
    assert accuracy == pytest.approx(91.73, abs=0.03)
    assert marginal == pytest.approx(-19.241, abs=2e-3)
    assert joint == pytest.approx(-18.868, abs=2e-3)


def test_resnet4b_reproduces_its_accuracy_and_energy(
    shared_checkpoints: Path, cifar10_test: tuple[Tensor, Tensor]
) -> None:
    model = load_model(
        str(shared_checkpoints / "resnet4b_adv2.pth"),
        arch="resnet4b",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2471, 0.2435, 0.2616),
    )
    accuracy, marginal, _ = measure(model, *cifar10_test)
    assert accuracy == pytest.approx(77.20, abs=0.03)
    assert marginal == pytest.approx(-5.801, abs=1e-3)


def test_smallcnn_reproduces_its_accuracy(shared_checkpoints: Path, mnist_root: Path) -> None:
    from torchvision.datasets import MNIST

    data = MNIST(mnist_root, train=False)
    x, y = torch.from_numpy(np.asarray(data.data, dtype="float32"))[:, None] / 255, data.targets
    model = load_model(str(shared_checkpoints / "trades_mnist_smallcnn.pt"), arch="mnist-smallcnn")
    accuracy, _, _ = measure(model, x, y)
    assert accuracy == pytest.approx(99.48, abs=0.015)


def test_the_wheels_resnet18_classifies_cifar10(cifar10_test: tuple[Tensor, Tensor]) -> None:
    x, y = cifar10_test
    accuracy, _, _ = measure(load_model("autoattack-resnet18"), x[:500], y[:500])
    assert 92.0 <= accuracy <= 97.0  # 94.4 on all 10,000; the standard error of 500 is 1.0
