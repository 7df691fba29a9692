"""The attack inside a step: batch norm's mode, the radius in force, what is carried over, and what it leaves alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from energylens.noise import BatchNoise
from energylens.training.attacker import AscentAttacker, FreeAttacker
from energylens.training.methods import METHODS
from energylens.training.recipes import settings_of
from energylens.training.regularizers import REGULARIZERS
from energylens.training.run import make_attacker
from energylens.training.step import Step


class Witness(nn.Module):
    """A small network with batch norm that remembers its inputs, and in which mode they came."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))
        self.seen, self.modes = [], set()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        self.modes.add((self.training, self.body[2].training))
        return self.body(x)


def some_images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return 0.4 + 0.2 * torch.rand(8, 1, 4, 4, generator=generator), torch.arange(8) % 3


def noise() -> BatchNoise:
    return BatchNoise(torch.Generator().manual_seed(2))


def attacker_of(network: nn.Module, **own) -> AscentAttacker:
    found = make_attacker(settings_of("digits", **{"eps_ramp": 0.0, "eps": "0.1", **own}), network, noise())
    assert isinstance(found, AscentAttacker)
    return found


#: batch norm inside the attack, as each source has it
MODES = {
    "fgsm": "train", "rs-fgsm": "train", "n-fgsm": "train", "pgd": "train", "free": "train", "standard": "train",
    "trades": "eval", "mart": "eval", "mail-trades": "eval", "weat-nat": "eval", "weat-adv": "eval",
}  # fmt: skip


def test_every_method_has_its_sources_mode():
    assert {name: row.attack_mode for name, row in METHODS.items()} == MODES


@pytest.mark.parametrize("method", [name for name in MODES if name not in ("free", "standard")])
@pytest.mark.parametrize("asked", [None, "train", "eval"])
def test_the_attack_runs_in_the_mode_asked_for_and_the_network_is_in_train_mode_after_it(method, asked):
    network = Witness().train()
    before = network.body[2].running_mean.clone()
    attacker_of(network, method=method, attack_mode=asked)(*some_images(), 0.1)
    mode = (asked or MODES[method]) == "train"
    assert network.modes == {(mode, mode)}
    assert torch.equal(before, network.body[2].running_mean) != mode
    assert network.training and network.body[2].training
    assert all(weight.requires_grad and weight.grad is None for weight in network.parameters())


def test_the_network_is_in_train_mode_even_after_an_attack_that_failed():
    network = Witness()
    with pytest.raises(RuntimeError, match="index 5"):
        attacker_of(network, method="mart")(some_images()[0], torch.full((8,), 5), 0.1)
    assert network.training


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"method": "pgd", "norm": "l2", "eps": "0.5", "steps": 3, "step_size": "0.2"}, (0.5, "l2", 3, 0.2)),
        ({"method": "pgd", "eps": "8/255", "step_size": "2/255"}, (8 / 255, "linf", 10, 2 / 255)),
        ({"method": "trades", "norm": "l2", "eps": "0.4"}, (0.4, "l2", 10, 0.1)),
        ({"method": "fgsm", "eps": "0.2", "step_size": "0.3"}, (0.2, "linf", 1, 0.3)),
        ({"method": "rs-fgsm", "eps": "0.2"}, (0.2, "linf", 1, 0.25)),
        ({"method": "n-fgsm", "eps": "0.2"}, (0.2, "linf", 1, 0.2)),
        ({"method": "mart", "eps": "0.2", "steps": 7}, (0.2, "linf", 7, 0.05)),
    ],
)
def test_the_attack_has_the_runs_radius_norm_steps_and_step(own, expected):
    ascent = settings_of("digits", **own).attack
    assert (ascent.eps, ascent.norm, ascent.steps, ascent.step) == pytest.approx(expected)
    assert settings_of("digits", method="standard").attack.steps == 0


@pytest.mark.parametrize("eps", [0.1, 0.05, 0.0125])
def test_radius_and_step_follow_the_radius_in_force(eps):
    """FGSM with a step of .6 eps: while eps grows, the step is .6 of the part that it has reached."""
    x, y = some_images()
    images = attacker_of(Witness(), method="fgsm", step_size="0.06")(x, y, eps)
    torch.testing.assert_close((images.x_adv - x).abs(), torch.full_like(x, 0.6 * eps))
    network = Witness()
    near = attacker_of(network, method="pgd", steps=9)(x, y, eps)
    far = (near.x_adv - x).abs().max().item()
    assert far == pytest.approx(eps, rel=1e-4)
    starts = (network.seen[0] - x).abs().max().item()
    assert 0.9 * eps < starts <= eps + 1e-6


@pytest.mark.parametrize(
    ("method", "begins_at_x"),
    [("fgsm", True), ("rs-fgsm", False), ("n-fgsm", False), ("pgd", False), ("mart", False), ("trades", True)],
)
def test_where_the_attack_began_and_what_it_saw_there_are_told(method, begins_at_x):
    network, (x, y) = Witness(), some_images()
    images = attacker_of(network, method=method, attack_mode="eval")(x, y, 0.1)
    assert (images.x_start is x) == begins_at_x
    assert torch.equal(images.x_start, network.seen[0])
    with torch.no_grad():
        torch.testing.assert_close(images.first_logits, network.eval()(images.x_start))
    assert not images.first_logits.requires_grad and not images.x_adv.requires_grad


def test_without_an_attack_the_images_stay_as_they_are_and_no_pass_is_made():
    network, (x, y) = Witness(), some_images()
    images = attacker_of(network, method="standard")(x, y, 0.1)
    assert images.x_start is images.x_adv is x and images.first_logits is None and not network.seen


def test_a_compiled_network_computes_no_gradients_of_its_weights_in_the_attack():
    """Compiled or not, the weights want none inside; here nothing is compiled, the setting is enough."""
    wanted = []

    class Asking(Witness):
        def forward(self, x: Tensor) -> Tensor:
            wanted.append(self.body[1].weight.requires_grad)
            return super().forward(x)

    for compiled in (False, True):
        network = Asking()
        network.body[4].bias.requires_grad_(False)
        attacker_of(network, method="fgsm", compile=compiled)(*some_images(), 0.1)
        assert wanted.pop() is not compiled and not wanted
        assert [weight.requires_grad for weight in network.parameters()] == [True] * 5 + [False]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_free_training_carries_its_perturbation_from_batch_to_batch(norm):
    network, eps = Witness(), 0.1
    settings = settings_of("digits", method="free", eps="0.1", norm=norm)
    attacker, delta = make_attacker(settings, network, noise()), torch.zeros(8, 1, 4, 4)
    assert isinstance(attacker, FreeAttacker)
    for number in range(4):
        x, y = some_images()
        x = x + 0.02 * number
        images = attacker(x, y, eps)
        assert images.x_start is x and images.first_logits is None
        torch.testing.assert_close(images.x_adv, (x + delta).clamp(0, 1))
        F.cross_entropy(network(images.x_adv), y).backward()
        gradient = images.x_adv.grad
        attacker.after_backward(eps)
        if norm == "linf":
            delta = (delta + eps * gradient.sign()).clamp(-eps, eps)
        else:
            length = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            delta = delta + eps * gradient / length
            size = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            delta = torch.where(size > eps, delta * eps / size, delta)
        torch.testing.assert_close(attacker.state_dict()["delta"], delta)
    again = make_attacker(settings, network, noise())
    assert again.state_dict() == {}
    again.load_state_dict(attacker.state_dict())
    torch.testing.assert_close(again(x, y, eps).x_adv, attacker(x, y, eps).x_adv)


def test_free_trainings_perturbation_is_cut_to_the_radius_in_force():
    network, (x, y) = Witness(), some_images()
    attacker = make_attacker(settings_of("digits", method="free", eps="0.1"), network, noise())
    attacker.load_state_dict({"delta": torch.full_like(x, 0.1)})
    torch.testing.assert_close(attacker(x, y, 0.03).x_adv.detach(), x + 0.03)


def step_at(x_start: Tensor, x: Tensor, first: Tensor | None, **own) -> Step:
    terms = settings_of("digits", method="fgsm", **own).terms
    return Step(lambda images: 2 * images.flatten(1), x, x_start, x + 1, torch.zeros(2).long(), terms, noise(), 0.1,
                1.0, first)  # fmt: skip


def test_a_step_makes_each_forward_once_and_only_where_it_is_asked_for():
    x = torch.rand(2, 3)
    passes = []
    step = step_at(x, x, None)
    step.model = lambda images: passes.append(images) or 2 * images
    assert step.clean_seen is None and not passes
    assert torch.equal(step.logits_adv, 2 * (x + 1)) and torch.equal(step.logits_start, 2 * x)
    assert step.logits_start is step.logits and len(passes) == 2
    assert torch.equal(step.clean_seen, 2 * x)
    step = step_at(x + 5, x, None)
    assert torch.equal(step.logits_start, 2 * (x + 5)) and step.clean_seen is None


def test_logits_that_the_attack_saw_count_as_clean_only_at_x_and_in_the_steps_own_mode():
    x, first = torch.rand(2, 3), torch.rand(2, 3)
    assert step_at(x, x, first).clean_seen is first
    assert step_at(x + 1, x, first).clean_seen is None
    assert step_at(x, x, first, attack_mode="eval").clean_seen is None


@pytest.mark.parametrize("name", ["gradalign", "elle", "elle-a", "energy-linearity"])
def test_a_regulariser_looks_as_far_as_the_radius_in_force(name):
    """Its first random draw is moved by eps: what the model sees lies within the step's radius, not the run's."""
    seen, x = [], torch.full((2, 1, 8, 8), 0.5)
    settings = settings_of("digits", method="fgsm", reg=(name,), eps="0.4")

    def model(images: Tensor) -> Tensor:
        seen.append(images.detach())
        return images.flatten(1)[:, :3].square()

    step = Step(model, x, x, x, torch.zeros(2).long(), settings.terms, noise(), 0.1, 1.0, None)
    REGULARIZERS[name].value(step)
    assert 0.09 < max((images - 0.5).abs().max().item() for images in seen) <= 0.1 + 1e-6
