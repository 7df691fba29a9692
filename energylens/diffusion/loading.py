"""`load_diffuser`: a name, a folder or a hub id -> a frozen diffusion model. diffusers is imported here alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from energylens.diffusion.diffuser import NAME_ONE, Diffuser
from energylens.errors import InputError, RunError
from energylens.files import check_readable, find
from energylens.models import weights_digest

WEIGHTS = Path(__file__).parent / "weights"
SHIPPED = ("digits-ddpm",)
FILES = ("config.json", "scheduler_config.json", "diffusion_pytorch_model.safetensors")  # as diffusers saves them

#: The diffusion model that a data set's images are purified with where none is named. A row a data set.
DEFAULT_DIFFUSERS: Mapping[str, str] = {
    "digits": "digits-ddpm",
    "cifar10": "google/ddpm-cifar10-32",  # our choice: the papers do not name theirs
}

_MISFITS = (RuntimeError, ValueError, LookupError, TypeError)  # what diffusers raises where files do not fit together
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def default_diffuser(dataset: str | None) -> str:
    """The name of a data set's diffusion model.

    Args:
        dataset: the data set's name, None for images without one.

    Returns:
        A name that ``load_diffuser`` takes.

    Raises:
        InputError: where the table has none.
    """
    name = DEFAULT_DIFFUSERS.get(dataset or "")
    if name is None:
        known = ", ".join(DEFAULT_DIFFUSERS)
        raise InputError(f"no diffusion model is known for {dataset or 'images'}, only for {known}: {NAME_ONE}")
    return name


def load_diffuser(name: str, device: str | torch.device = "cpu") -> Diffuser:
    """The unconditional DDPM of this name, frozen.

    Args:
        name: `digits-ddpm` (shipped), a diffusers folder or a hub id, `owner/name`. A folder holds a `UNet2DModel`
            and a scheduler, side by side or below `unet` and `scheduler`; weights are safetensors.
        device: where it is to lie.

    Returns:
        The model, in float32 and eval mode, on that device.

    Raises:
        InputError: where diffusers is missing or the model is none of ours.
        RunError: where the hub cannot be reached or files are damaged.
    """
    try:
        import diffusers
    except ImportError as error:
        raise InputError(
            "a diffusion model needs diffusers, which is not installed: pip install 'energylens[diffusion]'"
        ) from error
    folder = WEIGHTS / name if name in SHIPPED else Path(name).expanduser()
    here = folder.is_dir()
    if not here and not _HUB_ID.fullmatch(name):
        raise InputError(
            f"no diffusion model {name!r}: expected {', '.join(SHIPPED)}, a diffusers folder (config.json, "
            "diffusion_pytorch_model.safetensors, scheduler_config.json) or a hub id such as google/ddpm-cifar10-32"
        )
    for kind in FILES if here else ():
        for file in find(folder, kind):
            check_readable(file)
    try:
        network, schedule = _read(diffusers, str(folder) if here else name, nested=(folder / "unet").is_dir())
    except OSError as error:
        raise RunError(_damaged(name, error) if here else _unreachable(name)) from error
    except _MISFITS as error:
        raise RunError(_damaged(name, error)) from error
    _check(name, network, schedule)
    network = network.float().eval().requires_grad_(False).to(device)
    alphas_bar: Tensor = schedule.alphas_cumprod.float().to(device)
    return Diffuser(name, network, alphas_bar, _digest(network, alphas_bar))


def _read(diffusers: Any, where: str, *, nested: bool) -> tuple[Any, Any]:
    """The network and its scheduler; OSError where they are not there, one of _MISFITS where they do not fit."""
    how = {"use_safetensors": True, "low_cpu_mem_usage": False, "output_loading_info": True}
    network, told = diffusers.UNet2DModel.from_pretrained(where, subfolder="unet" if nested else None, **how)
    if missing := sorted(told["missing_keys"]):  # diffusers would leave them at random
        total = len(network.state_dict())
        raise ValueError(f"its weights lack {len(missing)} of {total} tensors, such as {missing[0]}")
    return network, diffusers.DDPMScheduler.from_pretrained(where, subfolder="scheduler" if nested else None)


def _unreachable(name: str) -> str:
    return (  # without diffusers' reason, which says of an absent network that config.json is missing
        f"could not fetch {name} from the Hugging Face hub (no network, or no public model of that name): where there "
        f"is a network, `hf download {name} --local-dir DIR`, then give --diffusion DIR here"
    )


def _damaged(name: str, error: Exception) -> str:
    reason = " ".join(line.strip() for line in str(error).splitlines()[:2])  # torch's first line names no tensor
    return (
        f"{name} does not hold a diffusion model ({reason or type(error).__name__}): expected a UNet2DModel "
        "(config.json, diffusion_pytorch_model.safetensors) and scheduler_config.json, as diffusers saves them"
    )


def _check(name: str, network: Any, schedule: Any) -> None:
    """Refuse what R(x) is not defined for."""
    kind = schedule.config.prediction_type
    if kind != "epsilon":
        raise InputError(f"the diffusion model {name} predicts {kind!r}; expected one that predicts the noise, epsilon")
    if network.config.in_channels != network.config.out_channels or network.config.num_class_embeds:
        raise InputError(f"the diffusion model {name} is conditional or has a learned variance; expected a plain DDPM")


def _digest(network: Any, alphas_bar: Tensor) -> str:
    """sha256 over weights, architecture and schedule; neither path nor device, which do not matter, are in it."""
    config = {key: value for key, value in network.config.items() if not key.startswith("_")}
    digest = hashlib.sha256(weights_digest(network).encode())
    digest.update(json.dumps(config, sort_keys=True).encode())
    digest.update(alphas_bar.cpu().numpy().tobytes())
    return digest.hexdigest()
