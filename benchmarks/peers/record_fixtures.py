"""Record what torchattacks, adv-lib and AutoAttack do to `digits-pgd`, for tests/attacks to compare with.

    python benchmarks/peers/record_fixtures.py tests/attacks/peers.safetensors

Runs in the environment of benchmarks/peers/README.md. Takes minutes on a CPU, nearly all of them adv-lib's C&W Linf.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import adv_lib.attacks
import torch
import torchattacks
from pyautoattack import AutoAttack
from safetensors.torch import save_file
from torch import Tensor, nn

import energylens as el
from energylens.models import weights_digest

N, EPS, STEPS = 16, 0.2, 10
AUTOATTACK_N = 100


def inputs_of(model: nn.Module, run: Callable[[], object]) -> Tensor:
    """Every batch the model is given while ``run`` works: the attack's iterates, (calls, N, C, H, W)."""
    seen: list[Tensor] = []
    hook = model.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    run()
    hook.remove()
    return torch.stack(seen)


def standing_after_autoattack(model: nn.Module) -> Tensor:
    """Which of the first images the package's own standard run leaves standing, (AUTOATTACK_N,) bool."""
    samples = el.load_data("digits", n=AUTOATTACK_N)
    x, y = samples.images, samples.labels
    x_adv, _ = AutoAttack(model, norm="Linf", eps=EPS, seed=0).run_standard_evaluation(x, y)
    with torch.no_grad():
        return model(x_adv).argmax(dim=1) == y


def main(path: str) -> None:
    model = el.load_model("digits-pgd")
    samples = el.load_data("digits", n=N)
    x, y = samples.images, samples.labels
    inside = 0.05 + 0.9 * x  # torchattacks' C&W never moves a pixel that is exactly 0 or 1
    ta = torchattacks
    torch.manual_seed(0)
    pgd = ta.PGD(model, eps=EPS, alpha=EPS / 4, steps=STEPS, random_start=False)
    trades = ta.TPGD(model, eps=EPS, alpha=EPS / 4, steps=STEPS)
    cw = [ta.CW(model, c=1, kappa=0, steps=50, lr=0.01)(inside[i : i + 1], y[i : i + 1]) for i in range(N)]
    iterates = inputs_of(model, lambda: trades(x, y))
    search = adv_lib.attacks.carlini_wagner_l2(model, inside, y, max_iterations=1000)
    recorded = {
        "x": x,
        "y": y,
        "torchattacks.FGSM": ta.FGSM(model, eps=EPS)(x, y),
        "torchattacks.PGD": pgd(x, y),
        "torchattacks.TPGD.iterates": iterates[1:],  # the first call is the clean image's
        "torchattacks.CW": torch.cat(cw),
        "adv_lib.pgd_linf.iterates": inputs_of(
            model,
            lambda: adv_lib.attacks.pgd_linf(
                model, x, y, EPS, steps=STEPS, random_init=False, absolute_step_size=EPS / 4
            ),
        ),
        "adv_lib.carlini_wagner_l2": search,
        "adv_lib.carlini_wagner_linf": adv_lib.attacks.carlini_wagner_linf(model, inside, y),
        "pyautoattack.standing": standing_after_autoattack(model),
    }
    weights = weights_digest(model)
    save_file({k: v.contiguous() for k, v in recorded.items()}, path, metadata={"weights": weights})


if __name__ == "__main__":
    main(sys.argv[1])
