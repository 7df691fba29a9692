"""Train the two small classifiers that energylens ships, on scikit-learn's digits.

    python -m energylens.training.digits energylens/models/weights

writes ``digits-standard`` and ``digits-pgd`` as safetensors, each beside a JSON that says how it was made and what was
measured. About two minutes on two CPU cores; a run is a function of SEED.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from energylens.attacks.battery import configure
from energylens.data import Samples, load_data
from energylens.energy import cross_entropy
from energylens.files import whole_file
from energylens.models.architectures import architecture
from energylens.noise import Noise
from energylens.profiling import profile

SEED = 0
ARCH = "digits-cnn"
EPS = "0.2"
SHIFT = 1  # pixels: random translation in training, the digits' only augmentation


@dataclass(frozen=True)
class Recipe:
    """How one model is trained. attack: what makes the training images adversarial, None for natural training. Rate,
    batch, weight decay and epochs are ours [R], no reason on record."""

    name: str
    attack: str | None
    epochs: int
    lr: float = 2e-3
    batch_size: int = 64
    weight_decay: float = 1e-4


RECIPES = (
    Recipe("digits-standard", attack=None, epochs=40),
    Recipe("digits-pgd", attack="pgd,steps=10", epochs=120),
)


def train(recipe: Recipe, samples: Samples) -> nn.Module:
    """A trained network in eval mode: AdamW, a learning rate that rises and falls once (OneCycleLR)."""
    torch.manual_seed(SEED)
    network = architecture(ARCH).build()
    x, y = samples.images, samples.labels
    attack = recipe.attack and configure(recipe.attack, eps=EPS)
    batches = len(x) // recipe.batch_size
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.epochs * batches)
    for epoch in range(recipe.epochs):
        for rows in torch.randperm(len(x))[: batches * recipe.batch_size].view(batches, -1):
            images, labels = _shifted(x[rows]), y[rows]
            if attack:
                noise = Noise(SEED + epoch, tuple(rows.tolist()))
                images = attack(network, images, labels, noise=noise).x_adv
            loss = cross_entropy(network(images), labels).mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return network.eval()


def _shifted(x: Tensor) -> Tensor:
    """The batch moved by up to SHIFT pixels, blank where it came from."""
    down, right = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
    padded = nn.functional.pad(x, (SHIFT,) * 4)
    height, width = x.shape[2:]
    return padded[:, :, SHIFT + down : SHIFT + down + height, SHIFT + right : SHIFT + right + width]


def measured(network: nn.Module) -> dict[str, float]:
    """Test accuracies in %, over the whole test split: clean, and under PGD-50 with 10 restarts."""
    record = profile(network, load_data("digits"), ["pgd,steps=50,restarts=10"], eps=EPS, seed=SEED)
    natural, attacked = record.as_numbers()
    return {"clean": round(100 * natural["accuracy"], 2), "pgd-50-10": round(100 * attacked["accuracy"], 2)}


def save(network: nn.Module, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Write the weights and the JSON beside them; returns what the JSON says."""
    robust = recipe.attack is not None
    about = {
        "arch": ARCH,
        "dataset": "digits",
        "threat_model": "Linf" if robust else None,
        "eps": float(EPS) if robust else None,
        "trained_on": recipe.attack or "natural images",
        "epochs": recipe.epochs,
        "seed": SEED,
        "command": f"python -m energylens.training.digits {folder}",
        "torch": torch.__version__,
        "measured": measured(network),
    }
    with whole_file(folder / f"{recipe.name}.safetensors") as temporary:
        save_file(network.state_dict(), temporary)
    (folder / f"{recipe.name}.json").write_text(json.dumps(about, indent=2) + "\n")
    return about


def main(folder: Path) -> None:
    """Train and save every recipe."""
    samples = load_data("digits", split="train")
    for recipe in RECIPES:
        print(recipe.name, save(train(recipe, samples), recipe, folder)["measured"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
