"""A user's own class with his own checkpoint, as training scripts write them: filled, or refused in one clear line."""

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import energylens as el
from energylens.errors import InputError, Note
from energylens.models import load_model
from energylens.models.architectures import ARCHITECTURES, Normalize
from energylens.models.users_network import parse_argument

MY_MODELS = """
import torch
from torch import nn

class MyCNN(nn.Module):
    def __init__(self, width=4, act="relu"):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU() if act == "relu" else nn.SiLU(), nn.Flatten())
        self.fc = nn.Linear(36 * width, 10)

    def forward(self, x):
        return self.fc(self.model(x))

class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x):
        return self.model(x)

class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.LazyLinear(10)

    def forward(self, x):
        return self.fc(x.flatten(1))

def broken(width): raise KeyError("depth")
def number(): return 3
net = MyCNN()
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the user's in the current directory, imported."""
    (tmp_path / "my_models.py").write_text(MY_MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_models", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return __import__("my_models")


def saved(held: Any, name: str = "my.pt") -> str:
    torch.save(held, name)
    return name


def same(model: nn.Module, other: nn.Module, shape: tuple[int, ...] = (2, 1, 8, 8)) -> bool:
    x = torch.rand(shape)
    with torch.no_grad():
        return torch.allclose(model(x), other.eval()(x), atol=1e-5)


@pytest.mark.parametrize("arch", ["my_models:MyCNN", "the class", "a function"])
def test_a_class_or_factory_of_ones_own_takes_its_weights_and_arguments(mine: ModuleType, arch: Any) -> None:
    trained = mine.MyCNN(width=3, act="silu")
    given = {"the class": mine.MyCNN, "a function": lambda **sizes: mine.MyCNN(**sizes)}.get(arch, arch)
    model = load_model(saved(trained.state_dict()), arch=given, arch_args={"width": 3, "act": "silu"}, dataset="digits")
    assert same(model, trained) and not model.training
    assert el.profile(model, "digits", ["fgsm"], n=4).attacks[1].rows["steps"].tolist() == [1] * 4


def test_a_checkpoint_and_a_class_of_ones_own_in_one_command(mine: ModuleType, run: Any, tmp_path: Path) -> None:
    saved({"epoch": 3, "model": {f"module.{key}": value for key, value in mine.MyCNN(width=3).state_dict().items()}})
    words = ("profile", "-m", "my.pt", "--arch", "my_models:MyCNN", "--arch-arg", "width=3", "--arch-arg", "act=silu")
    status, out, err = run(*words, "--dataset", "digits", "--n", 8, "--attack", "fgsm", "--json")
    assert status == 0, err
    assert json.loads(out)["n"] == 8
    status, _, err = run(*words[:-2], "--dataset", "digits", "--arch-arg", "depth=3")
    assert status == 2 and "MyCNN(width=3, depth=3) gave TypeError" in err and "--arch-arg" in err


def test_a_class_whose_layers_stand_under_a_usual_prefix_keeps_it(mine: ModuleType) -> None:
    trained = mine.Bare()  # all its keys begin with "model."
    for state in (trained.state_dict(), {f"module.{key}": value for key, value in trained.state_dict().items()}):
        assert same(load_model(saved(state), arch=mine.Bare), trained)


def test_lazy_layers_take_their_shape_from_the_weights(mine: ModuleType) -> None:
    trained = mine.Lazy()
    trained(torch.rand(1, 1, 8, 8))
    assert same(load_model(saved(trained.state_dict()), arch="my_models:Lazy"), trained)


@pytest.mark.parametrize(
    ("arch", "told"),
    [
        ("my_models:broken", r"broken\(\) gave TypeError: .*'width'.*--arch-arg name=value"),
        ("my_models:number", r"number\(\) returned a int, expected a torch.nn.Module"),
        ("my_models:net", "my_models:net is a MyCNN; expected a class or function"),
        ("my_models:Absent", "has no attribute 'Absent'"),
        ("MyCNN", "unknown architecture 'MyCNN'.*or a network of your own: --arch my_models:MyCNN"),
        ("nets/my_models.py:MyCNN", r"names a file; expected its module: nets\.my_models:MyCNN"),
        (3, "arch is a int; expected a name, an address package.module:name, or a class"),
        ("my_models:Bare", r"does not fit my_models:Bare: 2 missing .*; 4 unexpected .*\. Give the class, and"),
        ("resnet18", r"does not fit resnet18: .*The weights fit none of resnet18, .*: --arch my_models:MyCNN"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_or_filled_is_told(mine: ModuleType, arch: Any, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        load_model(saved(mine.MyCNN().state_dict()), arch=arch)
    assert "(--arch)" not in str(caught.value) and "\n" not in str(caught.value)


def test_weights_that_fit_another_architecture_say_which(mine: ModuleType) -> None:
    file = saved(ARCHITECTURES["resnet20"].build(num_classes=7).state_dict())
    with pytest.raises(InputError, match="The weights fit resnet20; or a network of your own"):
        load_model(file, arch="resnet18")
    with pytest.raises(InputError, match="They fit resnet20 without num_classes: the sizes are read off the file"):
        load_model(file, arch="resnet20", num_classes=10)
    assert load_model(
        saved(ARCHITECTURES["resnet18"].build(width=4).state_dict()), arch="resnet18", arch_args={"width": 4}
    )
    with pytest.raises(InputError, match="resnet20 has no argument 'depth': it has num_classes, in_channels"):
        load_model(file, arch="resnet20", arch_args={"depth": 4})


def test_a_json_beside_the_weights_runs_no_code(mine: ModuleType) -> None:
    file = saved(mine.Bare().state_dict())
    Path("my.json").write_text('{"arch": "my_models:Bare"}')
    with pytest.raises(InputError, match=r"names code, my_models:Bare.* give it yourself with --arch my_models:Bare"):
        load_model(file)
    assert load_model(file, arch="my_models:Bare")


def test_a_factory_takes_arguments_too(mine: ModuleType) -> None:
    assert load_model("my_models:MyCNN", arch_args={"width": 2}).fc.in_features == 72
    with pytest.raises(InputError, match="arch_args, weights_key cannot be given for digits-pgd"):
        load_model("digits-pgd", arch_args={"width": 2}, weights_key="ema")


@pytest.mark.parametrize(
    ("text", "value"), [("w=32", 32), ("w=(3, 5)", (3, 5)), ("w=True", True), ("w=batch-norm", "batch-norm")]
)
def test_an_argument_is_a_literal_or_a_word(text: str, value: Any) -> None:
    assert parse_argument(text) == ("w", value)


@pytest.mark.parametrize("text", ["w", "w=", "=3", "w=false", "w=none", "w=f(3)", "w=3 5"])
def test_another_argument_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--arch-arg"):
        parse_argument(text)


def test_a_whole_pickled_module_loads_when_trusted(mine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = mine.MyCNN()
    file = saved({"model": nn.DataParallel(trained), "epoch": 3})
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder != str(Path.cwd())])
    monkeypatch.delitem(sys.modules, "my_models")  # as in a new process
    with pytest.raises(InputError, match=r"nothing was run.*--trust-pickle"):
        load_model(file)
    model = load_model(file, trust_pickle=True, dataset="digits")
    assert same(model, trained) and (type(model).__name__, model.card.architecture) == ("MyCNN", "MyCNN")
    normalised = load_model(file, trust_pickle=True, mean=[0.3], std=[0.2])
    assert same(normalised, nn.Sequential(Normalize([0.3], [0.2]), trained))
    Path("my_models.py").unlink()
    monkeypatch.delitem(sys.modules, "my_models")
    with pytest.raises(InputError, match=r"class is not found here \(No module named 'my_models'\).*state_dict"):
        load_model(file, trust_pickle=True)


def test_a_torchscript_archive_loads_when_trusted(mine: ModuleType) -> None:
    trained = mine.MyCNN().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces its successor
        torch.jit.trace(trained, torch.rand(1, 1, 8, 8)).save("my.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(InputError, match=r"a TorchScript archive.*--trust-pickle"):
        load_model("my.pt")
    model = load_model("my.pt", trust_pickle=True)
    assert same(model, trained)
    el.profile(model, "digits", ["pgd,steps=2"], n=3)


# How wrappers of training code write a network, with a normalising layer and without
def attacker(net: nn.Module) -> dict[str, Tensor]:
    """As MadryLab's robustness does, in DataParallel."""
    state = {"module.normalizer.new_mean": MEAN.clone(), "module.normalizer.new_std": STD.clone()}
    for place in ("module.model.", "module.attacker.model."):
        state |= {place + key: value for key, value in net.state_dict().items()}
    return state | {
        "module.attacker.normalize.new_mean": MEAN.clone(),
        "module.attacker.normalize.new_std": STD.clone(),
    }


MEAN, STD = torch.tensor([0.3]).view(1, 1, 1), torch.tensor([0.2]).view(1, 1, 1)
NORMALISED: dict[str, Callable[[nn.Module], Any]] = {
    "Sequential(normalise, net)": lambda net: nn.Sequential(Normalize([0.3], [0.2]), net).state_dict(),
    "the same in DataParallel, wrapped": lambda net: {
        "net": nn.DataParallel(nn.Sequential(Normalize([0.3], [0.2]), net)).state_dict(), "acc": 9.0,
    },
    "the same, averaged": lambda net: torch.optim.swa_utils.AveragedModel(
        nn.Sequential(Normalize([0.3], [0.2]), net)
    ).state_dict(),
    "beside the network's tensors": lambda net: {"mu": MEAN, "sigma": STD, **net.state_dict()},
    "an attacker's": lambda net: {"model": attacker(net)},
    "our own": lambda net: load_model("own.pt", arch="digits-cnn", mean=[0.3], std=[0.2]).state_dict(),
}  # fmt: skip


@pytest.mark.parametrize("wrapping", NORMALISED)
@pytest.mark.parametrize("arch", ["digits-cnn", "a factory"])
def test_a_normalising_layer_in_the_file_is_not_lost(wrapping: str, arch: Any, mine: ModuleType) -> None:
    net = ARCHITECTURES["digits-cnn"].build()
    saved(net.state_dict(), "own.pt")
    file = saved(NORMALISED[wrapping](net))
    asked = ARCHITECTURES["digits-cnn"].build if arch == "a factory" else arch
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_model(file, arch=asked)
    assert same(model, nn.Sequential(Normalize([0.3], [0.2]), net))
    assert same(load_model(file, arch=asked, mean=[0.3001], std=[0.2]), model)
    with pytest.raises(
        InputError, match=r"normalising layer of mean \[0.3\] and std \[0.2\].*leave --mean and --std out"
    ):
        load_model(file, arch=asked, mean=[0.5], std=[0.2])


def two(mine: ModuleType) -> tuple[nn.Module, nn.Module]:
    return mine.MyCNN(), mine.MyCNN()


def test_of_several_sets_of_weights_one_is_named_and_another_can_be_had(mine: ModuleType) -> None:
    plain, ema = two(mine)
    file = saved(
        {"state_dict": plain.state_dict(), "state_dict_ema": ema.state_dict(), "best": {"net": ema.state_dict()}}
    )
    told = "holds 3 sets of weights, state_dict, state_dict_ema, best/net: state_dict was taken; --weights-key"
    with pytest.warns(el.Note, match=told) as caught:
        model = load_model(file, arch=mine.MyCNN)
    assert same(model, plain) and model.card.weights_key == "state_dict"
    assert caught[0].filename == __file__  # where the user stands, not where we do
    for key in ("state_dict_ema", "best", "best/net"):
        assert same(load_model(file, arch=mine.MyCNN, weights_key=key), ema)
    assert load_model(file, arch=mine.MyCNN, weights_key="state_dict_ema").card.weights_key == "state_dict_ema"
    with pytest.raises(InputError, match="no weights under 'ema': its sets of weights are state_dict, state_dict_ema"):
        load_model(file, arch=mine.MyCNN, weights_key="ema")


def test_two_networks_in_one_state_dict_are_told_apart(mine: ModuleType) -> None:
    online, ema = two(mine)
    state = {
        f"{place}.{key}": value
        for place, net in (("online", online), ("ema", ema))
        for key, value in net.state_dict().items()
    }
    file = saved(state | {"step": torch.tensor(7)})
    with pytest.warns(Note, match="holds 2 networks, ema, online: ema was taken"):
        assert same(load_model(file, arch=mine.MyCNN), ema)
    assert same(load_model(file, arch=mine.MyCNN, weights_key="online"), online)


def test_the_command_line_says_which_weights_were_taken_in_a_line(mine: ModuleType, run: Any) -> None:
    net = ARCHITECTURES["digits-cnn"].build()
    saved({"state_dict": net.state_dict(), "ema": net.state_dict()})
    words = ("profile", "-m", "my.pt", "--arch", "digits-cnn", "-d", "digits", "--n", 3, "--attack", "fgsm", "--json")
    status, _, err = run(*words)
    assert status == 0 and err.startswith("energylens: my.pt holds 2 sets of weights") and err.count("\n") == 1
    status, _, err = run(*words, "--weights-key", "ema")
    assert (status, err) == (0, "")


def quantised() -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces its successor
        made: nn.Module = torch.ao.quantization.quantize_dynamic(net)  # type: ignore[no-untyped-call]
    return made


def with_buffer(value: Any) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    net.register_buffer("mask", value)
    return net


class Stateful(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"scale": 3}


UNUSABLE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "quantised": (quantised, "1 is a Linear; it is quantised.*float32 model"),
    "quantised tensor": (
        lambda: with_buffer(torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)),
        "mask is a Tensor of torch.qint8",
    ),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "1.weight has no shape yet, its layer is lazy"),
    "meta": (lambda: nn.Linear(64, 10, device="meta"), "weight lies on the device meta"),
    "sparse": (lambda: with_buffer(torch.eye(3).to_sparse()), r"mask is a sparse tensor .torch.sparse_coo.*to_dense"),
    "other state": (lambda: Stateful(64, 10), "extra_state is a dict; a state of tensors was expected"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_model_that_cannot_be_used_is_one_input_error_at_every_door(
    kind: str, mine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, told = UNUSABLE[kind]
    monkeypatch.setattr(mine, "made", make, raising=False)
    digits = el.load_data("digits", n=48)
    doors: list[Callable[[], Any]] = [
        lambda: el.profile(make(), digits, ["fgsm"], eps=0.1),
        lambda: el.examine(make(), digits),
        lambda: el.attack("fgsm", make(), digits.images, digits.labels, eps=0.1),
        lambda: el.generate(make(), digits, n=1),
        lambda: load_model("my_models:made"),
    ]
    for door in doors:
        with pytest.raises(InputError, match=told):
            door()


def test_a_checkpoint_of_a_quantised_network_is_told(mine: ModuleType) -> None:
    with pytest.raises(InputError, match="weights of a quantised network: give those of its float32 original"):
        load_model(saved(quantised().state_dict()), arch="my_models:Bare")


def test_a_safetensors_file_goes_the_same_way(mine: ModuleType) -> None:
    trained = mine.MyCNN()
    path = Path("my.safetensors")
    save_file({f"1.{key}": value for key, value in trained.state_dict().items()}, path)
    assert same(load_model(path, arch="my_models:MyCNN"), trained)


ANSWERS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "one logit": (lambda z: z[:, :1], "1 logit; a classifier has 2 or more"),
    "no logit": (lambda z: z[:, :0], "0 logits; a classifier has 2 or more"),
    "a vector": (lambda z: z[:, 0], r"the model gives shape \(1,\) for 1 images"),
    "a tuple": (lambda z: (z, z), r"the model gives a tuple; expected logits of shape \(1, classes\)"),
    "classes": (lambda z: z.round().long(), "the model gives torch.int64"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_that_is_no_logits_is_one_input_error_at_every_door(kind: str) -> None:
    answer, told = ANSWERS[kind]

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Any:
            return answer(self.fc(x.flatten(1)))

    digits = el.load_data("digits", n=48)
    with pytest.raises(InputError, match=told):
        el.profile(Odd(), digits, ["fgsm"], eps=0.1)
    with pytest.raises(InputError, match=told):
        el.attack("fgsm", Odd(), digits.images, digits.labels, eps=0.1)
    assert el.examine(Odd(), digits).failed[0] in {"precision", "fit"}


def test_a_bug_in_the_users_own_forward_is_told_with_its_place_and_not_blamed_on_the_data():
    class Typo(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(64, 10)

        def forward(self, x):
            return self.nett(x.flatten(1))

    with pytest.raises(
        InputError, match=r"own code fails: AttributeError: .*nett.* \(test_own_networks\.py, line \d+\)"
    ):
        el.profile(Typo(), "digits", "fgsm", n=4, eps=0.1)
