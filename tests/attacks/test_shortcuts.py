"""Steps that a cycle makes known are not made, and samples stop where they have reached their goal: the rows stay."""

from itertools import count

import pytest
import torch
from torch import nn

import energylens as el
from energylens.attacks.ascent import Ascent, ascend
from energylens.attacks.registry import ascent_of
from energylens.data import load_data
from energylens.isolation import frozen
from energylens.models import load_model
from energylens.models.architectures import architecture
from energylens.noise import Noise
from energylens.records.manifest import told_settings

STEP = 1 / 32  # exact in float32, so that a walk on multiples of it comes back to the bit
SIDE = 3  # of the square ring that `_Walk` goes around


class _Walk(nn.Module):
    """Leads each sample along x towards a ring of 4 * SIDE places and around it for ever.

    The images are (1, 1, 2): a place in the plane, in steps from the middle. Left of the ring the way goes right.
    """

    def directions(self, x: torch.Tensor) -> torch.Tensor:
        places = ((x.flatten(1) - 0.5) / STEP).round()
        across, up = places[:, 0], places[:, 1]
        right = (up == 0) & (across < SIDE)
        rise = (across == SIDE) & (up < SIDE)
        left = (up == SIDE) & (across > 0)
        sink = (across == 0) & (up > 0)
        return torch.stack([right.float() - left.float(), (rise & ~right).float() - (sink & ~left).float()], dim=1)

    def forward(self, x):
        lead = (x.flatten(1) * self.directions(x.detach())).sum(dim=1)
        return torch.stack([torch.zeros_like(lead), lead], dim=1)


class _Still(nn.Module):
    """Has no gradient anywhere: every sample stays where it starts, a cycle of period 1."""

    def forward(self, x):
        return x.flatten(1)[:, :2] * 0


class _Awaking(_Still):
    """Contradicts itself: still for ten calls, then it moves."""

    def __init__(self):
        super().__init__()
        self.calls = count()

    def forward(self, x):
        return x.flatten(1)[:, :2] * torch.tensor([0.0, 1.0]) * (next(self.calls) >= 10) + next(self.calls)


def walk_of(steps: int) -> Ascent:
    return Ascent(eps=1.0, steps=steps, step_size=STEP, start="zero")


def both(model, x, y, settings, **more):
    """The loop's results without and with shortcuts."""
    noise = Noise(0, tuple(range(len(x))))
    with frozen(model):
        plain = ascend(model, x, y, noise=noise, settings=settings, cycles=False, **more)
        short = ascend(model, x, y, noise=noise, settings=settings, **more)
    return plain, short


def places(*across: int) -> torch.Tensor:
    """Images left of the ring or on its lower side."""
    return torch.tensor([[0.5 + STEP * place, 0.5] for place in across]).view(-1, 1, 1, 2)


@pytest.mark.parametrize("steps", [4 * SIDE - 1, 4 * SIDE, 4 * SIDE + 1, 100, 101])
def test_a_walk_around_a_ring_ends_where_it_would(steps):
    x = places(0, -1, -7, -14)
    plain, short = both(_Walk(), x, torch.zeros(4, dtype=torch.int64), walk_of(steps), trace=True)
    assert torch.equal(plain.x_adv, short.x_adv)
    assert torch.equal(plain.trajectory, short.trajectory)
    assert torch.equal(short.steps, plain.steps)
    if steps < 4 * SIDE:
        assert not short.cycled.any() and torch.equal(short.backwards, plain.backwards)
    if steps >= 100:
        assert (short.cycled > 0).all()
        # once around the ring, after the way there and as long as the saved iterate is too early a one
        assert (short.backwards < 70).all() and (short.backwards >= short.cycled).all()


def test_a_sample_that_does_not_move_is_known_after_one_step():
    plain, short = both(_Still(), torch.rand(3, 1, 1, 2), torch.zeros(3, dtype=torch.int64), walk_of(50))
    assert torch.equal(plain.x_adv, short.x_adv)
    assert short.cycled.tolist() == short.backwards.tolist() == [1, 1, 1]


def test_a_model_that_contradicts_itself_makes_every_step():
    x, y = torch.rand(2, 1, 1, 2), torch.zeros(2, dtype=torch.int64)
    noise = Noise(0, (0, 1))
    short = ascend(_Awaking(), x, y, noise=noise, settings=walk_of(50))
    assert not short.cycled.any() and (short.backwards == 50).all()
    assert (short.x_adv[:, 0, 0, 1] > x[:, 0, 0, 1]).all()


def test_what_waits_in_the_batch_costs_no_more_in_the_record():
    x = places(*range(-14, 2))
    y = torch.zeros(len(x), dtype=torch.int64)
    _, together = both(_Walk(), x, y, walk_of(200))
    alone = [both(_Walk(), x[[row]], y[[row]], walk_of(200))[1] for row in range(len(x))]
    for name in ("x_adv", "backwards", "cycled"):
        assert torch.equal(getattr(together, name), torch.cat([getattr(one, name) for one in alone]))


@pytest.fixture(scope="module")
def networks():
    """Of digits and of CIFAR-10's shape: (model, images, labels, radii in Linf and L2)."""
    digits = load_data("digits", n=4)
    torch.manual_seed(0)
    untrained = architecture("resnet18").builder(10, 3, 4).eval()
    x = torch.rand(2, 3, 32, 32)
    found = {
        name: (load_model(name), digits.images, digits.labels, 0.2, 1.0) for name in ("digits-pgd", "digits-standard")
    }
    return found | {"resnet18": (untrained, x, untrained(x).argmax(dim=1), 8 / 255, 0.5)}


SHORT = [{"steps": 20}, {"steps": 30, "norm": "l2"}]
LONG = [
    {"steps": 50, "restarts": 10}, {"steps": 200}, {"steps": 200, "norm": "l2"}, {"steps": 1000},
    {"steps": 60, "loss": "margin", "restarts": 2}, {"steps": 60, "loss": "dlr"},
]  # fmt: skip
TRIED = [(name, own) for name in ("digits-pgd", "digits-standard") for own in (*SHORT, *LONG)]
TRIED += [("resnet18", own) for own in SHORT]


@pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])
@pytest.mark.parametrize(("name", "own"), TRIED, ids=str)
def test_rows_are_equal_to_the_bit_with_and_without(name, own, targeted, networks):
    model, x, y, linf, l2 = networks[name]
    settings = ascent_of("pgd", eps=l2 if own.get("norm") == "l2" else linf, **own)
    for row in range(len(x)):  # one by one: no other batch size changes how the kernels round
        one, label = x[[row]], y[[row]]
        noise = Noise(0, (row,))
        more = {"noise": noise, "settings": settings, "target": (label + 1) % 10 if targeted else None}
        with frozen(model):
            plain, short = ascend(model, one, label, cycles=False, **more), ascend(model, one, label, **more)
        assert torch.equal(plain.x_adv, short.x_adv)
        assert torch.equal(plain.steps, short.steps) and (short.backwards <= plain.backwards).all()


def test_a_published_robust_network_cycles(shared_checkpoints, cifar10_root):
    pixels = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2471, 0.2435, 0.2616)}
    model = load_model(str(shared_checkpoints / "resnet4b_adv2.pth"), arch="resnet4b", **pixels)
    data = load_data("cifar10", data_root=cifar10_root, n=8)
    x, y = data.images, data.labels
    plain, short = both(model, x, y, ascent_of("pgd", eps=2 / 255, steps=100))
    assert (short.cycled > 0).sum() >= 6  # the issue counted 99 of 100 in 200 steps
    with frozen(model), torch.no_grad():
        gap = (el.marginal_energy(model(plain.x_adv)) - el.marginal_energy(model(short.x_adv))).abs()
    assert gap.max() < 1e-3  # a narrower batch rounds otherwise
    assert short.backwards.float().mean() < 80


def test_until_broken_stops_at_the_first_iterate_that_is():
    """Beside a plain loop that looks at every iterate."""
    model, data = load_model("digits-pgd"), load_data("digits", n=24)
    x, y = data.images, data.labels
    noise, settings = Noise(3, tuple(range(24))), ascent_of("pgd", eps=0.25, steps=30, until="broken")
    with frozen(model):
        found = ascend(model, x, y, noise=noise, settings=settings, trace=True)
        full = ascend(model, x, y, noise=noise, settings=ascent_of("pgd", eps=0.25, steps=30), cycles=False)
        x_adv = (x + 0.25 * noise.uniform("start/0", x)).clamp(0, 1)
        first, images = torch.full((24,), 30), x_adv.clone()
        for step in range(31):
            now = (model(x_adv).argmax(dim=1) != y) & (first == 30) if step < 30 else first == 30
            first[now], images[now] = step, x_adv[now]
            leaf = x_adv.clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(leaf), y, reduction="sum"), leaf)
            x_adv = (x + (x_adv + 0.25 / 4 * gradient.sign() - x).clamp(-0.25, 0.25)).clamp(0, 1)
    assert 0 < (first < 30).sum() < 24
    assert torch.equal(found.steps, first)
    torch.testing.assert_close(found.x_adv, images, atol=1e-6, rtol=0)
    assert torch.equal(found.trajectory[:, :, 0].isnan().sum(dim=1), 30 - first)
    assert found.backwards.sum() < full.backwards.sum() / 2


@pytest.mark.parametrize("spec", ["pgd,steps=20", "pgd,steps=10,restarts=3", "trades", "he-pgd", "cw", "cw-linf",
                                  "cw-search,steps=60", "diff-pgd"])  # fmt: skip
def test_every_iterating_attack_can_stop_once_it_has_broken_a_sample(spec):
    model, data = load_model("digits-standard"), load_data("digits", n=12)
    inside = {} if spec.startswith("cw") else {"eps": 0.15}
    end = el.attack(spec, model, data, full=True, **inside)
    broken = el.attack(f"{spec},until=broken", model, data, full=True, **inside)
    assert broken.backwards.sum() < end.backwards.sum()
    # Diff-PGD looks at R(x'), which the record's verdict does not
    assert broken.success.sum() >= end.success.sum() - int(spec == "diff-pgd")
    if spec.startswith("cw"):  # the smallest comes later
        size, smallest = ((one.x_adv - data.images).flatten(1).norm(dim=1) for one in (broken, end))
        assert (size >= smallest - 1e-6).all() or spec == "cw-linf"


def test_rounded_logits_alone_stop_no_sample():
    """Under bfloat16 the float32 network has the last word on who is broken."""
    model, data = load_model("digits-pgd"), load_data("digits", n=50)
    found = el.attack("pgd,steps=20,until=broken", model, data, eps=0.2, full=True, backend="bf16")
    assert found.success[found.steps < 20].all()


def test_records_of_before_are_of_the_same_attack():
    assert "until" not in told_settings(ascent_of("pgd", eps=0.1))
    assert told_settings(ascent_of("pgd", eps=0.1, until="broken"))["until"] == "broken"


def test_the_record_tells_where_a_sample_cycled():
    record = el.profile("digits-pgd", attacks=["pgd,steps=60"], n=16, ladder=False, trajectory=True)
    rows = record["pgd,steps=60"].rows
    back = rows["cycled"] > 0
    assert back.sum() >= 12
    assert (rows["backwards"][back] < 60).all() and (rows["backwards"][~back] == 60).all()
    assert (rows["steps"] == 60).all() and (rows["marginal_path"].map(len) == 61).all()


def test_the_progress_counts_what_need_not_be_made():
    heard = []
    model, data = load_model("digits-pgd"), load_data("digits", n=20)
    with frozen(model):
        noise, settings = Noise(0, tuple(range(20))), ascent_of("pgd", eps=0.2, steps=40, restarts=3)
        told = lambda share, sure: heard.append(share)  # noqa: E731
        ascend(model, data.images, data.labels, noise=noise, settings=settings, told=told)
    assert heard == sorted(heard) and heard[-1] == 1 and len(heard) < 120
