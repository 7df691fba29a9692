"""Count what goes through a network."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Heard = Callable[[float], None]
#: hears which share of a batch is done, and whether that is sure or the least it can be
Told = Callable[[float, bool], None]


class PassCounter:
    """Counts the samples that go through a model, forwards and backwards, while it is entered.

    Args:
        model: any module.
        told: called at every forward with the forward-backward passes so far, of all samples together, a forward that
            no gradient is taken of counting half.
    """

    def __init__(self, model: nn.Module, told: Heard | None = None) -> None:
        self._model, self._told, self._forwards, self._backwards, self.work = model, told, 0, 0, 0.0

    def __enter__(self) -> PassCounter:
        self._handle = self._model.register_forward_hook(self._seen)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()

    def per_sample(self, samples: int) -> tuple[int, int]:
        """Mean passes a sample, rounded: (forwards, backwards)."""
        return round(self._forwards / samples), round(self._backwards / samples)

    def _seen(self, module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        self._forwards += len(logits)
        self.work += len(logits) * (1.0 if logits.requires_grad else 0.5)
        if self._told:
            self._told(self.work)
        if logits.requires_grad:
            logits.register_hook(self._returned)  # type: ignore[no-untyped-call]  # torch has not typed it

    def _returned(self, gradient: Tensor) -> None:
        self._backwards += len(gradient)
