"""What computes the network during an attack: the model itself, or a quicker copy of it.

The record's energies are float32 on every backend: forwards of the model itself or, where an attack hands on the logits
that it stopped at, of the fused copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from energylens.settings import check_word


@dataclass(frozen=True)
class Backend:
    """One row.

    Attributes:
        rounded: its gradients are not those of float32, so its rows of the record are its own.
    """

    rounded: bool = False


BACKENDS: dict[str, Backend] = {  # from the slowest to the quickest
    "plain": Backend(),  # the model as it is
    "fused": Backend(),  # batch norms folded into the convolutions before them, channels-last, float32
    "bf16": Backend(rounded=True),  # the same under bfloat16 autocast: other gradients
}
PLAIN, FUSED, BF16 = BACKENDS
PROBED = 2  # images on which a fused copy is compared with the model
#: of the largest logit: how far fused float32 logits may lie from the model's; cuDNN takes other algorithms (Winograd,
#: FFT) for other layouts, which round more coarsely: ours, not measured on a GPU yet
TOLERANCE, CUDNN_TOLERANCE = 1e-5, 1e-4
COARSE = 0.5  # the same for bfloat16: beyond it the device computes something else


def quickest_of(names: Iterable[str]) -> str:
    """The quickest of these backends.

    Args:
        names: rows of BACKENDS, one at least.

    Returns:
        The one among them that BACKENDS has last.
    """
    return max(names, key=list(BACKENDS).index)


def check_backend(name: str) -> str:
    """Refuse what is no backend's name.

    Args:
        name: of a row of BACKENDS.

    Returns:
        The name itself.

    Raises:
        InputError: for any other.
    """
    check_word("backend", name, BACKENDS)
    return name


@dataclass(frozen=True)
class Networks:
    """A model on each backend that it runs on.

    Attributes:
        on: by the backend's name.
        note: what a reader should know of them, or None.
    """

    on: dict[str, nn.Module]
    note: str | None = None

    @property
    def quickest(self) -> str:
        """The quickest backend there is."""
        return quickest_of(self.on)

    def backend_for(self, supported: str, asked: str, *, trace: bool = False) -> str:
        """The quickest backend there is, within some bounds.

        Args:
            supported: the quickest that the attack supports.
            asked: the one asked for.
            trace: the energies of the iterates are recorded from the logits that the attack sees: they must be float32.

        Returns:
            Its name, that of a row of BACKENDS.
        """
        bounds = (asked, self.quickest, supported, FUSED if trace else BF16)
        return min(bounds, key=list(BACKENDS).index)


def networks_of(model: nn.Module, backend: str, x: Tensor) -> Networks:
    """The model on all backends up to this one.

    A model that cannot be traced is only laid out anew; one that cannot be copied, or then gives other logits, stays as
    it is, and the note says so.

    Args:
        model: in eval mode, no gradients of its parameters asked for (see ``isolation.frozen``).
        backend: a row of BACKENDS.
        x: (N, C, H, W) in [0, 1], a few images on which its logits are compared with those of the copies.

    Returns:
        The model itself as "plain", and its copies as far as they can be had.
    """
    if backend == PLAIN:
        return Networks({PLAIN: model})
    why = ""
    for convert in (_folded, copy.deepcopy):
        try:
            network = convert(model).to(memory_format=torch.channels_last)
            fused = Quick(network).eval()
            apart = _distance(model, fused, x)
        except Exception as error:  # whatever a user's network raises when it is traced, copied or laid out anew
            why = why or f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            continue
        if apart <= (CUDNN_TOLERANCE if x.is_cuda else TOLERANCE):
            networks = Networks({PLAIN: model, FUSED: fused})
            return _with_bf16(networks, network, x) if BACKENDS[backend].rounded else networks
        why = why or f"its logits would be {apart:.1g} of the largest one off"
    return Networks({PLAIN: model}, f"backend {backend}: the model is left as it is ({why})")


def _with_bf16(networks: Networks, network: nn.Module, x: Tensor) -> Networks:
    """The networks with bfloat16 too, where the device has it."""
    rounded = Quick(network, rounded=True).eval()
    try:
        fits = _distance(networks.on[PLAIN], rounded, x) < COARSE  # not of a NaN
    except RuntimeError:  # no bfloat16 autocast there, or not for one of the layers
        fits = False
    if fits:
        return Networks({**networks.on, BF16: rounded})
    return Networks(networks.on, "backend bf16: this device or network does not take bfloat16, fused stands in")


class Quick(nn.Module):
    """A network that takes its images channels-last and gives float32 logits. rounded: under bfloat16 autocast."""

    def __init__(self, network: nn.Module, *, rounded: bool = False) -> None:
        super().__init__()
        self.network, self.rounded = network, rounded

    def forward(self, x: Tensor) -> Tensor:
        """The network's logits.

        Args:
            x: (N, C, H, W) in [0, 1].

        Returns:
            Logits, (N, K) float32; computed in bfloat16 where ``rounded``.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.rounded):
            logits: Tensor = self.network(x)
        return logits.float()


def _folded(model: nn.Module) -> nn.Module:
    """A copy whose batch norms are folded into the convolutions that nothing but they follow."""
    from torch.fx.experimental.optimization import fuse

    fold: Callable[[nn.Module], nn.Module] = fuse
    return fold(model)


@torch.no_grad()
def _distance(model: nn.Module, other: nn.Module, x: Tensor) -> float:
    """How far the logits of two networks lie apart at most, as a share of the largest."""
    logits = model(x)
    return float((other(x) - logits).abs().max() / logits.abs().max().clamp_min(torch.finfo(logits.dtype).tiny))
