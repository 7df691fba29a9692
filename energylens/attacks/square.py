"""Square in L2 and L1 on images of any height and width (arXiv 1912.00049, algorithm 3).

The package tiles the first perturbation with squares of a fifth of the height, as many to a side as would fit from the
border, but from a margin: on 18x18, 24x24 or 28x20 they stick out, below 5 pixels they have no side, and it raises.
Here they are cut at the border. Where the package runs, every number is the package's own.
"""

from __future__ import annotations

import math

import torch
from pyautoattack.autopgd_base import L1_projection
from pyautoattack.square import SquareAttack
from torch import Tensor

TINY = 1e-12


class AnySizeSquare(SquareAttack):  # type: ignore[misc]  # the package has no types
    """The package's attack; in L2 and L1 its search, begun from squares that are cut where the image ends."""

    def attack_single_run(self, x: Tensor, y: Tensor) -> tuple[None, Tensor]:
        """One run of the search.

        Args:
            x: (N, C, H, W) in [0, 1].
            y: (N,) labels, all predicted.

        Returns:
            Nothing that anybody reads, and the best images, (N, C, H, W).
        """
        if self.norm == "Linf":
            found: tuple[None, Tensor] = super().attack_single_run(x, y)
            return found
        best = self._within(x, self._tiled(x))
        lead, _ = self.margin_and_loss(best, y)
        for query in range(self.n_queries):
            rows = (lead > 0).nonzero().squeeze(1)
            if not len(rows):
                break
            tried = self._within(x[rows], self._moved(best[rows] - x[rows], query))
            its_lead, _ = self.margin_and_loss(tried, y[rows])
            better = its_lead < lead[rows]
            kept = rows[better]
            best[kept], lead[kept] = tried[better], its_lead[better]
        return None, best

    def _tiled(self, x: Tensor) -> Tensor:
        """The first perturbation: squares side by side, each of a random sign a channel, cut where the image ends."""
        height, width = x.shape[2:]
        side = max(height // 5, 1)
        margin = max((height - 5 * side) // 2, 0)
        delta = torch.zeros_like(x)
        for row in range(height // side):
            for column in range(width // side):
                signed = self.eta(side).view(1, 1, side, side) * self.random_choice([*x.shape[:2], 1, 1])
                top, left = margin + row * side, margin + column * side
                place = delta[:, :, top : top + side, left : left + side]
                place += signed[:, :, : place.shape[2], : place.shape[3]]
        return delta

    def _moved(self, delta: Tensor, query: int) -> Tensor:
        """The perturbation with the mass of one window, and what the ball has left, moved to another."""
        channels, height, width = delta.shape[1:]
        side = max(round(math.sqrt(self.p_selection(query) * height * width)), 3)
        side = min(side + (side % 2 == 0), height, width)
        gains, loses = self._window(height, width, side), self._window(height, width, side)
        mask = torch.zeros_like(delta)
        mask[gains], mask[loses] = 1, 1
        size, window = self._sizes(delta[gains]), self._sizes(delta * mask)
        whole = self.lp_norm(delta)
        new = self.eta(side).view(1, 1, side, side) * self.random_choice([len(delta), channels, 1, 1])
        new = new.contiguous() + delta[gains] / (TINY + size)  # laid out as the package's, to sum in the same order
        new = new / (TINY + self._sizes(new))
        if self.norm == "L2":
            new = new * (((self.eps**2 - whole**2).clamp_min(0) / channels) + window**2).sqrt()
        else:
            new = new * ((self.eps - whole).clamp_min(0) / channels + window) * channels
        delta[loses] = 0
        delta[gains] = new
        return delta

    def _window(self, height: int, width: int, side: int) -> tuple[slice, slice, slice, slice]:
        """A square of this side, anywhere in the image, as an index."""
        top, left = int(self.random_int(0, height - side)), int(self.random_int(0, width - side))
        return slice(None), slice(None), slice(top, top + side), slice(left, left + side)

    def _sizes(self, delta: Tensor) -> Tensor:
        """The norm of each channel, (N, C, 1, 1)."""
        powers: Tensor = delta**2 if self.norm == "L2" else delta.abs()
        sums = powers.sum(dim=(-2, -1), keepdim=True)
        return sums.sqrt() if self.norm == "L2" else sums

    def _within(self, x: Tensor, delta: Tensor) -> Tensor:
        """Images of [0, 1] in the ball, by a perturbation like this one."""
        if self.norm == "L2":
            scaled: Tensor = x + self.normalize(delta) * self.eps
            return scaled.clamp(0, 1)
        moved: Tensor = x + delta + L1_projection(x, delta, self.eps * (1 - 1e-6))
        return moved
