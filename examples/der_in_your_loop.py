"""The Delta Energy Regularizer in a plain PyTorch loop: FGSM training of the digits with `delta_energy_regularizer`.

    python examples/der_in_your_loop.py

Nothing here is energylens' but the data, the architecture and one function of tensors.
"""

import torch
import torch.nn.functional as F

import energylens as el
from energylens.models.architectures import architecture


def train_with_der(epochs: int = 20, eps: float = 0.2, beta: float = 3.0) -> torch.nn.Module:
    """FGSM training with DER on abnormal examples; returns the network in eval mode."""
    torch.manual_seed(0)
    digits = el.load_data("digits", split="train")
    images, labels = digits.images, digits.labels
    model = architecture("digits-cnn").build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for epoch in range(epochs):
        radius = eps * min(1, (epoch + 1) / 10)
        for rows in torch.randperm(len(labels)).split(64):
            x, y = images[rows].requires_grad_(), labels[rows]
            logits = model(x)
            (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y), x, retain_graph=True)
            x_adv = (x + radius * gradient.sign()).clamp(0, 1).detach()
            logits_adv = model(x_adv)
            der = el.delta_energy_regularizer(logits, logits_adv, y, mean="selected")
            loss = F.cross_entropy(logits_adv, y) + beta * der
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


if __name__ == "__main__":
    record = el.profile(train_with_der(), "digits", ["fgsm", "pgd"], eps=0.2, n=200)
    print(record.frame().groupby("attack", sort=False)[["delta_marginal", "delta_joint", "abnormal"]].mean())
    print(record)
