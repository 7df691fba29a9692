"""What ``energylens --version --verbose`` prints: what a report of a fault needs to know of the installation."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata

VARIABLES = ("ENERGYLENS_DATA", "ENERGYLENS_MODELS", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "RANK", "WORLD_SIZE")
DEVELOPERS = ("test", "docs")  # extras that no command needs


def version(distribution: str) -> str:
    """The installed version of a distribution.

    Args:
        distribution: its name, as pip knows it.

    Returns:
        The version as text; ``missing`` where it is not installed.
    """
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"


def environment() -> str:
    """Versions, devices, backends, extras and what the environment sets.

    Returns:
        A line a fact, to paste into a report. It has no path and no name of a user or a machine: of variables that may
        hold one it says only whether they are set.
    """
    import torch

    from energylens.attacks.backends import BACKENDS

    requirements = metadata.requires("energylens") or []
    extras = [name for name in metadata.metadata("energylens").get_all("Provides-Extra", []) if name not in DEVELOPERS]
    facts = {
        "energylens": version("energylens"),
        "python": f"{platform.python_version()} on {platform.system()} {platform.release()} {platform.machine()}",
        **{name: version(name) for name in _names(requirements, "")},
        "devices": "; ".join(_devices()),
        "threads": f"{torch.get_num_threads()} on {os.cpu_count()} cores",
        "backends": ", ".join(BACKENDS),
        **{
            f"extra {extra}": ", ".join(f"{name} {version(name)}" for name in _names(requirements, extra))
            for extra in extras
        },
        "environment": ", ".join(_variable(name) for name in VARIABLES if name in os.environ) or "nothing set",
    }
    return "\n".join(f"{name + ':':<20} {fact}" for name, fact in facts.items())


def _names(requirements: list[str], extra: str) -> list[str]:
    """The distributions that an extra needs, or that are always needed for ""."""
    of_extra = re.compile(f"extra == .{extra}.$") if extra else re.compile("^[^;]*$")
    return [re.split(r"[^\w.-]", one)[0] for one in requirements if of_extra.search(one)]


def _devices() -> list[str]:
    import torch

    cards = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
    return ["cpu", *cards, *["mps"] * torch.backends.mps.is_available(), built]


def _variable(name: str) -> str:
    return f"{name}=..." if name.startswith("ENERGYLENS") else f"{name}={os.environ[name]}"
