"""Train a small diffusion model: the one for digits that energylens ships, or our stand-in for a published one.

    python -m energylens.diffusion.digits_ddpm energylens/diffusion/weights
    python -m energylens.diffusion.digits_ddpm DEST --dataset cifar10 --minutes 25

writes ``<dataset>-ddpm``, a diffusers folder (half precision), and in it a JSON that says how it was made and what was
measured. A run is a function of SEED and its steps: one that --minutes ended is had again with --steps.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from energylens.data import Samples, load_data
from energylens.diffusion.diffuser import Diffuser
from energylens.diffusion.loading import load_diffuser
from energylens.diffusion.purifier import sample
from energylens.models import load_model

SEED = 0
SAMPLES = 500
DDIM_STEPS = 100
SURE = 0.9  # the probability from which a classifier counts as sure of a sample; ours [R]
WATCHED = (40, 60)  # the timesteps, of 1000, at which denoising is measured: what Diff-PGD uses


@dataclass(frozen=True)
class Recipe:
    """How a data set's model is built and trained.

    Attributes:
        channels: of the U-Net's levels.
        latest: timesteps below it are trained, all 1000 for a model to sample from.
        ema: decay of the weights' moving average, which is what is kept.
        judge: the classifier that looks at samples, None where they are not drawn.
    """

    channels: tuple[int, ...]
    blocks: int
    steps: int
    batch_size: int
    latest: int
    ema: float
    flip: bool
    judge: str | None
    lr: float = 1e-3
    warm_up: int = 100


#: ours [R], no reason on record but what stands beside them
RECIPES: dict[str, Recipe] = {
    "digits": Recipe((32, 64), 1, 3000, 64, 1000, 0.998, flip=False, judge="digits-standard"),
    # not to sample from: it is taught what the purifier asks, to take a little noise out
    "cifar10": Recipe((24, 48, 96), 1, 20000, 16, 200, 0.98, flip=True, judge=None),
}


def build(recipe: Recipe, image_shape: Sequence[int]) -> Any:
    """The U-Net: self-attention on its last level alone.

    Args:
        recipe: gives the channels of the levels and the blocks a level.
        image_shape: (C, H, W) of square images.

    Returns:
        A diffusers ``UNet2DModel``, untrained.
    """
    plain = len(recipe.channels) - 1
    return UNet2DModel(
        sample_size=image_shape[-1],
        in_channels=image_shape[0],
        out_channels=image_shape[0],
        block_out_channels=recipe.channels,
        layers_per_block=recipe.blocks,
        down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * plain,
        attention_head_dim=16,
        norm_num_groups=8,
    )


def train(recipe: Recipe, samples: Samples, minutes: float = math.inf) -> tuple[Any, int]:
    """Train a U-Net and keep the moving average of its weights.

    It takes the recipe's steps, or as many as fit into the minutes. The loss is the mean squared error of the noise
    (arXiv 2006.11239); AdamW after a warm-up.

    Args:
        recipe: how it is built and trained.
        samples: the training images, in [0, 1].
        minutes: after which it stops early, infinity for never.

    Returns:
        The U-Net in eval mode, and the steps it had.
    """
    torch.manual_seed(SEED)
    network = build(recipe, samples.image_shape)
    decay = get_ema_multi_avg_fn(recipe.ema)  # type: ignore[no-untyped-call]  # torch has not typed it
    average = AveragedModel(network, multi_avg_fn=decay)
    schedule = DDPMScheduler()
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr)
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / recipe.warm_up, total_iters=recipe.warm_up)
    steps, began = 0, time.monotonic()
    while steps < recipe.steps and time.monotonic() - began < 60 * minutes:
        x = _batch(samples, recipe)
        noise, t = torch.randn_like(x), torch.randint(recipe.latest, (len(x),))
        loss = (network(schedule.add_noise(x, noise, t), t).sample - noise).square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        rate.step()
        average.update_parameters(network)
        steps += 1
        if steps % 100 == 0:
            print(f"step {steps}, loss {loss.item():.4f}, {time.monotonic() - began:.0f} s", flush=True)
    return average.module.eval(), steps


def _batch(samples: Samples, recipe: Recipe) -> Tensor:
    """Random images, (B, C, H, W) in [-1, 1], each mirrored or not where the recipe says so."""
    rows = torch.randint(len(samples), (recipe.batch_size,))
    x = 2 * samples.source.images(samples.indices[rows]) - 1
    if not recipe.flip:
        return x
    mirrored = torch.rand(len(x), 1, 1, 1) < 0.5
    return torch.where(mirrored, x.flip(-1), x)


@torch.no_grad()
def denoising(diffuser: Diffuser, x: Tensor) -> dict[str, Any]:
    """How well it takes noise out at the timesteps WATCHED.

    Args:
        diffuser: the model.
        x: (N, C, H, W) in [0, 1].

    Returns:
        For each timestep the PSNR against x, in dB, of the noisy images, scaled back, and of the x_0 predicted from
    them.
    """
    generator = torch.Generator().manual_seed(SEED)
    found = {}
    for t in WATCHED:
        a = diffuser.alphas_bar[t]
        noise = torch.randn(x.shape, generator=generator)
        x_t = a.sqrt() * (2 * x - 1) + (1 - a).sqrt() * noise
        x_0 = (x_t - (1 - a).sqrt() * diffuser.predict_noise(x_t, t)) / a.sqrt()
        found[f"t={t}"] = {"noisy": _psnr(x_t / a.sqrt(), x), "denoised": _psnr(x_0.clamp(-1, 1), x)}
    return found


def _psnr(image: Tensor, x: Tensor) -> float:
    """Peak signal-to-noise ratio of images in [-1, 1] against x in [0, 1]."""
    return round(-10 * float(((image + 1) / 2 - x).square().mean().log10()), 2)


@torch.no_grad()
def judged(x: Tensor, judge: str) -> dict[str, Any]:
    """What a classifier makes of images.

    Args:
        x: (N, C, H, W) in [0, 1].
        judge: a name that ``load_model`` knows.

    Returns:
        The share it is SURE of, in %, and how many it puts into each class.
    """
    probabilities, classes = load_model(judge)(x).softmax(dim=1).max(dim=1)
    share = round(100 * float((probabilities > SURE).float().mean()), 1)
    return {"sure": share, "classes": classes.bincount(minlength=10).tolist()}


@torch.no_grad()
def drawn(diffuser: Diffuser, count: int) -> Tensor:
    """Images drawn from the model under SEED.

    Args:
        diffuser: the model, on the CPU.
        count: how many.

    Returns:
        Images, (N, C, H, W) in [0, 1], with N = count.
    """
    noise = torch.randn(count, *diffuser.image_shape, generator=torch.Generator().manual_seed(SEED))
    return sample(diffuser, noise, ddim_steps=DDIM_STEPS)


def measured(diffuser: Diffuser, recipe: Recipe, x: Tensor) -> dict[str, Any]:
    """What the model is good for.

    Args:
        diffuser: the model.
        recipe: how it was trained.
        x: (N, C, H, W) in [0, 1], test images.

    Returns:
        What ``denoising`` finds and, where the recipe has a judge, what that makes of images drawn and of ``x``.
    """
    found: dict[str, Any] = {"psnr": denoising(diffuser, x)}
    if recipe.judge:
        found["samples"] = judged(drawn(diffuser, SAMPLES), recipe.judge)
        found["test images"] = judged(x, recipe.judge)
    return found


def main(dest: Path, dataset: str, recipe: Recipe, minutes: float) -> None:
    """Train, save, load what was saved, measure that.

    Args:
        dest: the folder that ``<dataset>-ddpm`` is written in.
        dataset: a name in RECIPES.
        recipe: how the model is built and trained.
        minutes: after which training stops early, infinity for never.
    """
    network, steps = train(recipe, load_data(dataset, split="train"), minutes)
    folder = dest / f"{dataset}-ddpm"
    network.half().save_pretrained(folder)
    DDPMScheduler().save_pretrained(folder)
    about = {
        "dataset": dataset,
        "recipe": asdict(replace(recipe, steps=steps)),
        "seed": SEED,
        "command": f"python -m energylens.diffusion.digits_ddpm {dest} --dataset {dataset} --steps {steps}",
        "torch": torch.__version__,
        "measured": measured(load_diffuser(str(folder)), recipe, load_data(dataset, n=SAMPLES).images),
    }
    (folder / "training.json").write_text(json.dumps(about, indent=2) + "\n")
    print(about["measured"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dest", type=Path)
    parser.add_argument("--dataset", choices=RECIPES, default="digits")
    parser.add_argument("--steps", type=int, help="other than the recipe's")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many")
    given = parser.parse_args()
    chosen = RECIPES[given.dataset]
    main(given.dest, given.dataset, replace(chosen, steps=given.steps or chosen.steps), given.minutes)
