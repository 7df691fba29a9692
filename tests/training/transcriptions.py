"""Adversarial training written down from the papers, in plain torch: what the trainer is compared with.

Nothing here comes from energylens. Each function follows a formula of its source as it is printed, with probabilities
and sums in place of energies; it is slow, and meant for float64. x: (N, C, H, W) in [0, 1]; y: (N,); eps and steps are
in units of [0, 1]; a network is in train mode before and after each function.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class Draws:
    """Random numbers handed on in the order of their draws: pairs of "uniform", in (-1, 1), or "normal", and values."""

    def __init__(self, tape):
        self.tape = list(tape)

    def uniform(self, *shape):
        return self._next("uniform", shape)

    def normal(self, *shape):
        return self._next("normal", shape)

    def _next(self, kind, shape):
        drawn, values = self.tape.pop(0)
        assert (drawn, tuple(values.shape)) == (kind, shape)
        return values.clone()


# --- the ball ---------------------------------------------------------------------------------------------------------


def length(vectors: Tensor) -> Tensor:
    return vectors.flatten(1).square().sum(dim=1).sqrt().view(-1, 1, 1, 1)


def in_ball(draws: Draws, x: Tensor, norm: str) -> Tensor:
    """A uniform point of the unit ball; for L2 a direction of a normal vector at radius u^(1/d)."""
    if norm == "linf":
        return draws.uniform(*x.shape)
    u = (draws.uniform(len(x), 1, 1, 1) + 1) / 2
    direction = draws.normal(*x.shape)
    return direction / length(direction) * u ** (1 / x[0].numel())


def uphill(gradient: Tensor, norm: str) -> Tensor:
    return gradient.sign() if norm == "linf" else gradient / length(gradient)


def onto_ball(delta: Tensor, eps: float, norm: str) -> Tensor:
    if norm == "linf":
        return torch.minimum(torch.maximum(delta, torch.full_like(delta, -eps)), torch.full_like(delta, eps))
    return delta * (eps / length(delta)).clamp(max=1)


def box(x: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x, torch.zeros_like(x)), torch.ones_like(x))


# --- losses, (N,) -----------------------------------------------------------------------------------------------------


def ce(logits: Tensor, y: Tensor) -> Tensor:
    """-log p_y."""
    p = torch.exp(logits) / torch.exp(logits).sum(dim=1, keepdim=True)
    return -torch.log(p[torch.arange(len(y)), y])


def kl(logits: Tensor, logits_adv: Tensor) -> Tensor:
    """sum_k p_k log(p_k / q_k)."""
    p, q = (torch.exp(f) / torch.exp(f).sum(dim=1, keepdim=True) for f in (logits, logits_adv))
    return (p * torch.log(p / q)).sum(dim=1)


def marginal(logits: Tensor) -> Tensor:
    """E(x) = -log sum_k exp f_k."""
    return -torch.log(torch.exp(logits).sum(dim=1))


def joint(logits: Tensor, y: Tensor) -> Tensor:
    """E(x, y) = -f_y."""
    return -logits[torch.arange(len(y)), y]


def best_other(values: Tensor, y: Tensor) -> Tensor:
    """max_{k != y} values_k."""
    return torch.stack([torch.cat([v[:k], v[k + 1 :]]).max() for v, k in zip(values, y.tolist(), strict=True)])


# --- attacks: (net, x, y, draws, eps) -> Attacked ---------------------------------------------------------------------


@dataclass
class Attacked:
    """start: where the attack began, the images themselves where it began there; adv: where it ended; seen: the logits
    of start in the attack, None where it made no pass."""

    start: Tensor
    adv: Tensor
    seen: Tensor | None


def slope(net: nn.Module, x: Tensor, loss) -> tuple[Tensor, Tensor]:
    """The gradient of a loss of the logits at x, and the logits."""
    x = x.detach().clone().requires_grad_()
    logits = net(x)
    (gradient,) = torch.autograd.grad(loss(logits).sum(), x)
    return gradient, logits.detach()


def no_attack(net, x, y, draws, eps):
    return Attacked(x, x, None)


def fgsm(net, x, y, draws, eps, norm="linf", mode="train", step=1.0):
    """x* = x + eps sign grad CE (arXiv 1412.6572). step: in units of eps, as everywhere below."""
    net.train(mode == "train")
    gradient, logits = slope(net, x, lambda f: ce(f, y))
    net.train()
    return Attacked(x, box(x + onto_ball(step * eps * uphill(gradient, norm), eps, norm)), logits)


def rs_fgsm(net, x, y, draws, eps, norm="linf", mode="train", step=1.25):
    """delta ~ U(-eps, eps); delta <- clip(delta + 1.25 eps sign grad, -eps, eps) (arXiv 2001.03994, algorithm 3)."""
    start = box(x + eps * in_ball(draws, x, norm))
    net.train(mode == "train")
    gradient, logits = slope(net, start, lambda f: ce(f, y))
    net.train()
    delta = onto_ball(start - x + step * eps * uphill(gradient, norm), eps, norm)
    return Attacked(start, box(x + delta), logits)


def n_fgsm(net, x, y, draws, eps, norm="linf", mode="train", step=1.0):
    """x' = x + U(-2 eps, 2 eps); x* = x' + eps sign grad, not clipped to eps (arXiv 2202.01181, algorithm 1)."""
    start = box(x + 2 * eps * in_ball(draws, x, norm))
    net.train(mode == "train")
    gradient, logits = slope(net, start, lambda f: ce(f, y))
    net.train()
    return Attacked(start, box(start + step * eps * uphill(gradient, norm)), logits)


def pgd(net, x, y, draws, eps, norm="linf", mode="train", steps=10, step=0.25):
    """A uniform start, then steps up the cross-entropy, each back into ball and box (arXiv 1706.06083)."""
    start = box(x + eps * in_ball(draws, x, norm))
    return ascend(net, x, start, lambda f: ce(f, y), eps, norm, mode, steps, step)


def mart_attack(net, x, y, draws, eps, norm="linf", mode="eval", steps=10, step=0.25):
    """As PGD, from x + .001 N(0, I), in eval mode (openreview rklOg6EFwS, its code)."""
    start = box(x + 0.001 * draws.normal(*x.shape))
    return ascend(net, x, start, lambda f: ce(f, y), eps, norm, mode, steps, step)


def trades_attack(net, x, y, draws, eps, norm="linf", mode="eval", steps=10, step=0.25):
    """From x + .001 N(0, I) up KL(p(x) || p(x')), in eval mode (arXiv 1901.08573, its code)."""
    net.train(mode == "train")
    with torch.no_grad():
        clean = net(x)
    start = box(x + 0.001 * draws.normal(*x.shape))
    attacked = ascend(net, x, start, lambda f: kl(clean, f), eps, norm, mode, steps, step)
    return Attacked(x, attacked.adv, clean)


def ascend(net, x, start, loss, eps, norm, mode, steps, step):
    net.train(mode == "train")
    seen, adv = None, start
    for _ in range(steps):
        gradient, logits = slope(net, adv, loss)
        seen = logits if seen is None else seen
        adv = box(x + onto_ball(adv + step * eps * uphill(gradient, norm) - x, eps, norm))
    net.train()
    return Attacked(start, adv, seen)


# --- losses of a step -------------------------------------------------------------------------------------------------


class Forwards:
    """The training forwards of a step, each made when it is first asked for: ["x"], ["start"], ["adv"]."""

    def __init__(self, net, x, attacked):
        self.net, self.images, self.made = net, {"x": x, "start": attacked.start, "adv": attacked.adv}, {}

    def __getitem__(self, name):
        images = self.images[name]
        if id(images) not in self.made:
            self.made[id(images)] = self.net(images)
        return self.made[id(images)]

    @property
    def seen(self):
        """The natural images' logits, None where nobody has asked for them."""
        return self.made.get(id(self.images["x"]))


def natural_loss(at, y):
    return ce(at["x"], y).mean()


def adversarial_loss(at, y):
    return ce(at["adv"], y).mean()


def trades_loss(at, y, beta=6.0):
    """CE(x, y) + beta KL(x, x*)."""
    return ce(at["x"], y).mean() + beta * kl(at["x"], at["adv"]).mean()


def mart_loss(at, y, beta=5.0):
    """BCE(x*, y) + beta KL(x, x*) (1 - p_y(x)), BCE = -log p_y(x*) - log(1 - max_{k != y} p_k(x*))."""
    p, q = torch.softmax(at["x"], dim=1), torch.softmax(at["adv"], dim=1)
    own = torch.arange(len(y)), y
    bce = -torch.log(q[own]) - torch.log(1 - best_other(q, y))
    return (bce + beta * kl(at["x"], at["adv"]) * (1 - p[own])).mean()


def mail_loss(at, y, beta=5.0):
    """CE(x, y) + beta w KL, w = sigmoid(-2 PM) over its mean, PM = p_y(x*) - max_{k != y} p_k(x*), no gradient."""
    q = torch.softmax(at["adv"].detach(), dim=1)
    w = 1 / (1 + torch.exp(2 * (q[torch.arange(len(y)), y] - best_other(q, y))))
    return (ce(at["x"], y) + beta * len(y) * w / w.sum() * kl(at["x"], at["adv"])).mean()


def weat_weight(logits):
    """w = 1 / log(1 + exp |E(x)|), no gradient."""
    return 1 / torch.log(1 + torch.exp(marginal(logits.detach()).abs()))


def weat_nat_loss(at, y, beta=6.0):
    """w(x) {CE(x, y) + beta KL(x, x*)} (arXiv 2407.06315)."""
    return (weat_weight(at["x"]) * (ce(at["x"], y) + beta * kl(at["x"], at["adv"]))).mean()


def weat_adv_loss(at, y, beta=6.0):
    """w(x) {CE(x*, y) + beta KL(x, x*)}."""
    return (weat_weight(at["x"]) * (ce(at["adv"], y) + beta * kl(at["x"], at["adv"]))).mean()


# --- regularisers: (at, y, attacked, draws, eps) -> scalar ------------------------------------------------------------


def der(at, y, attacked, draws, eps, gamma=0.0, on="abnormal", mean="all", unit="nats", x="x", stop="none"):
    """max(||[dE(x), dE(x, y)]||_2 - gamma, 0), image by image, of those whose loss the attack lowered, or of all.

    "both": the first plus .003 of the second. unit "spread": in units of sqrt(mean_k var_i E(x_i, k)).
    """
    f, g = at[x], at["adv"]
    f, g = (f.detach() if stop == "clean" else f), (g.detach() if stop == "adv" else g)
    spread = 1.0
    if unit == "spread":
        spread = (((f - f.mean(dim=0)) ** 2).sum(dim=0) / (len(f) - 1)).mean().sqrt()
    terms, abnormal = [], []
    for i in range(len(y)):
        d_marginal = marginal(f[i : i + 1])[0] - marginal(g[i : i + 1])[0]
        d_joint = -f[i, y[i]] + g[i, y[i]]
        terms.append(torch.clamp(torch.sqrt(d_marginal**2 + d_joint**2) / spread - gamma, min=0))
        abnormal.append(bool(ce(g[i : i + 1], y[i : i + 1]) < ce(f[i : i + 1], y[i : i + 1])))
    everyone = sum(terms) / len(y)
    some = sum(term for term, counts in zip(terms, abnormal, strict=True) if counts)
    some = some / (max(sum(abnormal), 1) if mean == "selected" else len(y))
    return {"all": everyone, "abnormal": some, "both": some + 0.003 * everyone}[on]


def abnormal(logits, logits_adv, y):
    return ce(logits_adv, y) < ce(logits, y)


def delta_l2(at, y, attacked, draws, eps):
    """dE(x)^2."""
    return ((marginal(at["x"]) - marginal(at["adv"])) ** 2).mean()


def gradalign(at, y, attacked, draws, eps):
    """1 - cos(grad L(x), grad L(x + eta)), eta ~ U(-eps, eps) (arXiv 2007.02617, eq. 6)."""
    x = at.images["x"]
    eta, gradients = eps * draws.uniform(*x.shape), []
    for point in (x, x + eta):
        point = point.detach().clone().requires_grad_()
        gradients += torch.autograd.grad(ce(at.net(point), y).sum(), point, create_graph=True)
    here, there = (g.flatten(1) for g in gradients)
    cos = (here * there).sum(dim=1) / (here.square().sum(dim=1).sqrt() * there.square().sum(dim=1).sqrt())
    return (1 - cos).mean()


def elle(at, y, attacked, draws, eps, of=ce, norm="linf"):
    """(L(x_c) - (1 - u) L(x_a) - u L(x_b))^2, x_c = (1 - u) x_a + u x_b (arXiv 2401.11618, eq. 5)."""
    x, n = at.images["x"], len(y)
    a = x + eps * in_ball(draws, x, norm)
    b = x + eps * in_ball(draws, x, norm)
    u = (draws.uniform(n, 1, 1, 1) + 1) / 2
    logits = at.net(torch.cat([a, b, (1 - u) * a + u * b]))
    first, second, between = of(logits[:n], y), of(logits[n : 2 * n], y), of(logits[2 * n :], y)
    u = u.flatten()
    return ((between - (1 - u) * first - u * second) ** 2).mean()


def energy_linearity(at, y, attacked, draws, eps, norm="linf"):
    """The same of E(x, y)."""
    return elle(at, y, attacked, draws, eps, of=joint, norm=norm)


def aaer(at, y, attacked, draws, eps, l2=2.5, l3=1.5, seen=True):
    """share(A) {l2 mean_A [CE(x_0) - CE(x*)] + l3 relu(mean_A |f(x*) - f(x_0)|^2 - mean_N of it)} (arXiv 2404.08154).

    f(x_0) and the normal ones' mean hand no gradient back. seen: x_0's logits are those of the attack."""
    before = (attacked.seen if seen else at["start"]).detach()
    after = at["adv"]
    drops, far, near, n_abnormal = [], [], [], 0
    for i in range(len(y)):
        drop = ce(before[i : i + 1], y[i : i + 1]) - ce(after[i : i + 1], y[i : i + 1])
        distance = ((after[i] - before[i]) ** 2).sum()
        if drop > 0:
            n_abnormal += 1
            drops.append(drop[0])
            far.append(distance)
        else:
            near.append(distance.detach())
    if not n_abnormal:
        return after.sum() * 0
    mean_near = sum(near) / len(near) if near else 0.0
    rest = torch.clamp(sum(far) / n_abnormal - mean_near, min=0)
    return n_abnormal / len(y) * (l2 * sum(drops) / n_abnormal + l3 * rest)


class ElleA:
    """ELLE-A's switch: full weight for the next step where an error exceeds mean + 2 std of three or more before it,
    else .99 of what it was."""

    def __init__(self):
        self.share, self.errors = 0.0, []

    def update(self, error):
        n = len(self.errors)
        mean = sum(self.errors) / n if n else 0.0
        std = math.sqrt(sum((e - mean) ** 2 for e in self.errors) / n) if n else 0.0
        self.share = 1.0 if n >= 3 and error > mean + 2 * std else 0.99 * self.share
        self.errors.append(error)


# --- optimisers, schedules, averages ----------------------------------------------------------------------------------


class SGD:
    """v <- mu v + g + wd w; w <- w - lr v."""

    def __init__(self, weights, momentum, weight_decay):
        self.weights, self.mu, self.wd, self.v = list(weights), momentum, weight_decay, None

    @torch.no_grad()
    def step(self, gradients, lr):
        gradients = [g + self.wd * w for g, w in zip(gradients, self.weights, strict=True)]
        self.v = gradients if self.v is None else [self.mu * v + g for v, g in zip(self.v, gradients, strict=True)]
        for w, v in zip(self.weights, self.v, strict=True):
            w -= lr * v

    def state(self):
        return {"momentum_buffer": self.v}


class Adam:
    """Adam (arXiv 1412.6980) with an L2 term, or AdamW (1711.05101), whose decay goes past the moments; beta_2 .999."""

    def __init__(self, weights, momentum, weight_decay, decoupled):
        self.weights, self.mu, self.wd, self.decoupled = list(weights), momentum, weight_decay, decoupled
        self.m, self.s = ([torch.zeros_like(w) for w in self.weights] for _ in range(2))
        self.t = 0

    @torch.no_grad()
    def step(self, gradients, lr):
        self.t += 1
        for w, g, m, s in zip(self.weights, gradients, self.m, self.s, strict=True):
            if self.decoupled:
                w -= lr * self.wd * w
            else:
                g = g + self.wd * w
            m.copy_(self.mu * m + (1 - self.mu) * g)
            s.copy_(0.999 * s + 0.001 * g**2)
            w -= lr * (m / (1 - self.mu**self.t)) / (torch.sqrt(s / (1 - 0.999**self.t)) + 1e-8)

    def state(self):
        return {"exp_avg": self.m, "exp_avg_sq": self.s}


OPTIMIZERS = {
    "sgd": SGD,
    "adam": lambda weights, momentum, weight_decay: Adam(weights, momentum, weight_decay, decoupled=False),
    "adamw": lambda weights, momentum, weight_decay: Adam(weights, momentum, weight_decay, decoupled=True),
}


def rate(schedule, step, total, peak, milestones):
    """The share of the largest rate at this step, and the momentum, None where the schedule leaves it alone."""
    done = step / total
    if schedule == "constant":
        return 1.0, None
    if schedule in ("cyclic", "linear"):  # numpy's interp(done, [0, peak, 1], [0, 1, 0]), as arXiv 2001.03994 has it
        return (done / peak if done < peak else (1 - done) / (1 - peak)), None
    if schedule == "piecewise":
        return 0.1 ** len([m for m in milestones if done >= m]), None
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done)), None
    assert schedule == "onecycle"  # torch's: summit at peak * total - 1, from 1/25, to 1/25/1e4; momentum .95, .85, .95
    summit = peak * total - 1
    low, high, share = (1 / 25, 1.0, step / summit) if step <= summit else (
        1 / 25e4, 1.0, (total - 1 - step) / (total - 1 - summit)
    )  # fmt: skip
    up = 0.5 * (1 - math.cos(math.pi * share))
    return low + (high - low) * up, 0.95 - 0.1 * up


# --- a step and a run -------------------------------------------------------------------------------------------------


@dataclass
class Step:
    """What a step gave. attacked: None in free training's own; at: its forwards."""

    x_start: Tensor
    x_adv: Tensor
    loss: Tensor
    reg: Tensor
    gradients: list[Tensor]
    at: Forwards
    attacked: Attacked


class Training:
    """Steps of one network. attack, loss: functions above; regs: (function, weight or ``Switched``); awp: gamma of
    arXiv 2004.05884; ema: decay; free: delta is carried over and moved with the loss's gradient (arXiv 1904.12843)."""

    def __init__(self, net, attack, loss, optimizer, regs=(), awp=0.0, ema=0.0, free=False, norm="linf"):
        self.net, self.attack, self.loss, self.regs, self.awp = net, attack, loss, regs, awp
        self.optimizer, self.decay, self.free, self.norm, self.delta = optimizer, ema, free, norm, None
        self.average = None
        self.at_loss = net  # a copy of the network with the weights that a step's loss was of

    def step(self, x, y, draws, eps, lr):
        weights = list(self.net.parameters())
        if self.free:
            self.delta = torch.zeros_like(x) if self.delta is None else self.delta
            adv = box(x + onto_ball(self.delta, eps, self.norm)).requires_grad_()
            attacked = Attacked(x, adv, None)
        else:
            attacked = self.attack(self.net, x, y, draws, eps)
        before = [w.detach().clone() for w in weights]
        if self.awp:
            loss = self.loss(Forwards(self.net, x, attacked), y)
            for w, g in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                if w.dim() > 1:
                    w.data = w.data + self.awp * g * w.data.norm() / g.norm()
        self.at_loss = copy.deepcopy(self.net)
        at = Forwards(self.net, x, attacked)
        loss = self.loss(at, y)
        reg = torch.zeros((), dtype=x.dtype)
        for regulariser, weight in self.regs:
            share = weight.share * weight.full if isinstance(weight, Switched) else weight
            value = regulariser(at, y, attacked, draws, eps)
            reg = reg + share * value
            if isinstance(weight, Switched):
                weight.update(value.item())
        asked = [*weights, attacked.adv] if self.free else weights
        gradients = list(torch.autograd.grad(loss + reg, asked, allow_unused=False))
        for w, value in zip(weights, before, strict=True):
            w.data = value
        if self.free:
            self.delta = onto_ball(self.delta + eps * uphill(gradients.pop(), self.norm), eps, self.norm)
        self.optimizer.step(gradients, lr)
        if self.decay:
            self._average()
        return Step(attacked.start, attacked.adv.detach(), loss.detach(), reg.detach(), gradients, at, attacked)

    def _average(self):
        """average <- decay average + (1 - decay) weights, of the statistics of batch norm too; the first is a copy."""
        now = {name: value.detach().clone() for name, value in floating(self.net).items()}
        if self.average is None:
            self.average = now
        else:
            self.average = {name: self.decay * self.average[name] + (1 - self.decay) * now[name] for name in now}


class Switched(ElleA):
    """A weight that ELLE-A's switch turns on and off."""

    def __init__(self, full):
        super().__init__()
        self.full = full


def floating(net: nn.Module) -> dict[str, Tensor]:
    """Weights and statistics of batch norm, without its count of batches."""
    return {name: value for name, value in net.state_dict().items() if value.is_floating_point()}
