"""Models of other packages, of the user's code and files: loaded, or refused in one clear line. No network."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

import energylens.models.elsewhere as elsewhere
from energylens.data import load_data
from energylens.errors import InputError, RunError
from energylens.inputs import whole_split
from energylens.models import ModelCard, card_of, load_model, weights_digest
from energylens.models.architectures import ARCHITECTURES
from energylens.models.robustbench import import_robustbench


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's in the current directory."""
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n"
        "def tiny(): return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(12, 10))\n"
        "def broken(): raise KeyError('depth')\n"
        "def number(): return 3\n"
        "def needs(depth): return nn.Identity()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_nets", raising=False)


@pytest.mark.usefixtures("factories")
def test_a_factory_in_the_current_directory() -> None:
    path = list(sys.path)
    model = load_model("my_nets:tiny", mean=[0.5] * 3, std=[0.5] * 3, dataset="cifar10")
    assert not model.training and model(torch.rand(2, 3, 2, 2)).shape == (2, 10)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert (model.card.source, model.card.dataset) == ("factory", "cifar10")
    assert sys.path == path


@pytest.mark.usefixtures("factories")
@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("my_nets:broken", "KeyError: 'depth'"),
        ("my_nets:number", r"number\(\) returned a int, expected a torch.nn.Module"),
        ("my_nets:needs", "missing 1 required positional argument: 'depth'"),
        ("my_nets:absent", "has no attribute 'absent'"),
        ("no_such_package.nets:net", "No module named 'no_such_package'"),
    ],
)
def test_a_bad_factory_is_told(address: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_model(address)


def test_options_that_a_named_model_answers_itself_are_refused() -> None:
    with pytest.raises(InputError, match="arch, mean cannot be given for timm:resnet18"):
        load_model("timm:resnet18", arch="resnet18", mean=[0.5])
    with pytest.raises(InputError, match="num_classes cannot be given for Carmon2019"):
        load_model("Carmon2019", num_classes=10)


def test_torchvision_comes_with_its_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    random = models.resnet18()
    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", lambda self, **_: random.state_dict())
    model = load_model("torchvision:resnet18")
    x = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        torch.testing.assert_close(model(x), random.eval()((x - mean) / std))
    assert (model.card.dataset, model.card.preprocessing) == ("imagenet", "Res256Crop224")
    assert model.card.clean == 69.758


def test_torchvision_offline_and_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", offline)
    with pytest.raises(RunError, match=r"could not reach https://download.pytorch.org/models/resnet18-f37072fd.pth"):
        load_model("torchvision:resnet18")
    with pytest.raises(InputError, match=r"no classifier 'resnet81' \(did you mean resnet18"):
        load_model("torchvision:resnet81")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the Hugging Face hub: <owner>/<repo>/<file>."""

    def from_hub(repo: str, file: str) -> str:
        return str(tmp_path / repo / file)

    monkeypatch.setattr(elsewhere, "_from_hub", from_hub)
    return tmp_path


def random_timm(name: str) -> Any:
    import_robustbench()
    import timm

    return timm.create_model(name, pretrained=False)


@pytest.mark.parametrize(
    ("name", "head", "mean", "preprocessing"),
    [
        ("resnet18.a1_in1k", "fc", [0.485, 0.456, 0.406], "BicubicRes235Crop224"),
        ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", "head", [0.5] * 3, "BicubicRes248Crop224"),  # a custom_load
        ("convnextv2_nano.fcmae_ft_in22k_in1k_384", "head.fc", [0.485, 0.456, 0.406], "BicubicRes384x384Crop384"),
    ],
)
def test_timm_comes_with_its_weights_and_normalisation(
    name: str, head: str, mean: list[float], preprocessing: str, hub: Path
) -> None:
    random = random_timm(name)
    (hub / "timm" / name).mkdir(parents=True)
    save_file(random.state_dict(), hub / "timm" / name / "model.safetensors")
    model = load_model(f"timm:{name}")
    assert torch.equal(model.state_dict()[f"model.{head}.weight"], random.state_dict()[f"{head}.weight"])
    assert model.state_dict()["normalize.mean"].flatten().tolist() == pytest.approx(mean)
    assert (model.card.dataset, model.card.preprocessing) == ("imagenet", preprocessing)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet81", "no model 'resnet81' .did you mean resnet18"),
        ("coatnet_0_224", "no pretrained weights for 'coatnet_0_224'"),
    ],
)
def test_a_model_that_timm_does_not_know(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_model(f"timm:{name}")


def test_a_timm_repository_of_the_hub(hub: Path) -> None:
    random = random_timm("resnet10t")
    random.reset_classifier(5)
    repo = hub / "me" / "mine"
    repo.mkdir(parents=True)
    save_file(random.state_dict(), repo / "model.safetensors")
    config = {
        "architecture": "resnet10t",
        "num_classes": 5,
        "pretrained_cfg": {"num_classes": 5, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 64, 64]}
        | {"crop_pct": 1.0, "interpolation": "bilinear", "first_conv": "conv1.0", "classifier": "fc"},
    }
    (repo / "config.json").write_text(json.dumps(config))
    model = load_model("hf:me/mine")
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 5)
    assert torch.equal(model.state_dict()["model.fc.weight"], random.fc.weight)
    assert model.state_dict()["normalize.mean"].flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert model.card.dataset is None


class FakeClassifier(nn.Module):
    """Answers as transformers' image classifiers do."""

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=pixel_values.mean((2, 3)))


def fake_transformers(monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    """A transformers that answers for any repository; load: what gives its image processor."""
    fake: Any = ModuleType("transformers")
    fake.AutoModelForImageClassification = SimpleNamespace(from_pretrained=lambda repo, **_: FakeClassifier())
    fake.AutoImageProcessor = SimpleNamespace(from_pretrained=load)
    monkeypatch.setitem(sys.modules, "transformers", fake)


class FakeProcessor:
    """Resizes to 32x32, takes off 0.5, divides by 0.25 and turns RGB into BGR: only trying it tells."""

    do_resize, do_align_axis = True, True

    def __call__(self, images: Any, return_tensors: str) -> dict[str, Any]:
        x = (pil_to_tensor(images.resize((32, 32), resample=2)) / 255 - 0.5) / 0.25
        return {"pixel_values": x.flip(0)[None]}


@pytest.fixture
def vit(hub: Path) -> str:
    """A repository of transformers' kind."""
    (hub / "me/vit").mkdir(parents=True)
    (hub / "me/vit/config.json").write_text('{"architectures": ["ViTForImageClassification"]}')
    return "hf:me/vit"


def test_a_transformers_repository_without_transformers(vit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)  # not installed
    with pytest.raises(InputError, match=r"pip install 'energylens\[transformers\]'"):
        load_model(vit)


def test_a_transformers_repository_comes_with_what_its_image_processor_does(
    vit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_transformers(monkeypatch, lambda repo: FakeProcessor())
    model = load_model(vit)
    x = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    assert model(x).tolist() == [pytest.approx([2.0, 0.0, -2.0])]
    assert (model.card.architecture, model.card.preprocessing) == ("ViTForImageClassification", "Res32x32Crop32")
    samples = whole_split("digits", model.card, model, split="test", root=None)
    assert samples.image_shape == (1, 32, 32)  # also where the card does not name the data set


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("ViT", {"size": {"height": 64, "width": 64}, "do_normalize": False, "rescale_factor": 1 / 127.5}),
        ("ConvNext", {"size": {"shortest_edge": 64}, "crop_pct": 0.875}),
        ("ConvNext", {"size": {"shortest_edge": 384}}),
    ],
)
def test_transformers_own_logits_of_real_pictures(
    family: str, settings: dict[str, Any], hub: Path, cifar10_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers", reason="pip install 'energylens[transformers]'")
    monkeypatch.chdir(hub)  # so that me/net is found here
    sizes = {
        "ViT": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        | {"image_size": 64, "patch_size": 16},
        "ConvNext": {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]},
    }
    config = getattr(transformers, f"{family}Config")(num_labels=10, **sizes[family])
    classifier = getattr(transformers, f"{family}ForImageClassification")(config).eval()
    processor = getattr(transformers, f"{family}ImageProcessor")(**settings)
    for part in (classifier, processor):
        part.save_pretrained("me/net")

    model = load_model("hf:me/net", dataset="cifar10")
    plain = load_data("cifar10", n=6, data_root=cifar10_root)
    ours = load_data("cifar10", n=6, data_root=cifar10_root, preprocessing=model.card.preprocessing)
    with torch.no_grad():
        wanted = classifier(**processor(images=list(map(to_pil_image, plain.images)), return_tensors="pt")).logits
        torch.testing.assert_close(model(ours.images), wanted, atol=1e-4 * float(wanted.std()), rtol=1e-4)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (
            {"input_ids": torch.zeros(1, 9)},
            "FakeProcessor, do_align_axis, cannot be followed: it gives input_ids, not pixel_values",
        ),
        ({"pixel_values": torch.zeros(5, 3, 8, 8)}, "it makes 5 images of one picture"),
        ({"pixel_values": torch.zeros(1, 196, 768)}, r"an array of shape \(196, 768\)"),
    ],
)
def test_an_image_processor_that_cannot_be_followed_is_named(
    made: dict[str, Any], told: str, vit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeProcessor, "__call__", lambda self, images, return_tensors: made)
    fake_transformers(monkeypatch, lambda repo: FakeProcessor())
    with pytest.raises(InputError, match=f"hf:me/vit, .*{told}.*--preprocessing resize=256,crop=224 --mean"):
        load_model(vit)


def test_a_repository_without_an_image_processor_is_told_by_the_user(vit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(repo: str) -> Any:
        raise OSError("no preprocessor_config.json there")

    fake_transformers(monkeypatch, none)
    with pytest.raises(
        InputError, match=r"how its pictures are prepared \(no preprocessor_config.json there\): say it"
    ):
        load_model(vit)
    model = load_model(vit, preprocessing="resize=40,crop=32", mean=[0.5] * 3, std=[0.25] * 3)
    assert torch.equal(model(torch.ones(1, 3, 4, 4)), torch.full((1, 3), 2.0))
    assert (model.card.preprocessing, model.card.mean) == ("Res40Crop32", (0.5, 0.5, 0.5))
    with pytest.raises(InputError, match="are not of images in"):
        load_model(vit, preprocessing="resize=40,crop=32", mean=[127.0] * 3, std=[64.0] * 3)


@pytest.mark.usefixtures("factories")
def test_a_preprocessing_of_ones_own_reaches_the_images() -> None:
    model = load_model("my_nets:tiny", dataset="digits", preprocessing="interpolation=bicubic,resize=20,crop=16")
    assert model.card.preprocessing == "BicubicRes20Crop16"
    assert whole_split(None, model.card, model, split="test", root=None).image_shape == (1, 16, 16)
    with pytest.raises(InputError, match="unknown preprocessing 'big'; expected settings such as resize=256"):
        load_model("my_nets:tiny", preprocessing="big")


def test_the_hub_offline_and_a_bad_address(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    with pytest.raises(InputError, match="write hf:owner/name"):
        load_model("hf:a/b/c")

    def offline(repo: str, file: str) -> str:
        raise LocalEntryNotFoundError("check your connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(RunError, match=r"could not reach https://huggingface.co/me/vit/config.json \(check your conn"):
        load_model("hf:me/vit")
    with pytest.raises(RunError, match=r"could not reach https://huggingface.co/timm/resnet18"):
        load_model("timm:resnet18")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Our own weights: safetensors of a digits-cnn with 4 classes, and the JSON beside them."""
    path = tmp_path / "mine.safetensors"
    save_file(ARCHITECTURES["digits-cnn"].build(num_classes=4).state_dict(), path)
    about = {"arch": "digits-cnn", "num_classes": 4, "in_channels": 1, "mean": [0.3], "std": [0.2], "dataset": "digits"}
    about |= {"threat_model": "Linf", "eps": 0.1, "measured": {"clean": 98.5}}
    path.with_suffix(".json").write_text(json.dumps(about))
    return path


def test_own_weights_are_described_by_the_json_beside_them(own: Path) -> None:
    model = load_model(str(own))
    assert model(torch.rand(1, 1, 8, 8)).shape == (1, 4)
    assert model.state_dict()["normalize.mean"].item() == pytest.approx(0.3)
    card = model.card
    assert (card.architecture, card.dataset, card.threat_model, card.eps, card.clean) == (
        "digits-cnn", "digits", "Linf", 0.1, 98.5,
    )  # fmt: skip


def test_without_the_json_the_architecture_is_asked_for(own: Path) -> None:
    own.with_suffix(".json").unlink()
    with pytest.raises(
        InputError, match=r"mine.json is not beside it: .* --arch. The weights fit digits-cnn; or .*my_models:MyCNN"
    ):
        load_model(str(own))
    assert load_model(str(own), arch="digits-cnn")(torch.rand(1, 1, 8, 8)).shape == (1, 4)
    with pytest.raises(InputError, match=r"does not fit digits-cnn: 2 of another shape \(fc2"):
        load_model(str(own), arch="digits-cnn", num_classes=10)
    with pytest.raises(InputError, match=r"does not fit resnet20"):
        load_model(str(own), arch="resnet20")


def test_a_broken_json_is_told(own: Path) -> None:
    own.with_suffix(".json").write_text("{arch:")
    with pytest.raises(InputError, match=r"mine.json is not valid JSON"):
        load_model(str(own))


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("arch", 3, r'"arch" is 3, expected the name of an architecture'),
        ("num_classes", "ten", r'"num_classes" is \'ten\', expected a positive integer'),
        ("num_classes", True, r'"num_classes" is True'),
        ("width", 0, r'"width" is 0, expected a positive integer'),
        ("mean", "x", r'"mean" is \'x\', expected a list of numbers, one a channel'),
        ("std", [0.2, None], r'"std" is \[0.2, None\]'),
        ("dataset", ["digits"], r'"dataset" is \[\'digits\'\], expected a text'),
        ("labels", ["3", "5"], r'"labels" is \[\'3\', \'5\'\], expected a list of different labels of the data set'),
        ("labels", [3, 3], r'"labels" is \[3, 3\]'),
        ("threat_model", "linfty", r'"threat_model" is \'linfty\', expected one of Linf, L2, corruptions'),
        ("eps", "8/0", r'"eps" is \'8/0\', expected a positive radius .* "8/255"'),
        ("eps", -1, r'"eps" is -1'),
        ("eps", float("nan"), r'"eps" is nan'),
        ("eps", 10**400, r'"eps" is 1000'),
        ("measured", 3, r'"measured" is 3, expected an object of accuracies in %'),
        ("measured", {"clean": "98"}, r'"measured.clean" is \'98\', expected a number of percent'),
        ("measured", {"autoattack": 101}, r'"measured.autoattack" is 101, expected a number of percent, 0 to 100'),
    ],
)
def test_a_field_of_the_wrong_type_is_told(own: Path, field: str, value: Any, told: str) -> None:
    beside = own.with_suffix(".json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {field: value}))
    with pytest.raises(InputError, match=rf"^.*mine\.json: {told}.*$"):
        load_model(str(own))


def test_eps_may_be_a_fraction_and_null_is_nothing(own: Path) -> None:
    about = json.loads(own.with_suffix(".json").read_text())
    about |= {"eps": "8/255", "threat_model": "l-inf", "width": None, "measured": None, "notes": [1]}
    own.with_suffix(".json").write_text(json.dumps(about))
    card = load_model(str(own)).card
    assert (card.eps, card.threat_model, card.clean) == (8 / 255, "Linf", None)


def test_labels_belong_to_the_data_set_that_the_file_names(own: Path) -> None:
    beside = own.with_suffix(".json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"labels": [0, 1, 6, 7]}))
    cards = [load_model(str(own), dataset=name).card for name in (None, "digits", "mnist")]
    assert [card.labels for card in cards] == [(0, 1, 6, 7), (0, 1, 6, 7), None]


@pytest.mark.parametrize(("typed", "meant"), [("linf", "Linf"), ("L_2", "L2"), ("Corruptions", "corruptions")])
def test_the_threat_model_of_ones_own_file_is_spelled_in_one_way(own: Path, typed: str, meant: str) -> None:
    assert load_model(str(own), threat_model=typed).card.threat_model == meant


@pytest.mark.parametrize("name", ["mine.safetensors", "Carmon2019"])
def test_an_unknown_threat_model_is_refused(own: Path, name: str) -> None:
    with pytest.raises(InputError, match="unknown threat model 'L3': give one of Linf, L2, corruptions"):
        load_model(str(own.parent / name) if "." in name else name, threat_model="L3")


def test_the_short_name_of_a_file_has_no_folder(own: Path) -> None:
    card = load_model(str(own)).card
    assert (card.name, card.short_name) == (str(own), "mine.safetensors")
    assert ModelCard("hf:me/vit", "hf").short_name == "hf:me/vit"


def test_an_impossible_device_is_refused(own: Path) -> None:
    with pytest.raises(InputError, match=r"cannot put .* on device 'abacus'"):
        load_model(str(own), device="abacus")


def test_an_error_without_a_message_is_told_by_its_name(monkeypatch) -> None:
    def to(self, device):
        raise AssertionError

    monkeypatch.setattr(torch.nn.Module, "to", to)
    with pytest.raises(InputError, match=r"on device 'cpu' \(AssertionError\)"):
        load_model("digits-pgd")


def test_the_digest_depends_on_the_weights_alone(own: Path, tmp_path: Path) -> None:
    model = load_model(str(own))
    torch.save(model.model.state_dict(), tmp_path / "again.pt")
    again = load_model(str(tmp_path / "again.pt"), arch="digits-cnn", mean=[0.3], std=[0.2])
    assert again.card.weights == model.card.weights == weights_digest(model)
    changed = load_model(str(tmp_path / "again.pt"), arch="digits-cnn", mean=[0.3], std=[0.21])
    assert changed.card.weights != model.card.weights


def test_the_digest_sees_names_types_and_shapes() -> None:
    zero = torch.zeros(4)
    variants = [{"a": zero}, {"b": zero}, {"a": zero.int()}, {"a": zero.view(2, 2)}, {"a": zero.bfloat16()}, {}]
    digests = set()
    for state in variants:
        module = nn.Module()
        for name, value in state.items():
            module.register_buffer(name, value)
        digests.add(weights_digest(module))
    assert len(digests) == len(variants)


def test_a_users_own_module_gets_a_card() -> None:
    module = nn.Linear(2, 2)
    assert card_of(module) == ModelCard(name="Linear", source="module", weights=weights_digest(module))
