"""RobustBench's models, built and loaded by RobustBench itself; the only file that knows its warts.

Weights lie in RobustBench's own layout, `<model_dir>/<dataset>/<threat model>/<Name>.pt` (`<Name>.pt_m0.pt`, ... for
ensembles), so that a folder can be shared with it. A missing file is downloaded beside its place and checked before it
gets its name.
"""

import importlib.util
import os
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from torch import nn

from energylens.errors import InputError, RunError
from energylens.files import is_there
from energylens.models.card import ModelCard
from energylens.models.checkpoints import check_file, read_checkpoint, unpickling, unreadable
from energylens.models.zoo import ZooRow

_PATIENCE = 30.0  # seconds without an answer from the server

#: The models for which RobustBench gives an empty Drive id: torchvision's own weights, fetched on construction.
_TORCHVISION_WEIGHTS = {"Standard_R50": "ResNet50_Weights.IMAGENET1K_V1"}


@dataclass(frozen=True)
class WeightsFile:
    """One file of a model.

    Attributes:
        path: where it lies.
        url: where it comes from.
        hub_name: the name by which torch.hub looks for it, where a constructor fetches it so.
    """

    path: Path
    url: str
    hub_name: str | None = None


def load_robustbench(row: ZooRow, *, model_dir: Path, trust_pickle: bool = False) -> tuple[nn.Module, ModelCard]:
    """A model of RobustBench's zoo, on the CPU in eval mode.

    Args:
        row: of the zoo, from RobustBench.
        model_dir: the folder that holds RobustBench's layout.
        trust_pickle: let the weights run the code they carry.

    Returns:
        The module, and a card with its name and the files; the row tells the rest.

    Raises:
        RunError: with the file to fetch and the path to put it at, if the weights are neither there nor to be had.
        InputError: if the file that is there is no checkpoint, carries code, or does not fit the model.
    """
    files = weights_files(row, model_dir)
    for file in files:
        fetch(file, trust_pickle=trust_pickle)
    module = _load(row, model_dir, files, trust_pickle)
    return module, ModelCard(row.name, row.source, origin=_where(files))


def import_robustbench() -> Any:
    """The module `robustbench.utils`, imported in silence.

    robustbench 1.1.1 imports `autoattack`, while the package it depends on is published as `pyautoattack`.

    Returns:
        The module.

    Raises:
        RunError: if it cannot be imported.
    """
    try:
        if importlib.util.find_spec("autoattack") is None:
            import pyautoattack

            sys.modules["autoattack"] = pyautoattack
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pkg_resources, and the places timm moved its modules from
            import robustbench.utils
    except ImportError as error:
        raise RunError(
            f"robustbench could not be imported ({error}): "
            "pip install 'robustbench==1.1.1' pyautoattack 'setuptools<81'"
        ) from error
    return robustbench.utils


def weights_files(row: ZooRow, model_dir: Path) -> list[WeightsFile]:
    """The files that hold a model's weights, in RobustBench's layout and order.

    Args:
        row: of the zoo, from RobustBench.
        model_dir: the folder that holds the layout.

    Returns:
        One file, or those of an ensemble; they need not exist.

    Raises:
        RunError: if RobustBench cannot be imported.
    """
    robustbench = import_robustbench()
    import timm
    import torchvision

    benchmark = robustbench.BenchmarkDataset(row.dataset), robustbench.ThreatModel(row.threat_model)
    drive = robustbench.all_models[benchmark[0]][benchmark[1]][row.name]["gdrive_id"]
    path = model_dir / row.dataset / str(row.threat_model) / f"{row.name}.pt"
    registered = f"{row.name}_{row.dataset}_{row.threat_model}".lower().replace("-", "_")
    if timm.is_model(registered):
        return [_from_hub(path, timm.get_pretrained_cfg(registered).url)]
    if row.name in _TORCHVISION_WEIGHTS:
        return [_from_hub(path, torchvision.models.get_weight(_TORCHVISION_WEIGHTS[row.name]).url)]
    if isinstance(drive, list):
        return [WeightsFile(path.with_name(f"{path.name}_m{i}.pt"), _drive_url(one)) for i, one in enumerate(drive)]
    return [WeightsFile(path, _drive_url(drive))]


def fetch(file: WeightsFile, *, trust_pickle: bool = False) -> None:
    """Make sure that a checkpoint lies at `file.path`: check the one there, or download one.

    A download is checked before it gets its name; one that fails leaves nothing behind.

    Args:
        file: where it is to lie, and where it comes from.
        trust_pickle: let a download run the code it carries when it is checked.

    Raises:
        InputError: if what lies there is no checkpoint.
        RunError: if nothing usable could be downloaded.
    """
    if is_there(file.path):
        check_file(file.path)
        return
    by_hand = f"Download {file.url} and put it at {file.path} (another folder: --model-dir or ENERGYLENS_MODELS)"
    part = file.path.with_name(f".{file.path.name}.{os.getpid()}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as out:
            _download(file.url, out)
        read_checkpoint(part, trust_pickle=trust_pickle)
        part.replace(file.path)
    except (OSError, InputError) as error:
        reason = str(error).replace(str(part), "what came")
        raise RunError(f"no weights for {file.path.stem}: {reason}. {by_hand}") from error
    finally:
        if part.exists():
            part.unlink()


def _load(row: ZooRow, model_dir: Path, files: list[WeightsFile], trust_pickle: bool) -> nn.Module:
    where = _where(files)
    with warnings.catch_warnings(), _hub_finding(files), unpickling(trust_pickle):
        warnings.simplefilter("ignore")  # torchvision's `pretrained`, torch's notes on old formats
        try:
            module: nn.Module = import_robustbench().load_model(
                row.name, model_dir=model_dir, dataset=row.dataset, threat_model=row.threat_model
            )
        except Exception as error:
            if "state_dict" not in str(error):
                raise unreadable(where, error) from error
            lines = str(error).splitlines()[1:4]  # load_state_dict's report of keys and shapes, one fault a line
            faults = "; ".join(textwrap.shorten(line, 200, placeholder=" ...") for line in lines)
            raise InputError(
                f"{where} does not fit {row.name}: {faults}. Remove the file to download RobustBench's again"
            ) from error
    return module


def _where(files: list[WeightsFile]) -> str:
    return ", ".join(str(file.path) for file in files)


def _from_hub(path: Path, url: str) -> WeightsFile:
    return WeightsFile(path, url, hub_name=Path(urlsplit(url).path).name)


def _drive_url(drive_id: str) -> str:
    return f"https://drive.google.com/uc?id={drive_id}"


def _download(url: str, out: IO[bytes]) -> None:
    """Write what a URL (Google Drive or not) answers into a file; OSError if it cannot be reached."""
    import gdown
    import requests
    from gdown.exceptions import FileURLRetrievalError

    try:
        with _impatient():
            gdown.download(url=url, output=out, use_cookies=False)
    except (requests.ConnectionError, requests.Timeout) as error:
        raise OSError(f"{urlsplit(url).netloc} could not be reached") from error
    except FileURLRetrievalError as error:
        raise OSError(" ".join(str(error).split())) from error


@contextmanager
def _impatient() -> Iterator[None]:
    """A timeout for gdown, which asks `requests` without one and takes none: it holds within this context."""
    import requests

    send = requests.Session.send

    def send_in_time(self: Any, request: Any, **settings: Any) -> Any:
        return send(self, request, **{**settings, "timeout": settings.get("timeout") or _PATIENCE})

    requests.Session.send = send_in_time  # type: ignore[method-assign]
    try:
        yield
    finally:
        requests.Session.send = send  # type: ignore[method-assign]


@contextmanager
def _hub_finding(files: list[WeightsFile]) -> Iterator[None]:
    """Some constructors fetch through torch.hub, by file name: show it a folder of links to our files."""
    import torch

    before = torch.hub.get_dir()
    with tempfile.TemporaryDirectory() as folder:
        links = Path(folder) / "checkpoints"
        links.mkdir()
        for file in files:
            if file.hub_name is not None:
                (links / file.hub_name).symlink_to(file.path.resolve())
        torch.hub.set_dir(folder)
        try:
            yield
        finally:
            torch.hub.set_dir(before)
