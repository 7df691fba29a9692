"""Which diffusion models are found, and what is said of those that are not."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from safetensors.torch import load_file, save_file

from energylens.diffusion.loading import DEFAULT_DIFFUSERS, WEIGHTS, default_diffuser, load_diffuser
from energylens.errors import InputError, RunError


def test_a_folder_comes_frozen(folder):
    diffuser = load_diffuser(str(folder))
    assert not diffuser.network.training
    assert not any(parameter.requires_grad for parameter in diffuser.network.parameters())
    assert diffuser.image_shape == (1, 8, 8)
    torch.testing.assert_close(diffuser.alphas_bar, (1 - torch.linspace(1e-4, 0.02, 1000)).cumprod(0))
    assert list(diffuser.timesteps(50)) == list(range(0, 1000, 20))


def test_a_pipelines_folder_is_the_same_model(unet, folder, tmp_path):
    DDPMPipeline(unet(), DDPMScheduler()).save_pretrained(tmp_path)
    assert load_diffuser(str(tmp_path)).digest == load_diffuser(str(folder)).digest


@pytest.mark.parametrize(
    ("network", "schedule"),
    [
        ({}, {"beta_end": 0.03}),
        ({"norm_num_groups": 8}, {}),
    ],
    ids=["schedule", "architecture"],
)
def test_the_digest_tells_models_apart(unet, folder, tmp_path, network, schedule):
    unet(**network).save_pretrained(tmp_path)
    DDPMScheduler(**schedule).save_pretrained(tmp_path)
    assert load_diffuser(str(tmp_path)).digest != load_diffuser(str(folder)).digest


def test_the_digest_tells_weights_apart(unet, folder, tmp_path):
    other = unet()
    with torch.no_grad():
        other.conv_out.bias += 1e-3
    other.save_pretrained(tmp_path)
    DDPMScheduler().save_pretrained(tmp_path)
    assert load_diffuser(str(tmp_path)).digest != load_diffuser(str(folder)).digest


def test_the_shipped_one_denoises():
    """Its x_0 from digits noised to timestep 60 is nearer to them than the noisy ones are."""
    import energylens as el

    diffuser, x = load_diffuser("digits-ddpm"), el.load_data("digits", n=50).images
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    a = diffuser.alphas_bar[60]
    x_t = a.sqrt() * (2 * x - 1) + (1 - a).sqrt() * noise
    with torch.no_grad():
        x_0 = (x_t - (1 - a).sqrt() * diffuser.predict_noise(x_t, 60)) / a.sqrt()
    noisy, denoised = ((image - (2 * x - 1)).square().mean() for image in (x_t / a.sqrt(), x_0))
    assert denoised < 0.6 * noisy


def test_the_table_names_a_model_for_a_data_set():
    assert default_diffuser("digits") == "digits-ddpm"
    with pytest.raises(InputError, match="no diffusion model is known for svhn, only for digits, cifar10: name one"):
        default_diffuser("svhn")
    assert set(DEFAULT_DIFFUSERS) == {"digits", "cifar10"}


@pytest.mark.parametrize(
    ("name", "message"),
    [("nonsense", "no diffusion model 'nonsense': expected digits-ddpm, a diffusers"), ("/no/folder/here", "no diff")],
)
def test_what_is_nowhere_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        load_diffuser(name)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"does not hold a diffusion model .* expected a UNet2DModel"):
        load_diffuser(str(tmp_path))


@pytest.fixture
def copied(tmp_path):
    """A copy of digits-ddpm to damage."""
    return shutil.copytree(WEIGHTS / "digits-ddpm", tmp_path / "copied")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"layers_per_block": 3}, "size mismatch for"),
        ({"norm_num_groups": 7}, "must be divisible by"),
        ({"down_block_types": ["NoBlock", "NoBlock"]}, "NoBlock"),
        ({"block_out_channels": None}, "NoneType"),
    ],
)
def test_a_config_that_does_not_fit_its_weights_is_refused_in_a_line(copied, changed, reason):
    config = copied / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changed))
    with pytest.raises(RunError, match=rf"does not hold a diffusion model \(.*{reason}.* expected a UNet2DModel") as e:
        load_diffuser(str(copied))
    assert "\n" not in str(e.value)


def test_weights_that_lack_a_tensor_are_refused(copied):
    """diffusers leaves what is missing at random, with no more than a warning."""
    weights = copied / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    del tensors["conv_out.bias"], tensors["conv_in.bias"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(RunError, match=r"\(its weights lack 2 of \d+ tensors, such as conv_in.bias\): expected"):
        load_diffuser(str(copied))


def test_without_a_network_the_hub_is_told_in_one_line(monkeypatch):
    from diffusers import UNet2DModel

    def unreachable(*args, **kwargs):
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr(UNet2DModel, "from_pretrained", unreachable)
    with pytest.raises(RunError, match=r"could not fetch google/ddpm-cifar10-32 .*no network.*`hf download") as e:
        load_diffuser("google/ddpm-cifar10-32")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("network", "schedule", "message"),
    [
        ({}, {"prediction_type": "v_prediction"}, "predicts 'v_prediction'; expected"),
        ({"out_channels": 2}, {}, "learned variance"),
        ({"num_class_embeds": 10}, {}, "conditional"),
    ],
)
def test_other_kinds_of_model_are_refused(unet, tmp_path, network, schedule, message):
    unet(**network).save_pretrained(tmp_path)
    DDPMScheduler(**schedule).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=message):
        load_diffuser(str(tmp_path))


def test_images_of_another_shape_are_refused(folder):
    diffuser = load_diffuser(str(folder))
    diffuser.check_fit((1, 8, 8))
    with pytest.raises(InputError, match=r"made for images of shape \(1, 8, 8\), these have \(3, 32, 32\): name one"):
        diffuser.check_fit((3, 32, 32))


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match=r"not installed: pip install 'energylens\[diffusion\]'"):
        load_diffuser("digits-ddpm")


def test_diffusers_is_imported_where_it_is_used():
    code = """
import sys, energylens.profiling, energylens.attacks.registry
from click.testing import CliRunner
from energylens.cli import root
assert CliRunner().invoke(root, ["profile", "--help"]).exit_code == 0
assert "diffusers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
