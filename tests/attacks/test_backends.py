"""Quicker backends: the same network, rows of their own where gradients differ, energies always the model's."""

import pytest
import torch
from torch import nn

import energylens as el
from energylens.attacks.backends import BACKENDS, BF16, FUSED, PLAIN, Quick, networks_of
from energylens.attacks.battery import configure
from energylens.models.architectures import architecture
from energylens.tables.profile_runs import find_runs, read_records


@pytest.fixture
def robust():
    return el.load_model("digits-pgd")


@pytest.fixture(scope="module")
def digits():
    return el.load_data("digits", n=40)


def residual():
    """A ResNet-20 whose batch norms do something."""
    torch.manual_seed(0)
    network = architecture("resnet20").build(num_classes=10).eval().requires_grad_(False)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            part.weight.uniform_(0.5, 2)
    return network


def norms(network):
    return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())


def test_every_batch_norm_behind_a_convolution_is_folded_and_the_logits_stay():
    network, x = residual(), torch.rand(4, 3, 32, 32)
    fused = networks_of(network, FUSED, x).on[FUSED]
    assert (norms(network), norms(fused)) == (19, 0)
    torch.testing.assert_close(fused(x), network(x), atol=1e-4, rtol=1e-4)
    assert not any(part.requires_grad for part in fused.parameters())


def test_bf16_is_close_and_float32_at_its_end():
    network, x = residual(), torch.rand(4, 3, 32, 32)
    networks = networks_of(network, BF16, x)
    assert list(networks.on) == list(BACKENDS)
    logits = networks.on[BF16](x)
    assert logits.dtype == torch.float32
    apart = (logits - network(x)).abs().max() / network(x).abs().max()
    assert 1e-5 < apart < 0.1


@pytest.mark.parametrize(
    ("spec", "quickest"), [("pgd", BF16), ("fgsm", BF16), ("trades", FUSED), ("cw", FUSED), ("apgd-ce", FUSED)]
)
def test_an_attack_runs_on_what_it_supports(robust, digits, spec, quickest):
    networks, supported = networks_of(robust, BF16, digits.images[:2]), configure(spec, eps=0.2).settings.quickest
    assert networks.backend_for(supported, BF16) == quickest
    assert networks.backend_for(supported, BF16, trace=True) == FUSED
    assert networks.backend_for(supported, PLAIN) == PLAIN
    assert networks_of(robust, PLAIN, digits.images[:2]).backend_for(supported, BF16) == PLAIN


def test_a_callable_is_given_the_model_itself(robust, digits):
    given = []

    def still(model, x, y):
        given.append(model)
        return x

    el.profile(robust, digits, [still], backend=BF16, ladder=False)
    assert given == [robust]


def test_fused_rows_are_the_plain_ones(robust, digits):
    plain, fused = (
        el.profile(robust, digits, ["pgd", "cw"], backend=backend, ladder=False) for backend in (PLAIN, FUSED)
    )
    for one, other in zip(plain.attacks, fused.attacks, strict=True):
        assert one.rows["pred_adv"].tolist() == other.rows["pred_adv"].tolist()
        assert one.rows["marginal_adv"].to_numpy() == pytest.approx(other.rows["marginal_adv"].to_numpy(), abs=1e-3)
    assert not fused.notes


def test_the_energies_of_bf16_are_the_models_own(robust, digits):
    record = el.profile(robust, digits, ["pgd", "pgd,restarts=3,steps=5"], backend=BF16, save_images=True, ladder=False)
    for attack in record.attacks[1:]:
        with torch.no_grad():
            energies = el.marginal_energy(robust(attack.images()["x_adv"]))
        assert attack.rows["marginal_adv"].to_numpy() == pytest.approx(energies.numpy(), abs=1e-5)
    names = ["pgd,backend=bf16", "pgd,restarts=3,steps=5,backend=bf16"]
    assert [attack.name for attack in record.attacks[1:]] == names
    assert record.notes == (f"Gradients in bfloat16, energies in float32: {', '.join(names)}.",)


def test_an_attack_says_its_own(robust, digits, tmp_path):
    battery = ["pgd", "pgd,backend=bf16", "cw,backend=bf16"]
    record = el.profile(robust, digits, battery, out=tmp_path, ladder=False)
    assert [attack.name for attack in record.attacks[1:]] == ["pgd", "pgd,backend=bf16", "cw"]
    (kept,) = read_records(find_runs([tmp_path])[0])
    read = {attack.name: attack for attack in kept.attacks}
    assert read.keys() == {"natural", "pgd", "pgd,backend=bf16", "cw"}
    assert read["pgd,backend=bf16"].rows.equals(record["pgd,backend=bf16"].rows)
    with pytest.raises(el.InputError, match="pgd is named twice"):
        el.profile(robust, digits, ["pgd", "pgd,backend=fused"], ladder=False)


def test_shares_of_bf16_come_together(robust, digits, tmp_path):
    whole = el.profile(robust, digits, ["pgd"], backend=BF16, ladder=False)
    for share in ("1/2", "2/2"):
        el.profile(robust, digits, ["pgd"], backend=BF16, ladder=False, shard=share, out=tmp_path)
    both = el.profile(robust, digits, ["pgd"], backend=BF16, ladder=False, out=tmp_path)
    ours, theirs = (record.attacks[1].rows["marginal_adv"].to_numpy() for record in (whole, both))
    assert ours == pytest.approx(theirs, abs=1e-2)


def test_only_bf16_has_rows_of_its_own(robust, digits, tmp_path):
    folders = []
    for backend in BACKENDS:
        el.profile(robust, digits, ["pgd"], backend=backend, out=tmp_path, ladder=False)
        folders.append(len(list(tmp_path.rglob("pgd-*"))))
    assert folders == [1, 1, 2]


class Untraceable(nn.Module):
    """Its way depends on the data."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        return self.layer(x.flatten(1) if x.sum() > 0 else -x.flatten(1))


class Uncopyable(Untraceable):
    """It cannot be copied."""

    def __deepcopy__(self, memo):
        raise TypeError("one of a kind")


def test_what_cannot_be_traced_is_only_laid_out_anew(digits):
    network = Untraceable().eval()
    networks = networks_of(network, FUSED, digits.images[:2])
    assert networks.note is None
    assert torch.equal(networks.on[FUSED](digits.images), network(digits.images))


def test_what_cannot_be_copied_is_left_as_it_is_and_said_to_be(digits):
    network = Uncopyable().eval()
    record = el.profile(network, digits, ["pgd"], eps=0.1, backend=BF16, ladder=False)
    assert "one of a kind" in record.notes[0] or "control flow" in record.notes[0]
    assert "left as it is" in record.notes[0]
    assert "kernels" not in record["pgd"].manifest["identity"]["attack"]


def test_an_unknown_backend_is_refused(robust, digits):
    for spec, backend in (("pgd", "fp8"), ("pgd,backend=fp8", PLAIN)):
        with pytest.raises(el.InputError, match="unknown backend 'fp8': give one of plain, fused, bf16"):
            el.profile(robust, digits, [spec], backend=backend)


def test_a_device_without_bfloat16_makes_do_with_fused(robust, digits, monkeypatch):
    forward = Quick.forward

    def float32_only(self, x):
        if self.rounded:
            raise RuntimeError("no bfloat16 here")
        return forward(self, x)

    monkeypatch.setattr(Quick, "forward", float32_only)
    record = el.profile(robust, digits, ["pgd"], backend=BF16, ladder=False)
    assert record.attacks[1].name == "pgd"
    assert "does not take bfloat16" in record.notes[0]


def test_one_attack_alone_runs_on_them_too(robust, digits):
    x, y = digits.images, digits.labels
    fused = el.attack("pgd", robust, x, y, eps=0.2, backend=FUSED)
    assert (fused == el.attack("pgd", robust, x, y, eps=0.2)).float().mean() > 0.99
    with pytest.warns(UserWarning, match="left as it is"):
        el.attack("pgd", Uncopyable().eval(), x, y, eps=0.2, backend=FUSED)


def test_the_earlier_spelling_is_still_taken_and_manifests_keep_it(robust, digits, run):
    assert el.Attack("pgd", kernels=BF16) == el.Attack("pgd,kernels=bf16") == el.Attack("pgd", backend=BF16)
    record = el.profile(robust, digits, ["pgd", "pgd,kernels=bf16"], kernels=FUSED, ladder=False)
    assert [attack.name for attack in record.attacks[1:]] == ["pgd", "pgd,backend=bf16"]
    identities = [attack.manifest["identity"]["attack"] for attack in record.attacks]
    assert [own.get("kernels") for own in identities] == [None, None, BF16]
    x, y = digits.images, digits.labels
    ours, theirs = (el.attack("pgd", robust, x, y, eps=0.2, **{name: BF16}) for name in ("backend", "kernels"))
    assert torch.equal(ours, theirs)
    with pytest.raises(el.InputError, match="backend 'bf16' is not for chains"):
        el.generate(n=1, kernels=BF16)
    for command in ("profile", "generate"):
        _, out, _ = run(command, "--help")
        assert "--backend" in out and "--kernels" not in out
        status, _, err = run(command, "--kernels", "odd")
        assert status != 0 and "backend 'odd'" in err
