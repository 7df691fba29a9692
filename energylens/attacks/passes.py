"""Count what goes through a network."""

from __future__ import annotations

from torch import Tensor, nn


class PassCounter:
    """Counts the samples that go through a model, forwards and backwards, while it is entered."""

    def __init__(self, model: nn.Module) -> None:
        self._model, self._forwards, self._backwards = model, 0, 0

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
        if logits.requires_grad:
            logits.register_hook(self._returned)  # type: ignore[no-untyped-call]  # torch has not typed it

    def _returned(self, gradient: Tensor) -> None:
        self._backwards += len(gradient)
